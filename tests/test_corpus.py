"""The corpora that we make are what their manifests say."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import ossicle
from ossicle.experiment import corpus


def rows_of(manifest: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def test_sines_have_their_pitch_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    manifest = corpus.make_sines(tmp_path / "a")
    again = corpus.make_sines(tmp_path / "b")
    assert manifest.read_bytes() == again.read_bytes()
    rows = rows_of(manifest)
    assert [row["text"] for row in rows] == list(corpus.SINES.values())
    for row, pitch in zip(rows, corpus.SINES, strict=True):
        path = manifest.parent / str(row["wav"])
        assert path.read_bytes() == (again.parent / str(row["wav"])).read_bytes()
        waveform, rate = soundfile.read(path)
        assert (rate, waveform.shape) == (row["sr"], (80_000,))
        loudest = np.argmax(np.abs(np.fft.rfft(waveform))) * rate / len(waveform)
        assert loudest == pytest.approx(pitch, abs=0.2)


def test_demo_mixes_formats_rates_and_channels(tmp_path: Path) -> None:
    done: list[int] = []
    rows = rows_of(corpus.make_demo(tmp_path, clips=30, on_clip=done.append))
    assert done == list(range(1, 31))
    facts = [ossicle.info(tmp_path / str(row["wav"])) for row in rows]
    assert [fact.sample_rate for fact in facts] == [row["sr"] for row in rows]
    assert {fact.sample_rate for fact in facts} == set(corpus.DEMO_RATES)
    assert {fact.channels for fact in facts} == {1, 2}
    formats = {fact.container for fact in facts}
    assert formats == ({"wav", "flac", "mp3"} if corpus.mp3_encoder() else {"wav", "flac"})
    assert len({row["text"] for row in rows}) == 9


def test_demo_needs_no_external_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(corpus, "_bundled_ffmpeg", lambda: None)
    rows = rows_of(corpus.make_demo(tmp_path, clips=8))
    assert {Path(str(row["wav"])).suffix for row in rows} == {".wav", ".flac"}

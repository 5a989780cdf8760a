"""What a notebook shows: well-formed HTML with pictures that others can read."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import PIL.Image
import polars as pl
import pytest
import soundfile

import ossicle
from ossicle.audio import notebook
from ossicle.data import read
from ossicle.dataloader import MetadataManifest
from ossicle.train import TrainResult

VOID = {"img"}


class Balance(HTMLParser):
    """Fails on a tag that is closed and was not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for number, (rate, channels) in enumerate([(16_000, 1), (44_100, 2), (8_000, 1)]):
        wave = rng.uniform(-0.5, 0.5, (channels, rate * (number + 1))).astype(np.float32)
        paths.append(ossicle.save(tmp_path / f"<{number}>.wav", wave, rate))
    return paths


def test_info(clips: list[Path]) -> None:
    page = Balance(ossicle.info(clips[1])._repr_html_())
    for text in ("2.000 s", "44,100 Hz", "pcm_s16le", "88,200"):
        assert text in page.text
    data = clips[0].read_bytes()
    remarked = ossicle.info(data[:40] + b"\xff\xff\xff\xff" + data[44:])
    assert remarked.remarks
    assert remarked.remarks[0] in Balance(remarked._repr_html_()).text


@pytest.mark.parametrize(
    "options", [{}, {"mono": False}, {"sample_rate": None}, {"dtype": "int16"}]
)
def test_batch(clips: list[Path], options: dict) -> None:
    batch = ossicle.load_batch([*clips, b"<no> audio", *clips], on_error="collect", **options)
    html = batch._repr_html_()
    page = Balance(html)
    assert "7 clips" in page.text
    assert "1 failed, the first 5 shown" in page.text
    assert str(batch.errors[3]) in page.text
    players = re.findall(r"data:audio/wav;base64,([^\"]+)", html)
    for player, number in zip(players, (0, 1, 2, 4), strict=True):
        held, rate = soundfile.read(io.BytesIO(base64.b64decode(player)), always_2d=True)
        assert rate == (batch.sample_rate or batch.sample_rates[number])
        clip = ossicle.audio.as_float32(batch[number])
        assert np.abs(held.T - np.atleast_2d(clip)).max() <= 1 / 32_768
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", html)
    assert len(pictures) == 4
    for picture in pictures:
        image = PIL.Image.open(io.BytesIO(base64.b64decode(picture)))
        image.load()
        assert image.mode == "RGB"
        assert image.height == 80


def test_the_picture_shows_where_a_tone_is() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(32_000) / 32_000).astype(np.float32)
    html = notebook.picture_of_waveform(tone, 32_000)
    picture = re.findall(r"data:image/png;base64,([^\"]+)", html)[0]
    pixels = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(picture)))).astype(int)
    features = ossicle.log_mel_spectrogram(
        ossicle.resample(tone, 32_000, 16_000), pad_to_seconds=None
    )
    loudest = features.mean(axis=1).argmax()
    assert 79 - pixels.sum(axis=2).mean(axis=1).argmax() == loudest


def test_nothing_and_too_much() -> None:
    assert notebook.picture_of_waveform(np.zeros(0, np.float32), 8_000) == "no samples"
    assert notebook.player(np.zeros(0, np.float32), 8_000) == "no samples"
    assert "too long" in notebook.player(np.zeros(2 << 20, np.float32), 8_000)
    Balance(notebook.picture_of_waveform(np.zeros(7, np.float32), 8_000))
    Balance(ossicle.load_batch([])._repr_html_())


def test_shard(clips: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with ossicle.ShardWriter(path) as writer:
        for number in range(25):
            writer.write({"__key__": f"k{number}", "wav": clips[0].read_bytes(), "txt": b"hello"})
    page = Balance(ossicle.Shard(path)._repr_html_())
    assert "25 samples, the first 20 shown" in page.text
    assert "k19" in page.text
    assert "k20" not in page.text


def test_matplotlib_is_not_needed() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import ossicle, numpy as np\n"
        "from ossicle.audio.writing import encode\n"
        "batch = ossicle.load_batch([encode(np.zeros(800, np.float32), 8000)])\n"
        "assert '<svg' in batch._repr_html_()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


NASTY = '<script>alert("x")</script>'


def test_rows(clips: list[Path], tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    table = [
        {"audio": clips[0].name, "text": NASTY, NASTY: NASTY, "language": "en", "duration": 1.0},
        {"audio": clips[1].name, "offset": 1.0, "channel": 1, "duration": 0.5, "language": "de"},
        {"audio": f"{NASTY}.wav", "text": "missing"}, {"text": "no sound"},
        *({"text": f"row {n}"} for n in range(20)),
    ]  # fmt: skip
    manifest.write_text("".join(json.dumps(row) + "\n" for row in table) + "{\n")
    rows = read(manifest)
    for is_whole in (False, True):
        assert len(rows) == 24 if is_whole else True
        html = rows._repr_html_()
        assert "<script" not in html
        page = Balance(html)
        for text in (NASTY, "no sound", "cannot open", "row 5", "0.00 hours in 2 rows", "en", "de"):
            assert text in page.text
        assert "row 6" not in page.text
        assert ("as far as they are read" in page.text) == (not is_whole)
        players = re.findall(r"data:audio/wav;base64,([^\"]+)", html)
        held = [soundfile.read(io.BytesIO(base64.b64decode(one))) for one in players]
        assert [(len(sound), rate) for sound, rate in held] == [(16_000, 16_000), (22_050, 44_100)]
    assert "25 rows = 24 kept + 1 faults" in page.text
    Balance(read([])._repr_html_())
    inside = read([{"audio": clips[0].read_bytes(), "picture": b"\xff" * 9}])._repr_html_()
    assert "9 bytes" in Balance(inside).text


def test_manifest(tmp_path: Path) -> None:
    frame = pl.DataFrame({"wav_id": [f"w{n}" for n in range(12)], NASTY: [NASTY] * 12})
    html = MetadataManifest(frame, NASTY)._repr_html_()
    assert "<script" not in html
    page = Balance(html)
    assert "12 rows, the first 10 shown" in page.text
    assert "w9" in page.text
    assert "w10" not in page.text


def test_run() -> None:
    losses = [5.0 * 0.99**n + 0.1 for n in range(1_000)]
    evaluations = [{"step": 500.0, "loss": 1.5, "none": 3.0}, {"step": 999.0, "loss": 0.5}]
    result = TrainResult(
        losses, 0, 12.5, {"train": 9.0, "wait": 1.0}, 20, 600.0, 90, 1_000_000, "cpu",
        figures={"tokens_per_second": 1234.5}, bottleneck=NASTY, evaluations=evaluations,
        checkpoint=Path(NASTY),
    )  # fmt: skip
    html = result._repr_html_()
    assert "<script" not in html
    page = Balance(html)
    for text in (
        "1,000 steps on cpu",
        "loss 5.100 to 0.100",
        "held out",
        "no audio",
        "1,234",
        NASTY,
    ):
        assert text in page.text
    curves = [one.split() for one in re.findall(r'polyline points="([^"]+)"', html)]
    assert [len(points) for points in curves] == [334, 2, 1]
    # The first is the highest of all, the last as far right as any.
    assert curves[0][0] == "40.0,10.0"
    assert curves[0][-1].startswith("470.0,")
    assert len(html) < 20_000
    Balance(TrainResult([], 0, 0.0, {}, 0, 0.0, 0, 0, "cpu")._repr_html_())

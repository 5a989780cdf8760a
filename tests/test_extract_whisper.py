"""Features extracted from a manifest, against the encoder on each clip alone."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from ossicle.cli import app
from ossicle.collator import read_ledger
from ossicle.errors import AudioError, InvalidArgumentError
from ossicle.extract import (
    ExtractError,
    ExtractResult,
    FeatureShards,
    FingerprintError,
    extract_whisper,
)
from ossicle.extract import whisper as module
from ossicle.model import WhisperEncoder
from ossicle.train import ManifestError

TINY = WhisperEncoder("tiny-random")
SMALL = 65_536  # bytes of a shard: a few clips


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WINDOW", 7)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 clips of 0.01 to 3 s, of which rows 4 (rubbish), 5 (missing), 6 (empty), 21 (cut) fail."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(1, 41):
        samples = 0 if number == 6 else int(rng.integers(160, 48_000))
        name = f"{number}.flac" if number % 3 else f"{number}.wav"
        rate = 16_000 if number % 4 else 22_050
        soundfile.write(folder / name, rng.normal(scale=0.1, size=samples), rate)
        rows.append({"wav": name, "text": f"row {number}: né"})
    (folder / "4.flac").write_bytes(b"rubbish" * 100)
    (folder / "5.flac").unlink()
    whole = (folder / "21.wav").read_bytes()
    (folder / "21.wav").write_bytes(whole[: len(whole) // 2])
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / "manifest.jsonl").write_text(text.replace("\n", "\n\n", 1))  # a line that is empty
    return folder / "manifest.jsonl"


BAD = {5, 6, 7, 22}  # lines of the manifest


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.tar"))
    }


def run(manifest: Path, folder: Path, **options: object) -> ExtractResult:
    options = {"max_bytes": SMALL, "batch_seconds": 6.0} | options
    encoder = options.pop("encoder", TINY)
    return extract_whisper(manifest, folder / "f-%06d.tar", encoder, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an extraction that nobody stops gives."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW", 7)
        run(manifest, folder)
    return folder


@pytest.mark.parametrize("layer", ["last", 1, "all"])
def test_frames_are_those_of_the_encoder(layer: str, manifest: Path, tmp_path: Path) -> None:
    encoder = WhisperEncoder("tiny-random", layer=layer)
    seen: list[tuple[int, int]] = []
    result = run(manifest, tmp_path, encoder=encoder, progress=lambda *at: seen.append(at))
    assert seen == [(done, 40) for done in range(1, 41)]
    assert (result.rows, result.clips, result.new, len(result.faults)) == (40, 36, 36, 4)
    assert result.new_seconds == pytest.approx(
        sum(clip.seconds for clip in FeatureShards(result.shards))
    )
    shards = FeatureShards(result.shards, encoder.fingerprint)
    assert (shards.layers, len(shards)) == (encoder.layers, 36)
    lines = [line for line in range(1, 42) if line not in BAD | {2}]
    assert shards.keys() == [f"{line:09d}" for line in lines]
    for number, (clip, length) in enumerate(zip(shards, shards.lengths(), strict=True)):
        row = lines[number] - (lines[number] > 1)
        assert clip.text == f"row {row}: né"
        path = next(manifest.parent.glob(f"{row}.*"))
        waveform = resampled(path)
        assert clip.seconds == pytest.approx(len(waveform) / 16_000, abs=1e-9)
        expected = encoder(encoder.preprocess([waveform])[0])[0]
        assert clip.frames.shape == expected.shape
        assert expected.shape[-2] == length == math.ceil(math.ceil(len(waveform) / 160) / 2)
        # bfloat16 keeps 8 bits; features of the native module and of PyTorch differ by 4e-5.
        bound = expected.abs() / 256 + 2e-3
        assert ((clip.frames.float() - expected).abs() <= bound).all()


def resampled(path: Path) -> np.ndarray:
    import ossicle

    return ossicle.load(path, 16_000)[0]


def test_shards_are_as_large_as_asked_and_rows_say_where_they_are_from(whole: Path) -> None:
    paths = sorted(whole.glob("*.tar"))
    assert len(paths) > 3
    assert [path.name for path in paths] == [f"f-{n:06d}.tar" for n in range(len(paths))]
    sizes = [path.stat().st_size for path in paths]
    assert max(sizes) <= SMALL
    assert min(sizes[:-1]) > SMALL / 2
    import tarfile

    with tarfile.open(paths[0]) as tar:
        names = tar.getnames()
        assert names[:2] == ["000000001.bf16.npy", "000000001.json"]
        facts = json.load(tar.extractfile(names[1]))
    assert facts["audio"] == "1.flac"
    assert (facts["row"], facts["fingerprint"]) == (1, TINY.fingerprint)
    assert Path(f"{paths[0]}.index.parquet").exists()


def test_bad_clips_are_in_the_ledger_and_the_counts_add_up(whole: Path, manifest: Path) -> None:
    faults = read_ledger(whole / "f.faults.jsonl")
    # Rows count from 0, and the empty line is none: those of the manifest as anyone reads it.
    assert {fault.row for fault in faults} == {line - 2 for line in BAD}
    assert {Path(fault.file).name for fault in faults} == {"4.flac", "5.flac", "6.wav", "21.wav"}
    kinds = {fault.row: fault.error for fault in faults}
    assert kinds[4] == "AudioFileNotFoundError"
    assert all(fault.reason and fault.action == "skip" for fault in faults)
    outcome = json.loads((whole / "f.extract.json").read_text())["outcome"]
    assert outcome["clips"] + outcome["faults"] == 40
    assert outcome["shards"] == len(list(whole.glob("*.tar")))


def test_the_same_input_gives_the_same_bytes(whole: Path, manifest: Path, tmp_path: Path) -> None:
    run(manifest, tmp_path, threads=2)
    assert digests(tmp_path) == digests(whole)


def extract_until(row: int, manifest: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    module._WINDOW = 7
    run(manifest, folder, progress=lambda done, total: done == row and os._exit(9))


def killed_at(row: int, manifest: Path, folder: Path) -> None:
    """Runs it in a process that is gone, without goodbye, when so many rows are done."""
    # Not a fork of this one: Polars and PyTorch have threads here, which it would wait for.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ossicle.extract.whisper", "ossicle.model"])
    process = context.Process(target=extract_until, args=(row, manifest, folder))
    process.start()
    process.join()
    assert process.exitcode == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forkserver")
@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("kills", [[12, 22], [1], [8, 22, 33, 40]])
def test_who_is_killed_goes_on_behind_the_last_whole_shard(
    kills: list[int], whole: Path, manifest: Path, tmp_path: Path
) -> None:
    for row in kills:
        killed_at(row, manifest, tmp_path)
    left = digests(tmp_path)
    assert all(digests(whole)[name] == digest for name, digest in left.items())
    mtimes = {name: (tmp_path / name).stat().st_mtime_ns for name in left}
    result = run(manifest, tmp_path)
    assert digests(tmp_path) == digests(whole)
    assert all((tmp_path / name).stat().st_mtime_ns == at for name, at in mtimes.items())
    assert (result.clips, len(result.faults)) == (36, 4)
    assert result.new == 36 - sum(len(FeatureShards(tmp_path / name)) for name in left)
    theirs, ours = read_ledger(whole / "f.faults.jsonl"), read_ledger(tmp_path / "f.faults.jsonl")
    assert theirs == ours
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]


def test_what_is_done_is_not_done_again(whole: Path, manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    result = run(manifest, folder)
    assert (result.clips, result.new, result.new_seconds) == (36, 0, 0.0)
    assert digests(folder) == digests(whole)
    again = run(manifest, folder, overwrite=True, max_bytes=10 * SMALL)
    assert again.new == 36
    assert len(again.shards) == len(list(folder.glob("*.tar"))) < len(digests(whole))
    assert len(list(folder.glob("*.parquet"))) == len(again.shards)


def test_another_s_shards_are_refused(whole: Path, manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    other = WhisperEncoder("tiny-random", layer=1)
    with pytest.raises(FingerprintError) as caught:
        run(manifest, folder, encoder=other)
    assert TINY.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)
    with pytest.raises(ExtractError, match=f"max_bytes {SMALL}, not 1"):
        run(manifest, folder, max_bytes=1)
    shorter = tmp_path / "shorter.jsonl"
    rows = manifest.read_text().splitlines()
    shorter.write_text(
        "\n".join(row.replace('"wav": "', f'"wav": "{manifest.parent}/') for row in rows[:9])
    )
    with pytest.raises(ExtractError, match="manifest_sha256"):
        run(shorter, folder)
    (folder / "f-000001.tar").unlink()
    with pytest.raises(ExtractError, match=r"f-000001\.tar: is missing"):
        run(manifest, folder)
    (folder / "f.extract.json").write_text("{}")
    with pytest.raises(ExtractError):
        run(manifest, folder)
    shutil.rmtree(folder)
    shutil.copytree(whole, folder)
    (folder / "f.extract.json").unlink()
    with pytest.raises(ExtractError, match=r"without f\.extract\.json"):
        run(manifest, folder)
    assert digests(folder) == digests(whole)


def test_what_makes_no_sense_is_refused(manifest: Path, tmp_path: Path) -> None:
    for options in ({"max_seconds": 30.1}, {"max_seconds": 0}, {"max_bytes": 0}):
        with pytest.raises(InvalidArgumentError, match="max_"):
            run(manifest, tmp_path, **options)
    for name in ("f.tar", "f-%d-%d.tar", "f-%s-%d.tar"):
        with pytest.raises(InvalidArgumentError, match="one field"):
            extract_whisper(manifest, tmp_path / name, TINY)
    with pytest.raises(AudioError, match=r"none of the 40 .* longer than max_seconds, 0\.001 s"):
        run(manifest, tmp_path, max_seconds=0.001)
    assert run(manifest, tmp_path).clips == 36  # nothing was written: another attempt is free
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ManifestError):
        run(tmp_path / "empty.jsonl", tmp_path)


def test_the_command(manifest: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "f-%03d.tar")
    arguments = ["extract", "whisper", str(manifest), out, "--whisper", "tiny-random"]
    done = CliRunner().invoke(app, [*arguments, "--layer", "all", "--max-bytes", "1e6", "--json"])
    facts = json.loads(done.stdout.splitlines()[-1])
    assert done.exit_code == 1  # four rows are bad
    assert (facts["clips"], facts["faults"], facts["rows"]) == (36, 4, 40)
    assert "row 4: AudioFileNotFoundError" in done.stderr
    assert FeatureShards(facts["shards"], facts["fingerprint"]).layers == 3
    again = CliRunner().invoke(app, [*arguments, "--layer", "1"])
    assert again.exit_code == 1
    assert "FingerprintError" in again.stderr
    for wrong in ("3", "-1", "first"):
        refused = CliRunner().invoke(app, [*arguments, "--layer", wrong])
        assert "0 to 2" in refused.stderr
    assert "Examples:" in CliRunner().invoke(app, ["extract", "whisper", "--help"]).stdout

"""Manifests to shards: every row is in them or among the errors, the sound is what was decoded."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import json
import shutil
import subprocess
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import polars
import pytest
import soundfile
from commands import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ossicle
from ossicle.experiment import corpus
from ossicle.shard import PackResult, Shard, pack

ROOT = Path(__file__).parents[1]


def clip(seed: int, frames: int = 4_000, rate: int = 16_000, channels: int = 1) -> bytes:
    samples = np.random.default_rng(seed).uniform(-0.9, 0.9, (frames, channels))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def manifest_of(folder: Path, rows: Iterable[dict[str, Any] | str]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = folder / "manifest.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def samples_of(result: PackResult) -> list[dict[str, Any]]:
    found = []
    for written in result.shards:
        for sample in Shard(written.path):
            found.append(
                {
                    name: value if name == "__key__" else bytes(value)
                    for name, value in sample.items()
                }
            )
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus.make_demo(tmp_path_factory.mktemp("demo"), clips=20)


def rows_of(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def test_recordings_go_in_as_they_are(demo: Path, tmp_path: Path) -> None:
    result = pack(demo, tmp_path / "a-%02d.tar", max_samples=7)
    rows = rows_of(demo)
    assert [shard.samples for shard in result.shards] == [7, 7, 6]
    assert (result.samples, result.errors, result.errors_path) == (20, [], None)
    assert result.bytes == sum(shard.path.stat().st_size for shard in result.shards)
    found = samples_of(result)
    for row, sample in zip(rows, found, strict=True):
        recording = demo.parent / row["wav"]
        assert sample[recording.suffix[1:]] == recording.read_bytes()
        assert json.loads(sample["json"]) == row
        assert sample["__key__"] == recording.stem.replace(".", "_")
    seconds = sum(ossicle.info(demo.parent / row["wav"]).duration for row in rows)
    assert result.seconds == pytest.approx(seconds)
    # In place, from the shard.
    waveform, _ = Shard(result.shards[0].path).load(0, 16_000)
    expected, _ = ossicle.load(demo.parent / rows[0]["wav"], 16_000)
    np.testing.assert_array_equal(waveform, expected)


def test_flac_is_the_rounded_waveform(demo: Path, tmp_path: Path) -> None:
    result = pack(demo, tmp_path / "a.tar", transcode="flac", sample_rate=16_000)
    flac = shutil.which("flac")
    for row, sample in zip(rows_of(demo), samples_of(result), strict=True):
        waveform, _ = ossicle.load(demo.parent / row["wav"], 16_000)
        steps = np.clip(np.rint(waveform.astype(np.float64) * 32_768), -32_768, 32_767)
        theirs, rate = soundfile.read(io.BytesIO(sample["flac"]), dtype="int16")
        assert (rate, theirs.ndim) == (16_000, 1)
        np.testing.assert_array_equal(theirs, steps.astype(np.int16))
        info = ossicle.info(sample["flac"])
        assert (info.codec, info.bits_per_sample, info.frames) == ("flac", 16, len(waveform))
        (tmp_path / "one.flac").write_bytes(sample["flac"])
        ossicle.load(sample["flac"], verify=True)
        if flac:
            test = [flac, "--test", "--silent", "--warnings-as-errors", tmp_path / "one.flac"]
            subprocess.run(test, check=True)
        md5 = hashlib.md5(steps.astype("<i2").tobytes()).digest()
        assert sample["flac"][26:42] == md5
    for binary in oracle.decoders().values():
        (tmp_path / "first.flac").write_bytes(samples_of(result)[0]["flac"])
        raw = subprocess.run(
            [binary, "-loglevel", "error", "-i", tmp_path / "first.flac", "-f", "s16le", "-"],
            capture_output=True,
            check=True,
        )
        theirs, _ = soundfile.read(tmp_path / "first.flac", dtype="int16")
        assert raw.stdout == theirs.tobytes()
        assert raw.stderr == b""


@pytest.mark.parametrize("transcode", [None, "flac"])
def test_threads_and_turns_change_no_byte(transcode: Any, demo: Path, tmp_path: Path) -> None:
    rows = rows_of(demo)
    for row in rows:
        row["wav"] = str(demo.parent / row["wav"])
    rows.insert(3, {"wav": "missing.wav", "text": "x", "sr": 1})
    manifest = manifest_of(tmp_path, rows)
    digests = set()
    for turn, threads in enumerate((1, 1, 2, 3, 8)):
        (tmp_path / str(turn)).mkdir()
        out = tmp_path / str(turn) / "a-%d.tar"
        result = pack(manifest, out, transcode=transcode, threads=threads, max_bytes=200_000)
        assert len(result.shards) > 2
        assert [failed.row for failed in result.errors] == [3]
        whole = b"".join(shard.path.read_bytes() for shard in result.shards)
        digests.add(hashlib.sha256(whole).hexdigest())
    assert len(digests) == 1


def test_every_row_is_in_the_shards_or_among_the_errors(tmp_path: Path) -> None:
    (tmp_path / "good.wav").write_bytes(clip(1))
    (tmp_path / "cut.wav").write_bytes(clip(2)[:3_000])
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "empty.flac").write_bytes(b"")
    (tmp_path / "data.json").write_bytes(clip(3))
    (tmp_path / "bare").write_bytes(clip(3))
    (tmp_path / "folder.wav").mkdir()
    rows: list[dict[str, Any] | str] = [
        {"text": "the first row does not decide"},
        {"wav": "good.wav"},
        {"wav": "missing.wav"},
        {"wav": "text.wav"},
        "",
        "no json",
        "[1]",
        {"text": "no audio here"},
        {"wav": 7},
        {"wav": None},
        {"wav": "empty.flac"},
        {"wav": "data.json"},
        {"wav": "bare"},
        {"wav": "folder.wav"},
        {"wav": "nul\0.wav"},
        '{"wav": "good.wav", "score": NaN}',
        {"wav": "good.wav", "text": "\ud800"},
        {"wav": "good.wav", "key": "again"},
    ]
    manifest = manifest_of(tmp_path, rows)
    for transcode in (None, "flac"):
        out = tmp_path / f"{transcode}.tar"
        result = pack(manifest, out, transcode=transcode)  # type: ignore[arg-type]
        in_them = samples_of(result)
        assert result.samples == len(in_them) == (4 if transcode else 2)
        assert result.samples + len(result.errors) == len(rows) - 1
        assert [failed.row for failed in result.errors] == sorted(
            failed.row for failed in result.errors
        )
        assert result.errors_path == Path(f"{out}.errors.jsonl")
        listed = rows_of(result.errors_path)
        for failed, line in zip(result.errors, listed, strict=True):
            assert line["row"] == failed.row
            assert line["audio"] == failed.audio
            assert line["error"] == type(failed.error).__name__
            assert line["reason"] == failed.error.reason
        kinds = {line["audio"]: line["error"] for line in listed if line["audio"]}
        assert kinds["missing.wav"] == "AudioFileNotFoundError"
        assert kinds["text.wav"] == "UnsupportedFormatError"
        assert kinds["folder.wav"] == "AudioIOError"
        for failed in result.errors:
            assert failed.error.source is not None, failed
    with pytest.raises(ossicle.AudioFileNotFoundError, match=r"missing\.wav"):
        pack(manifest_of(tmp_path, rows[1:]), tmp_path / "raise.tar", on_error="raise")
    assert not (tmp_path / "raise.tar").exists()
    # A list of a run before is gone with its errors.
    manifest_of(tmp_path, rows[1:2])
    assert pack(manifest, tmp_path / "None.tar", overwrite=True).errors == []
    assert not (tmp_path / "None.tar.errors.jsonl").exists()


def test_what_is_damaged_is_an_error_of_its_row_when_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "cut.wav").write_bytes(clip(2)[:3_000])
    flac = bytearray(corpus_flac(tmp_path))
    (tmp_path / "whole.flac").write_bytes(flac)
    flac[30] ^= 1  # In its MD5.
    (tmp_path / "other.flac").write_bytes(flac)
    rows = [{"wav": name} for name in ("cut.wav", "whole.flac", "other.flac")]
    result = pack(manifest_of(tmp_path, rows), tmp_path / "a.tar", transcode="flac")
    assert [failed.audio for failed in result.errors] == ["cut.wav", "other.flac"]
    assert all(isinstance(failed.error, ossicle.CorruptAudioError) for failed in result.errors)


def corpus_flac(folder: Path) -> bytes:
    samples = np.random.default_rng(5).uniform(-0.5, 0.5, 8_000).astype(np.float32)
    return ossicle.save(folder / "made.flac", samples, 16_000).read_bytes()


def test_clipping_is_counted(tmp_path: Path) -> None:
    samples = np.zeros(1_000, np.float32)
    samples[[3, 5, 7, 9, 11]] = [1.0, -1.0, 1.5, -1.25, 32_767 / 32_768]
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    manifest = manifest_of(tmp_path, [{"wav": "a.wav"}])
    result = pack(manifest, tmp_path / "a.tar", transcode="flac")
    # 1.0 is one step too much, as the other two are.
    assert result.clipped == 3
    theirs, _ = soundfile.read(io.BytesIO(samples_of(result)[0]["flac"]), dtype="int16")
    assert theirs[[3, 5, 7, 9, 11]].tolist() == [32_767, -32_768, 32_767, -32_768, 32_767]
    assert pack(manifest, tmp_path / "b.tar").clipped == 0


def test_an_empty_recording_is_packed_or_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.int16), 16_000)
    manifest = manifest_of(tmp_path, [{"wav": "a.wav"}])
    for transcode in (None, "flac"):
        result = pack(manifest, tmp_path / f"{transcode}.tar", transcode=transcode)  # type: ignore[arg-type]
        assert result.samples + len(result.errors) == 1
        for sample in samples_of(result):
            assert len(ossicle.load(sample["flac" if transcode else "wav"])[0]) == 0


keys = st.one_of(st.none(), st.text(max_size=12), st.text("a./-2", max_size=4), st.integers(-2, 3))


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(keys, st.sampled_from(["a", "a.b", "a-2", "ü", "n" * 240])), max_size=12))
def test_keys_are_unique_and_their_rows_tell_where_they_are_from(
    tmp_path: Path, drawn: list[tuple[Any, str]]
) -> None:
    for _, stem in drawn:
        (tmp_path / f"{stem}.wav").write_bytes(clip(1, frames=10))
    rows = [{"key": key, "wav": f"{stem}.wav"} for key, stem in drawn]
    manifest = manifest_of(tmp_path, rows)
    result = pack(manifest, tmp_path / "a.tar", overwrite=True)
    found = samples_of(result)
    assert result.samples + len(result.errors) == len(rows)
    lost = {failed.row for failed in result.errors}
    kept = [row for number, row in enumerate(rows) if number not in lost]
    assert [json.loads(sample["json"]) for sample in found] == kept
    # Only what is no text at all is lost, and names with control characters.
    for number in lost:
        key = str(rows[number]["key"])
        is_control = any(unicodedata.category(character) == "Cc" for character in key)
        assert is_control or "\\ud" in json.dumps(rows[number])
    again = pack(manifest, tmp_path / "a.tar", overwrite=True)
    assert samples_of(again) == found


def test_keys_of_a_column_and_of_names(tmp_path: Path) -> None:
    for name in ("a.b.wav", "f/a.b.wav", "c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(clip(1))
    audio = ["a.b.wav", "f/a.b.wav", "c.wav"]

    def made(rows: list[dict[str, Any]], **options: Any) -> list[str]:
        result = pack(manifest_of(tmp_path, rows), tmp_path / "a.tar", overwrite=True, **options)
        return [sample["__key__"] for sample in samples_of(result)]

    assert made([{"audio_filepath": name} for name in audio]) == ["a_b", "a_b-2", "c"]
    ids = ["s1/u.1", "s1/u.1", ""]
    rows = [{"audio_path": name, "utt_id": one} for name, one in zip(audio, ids, strict=True)]
    assert made(rows) == ["s1_u_1", "s1_u_1-2", "c"]
    named = [{"mine": name, "n": number} for number, name in enumerate(audio)]
    assert made(named, audio="mine", key="n") == ["0", "1", "2"]
    for wrong in ({}, {"audio": "other"}, {"audio": "mine", "key": "other"}):
        with pytest.raises(ossicle.InvalidArgumentError, match="column"):
            made(named, **wrong)


def test_types_of_columns_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(clip(1))
    row = {"wav": "a.wav", "n": 2**70, "f": 1.0, "none": None, "list": [1, "ü"], "b": True}

    def packed(manifest: Path) -> dict[str, Any]:
        result = pack(manifest, tmp_path / "a.tar", overwrite=True)
        assert result.errors == []
        [sample] = samples_of(result)
        found: dict[str, Any] = json.loads(sample["json"])
        return found

    def same(one: Any, other: Any) -> bool:
        return repr(sorted(one.items())) == repr(sorted(other.items()))

    assert same(packed(manifest_of(tmp_path, [row])), row)
    (tmp_path / "mark.jsonl").write_text("\ufeff" + json.dumps(row) + "\n")
    assert same(packed(tmp_path / "mark.jsonl"), row)
    with (tmp_path / "m.csv").open("w", newline="") as file:
        rows = [["wav", "id", "text", "none"], ["a.wav", "007", "a,\tb\nc", ""]]
        csv.writer(file).writerows(rows)
    text = {"wav": "a.wav", "id": "007", "text": "a,\tb\nc", "none": None}
    assert same(packed(tmp_path / "m.csv"), text)
    (tmp_path / "m.tsv").write_text('wav\tid\ttext\tnone\na.wav\t007\t"a, b\t\n')
    assert same(packed(tmp_path / "m.tsv"), {**text, "text": '"a, b'})
    columns = {
        "wav": ["a.wav"],
        "n": [7],
        "f": [0.1],
        "none": polars.Series([None], dtype=polars.Int64),
        "day": [datetime.date(2026, 1, 2)],
        "nested": [{"a": [1, 2], "b": None}],
    }
    polars.DataFrame(columns).write_parquet(tmp_path / "m.parquet")
    expected = {
        "wav": "a.wav",
        "n": 7,
        "f": 0.1,
        "none": None,
        "day": "2026-01-02",
        "nested": {"a": [1, 2], "b": None},
    }
    assert same(packed(tmp_path / "m.parquet"), expected)


def test_manifests_that_cannot_be_read(tmp_path: Path) -> None:
    out = tmp_path / "a.tar"
    with pytest.raises(ossicle.AudioFileNotFoundError):
        pack(tmp_path / "none.jsonl", out)
    with pytest.raises(ossicle.AudioFileNotFoundError):
        pack(tmp_path / "none.csv", out)
    (tmp_path / "m.txt").write_text("x")
    (tmp_path / "m.parquet").write_text("no parquet")
    (tmp_path / "m.csv").write_text("wav,text\na.wav,b,c,d\n")
    for name in ("m.txt", "m.parquet"):
        with pytest.raises(ossicle.InvalidArgumentError) as caught:
            pack(tmp_path / name, out)
        assert caught.value.source == str(tmp_path / name)
    # A line of a CSV that does not fit is one row.
    assert [failed.row for failed in pack(tmp_path / "m.csv", out).errors] == [0]
    manifest = manifest_of(tmp_path, [])
    assert pack(manifest, out, overwrite=True).shards == []
    wrong: list[dict[str, Any]] = [
        {"transcode": "mp3"},
        {"on_error": "ignore"},
        {"threads": 0},
        {"max_samples": 3},
        {"sample_rate": 0, "transcode": "flac"},
    ]
    for options in wrong:
        with pytest.raises(ossicle.InvalidArgumentError):
            pack(manifest, out, **options)
    assert not out.exists()


def test_progress_counts_every_row(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(clip(1))
    manifest = manifest_of(tmp_path, [{"wav": "a.wav"}, {"wav": "b.wav"}, "", {"wav": "a.wav"}])
    seen: list[tuple[int, int]] = []
    pack(manifest, tmp_path / "a.tar", progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_shard_that_cannot_be_written_ends_the_work(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "a-2.tar").write_bytes(b"old")
    with pytest.raises(ossicle.AudioIOError):
        pack(demo, tmp_path / "a-%d.tar", max_samples=2)
    with pytest.raises(ossicle.AudioFileNotFoundError):
        pack(demo, tmp_path / "none" / "a.tar")
    with pytest.raises(ossicle.AudioIOError, match="list of errors"):
        pack(manifest_of(demo.parent / "clips", [{"wav": "x.wav"}]), tmp_path / "none" / "a.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.tar"]


def test_the_command(demo: Path, tmp_path: Path) -> None:
    done = run(
        "shard",
        demo,
        "a-%03d.tar",
        "--flac",
        "--rate",
        8_000,
        "--max-bytes",
        "2e5",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    shards = sorted(tmp_path.glob("*.tar"))
    assert len(shards) > 1
    assert all(path.stat().st_size <= 200_000 for path in shards)
    assert sum(len(Shard(path)) for path in shards) == 20
    assert "20 samples in" in done.stdout
    assert "hours" in done.stdout
    again = run("shard", demo, "a-%03d.tar", folder=tmp_path)
    assert again.returncode == 1
    assert "overwrite" in again.stderr
    (tmp_path / "bad.wav").write_text("no audio")
    rows = [{"wav": str(demo.parent / rows_of(demo)[0]["wav"])}, {"wav": "bad.wav"}]
    failed = run("shard", manifest_of(tmp_path, rows), "b.tar", folder=tmp_path)
    assert failed.returncode == 1
    assert "row 1: UnsupportedFormatError: bad.wav" in failed.stderr.replace(f"{tmp_path}/", "")
    assert "1 samples in 1 shards" in failed.stdout
    assert rows_of(tmp_path / "b.tar.errors.jsonl")[0]["row"] == 1
    # Brackets are part of a name, not of a console's markup.
    failed = run("shard", manifest_of(tmp_path, rows), "split [x].tar", folder=tmp_path)
    assert "1 rows left out, listed in split [x].tar.errors.jsonl" in failed.stderr
    usage = run("shard", "--help", folder=tmp_path)
    assert "train-%06d.tar" in usage.stdout

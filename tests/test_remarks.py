"""Where Python shows what is careless in a file that is whole, and where strict refuses it."""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import ossicle
from ossicle.audio import encode
from ossicle.audio.remarks import count_reasons, reason_of
from ossicle.cli import app
from ossicle.shard import index_path, pack, shard_remarks
from ossicle.stream.lengths import audio_lengths

RATE = 16_000
NOISE = np.random.default_rng(3).uniform(-0.5, 0.5, RATE // 2).astype(np.float32)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "500"})


@pytest.fixture
def tidy(tmp_path: Path) -> Path:
    return ossicle.save(tmp_path / "tidy.wav", NOISE, RATE)


@pytest.fixture
def careless(tmp_path: Path) -> Path:
    """A WAV as it comes out of a pipe: its writer never learned the sizes."""
    data = bytearray(encode(NOISE, RATE))
    for at in (4, 40):
        struct.pack_into("<I", data, at, 0xFFFF_FFFF)
    path = tmp_path / "careless.wav"
    path.write_bytes(data)
    return path


@pytest.fixture
def remark(careless: Path) -> str:
    (remark,) = ossicle.info(careless).remarks
    return remark


def test_info_shows_them(tidy: Path, careless: Path, remark: str) -> None:
    shown = run("info", tidy, careless)
    assert shown.exit_code == 0
    assert f"remark: {careless}: {remark}" in shown.stdout
    assert "remark: " not in run("info", tidy).stdout
    rows = [json.loads(line) for line in run("info", "--json", tidy, careless).stdout.splitlines()]
    assert [row["remarks"] for row in rows] == [[], [remark]]


@pytest.mark.parametrize("more", [(), ("--conceal",), ("--duration", 0.1)])
def test_decode_shows_them_and_refuses_them_if_strict(
    careless: Path, remark: str, tmp_path: Path, more: tuple[object, ...]
) -> None:
    target = tmp_path / "out.npy"
    strict = run("decode", careless, target, "--strict", *more)
    assert strict.exit_code == 1
    assert reason_of(remark) in strict.stderr
    assert not target.exists()
    done = run("decode", careless, target, *more)
    assert done.exit_code == 0
    assert f"remark: {careless}: {remark}" in done.stderr
    expected, _ = ossicle.load(careless, duration=0.1 if "--duration" in more else None)
    np.testing.assert_array_equal(np.load(target), expected)


@pytest.mark.parametrize("offset", [0.5, 0.6, 1e9])
def test_decode_warns_of_an_offset_past_the_end(tidy: Path, tmp_path: Path, offset: float) -> None:
    for name in ("out.npy", "out.wav", "out.flac"):
        done = run("decode", tidy, tmp_path / name, "--offset", offset)
        assert done.exit_code == 0
        assert f"past the end of {tidy} at 0.5 s" in done.stderr
    assert np.load(tmp_path / "out.npy").shape == (0,)
    assert ossicle.info(tmp_path / "out.wav").frames == 0
    done = run("decode", tidy, tmp_path / "out.npy", "--offset", 0.4, "--duration", 0)
    assert "past the end" not in done.stderr


def test_verify_shows_them_and_refuses_them_if_strict(
    tidy: Path, careless: Path, remark: str, tmp_path: Path
) -> None:
    manifest, shard = tmp_path / "rows.jsonl", tmp_path / "a.tar"
    manifest.write_text("".join(f'{{"wav": "{path.name}"}}\n' for path in (tidy, careless)))
    pack(manifest, shard)
    (found,) = shard_remarks([shard, tmp_path / "none.tar"])
    assert (found.shard, found.member) == (str(shard), "careless.wav")
    assert reason_of(found.remark) == reason_of(remark)
    line = f"{shard} [careless.wav]: {found.remark}"
    for strict, word in (((), "remark"), (("--strict",), "error")):
        done = run("verify", shard, *strict)
        assert done.exit_code == len(strict)
        assert f"{word}: {line}" in done.stderr
        assert "1 of 1 shards are whole, 1 remarks" in done.stdout
    (told,) = run("verify", "--json", shard).stdout.splitlines()
    assert json.loads(told) == found._asdict()


def test_an_index_has_those_of_a_shard(
    tidy: Path, careless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = tmp_path / "a.tar"
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("".join(f'{{"wav": "{path.name}"}}\n' for path in (tidy, careless)))
    pack(manifest, shard)
    by_index = shard_remarks(shard)
    with monkeypatch.context() as patch:
        patch.setattr("ossicle.shard.verify.info", None)
        assert shard_remarks(shard) == by_index
    # An index of another shard, or none.
    os.utime(shard, ns=(1, 1))
    assert shard_remarks(shard) == by_index
    index_path(shard).unlink()
    assert shard_remarks(shard) == by_index


def test_an_index_of_before_remarks_leaves_them_to_the_headers(
    careless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, shard = tmp_path / "rows.jsonl", tmp_path / "a.tar"
    manifest.write_text(f'{{"wav": "{careless.name}"}}\n')
    pack(manifest, shard)
    expected = shard_remarks(shard)
    monkeypatch.setattr("ossicle.shard.verify.read_index", lambda *_: None)
    assert len(expected) == 1
    assert shard_remarks(shard) == expected


@pytest.mark.parametrize("seconds", [None, 1.0])
def test_features_refuse_them_if_strict(
    tidy: Path, careless: Path, remark: str, seconds: float | None
) -> None:
    files = [tidy, careless]
    features = ossicle.load_features(files, pad_to_seconds=seconds)
    assert features.errors == [None, None]
    strict = ossicle.load_features(files, pad_to_seconds=seconds, strict=True, on_error="collect")
    assert strict.errors[0] is None
    assert strict.errors[1].reason == reason_of(remark)
    np.testing.assert_array_equal(strict.input_features[0], features.input_features[0])
    with pytest.raises(ossicle.AudioError):
        ossicle.load_features(files, pad_to_seconds=seconds, strict=True)


def test_a_member_is_refused_if_strict(careless: Path, remark: str, tmp_path: Path) -> None:
    with ossicle.ShardWriter(tmp_path / "a.tar") as writer:
        writer.write({"__key__": "a", "wav": careless.read_bytes()})
    shard = ossicle.Shard(tmp_path / "a.tar")
    np.testing.assert_array_equal(shard.load("a")[0], ossicle.load(careless)[0])
    with pytest.raises(ossicle.AudioError, match=re.escape(reason_of(remark))):
        shard.load("a", strict=True)


def test_lengths_have_them(tidy: Path, careless: Path, remark: str) -> None:
    array = {"array": NOISE, "sampling_rate": RATE}
    found = audio_lengths([tidy, careless, {"audio": [careless, tidy, careless]}, array])
    assert found.remarks == [(), (remark,), (remark, remark), ()]


def test_lengths_of_an_index_have_them() -> None:
    polars = pytest.importorskip("polars")
    columns = {"frames": [1, 2, 3], "sample_rate": [8_000] * 3}
    assert audio_lengths(polars.DataFrame(columns)).remarks == [(), (), ()]
    columns["remarks"] = ["a (byte 4)\nb", None, "c"]
    found = audio_lengths(polars.DataFrame(columns)).remarks
    assert found == [("a (byte 4)", "b"), (), ("c",)]


def test_reasons_are_counted_once_a_recording() -> None:
    remarks = [("b (byte 4)", "a"), ("b (byte 9)", "b (byte 7)"), (), ("c",)]
    assert count_reasons(remarks) == {"b": 2, "a": 1, "c": 1}
    assert reason_of("of (byte 3) and (byte 44)") == "of (byte 3) and"


def test_the_collator_and_preflight(careless: Path, remark: str) -> None:
    pytest.importorskip("transformers")
    from ossicle.collator import AudioLmCollator, preflight
    from ossicle.experiment.tiny import AUDIO, tiny_qwen2_audio_processor, tiny_tokenizer

    rows = [{"audio_path": str(careless), "text": f"{AUDIO} a"}] * 2
    options = {
        "processor": tiny_qwen2_audio_processor(tiny_tokenizer(["a"])),
        "sample_rate": RATE,
        "max_length_seconds": 30.0,
    }
    collator = AudioLmCollator(**options)
    collator(rows)
    frame = preflight(rows, collator, show=False)
    assert frame["remarks"].to_list() == [[remark]] * 2
    assert frame["problem"].null_count() == 2
    with pytest.raises(ossicle.AudioError) as caught:
        AudioLmCollator(**options, strict=True)(rows)
    assert caught.value.reason == reason_of(remark)


def test_preflight_prints_the_reasons(
    careless: Path, remark: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    from ossicle.collator import AudioLmCollator, preflight
    from ossicle.experiment.tiny import AUDIO, tiny_qwen2_audio_processor, tiny_tokenizer

    processor = tiny_qwen2_audio_processor(tiny_tokenizer(["a"]))
    collator = AudioLmCollator(processor=processor, sample_rate=RATE, max_length_seconds=30.0)
    preflight([{"audio_path": str(careless), "text": f"{AUDIO} a"}] * 2, collator)
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert reason_of(remark).split()[0] in printed
    assert "rows with remarks 2" in printed


def test_a_run_counts_clips_by_reason(careless: Path, remark: str, tmp_path: Path) -> None:
    from ossicle.train import TrainConfig
    from ossicle.train import run as train

    manifest = tmp_path / "rows.jsonl"
    manifest.write_text(json.dumps({"wav": careless.name, "text": "noise"}) + "\n")
    options = {"steps": 1, "max_batch_seconds": 30.0, "loss_drop_min": None}
    result = train(TrainConfig(manifest, whisper="tiny-random", out=tmp_path / "run", **options))
    assert result.remarks == {reason_of(remark): 1}
    told = json.loads((tmp_path / "run" / "result.json").read_text())
    assert told["remarks"] == result.remarks

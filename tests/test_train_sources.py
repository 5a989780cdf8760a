"""The same clips out of every form of data, and what is wrong with some, each time named."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars
import pytest
import torch
import training
from ossicle.data.clips import read_manifest

import ossicle
from ossicle.errors import AudioError, AudioFileNotFoundError
from ossicle.model import WhisperEncoder
from ossicle.shard import ShardWriter
from ossicle.shard.encoder_features import FRAMES, FingerprintError, bf16_array
from ossicle.train import ManifestError
from ossicle.train.sources import AudioClips, LoadedClip, open_source


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    return WhisperEncoder("tiny-random")


def as_json(manifest: Path) -> Path:
    return manifest


def as_folder(manifest: Path) -> Path:
    return manifest.parent


def as_parquet(manifest: Path) -> Path:
    rows = [
        {"wav_id": clip.name, "audio_path": clip.path.name, "text": clip.text, "snr_mean": 3.0}
        for clip in read_manifest(manifest)
    ]
    path = manifest.with_suffix(".parquet")
    polars.DataFrame(rows).write_parquet(path)
    return path


def as_shards(manifest: Path) -> Path:
    folder = manifest.parent / "shards"
    folder.mkdir(exist_ok=True)
    clips = read_manifest(manifest)
    for part, members in enumerate((clips[:2], clips[2:])):
        with ShardWriter(folder / f"{part}.tar", overwrite=True) as writer:
            for n, clip in enumerate(members):
                text = {"text": clip.text} if n % 2 else {"json": {"text": clip.text, "n": n}}
                audio = clip.path.read_bytes()
                writer.write({"__key__": clip.name.replace(" ", "-"), "wav": audio, **text})
    return folder


def as_pattern(manifest: Path) -> str:
    return str(as_shards(manifest) / "*.tar")


@pytest.mark.parametrize("form", [as_json, as_folder, as_parquet, as_shards, as_pattern])
def test_every_form_of_data_gives_the_same_clips(
    form: Callable[[Path], Path | str], tones: Path, encoder: WhisperEncoder
) -> None:
    data = form(tones)
    source = open_source(data, training.small(data), encoder)
    assert len(source) == 5
    assert source.texts() == [text for _, text in training.TONES]
    np.testing.assert_allclose(source.seconds(), training.SECONDS, atol=1e-4)
    rows = [4, 0, 2]
    for row, example in zip(rows, source.load(rows), strict=True):
        assert isinstance(example, LoadedClip)
        clip = read_manifest(tones)[row]
        waveform, _ = ossicle.load(clip.path, 16_000)
        expected = ossicle.log_mel_spectrogram(waveform, pad_to_seconds=None)
        assert np.array_equal(example.frames.numpy(), expected)
        assert example.text == clip.text
        assert example.seconds == pytest.approx(training.SECONDS[row], abs=1e-4)
        assert source.row_name(row).id.replace("-", " ") == f"tone {training.TONES[row][0]}"


def test_columns_may_have_other_names(tones: Path, encoder: WhisperEncoder, tmp_path: Path) -> None:
    rows = [{"file": str(clip.path), "words": clip.text} for clip in read_manifest(tones)]
    polars.DataFrame(rows).write_parquet(tmp_path / "m.parquet")
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path in (tmp_path / "m.parquet", tmp_path / "m.jsonl"):
        config = training.small(path, audio_column="file", text_column="words")
        assert open_source(path, config, encoder).texts() == [text for _, text in training.TONES]
    with pytest.raises((ManifestError, AudioError), match="no `text`"):
        open_source(tmp_path / "m.parquet", training.small("x", audio_column="file"), encoder)


def test_padding_and_cutting_are_what_the_extractor_of_hugging_face_gives(
    tones: Path, encoder: WhisperEncoder
) -> None:
    config = training.small(tones, pad_to_seconds=30.0)
    (example,) = open_source(tones, config, encoder).load([1])
    waveform, _ = ossicle.load(read_manifest(tones)[1].path, 16_000)
    theirs = encoder.feature_extractor(waveform, sampling_rate=16_000, return_tensors="np")
    # Its PyTorch path is 4e-5 away from its own NumPy path.
    np.testing.assert_allclose(example.frames, theirs["input_features"][0], atol=1e-4)
    (cut,) = open_source(tones, training.small(tones, max_seconds=0.25), encoder).load([1])
    assert cut.frames.shape == (80, 25)


def test_bad_rows_are_raised_or_left_out_and_counted(
    tones: Path, encoder: WhisperEncoder, tmp_path: Path
) -> None:
    lines = tones.read_text().splitlines()
    lines[1:1] = ['{"wav": "a.wav"}', "[]", "{"]
    bad = tones.with_name("bad.jsonl")
    bad.write_text("\n".join(lines))
    with pytest.raises(ManifestError, match=r"bad\.jsonl, row 1 \(line 2\): no `text`"):
        open_source(bad, training.small(bad), encoder)
    source = open_source(bad, training.small(bad, on_error="skip"), encoder)
    assert len(source) == 5
    assert [(s.row, s.reason.split(":")[0]) for s in source.skipped] == [
        (1, "no `text`"),
        (2, "not a JSON object but list"),
        (3, "not valid JSON"),
    ]
    (tmp_path / "all-bad.jsonl").write_text("[]\n[]\n")
    with pytest.raises(ManifestError, match=r"row 0 \(line 1\): not a JSON object"):
        open_source(tmp_path / "all-bad.jsonl", training.small("x", on_error="skip"), encoder)
    for name in ("none.jsonl", "none.parquet", "none.tar", "none"):
        with pytest.raises((FileNotFoundError, AudioFileNotFoundError)):
            open_source(tmp_path / name, training.small("x"), encoder)


def test_samples_of_a_shard_without_text_or_audio_are_named(
    tones: Path, encoder: WhisperEncoder, tmp_path: Path
) -> None:
    audio = read_manifest(tones)[0].path.read_bytes()
    path = tmp_path / "some.tar"
    with ShardWriter(path) as writer:
        writer.write({"__key__": "fine", "wav": audio, "txt": "yes"})
        writer.write({"__key__": "mute", "txt": "no sound"})
        writer.write({"__key__": "wordless", "wav": audio})
        writer.write({"__key__": "odd", "wav": audio, "json": {"text": 5}})
        writer.write({"__key__": "broken", "wav": b"RIFF", "txt": "no wave"})
    with pytest.raises(ManifestError, match="sample 'mute': it has 0 recordings"):
        open_source(path, training.small(path), encoder)
    source = open_source(path, training.small(path, on_error="skip"), encoder)
    assert source.texts() == ["yes", "no wave"]
    assert [one.reason.split("'")[1] for one in source.skipped] == ["mute", "wordless", "odd"]
    fine, broken = source.load([0, 1])
    assert isinstance(fine, LoadedClip)
    assert isinstance(broken, AudioError)
    assert np.isnan(source.seconds()).tolist() == [False, True]


def write_features(path: Path, encoder: WhisperEncoder, tones: Path, fingerprint: str) -> None:
    source = AudioClips(read_manifest(tones))
    with ShardWriter(path, overwrite=True) as writer:
        for row, example in enumerate(source.load(range(len(source)))):
            assert isinstance(example, LoadedClip)
            frames = encoder(example.frames[None])[0]
            facts = {
                "text": example.text,
                "seconds": example.seconds,
                "row": row + 1,
                "audio": "x.wav",
                "fingerprint": fingerprint,
            }
            writer.write({"__key__": f"{row}", FRAMES: npy(bf16_array(frames)), "json": facts})


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_features_are_the_encoders_and_another_encoders_are_refused(
    tones: Path, encoder: WhisperEncoder, tmp_path: Path
) -> None:
    path = tmp_path / "features.tar"
    write_features(path, encoder, tones, encoder.fingerprint)
    source = open_source(path, training.small(path), encoder)
    assert source.is_encoded
    assert source.texts() == [text for _, text in training.TONES]
    np.testing.assert_allclose(source.seconds(), training.SECONDS, atol=0.021)
    audio = open_source(tones, training.small(tones), encoder)
    for row in range(5):
        (found,), (mel,) = source.load([row]), audio.load([row])
        expected = encoder(mel.frames[None])[0]
        assert torch.equal(found.frames, expected.bfloat16())
        assert found.text == mel.text
    write_features(path, encoder, tones, "0" * 64)
    with pytest.raises(FingerprintError, match="0000"):
        open_source(path, training.small(path), encoder)


def test_the_digest_tells_data_apart_and_not_where_they_lie(
    tones: Path, encoder: WhisperEncoder, tmp_path: Path
) -> None:
    first = open_source(tones, training.small(tones), encoder).sha256
    moved = training.write_tones(tmp_path / "moved")
    assert open_source(moved, training.small(moved), encoder).sha256 == first
    moved.write_text(moved.read_text().replace("middle", "muddle"))
    assert open_source(moved, training.small(moved), encoder).sha256 != first

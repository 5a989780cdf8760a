"""The same clips out of every form of data, and what is wrong with some, each time named."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars
import pytest
import torch
import training

import ossicle
from ossicle.data import Utterances, read
from ossicle.data.utterances import utterances_of
from ossicle.errors import AudioError, AudioFileNotFoundError
from ossicle.faults import read_ledger
from ossicle.model import ByteTokenizer, WhisperEncoder
from ossicle.shard import ShardWriter
from ossicle.shard.encoder_features import FRAMES, FingerprintError, bf16_array
from ossicle.train import ManifestError, run
from ossicle.train.result import TooLongError
from ossicle.train.sources import AudioClips, LoadedClip, open_source

COLUMNS = "audio=mine, text=words"


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
        {"wav_id": clip.name, "audio_path": Path(str(clip.file)).name, "text": clip.text}
        for clip in utterances_of(manifest)
    ]
    path = manifest.with_suffix(".parquet")
    polars.DataFrame(rows).write_parquet(path)
    return path


def as_embedded(manifest: Path) -> Path:
    path = manifest.with_name("embedded.parquet")
    read(manifest).write(path, embed=True)
    return path


def as_csv(manifest: Path) -> Path:
    path = manifest.with_suffix(".csv")
    read(manifest).write(path)
    return path


def as_shards(manifest: Path) -> Path:
    folder = manifest.parent / "shards"
    folder.mkdir(exist_ok=True)
    clips = utterances_of(manifest)
    for part, members in enumerate((clips[:2], clips[2:])):
        with ShardWriter(folder / f"{part}.tar", overwrite=True) as writer:
            for n, clip in enumerate(members):
                text = {"text": clip.text} if n % 2 else {"json": {"text": clip.text, "n": n}}
                audio = Path(str(clip.file)).read_bytes()
                writer.write({"__key__": clip.name.replace(" ", "-"), "wav": audio, **text})
    return folder


def as_pattern(manifest: Path) -> str:
    return str(as_shards(manifest) / "*.tar")


FORMS = [as_json, as_folder, as_parquet, as_embedded, as_csv, as_shards, as_pattern]


@pytest.mark.parametrize("form", FORMS)
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
        clip = utterances_of(tones)[row]
        waveform, _ = ossicle.load(str(clip.file), 16_000)
        expected = ossicle.log_mel_spectrogram(waveform, pad_to_seconds=None)
        assert np.array_equal(example.frames.numpy(), expected)
        assert example.text == clip.text
        assert example.seconds == pytest.approx(training.SECONDS[row], abs=1e-4)
        assert source.row_name(row).id.replace("-", " ") == f"tone {training.TONES[row][0]}"


def test_columns_may_have_other_names(tones: Path, encoder: WhisperEncoder, tmp_path: Path) -> None:
    rows = [{"mine": str(clip.file), "words": clip.text} for clip in utterances_of(tones)]
    polars.DataFrame(rows).write_parquet(tmp_path / "m.parquet")
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path in (tmp_path / "m.parquet", tmp_path / "m.jsonl"):
        for told in ({"audio_column": "mine", "text_column": "words"}, {"columns": COLUMNS}):
            source = open_source(path, training.small(path, **told), encoder)
            assert source.texts() == [text for _, text in training.TONES]
    with pytest.raises(ManifestError, match=r"no text: its columns are audio, words"):
        open_source(tmp_path / "m.parquet", training.small("x", audio_column="mine"), encoder)
    with pytest.raises(ValueError, match="columns must be like audio="):
        training.small("x", columns="audio")


def test_padding_and_cutting_are_what_the_extractor_of_hugging_face_gives(
    tones: Path, encoder: WhisperEncoder
) -> None:
    config = training.small(tones, pad_to_seconds=30.0)
    (example,) = open_source(tones, config, encoder).load([1])
    waveform, _ = ossicle.load(str(utterances_of(tones)[1].file), 16_000)
    theirs = encoder.feature_extractor(waveform, sampling_rate=16_000, return_tensors="np")
    # Its PyTorch path is 4e-5 away from its own NumPy path.
    np.testing.assert_allclose(example.frames, theirs["input_features"][0], atol=1e-4)
    config = training.small(tones, max_seconds=0.25, too_long="cut")
    (cut,) = open_source(tones, config, encoder).load([1])
    assert (cut.frames.shape, cut.is_cut) == ((80, 25), True)


def test_bad_rows_are_raised_or_left_out_and_counted(
    tones: Path, encoder: WhisperEncoder, tmp_path: Path
) -> None:
    lines = tones.read_text().splitlines()
    lines[1:1] = ['{"wav": "a.wav"}', "[]", "{", '{"text": "no sound"}']
    bad = tones.with_name("bad.jsonl")
    bad.write_text("\n".join(lines))
    with pytest.raises(ManifestError, match=r"bad\.jsonl, row 1 \(line 2\): no text"):
        open_source(bad, training.small(bad), encoder)
    source = open_source(bad, training.small(bad, on_error="skip"), encoder)
    assert len(source) == 5
    assert [(s.row, s.reason.split(":")[0]) for s in source.skipped] == [
        (1, "no text"),
        (2, "not a JSON object but list"),
        (3, "not valid JSON"),
        (4, "no recording"),
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
    audio = Path(str(utterances_of(tones)[0].file)).read_bytes()
    path = tmp_path / "some.tar"
    with ShardWriter(path) as writer:
        writer.write({"__key__": "fine", "wav": audio, "txt": "yes"})
        writer.write({"__key__": "mute", "txt": "no sound"})
        writer.write({"__key__": "wordless", "wav": audio})
        writer.write({"__key__": "odd", "wav": audio, "json": {"text": 5}})
        writer.write({"__key__": "broken", "wav": b"RIFF", "txt": "no wave"})
        writer.write({"__key__": "two", "wav": audio, "flac": b"", "txt": "which"})
    with pytest.raises(ManifestError, match=r"some\.tar, row 1: no recording"):
        open_source(path, training.small(path), encoder)
    source = open_source(path, training.small(path, on_error="skip"), encoder)
    assert source.texts() == ["yes", "5", "no wave"]
    reasons = [(one.row, one.reason.partition(":")[0]) for one in source.skipped]
    assert reasons == [(1, "no recording"), (2, "no text"), (5, "sample 'two'")]
    fine, broken = source.load([0, 2])
    assert isinstance(fine, LoadedClip)
    assert isinstance(broken, AudioError)
    assert np.isnan(source.seconds()).tolist() == [False, False, True]


def write_features(path: Path, encoder: WhisperEncoder, tones: Path, fingerprint: str) -> None:
    source = AudioClips(Utterances(read(tones)))
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


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments of one stereo file, whole clips of which two say so, and a text alone."""
    folder = tmp_path_factory.mktemp("segments")
    noise = np.random.default_rng(0).normal(scale=0.1, size=(2, 22_050)).astype(np.float32)
    ossicle.save(folder / "two.wav", noise, 22_050)
    rows: list[dict[str, object]] = [
        {"audio": "two.wav", "text": f"t{n}"} | part for n, part in enumerate(PARTS)
    ]
    text = "".join(json.dumps(row) + "\n" for row in [*rows, {"text": "a text alone"}])
    (folder / "m.jsonl").write_text(text)
    return folder / "m.jsonl"


PARTS: list[dict[str, float]] = [
    {"offset": 0.0, "duration": 0.25},
    {"offset": 0.25, "duration": 0.5, "channel": 0},
    {"start": 0.5, "end": 0.9, "channel": 1},
    {"duration": 0.99},  # of the whole, rounded
    {},
    {"offset": 0.6},
]


def test_segments_are_clips_of_their_own(segments: Path, encoder: WhisperEncoder) -> None:
    source = open_source(segments, training.small(segments), encoder, with_texts=True)
    assert len(source) == len(PARTS) + 1
    seconds = source.seconds()
    for row, part in enumerate(PARTS):
        begin = part.get("offset", part.get("start", 0.0))
        end = part.get("end", begin + part.get("duration", 9.0)) if begin or len(part) > 1 else 9.0
        channel = part.get("channel")
        waveform, _ = ossicle.load(segments.with_name("two.wav"), 16_000, mono=channel is None)
        waveform = waveform if channel is None else waveform[int(channel)]
        waveform = waveform[round(begin * 16_000) : round(end * 16_000)]
        (clip,) = source.load([row])
        expected = ossicle.log_mel_spectrogram(waveform, pad_to_seconds=None)
        assert np.array_equal(clip.frames.numpy(), expected)
        assert clip.seconds == len(waveform) / 16_000
        assert seconds[row] == pytest.approx(clip.seconds, abs=1e-3)
    (silent,) = source.load([len(PARTS)])
    assert (silent.frames.shape, silent.text, silent.seconds) == ((80, 0), "a text alone", 0.0)
    other = segments.with_name("other.jsonl")
    other.write_text(segments.read_text().replace("0.25", "0.26"))
    moved = open_source(other, training.small(other), encoder, with_texts=True)
    assert moved.sha256 != source.sha256


def test_clips_that_are_too_long(segments: Path, encoder: WhisperEncoder) -> None:
    config = training.small(segments, max_seconds=0.5)
    source = open_source(segments, config, encoder, with_texts=True)
    # A second of audio, of which half may be taken; what fills that exactly is not too long.
    assert np.isnan(source.seconds()).tolist() == [False, False, False, True, True, False, False]
    found = source.load(range(5))
    assert [isinstance(one, TooLongError) for one in found] == [False, False, False, True, True]
    assert "two.wav (row 4): the clip is too long: 1 s, at most 0.5 s" in str(found[4])


def as_texts_beside(manifest: Path) -> Path:
    folder = manifest.parent / "beside"
    folder.mkdir(exist_ok=True)
    for clip in utterances_of(manifest):
        audio = Path(str(clip.file))
        (folder / audio.name).write_bytes(audio.read_bytes())
        (folder / audio.with_suffix(".txt").name).write_text(clip.text)
    return folder


def test_a_run_is_the_same_from_every_form(tones: Path) -> None:
    forms = [as_json, as_embedded, as_texts_beside, as_pattern]
    losses = [run(training.small(form(tones), steps=2)).losses for form in forms]
    assert losses[1:] == losses[:1] * 3


def test_texts_without_sound_are_trained_on(tones: Path, tmp_path: Path) -> None:
    """The loss of a step is the mean over all its tokens, whether they are heard or not."""
    texts = ["a text", "without any sound"]
    alone = [{"text": text} for text in texts]
    rows = [{"audio": str(one.file), "text": one.text} for one in utterances_of(tones)]
    found = []
    for number, part in enumerate(([*rows, *alone], rows, alone)):
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in part))
        found.append(run(training.small(path, steps=1)).losses[0])
    heard = sum(len(ByteTokenizer().encode(text)) - 1 for _, text in training.TONES)
    read_alone = sum(len(ByteTokenizer().encode(text)) - 1 for text in texts)
    mean = (found[1] * heard + found[2] * read_alone) / (heard + read_alone)
    assert found[0] == pytest.approx(mean, abs=1e-5)
    mixed = training.small(tmp_path / "0.jsonl", steps=3, max_batch_seconds=2.0, accumulate=2)
    assert run(mixed).faults == {}


def test_counts_add_up_from_rows_to_steps(segments: Path, tmp_path: Path) -> None:
    bad = segments.with_name("bad.jsonl")
    bad.write_text(segments.read_text() + '[]\n{"audio": "gone.wav", "text": "t"}\n')
    told = []
    config = training.small(bad, on_error="skip", too_long="drop", max_seconds=0.5, out=tmp_path)
    result = run(config, progress=lambda at: told.append(at.counts))
    assert (result.rows, result.clips, result.skipped) == (9, 5, 4)
    assert result.counts.startswith("9 rows = 5 clips + 4 faults (2 x the clip is too long; 1 x ")
    assert told[0] == "", "nothing is read yet"
    assert told[-1] == "9 rows = 8 clips + 1 faults (1 x not a JSON object but list)"
    ledger = read_ledger(tmp_path / "skipped.jsonl")
    assert [fault.row for fault in ledger] == [3, 4, 7, 8]
    cut = run(replace(config, out=None, too_long="cut"))
    assert (cut.rows, cut.skipped, cut.cut) == (9, 2, 2)

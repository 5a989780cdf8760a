"""The collator against its contract done naively: soundfile, NumPy, soxr, one processor call."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import ossicle.data.load
from ossicle.cache import WaveformCache
from ossicle.collator import (
    AudioLmCollator,
    ClipTooShortError,
    CollatorError,
    EmptyBatchError,
    RowError,
    SampleRateMismatchError,
    TextTooLongError,
)
from ossicle.errors import AudioError, AudioFileNotFoundError
from ossicle.experiment.tiny import AUDIO, WORDS, tiny_qwen2_audio_processor, tiny_tokenizer

RATE = 16_000
SPEECH = Path(__file__).resolve().parents[2] / "shared" / "data" / "speech"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Features of a few clips are slower on several threads where other work is going on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def processor() -> Any:
    return tiny_qwen2_audio_processor()


def collator_of(processor: Any, /, **changes: Any) -> AudioLmCollator:
    # All that is not padding, as the processor's own ids are compared.
    arguments = {
        "processor": processor,
        "sample_rate": RATE,
        "max_length_seconds": 30.0,
        "loss_on": "all",
        **changes,
    }
    return AudioLmCollator(**arguments)


def write_clip(
    path: Path, frames: int, *, rate: int = RATE, channels: int = 1, subtype: str = "PCM_16"
) -> Path:
    """Decaying noise over a tone of 440 Hz, another noise in each channel."""
    random = np.random.default_rng(frames * 31 + channels)
    time = np.arange(frames)[:, None] / rate
    noise = random.normal(0, 0.05, (frames, channels)) * np.exp(-time)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * time) + noise, rate, subtype=subtype)
    return path


def row_of(path: Path, words: str = "one two", **more: Any) -> dict[str, Any]:
    return {"audio_path": str(path), "text": f"{AUDIO} {words}", **more}


def hashed(row: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(Path(row["audio_path"]).read_bytes()).hexdigest()
    return {**row, "audio_blob_sha": digest}


def naive_waveform(path: str, seconds: float) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE, quality="VHQ")
    return mono[: round(seconds * RATE)]


def naive_batch(
    processor: Any, rows: list[dict[str, Any]], seconds: float = 30.0
) -> dict[str, torch.Tensor]:
    batch = processor(
        text=[row["text"] for row in rows],
        audio=[naive_waveform(row["audio_path"], seconds) for row in rows],
        sampling_rate=RATE,
        return_tensors="pt",
        padding=True,
    )
    labels = batch["input_ids"].clone()
    labels[labels == processor.tokenizer.pad_token_id] = -100
    return {**batch, "labels": labels}


def assert_equal(got: dict[str, Any], wanted: dict[str, Any], tolerance: float = 1e-5) -> None:
    assert set(got) == set(wanted)
    for name, value in wanted.items():
        assert got[name].dtype == value.dtype, name
        if value.is_floating_point():
            torch.testing.assert_close(got[name], value, rtol=0, atol=tolerance)
        else:
            assert torch.equal(got[name], value), name


# The batch


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("extension", "subtype"),
    [
        ("wav", "PCM_16"),
        ("wav", "PCM_24"),
        ("wav", "FLOAT"),
        ("flac", "PCM_16"),
        ("flac", "PCM_24"),
    ],
)
def test_batch_equals_the_naive_one(
    processor: Any, tmp_path: Path, extension: str, subtype: str, channels: int
) -> None:
    rows = [
        row_of(
            write_clip(tmp_path / f"{n}.{extension}", frames, channels=channels, subtype=subtype),
            " ".join(WORDS[: n + 1]),
        )
        for n, frames in enumerate((16_000, 5_003, 24_159))
    ]
    assert_equal(collator_of(processor)(rows), naive_batch(processor, rows))


@given(
    frames=st.lists(st.integers(321, 12_000), min_size=1, max_size=3),
    cap=st.floats(0.025, 1.0),
    words=st.integers(0, 5),
)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_batch_equals_the_naive_one_at_any_length(
    processor: Any, tmp_path: Path, frames: list[int], cap: float, words: int
) -> None:
    rows = [
        row_of(write_clip(tmp_path / f"{i}.wav", n), " ".join(WORDS[:words]))
        for i, n in enumerate(frames)
    ]
    batch = collator_of(processor, max_length_seconds=cap)(rows)
    assert_equal(batch, naive_batch(processor, rows, cap))
    mel_frames = [math.ceil(min(n, round(cap * RATE)) / 160) for n in frames]
    assert batch["feature_attention_mask"].sum(dim=1).tolist() == mel_frames


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_auto_resample_is_close_to_soxr(
    processor: Any, tmp_path: Path, rate: int, channels: int
) -> None:
    row = row_of(write_clip(tmp_path / "a.flac", 2 * rate, rate=rate, channels=channels))
    got = collator_of(processor, auto_resample=True, max_length_seconds=1.5)([row])
    wanted = naive_batch(processor, [row], 1.5)
    mels = got.pop("input_features"), wanted.pop("input_features")
    assert_equal(got, wanted)
    # Two good filters differ in the transition band and at the ends, nowhere else: the bins up to
    # 80 % of the lower Nyquist frequency agree.
    passed = 80 if rate == 8_000 else 115
    difference = (mels[0] - mels[1])[0, :passed, 2:148].abs()
    assert difference.max() < 0.01


def test_padding_is_where_the_mask_says_not_where_the_pad_token_is(tmp_path: Path) -> None:
    processor = tiny_qwen2_audio_processor(tiny_tokenizer(pad_is_eos=True))
    clip = write_clip(tmp_path / "a.wav", RATE)
    rows = [row_of(clip, "one <|endoftext|>"), row_of(clip, "one two three four <|endoftext|>")]
    batch = collator_of(processor)(rows)
    eos = processor.tokenizer.eos_token_id
    padding = batch["attention_mask"] == 0
    assert padding.sum() == 3
    assert torch.equal(batch["labels"] == -100, padding)
    assert ((batch["labels"] == eos).sum(dim=1) == 1).all()


def test_left_padding_keeps_labels_and_mask_together(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "left"
    processor = tiny_qwen2_audio_processor(tokenizer)
    clip = write_clip(tmp_path / "a.wav", RATE)
    rows = [row_of(clip, "one"), row_of(clip, "one two three")]
    batch = collator_of(processor)(rows)
    assert_equal(batch, naive_batch(processor, rows))
    assert batch["labels"][0, :2].tolist() == [-100, -100]


def test_a_batch_is_one_native_call(
    processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    decode = ossicle.data.load.load_batch

    def counted(sources: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(list(sources))
        return decode(sources, *args, **kwargs)

    monkeypatch.setattr(ossicle.data.load, "load_batch", counted)
    rows = [row_of(write_clip(tmp_path / f"{i}.wav", RATE)) for i in range(4)]
    collator_of(processor)(rows)
    assert calls == [[row["audio_path"] for row in rows]]


def test_paths_may_be_path_objects(processor: Any, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.wav", RATE)
    row = row_of(path)
    collator = collator_of(processor)
    assert_equal(collator([{**row, "audio_path": path}]), collator([row]), 0)


# The text's length


@pytest.mark.parametrize("max_length", [30, 31, 33, 100])
def test_max_length_equals_the_processors_own_truncation(
    processor: Any, tmp_path: Path, max_length: int
) -> None:
    clip = write_clip(tmp_path / "a.wav", RATE)  # 25 placeholders and two marks
    rows = [row_of(clip, "one two three four five six"), row_of(clip, "one two")]
    wanted = processor(
        text=[row["text"] for row in rows],
        audio=[naive_waveform(row["audio_path"], 30.0) for row in rows],
        sampling_rate=RATE,
        return_tensors="pt",
        text_kwargs={"padding": True, "truncation": True, "max_length": max_length},
    )
    got = collator_of(processor, max_length=max_length)(rows)
    got.pop("labels")
    assert_equal(got, dict(wanted))


@given(
    before=st.integers(0, 6),
    after=st.integers(0, 6),
    max_length=st.integers(17, 34),
    truncation_side=st.sampled_from(["left", "right"]),
    padding_side=st.sampled_from(["left", "right"]),
    appends_eos=st.booleans(),
)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_truncation_takes_text_alone(
    tmp_path: Path,
    before: int,
    after: int,
    max_length: int,
    truncation_side: str,
    padding_side: str,
    appends_eos: bool,
) -> None:
    tokenizer = tiny_tokenizer(appends_eos=appends_eos)
    tokenizer.truncation_side, tokenizer.padding_side = truncation_side, padding_side
    processor = tiny_qwen2_audio_processor(tokenizer)
    clip = write_clip(tmp_path / "a.wav", RATE // 2)  # 13 placeholders and two marks
    texts = [" ".join([*WORDS[:before], AUDIO, *WORDS[4 : 4 + after]]), f"{AUDIO} one"]
    rows = [{"audio_path": str(clip), "text": text} for text in texts]
    got = collator_of(processor, max_length=max_length)(rows)
    whole = collator_of(processor)(rows)
    for row in range(2):
        ids = whole["input_ids"][row][whole["attention_mask"][row] == 1].tolist()
        wanted = _shortened(ids, max_length, truncation_side, tokenizer)
        assert got["input_ids"][row][got["attention_mask"][row] == 1].tolist() == wanted
    assert torch.equal(got["labels"] == -100, got["attention_mask"] == 0)
    assert torch.equal(got["input_ids"] == tokenizer.pad_token_id, got["attention_mask"] == 0)
    assert got["attention_mask"].sum(dim=1).max() == got["input_ids"].shape[1]
    edge = got["attention_mask"][:, -1 if padding_side == "left" else 0]
    assert edge.all(), "padding is on the other side"


def _shortened(ids: list[int], max_length: int, side: str, tokenizer: Any) -> list[int]:
    """Take words away, one at a time, until the row fits."""
    words = set(tokenizer.convert_tokens_to_ids(list(WORDS)))
    ids = list(ids)
    while len(ids) > max_length:
        places = [place for place, token in enumerate(ids) if token in words]
        del ids[places[0] if side == "left" else places[-1]]
    return ids


@pytest.mark.parametrize("text", [f"{AUDIO} one", f"one two three {AUDIO}"])
def test_a_text_that_cannot_fit_is_named(processor: Any, tmp_path: Path, text: str) -> None:
    short, long = (write_clip(tmp_path / f"{n}.wav", n * RATE) for n in (1, 2))
    rows = [row_of(short), {"audio_path": str(long), "text": text}]
    with pytest.raises(TextTooLongError, match=r"row 1 .*2\.wav.* 52 tokens .*max_length=52") as e:
        collator_of(processor, max_length=52)(rows)
    assert e.value.row == 1
    assert isinstance(e.value, ValueError)
    assert collator_of(processor, max_length=53)(rows)["input_ids"].shape == (2, 53)


# The cache


@pytest.mark.parametrize("auto_resample", [False, True])
def test_a_second_epoch_needs_no_files(processor: Any, tmp_path: Path, auto_resample: bool) -> None:
    rate = 22_050 if auto_resample else RATE
    rows = [
        hashed(row_of(write_clip(tmp_path / f"{n}.flac", n * 9_001, rate=rate, channels=2)))
        for n in (1, 2, 3)
    ]
    cache = WaveformCache(tmp_path / "cache")
    collator = collator_of(
        processor, waveform_cache=cache, auto_resample=auto_resample, max_length_seconds=1.0
    )
    first = collator(rows)
    for row in rows:
        Path(row["audio_path"]).unlink()
    assert_equal(collator(rows), first, 0)


def test_only_what_is_missing_is_decoded(processor: Any, tmp_path: Path) -> None:
    rows = [hashed(row_of(write_clip(tmp_path / f"{n}.wav", n * 5_000))) for n in (1, 2, 3)]
    expected = collator_of(processor)(rows)
    collator = collator_of(processor, waveform_cache=WaveformCache(tmp_path / "cache"))
    collator(rows[1:2])
    Path(rows[1]["audio_path"]).unlink()
    assert_equal(collator(rows), expected, 0)


def test_the_rate_gate_holds_beside_a_warm_cache(processor: Any, tmp_path: Path) -> None:
    row = hashed(row_of(write_clip(tmp_path / "a.wav", 44_100, rate=44_100)))
    cache = WaveformCache(tmp_path / "cache")
    collator_of(processor, waveform_cache=cache, auto_resample=True)([row])
    with pytest.raises(SampleRateMismatchError):
        collator_of(processor, waveform_cache=cache)([row])


def test_the_hash_of_rows_without_one_is_computed(processor: Any, tmp_path: Path) -> None:
    root = tmp_path / "cache"
    collator = collator_of(processor, waveform_cache=WaveformCache(root))
    row = row_of(write_clip(tmp_path / "a.wav", RATE))
    collator([row, {**row, "audio_blob_sha": None}, hashed(row)])
    assert [path.name[:64] for path in root.rglob("*.npz")] == [hashed(row)["audio_blob_sha"]]


@pytest.mark.parametrize("blob_sha", ["../../escape", "XYZ", 7])
def test_a_hash_that_cannot_be_a_key_is_named(
    processor: Any, tmp_path: Path, blob_sha: object
) -> None:
    row = row_of(write_clip(tmp_path / "a.wav", RATE), audio_blob_sha=blob_sha)
    collator = collator_of(processor, waveform_cache=WaveformCache(tmp_path / "cache"))
    with pytest.raises(RowError, match=r"row 0 .*a\.wav.*blob_sha"):
        collator([row])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_cache_that_cannot_be_written_stops_nothing(processor: Any, tmp_path: Path) -> None:
    rows = [hashed(row_of(write_clip(tmp_path / "a.wav", RATE)))]
    root = tmp_path / "a file, not a folder"
    root.write_bytes(b"")
    collator = collator_of(processor, waveform_cache=WaveformCache(root))
    assert_equal(collator(rows), collator_of(processor)(rows), 0)


def test_lengths_that_keys_cannot_tell_apart_are_refused(processor: Any, tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    with pytest.raises(ValueError, match="whole number of milliseconds"):
        collator_of(processor, waveform_cache=cache, max_length_seconds=1.0004)
    collator_of(processor, waveform_cache=cache, max_length_seconds=1.1)
    collator_of(processor, max_length_seconds=1.0004)


# Faults


def test_another_rate_is_refused_with_a_way_out(processor: Any, tmp_path: Path) -> None:
    rows = [
        row_of(write_clip(tmp_path / "right.wav", RATE)),
        row_of(write_clip(tmp_path / "wrong.wav", 44_100, rate=44_100)),
    ]
    with pytest.raises(SampleRateMismatchError) as caught:
        collator_of(processor)(rows)
    assert isinstance(caught.value, ValueError)
    for part in ("wrong.wav", "44100", "16000", "ffmpeg -i <in> -ar 16000 <out>", "auto_resample"):
        assert part in str(caught.value)
    assert caught.value.__notes__ == ["in row 1 of the batch"]


def _no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def _words(path: Path) -> None:
    path.write_text("this is not sound, whatever it is called\n" * 50)


def _half(path: Path) -> None:
    write_clip(path.with_suffix(".whole.flac"), 48_000)
    whole = path.with_suffix(".whole.flac").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _nan(path: Path) -> None:
    samples = np.zeros(RATE, np.float32)
    samples[77] = np.nan
    soundfile.write(path, samples, RATE, subtype="FLOAT", format="WAV")


def _nothing(path: Path) -> None:
    del path


@pytest.mark.parametrize("make", [_nothing, _no_bytes, _words, _half, _nan])
def test_a_bad_file_keeps_its_error_and_names_itself(
    processor: Any, tmp_path: Path, make: Any
) -> None:
    bad = tmp_path / "bad.flac"
    make(bad)
    rows = [hashed(row_of(write_clip(tmp_path / "good.wav", RATE))), row_of(bad)]
    with pytest.raises(AudioError, match=r"bad\.flac") as caught:
        collator_of(processor)(rows)
    assert caught.value.__notes__ == ["in row 1 of the batch"]
    assert isinstance(caught.value, FileNotFoundError) == (make is _nothing)


@pytest.mark.parametrize("frames", [0, 1, 320])
def test_a_clip_too_short_for_one_token_is_named(
    processor: Any, tmp_path: Path, frames: int
) -> None:
    rows = [row_of(write_clip(tmp_path / f"{n}.wav", n)) for n in (RATE, frames)]
    with pytest.raises(AudioError, match=rf"{frames}\.wav") as caught:
        collator_of(processor)(rows)
    assert isinstance(caught.value, ClipTooShortError)
    collator_of(processor)(rows[:1])


def test_an_empty_batch_is_named(processor: Any) -> None:
    with pytest.raises(EmptyBatchError, match="empty"):
        collator_of(processor)([])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"audio_path": "a.wav"}, r"row 1 .* no text \(its keys: audio_path\)$"),
        ({"text": AUDIO, "sr": 1}, r"row 1 .* no audio_path \(its keys: text, sr\)$"),
        ({"audio_path": "a.wav", "text": None}, r"row 1 .* no text"),
        ({"labels": 1}, r"no audio_path and no text .*remove_unused_columns=False"),
        ({}, r"its keys: none.*remove_unused_columns=False"),
        ({"audio_path": "a.wav", "text": 7}, r"row 1 .*text cannot be a int"),
        ({"audio_path": 7, "text": AUDIO}, r"row 1 .*audio_path cannot be a int"),
        ("a.wav", r"row 1 .*: a str is not a mapping of columns"),
        ({"audio_path": "a.wav", "text": "one"}, r"row 1 .*a\.wav.*'<\|AUDIO\|>' 0 times"),
        ({"audio_path": "a.wav", "text": AUDIO * 2}, r"row 1 .*'<\|AUDIO\|>' 2 times"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(
    processor: Any, tmp_path: Path, row: Any, message: str
) -> None:
    good = row_of(write_clip(tmp_path / "good.wav", RATE))
    with pytest.raises(RowError, match=message) as caught:
        collator_of(processor)([good, row])
    assert caught.value.row == 1
    assert isinstance(caught.value, CollatorError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_rate": 22_050}, "sample_rate=22050.* takes 16000 Hz"),
        ({"sample_rate": 0}, "sample_rate must be"),
        ({"max_length_seconds": 0}, "max_length_seconds must"),
        ({"max_length_seconds": -1.0}, "max_length_seconds must"),
        ({"max_length_seconds": math.nan}, "max_length_seconds must"),
        ({"max_length_seconds": math.inf}, "max_length_seconds must"),
        ({"max_length": 0}, "max_length must"),
        ({"processor": object()}, "object has no tokenizer"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    processor: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        collator_of(processor, **changes)


def test_a_tokenizer_without_a_pad_token_is_refused() -> None:
    processor = tiny_qwen2_audio_processor()
    processor.tokenizer.pad_token = None
    with pytest.raises(ValueError, match=r"no pad token.*pad_token = tokenizer\.eos_token"):
        collator_of(processor)


# Processes


def test_it_pickles_with_its_cache(processor: Any, tmp_path: Path) -> None:
    rows = [hashed(row_of(write_clip(tmp_path / "a.wav", RATE)))]
    collator = collator_of(processor, waveform_cache=WaveformCache(tmp_path / "cache"))
    twin = pickle.loads(pickle.dumps(collator))
    assert_equal(twin(rows), collator_of(processor)(rows), 0)
    Path(rows[0]["audio_path"]).unlink()
    assert_equal(collator(rows), twin(rows), 0)


def test_workers_give_what_the_main_process_gives(processor: Any, tmp_path: Path) -> None:
    rows = [row_of(write_clip(tmp_path / f"{n}.flac", 9_000 + n * 1_000)) for n in range(8)]
    collator = collator_of(processor)
    here = list(DataLoader(rows, batch_size=2, collate_fn=collator))
    there = DataLoader(rows, batch_size=2, collate_fn=collator, num_workers=2)
    for got, wanted in zip(there, here, strict=True):
        assert_equal(got, wanted, 0)


def test_an_error_in_a_worker_keeps_its_type_and_names_its_row(
    processor: Any, tmp_path: Path
) -> None:
    rows = [row_of(write_clip(tmp_path / "a.wav", RATE)), row_of(tmp_path / "missing.wav")]
    loader = DataLoader(
        rows,
        batch_size=2,
        collate_fn=collator_of(processor),
        num_workers=1,
        multiprocessing_context="fork",
    )
    with pytest.raises(AudioFileNotFoundError, match=r"missing\.wav[\s\S]*in row 1 of the batch"):
        list(loader)


def test_errors_pickle() -> None:
    error = pickle.loads(pickle.dumps(RowError("row 3 has no text", row=3)))
    assert (str(error), error.row) == ("row 3 has no text", 3)
    error = pickle.loads(pickle.dumps(SampleRateMismatchError("8 Hz", source="a.wav")))
    assert str(error) == "a.wav: 8 Hz"


def test_the_module_imports_no_torch() -> None:
    code = "import sys, ossicle.collator; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Real speech


@pytest.mark.skipif(not SPEECH.is_dir(), reason="the recordings beside the repository are absent")
def test_real_speech_of_three_rates(processor: Any, tmp_path: Path) -> None:
    names = ["jfk.flac", "LJ002-0020.wav", "LJ002-0035.wav", "2412-153948-0000.flac"]
    rows = [hashed(row_of(SPEECH / name)) for name in names]
    collator = collator_of(
        processor, auto_resample=True, waveform_cache=WaveformCache(tmp_path / "cache")
    )
    batch = collator(rows)
    wanted = naive_batch(processor, rows)
    mels = batch["input_features"], wanted.pop("input_features")
    assert_equal({name: batch[name] for name in wanted}, wanted)
    torch.testing.assert_close(mels[0][3], mels[1][3], rtol=0, atol=1e-5)  # 16 kHz as it is
    assert (mels[0] - mels[1])[:, :100].abs().mean() < 1e-3
    assert_equal(collator(rows), batch, 0)
    with pytest.raises(SampleRateMismatchError, match=r"jfk\.flac.*44100"):
        collator_of(processor)(rows)

"""What arrays mean: the same at every door. libsndfile says what full scale is."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
import towers

import ossicle
from ossicle.audio import encode
from ossicle.audio.waveforms import as_float32
from ossicle.collator.sound import Loader
from ossicle.data.recordings import recording_of
from ossicle.espnet import ContinuousAudioIO
from ossicle.features.whisper import WhisperFeatures
from ossicle.model.whisper_stream import StreamingLogMel

RATE = 16_000
RAW = {
    "int8": "PCM_S8",
    "uint8": "PCM_U8",
    "int16": "PCM_16",
    "int32": "PCM_32",
    "float32": "FLOAT",
    "float64": "DOUBLE",
}
REFUSED = [
    np.arange(-400, 400),
    np.arange(800, dtype=np.uint16),
    np.arange(800, dtype=np.uint32),
    np.ones(800, np.bool_),
    np.ones(800, np.complex64),
    np.ones(800, object),
    np.full(800, "a"),
    torch.arange(800),
    [0, 1, -1] * 270,
]


def samples(kind: str, count: int = 4_000) -> npt.NDArray[Any]:
    random = np.random.default_rng(7)
    if kind.startswith("float"):
        return (0.4 * random.standard_normal(count)).astype(kind)
    ends = np.iinfo(kind)
    found = random.integers(ends.min, ends.max, count, kind, endpoint=True)
    found[:2] = ends.min, ends.max
    return found


def as_libsndfile_reads(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """What a file of these very bytes holds."""
    options = {"samplerate": RATE, "channels": 1, "format": "RAW", "endian": "LITTLE"}
    file, subtype = io.BytesIO(array.tobytes()), RAW[array.dtype.name]
    read, _ = soundfile.read(file, dtype="float32", subtype=subtype, **options)
    return read


def _streamed(x: Any) -> npt.NDArray[np.float32]:
    resampler = ossicle.StreamResampler(8_000, RATE)
    return np.concatenate([resampler.push(x), resampler.flush()])


def _features(x: Any, **options: Any) -> Any:
    extract = WhisperFeatures()
    return extract(x, sampling_rate=RATE, padding="longest", **options)["input_features"]


def _collated(x: Any) -> npt.NDArray[np.float32]:
    clip: Any = recording_of({"array": np.asarray(x), "sampling_rate": RATE})
    (sound,) = Loader(RATE, 30.0)([(None, clip)])
    if isinstance(sound, Exception):
        raise sound
    return sound


WORKER = ContinuousAudioIO(config=towers.config("qwen2_5_omni")).copy_for_worker()
DOORS: dict[str, Callable[[Any], Any]] = {
    "encode": lambda x: np.frombuffer(encode(x, RATE, bits_per_sample=32), np.uint8),
    "resample": lambda x: ossicle.resample(x, 8_000, RATE),
    "resampler": _streamed,
    "log_mel": lambda x: ossicle.log_mel_spectrogram(x, pad_to_seconds=None),
    "log_mel_batch": lambda x: ossicle.log_mel_batch([x], pad_to_seconds=None),
    "whisper_features": _features,
    "of a list": lambda x: _features([x]),
    "normalised": lambda x: _features(x, do_normalize=True),
    "streaming": lambda x: StreamingLogMel(WhisperFeatures()).push(x),
    "collator": _collated,
    "espnet": lambda x: WORKER.preprocess((x, RATE))[1][1],
}


@pytest.mark.parametrize("kind", RAW)
@pytest.mark.parametrize("door", DOORS)
def test_each_type_means_its_full_scale(door: str, kind: str) -> None:
    array = samples(kind)
    expected = DOORS[door](as_libsndfile_reads(array))
    np.testing.assert_array_equal(DOORS[door](array), expected)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("wrong", REFUSED, ids=lambda x: str(getattr(x, "dtype", "list")))
def test_other_types_are_refused(door: str, wrong: Any) -> None:
    with pytest.raises(ossicle.AudioError, match="int8, int16, int32 or uint8") as caught:
        DOORS[door](wrong)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_what_is_int16_comes_back_to_the_bit(tmp_path: Path, suffix: str) -> None:
    every = np.arange(-(2**15), 2**15).astype(np.int16).reshape(2, -1)
    path = ossicle.save(tmp_path / f"a{suffix}", every, RATE)
    np.testing.assert_array_equal(soundfile.read(path, dtype="int16")[0].T, every)
    np.testing.assert_array_equal(ossicle.load(path, mono=False)[0] * 2**15, every)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64", "uint8", "int32"])
def test_tensors_are_arrays(kind: str) -> None:
    tensor = (100 * torch.rand(2, 99)).to(getattr(torch, kind))
    plain = tensor.float().numpy() if kind == "bfloat16" else tensor.numpy()
    found = as_float32(tensor)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, as_float32(plain))


@pytest.mark.parametrize("kind", [">i2", ">i4", ">f4", ">f8"])
def test_byte_order_and_strides_do_not_matter(kind: str) -> None:
    array = samples(np.dtype(kind).name)
    found = as_float32(array.astype(kind)[::-3])
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, as_libsndfile_reads(array)[::-3])


def test_float32_is_not_copied() -> None:
    array = samples("float32")
    assert as_float32(array) is array


@pytest.mark.parametrize("door", ["encode", "resample", "collator"])
def test_swapped_axes_and_other_shapes_are_named(door: str) -> None:
    if door != "collator":  # audio dicts are often soundfile's, and are transposed
        with pytest.raises(ossicle.AudioError, match=r"not \(16000, 2\): its axes are swapped"):
            DOORS[door](np.zeros((RATE, 2), np.float32))
    with pytest.raises(ossicle.AudioError, match="not of 3 dimensions"):
        DOORS[door](np.zeros((1, 2, 3), np.float32))


def test_what_is_no_array_is_told() -> None:
    for wrong in ([[0.5], [0.5, 0.5]], torch.zeros(9, requires_grad=True), None, {}):
        with pytest.raises(ossicle.InvalidArgumentError, match="the waveform is"):
            as_float32(wrong)

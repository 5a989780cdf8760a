"""Bad input ends in one typed error that says where; nothing panics, hangs or is silently lost."""

from __future__ import annotations

import copy
import errno
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import oracle
import pytest

import ossicle
from ossicle import errors

# Small files of every container; FFmpeg's options behind the suffix.
FORMATS = {
    "wav": "-c:a pcm_s16le",
    "flac": "-c:a flac -sample_fmt s16",
    "mp3": "-c:a libmp3lame -b:a 32k",
    "ogg": "-c:a libvorbis -q:a 0",
    "m4a": "-c:a aac -aac_pns 0 -b:a 32k",
    "aiff": "-c:a pcm_s16be",
    "caf": "-c:a alac",
    "mkv": "-c:a libmp3lame -b:a 32k",
    "webm": "-c:a libvorbis -q:a 0",
    "aac": "-c:a aac -aac_pns 0 -b:a 32k -f adts",
}
SECONDS_A_FILE = 5.0


def fails(source: object, kind: type[ossicle.AudioError], match: str, **arguments: object):
    """The error of `load`; `load_batch` must give the same one beside a row of no length."""
    with pytest.raises(ossicle.AudioError, match=match) as caught:
        ossicle.load(source, **arguments)
    error = caught.value
    assert type(error) is kind
    if not arguments:
        batch = ossicle.load_batch([source], on_error="collect")
        assert batch.lengths.tolist() == [0]
        assert type(batch.errors[0]) is kind
    assert error.reason
    assert str(error).count("\n") == 0
    return error


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "not-there.wav"
    error = fails(path, ossicle.AudioFileNotFoundError, "not-there.wav")
    assert isinstance(error, FileNotFoundError)
    assert error.errno == errno.ENOENT
    assert error.source == str(path)


def test_a_directory(tmp_path: Path) -> None:
    error = fails(tmp_path, ossicle.AudioIOError, "not a regular file")
    assert isinstance(error, OSError)


def test_a_name_with_a_null() -> None:
    with pytest.raises((ossicle.AudioError, ValueError)):
        ossicle.load("a\0b.wav")


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.flac"
    path.touch()
    error = fails(path, ossicle.CorruptAudioError, "empty")
    assert (error.source, error.byte_offset) == (str(path), 0)
    fails(b"", ossicle.CorruptAudioError, "empty")


def test_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "readme.mp3"
    path.write_text("This is no recording, whatever its name says.\n" * 200)
    error = fails(path, ossicle.UnsupportedFormatError, "not a supported audio format")
    assert isinstance(error, ValueError)


def test_a_flac_cut_in_half(make_clip) -> None:
    data = make_clip("flac", rate=44_100, frames=100_000, options=FORMATS["flac"]).read_bytes()
    error = fails(data[: len(data) // 2], ossicle.CorruptAudioError, "cut short")
    assert 0 < error.byte_offset <= len(data) // 2


def test_an_mp3_of_zeros(make_clip) -> None:
    error = fails(bytes(40_000), ossicle.UnsupportedFormatError, "not a supported audio format")
    assert error.source == "<bytes>"
    data = make_clip("mp3", rate=44_100, frames=100_000, options=FORMATS["mp3"]).read_bytes()
    fails(data[:2_000] + bytes(len(data) - 2_000), ossicle.CorruptAudioError, "cut short|ends")


@pytest.mark.parametrize("missing", [1, 2, 1_000])
def test_a_wav_that_promises_more(missing: int) -> None:
    data = oracle.wav_bytes(oracle.signal(16_000, 1, 1_000), 16_000)
    error = fails(data[:-missing], ossicle.CorruptAudioError, "declares 2000 bytes")
    assert error.byte_offset == len(data) - missing


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF])
def test_a_wav_of_a_streaming_writer(size: int) -> None:
    waveform = oracle.signal(16_000, 1, 1_000)
    expected, _ = ossicle.load(oracle.wav_bytes(waveform, 16_000))
    data = bytearray(oracle.wav_bytes(waveform, 16_000, data_size=size))
    data[4:8] = size.to_bytes(4, "little")
    decoded, _ = ossicle.load(data)
    assert np.array_equal(decoded, expected)
    assert ossicle.info(data).frames == 1_000
    decoded, _ = ossicle.load(data + b"\x01")  # and half a sample behind
    assert np.array_equal(decoded, expected)


def test_a_wav_without_samples_is_no_error() -> None:
    waveform, rate = ossicle.load(oracle.wav_bytes(np.zeros((2, 0)), 16_000), 8_000, mono=False)
    assert (waveform.shape, rate) == ((2, 0), 8_000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("encoding", ["f32", "f64"])
def test_samples_that_are_no_numbers(value: float, encoding: str) -> None:
    waveform = oracle.signal(16_000, 2, 10_000)
    waveform[1, 7_654] = value
    data = oracle.wav_bytes(waveform, 16_000, encoding)
    error = fails(data, ossicle.NonFiniteSampleError, "sample 7654 is not a finite number")
    assert error.sample_index == 7_654
    fails(data, ossicle.NonFiniteSampleError, "7654", sample_rate=8_000)
    fails(data, ossicle.NonFiniteSampleError, "7654", offset=0.4, duration=0.1)
    # What is not asked for is not decoded.
    part, _ = ossicle.load(data, offset=0.0, duration=0.4)
    assert np.isfinite(part).all()

    passed, _ = ossicle.load(data, mono=False, allow_nonfinite=True)
    assert np.array_equal(passed, waveform.astype(np.float32), equal_nan=True)
    resampled, _ = ossicle.load(data, 8_000, mono=False, allow_nonfinite=True)
    assert resampled.shape == (2, 5_000)
    assert np.isfinite(resampled[0]).all()
    assert np.isnan(resampled[1, 3_827])
    assert np.isfinite(resampled[1, :1_000]).all()


@pytest.mark.parametrize("rate", [0, -16_000, 768_001, 16_000.5, float("nan"), True])
def test_a_rate_that_is_none(rate: float) -> None:
    data = oracle.wav_bytes(np.zeros(10), 16_000)
    error = fails(data, ossicle.InvalidArgumentError, "sample_rate", sample_rate=rate)
    assert isinstance(error, ValueError)
    with pytest.raises(ossicle.InvalidArgumentError, match="sample_rate"):
        ossicle.load_batch([data], rate)


def test_a_wav_of_rate_zero() -> None:
    data = oracle.wav_bytes(np.zeros(10), 0)
    assert fails(data, ossicle.CorruptAudioError, "0 Hz").byte_offset is not None


@pytest.mark.parametrize("seconds", [-1.0, -1e-9, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["offset", "duration"])
def test_a_time_that_is_none(name: str, seconds: float) -> None:
    data = oracle.wav_bytes(np.zeros(10), 16_000)
    fails(data, ossicle.InvalidArgumentError, f"{name} must be", **{name: seconds})


def test_arguments_of_a_batch() -> None:
    data = oracle.wav_bytes(np.zeros(10), 16_000)
    with pytest.raises(ossicle.InvalidArgumentError, match="on_error"):
        ossicle.load_batch([data], on_error="ignore")
    with pytest.raises(ossicle.InvalidArgumentError, match="1 offsets for 2 sources"):
        ossicle.load_batch([data, data], offsets=[0.0])
    with pytest.raises(ossicle.InvalidArgumentError, match="threads"):
        ossicle.load_batch([data], threads=0)
    for times in ({"offsets": [-1.0]}, {"duration": -1.0}):
        with pytest.raises(ossicle.InvalidArgumentError):
            ossicle.load_batch([data], **times)


@pytest.mark.parametrize("suffix", ["mka", "mkv", "m4a"])
def test_a_codec_that_is_not_decoded_is_named(suffix: str, make_clip) -> None:
    options = {"mka": "-c:a wavpack", "mkv": "-c:a eac3", "m4a": "-c:a ac3"}[suffix]
    path = make_clip(suffix, rate=48_000, frames=48_000, options=options)
    name = {"mka": "wavpack", "mkv": "eac3", "m4a": "ac3"}[suffix]
    error = fails(path, ossicle.UnsupportedFormatError, name)
    assert error.source == str(path)


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, ossicle.AudioError)])
def test_errors_cross_processes(kind: type[ossicle.AudioError]) -> None:
    error = kind("reason", source="a.wav", member="b", byte_offset=3, sample_index=4)
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(twin) is kind
        assert twin.__dict__ == error.__dict__
        assert str(twin) == str(error) == "a.wav [b]: reason (byte 3)"
    # As torch's data loader makes it again from a worker's text.
    rebuilt = kind("Caught it in DataLoader worker process 0.\nOriginal Traceback ...")
    assert "Caught it" in str(rebuilt)


def outcome(call: Callable[[], object]) -> ossicle.AudioError | None:
    """The error that a call ends in; any other exception is a fault and passes."""
    try:
        call()
    except ossicle.AudioError as error:
        return error
    return None


def survives(data: bytes, what: str) -> bool:
    """Samples or an AudioError, and soon; whether it was samples."""
    begin = time.monotonic()
    lengths = []
    failed = [
        outcome(lambda: lengths.append(len(ossicle.load(data, allow_nonfinite=True)[0]))),
        outcome(lambda: ossicle.info(data)),
    ]
    assert time.monotonic() - begin < SECONDS_A_FILE, what
    assert sum(lengths) < 10_000_000, what
    for error in filter(None, failed):
        assert error.byte_offset is None or error.byte_offset <= len(data), what
    return failed[0] is None


@pytest.fixture(scope="module", params=FORMATS)
def small(request: pytest.FixtureRequest, make_clip) -> bytes:
    return make_clip(request.param, frames=2_500, options=FORMATS[request.param]).read_bytes()


@pytest.mark.timeout(300)
def test_every_cut_is_survived(small: bytes) -> None:
    random = np.random.default_rng(0)
    lengths = {*range(min(len(small), 700)), *random.integers(0, len(small), 500).tolist()}
    whole = [survives(small[:length], f"cut at {length}") for length in sorted(lengths)]
    assert not all(whole)
    assert survives(small, "whole")


@pytest.mark.timeout(300)
def test_flipped_bits_are_survived(small: bytes) -> None:
    random = np.random.default_rng(1)
    for _ in range(600):
        data = bytearray(small)
        # Headers stand in front, and at the end of MP4.
        reach = len(small) if random.random() < 0.5 else min(400, len(small))
        for place in random.integers(0, reach, random.integers(1, 4)):
            data[place] ^= 1 << random.integers(0, 8)
        survives(bytes(data), f"flipped: {bytes(data)[:64]!r}")


@pytest.mark.timeout(300)
def test_lying_numbers_are_survived(small: bytes) -> None:
    for place in range(0, min(len(small), 500)):
        for value in (b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x00" * 4):
            data = small[:place] + value + small[place + 4 :]
            survives(data, f"{value!r} at {place}")


@pytest.mark.timeout(300)
def test_rubbish_behind_a_header_is_survived(small: bytes) -> None:
    random = np.random.default_rng(2)
    for keep in (4, 12, 64, 200, 600, 1_500):
        survives(small[:keep] + random.bytes(30_000), f"rubbish behind {keep}")
        survives(small[:keep] + bytes(30_000), f"zeros behind {keep}")
        survives(small[:keep] + small, f"itself behind {keep}")

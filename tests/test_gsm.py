"""GSM 06.10 in every container that holds it, against FFmpeg and libgsm."""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import careless
import containers
import formats
import numpy as np
import numpy.typing as npt
import oracle
import pytest
from tiers import Sweep

import ossicle
from ossicle import RawFormat

RAW = RawFormat("gsm", 8_000)
RATIOS = (6, 6, 5, 5, 4, 4, 3, 3)
LIBGSM = ctypes.util.find_library("gsm")


def frames(seed: int, count: int, *, wild: bool = False) -> list[list[tuple[int, int]]]:
    """Numbers of frames with the bits of each; tame ones never overflow, where FFmpeg differs."""
    random = np.random.default_rng(seed)

    def number(bits: int, low: int = 0, high: int | None = None) -> tuple[int, int]:
        high = 1 << bits if wild or high is None else high
        return int(random.integers(0 if wild else low, high)), bits

    def one() -> list[tuple[int, int]]:
        found = [number(bits, (3 << bits) // 8, (5 << bits) // 8 + 1) for bits in RATIOS]
        for _ in range(4):
            found += [number(7, 40, 121), number(2, 0, 3), number(2), number(6, 0, 40)]
            found += [number(3) for _ in range(13)]
        return found

    return [one() for _ in range(count)]


def plain(numbers: Iterable[list[tuple[int, int]]]) -> bytes:
    """A frame in 33 bytes, the most significant bit first."""
    data = b""
    for frame in numbers:
        text = "1101" + "".join(format(number, f"0{bits}b") for number, bits in frame)
        data += int(text, 2).to_bytes(33, "big")
    return data


def microsoft(numbers: list[list[tuple[int, int]]]) -> bytes:
    """Two frames in 65 bytes, the least significant bit first."""
    data = b""
    for first, second in zip(numbers[::2], numbers[1::2], strict=True):
        text = "".join(format(number, f"0{bits}b")[::-1] for number, bits in first + second)
        data += int(text[::-1], 2).to_bytes(65, "little")
    return data


def wav(data: bytes, *, rate: int = 8_000, channels: int = 1, samples: int | None = None) -> bytes:
    samples = len(data) // 65 * 320 if samples is None else samples
    fact = containers.chunk(b"fact", struct.pack("<I", samples))
    body = struct.pack("<HHIIHHHH", 0x31, channels, rate, rate * 65 // 320, 65, 0, 2, 320)
    chunks = containers.chunk(b"fmt ", body) + fact + containers.chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def libgsm(data: bytes) -> npt.NDArray[np.float32]:
    """What the reference makes of plain frames."""
    library = ctypes.CDLL(LIBGSM)
    library.gsm_create.restype = ctypes.c_void_p
    state = ctypes.c_void_p(library.gsm_create())
    samples, found = (ctypes.c_short * 160)(), []
    for begin in range(0, len(data), 33):
        assert library.gsm_decode(state, data[begin : begin + 33], samples) == 0
        found.append(np.array(samples[:], np.float32))
    library.gsm_destroy(state)
    return np.concatenate(found) / 32_768


def caf(data: bytes) -> bytes:
    return containers.caf(data, b"agsm", 0, 1, 0, packet=(33, 160), rate=8_000)


def aiff(data: bytes, tag: bytes) -> bytes:
    return containers.aiff(data, 1, 0, tag, rate=8_000)


# Name: suffix, the writer of plain frames' file.
WRITERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "caf": ("caf", caf),
    "aiff agsm": ("aiff", lambda data: aiff(data, b"agsm")),
    "aiff GSM": ("aiff", lambda data: aiff(data, b"GSM ")),
}


@pytest.mark.parametrize("what", WRITERS)
def test_plain_frames_in_containers(what: str, tmp_path: Path) -> None:
    suffix, write = WRITERS[what]
    path = tmp_path / f"clip.{suffix}"
    data = plain(frames(len(what), 37))
    # FFmpeg knows one of the two tags of AIFF-C.
    path.write_bytes(aiff(data, b"GSM ") if suffix == "aiff" else write(data))
    expected = oracle.decode_to("ffmpeg", path, 1)
    path.write_bytes(write(data))
    assert expected.shape == (1, 37 * 160)
    facts = ossicle.info(path)
    assert (facts.container, facts.codec, facts.bits_per_sample) == (suffix, "gsm", None)
    careless.check(path, expected, "")
    formats.record(suffix, "gsm", 8_000, 1, 0.0, path)


def test_raw_frames(tmp_path: Path, sweep: Sweep) -> None:
    path = tmp_path / "clip.gsm"
    for seed in sweep(range(30), one_in=10):
        path.write_bytes(plain(frames(seed, 1 + seed)))
        # Told, for it takes some of these for MPEG audio.
        command = ["ffmpeg", "-nostdin", "-v", "error", "-f", "gsm", "-i", str(path)]
        command += ["-c:a", "pcm_f32le", "-f", "f32le", "-"]
        done = subprocess.run(command, capture_output=True, check=True)
        expected = np.frombuffer(done.stdout, "<f4")
        facts = ossicle.info(path, raw=RAW)
        assert (facts.container, facts.codec, facts.frames) == ("raw", "gsm", len(expected))
        waveform, rate = ossicle.load(path, raw=RAW, strict=True)
        assert rate == 8_000
        np.testing.assert_array_equal(waveform, expected)
    formats.record("raw", "gsm", 8_000, 1, 0.0)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
def test_blocks_of_microsoft_in_wav(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(microsoft(frames(rate, 42)), rate=rate))
    expected = oracle.decode_to("ffmpeg", path, 1)
    assert expected.shape == (1, 42 * 160)
    facts = ossicle.info(path)
    assert (facts.container, facts.codec, facts.sample_rate) == ("wav", "gsm_ms", rate)
    careless.check(path, expected, "")
    formats.record("wav", "gsm_ms", rate, 1, 0.0, path)


@pytest.mark.skipif(LIBGSM is None, reason="libgsm is not installed")
def test_any_bits_are_those_of_libgsm(sweep: Sweep) -> None:
    """Sums that overflow are saturated, and a lag that cannot be is the one before."""
    for seed in sweep(range(60), one_in=6):
        data = plain(frames(seed, 50, wild=True))
        expected = libgsm(data)
        np.testing.assert_array_equal(ossicle.load(data, raw=RAW)[0], expected)
        blocks = wav(microsoft(frames(seed, 50, wild=True)))
        np.testing.assert_array_equal(ossicle.load(blocks)[0], expected)


@pytest.mark.skipif(not shutil.which("sox"), reason="sox encodes these")
@pytest.mark.parametrize("suffix", ["wav", "gsm"])
def test_speech_as_sox_encodes_it(suffix: str, tmp_path: Path) -> None:
    source, path = tmp_path / "source.wav", tmp_path / f"clip.{suffix}"
    source.write_bytes(oracle.wav_bytes(oracle.signal(8_000, 1, 16_000), 8_000))
    options = ["-e", "gsm-full-rate"] if suffix == "wav" else []
    subprocess.run(["sox", source, *options, path], check=True)
    expected = oracle.decode_to("ffmpeg", path, 1)[0]
    raw = RAW if suffix == "gsm" else None
    np.testing.assert_array_equal(ossicle.load(path, raw=raw)[0], expected)


def test_ranges_are_slices_of_the_whole(sweep: Sweep) -> None:
    random = np.random.default_rng(1)
    data = wav(microsoft(frames(3, 400)))
    whole, _ = ossicle.load(data)
    for _ in sweep(range(1_000), one_in=10):
        start, count = random.integers(0, len(whole) + 400), random.integers(0, 3_000)
        part, _ = ossicle.load(data, offset=start / 8_000, duration=count / 8_000)
        np.testing.assert_array_equal(part, whole[start : start + count])


def test_a_frame_without_its_mark_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "clip.gsm"
    data = bytearray(plain(frames(5, 40)))
    whole, _ = ossicle.load(bytes(data), raw=RAW)
    data[33 * 7] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(ossicle.DecodeError, match="does not begin with 0xD") as caught:
        ossicle.load(path, raw=RAW)
    assert caught.value.byte_offset == 33 * 7
    waveform, _, gaps = ossicle.load_concealed(path, raw=RAW)
    assert [(gap.start, gap.end) for gap in gaps] == [(7 * 160, 8 * 160)]
    np.testing.assert_array_equal(waveform[: 7 * 160], whole[: 7 * 160])
    assert not waveform[7 * 160 : 8 * 160].any()
    assert len(waveform) == len(whole)
    later, _, gaps = ossicle.load_concealed(path, raw=RAW, offset=0.2)
    np.testing.assert_array_equal(later, waveform[1_600:])
    assert gaps == []


def test_a_part_of_a_frame_is_none(tmp_path: Path) -> None:
    data = plain(frames(6, 9))
    facts = ossicle.info(data[:-1], raw=RAW)
    assert facts.frames == 8 * 160
    assert "after 32 of the 33 bytes of a frame" in facts.remarks[0]
    # sox counts the pad byte of the chunk in its size.
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(microsoft(frames(6, 6)) + b"\0"))
    careless.check(path, oracle.decode_to("ffmpeg", path, 1), "")
    whole = wav(microsoft(frames(6, 6)))
    with pytest.raises(ossicle.CorruptAudioError, match="declares 195 bytes"):
        ossicle.load(whole[:-20])


def test_it_has_one_channel() -> None:
    with pytest.raises(ossicle.UnsupportedFormatError, match="gsm_ms of 2 channels"):
        ossicle.load(wav(microsoft(frames(6, 6)), channels=2))
    with pytest.raises(ossicle.InvalidArgumentError, match="channels"):
        RawFormat("gsm", 8_000, 2)

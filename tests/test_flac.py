"""Native FLAC, bit for bit: every kind of stream that two encoders write, against FFmpeg."""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import oracle
import pytest

import ossicle

Ints = npt.NDArray[np.int64]
FLAC = shutil.which("flac")


def integers(channels: int, frames: int, bits: int, kind: str = "tones") -> Ints:
    """``(channels, frames)``: a signal that leads an encoder into each kind of subframe."""
    random = np.random.default_rng([channels, frames, bits])
    top = 2 ** (bits - 1)
    if kind == "silence":
        return np.zeros((channels, frames), np.int64)
    if kind == "noise":
        return random.integers(-top, top, (channels, frames))
    if kind == "wasted":
        return integers(channels, frames, bits) >> 3 << 3
    if kind == "square":
        square = np.where(np.arange(frames) // 50 % 2 == 0, top - 1, -top)
        return np.stack([square if c % 2 == 0 else -1 - square for c in range(channels)])
    tones = oracle.signal(16_000, channels, frames, bits).astype(np.float64)
    return np.clip(np.rint(tones * top), -top, top - 1).astype(np.int64)


def wav(samples: Ints, rate: int, bits: int) -> bytes:
    """PCM of any depth in ``WAVEFORMATEXTENSIBLE``: whole bytes, the samples in the upper bits."""
    channels, size = len(samples), -(-bits // 8)
    block, shift = channels * size, 8 * size - bits
    words = (samples.T << shift) + (128 if size == 1 else 0)
    data = np.frombuffer(words.astype("<i4").tobytes(), np.uint8).reshape(-1, 4)[:, :size].tobytes()
    data += bytes(len(data) % 2)
    mask = (0, 4, 3, 7, 0x33, 0x37, 0x3F, 0x70F, 0x63F)[channels]
    guid = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    format_ = (0xFFFE, channels, rate, rate * block, block, 8 * size, 22, bits, mask)
    body = struct.pack("<HHIIHHHHI", *format_) + guid
    chunks = b"fmt " + struct.pack("<I", len(body)) + body
    chunks += b"data" + struct.pack("<I", samples.size * size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def run_flac(*arguments: str | Path) -> None:
    assert FLAC
    subprocess.run([FLAC, "-s", "-f", *map(str, arguments)], check=True, capture_output=True)


def check(path: Path, samples: Ints, rate: int, bits: int) -> None:
    """What went in comes out, whole and in ranges, from a path and from memory."""
    channels, frames = samples.shape
    expected = (samples.astype(np.float64) / 2.0 ** (bits - 1)).astype(np.float32)
    info = ossicle.info(path)
    assert (info.container, info.codec, info.sample_rate) == ("flac", "flac", rate)
    assert (info.channels, info.frames, info.bits_per_sample) == (channels, frames, bits)
    decoded, decoded_rate = ossicle.load(path, mono=False)
    assert decoded_rate == rate
    assert decoded.shape == expected.shape
    assert np.array_equal(decoded, expected)
    total = np.zeros(frames, np.float32)
    for row in expected:
        total += row
    mean = total * np.float32(0.5) if channels == 2 else total / np.float32(channels)
    data = path.read_bytes()
    assert np.array_equal(ossicle.load(data)[0], mean)
    random = np.random.default_rng(frames)
    for _ in range(6):
        begin, end = sorted(random.integers(0, frames + 1, 2).tolist())
        part, _ = ossicle.load(data, mono=False, offset=begin / rate, duration=(end - begin) / rate)
        assert np.array_equal(part, expected[:, begin:end])


FFMPEG = [
    *(f"-compression_level {level}" for level in range(13)),
    *(f"-frame_size {size}" for size in (16, 17, 192, 576, 1000, 4096, 4608, 16384, 32768, 65535)),
    *(f"-lpc_type {kind}" for kind in ("none", "fixed", "levinson", "cholesky")),
    *(f"-compression_level 8 -ch_mode {mode}" for mode in ("indep", "left_side", "mid_side")),
    "-compression_level 8 -ch_mode right_side",
    "-lpc_type levinson -min_prediction_order 32 -max_prediction_order 32",
    "-lpc_type levinson -min_prediction_order 20 -max_prediction_order 20 -lpc_coeff_precision 15",
    "-compression_level 5 -lpc_coeff_precision 1",
    "-min_partition_order 8 -max_partition_order 8 -frame_size 4096",
    "-multi_dim_quant 1 -exact_rice_parameters 1",
]


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("options", FFMPEG)
def test_what_ffmpeg_writes(options: str, bits: int, tmp_path: Path) -> None:
    # FFmpeg takes a minute to search through all Rice parameters of longer ones.
    frames = 70_000 if "65535" in options else 4_801 if "exact_rice" in options else 30_011
    samples = integers(2, frames, bits)
    source, path = tmp_path / "source.wav", tmp_path / "clip.flac"
    source.write_bytes(wav(samples, 44_100, bits))
    depth = f"-sample_fmt {'s16' if bits == 16 else 's32'} -bits_per_raw_sample {bits}"
    strict = "-strict experimental"
    arguments = f"-c:a flac {depth} {strict} {options}".split()
    oracle.ffmpeg(oracle.bundled(), ["-i", source, *arguments, path])
    check(path, samples, 44_100, bits)


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("kind", ["silence", "noise", "wasted", "square"])
@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_and_kinds_of_signal(channels: int, bits: int, kind: str, tmp_path: Path) -> None:
    samples = integers(channels, 5_003, bits, kind)
    source, path = tmp_path / "source.wav", tmp_path / "clip.flac"
    source.write_bytes(wav(samples, 48_000, bits))
    depth = f"-sample_fmt {'s16' if bits == 16 else 's32'} -bits_per_raw_sample {bits}"
    arguments = f"-c:a flac {depth} -strict experimental".split()
    oracle.ffmpeg(oracle.bundled(), ["-i", source, *arguments, path])
    check(path, samples, 48_000, bits)


@pytest.mark.parametrize("frames", [1, 2, 15, 16, 17, 4095, 4096, 4097, 4100])
def test_last_blocks(frames: int, tmp_path: Path) -> None:
    samples = integers(1, frames, 16)
    source, path = tmp_path / "source.wav", tmp_path / "clip.flac"
    source.write_bytes(wav(samples, 8_000, 16))
    arguments = ["-c:a", "flac", "-sample_fmt", "s16", "-frame_size", "4096"]
    oracle.ffmpeg(oracle.bundled(), ["-i", source, *arguments, path])
    check(path, samples, 8_000, 16)


FLAC_OPTIONS = [
    *(f"-{level}" for level in range(9)),
    "-b 16 --lax",
    "-b 65535 --lax",
    "-l 32 -q 15 --lax -b 4096",
    "-l 12 -e -p",
    "-r 8,15 --lax -b 32768",
    "-8 --no-padding --no-seektable -M",
]


@pytest.mark.sampled(one_in=7)
@pytest.mark.skipif(FLAC is None, reason="needs flac of Xiph.Org")
@pytest.mark.parametrize("kind", ["tones", "wasted", "noise"])
@pytest.mark.parametrize("bits", [4, 5, 8, 12, 16, 20, 24, 32])
@pytest.mark.parametrize("options", FLAC_OPTIONS)
def test_what_xiphs_encoder_writes(options: str, bits: int, kind: str, tmp_path: Path) -> None:
    samples = integers(2, 20_011, bits, kind)
    source, path = tmp_path / "source.wav", tmp_path / "clip.flac"
    source.write_bytes(wav(samples, 32_000, bits))
    run_flac("--lax", *options.split(), "-o", path, source)
    check(path, samples, 32_000, bits)


@pytest.mark.parametrize("rate", [1_000, 7_999, 8_000, 11_025, 44_100, 88_200, 192_000, 655_350])
def test_rates(rate: int, tmp_path: Path) -> None:
    samples = integers(1, 5_000, 16)
    source, path = tmp_path / "source.wav", tmp_path / "clip.flac"
    source.write_bytes(wav(samples, rate, 16))
    oracle.ffmpeg(oracle.bundled(), ["-i", source, "-c:a", "flac", "-strict", "-2", path])
    check(path, samples, rate, 16)


class Counting(io.BytesIO):
    """A file that counts what is read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data

    def readinto(self, buffer: object, /) -> int:
        count = super().readinto(buffer)
        self.count += count
        return count


@pytest.fixture(scope="module")
def long(make_clip) -> tuple[bytes, npt.NDArray[np.float32]]:
    path = make_clip(
        "flac", rate=44_100, channels=2, frames=44_100 * 300, options="-c:a flac -sample_fmt s16"
    )
    return path.read_bytes(), ossicle.load(path)[0]


@pytest.mark.thorough
def test_a_range_reads_little(long) -> None:
    data, whole = long
    for offset in (0.0, 1.0, 150.0, 299.0):
        file = Counting(data)
        part, rate = ossicle.load(file, offset=offset, duration=1.0)
        begin = round(offset * rate)
        assert np.array_equal(part, whole[begin : begin + rate])
        # A second is a 300th; beside it the header, and a few guesses of a frame or two.
        assert file.count < len(data) / 300 + 400_000, offset
    file = Counting(data)
    ossicle.info(file)
    # The header, the last frame, and a few in between, which show that one stream is all there is.
    assert file.count < 65_536


def test_whole_files_are_read_about_once(long) -> None:
    data, whole = long
    file = Counting(data)
    assert np.array_equal(ossicle.load(file)[0], whole)
    assert file.count < len(data) * 1.01 + 8_192


def without_total(data: bytes) -> bytes:
    return data[:21] + bytes([data[21] & 0xF0, 0, 0, 0, 0]) + data[26:]


@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(200), bytes(1_000)])
def test_a_length_that_is_not_told(tail: bytes, make_clip) -> None:
    path = make_clip("flac", rate=44_100, frames=100_001, options="-c:a flac -sample_fmt s16")
    whole, _ = ossicle.load(path)
    data = without_total(path.read_bytes()) + tail
    assert ossicle.info(data).frames == 100_001
    assert np.array_equal(ossicle.load(data)[0], whole)
    part, rate = ossicle.load(data, offset=2.0, duration=0.1)
    assert np.array_equal(part, whole[2 * rate : 2 * rate + rate // 10])
    assert len(ossicle.load(data, offset=3.0)[0]) == 0
    cut = data[: len(path.read_bytes()) - 100]
    for call in (ossicle.load, ossicle.info):
        with pytest.raises(ossicle.CorruptAudioError, match="cut short"):
            call(cut)


def test_tags_in_front_and_behind(make_clip) -> None:
    path = make_clip("flac", rate=44_100, frames=30_001, options="-c:a flac -sample_fmt s16")
    whole, _ = ossicle.load(path)
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)
    for data in (tag + path.read_bytes(), tag * 2 + path.read_bytes() + b"TAG" + bytes(125)):
        assert np.array_equal(ossicle.load(data)[0], whole)
        assert ossicle.info(data).container == "flac"


def test_more_than_the_header_promises(make_clip) -> None:
    path = make_clip("flac", rate=44_100, frames=30_001, options="-c:a flac -sample_fmt s16")
    data = bytearray(path.read_bytes())
    whole, _ = ossicle.load(path)
    for frames in (1, 4096 * 3, 30_000):
        data[22:26] = frames.to_bytes(4, "big")
        assert np.array_equal(ossicle.load(data, verify=True)[0], whole)
        assert ossicle.info(data).frames == 30_001
    data[22:26] = (30_002).to_bytes(4, "big")
    with pytest.raises(ossicle.CorruptAudioError, match="30001 of 30002 samples"):
        ossicle.load(data)


def test_a_stream_that_changes(make_clip) -> None:
    options = "-c:a flac -sample_fmt s16"
    first = make_clip("flac", rate=44_100, frames=8_192, options=options + " -frame_size 4096")
    clip = first.read_bytes()
    for change, arguments in {
        "Hz": {"rate": 48_000},
        "channels": {"channels": 2, "rate": 44_100},
    }.items():
        second = make_clip("flac", frames=8_192, options=options + " -frame_size 4096", **arguments)
        other = second.read_bytes()
        data = bytearray(clip + other[other.index(b"\xff\xf8", 42) :])
        data[22:26] = (16_384).to_bytes(4, "big")
        with pytest.raises(ossicle.UnsupportedFormatError, match=change) as caught:
            ossicle.load(data)
        assert caught.value.byte_offset == len(clip)


def test_the_byte_of_damage(make_clip) -> None:
    path = make_clip("flac", rate=44_100, frames=50_000, options="-c:a flac -sample_fmt s16")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    with pytest.raises(ossicle.CorruptAudioError, match="damaged") as caught:
        ossicle.load(data)
    offset = caught.value.byte_offset
    assert data[offset : offset + 2] == b"\xff\xf8"
    assert 0 <= len(data) // 2 - offset < 20_000
    # What does not need the damaged frame does not see it.
    assert len(ossicle.load(data, duration=0.1)[0]) == 4_410
    assert len(ossicle.load(data, offset=1.0)[0]) == 50_000 - 44_100


def test_md5_of_the_samples_in_the_header_is_that_of_ours(make_clip) -> None:
    path = make_clip(
        "flac", rate=44_100, channels=2, frames=9_999, options="-c:a flac -sample_fmt s16"
    )
    samples = np.rint(ossicle.load(path, mono=False)[0] * 32_768).astype("<i2")
    assert hashlib.md5(samples.T.tobytes()).digest() == path.read_bytes()[26:42]

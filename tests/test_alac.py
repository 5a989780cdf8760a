"""ALAC and packets of PCM against FFmpeg: every depth, order, number of channels and container."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import oracle
import pytest

import ossicle

Integers = npt.NDArray[np.int64]

RATE = 22_050
FRAMES = 2 * RATE + 313
DEPTHS = {16: "-sample_fmt s16p", 24: "-sample_fmt s32p"}
LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1(back)", "7.1(wide)")
ORDERS = {
    "default": "",
    "verbatim": "-compression_level 0",
    "differences": "-compression_level 1",
    "order-1": "-min_prediction_order 1 -max_prediction_order 1",
    "order-4": "-min_prediction_order 4 -max_prediction_order 4",
    "order-7": "-min_prediction_order 7 -max_prediction_order 7",
    "order-8": "-min_prediction_order 8 -max_prediction_order 8",
    "order-30": "-min_prediction_order 30 -max_prediction_order 30",
}


def signal(channels: int, frames: int = FRAMES) -> npt.NDArray[np.float32]:
    """Tones, noise, silence and full scale: what residuals of each kind come from."""
    waveform = oracle.signal(RATE, channels, frames)
    waveform[:, frames // 4 : frames // 3] = 0
    waveform[:, frames // 2 : frames // 2 + 500] *= 50
    return waveform.clip(-1, 1)


def encode(folder: Path, name: str, channels: int, options: str) -> Path:
    raw, path = folder / f"{channels}.f32", folder / name
    if not raw.exists():
        raw.write_bytes(signal(channels).T.tobytes())
    layout = LAYOUTS[channels - 1]
    reading = f"-f f32le -ar {RATE} -ac {channels} -channel_layout {layout} -i".split()
    oracle.ffmpeg(oracle.bundled(), [*reading, raw, *options.split(), path])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("alac")


def check(path: Path, channels: int) -> npt.NDArray[np.float32]:
    """Every channel as FFmpeg has it, to the bit, and their mean; gives the samples."""
    waveform, rate = ossicle.load(path, mono=False)
    (expected,) = oracle.decode(oracle.bundled(), [path], channels)
    assert (rate, waveform.shape[0]) == (RATE, channels)
    # FFmpeg 9 takes the filling of a short last packet in CAF off twice.
    assert waveform.shape[1] in (expected.shape[1], FRAMES)
    np.testing.assert_array_equal(waveform[:, : expected.shape[1]], expected)
    mono, _ = ossicle.load(path)
    total = waveform[0].copy()
    for row in waveform[1:]:
        total += row
    np.testing.assert_array_equal(mono, total / np.float32(channels))
    return waveform


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("suffix", ["m4a", "caf", "mkv"])
@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("bits", DEPTHS)
def test_depths_and_channels(folder: Path, bits: int, channels: int, suffix: str) -> None:
    name = f"{bits}-{channels}.{suffix}"
    path = encode(folder, name, channels, f"-c:a alac {DEPTHS[bits]}")
    check(path, channels)
    info = ossicle.info(path)
    assert (info.codec, info.bits_per_sample, info.channels) == ("alac", bits, channels)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bits", DEPTHS)
def test_orders(folder: Path, bits: int, order: str) -> None:
    options = f"-c:a alac {DEPTHS[bits]} {ORDERS[order]}"
    check(encode(folder, f"{bits}-{order}.m4a", 2, options), 2)


class Bits:
    """Bits to bytes, most significant first."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def put(self, value: int, bits: int) -> None:
        if bits:
            self.text.append(f"{value & (1 << bits) - 1:0{bits}b}")

    def bytes(self) -> bytes:
        text = "".join(self.text)
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


class Encoder:
    """ALAC of one channel or a pair: samples as they are, or their differences in Rice codes."""

    def __init__(self, bits: int, channels: int, frames: int) -> None:
        self.bits, self.channels, self.frames = bits, channels, frames

    def cookie(self) -> bytes:
        return struct.pack(
            ">IBBBBBBHIII", self.frames, 0, self.bits, 40, 10, 14, self.channels, 255, 0, 0, RATE
        )

    def packet(self, samples: Integers, *, is_plain: bool, low_bits: int) -> bytes:
        out = Bits()
        out.put(self.channels - 1, 3)
        out.put(0, 16)
        is_short = samples.shape[1] < self.frames
        out.put(is_short, 1)
        out.put(0 if is_plain else low_bits // 8, 2)
        out.put(is_plain, 1)
        if is_short:
            out.put(samples.shape[1], 32)
        if is_plain:
            for sample in samples.T.ravel():
                out.put(int(sample), self.bits)
        else:
            self.coded(out, samples, low_bits)
        out.put(7, 3)
        return out.bytes()

    def coded(self, out: Bits, samples: Integers, low_bits: int) -> None:
        depth = self.bits - low_bits + self.channels - 1
        out.put(0, 16)
        for _ in range(self.channels):
            # No mode, a shift, the pace of the codes as it is, and plain differences.
            for value, bits in ((0, 4), (9, 4), (4, 3), (31, 5)):
                out.put(value, bits)
            for _ in range(31):
                out.put(0, 16)
        if low_bits:
            for sample in samples.T.ravel():
                out.put(int(sample), low_bits)
        for row in samples >> low_bits:
            differences = np.diff(row, prepend=0)
            half = 1 << depth - 1
            rice(out, (differences + half) % (2 * half) - half, depth)


def rice(out: Bits, numbers: Integers, depth: int) -> None:
    """Numbers as codes whose parameter follows their mean, with runs of zeros."""

    def code(number: int, parameter: int, plain_bits: int) -> None:
        ones, rest = divmod(number, (1 << parameter) - 1)
        if ones > 8:
            out.put(0x1FF, 9)
            out.put(number, plain_bits)
            return
        out.put((1 << ones + 1) - 2, ones + 1)
        if parameter > 1:
            out.put(rest + 1 if rest else 0, parameter if rest else parameter - 1)

    folded = np.where(numbers >= 0, 2 * numbers, -2 * numbers - 1).tolist()
    mean, bias, at = 10, 0, 0
    while at < len(folded):
        number = folded[at]
        code(number - bias, min(((mean >> 9) + 3).bit_length() - 1, 14), depth)
        mean = 0xFFFF if number > 0xFFFF else mean + 40 * number - (40 * mean >> 9)
        bias, at = 0, at + 1
        if mean < 128 and at < len(folded):
            end = at
            while end < len(folded) and folded[end] == 0:
                end += 1
            code(end - at, 8 - mean.bit_length() + (mean + 16 >> 6), 16)
            mean, bias, at = 0, 1, end


def caf(encoder: Encoder, packets: list[bytes], frames: int, *, wrapped: bool) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">4sq", kind, len(body)) + body

    def number(value: int) -> bytes:
        digits = [value & 0x7F]
        while value := value >> 7:
            digits.append(value & 0x7F | 0x80)
        return bytes(reversed(digits))

    cookie = encoder.cookie()
    if wrapped:
        cookie = (
            struct.pack(">I4s4s", 12, b"frma", b"alac")
            + struct.pack(">I4sI", 12 + len(cookie), b"alac", 0)
            + cookie
        )
    filling = encoder.frames * len(packets) - frames
    desc = struct.pack(
        ">d4sIIIII", RATE, b"alac", 0, 0, encoder.frames, encoder.channels, encoder.bits
    )
    table = struct.pack(">qqii", len(packets), frames, 0, filling)
    return (
        struct.pack(">4sHH", b"caff", 1, 0)
        + chunk(b"desc", desc)
        + chunk(b"kuki", cookie)
        + chunk(b"pakt", table + b"".join(number(len(packet)) for packet in packets))
        + chunk(b"data", bytes(4) + b"".join(packets))
    )


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bits", [16, 20, 24, 32])
def test_packets_that_ffmpeg_does_not_write(
    tmp_path: Path, bits: int, channels: int, wrapped: bool
) -> None:
    encoder = Encoder(bits, channels, 256)
    full = 1 << bits - 1
    waveform = signal(channels, 3000)[:, 500:2500].astype(np.float64)
    samples = np.rint(waveform * full).astype(np.int64).clip(-full, full - 1)
    packets = []
    for index, start in enumerate(range(0, samples.shape[1], 256)):
        # A pair of 32 bits has no room for the difference of both.
        low_bits = {16: 0, 20: 8 * (index % 2), 24: 8 * (index % 3), 32: 16}[bits]
        part = samples[:, start : start + 256]
        packets.append(encoder.packet(part, is_plain=index % 4 == 0, low_bits=low_bits))
    path = tmp_path / "crafted.caf"
    path.write_bytes(caf(encoder, packets, samples.shape[1], wrapped=wrapped))
    waveform, rate = ossicle.load(path, mono=False)
    assert (rate, ossicle.info(path).bits_per_sample) == (RATE, bits)
    np.testing.assert_array_equal(waveform, samples.astype(np.float32) / np.float32(full))
    # FFmpeg refuses packets of a pair of 32 bits that are not compressed.
    if (bits, channels) != (32, 2):
        (expected,) = oracle.decode(oracle.bundled(), [path], channels)
        np.testing.assert_array_equal(waveform[:, : expected.shape[1]], expected)


def test_versions_depths_and_channels_that_do_not_exist_are_named(tmp_path: Path) -> None:
    encoder = Encoder(16, 2, 256)
    packets = [encoder.packet(np.zeros((2, 256), np.int64), is_plain=True, low_bits=0)]
    data = caf(encoder, packets, 256, wrapped=False)
    at = data.index(encoder.cookie())
    for place, value, name in [(4, 1, "version 1"), (5, 17, "17 bits"), (9, 9, "9 channels")]:
        changed = bytearray(data)
        changed[at + place] = value
        with pytest.raises(ossicle.UnsupportedFormatError, match=name):
            ossicle.load(bytes(changed))


def test_every_cut_and_many_flips_of_a_packet(tmp_path: Path) -> None:
    encoder = Encoder(16, 2, 256)
    waveform = signal(2, 256) * 30000
    packet = encoder.packet(waveform.astype(np.int64), is_plain=False, low_bits=0)
    for length in range(1, len(packet) - 2):
        with pytest.raises(ossicle.AudioError):
            ossicle.load(caf(encoder, [packet[:length]], 256, wrapped=False))
    random = np.random.default_rng(1)
    for bit in random.integers(0, 8 * len(packet), 500):
        changed = bytearray(packet)
        changed[bit // 8] ^= 0x80 >> bit % 8
        try:
            waveform, _ = ossicle.load(caf(encoder, [bytes(changed)], 256, wrapped=False))
        except ossicle.AudioError:
            continue
        assert waveform.shape[-1] <= 256


PCM = {
    "mov": "s16le s16be s24le s24be s32le s32be f32le f32be f64le f64be u8 s8 alaw mulaw",
    "mp4": "s16le s16be s24le s24be s32le s32be f32le f32be f64le f64be",
    "mkv": "s16le s16be s24le s24be s32le s32be f32le f64le u8 alaw mulaw",
}


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("suffix", "kind"), [(suffix, kind) for suffix, kinds in PCM.items() for kind in kinds.split()]
)
def test_packets_of_pcm(folder: Path, suffix: str, kind: str, channels: int) -> None:
    path = encode(folder, f"{kind}-{channels}.{suffix}", channels, f"-c:a pcm_{kind}")
    waveform = check(path, channels)
    assert waveform.shape[1] == FRAMES
    assert ossicle.info(path).codec == f"pcm_{kind}"
    begin = 30_001
    part, _ = ossicle.load(path, mono=False, offset=begin / RATE, duration=0.1)
    np.testing.assert_array_equal(part, waveform[:, begin : begin + RATE // 10])

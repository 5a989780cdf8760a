"""CAF with packets of a codec, against FFmpeg."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import oracle
import pytest

import ossicle

FORMATS = {
    "alac": "-c:a alac",
    "flac": "-c:a flac -sample_fmt s16",
    "mp3": "-c:a libmp3lame -b:a 64k",
    "mp2": "-c:a mp2 -b:a 192k",
}
LOSSLESS = {"alac", "flac"}
FRAMES = 2 * 44_100 + 1013


def make(make_clip, codec: str, channels: int = 2) -> Path:
    return make_clip("caf", rate=44_100, channels=channels, frames=FRAMES, options=FORMATS[codec])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("codec", FORMATS)
def test_lengths_and_samples_are_those_of_ffmpeg(codec: str, channels: int, make_clip) -> None:
    path = make(make_clip, codec, channels)
    info = ossicle.info(path)
    waveform, _ = ossicle.load(path, mono=False)
    expected = oracle.decode(oracle.bundled(), [path], channels)[0]
    assert (info.container, info.codec, info.channels) == ("caf", codec, channels)
    assert info.frames == waveform.shape[1]
    if codec in LOSSLESS:
        assert info.frames == FRAMES
    else:
        assert info.frames == expected.shape[1]
    # FFmpeg 9 takes the filling of ALAC's last packet off twice, where that packet is short.
    difference = waveform[:, : expected.shape[1]] - expected
    assert oracle.rms(difference) < 1e-4
    if codec in LOSSLESS:
        assert not difference.any()


@pytest.mark.parametrize("codec", FORMATS)
def test_a_range_is_a_slice(codec: str, make_clip) -> None:
    path = make(make_clip, codec)
    whole, rate = ossicle.load(path, mono=False)
    random = np.random.default_rng(5)
    tolerance = 0 if codec in LOSSLESS else 1e-5
    for start in [0, 1, whole.shape[1] - 1, *random.integers(0, whole.shape[1], 12)]:
        length = int(random.integers(1, 9_000))
        part, _ = ossicle.load(path, mono=False, offset=start / rate, duration=length / rate)
        expected = whole[:, start : start + length]
        np.testing.assert_allclose(part, expected, rtol=0, atol=tolerance)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">4sq", kind, len(body)) + body


def number(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def aac_caf(adts: bytes, *, open_ended: bool) -> tuple[bytes, int]:
    """CAF of the frames of an ADTS stream at 44.1 kHz in stereo, and how many samples it has."""
    packets, at = [], 0
    while at < len(adts):
        size = (adts[at + 3] & 3) << 11 | adts[at + 4] << 3 | adts[at + 5] >> 5
        packets.append(adts[at + 7 : at + size])
        at += size
    frames = 1024 * len(packets) - 1024 - 100
    desc = struct.pack(">d4sIIIII", 44_100.0, b"aac ", 2, 0, 1024, 2, 0)
    pakt = struct.pack(">qqii", len(packets), frames, 1024, 100)
    pakt += b"".join(number(len(packet)) for packet in packets)
    body = bytes(4) + b"".join(packets)
    data = struct.pack(">4sq", b"data", -1) + body if open_ended else chunk(b"data", body)
    head = b"caff" + struct.pack(">HH", 1, 0) + chunk(b"desc", desc)
    head += chunk(b"kuki", bytes([0x12, 0x10])) + chunk(b"pakt", pakt)
    return head + data, frames


@pytest.mark.parametrize("open_ended", [False, True])
def test_aac_is_cut_by_its_packet_table(open_ended: bool, make_clip) -> None:
    adts = make_clip(
        "aac", rate=44_100, channels=2, frames=FRAMES, options="-c:a aac -aac_pns 0 -f adts"
    )
    whole, _ = ossicle.load(adts, mono=False)
    data, frames = aac_caf(adts.read_bytes(), open_ended=open_ended)
    waveform, _ = ossicle.load(data, mono=False)
    assert ossicle.info(data).frames == frames
    assert np.array_equal(waveform, whole[:, 1024 : 1024 + frames])


@pytest.mark.parametrize("codec", FORMATS)
def test_a_cut_file_is_an_error(codec: str, make_clip) -> None:
    # The packet table comes last: what is left has none, and says so.
    data = make(make_clip, codec).read_bytes()
    for length in (len(data) // 2, len(data) - 1):
        with pytest.raises(ossicle.AudioError) as caught:
            ossicle.load(data[:length])
        assert caught.value.byte_offset is not None


def test_cut_data_behind_the_table_give_what_is_there(make_clip) -> None:
    adts = make_clip(
        "aac", rate=44_100, channels=2, frames=FRAMES, options="-c:a aac -aac_pns 0 -f adts"
    )
    data, _ = aac_caf(adts.read_bytes(), open_ended=True)
    whole, rate = ossicle.load(data, mono=False)
    cut = data[: len(data) * 3 // 4]
    with pytest.raises(ossicle.AudioError, match="cut short") as caught:
        ossicle.load(cut)
    assert caught.value.byte_offset == len(cut)
    beginning, _ = ossicle.load(cut, mono=False, duration=1.0)
    assert np.array_equal(beginning, whole[:, :rate])


@pytest.mark.parametrize("codec", ["ac-3", "opus"])
def test_other_codecs_are_named(codec: str) -> None:
    desc = struct.pack(">d4sIIIII", 48_000.0, codec.encode(), 0, 0, 960, 2, 0)
    data = b"caff" + struct.pack(">HH", 1, 0) + chunk(b"desc", desc) + chunk(b"data", bytes(8))
    with pytest.raises(ossicle.UnsupportedFormatError, match="in CAF is not decoded here"):
        ossicle.info(data)

"""Ogg with Vorbis, Opus and FLAC against FFmpeg: lengths, samples, ranges, links, lost pages."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import demuxed
import numpy as np
import oracle
import pytest

import ossicle

# Codec, further options, rate, channels, seconds.
CLIPS = {
    "vorbis": ("libvorbis", "-q:a 5", 44_100, 2, 60),
    "vorbis-8k": ("libvorbis", "-q:a 5", 8_000, 1, 90),
    "vorbis-96k": ("libvorbis", "-q:a 5", 96_000, 1, 20),
    "vorbis-short-pages": ("libvorbis", "-page_duration 1", 48_000, 1, 10),
    "opus": ("libopus", "-b:a 96k", 48_000, 2, 60),
    "opus-60ms": ("libopus", "-b:a 96k -frame_duration 60", 48_000, 1, 60),
    "flac": ("flac", "", 44_100, 2, 20),
    "flac-short-pages": ("flac", "-page_duration 1", 16_000, 1, 20),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ogg")


def write(folder: Path, clip: str) -> Path:
    codec, options, rate, channels, seconds = CLIPS[clip]
    path = folder / f"{clip}.ogg"
    wav = demuxed.source(folder, rate, channels, seconds)
    oracle.ffmpeg(oracle.bundled(), ["-i", wav, "-c:a", codec, *options.split(), path])
    return path


def pages(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each page begins and ends."""
    at = 0
    while at < len(data):
        count = data[at + 26]
        end = at + 27 + count + sum(data[at + 27 : at + 27 + count])
        yield at, end
        at = end


def check(path: Path, channels: int) -> None:
    is_lossless = ossicle.info(path).codec == "flac"
    demuxed.check(path, "ogg", channels, is_lossless=is_lossless)


@pytest.mark.parametrize("clip", CLIPS)
def test_clips_are_as_ffmpeg_has_them(folder: Path, clip: str) -> None:
    check(write(folder, clip), CLIPS[clip][3])


@pytest.mark.parametrize("tool", ["oggenc -Q -o", "opusenc --quiet", "flac -s --ogg -f -o"])
def test_other_writers(folder: Path, tool: str) -> None:
    command = tool.split()
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]}")
    wav, path = demuxed.source(folder, 44_100, 2, 20), folder / f"{command[0]}.ogg"
    both = [wav, path] if command[0] == "opusenc" else [path, wav]
    subprocess.run([*command, *both], check=True)
    check(path, 2)


@pytest.mark.parametrize("clip", ["vorbis", "flac"])
def test_the_first_link_of_a_chain_is_whole(folder: Path, clip: str) -> None:
    first = write(folder, clip).read_bytes()
    other = write(folder, "opus").read_bytes()
    alone, _ = ossicle.load(first)
    chained, _ = ossicle.load(first + other)
    np.testing.assert_array_equal(chained, alone)
    assert ossicle.info(first + other).frames == len(alone)
    np.testing.assert_array_equal(ossicle.load(first + b"rubbish" * 99)[0], alone)


@pytest.mark.parametrize("clip", CLIPS)
def test_a_lost_page_is_an_error_and_what_follows_keeps_its_place(folder: Path, clip: str) -> None:
    data = write(folder, clip).read_bytes()
    bounds = list(pages(data))
    begin, end = bounds[len(bounds) // 2]
    lost = data[:begin] + data[end:]
    with pytest.raises(ossicle.CorruptAudioError) as caught:
        ossicle.load(lost)
    offset = caught.value.byte_offset
    assert offset is not None
    assert abs(offset - begin) <= 2 * 65_307
    whole, _ = ossicle.load(data)
    concealed, rate = ossicle.load(lost, on_error="conceal")[:2]
    assert len(concealed) == len(whole)
    tail = slice(-rate, None)
    np.testing.assert_allclose(concealed[tail], whole[tail], rtol=0, atol=1e-4)


@pytest.mark.parametrize("clip", ["vorbis", "opus", "flac"])
def test_a_changed_byte_is_an_error_by_the_pages_checksum(folder: Path, clip: str) -> None:
    data = bytearray(write(folder, clip).read_bytes())
    data[len(data) // 2] ^= 0x10
    with pytest.raises(ossicle.CorruptAudioError) as caught:
        ossicle.load(bytes(data))
    assert caught.value.byte_offset is not None


@pytest.mark.parametrize("clip", ["vorbis", "opus", "flac"])
def test_a_stream_without_its_last_page_was_cut_short(folder: Path, clip: str) -> None:
    data = write(folder, clip).read_bytes()
    begin, _ = list(pages(data))[-1]
    for call in (ossicle.load, ossicle.info):
        with pytest.raises(ossicle.CorruptAudioError, match="cut short"):
            call(data[:begin])


def page(packet: bytes) -> bytes:
    """The first page of a stream, with its checksum: RFC 3533, section 6."""
    head = b"OggS\0\2" + bytes(8) + struct.pack("<II", 1, 0)
    tail = bytes([1, len(packet)]) + packet
    checksum = 0
    for byte in head + bytes(4) + tail:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    return head + struct.pack("<I", checksum) + tail


@pytest.mark.parametrize("name", ["speex", "celt", "pcm"])
def test_other_codecs_are_refused_by_name(name: str) -> None:
    start = {"speex": b"Speex   ", "celt": b"CELT    ", "pcm": b"PCM     "}[name]
    with pytest.raises(ossicle.UnsupportedFormatError, match=name):
        ossicle.load(page(start + bytes(72)))


def test_video_alone_is_no_audio() -> None:
    with pytest.raises(ossicle.UnsupportedFormatError, match="no audio"):
        ossicle.load(page(b"\x80theora" + bytes(35)))

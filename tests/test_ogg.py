"""Ogg with Vorbis, Opus and FLAC against FFmpeg: lengths, samples, ranges, links, lost pages."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import careless
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


@pytest.mark.sampled(one_in=3)
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


SHORT = {
    "vorbis": "-c:a libvorbis -q:a 3",
    "opus": "-c:a libopus -b:a 48k",
    "flac": "-c:a flac",
}
CHAINS = [
    ("vorbis", "vorbis"),
    ("opus", "opus", "opus"),
    ("flac", "flac"),
    ("vorbis", "opus"),
    ("opus", "vorbis"),
    ("flac", "opus", "flac"),
]
# FFmpeg rounds angles of stereo otherwise than libopus.
COPY_TOLERANCE = {"vorbis": 1e-6, "opus": 1e-2, "flac": 0.0}
NO_END = "no Ogg page has the end-of-stream flag"
NO_PAGE = "bytes between Ogg pages belong to no page"
GOES_ON = "an Ogg page has the end-of-stream flag, and the stream continues"
POSITIONS = "granule positions of Ogg pages are not those of their packets"


@pytest.fixture(scope="module")
def short(folder: Path) -> dict[str, bytes]:
    """A second of each codec at 48 kHz."""
    wav, files = demuxed.source(folder, 48_000, 2, 1), {}
    for codec, options in SHORT.items():
        path = folder / f"short-{codec}.ogg"
        how = [*options.split(), "-page_duration", "100000"]
        oracle.ffmpeg(oracle.bundled(), ["-i", wav, *how, path])
        files[codec] = path.read_bytes()
    return files


def alone(data: bytes) -> oracle.Array:
    return ossicle.load(data, mono=False)[0]


@pytest.mark.parametrize("links", CHAINS, ids="-".join)
def test_a_chain_is_all_of_its_links(
    short: dict[str, bytes], links: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "chain.ogg"
    path.write_bytes(b"".join(short[link] for link in links))
    expected = np.concatenate([alone(short[link]) for link in links], axis=1)
    is_lossless = set(links) == {"flac"}
    changes = f"the stream changes from {links[0]} to {links[1]}" if links[0] != links[1] else ""
    what = "Ogg | links of a chain differ in codec"
    careless.check(path, expected, changes, what=what, tolerance=0.0 if is_lossless else 1e-6)


def test_links_of_other_channels_are_mixed_to_mono(short: dict[str, bytes], tmp_path: Path) -> None:
    wav, mono = tmp_path / "mono.wav", tmp_path / "mono.opus"
    wav.write_bytes(oracle.wav_bytes(oracle.signal(48_000, 1, 30_000), 48_000))
    oracle.ffmpeg(oracle.bundled(), ["-i", wav, "-c:a", "libopus", mono])
    path = tmp_path / "chain.opus"
    path.write_bytes(mono.read_bytes() + short["opus"])
    parts = [ossicle.load(mono)[0], ossicle.load(short["opus"])[0]]
    reason = "the stream changes from 1 to 2 channels"
    what = "Ogg | links of a chain differ in channels (to mono)"
    careless.check(path, np.concatenate(parts), reason, what=what, mono=True, tolerance=1e-6)


def test_a_long_chain_of_one_serial_number(folder: Path, tmp_path: Path) -> None:
    first = write(folder, "vorbis").read_bytes()
    path = tmp_path / "chain.ogg"
    path.write_bytes(first + first)
    whole = alone(first)
    frames = whole.shape[1]
    assert ossicle.info(path).frames == 2 * frames
    part, rate = ossicle.load(path, mono=False, offset=(frames - 5_000) / 44_100, duration=0.5)
    start = round((frames - 5_000) / 44_100 * rate)
    expected = np.concatenate([whole, whole], axis=1)[:, start : start + part.shape[1]]
    np.testing.assert_array_equal(part, expected)


def test_a_chain_whose_last_link_is_cut_is_an_error(short: dict[str, bytes]) -> None:
    data = short["vorbis"] + short["opus"]
    for cut in (len(data) - 9, len(short["vorbis"]) + 20, len(short["vorbis"]) + 200):
        for call in (ossicle.load, ossicle.info):
            with pytest.raises(ossicle.CorruptAudioError, match="cut short"):
                call(data[:cut])


def repaged(data: bytes, change: Callable[[int, bytearray], None]) -> bytes:
    """Each page changed by `change`, which gets its place, with its checksum made right."""
    parts = []
    for index, (begin, end) in enumerate(pages(data)):
        one = bytearray(data[begin:end])
        change(index, one)
        one[22:26] = bytes(4)
        one[22:26] = struct.pack("<I", checksum(one))
        parts.append(bytes(one))
    return b"".join(parts)


@pytest.mark.parametrize("codec", SHORT)
def test_pages_without_an_end(short: dict[str, bytes], codec: str, tmp_path: Path) -> None:
    data = short[codec]

    def no_end(index: int, one: bytearray) -> None:
        one[5] &= ~4

    path = tmp_path / "clip.ogg"
    path.write_bytes(repaged(data, no_end))
    what = "Ogg | no page has the end-of-stream flag"
    # Without the flag nothing is cut.
    expected = ossicle.load(path.read_bytes(), mono=False)[0]
    whole = alone(data)
    np.testing.assert_array_equal(expected[:, : whole.shape[1]], whole)
    assert expected.shape[1] - whole.shape[1] < 5_760
    careless.check(path, expected, NO_END, what=what, tolerance=1e-6)


@pytest.mark.parametrize("codec", SHORT)
def test_an_early_end(short: dict[str, bytes], codec: str, tmp_path: Path) -> None:
    def early(index: int, one: bytearray) -> None:
        one[5] |= 4 if index == 5 else 0

    path = tmp_path / "clip.ogg"
    path.write_bytes(repaged(short[codec], early))
    what = "Ogg | a page in the middle has the end-of-stream flag"
    careless.check(path, alone(short[codec]), GOES_ON, what=what, tolerance=1e-6)


@pytest.mark.parametrize("codec", SHORT)
@pytest.mark.parametrize("index", [1, 5])
def test_rubbish_between_pages(
    short: dict[str, bytes], codec: str, index: int, tmp_path: Path
) -> None:
    data = short[codec]
    begin, _ = list(pages(data))[index]
    path = tmp_path / "clip.ogg"
    path.write_bytes(data[:begin] + b"rubbish" * 9 + data[begin:])
    what = "Ogg | other bytes between pages, none of which is missing"
    careless.check(path, alone(data), NO_PAGE, what=what, tolerance=1e-6)


@pytest.mark.parametrize("codec", SHORT)
@pytest.mark.parametrize("off", [1, 40])
def test_positions_beside_the_packets(
    short: dict[str, bytes], codec: str, off: int, tmp_path: Path
) -> None:
    def shift(index: int, one: bytearray) -> None:
        (position,) = struct.unpack("<q", one[6:14])
        if index % 2 == 0 and position > 0 and not one[5] & 4:
            one[6:14] = struct.pack("<q", position + off)

    data = short[codec]
    if list(pages(data))[4:] and codec != "flac":
        path = tmp_path / "clip.ogg"
        path.write_bytes(repaged(data, shift))
        what = "Ogg | granule positions that are less than a packet off"
        info = ossicle.info(path)
        assert any(POSITIONS in remark for remark in info.remarks)
        whole, got = alone(data), ossicle.load(path, mono=False)[0]
        # The first page says where the recording begins, and the one before the last what to cut.
        assert abs(got.shape[1] - whole.shape[1]) <= off
        shared = min(got.shape[1], whole.shape[1])
        np.testing.assert_array_equal(got[:, :shared], whole[:, :shared])
        careless.check(path, got, POSITIONS, what=what, tolerance=1e-6)


@pytest.mark.parametrize("codec", SHORT)
def test_copies_from_matroska(folder: Path, codec: str, tmp_path: Path) -> None:
    wav, mka = demuxed.source(folder, 48_000, 2, 1), tmp_path / "clip.mka"
    oracle.ffmpeg(oracle.bundled(), ["-i", wav, *SHORT[codec].split(), mka])
    for name, executable in oracle.decoders().items():
        path = tmp_path / f"{name}.ogg"
        oracle.ffmpeg(executable, ["-i", mka, "-c", "copy", path])
        (expected,) = oracle.decode(oracle.bundled(), [path], 2)
        got, _ = ossicle.load(path, mono=False)
        assert got.shape == expected.shape
        assert ossicle.info(path).frames == got.shape[1]
        assert oracle.rms(got - expected) <= COPY_TOLERANCE[codec]


@pytest.mark.sampled(one_in=3)
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
    concealed, rate = ossicle.load_concealed(lost)[:2]
    assert len(concealed) == len(whole)
    tail = slice(-rate, None)
    np.testing.assert_allclose(concealed[tail], whole[tail], rtol=0, atol=1e-4)


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("clip", ["vorbis", "opus", "flac"])
def test_a_changed_byte_is_an_error_by_the_pages_checksum(folder: Path, clip: str) -> None:
    data = bytearray(write(folder, clip).read_bytes())
    data[len(data) // 2] ^= 0x10
    with pytest.raises(ossicle.CorruptAudioError) as caught:
        ossicle.load(bytes(data))
    assert caught.value.byte_offset is not None


@pytest.mark.parametrize("clip", ["vorbis", "opus", "flac"])
def test_a_stream_that_ends_inside_a_page_was_cut_short(folder: Path, clip: str) -> None:
    data = write(folder, clip).read_bytes()
    begin, _ = list(pages(data))[-1]
    for call in (ossicle.load, ossicle.info):
        with pytest.raises(ossicle.CorruptAudioError, match="cut short"):
            call(data[: begin + 30])


def checksum(data: bytes | bytearray) -> int:
    """RFC 3533, section 6."""
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ TABLE[value >> 24 ^ byte]
    return value


def _row(value: int) -> int:
    for _ in range(8):
        value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


TABLE = [_row(byte << 24) for byte in range(256)]


def page(packet: bytes) -> bytes:
    """The first page of a stream, with its checksum: RFC 3533, section 6."""
    head = b"OggS\0\2" + bytes(8) + struct.pack("<II", 1, 0)
    tail = bytes([1, len(packet)]) + packet
    return head + struct.pack("<I", checksum(head + bytes(4) + tail)) + tail


@pytest.mark.parametrize("name", ["speex", "celt", "pcm"])
def test_other_codecs_are_refused_by_name(name: str) -> None:
    start = {"speex": b"Speex   ", "celt": b"CELT    ", "pcm": b"PCM     "}[name]
    with pytest.raises(ossicle.UnsupportedFormatError, match=name):
        ossicle.load(page(start + bytes(72)))


def test_video_alone_is_no_audio() -> None:
    with pytest.raises(ossicle.UnsupportedFormatError, match="no audio"):
        ossicle.load(page(b"\x80theora" + bytes(35)))

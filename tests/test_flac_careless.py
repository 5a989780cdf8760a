"""FLAC whose bytes are whole: old and odd streams, wrong counts, chains, rubbish."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import careless
import flac_frames
import numpy as np
import numpy.typing as npt
import oracle
import pytest

import ossicle

FLAC = shutil.which("flac")
FIELD = Path(__file__).parents[2] / "shared/data/field"
COUNTS = "counts fewer samples"
CHAIN = "several FLAC streams"
AGAIN = "begin again"
RUBBISH = "belong to no frame"
SIZES = [1000, 300, 16, 684, 2000, 1000]


def integers(frames: int = 5_000, channels: int = 1, bits: int = 16) -> flac_frames.Ints:
    top = 2 ** (bits - 1)
    return np.random.default_rng(frames + bits).integers(-top, top, (channels, frames))


def floats(samples: flac_frames.Ints, bits: int = 16) -> npt.NDArray[np.float32]:
    return (samples / 2.0 ** (bits - 1)).astype(np.float32)


def written(tmp_path: Path, *parts: bytes) -> Path:
    path = tmp_path / "clip.flac"
    path.write_bytes(b"".join(parts))
    return path


def peers_agree(path: Path, expected: npt.NDArray[np.float32]) -> None:
    """FFmpeg and Xiph's decoder give the same samples."""
    decoded = oracle.decode(oracle.bundled(), [path], len(expected))[0]
    np.testing.assert_array_equal(decoded, expected)
    if FLAC is not None:
        wav = path.with_suffix(".wav")
        subprocess.run([FLAC, "-d", "-s", "-f", "-o", wav, path], check=True, capture_output=True)
        np.testing.assert_array_equal(ossicle.load(wav, mono=False)[0], expected)


CONFORMANT = {
    # Flake 0.11: samples are numbered, and no bit says so.
    "old variable blocks": ("samples", {}, {"blocks": (16, 2000)}),
    "old variable blocks, no total": ("samples", {}, {"blocks": (16, 2000), "frames": 0}),
    "variable blocks": ("samples", {"variable": True}, {"blocks": (16, 2000)}),
    "variable blocks, no total": (
        "samples",
        {"variable": True},
        {"blocks": (16, 2000), "frames": 0},
    ),
    "variable blocks of one size": ("samples", {"variable": True}, {"blocks": (2000, 2000)}),
    "largest frame wrong": ("samples", {"variable": True}, {"largest": 9}),
    "rate of none": ("samples", {"variable": True, "rate": 12_345}, {"rate": 12_345}),
    "4 bits": ("samples", {"variable": True, "bits": 4}, {"bits": 4}),
    "17 bits": ("samples", {"variable": True, "bits": 17}, {"bits": 17}),
    "31 bits": ("samples", {"variable": True, "bits": 31}, {"bits": 31}),
    "an unknown block": ("samples", {"variable": True}, {"more": [(42, b"what"), (1, bytes(99))]}),
}


@pytest.mark.parametrize("name", CONFORMANT)
def test_what_conforms_is_no_remark(name: str, tmp_path: Path) -> None:
    numbers, of_frames, of_header = CONFORMANT[name]
    bits = of_frames.get("bits", 16)
    samples = integers(bits=bits)
    frames = flac_frames.stream(samples, SIZES, numbers, **of_frames)
    path = written(tmp_path, flac_frames.header(**{"frames": 5_000} | of_header), *frames)
    careless.check(path, floats(samples, bits), "")
    if bits <= 24:
        peers_agree(path, floats(samples, bits))


ODD_NUMBERS = {
    "numbers of frames, blocks vary": ("frames", {}, "its blocks vary"),
    "numbers of frames, said to be of samples": (
        "frames",
        {"variable": True},
        "declares sample numbers",
    ),
    "numbers that are all 0": ("zero", {}, AGAIN),
}


@pytest.mark.parametrize("total", [5_000, 0])
@pytest.mark.parametrize("name", ODD_NUMBERS)
def test_numbers_that_contradict_blocks(name: str, total: int, tmp_path: Path) -> None:
    numbers, arguments, remark = ODD_NUMBERS[name]
    samples = integers()
    frames = flac_frames.stream(samples, SIZES, numbers, **arguments)
    path = written(tmp_path, flac_frames.header(frames=total, blocks=(16, 2000)), *frames)
    careless.check(path, floats(samples), remark, what=f"FLAC | {name}")
    peers_agree(path, floats(samples))


def encoded(make_clip, frames: int = 48_000, rate: int = 16_000, channels: int = 1) -> bytes:
    options = "-c:a flac -sample_fmt s16"
    return make_clip(
        "flac", rate=rate, frames=frames, channels=channels, options=options
    ).read_bytes()


def recount(data: bytes, frames: int) -> bytes:
    return data[:22] + frames.to_bytes(4, "big") + data[26:]


@pytest.mark.parametrize("missing", [1, 4_096, 30_000, 47_999])
def test_more_samples_than_are_counted(missing: int, make_clip, tmp_path: Path) -> None:
    data = encoded(make_clip)
    expected, _ = ossicle.load(data, mono=False)
    path = written(tmp_path, recount(data, 48_000 - missing))
    careless.check(path, expected, COUNTS, what="FLAC | STREAMINFO counts too few samples")
    np.testing.assert_array_equal(ossicle.load(path, verify=True, mono=False)[0], expected)


def test_fewer_samples_than_are_counted_are_an_error(make_clip) -> None:
    """Nobody can tell this from a cut between two frames."""
    data = recount(encoded(make_clip), 48_001)
    with pytest.raises(ossicle.CorruptAudioError, match="cut short"):
        ossicle.load(data)


def without_header(data: bytes) -> bytes:
    at = 4
    while True:
        last, length = data[at] >> 7, int.from_bytes(data[at + 1 : at + 4], "big")
        at += 4 + length
        if last:
            return data[at:]


ID3V1, APE = b"TAG" + bytes(125), b"APETAGEX" + bytes(200)


def chains(make_clip) -> dict[str, tuple[list[int], list[bytes], str]]:
    one, two, tiny = (encoded(make_clip, frames) for frames in (48_000, 30_011, 100))
    bare, unknown = without_header(two), recount(one, 0)
    return {
        "twice": ([0, 0], [one, one], CHAIN),
        "three times": ([0, 0, 0], [one, one, one], CHAIN),
        "five times": ([0] * 5, [one] * 5, CHAIN),
        "unlike": ([0, 1, 2, 0], [one, two, tiny, one], CHAIN),
        "tiny": ([2, 2], [tiny, tiny], CHAIN),
        "total unknown": ([0, 0], [unknown, unknown], CHAIN),
        "tags in between": ([0, 1], [one, ID3V1, b"ID3\4\0\0\0\0\0\4abcd", two, APE, ID3V1], CHAIN),
        "without a header": ([0, 1], [one, bare], AGAIN),
        "twice without a header": ([0, 0], [one, without_header(one)], AGAIN),
        "without a header, total unknown": ([0, 1], [unknown, bare], AGAIN),
        "without a header, total of both": ([0, 1], [recount(one, 78_011), bare], AGAIN),
    }


NAMES = [
    "twice",
    "three times",
    "five times",
    "unlike",
    "tiny",
    "total unknown",
    "tags in between",
    "without a header",
    "twice without a header",
    "without a header, total unknown",
    "without a header, total of both",
]


@pytest.mark.parametrize("name", NAMES)
def test_streams_in_a_row_are_one_recording(name: str, make_clip, tmp_path: Path) -> None:
    links, parts, remark = chains(make_clip)[name]
    clips = [ossicle.load(encoded(make_clip, n), mono=False)[0] for n in (48_000, 30_011, 100)]
    expected = np.concatenate([clips[link] for link in links], axis=1)
    path = written(tmp_path, *parts)
    what = "several streams in a row" if remark == CHAIN else "numbers of frames that begin again"
    careless.check(path, expected, remark, what=f"FLAC | {what}")
    np.testing.assert_array_equal(ossicle.load_concealed(path)[0], expected[0])
    if "both" not in name:
        np.testing.assert_array_equal(ossicle.load(path, verify=True)[0], expected[0])


def test_what_ffmpeg_concatenates(make_clip, tmp_path: Path) -> None:
    options = "-c:a flac -sample_fmt s16"
    clips = [make_clip("flac", frames=n, options=options) for n in (48_000, 48_000, 30_011)]
    names = tmp_path / "names.txt"
    names.write_text("".join(f"file '{clip}'\n" for clip in clips))
    for version, executable in oracle.decoders().items():
        path = tmp_path / f"{version}.flac"
        arguments = ["-f", "concat", "-safe", "0", "-i", names, "-c", "copy", path]
        oracle.ffmpeg(executable, arguments)
        expected = np.concatenate([ossicle.load(clip, mono=False)[0] for clip in clips], axis=1)
        careless.check(path, expected, AGAIN)


def test_streams_of_other_depth_are_joined(make_clip, tmp_path: Path) -> None:
    samples = integers(bits=24)
    deep = flac_frames.header(frames=5_000, bits=24) + b"".join(
        flac_frames.stream(samples, [4096, 904], bits=24)
    )
    one = encoded(make_clip)
    expected = np.concatenate([ossicle.load(one, mono=False)[0], floats(samples, 24)], axis=1)
    careless.check(written(tmp_path, one, deep), expected, CHAIN)


def test_streams_that_differ_are_refused(make_clip) -> None:
    one = encoded(make_clip)
    for other in (encoded(make_clip, rate=44_100), encoded(make_clip, channels=2)):
        for call in (ossicle.load, ossicle.info):
            if call is ossicle.info:
                continue
            with pytest.raises(
                ossicle.UnsupportedFormatError, match="followed by one of"
            ) as caught:
                call(one + other)
            assert caught.value.byte_offset == len(one)
    # What lies in front is there.
    assert len(ossicle.load(one + other, duration=1.0)[0]) == 16_000


def test_a_stream_that_was_cut_before_the_next_is_an_error(make_clip) -> None:
    one, two = encoded(make_clip), encoded(make_clip, 30_011)
    bare = without_header(one)
    last = bare.rindex(b"\xff\xf8")
    cut = one[: len(one) - len(bare) + last]
    for data in (cut + two, cut + without_header(two), one[:-9] + two):
        with pytest.raises(ossicle.CorruptAudioError):
            ossicle.load(data)


def test_concealment_goes_on_with_the_next_stream(make_clip) -> None:
    one, two = encoded(make_clip), encoded(make_clip, 30_011)
    damaged = bytearray(one + two)
    damaged[len(one) - 20] ^= 1
    waveform, _, [gap] = ossicle.load_concealed(damaged)
    assert len(waveform) == 78_011
    assert (gap.start, gap.end) == (48_000 // 4096 * 4096, 48_000) or gap.end == 48_000
    np.testing.assert_array_equal(waveform[48_000:], ossicle.load(two)[0])


def split(data: bytes) -> list[bytes]:
    """The header, and each frame."""
    bare = without_header(data)
    parts, begin = [data[: len(data) - len(bare)]], 0
    for at in range(2, len(bare) - 1):
        if bare[at : at + 2] == b"\xff\xf8" and bare[at + 2] == bare[2] and bare[at + 3] == bare[3]:
            parts.append(bare[begin:at])
            begin = at
    return [*parts, bare[begin:]]


@pytest.mark.parametrize("place", [1, 2, 5])
@pytest.mark.parametrize("rubbish", [b"\0" * 8, b"rubbish", b"\xff" * 5, bytes(70_000)])
def test_rubbish_between_frames(rubbish: bytes, place: int, tmp_path: Path) -> None:
    samples = integers(20_000)
    frames = flac_frames.stream(samples, [4000] * 5)
    parts = [flac_frames.header(frames=20_000, blocks=(4000, 4000)), *frames]
    path = written(tmp_path, *parts[:place], rubbish, *parts[place:])
    if place == 1:
        careless.check(path, floats(samples), RUBBISH, what="FLAC | bytes between frames")
    # What lies between other frames is not looked at for the facts.
    assert ossicle.info(path).frames == 20_000
    np.testing.assert_array_equal(ossicle.load(path, mono=False)[0], floats(samples))
    with pytest.raises(ossicle.CorruptAudioError, match=RUBBISH):
        ossicle.load(path, strict=True)
    # Where a frame is lost too, it is damage.
    with pytest.raises(ossicle.CorruptAudioError):
        ossicle.load(b"".join([*parts[:place], rubbish, *parts[place + 1 :]]))


def test_a_stream_that_was_cut_out_of_another(tmp_path: Path) -> None:
    samples = integers(20_000)
    frames = flac_frames.stream(samples, [4000] * 5)
    rest = floats(samples[:, 8_000:])
    remark = "not number 0"
    for total in (0, 20_000):
        head = flac_frames.header(frames=total, blocks=(4000, 4000))
        path = written(tmp_path, head, *frames[2:])
        careless.check(path, rest, remark, what="FLAC | a first frame that is not number 0")
    head = flac_frames.header(frames=20_000, blocks=(4000, 4000))
    with pytest.raises(ossicle.CorruptAudioError, match="cut short"):
        ossicle.load(head + b"".join(frames[2:-1]))


def test_a_stream_without_a_header(tmp_path: Path) -> None:
    samples = integers(20_000, channels=2)
    path = written(tmp_path, *flac_frames.stream(samples, [4000] * 5))
    careless.check(path, floats(samples), "has no header", what="FLAC | no header (STREAMINFO)")


def test_a_picture_that_is_too_large_for_its_block(tmp_path: Path) -> None:
    samples = integers()
    frames = flac_frames.stream(samples, [4096, 904])
    picture = b"\0\0\0\3" + b"\0\0\0\x09image/png" + bytes(20)
    data = 0x100_0100
    body = picture + data.to_bytes(4, "big") + bytes(data)
    stated = len(body) & 0xFF_FFFF
    head = flac_frames.header(frames=5_000, more=[(6, body[:stated])])
    path = written(tmp_path, head, body[stated:], *frames)
    careless.check(path, floats(samples), "picture", what="FLAC | a picture of 16 MiB or more")


@pytest.mark.parametrize("tail", [ID3V1, APE, bytes(1_000), b"rubbish", b"\xff\xf8", b"\xff"])
def test_what_stands_behind_all_samples_is_nothing(tail: bytes, make_clip, tmp_path: Path) -> None:
    data = encoded(make_clip)
    careless.check(written(tmp_path, data, tail), ossicle.load(data, mono=False)[0], "")


def test_a_part_of_a_frame_behind_all_samples_is_an_error(make_clip) -> None:
    data = recount(encoded(make_clip), 47_000)
    with pytest.raises(ossicle.CorruptAudioError):
        ossicle.load(data[:-9])


def test_the_file_of_the_field() -> None:
    path = FIELD / "flac_total_minus1.flac"
    if not path.exists():
        pytest.skip("the files of the field are not here")
    expected = oracle.decode_to(oracle.bundled(), path, 2)
    assert expected.shape == (2, 24_000)
    careless.check(path, expected, COUNTS)

"""PCM whose bytes are whole and whose headers are careless, as FFmpeg and libsndfile read it."""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import careless
import containers
import numpy as np
import numpy.typing as npt
import oracle
import pytest
import soundfile

import ossicle

FRAMES = 600
FIELD = Path(__file__).parents[2] / "shared/data/field"
WORDS = np.random.default_rng(5).integers(-(2**15), 2**15, (FRAMES, 2))
LITTLE, BIG = WORDS.astype("<i2").tobytes(), WORDS.astype(">i2").tobytes()
PIPE = "placeholder, as left by programs that write to a pipe"
BEYOND = "contradicts the file"
ID3 = b"ID3\x03\x00\x00\x00\x00\x01\x05" + bytes(133)
FIXED = (WORDS.T / 32_768).astype(np.float32)


def ffmpegs(path: Path, channels: int) -> npt.NDArray[np.float32]:
    return oracle.decode(oracle.bundled(), [path], channels)[0]


def soundfiles(data: bytes) -> npt.NDArray[np.float32]:
    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0].T


def wav(size: int, riff: int | None = None, **arguments) -> bytes:
    """`riff` None: as a writer has it that adds its header to `size`."""
    riff = (size + 36) & 0xFFFF_FFFF if riff is None else riff
    return containers.wav(LITTLE, 1, 2, 16, size=size, riff=riff, **arguments)


def wave64(size: int, riff: int) -> bytes:
    whole = containers.wave64(LITTLE, 2, 16, size=size)
    return whole[:16] + struct.pack("<Q", riff) + whole[24:]


def aiff(size: int, form: int, frames: int) -> bytes:
    whole = containers.aiff(BIG, 2, 16, size=size)
    return (
        whole[:4] + struct.pack(">I", form) + whole[8:22] + struct.pack(">I", frames) + whole[26:]
    )


def rf64(riff: int, data: int) -> bytes:
    whole = containers.wav(LITTLE, 1, 2, 16, magic=b"RF64")
    return whole[:20] + struct.pack("<QQ", riff, data) + whole[36:]


LEFT = {
    "all ones": wav(0xFFFF_FFFF, 0xFFFF_FFFF),
    "all ones less a header": wav(0xFFFF_FFFF - 36, 0xFFFF_FFFF),
    "all ones in whole blocks": wav(0xFFFF_FFFC),
    "2 GiB - 1": wav(0x7FFF_FFFF),
    "2 GiB": wav(0x8000_0000),
    "2 GiB and all": wav(0x8000_0024, 0x8000_0000),
    "arecord's": wav(0x7FFF_FF00),
    "sox's": wav(0x7FFF_F000),
    "sox's in whole blocks": wav(0x7FFF_F000 // 12 * 12),
    "2 billion": wav(2_000_000_000),
    "zeros": wav(0, 0),
    "an empty recording's": wav(0, 36),
    "zero, RIFF right": wav(0, 36 + len(LITTLE)),
    "big-endian": containers.wav(BIG, 1, 2, 16, size=0xFFFF_FFFF, riff=0xFFFF_FFFF, magic=b"RIFX"),
    "RF64": rf64(0, 0),
    "RF64's data": rf64(2_476, 0),
    "RF64, all ones": rf64(2**64 - 1, 2**64 - 1),
    "Wave64": wave64(2**63 - 1, 2**64 - 1),
    "Wave64, zeros": wave64(0, 0),
    "Wave64, an empty recording's": wave64(24, 104),
    "AIFF, sox's": aiff(0x7F00_0008, 0x7F00_002E, 0x7F00_0000 // 4),
    "AIFF, zeros": aiff(0, 0, 0),
    "AIFF, none, FORM right": aiff(8, 46 + len(BIG), 0),
    "AIFF, all ones": aiff(0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF),
    "AIFF, 2 GiB - 1": aiff(0x7FFF_FFFF, 0x7FFF_FFFF, 0x7FFF_FFFF),
    "AU, zero": containers.au(BIG, 3, 2, size=0),
    "AU, 2 GiB - 1": containers.au(BIG, 3, 2, size=0x7FFF_FFFF),
    "CAF, zero": containers.caf(BIG, b"lpcm", 0, 2, 16, size=0),
    "CAF, the largest": containers.caf(BIG, b"lpcm", 0, 2, 16, size=2**63 - 1),
}


def kind(name: str) -> str:
    first = name.split(",")[0].split("'")[0]
    names = {"RF64": "WAV", "Wave64": "Wave64", "AIFF": "AIFF", "AU": "AU", "CAF": "CAF"}
    return names.get(first, "WAV")


@pytest.mark.parametrize("name", LEFT)
def test_sizes_that_writers_to_pipes_leave(name: str, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(LEFT[name])
    what = f"{kind(name)} | a data size that a writer to a pipe has left"
    careless.check(path, FIXED, PIPE, what=what)
    if LEFT[name].startswith(b"RIFF"):
        np.testing.assert_array_equal(ffmpegs(path, 2), FIXED)


WRONG = {
    "data, RIFF right": wav(9_999, 36 + len(LITTLE)),
    "data counts the whole file": wav(44 + len(LITTLE), 36 + len(LITTLE)),
    "data, RIFF 0": wav(3_000, 0),
    "data, RIFF of a pipe": wav(3_000, 0xFFFF_FFFF),
    "RF64": rf64(2_476, 9_999),
    "Wave64": wave64(9_999, 104 + len(LITTLE)),
    "AIFF": aiff(9_999, 46 + len(BIG), FRAMES),
}


@pytest.mark.parametrize("name", WRONG)
def test_sizes_that_contradict_each_other(name: str, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(WRONG[name])
    what = f"{kind(name)} | a data size beyond the end, the outermost size not"
    careless.check(path, FIXED, BEYOND, what=what)
    if WRONG[name].startswith(b"RIFF"):
        np.testing.assert_array_equal(ffmpegs(path, 2), FIXED)


CUT: dict[str, bytes] = {
    "wav": containers.wav(LITTLE, 1, 2, 16),
    "wav with a chunk behind": containers.wav(LITTLE, 1, 2, 16, behind=b"LIST\4\0\0\0abcd"),
    "rf64": containers.wav(LITTLE, 1, 2, 16, magic=b"RF64"),
    "w64": containers.wave64(LITTLE, 2, 16),
    "aiff": containers.aiff(BIG, 2, 16),
    "au": containers.au(BIG, 3, 2),
    "caf": containers.caf(BIG, b"lpcm", 0, 2, 16),
}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("missing", [13, 17, 100, len(LITTLE) - 1])
def test_a_file_that_was_cut_short_is_no_stream(name: str, missing: int) -> None:
    """Both sizes agree and point beyond the end."""
    assert ossicle.info(CUT[name]).remarks == ()
    with pytest.raises(ossicle.CorruptAudioError, match="declares"):
        ossicle.load(CUT[name][:-missing])


def test_a_part_of_a_frame_at_the_end_of_a_stream_is_none() -> None:
    for name, data in LEFT.items():
        waveform, _ = ossicle.load(data[:-3], mono=False)
        np.testing.assert_array_equal(waveform, FIXED[:, :-1], err_msg=name)


def test_an_empty_recording_is_whole() -> None:
    for data in (
        containers.wav(b"", 1, 2, 16),
        containers.wav(b"", 1, 2, 16, behind=b"LIST\0\0\0\0"),
    ):
        assert (ossicle.info(data).frames, ossicle.info(data).remarks) == (0, ())
        assert ossicle.load(data, strict=True)[0].shape == (0,)


def test_sizes_that_the_format_leaves_open_are_no_remark() -> None:
    for data in (
        containers.au(BIG, 3, 2, size=0xFFFF_FFFF),
        containers.caf(BIG, b"lpcm", 0, 2, 16, size=-1),
    ):
        np.testing.assert_array_equal(ossicle.load(data, mono=False, strict=True)[0], FIXED)
        assert ossicle.info(data).remarks == ()


RAW = "-t raw -r 16000 -e signed -b 16 -c 2 -"
FFMPEG = "ffmpeg -v error -f s16le -ar 16000 -ac 2 -i - -f"
WRITERS = {
    "espeak-ng": "espeak-ng --stdout whole",
    "sox": f"sox {RAW} -t wav -",
    "sox, 24 bits": f"sox {RAW} -b 24 -t wav -",
    "sox, AIFF": f"sox {RAW} -t aiff -",
    "ffmpeg": f"{FFMPEG} wav -",
    "ffmpeg, Wave64": f"{FFMPEG} w64 -",
    "ffmpeg, AIFF": f"{FFMPEG} aiff -",
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_writers_to_a_pipe_write(name: str, tmp_path: Path) -> None:
    path, command = tmp_path / "clip", WRITERS[name].split()
    try:
        done = subprocess.run(command, input=LITTLE, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"{command[0]} cannot: {error}")
    path.write_bytes(done.stdout)
    careless.check(path, ffmpegs(path, 1) if command[0] == "espeak-ng" else FIXED, PIPE)


def octets(bits: int, tag: int = 1, channels: int = 2, **arguments) -> bytes:
    data = np.random.default_rng(bits).integers(1, 255, 2_400, np.uint8).tobytes()
    return containers.wav(data, tag, channels, bits, **arguments)


def without_bits(data: bytes) -> bytes:
    """The format chunk as the first writers had it."""
    return data[:16] + struct.pack("<I", 14) + data[20:34] + data[36:]


# FFmpeg would take these for floats.
UPPER = containers.wav(octets(24)[44:], 1, 2, 32)
MONO = octets(24, channels=1, block=4)

# The file, the remark, the row of the table, and the same as it should be, for FFmpeg.
FORMATS: dict[str, tuple[bytes, str, str, bytes | None]] = {
    f"align {block}, {bits} bits": (
        octets(bits, block=block),
        "block size",
        "block size 0 or wrong",
        None,
    )
    for bits, block in (
        (16, 0),
        (16, 1),
        (16, 6),
        (8, 4),
        (8, 0),
        (12, 1),
        (20, 8),
        (24, 0),
        (32, 6),
    )
} | {
    "24 in 32": (octets(24, block=8), "declares 24 bits", "24 bits in blocks of 32", UPPER),
    "24 in 32, mono": (MONO, "declares 24 bits", "", containers.wav(MONO[44:], 1, 1, 32)),
    "float": (
        containers.wav(FIXED.T.astype("<f4").tobytes(), 3, 2, 32, block=0),
        "block size",
        "",
        None,
    ),
    "mu-law": (octets(16, 7, block=2), "G.711", "mu-law and A-law of other than 8 bits", None),
    "mu-law, wide": (octets(16, 7, block=4), "G.711", "", None),
    "A-law": (octets(16, 6, block=2), "G.711", "", None),
    "A-law, none": (octets(0, 6, block=2), "G.711", "", None),
    "mu-law without bits": (without_bits(octets(8, 7)), "G.711", "", None),
    "no bits": (without_bits(octets(8)), "no bits", "no bits a sample", None),
    "no bits, 16": (without_bits(octets(16)), "no bits", "", octets(16)),
    "bits of 0": (octets(0, block=4), "no bits", "", containers.wav(octets(0)[44:], 1, 2, 16)),
    "valid bits": (
        octets(16, 0xFFFE, extension=containers.extension(24, 3, 1)),
        "valid bits",
        "more valid bits than a sample has",
        octets(16),
    ),
    "cbSize": (
        octets(16, 0xFFFE, extension=bytes(2) + containers.extension(16, 3, 1)[2:]),
        "cbSize",
        "an extension's size (cbSize) too small",
        octets(16),
    ),
    "ID3": (ID3 + octets(16), "ID3 tag", "an ID3 tag in front", octets(16)),
    "two ID3": (ID3 + ID3 + octets(16), "ID3 tag", "", octets(16)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_fields_that_contradict_each_other(name: str, tmp_path: Path) -> None:
    data, remark, what, whole = FORMATS[name]
    path, truth = tmp_path / "clip", tmp_path / "whole"
    path.write_bytes(data)
    truth.write_bytes(whole or data)
    expected = ffmpegs(truth, ossicle.info(path).channels)
    careless.check(path, expected, remark, what=what and f"WAV | {what}")


OTHERS: dict[str, tuple[Callable[[], bytes], bytes, str, str]] = {
    "AIFF": (lambda: ID3 + CUT["aiff"], CUT["aiff"], "ID3 tag", "AIFF | an ID3 tag in front"),
    "AU": (lambda: ID3 + CUT["au"], CUT["au"], "ID3 tag", "AU | an ID3 tag in front"),
    "CAF": (lambda: ID3 + CUT["caf"], CUT["caf"], "ID3 tag", "CAF | an ID3 tag in front"),
    "Wave64": (lambda: ID3 + CUT["w64"], CUT["w64"], "ID3 tag", "Wave64 | an ID3 tag in front"),
    "AIFF-C without a codec": (
        lambda: CUT["aiff"].replace(b"AIFF", b"AIFC"),
        CUT["aiff"],
        "names no codec",
        "AIFF | AIFF-C that names no codec",
    ),
    "AIFF, frames": (
        lambda: aiff(8 + len(BIG), 46 + len(BIG), 7),
        CUT["aiff"],
        "different numbers of frames",
        "AIFF | COMM counts other frames than SSND holds",
    ),
    "AIFF-C in capitals": (
        lambda: containers.aiff(LITTLE, 2, 16, b"SOWT"),
        containers.aiff(LITTLE, 2, 16, b"sowt"),
        "",
        "",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_containers(name: str, tmp_path: Path) -> None:
    make, whole, remark, what = OTHERS[name]
    path = tmp_path / "clip"
    path.write_bytes(make())
    careless.check(path, soundfiles(whole), remark, what=what)


def test_what_stands_in_front_of_riff_and_is_no_tag_is_refused() -> None:
    for front in (bytes(16), b"\xef\xbb\xbf", b"1000\r\n", b"\n"):
        with pytest.raises(ossicle.AudioError):
            ossicle.load(front + containers.wav(LITTLE, 1, 2, 16))


def test_a_tag_without_an_end_is_one_error(tmp_path: Path) -> None:
    for data in (b"ID3\3\0\0\0\0\1\x3a" + bytes(100), ID3, ID3[:-1], ID3 + b"RIFF"):
        path = tmp_path / "clip"
        path.write_bytes(data)
        for source in (path, data, io.BytesIO(data)):
            with pytest.raises(ossicle.AudioError):
                ossicle.info(source)


def test_chunks_without_samples_end(tmp_path: Path) -> None:
    """Every walk over chunks ends, by path and by file object too."""
    empty = b"RIFF\xff\xff\xff\xffWAVE" + b"JUNK\0\0\0\0" * 70_000
    huge = b"RIFF\xff\xff\xff\xffWAVEJUNK\xff\xff\xff\xff" + bytes(99)
    long = b"caff\0\1\0\0free" + struct.pack(">Q", 2**64 - 1) + bytes(99)
    for data in (empty, huge, long, wave64(24, 0)[:40] + bytes(999)):
        path = tmp_path / "clip"
        path.write_bytes(data)
        for source in (path, data, io.BytesIO(data)):
            with pytest.raises(ossicle.AudioError):
                ossicle.info(source)


IN_THE_FIELD = {
    "wav_7fffffff.wav": PIPE,
    "wav_80000000.wav": PIPE,
    "wav_align0.wav": "block size",
    "wav_24in32_align4.wav": "declares 24 bits",
    "ulaw_bits16.wav": "G.711",
    "id3_before_riff.wav": "ID3 tag",
}


@pytest.mark.parametrize("name", IN_THE_FIELD)
def test_files_of_the_field(name: str, tmp_path: Path) -> None:
    path = FIELD / name
    if not path.exists():
        pytest.skip("the files of the field are not here")
    truth, data = tmp_path / name, path.read_bytes()
    # FFmpeg 9 does not pass over the tag, and takes the upper 24 of 32 bits for a float.
    data = bytearray(data[data.index(b"RIFF") :])
    if "24in32" in name:
        data[34] = 32
    truth.write_bytes(data)
    expected = ffmpegs(truth, 1)
    assert expected.shape == (1, 1_600)
    careless.check(path, expected, IN_THE_FIELD[name])

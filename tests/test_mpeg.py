"""MPEG audio and ADTS: lengths, trimming and samples as FFmpeg has them; tags, rubbish, damage."""

from __future__ import annotations

import functools
import io
import itertools
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import careless
import formats
import numpy as np
import oracle
import pytest

import ossicle

MPEG1 = (32_000, 44_100, 48_000)
MPEG2 = (16_000, 22_050, 24_000)
MPEG25 = (8_000, 11_025, 12_000)
AAC = "-c:a aac -aac_pns 0"
Bits = str


def mp3_options(rate: int) -> list[str]:
    rates = {MPEG1: (32, 128, 320), MPEG2: (8, 56, 160), MPEG25: (8, 24, 64)}
    constant = next(found for group, found in rates.items() if rate in group)
    return [
        *(f"-b:a {kbits}k" for kbits in constant),
        f"-abr 1 -b:a {constant[1]}k",
        "-q:a 0",
        "-q:a 9",
        f"-b:a {constant[1]}k -joint_stereo 0",
        f"-b:a {constant[1]}k -write_xing 0",
        f"-b:a {constant[1]}k -reservoir 0 -id3v2_version 0 -write_id3v1 1",
    ]


def layer2_options(rate: int) -> list[str]:
    return [f"-c:a mp2 -b:a {kbits}k" for kbits in ((64, 192, 384) if rate in MPEG1 else (64, 160))]


def cases() -> Iterator[tuple[str, int, int, str]]:
    for channels in (1, 2):
        for rate in (*MPEG1, *MPEG2, *MPEG25):
            for option in mp3_options(rate):
                yield "mp3", rate, channels, f"-c:a libmp3lame {option}"
        for rate in (*MPEG1, *MPEG2):
            for option in layer2_options(rate):
                if channels == 2 or "384k" not in option:
                    yield "mp2", rate, channels, option
        for rate in (*MPEG1, *MPEG2, *MPEG25, 64_000, 88_200, 96_000):
            for option in ("-b:a 24k", "-b:a 96k", "-b:a 64k -aac_coder fast"):
                yield "aac", rate, channels, f"{AAC} {option} -f adts"


def compare(path: Path, channels: int) -> None:
    """Samples and lengths are those of each FFmpeg; ranges are slices of them."""
    waveform, rate = ossicle.load(path, mono=False)
    assert ossicle.info(path).frames == waveform.shape[1]
    for version, executable in oracle.decoders().items():
        expected = oracle.decode(executable, [path], channels)[0]
        assert waveform.shape == expected.shape, version
        if (rate, oracle.major_version(executable), path.suffix) == (24_000, 5, ".mp3"):
            continue  # FFmpeg 5 has a band of 24 kHz begin at 330 instead of 332
        # FFmpeg decodes Layers I and II in integers.
        limit = 1e-6 * max(1.0, oracle.rms(expected)) if path.suffix == ".mp3" else 1e-4
        assert oracle.rms(waveform - expected) < limit, version
    mean, _ = ossicle.load(path)
    scale = max(1.0, np.abs(waveform).max(initial=0))
    assert np.abs(mean - waveform.mean(axis=0)).max(initial=0) < 2e-6 * scale
    random = np.random.default_rng(0)
    for _ in range(5):
        begin, end = sorted(random.integers(0, waveform.shape[1] + 1, 2).tolist())
        part, _ = ossicle.load(path, mono=False, offset=begin / rate, duration=(end - begin) / rate)
        assert part.shape[1] == end - begin
        assert np.abs(part - waveform[:, begin:end]).max(initial=0) < 1e-5


@pytest.mark.sampled(one_in=23)
@pytest.mark.parametrize(("suffix", "rate", "channels", "options"), list(cases()))
def test_all_rates_and_modes(
    suffix: str, rate: int, channels: int, options: str, make_clip
) -> None:
    path = make_clip(suffix, rate=rate, channels=channels, frames=2 * rate + 13, options=options)
    info = ossicle.info(path)
    assert (info.sample_rate, info.channels, info.codec) == (rate, channels, suffix)
    compare(path, channels)


LAYER2_MPEG1 = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
LAYER2_MPEG2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("rate", [*MPEG1, *MPEG2])
@pytest.mark.parametrize("channels", [1, 2])
def test_all_bit_rates_of_layer_2(rate: int, channels: int, tmp_path: Path) -> None:
    """Also those that MPEG 1 does not allow with so many channels: encoders write them."""
    wav = clicks(rate, channels, tmp_path / "clicks.wav")
    for kbits in LAYER2_MPEG1 if rate in MPEG1 else LAYER2_MPEG2:
        path, floats = tmp_path / f"{kbits}.mp2", tmp_path / f"{kbits}.f32"
        oracle.ffmpeg(oracle.bundled(), ["-i", wav, "-c:a", "mp2", "-b:a", f"{kbits}k", path])
        # Not the decoder that FFmpeg takes by itself: that one has integers.
        options = ["-c:a", "pcm_f32le", "-f", "f32le"]
        oracle.ffmpeg(oracle.bundled(), ["-c:a", "mp2float", "-i", path, *options, floats])
        expected = np.fromfile(floats, "<f4").reshape(-1, channels).T
        waveform, _ = ossicle.load(path, mono=False)
        assert waveform.shape == expected.shape
        assert oracle.rms(expected) > 1e-3
        assert np.abs(waveform - expected).max() < 1e-5, kbits


# Frames made here, of modes that no encoder at hand writes.


def write_bits(fields: list[tuple[int, int]]) -> bytes:
    bits = "".join(f"{value:0{count}b}" for value, count in fields)
    return pack(bits)


def pack(bits: Bits) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""


def unpack(data: bytes) -> Bits:
    return "".join(f"{byte:08b}" for byte in data)


def layer1_frame(random: np.random.Generator, mode: int, bound: int) -> bytes:
    """ISO/IEC 11172-3, 2.4.1.5, of MPEG 1 at 48 kHz and 448 kbit/s: any bits that are legal."""
    channels = 1 if mode == 3 else 2
    extension = bound // 4 - 1 if mode == 1 else 0
    shared = [band >= (bound if mode == 1 else 32) for band in range(32)]
    header = [(0xFFF, 12), (1, 1), (3, 2), (1, 1), (14, 4), (1, 2), (0, 1), (0, 1), (mode, 2)]
    fields = [*header, (extension, 2), (0, 4)]
    allocation = np.where(np.arange(32) < 24, random.integers(0, 7, (channels, 32)), 0)
    for band in range(32):
        if shared[band]:
            allocation[:, band] = allocation[0, band]
        for channel in range(1 if shared[band] else channels):
            fields.append((int(allocation[channel, band]), 4))
    for band in range(32):
        for channel in range(channels):
            if allocation[channel, band]:
                fields.append((int(random.integers(10, 40)), 6))
    for _ in range(12):
        for band in range(32):
            for channel in range(1 if shared[band] else channels):
                width = int(allocation[channel, band]) + 1
                if width > 1:
                    fields.append((int(random.integers(0, 2**width - 1)), width))
    data = write_bits(fields)
    assert len(data) <= 448
    return data + bytes(448 - len(data))


@pytest.mark.sampled(one_in=2)
@pytest.mark.parametrize(("mode", "bound"), [(0, 0), (1, 4), (1, 8), (1, 16), (2, 0), (3, 0)])
def test_layer_1(mode: int, bound: int, tmp_path: Path) -> None:
    random = np.random.default_rng(mode + bound)
    path = tmp_path / "layer1.mp1"
    path.write_bytes(b"".join(layer1_frame(random, mode, bound) for _ in range(200)))
    info = ossicle.info(path)
    assert (info.codec, info.frames, info.sample_rate) == ("mp1", 200 * 384, 48_000)
    compare(path, 1 if mode == 3 else 2)


@functools.cache
def header_places(data: bytes) -> list[int]:
    """Where the frames of a Layer III file begin, whatever their bit rate."""
    mpeg1 = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
    mpeg2 = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    # By the second byte: bits of a millisecond's rate in a frame, and how often 44.1 kHz is halved.
    kinds = {0xFB: (144_000, 0, mpeg1), 0xF3: (72_000, 1, mpeg2), 0xE3: (72_000, 2, mpeg2)}
    at = min(data.find(bytes([0xFF, kind])) % (1 << 62) for kind in kinds)
    places = []
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] in kinds:
        scale, halved, rates = kinds[data[at + 1]]
        rate = (44_100, 48_000, 32_000)[data[at + 2] >> 2 & 3] >> halved
        places.append(at)
        at += scale * rates[data[at + 2] >> 4] // rate + (data[at + 2] >> 1 & 1)
    return places


@pytest.mark.parametrize("extension", [1, 3])
def test_intensity_stereo(extension: int, make_clip, tmp_path: Path) -> None:
    """LAME never writes it; told so, decoders take the right channel's scale factors for places."""
    clip = make_clip("mp3", rate=44_100, channels=2, frames=60_000, options="-b:a 128k")
    data = bytearray(clip.read_bytes())
    for at in header_places(bytes(data))[1:]:
        data[at + 3] = data[at + 3] & 0x0F | 0x40 | extension << 4
    path = tmp_path / "intensity.mp3"
    path.write_bytes(data)
    compare(path, 2)


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_intensity_stereo_of_mpeg2(rate: int, make_clip, tmp_path: Path) -> None:
    clip = make_clip("mp3", rate=rate, channels=2, frames=60_000, options="-b:a 64k")
    data = bytearray(clip.read_bytes())
    for at in header_places(bytes(data))[1:]:
        data[at + 3] = data[at + 3] & 0x0F | 0x70
    path = tmp_path / "intensity.mp3"
    path.write_bytes(data)
    compare(path, 2)


def clicks(rate: int, channels: int, path: Path) -> Path:
    """What makes encoders switch to short windows."""
    random = np.random.default_rng(rate)
    waveform = random.normal(0, 1e-3, (channels, 3 * rate)).astype("f4")
    waveform[:, :: rate // 7] += 0.7
    waveform[0, 500 :: rate // 5] -= 0.6
    ossicle.save(path, waveform, rate)
    return path


def read_bits(data: bytes | bytearray, at: int, count: int) -> int:
    word = int.from_bytes(data[at // 8 : at // 8 + 8], "big")
    return word >> (64 - at % 8 - count) & ((1 << count) - 1)


def put_bits(data: bytearray, at: int, count: int, value: int) -> None:
    change = (read_bits(data, at, count) ^ value) << (64 - at % 8 - count)
    for place, byte in enumerate(change.to_bytes(8, "big")):
        if byte:
            data[at // 8 + place] ^= byte


def switched_granules(data: bytes, channels: int) -> Iterator[tuple[int, int]]:
    """Granules with other windows than the long one, by the bits where their fields lie.

    The count of pairs of lines, and the window: two bits of type, and one for a mixed block.
    """
    for at in header_places(data)[1:]:
        is_mpeg1 = data[at + 1] & 8 != 0
        first = (20 if channels == 2 else 18) if is_mpeg1 else 8 + channels
        fields, before = (59, 33) if is_mpeg1 else (63, 38)
        for index in range(channels * (2 if is_mpeg1 else 1)):
            begin = 8 * (at + 4) + first + index * fields
            if read_bits(data, begin + before, 1):
                yield begin + 12, begin + before + 1


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("joint", [0, 1])
def test_short_and_mixed_blocks(rate: int, channels: int, joint: int, tmp_path: Path) -> None:
    wav = clicks(rate, channels, tmp_path / "clicks.wav")
    path = tmp_path / "short.mp3"
    options = ["-c:a", "libmp3lame", "-q:a", "3", "-joint_stereo", str(joint)]
    oracle.ffmpeg(oracle.bundled(), ["-i", wav, *options, path])
    compare(path, channels)
    data = bytearray(path.read_bytes())
    places = list(switched_granules(bytes(data), channels))
    assert len(places) > 10
    # LAME mixes no blocks. Other factors and lines than were meant follow, the same for all
    # decoders as long as there are bits: with few pairs there are. Lines of a last code that ends
    # behind the granule are dropped by the standard's own decoder, by symphonia and by ours; FFmpeg
    # keeps them where they are the highest ones.
    for pairs, window in places:
        put_bits(data, window + 2, 1, 1)
        if read_bits(data, window, 2) == 2:
            put_bits(data, pairs, 9, min(read_bits(data, pairs, 9), 60))
    mixed = tmp_path / "mixed.mp3"
    mixed.write_bytes(data)
    compare(mixed, channels)


def frames_with_a_deep_reservoir(has_checksum: bool) -> bytes:
    """The shortest packets that there are, of 24 kHz and 8 kbit/s: many that leave their own three
    bytes, or one, to the reservoir, for one of noise."""
    random = np.random.default_rng(has_checksum)
    header = [(0xFFF, 12), (0, 1), (1, 2), (1 - has_checksum, 1), (1, 4), (1, 2), (0, 10)]
    checksum = [(0, 16)] if has_checksum else []
    own = 1 if has_checksum else 3
    data, spared = [], 0
    for _ in range(1_500):
        is_loud = spared >= 255 and random.random() < 0.3
        bits = 8 * (255 + own) // 2 if is_loud else 0
        # Pairs of code book 15, no scale factors.
        granule = [(bits, 12), (60, 9), (170, 8), (0, 9), (0, 1), (0x3DEF, 15), (0x7F, 7), (0, 2)]
        side_info = [(255 if is_loud else min(spared, 255), 8), (0, 2), *granule, *granule]
        data.append(write_bits([*header, *checksum, *side_info]) + random.bytes(own))
        spared = 0 if is_loud else spared + own
    return b"".join(data)


@pytest.mark.parametrize("has_checksum", [False, True])
def test_ranges_behind_a_deep_reservoir(has_checksum: bool, tmp_path: Path) -> None:
    path = tmp_path / "deep.mp3"
    path.write_bytes(frames_with_a_deep_reservoir(has_checksum))
    compare(path, 2)
    whole, rate = ossicle.load(path, mono=False)
    loud = np.flatnonzero(np.abs(whole).max(axis=0) > 1e-3)
    assert len(loud) > 1_000
    for begin in np.random.default_rng(1).choice(loud, 50):
        part, _ = ossicle.load(path, mono=False, offset=begin / rate, duration=0.01)
        assert np.abs(part - whole[:, begin : begin + part.shape[1]]).max() < 1e-5


# Headers in front of the audio, tags, rubbish.


def id3v2(size: int, footer: bool = False) -> bytes:
    length = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    rest = b"\x04\x00" + (b"\x10" if footer else b"\x00") + length
    return b"ID3" + rest + bytes(size) + (b"3DI" + rest if footer else b"")


APE = struct.pack("<8s6I", b"APETAGEX", 2000, 132, 1, 0xA000_0000, 0, 0)
APE += bytes(100) + struct.pack("<8s6I", b"APETAGEX", 2000, 132, 1, 0x8000_0000, 0, 0)
ID3V1 = b"TAG" + bytes(125)


@pytest.fixture(scope="module", params=["mp3", "mp3-no-xing", "mp2", "aac"])
def plain(request: pytest.FixtureRequest, make_clip) -> bytes:
    """A stream without any tag."""
    lame = "-c:a libmp3lame -b:a 64k -id3v2_version 0"
    options = {
        "mp3": lame,
        "mp3-no-xing": f"{lame} -write_xing 0",
        "mp2": "-c:a mp2 -b:a 64k",
        "aac": f"{AAC} -f adts",
    }[request.param]
    suffix = request.param.split("-")[0]
    return make_clip(suffix, rate=44_100, frames=50_000, options=options).read_bytes()


@pytest.mark.parametrize(
    "front",
    [id3v2(50), id3v2(3_000, footer=True), id3v2(400_000), id3v2(30) + id3v2(40), b"\x07" * 5_000],
    ids=["small", "footer", "picture", "two", "rubbish"],
)
@pytest.mark.parametrize(
    "back",
    [b"", ID3V1, APE, APE + ID3V1, id3v2(99, footer=True), bytes(900), b"rubbish", bytes(77) + APE],
)
def test_tags_and_rubbish_around_change_nothing(plain: bytes, front: bytes, back: bytes) -> None:
    expected, rate = ossicle.load(plain)
    data = front + plain + back
    decoded, _ = ossicle.load(data)
    assert np.array_equal(decoded, expected)
    assert ossicle.info(data).frames == len(expected)
    part, _ = ossicle.load(data, offset=0.5, duration=0.25)
    begin = round(0.5 * rate)
    assert np.abs(part - expected[begin : begin + len(part)]).max() < 1e-5


def ffmpeg_frames(data: bytes, path: Path) -> int:
    path.write_bytes(data)
    return oracle.decode(oracle.bundled(), [path], 1)[0].shape[1]


@pytest.fixture(scope="module")
def with_xing(make_clip) -> tuple[bytes, bytes]:
    """A file with LAME's header, and one without."""
    lame = "-c:a libmp3lame -b:a 64k -id3v2_version 0"
    clips = [
        make_clip("mp3", rate=44_100, frames=50_000, options=options).read_bytes()
        for options in (lame, f"{lame} -write_xing 0")
    ]
    return clips[0], clips[1]


def test_headers_that_lie_are_taken_as_ffmpeg_takes_them(
    with_xing: tuple[bytes, bytes], tmp_path: Path
) -> None:
    tagged, bare = with_xing
    at, lame = tagged.index(b"Info"), tagged.index(b"LAME" if b"LAME" in tagged else b"Lav")

    def patched(place: int, new: bytes) -> bytes:
        return tagged[:place] + new + tagged[place + len(new) :]

    vbri = struct.pack(">4sHHHII", b"VBRI", 1, 0x5B1, 75, len(tagged), 44) + bytes(160)
    files = {
        "whole": tagged,
        "no header": bare,
        "another checksum": patched(lame + 10, bytes([tagged[lame + 10] ^ 1])),
        "another encoder": patched(lame, b"XXXX"),
        "count too small": patched(at + 8, struct.pack(">I", 20)),
        "count too large": patched(at + 8, struct.pack(">I", 100)),
        "neither count nor bytes": patched(at + 7, bytes([tagged[at + 7] & ~3])),
        "VBRI": patched(4 + 32, vbri).replace(b"Info", bytes(4), 1),
        "two files": tagged + tagged,
        "two bare files": bare + bare,
        "a bare one first": bare + tagged,
        "two frames more": tagged + bare[header_places(bare)[-2] :],
    }
    for name, data in files.items():
        expected = ffmpeg_frames(data, tmp_path / "file.mp3")
        assert ossicle.info(data).frames == expected, name
        assert len(ossicle.load(data)[0]) == expected, name


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_header_with_its_checksum_spares_the_scan(rate: int, channels: int, make_clip) -> None:
    options = "-c:a libmp3lame -q:a 5"
    clip = make_clip("mp3", rate=rate, channels=channels, frames=40 * rate, options=options)
    data = clip.read_bytes()
    assert ossicle.info(data).frames == len(ossicle.load(data)[0]) == 40 * rate
    # A scan would meet the damage.
    middle = len(data) // 2
    damaged = data[:middle] + bytes(5_000) + data[middle + 5_000 :]
    assert ossicle.info(damaged).frames == 40 * rate
    raises(damaged, ossicle.AudioError, "between|damaged")


def test_a_wav_of_mp3(with_xing: tuple[bytes, bytes], tmp_path: Path) -> None:
    for data in with_xing:
        source, path = tmp_path / "source.mp3", tmp_path / "mp3.wav"
        source.write_bytes(data)
        oracle.ffmpeg(oracle.bundled(), ["-i", source, "-c", "copy", "-write_xing", "0", path])
        info = ossicle.info(path)
        assert (info.container, info.codec) == ("wav", "mp3")
        whole, _ = ossicle.load(path)
        assert len(whole) == info.frames > 50_000
        # Other chunks may stand in front of the format.
        wav = path.read_bytes()
        padded = wav[:12] + b"JUNK\x04\0\0\0" + bytes(4) + wav[12:]
        assert np.array_equal(ossicle.load(padded)[0], whole)


def test_a_wav_of_mp3_by_a_writer_to_a_pipe(with_xing: tuple[bytes, bytes], tmp_path: Path) -> None:
    source, path = tmp_path / "source.mp3", tmp_path / "mp3.wav"
    source.write_bytes(with_xing[1])
    command = [oracle.bundled(), "-v", "error", "-i", source, "-c", "copy", "-f", "wav", "-"]
    data = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    at = data.index(b"data") + 4
    whole, _ = ossicle.load(with_xing[1], mono=False)
    sizes = {data[at : at + 4], b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)}
    for size in sizes:
        path.write_bytes(data[:at] + size + data[at + 4 :])
        what = "MPEG audio in WAV | the data size is a placeholder of a writer to a pipe"
        careless.check(path, whole, "placeholder, as left by programs", what=what, tolerance=1e-6)
    # Both sizes right: the file was cut short.
    chunk = struct.pack("<I", len(data) - at - 4)
    right = data[:4] + struct.pack("<I", len(data) - 8) + data[8:at] + chunk + data[at + 4 :]
    assert ossicle.info(right).remarks == ()
    raises(right[:-100], ossicle.CorruptAudioError, "declares")
    # ID3 in front, as some taggers write it.
    tagged = id3v2(300) + right
    assert (ossicle.info(tagged).container, ossicle.info(tagged).codec) == ("wav", "mp3")
    assert np.array_equal(ossicle.load(tagged, mono=False)[0], whole)


# Damage.


def raises(data: bytes, kind: type[ossicle.AudioError], match: str) -> ossicle.AudioError:
    with pytest.raises(ossicle.AudioError, match=match) as caught:
        ossicle.load(data)
    assert isinstance(caught.value, kind)
    return caught.value


def test_damage_between_frames_is_an_error_with_its_byte(plain: bytes) -> None:
    middle = len(plain) // 2
    for data in (
        plain[:middle] + bytes(2_000) + plain[middle + 2_000 :],
        plain[:middle] + b"\x07" * 3_000 + plain[middle:],
        plain[:middle] + plain[middle + 333 :],
    ):
        # The decoder may refuse the packet that the damage begins in.
        with pytest.raises((ossicle.CorruptAudioError, ossicle.DecodeError)) as caught:
            ossicle.load(data)
        assert middle - 600 < caught.value.byte_offset < middle + 1_500
        if b"Info" not in data:
            with pytest.raises(ossicle.CorruptAudioError, match="between"):
                ossicle.info(data)
        # Where the samples behind it lie nobody knows.
        with pytest.raises(ossicle.AudioError):
            ossicle.load(data, offset=1.1)


@pytest.mark.parametrize("cut", [1, 100])
def test_a_cut_last_frame_is_left_out_where_nothing_promises_it(
    plain: bytes, cut: int, tmp_path: Path
) -> None:
    path = tmp_path / "cut.bin"
    path.write_bytes(plain[:-cut])
    if b"Info" in plain:
        error = raises(plain[:-cut], ossicle.CorruptAudioError, "cut short")
        assert 0 < error.byte_offset < len(plain)
        return
    whole, _ = ossicle.load(plain, mono=False)
    expected = whole[:, : -1152 if plain[1] & 0x06 else -1024]
    for executable in oracle.decoders().values():
        [decoded] = oracle.decode(executable, [path], 1)
        # One FFmpeg and one codec decode a part of the cut frame, or conceal it.
        assert decoded.shape[1] >= expected.shape[1]
        assert oracle.rms(decoded[:, : expected.shape[1]] - expected) < 1e-4
    name = "ADTS" if plain[1] & 0x06 == 0 else "MPEG audio"
    what = f"{name} | the last frame is cut, and no header counts the frames"
    careless.check(path, expected, "cut short", what=what, tolerance=1e-6)


def packets(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return [data[begin:end] for begin, end in itertools.pairwise(header_places(data))]


def test_a_change_of_channels_within_matroska(make_clip, tmp_path: Path) -> None:
    """There packets are found without their headers: only decoding meets the change."""
    path = tmp_path / "two.mka"
    options = "-c:a libmp3lame -b:a 64k -write_xing 0 -id3v2_version 0"
    clips = [make_clip("mp3", rate=44_100, channels=count, options=options) for count in (2, 1)]
    oracle.ffmpeg(oracle.bundled(), ["-i", clips[0], "-c", "copy", "-write_crc32", "0", path])
    data = path.read_bytes()
    # A packet of mono in the place of one of stereo of the same length.
    stereo, *_ = packets(clips[0])[5:]
    other = next(packet for packet in packets(clips[1])[5:] if len(packet) == len(stereo))
    assert data.count(stereo) == 1
    whole, _ = ossicle.load(data)
    data = data.replace(stereo, other)
    mono, rate = ossicle.load(data)
    assert len(mono) == len(whole) == ossicle.info(data).frames
    # Far from the other packet and from what the bit reservoir keeps of it.
    assert np.array_equal(mono[12 * 1152 :], whole[12 * 1152 :])
    part, _ = ossicle.load(data, offset=7_000 / rate, duration=0.1)
    assert np.abs(part - mono[7_000 : 7_000 + len(part)]).max() < 1e-5
    for choice in ({"mono": False}, {"strict": True}):
        with pytest.raises(ossicle.UnsupportedFormatError, match="changes from 2 to 1 channels"):
            ossicle.load(data, **choice)


BARE = {"mp3": "-write_xing 0 -id3v2_version 0", "mp2": "-c:a mp2", "aac": f"{AAC} -f adts"}
NAMES = {"mp3": "MPEG audio", "mp2": "MPEG audio", "aac": "ADTS"}


def means(paths: list[Path], channels: list[int]) -> list[oracle.Array]:
    """What FFmpeg makes of each file, in mono."""
    pairs = zip(paths, channels, strict=True)
    clips = [oracle.decode(oracle.bundled(), [path], count)[0] for path, count in pairs]
    return [clip.mean(axis=0) for clip in clips]


@pytest.mark.parametrize("suffix", ["mp3", "mp2", "aac"])
@pytest.mark.parametrize("between", [b"", id3v2(300), ID3V1 + id3v2(20)], ids=["", "ID3", "two"])
def test_a_change_of_channels_is_mixed_to_mono(
    suffix: str, between: bytes, make_clip, tmp_path: Path
) -> None:
    channels = [1, 2, 1]
    make = functools.partial(make_clip, suffix, rate=44_100, options=BARE[suffix])
    clips = [make(channels=count, frames=20_000 + 3_000 * count) for count in channels]
    path = tmp_path / f"changes.{suffix}"
    path.write_bytes(between.join(clip.read_bytes() for clip in clips))
    parts = means(clips, channels)
    expected = np.concatenate(parts)
    if suffix != "aac":
        # Filters and bit reservoir of MPEG audio go on, here and in FFmpeg: the end of a part is
        # heard in the next one's first frame.
        waveform, _ = ossicle.load(path)
        for begin in np.cumsum([len(part) for part in parts[:-1]]):
            expected[begin : begin + 1152] = waveform[begin : begin + 1152]
    what = f"{NAMES[suffix]} | the channels change in mid-stream (to mono)"
    remark = "changes from 1 to 2 channels"
    careless.check(path, expected, remark, what=what, tolerance=1e-4, mono=True)
    assert any("from 2 to 1 channels" in text for text in ossicle.info(path).remarks)
    with pytest.raises(ossicle.UnsupportedFormatError, match="changes from 1 to 2 channels"):
        ossicle.load(path, mono=False)


def test_channels_that_change_with_every_frame(make_clip, tmp_path: Path) -> None:
    """What the mode of a frame may do: one decoder goes on, with what is in the bit reservoir."""
    options = "-c:a mp2 -b:a 128k"
    clips = [make_clip("mp2", rate=48_000, channels=count, options=options) for count in (1, 2)]
    size = 384
    frames = [
        [data[at : at + size] for at in range(0, len(data), size)]
        for data in (clip.read_bytes() for clip in clips)
    ]
    modes = [0, 1, 1, 0, 1, 0, 0, 0, 1, 1]
    path, out = tmp_path / "modes.mp2", tmp_path / "clip.f32"
    path.write_bytes(b"".join(frames[mode][index] for index, mode in enumerate(modes)))
    means = []
    for count, clip in enumerate(clips, 1):
        oracle.ffmpeg(oracle.bundled(), ["-c:a", "mp2float", "-i", clip, "-f", "f32le", out])
        means.append(np.fromfile(out, "<f4").reshape(-1, count).mean(axis=1))
    waveform, _ = ossicle.load(path)
    assert len(waveform) == ossicle.info(path).frames == 1152 * len(modes)
    for index, mode in enumerate(modes):
        # The filters remember 480 samples of the frame before.
        memory = 0 if index == 0 or mode == modes[index - 1] else 480
        part = slice(1152 * index + memory, 1152 * (index + 1))
        assert np.abs(waveform[part] - means[mode][part]).max() < 1e-5, index
    part, rate = ossicle.load(path, offset=5_000 / 48_000, duration=3_000 / 48_000)
    assert rate == 48_000
    assert np.abs(part - waveform[5_000:8_000]).max() < 1e-5
    assert ossicle.info(path).remarks[0].startswith("the stream changes from 1 to 2 channels")


@pytest.mark.parametrize("suffix", ["mp3", "aac"])
@pytest.mark.parametrize("channels", [[2, 2, 2], [1, 2, 1]], ids=str)
def test_parts_of_other_rates_are_resampled_by_themselves(
    suffix: str, channels: list[int], make_clip, tmp_path: Path
) -> None:
    rates = [44_100, 22_050, 48_000]
    clips = [
        make_clip(suffix, rate=rate, channels=count, options=BARE[suffix], frames=rate // 2)
        for rate, count in zip(rates, channels, strict=True)
    ]
    path = tmp_path / f"changes.{suffix}"
    path.write_bytes(b"".join(clip.read_bytes() for clip in clips))
    parts = means(clips, channels)
    facts = ossicle.info(path)
    assert (facts.sample_rate, facts.channels) == (44_100, channels[0])
    assert facts.frames == sum(map(len, parts))
    assert any("changes from 22050 to 48000 Hz" in text for text in facts.remarks)
    what = f"{NAMES[suffix]} | the sample rate changes in mid-stream (to a target rate)"
    formats.remark(what, next(text for text in facts.remarks if "44100 to 22050 Hz" in text))
    for target in (16_000, 44_100, 48_000):
        pairs = zip(parts, rates, strict=True)
        expected = np.concatenate([ossicle.resample(part, rate, target) for part, rate in pairs])
        for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
            whole, rate = ossicle.load(source, target)
            assert (rate, len(whole)) == (target, len(expected))
            assert np.abs(whole - expected).max() < 2e-5
        for begin in (0, 100, target // 2 - 5, target, len(whole) - 7, len(whole) + 99, 10**7):
            for count in (0, 1, target // 4, target):
                part, _ = ossicle.load(path, target, offset=begin / target, duration=count / target)
                assert part.shape == whole[begin : begin + count].shape
                assert np.abs(part - whole[begin : begin + count]).max(initial=0) < 1e-5
        assert np.array_equal(ossicle.load(path, target, verify=True)[0], whole)
    for options in ({}, {"strict": True, "sample_rate": 16_000}, {"offset": 0.6, "duration": 0.1}):
        with pytest.raises(ossicle.UnsupportedFormatError, match="changes from 44100 to 22050 Hz"):
            ossicle.load(path, **options)
    # What lies before the change is read at the native rate still.
    part, _ = ossicle.load(path, duration=0.2)
    assert np.abs(part - parts[0][: len(part)]).max() < 1e-5
    if channels[0] == 2:
        both, _ = ossicle.load(path, 16_000, mono=False)
        assert np.abs(both.mean(axis=0) - ossicle.load(path, 16_000)[0]).max() < 1e-5
    else:
        with pytest.raises(ossicle.UnsupportedFormatError, match="from 1 to 2 channels"):
            ossicle.load(path, 16_000, mono=False)


def test_damage_in_a_part_of_another_rate_is_concealed_in_place(make_clip) -> None:
    clips = [
        make_clip("aac", rate=rate, frames=rate, options=BARE["aac"]) for rate in (16_000, 8_000)
    ]
    first, second = (clip.read_bytes() for clip in clips)
    middle = len(second) // 2
    data = first + second[:middle] + bytes(300) + second[middle + 300 :]
    whole, _ = ossicle.load(first + second, 32_000)
    result = ossicle.load_concealed(data, 32_000)
    concealed, gaps = result[0], result[2]
    assert len(concealed) == len(whole)
    [gap] = gaps
    begin, end = 2 * ossicle.info(first).frames + 4 * 2_000, len(whole) - 4 * 2_000
    assert begin < gap.start < gap.end < end
    for range_ in (slice(0, gap.start - 4_096), slice(gap.end + 8_192, None)):
        assert np.abs(concealed[range_] - whole[range_]).max() < 1e-5


def test_mp3_files_one_behind_the_other(with_xing: tuple[bytes, bytes], tmp_path: Path) -> None:
    """As FFmpeg has them: the second header is a frame of silence."""
    tagged, bare = with_xing
    for index, data in enumerate((tagged + tagged, tagged + bare)):
        path = tmp_path / f"{index}.mp3"
        path.write_bytes(data)
        [expected] = oracle.decode(oracle.bundled(), [path], 1)
        what = "MPEG audio | more frames than the header in front counts: files put together"
        careless.check(path, expected, "continues after", what=what, tolerance=1e-5)


# Free bit rates.


def freed(data: bytes, layer: int) -> bytes:
    """The same frames, of a bit rate that is "free": nothing but the header's field tells it."""
    freed, at = bytearray(data), 0
    while at + 4 <= len(data):
        kbits = {1: [*range(0, 449, 32)], 2: [0, *LAYER2_MPEG1]}[layer][data[at + 2] >> 4]
        rate = (44_100, 48_000, 32_000)[data[at + 2] >> 2 & 3]
        padding = data[at + 2] >> 1 & 1
        freed[at + 2] &= 0x0F
        slots = 12_000 * kbits // rate + padding
        at += 4 * slots if layer == 1 else 144_000 * kbits // rate + padding
    return bytes(freed)


@pytest.mark.parametrize("rate", MPEG1)
@pytest.mark.parametrize(("channels", "kbits"), [(1, 48), (1, 128), (2, 128), (2, 160), (2, 320)])
def test_a_free_bit_rate_of_layer_2(rate: int, channels: int, kbits: int, make_clip) -> None:
    options = f"-c:a mp2 -b:a {kbits}k"
    data = make_clip("mp2", rate=rate, channels=channels, options=options).read_bytes()
    expected, _ = ossicle.load(data, mono=False)
    waveform, _ = ossicle.load(freed(data, 2), mono=False)
    assert np.array_equal(waveform, expected)


def test_a_free_bit_rate_of_layer_1() -> None:
    random = np.random.default_rng(0)
    data = b"".join(layer1_frame(random, 0, 0) for _ in range(30))
    assert np.array_equal(ossicle.load(freed(data, 1))[0], ossicle.load(data)[0])


@pytest.mark.skipif(not (shutil.which("lame") and shutil.which("mpg123")), reason="no LAME")
@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100])
@pytest.mark.parametrize(
    "options", [("150", "-m", "j"), ("320", "-m", "s"), ("97", "-m", "m", "-t")]
)
def test_a_free_bit_rate_of_layer_3(rate: int, options: tuple[str, ...], tmp_path: Path) -> None:
    """LAME writes it; FFmpeg does not read it, mpg123 does."""
    wav, path, decoded = (tmp_path / name for name in ("in.wav", "free.mp3", "out.wav"))
    ossicle.save(wav, oracle.signal(rate, 2, rate), rate)
    subprocess.run(["lame", "--quiet", "--freeformat", "-b", *options, wav, path], check=True)
    subprocess.run(["mpg123", "-q", "-e", "f32", "-w", decoded, path], check=True)
    expected, _ = ossicle.load(decoded, mono=False)
    data = path.read_bytes()
    assert data[2] >> 4 == 0
    careless.check(path, expected, "", tolerance=1e-5)


# Nothing but tags, and chunks without data.


def test_a_file_that_ends_in_a_tag_is_one_error_at_once(plain: bytes, tmp_path: Path) -> None:
    cut = (id3v2(60_000) + plain)[:40_000]
    picture = (id3v2(60_000, footer=True) + plain)[: 60_000 + 15]
    wav = (
        b"RIFF\x24\x9c\0\0WAVEfmt \x1e\0\0\0\x55\0"
        + bytes(28)
        + b"LIST\xd0\x9b\0\0"
        + bytes(39_888)
    )
    empty_ape = struct.pack("<8s6I", b"APETAGEX", 2000, 0, 0, 0, 0, 0)
    files = {
        "cut in the cover": (cut, "ID3v2 tag reaches to the end"),
        "cut in the footer": (picture, "ID3v2 tag reaches to the end"),
        "nothing but a tag": (id3v2(100), "ID3v2 tag reaches to the end"),
        "no data chunk": (wav, "."),
        "no data chunk, cut": (wav[:20_000], "."),
        "tags of no length": (id3v2(30) + bytes(900) + empty_ape, "."),
    }
    path = tmp_path / "file"
    for data, match in files.values():
        path.write_bytes(data)
        for call in (ossicle.info, ossicle.load):
            for source in (path, data, io.BytesIO(data)):
                with pytest.raises(ossicle.AudioError, match=match):
                    call(source)
    # Behind audio such a tag is rubbish.
    assert len(ossicle.load(plain + empty_ape)[0]) == len(ossicle.load(plain)[0])


def adts_frames(data: bytes) -> list[bytes]:
    frames, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at + 3 : at + 6], "big") >> 5 & 0x1FFF
        frames.append(data[at : at + length])
        at += length
    return frames


def test_other_streams_of_aac_are_named(make_clip, tmp_path: Path) -> None:
    clip = make_clip("aac", rate=44_100, channels=2, options=f"{AAC} -f adts")
    path = tmp_path / "loas.latm"
    oracle.ffmpeg(oracle.bundled(), ["-i", clip, "-c", "copy", "-f", "latm", path])
    raises(path.read_bytes(), ossicle.UnsupportedFormatError, "LOAS")
    raises(b"ADIF" + bytes(500), ossicle.UnsupportedFormatError, "ADIF")
    frames = adts_frames(clip.read_bytes())
    main = b"".join(frame[:2] + bytes([frame[2] & 0x3F]) + frame[3:] for frame in frames)
    raises(main, ossicle.UnsupportedFormatError, "AAC Main")
    blocks = b"".join(frame[:6] + bytes([frame[6] | 1]) + frame[7:] for frame in frames)
    raises(blocks, ossicle.UnsupportedFormatError, "several AAC packets")


def test_info_of_two_hours_takes_no_decoding(plain: bytes) -> None:
    whole = plain * (120 * 60 * 44_100 // 50_000)
    begin = time.perf_counter()
    frames = ossicle.info(whole).frames
    # By headers it takes 10 to 30 ms; decoding takes seconds.
    assert time.perf_counter() - begin < 0.5
    assert frames > 119 * 60 * 44_100

"""AVI: what FFmpeg gives of every codec and layout; damage, and headers that are wrong."""

from __future__ import annotations

import functools
import io
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import careless
import containers
import formats
import numpy as np
import oracle
import pytest
from containers import chunk, wave_format

import ossicle

PCM = ("u8", "s16le", "s24le", "s32le", "f32le", "f64le", "alaw", "mulaw")
STORED = [f"-c:a pcm_{name}" for name in PCM]
STORED += ["-c:a adpcm_ms", "-c:a adpcm_ima_wav", "-c:a adpcm_ima_wav -block_size 256"]
LOSSY = ["-c:a libmp3lame -b:a 64k", "-c:a libmp3lame -q:a 4", "-c:a mp2 -b:a 64k"]
AAC = "-c:a aac -aac_pns 0"
RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
Encode = Callable[..., Path]


@pytest.fixture(scope="module")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Encode:
    """``encode("-c:a pcm_u8", 8_000, 2)``: a path."""
    folder = tmp_path_factory.mktemp("avi")

    @functools.cache
    def make(options: str, rate: int, channels: int, seconds: float = 1, video: str = "") -> Path:
        source = folder / "source.wav"
        waveform = oracle.signal(rate, channels, int(rate * seconds) + 77)
        source.write_bytes(oracle.wav_bytes(waveform, rate, "f32"))
        path = folder / f"{len(list(folder.iterdir()))}.avi"
        picture = f"-f lavfi -i testsrc=size=160x120:duration={seconds} -c:v {video}".split()
        inputs = ["-i", source, *(picture if video else [])]
        if video:
            inputs[2:] = [*picture, *(["-map", "1:v", "-map", "0:a"])]
        oracle.ffmpeg(oracle.bundled(), [*inputs, *options.split(), path])
        return path

    return make


def check(path: Path, channels: int, *, is_lossless: bool) -> None:
    """Equal to what FFmpeg gives, in length and, of lossless codecs, to the bit."""
    info = ossicle.info(path)
    waveform, rate = ossicle.load(path, mono=False)
    assert (info.container, info.channels, info.remarks) == ("avi", channels, ())
    assert waveform.shape == (channels, info.frames)
    [clip] = oracle.decode(oracle.bundled(), [path], channels)
    assert clip.shape == waveform.shape
    distance = oracle.rms(waveform - clip)
    assert distance == 0 if is_lossless else distance < 1e-4
    formats.record("avi", info.codec, rate, channels, distance, path)


@pytest.mark.sampled(one_in=9)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("options", [*STORED, *LOSSY, AAC])
def test_every_codec_is_what_ffmpeg_gives(options: str, rate: int, encode: Encode) -> None:
    if options in LOSSY and rate < 16_000:
        options = "-c:a libmp3lame -b:a 32k"
    for channels in (1, 2):
        check(encode(options, rate, channels), channels, is_lossless=options in STORED)


@pytest.mark.parametrize("options", ["-c:a pcm_s16le", "-c:a libmp3lame -q:a 5", "-c:a adpcm_ms"])
def test_video_is_passed_over(options: str, encode: Encode) -> None:
    path = encode(options, 44_100, 2, 3, "mpeg4")
    check(path, 2, is_lossless=options in STORED)


def test_six_channels_are_in_the_order_of_wav(encode: Encode) -> None:
    check(encode("-c:a pcm_s16le", 48_000, 6), 6, is_lossless=True)


def test_the_first_of_several_tracks_is_read(tmp_path: Path, encode: Encode) -> None:
    one, other = encode("-c:a pcm_s16le", 16_000, 1), encode("-c:a libmp3lame", 22_050, 2)
    for first, second in ((one, other), (other, one)):
        path = tmp_path / f"{first.stem}.avi"
        options = ["-i", first, "-i", second, "-map", "0", "-map", "1", "-c", "copy"]
        oracle.ffmpeg(oracle.bundled(), [*options, path])
        assert np.array_equal(ossicle.load(path)[0], ossicle.load(first)[0])


def test_what_a_pipe_leaves_is_read(tmp_path: Path, encode: Encode) -> None:
    source = encode("-c:a pcm_s16le", 44_100, 2, 3, "mpeg4")
    path = tmp_path / "pipe.avi"
    command = ["-i", source, "-c", "copy", "-f", "avi", f"pipe:{1}"]
    done = subprocess.run(
        [oracle.bundled(), "-nostdin", "-v", "error", *map(str, command)],
        capture_output=True,
        check=True,
    )
    path.write_bytes(done.stdout)
    check(path, 2, is_lossless=True)


# --- layouts that FFmpeg does not write ---

RATE = 16_000
SAMPLES = (oracle.signal(RATE, 2, 20_000, seed=3) * 32_000).astype("<i2")
FORMAT = wave_format(1, 2, 16, RATE)
VIDEO = (b"vids", struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 24, 0x34504D46, 768, 0, 0, 0, 0))
AUDIO = (b"auds", FORMAT)
WAVEFORM = SAMPLES.astype("f4") / 32_768


def sound(count: int = 10, name: bytes = b"01wb") -> list[bytes]:
    """The samples in `count` chunks."""
    data = SAMPLES.T.tobytes()
    size = len(data) // count
    assert size % 4 == 0
    return [chunk(name, data[at : at + size]) for at in range(0, len(data), size)]


def with_video(chunks: list[bytes]) -> list[bytes]:
    picture = chunk(b"00dc", b"\0\1\2" * 333)
    return [part for sound in chunks for part in (picture, sound)]


def written(folder: Path, data: bytes) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.avi"
    path.write_bytes(data)
    return path


def equals(path: Path, remark: str = "", what: str = "") -> None:
    careless.check(path, WAVEFORM, remark, what=what and f"AVI | {what}")
    [clip] = oracle.decode(oracle.bundled(), [path], 2)
    assert np.array_equal(clip, WAVEFORM)


LAYOUTS = {
    "plain": lambda: containers.avi([VIDEO, AUDIO], [with_video(sound())]),
    "OpenDML": lambda: containers.avi(
        [VIDEO, AUDIO], [with_video(sound()[:4]), with_video(sound()[4:7]), sound()[7:]]
    ),
    "records": lambda: containers.avi(
        [VIDEO, AUDIO], [[chunk(b"LIST", b"rec " + part) for part in with_video(sound())]]
    ),
    "indexes": lambda: containers.avi(
        [VIDEO, AUDIO],
        [[*with_video(sound()), chunk(b"ix01", bytes(44))]],
        index=chunk(b"idx1", b"01wb" + bytes(12) * 7),
    ),
    "fillers": lambda: containers.avi(
        [VIDEO, AUDIO], [[part for one in sound() for part in (chunk(b"JUNK", bytes(51)), one)]]
    ),
    "one chunk": lambda: containers.avi([AUDIO], [sound(1, b"00wb")]),
    "many chunks": lambda: containers.avi([AUDIO], [sound(5_000, b"00wb")]),
    "empty chunks": lambda: containers.avi(
        [VIDEO, AUDIO], [[part for one in sound() for part in (one, chunk(b"01wb", b""))]]
    ),
    "a start time": lambda: containers.avi([VIDEO, AUDIO], [with_video(sound())], start=3),
    "no sizes": lambda: containers.avi([AUDIO], [sound(name=b"00wb")], riff=0, movi=0),
    "sizes of 32 bits": lambda: containers.avi(
        [AUDIO], [sound(name=b"00wb")], riff=0xFFFF_FFFF, movi=0xFFFF_FFFF
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_chunks_are_found_in_every_layout(layout: str, tmp_path: Path) -> None:
    equals(written(tmp_path, LAYOUTS[layout]()))


def test_ranges_are_slices_of_every_layout(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    for layout in LAYOUTS.values():
        data = layout()
        for _ in range(100):
            start, frames = int(random.integers(0, 20_500)), int(random.integers(1, 6_000))
            part, _ = ossicle.load(data, mono=False, offset=start / RATE, duration=frames / RATE)
            assert np.array_equal(part, WAVEFORM[:, start : start + frames])


def test_chunks_need_not_hold_whole_frames(tmp_path: Path) -> None:
    data = SAMPLES.T.tobytes()
    chunks = [chunk(b"00wb", data[at : at + 1_001]) for at in range(0, len(data), 1_001)]
    waveform, _ = ossicle.load(containers.avi([AUDIO], [chunks]), mono=False)
    assert np.array_equal(waveform, WAVEFORM)


def test_an_index_that_lies_is_not_asked(tmp_path: Path) -> None:
    """FFmpeg believes one in part: other samples, or none."""
    index = b"".join(b"01wb" + struct.pack("<III", 0x10, 40 + 8 * n, 9_999) for n in range(9))
    data = containers.avi([VIDEO, AUDIO], [with_video(sound())], index=chunk(b"idx1", index))
    assert np.array_equal(ossicle.load(data, mono=False, strict=True)[0], WAVEFORM)


def test_a_file_that_ends_in_its_index_is_whole(tmp_path: Path) -> None:
    data = containers.avi(
        [VIDEO, AUDIO], [with_video(sound())], index=chunk(b"idx1", b"01wb" + bytes(400))
    )
    equals(
        written(tmp_path, data[:-300]),
        remark="nothing of its audio is lost",
        what="the file ends in its index",
    )


def test_the_size_of_a_video_chunk_may_be_wrong(tmp_path: Path) -> None:
    chunks = with_video(sound())
    chunks[6] = b"00dc" + struct.pack("<I", 70_000) + chunks[6][8:]
    data = containers.avi([VIDEO, AUDIO], [chunks])
    careless.check(
        written(tmp_path, data),
        WAVEFORM,
        "size of a chunk of the AVI file that is not of its audio is wrong",
        what="AVI | the size of a chunk of video is wrong",
    )


# --- damage ---


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize("layout", ["plain", "OpenDML", "one chunk"])
def test_a_file_that_was_cut_is_damage_at_its_end(layout: str, kept: float, tmp_path: Path) -> None:
    data = LAYOUTS[layout]()
    data = data[: int(len(data) * kept)]
    for call in (ossicle.info, ossicle.load):
        with pytest.raises(ossicle.CorruptAudioError, match="cut short") as caught:
            call(data)
        assert caught.value.byte_offset == len(data)
    waveform, _, gaps = ossicle.load_concealed(data, mono=False)
    assert len(gaps) == 1
    assert np.array_equal(waveform, WAVEFORM[:, : waveform.shape[1]])
    [clip] = oracle.decode(oracle.bundled(), [written(tmp_path, data)], 2)
    # Of OpenDML's further parts FFmpeg leaves out the chunk that was cut.
    assert 0 <= waveform.shape[1] - clip.shape[1] < 2_000


@pytest.mark.parametrize("change", ["name", "number", "size"])
def test_a_damaged_chunk_is_silence_in_place(change: str) -> None:
    chunks = with_video(sound())
    head, body = chunks[9][:8], chunks[9][8:]
    changed = {
        "name": b"\xff1wb" + head[4:],
        "number": b"17wb" + head[4:],
        "size": head[:4] + struct.pack("<I", 123_456),
    }[change]
    chunks[9] = changed + body
    data = containers.avi([VIDEO, AUDIO], [chunks])
    at = data.index(changed)
    with pytest.raises(ossicle.CorruptAudioError, match="damaged") as caught:
        ossicle.load(data)
    assert caught.value.byte_offset == at
    with pytest.raises(ossicle.CorruptAudioError):
        ossicle.info(data)
    waveform, _, gaps = ossicle.load_concealed(data, mono=False)
    expected = WAVEFORM.copy()
    expected[:, 8_000:10_000] = 0
    assert [(gap.start, gap.end) for gap in gaps] == [(8_000, 10_000)]
    assert np.array_equal(waveform, expected)
    part, _ = ossicle.load(data, mono=False, offset=11_000 / RATE, duration=2_000 / RATE)
    assert np.array_equal(part, WAVEFORM[:, 11_000:13_000])


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        (0x2000, "AC-3"),
        (0x0161, "Windows Media"),
        (0x31, "gsm"),
        (0x1234, "unknown"),
    ],
)
def test_other_codecs_are_refused_by_name(tag: int, name: str) -> None:
    format_ = wave_format(tag, 1, 16, RATE, more=struct.pack("<HH", 2, 320))
    data = containers.avi([(b"auds", format_)], [[chunk(b"00wb", bytes(300))] * 3])
    with pytest.raises(ossicle.UnsupportedFormatError, match=name) as caught:
        ossicle.load(data)
    assert "AVI" in caught.value.reason
    formats.refuse(f"{name} in AVI", caught.value.reason)


def test_a_film_without_sound_says_so() -> None:
    data = containers.avi([VIDEO], [[chunk(b"00dc", bytes(99))]])
    with pytest.raises(ossicle.UnsupportedFormatError, match="no audio track"):
        ossicle.load(data)


def test_a_range_does_not_read_what_is_after_it(encode: Encode) -> None:
    class Counted(io.BytesIO):
        total = 0

        def read(self, count: int | None = -1) -> bytes:
            part = super().read(count)
            self.total += len(part)
            return part

    path = encode("-c:a pcm_s16le", 44_100, 2, 30, "mpeg4")
    data = path.read_bytes()
    for offset in (1.0, 25.0):
        source = Counted(data)
        part, rate = ossicle.load(source, offset=offset, duration=0.5)
        start = round(offset * rate)
        assert np.array_equal(part, ossicle.load(path)[0][start : start + rate // 2])
        assert source.total < len(data) // 4

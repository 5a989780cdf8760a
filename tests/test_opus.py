"""Opus in every container against libopus, through FFmpeg: samples, lengths, ranges, damage.

FFmpeg's own decoder is an oracle for CELT alone: it resamples SILK in a way of its own.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import formats
import numpy as np
import oracle
import pytest

import ossicle

RATE = 48_000
FRAMES = RATE + 777
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
CONTAINERS = {"opus": "ogg", "webm": "matroska", "mka": "matroska", "mp4": "mp4"}
# (application, duration of a frame in ms, bit rate, further options)
MODES = [
    *[(application, duration, rate, "") for application in ("voip", "audio", "lowdelay")
      for duration in ("2.5", "5", "10", "20", "40", "60", "120")
      for rate in ("12k", "32k", "96k")],
    ("voip", "20", "6k", ""),
    ("audio", "20", "510k", ""),
    ("audio", "60", "510k", ""),
    ("audio", "20", "48k", "-vbr off"),
    ("voip", "20", "24k", "-vbr off"),
]  # fmt: skip


@dataclass(frozen=True)
class Clip:
    path: Path
    channels: int
    expected: oracle.Array


def decoded(
    paths: list[Path], channels: int, codec: str = "libopus", executable: str | None = None
) -> list[oracle.Array]:
    """What FFmpeg's `codec` makes of them; of libopus that is 16 bits."""
    outputs = [path.with_name(f"{path.name}.f32") for path in paths]
    arguments: list[str | Path] = []
    for path in paths:
        arguments += ["-c:a", codec, "-i", path]
    for index, output in enumerate(outputs):
        arguments += ["-map", f"{index}:a:0", "-c:a", "pcm_f32le", "-f", "f32le", output]
    oracle.ffmpeg(executable or oracle.bundled(), arguments)
    return [np.fromfile(output, "<f4").reshape(-1, channels).T for output in outputs]


def speech(channels: int, frames: int) -> oracle.Array:
    """``(channels, frames)``: harmonics of a pitch that moves, with pauses, and some noise."""
    random = np.random.default_rng(1)
    time = np.arange(frames) / RATE
    rows = []
    for channel in range(channels):
        pitch = 120 + 20 * np.sin(np.pi * time + channel) + 10 * channel
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        voice = sum(np.sin(k * phase) / k for k in range(1, 30))
        loudness = np.clip(np.sin(8 * time + channel / 3), 0, 1) ** 0.5
        noise = random.standard_normal(frames) * (0.03 * loudness + 0.001)
        rows.append(0.15 * voice * loudness + noise)
    return np.stack(rows).astype(np.float32)


def encode(source: Path, waveform: oracle.Array, outputs: list[tuple[Path, str]]) -> None:
    source.write_bytes(waveform.T.tobytes())
    arguments: list[str | Path] = ["-f", "f32le", "-ar", str(RATE)]
    arguments += ["-ch_layout", LAYOUTS[len(waveform)], "-i", source]
    for path, options in outputs:
        arguments += ["-map", "0:a:0", "-c:a", "libopus", *options.split(), path]
    oracle.ffmpeg(oracle.bundled(), arguments)


def check(clip: Clip, tolerance: float = 1e-4) -> None:
    info = ossicle.info(clip.path)
    waveform, rate = ossicle.load(clip.path, mono=False)
    container = CONTAINERS[clip.path.suffix[1:]]
    facts = (info.sample_rate, info.channels, info.frames, info.container, info.codec)
    assert facts == (RATE, clip.channels, FRAMES, container, "opus")
    assert info.bits_per_sample is None
    assert (rate, waveform.shape) == (RATE, (clip.channels, FRAMES))
    # FFmpeg leaves the filling of the last packet in MP4.
    extra = clip.expected.shape[1] - FRAMES
    assert extra == 0 or (container == "mp4" and 0 < extra < 5_760)
    distance = oracle.rms(waveform - clip.expected[:, :FRAMES])
    assert distance < tolerance
    formats.record(container, "opus", RATE, clip.channels, distance, clip.path)


@pytest.fixture(scope="module", params=["speech", "tones"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=[1, 2])
def channels(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def modes(kind: str, channels: int, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Clip]:
    folder = tmp_path_factory.mktemp(f"{kind}-{channels}")
    make = speech if kind == "speech" else lambda c, n: oracle.signal(RATE, c, n)
    outputs = []
    for application, duration, rate, more in MODES:
        if channels == 1 and rate == "510k":
            rate = "250k"
        path = folder / f"{application}-{duration}-{rate}{more.replace(' ', '')}.opus"
        options = f"-application {application} -frame_duration {duration} -b:a {rate} {more}"
        outputs.append((path, options))
    encode(folder / "source.f32", make(channels, FRAMES), outputs)
    paths = [path for path, _ in outputs]
    expected = decoded(paths, channels)
    return {
        path.stem: Clip(path, channels, clip) for path, clip in zip(paths, expected, strict=True)
    }


@pytest.mark.sampled(one_in=2)
def test_every_mode_is_that_of_libopus(modes: dict[str, Clip]) -> None:
    assert len(modes) == len(MODES)
    for clip in modes.values():
        check(clip)


@pytest.mark.sampled(one_in=4)
def test_celt_is_that_of_ffmpegs_own_decoder_too(modes: dict[str, Clip]) -> None:
    # In stereo that one rounds angles otherwise than libopus: at low rates one hears more of it.
    chosen = [name for name in modes if name.startswith("lowdelay") and name.endswith("96k")]
    clips = [modes[name] for name in chosen]
    paths, channels = [clip.path for clip in clips], clips[0].channels
    for clip, expected in zip(clips, decoded(paths, channels, "opus"), strict=True):
        waveform, _ = ossicle.load(clip.path, mono=False)
        tolerance = 1e-6 if channels == 1 else 1e-3
        assert oracle.rms(waveform - expected[:, :FRAMES]) < tolerance, clip.path.name


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("count", LAYOUTS)
def test_containers_and_channels(suffix: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{suffix}"
    encode(tmp_path / "source.f32", oracle.signal(RATE, count, FRAMES), [(path, "-b:a 96k")])
    check(Clip(path, count, decoded([path], count)[0]))
    mono, _ = ossicle.load(path)
    waveform, _ = ossicle.load(path, mono=False)
    np.testing.assert_allclose(mono, waveform.mean(axis=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [2, 6, 11])
@pytest.mark.parametrize("suffix", ["opus", "mka", "mp4"])
def test_discrete_channels_stay_in_place(count: int, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{suffix}"
    waveform = oracle.signal(RATE, count, FRAMES)
    (tmp_path / "source.f32").write_bytes(waveform.T.tobytes())
    how: list[str | Path] = ["-f", "f32le", "-ar", str(RATE), "-ch_layout", f"{count}C"]
    options = "-mapping_family 255 -b:a 300k -application lowdelay"
    how += ["-i", tmp_path / "source.f32", "-c:a", "libopus", *options.split(), path]
    oracle.ffmpeg(oracle.bundled(), how)
    # libopus behind FFmpeg reorders these as if they were loudspeakers.
    check(Clip(path, count, decoded([path], count, "opus")[0]), 1e-6)


def test_the_gain_of_the_header_is_applied(make_clip) -> None:
    data = bytearray(clip_of(make_clip, "opus").read_bytes())
    plain, _ = ossicle.load(bytes(data))
    at = data.index(b"OpusHead")
    data[at + 16 : at + 18] = struct.pack("<h", -6 * 256)
    louder, _ = ossicle.load(repaired(data))
    np.testing.assert_allclose(louder, plain * 10 ** (-6 / 20), rtol=1e-5, atol=1e-7)


def clip_of(make_clip: Callable[..., Path], suffix: str, options: str = "-b:a 24k") -> Path:
    return make_clip(
        suffix, rate=RATE, channels=1, frames=14_001, options=f"-c:a libopus {options}"
    )


def crc(data: bytes) -> int:
    """Ogg's checksum, bit by bit."""
    value = 0
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = ((value << 1) & 0xFFFFFFFF) ^ (0x04C11DB7 if value >> 31 else 0)
    return value


def pages(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        count = data[at + 26]
        end = at + 27 + count + sum(data[at + 27 : at + 27 + count])
        found.append(bytes(data[at:end]))
        at = end
    return found


def summed(page: bytes) -> bytes:
    page = page[:22] + bytes(4) + page[26:]
    return page[:22] + struct.pack("<I", crc(page)) + page[26:]


def repaired(data: bytes | bytearray) -> bytes:
    return b"".join(summed(page) for page in pages(bytes(data)))


def damaged(data: bytes, reason: str) -> ossicle.AudioError:
    with pytest.raises(ossicle.AudioError, match=reason) as caught:
        ossicle.load(data)
    assert caught.value.byte_offset is not None
    return caught.value


def test_pages_that_are_damaged_missing_or_more() -> None:
    whole = tiny("opus", "-b:a 64k -page_duration 100000")
    expected, _ = ossicle.load(whole)
    parts = pages(whole)
    assert len(parts) >= 5

    flipped = bytearray(whole)
    at = len(b"".join(parts[:3])) + 40
    flipped[at] ^= 1
    assert damaged(bytes(flipped), "Ogg page is broken").byte_offset == len(b"".join(parts[:3]))
    damaged(b"".join(parts[:3] + parts[4:]), "contradict its position")
    damaged(b"".join(parts[:-1]) + parts[-1][:-1], "cut short")
    for more, times in ((whole, 2), (b"rubbish" * 40_000, 1)):
        waveform, _ = ossicle.load(whole + more)
        assert np.array_equal(waveform, np.tile(expected, times))
        assert ossicle.info(whole + more).frames == len(waveform)


def test_a_header_of_version_0_is_read_as_that_of_version_1() -> None:
    data = bytearray(tiny("opus", "-b:a 16k"))
    expected, _ = ossicle.load(bytes(data))
    data[data.index(b"OpusHead") + 8] = 0
    waveform, _ = ossicle.load(repaired(data))
    assert np.array_equal(waveform, expected)


def test_packets_that_break_the_rules() -> None:
    parts = pages(tiny("opus", "-b:a 16k"))
    head, audio = parts[:2], parts[2]
    body = 27 + audio[26]
    for first, reason in [(b"\xff\x00", "no samples or more"), (b"\xff\x3f", "no samples or more")]:
        broken = summed(audio[:body] + first + audio[body + 2 :])
        damaged(b"".join([*head, broken, *parts[3:]]), reason)
    damaged(b"".join([summed(head[0][:46] + b"\x07"), *parts[1:]]), "mapping family 7|header")


def test_a_stream_that_was_cut_out_of_another_starts_at_zero() -> None:
    whole = tiny("opus", "-b:a 64k")
    parts = pages(whole)
    late = list(parts[:2])
    for page in parts[2:]:
        granule = struct.unpack("<q", page[6:14])[0] + 1_000_000
        late.append(summed(page[:6] + struct.pack("<q", granule) + page[14:]))
    expected, _ = ossicle.load(whole)
    waveform, _ = ossicle.load(b"".join(late))
    # The position of a lone page says where its recording ends.
    assert np.array_equal(waveform[: len(expected)], expected)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", ["10k", "16k", "24k"])
def test_frames_left_out_are_comfort_noise(rate: str, channels: int, tmp_path: Path) -> None:
    path = tmp_path / "clip.opus"
    waveform = speech(channels, 3 * RATE)
    waveform[:, RATE // 2 : 2 * RATE] = 0
    encode(tmp_path / "source.f32", waveform, [(path, f"-application voip -b:a {rate} -dtx 1")])
    waveform = ossicle.load(path, mono=False)[0]
    assert waveform.shape == (channels, 3 * RATE)
    for executable in oracle.decoders().values():
        [expected] = decoded([path], channels, executable=executable)
        # Each libopus conceals in its own way; FFmpeg 5 goes with 1.3, which ours follows.
        tolerance = 1e-4 if oracle.major_version(executable) == 5 else 2e-3
        assert oracle.rms(waveform - expected[:, : 3 * RATE]) < tolerance


# Each is a minute long; tones are what SILK forgets most slowly.
LONG = {
    "celt": ("opus", "tones", "-b:a 64k -application lowdelay -frame_duration 2.5"),
    "silk": ("opus", "speech", "-b:a 16k -application voip"),
    "silk-tones": ("opus", "tones", "-b:a 12k -application voip"),
    "hybrid": ("mp4", "speech", "-b:a 28k -application audio -frame_duration 10"),
    "mka": ("mka", "speech", "-b:a 64k -frame_duration 60"),
    "mka-tones": ("mka", "tones", "-b:a 16k -application voip"),
    "webm": ("webm", "tones", "-b:a 24k -frame_duration 20"),
}


@pytest.fixture(scope="module", params=LONG)
def long_clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    suffix, sound, options = LONG[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    path = folder / f"clip.{suffix}"
    frames = 60 * RATE + 777
    waveform = speech(1, frames) if sound == "speech" else oracle.signal(RATE, 1, frames)
    encode(folder / "source.f32", waveform, [(path, options)])
    return path


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("rate", [None, 16_000])
def test_ranges_are_slices(long_clip: Path, rate: int | None) -> None:
    whole, got = ossicle.load(long_clip, rate)
    frames = len(whole)
    assert frames == -(-(60 * RATE + 777) * got // RATE)
    random = np.random.default_rng(5)
    drawn = [(float(random.uniform(0, 60.5)), float(random.uniform(0.001, 5))) for _ in range(10)]
    for offset, duration in [(0.0, 0.1), (59.99, 1.0), (61.0, 1.0), (30.0, 1e-4), *drawn]:
        part, _ = ossicle.load(long_clip, rate, offset=offset, duration=duration)
        start = round(offset * got)
        expected = whole[start : start + round(duration * got)]
        assert part.shape == expected.shape, (offset, duration)
        worst = np.abs(part - expected).max(initial=0)
        assert worst <= 1e-5, f"offset={offset!r}, duration={duration!r}: {worst}"


TINY: dict[tuple[str, str], bytes] = {}


@pytest.fixture(scope="module", autouse=True)
def fill_tiny(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tiny")
    for suffix, options in [
        ("opus", "-b:a 16k"),
        ("opus", "-b:a 64k"),
        ("opus", "-b:a 64k -page_duration 100000"),
        ("opus", "-b:a 64k -application lowdelay"),
        ("webm", "-b:a 24k"),
        ("mp4", "-b:a 24k"),
    ]:
        path = folder / f"clip.{suffix}"
        encode(folder / "source.f32", speech(1, 14_001), [(path, options)])
        TINY[suffix, options] = path.read_bytes()


def tiny(suffix: str, options: str) -> bytes:
    return TINY[suffix, options]


@pytest.mark.parametrize("name", ["opus", "opus-packets", "opus-celt-packets", "webm", "mp4"])
def test_cuts_and_flips_end_in_samples_or_an_error(name: str) -> None:
    """With ``packets`` the pages' checksums are put right, so that the decoder sees the flips."""
    suffix = name.split("-")[0]
    options = "-b:a 64k -application lowdelay" if "celt" in name else "-b:a 24k"
    data = tiny(suffix, "-b:a 16k" if (suffix, options) not in TINY else options)
    random = np.random.default_rng(11)
    start = 0 if "packets" not in name else len(b"".join(pages(data)[:2])) + 27
    for turn in range(200):
        changed = bytearray(data)
        for at in random.integers(start, len(data), 1 + turn % 3):
            changed[at] ^= 1 << random.integers(8)
        if "packets" in name:
            try:
                changed = bytearray(repaired(changed))
            except IndexError:
                continue
        if turn % 5 == 0:
            del changed[random.integers(len(changed)) :]
        with contextlib.suppress(ossicle.AudioError):
            ossicle.load(bytes(changed))

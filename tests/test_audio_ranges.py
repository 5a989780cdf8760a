"""A range is a slice of the whole, in every format, before and after resampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiers import Sweep, cases

import ossicle

SECONDS = 60
# Ranges of each clip, at its own rate and again at 16 kHz.
RANGES = 1_000
LOSSLESS = {
    *("wav", "w64", "au", "adpcm", "flac", "alac", "aiff", "caf", "caf-alac", "g711"),
    *("mkv-flac", "mkv-pcm", "ogg-flac", "mp4-flac", "avi-pcm", "avi-adpcm"),
}
# (suffix, rate, channels, FFmpeg's options). Low rates of MP3 reach furthest back for their bits.
CLIPS = {
    "wav": ("wav", 44_100, 2, "-c:a pcm_s16le"),
    "g711": ("wav", 8_000, 1, "-c:a pcm_mulaw"),
    "flac": ("flac", 44_100, 2, "-c:a flac -sample_fmt s16"),
    "ogg-flac": ("ogg", 16_000, 1, "-c:a flac -sample_fmt s16"),
    "alac": ("m4a", 44_100, 2, "-c:a alac"),
    "aiff": ("aiff", 22_050, 2, "-c:a pcm_s24be"),
    "au": ("au", 22_050, 1, "-c:a pcm_s16be"),
    "w64": ("w64", 48_000, 1, "-c:a pcm_s24le"),
    "adpcm": ("wav", 22_050, 2, "-c:a adpcm_ms"),
    "caf-alac": ("caf", 44_100, 1, "-c:a alac"),
    "mp4-flac": ("mp4", 44_100, 1, "-c:a flac -sample_fmt s16"),
    "mp2": ("mp2", 48_000, 2, "-c:a mp2 -b:a 96k"),
    "caf": ("caf", 22_050, 1, "-c:a pcm_s16be"),
    "mkv-flac": ("mkv", 44_100, 1, "-c:a flac -sample_fmt s16"),
    "mkv-pcm": ("mkv", 44_100, 1, "-c:a pcm_s16le"),
    "mp3-8k": ("mp3", 16_000, 1, "-c:a libmp3lame -b:a 8k"),
    "mp3-8k-at-8khz": ("mp3", 8_000, 1, "-c:a libmp3lame -b:a 8k"),
    "mp3-stereo-of-24khz": ("mp3", 24_000, 2, "-c:a libmp3lame -q:a 9"),
    "mp3-320k": ("mp3", 44_100, 2, "-c:a libmp3lame -b:a 320k"),
    "mp3-16k": ("mp3", 22_050, 2, "-c:a libmp3lame -b:a 16k"),
    "mp3-32k": ("mp3", 44_100, 2, "-c:a libmp3lame -b:a 32k"),
    "mp3-vbr": ("mp3", 48_000, 2, "-c:a libmp3lame -q:a 7"),
    "mp3-no-xing": ("mp3", 44_100, 1, "-c:a libmp3lame -b:a 48k -write_xing 0"),
    "vorbis": ("ogg", 44_100, 2, "-c:a libvorbis -q:a 2"),
    "vorbis-6ch": ("ogg", 48_000, 6, "-c:a libvorbis -q:a 2"),
    "aac": ("m4a", 44_100, 2, "-c:a aac -aac_pns 0 -b:a 64k"),
    "adts": ("aac", 22_050, 1, "-c:a aac -aac_pns 0 -f adts"),
    "mkv-mp3": ("mkv", 22_050, 1, "-c:a libmp3lame -b:a 24k"),
    "mkv-vorbis": ("mkv", 44_100, 1, "-c:a libvorbis"),
    "mkv-aac": ("mkv", 44_100, 1, "-c:a aac -aac_pns 0"),
    "aac-in-fragments": (
        "m4a",
        44_100,
        1,
        "-c:a aac -aac_pns 0 -movflags frag_keyframe+empty_moov -frag_duration 700000",
    ),
    "ts-aac": ("ts", 44_100, 2, "-c:a aac -aac_pns 0"),
    "ts-mp3": ("ts", 44_100, 2, "-c:a libmp3lame -b:a 64k"),
    "m2ts-mp2": ("m2ts", 48_000, 1, "-c:a mp2 -b:a 96k"),
    "avi-pcm": ("avi", 44_100, 2, "-c:a pcm_s16le"),
    "avi-adpcm": ("avi", 22_050, 2, "-c:a adpcm_ima_wav"),
    "avi-aac": ("avi", 44_100, 2, "-c:a aac -aac_pns 0"),
    "avi-mp3": ("avi", 44_100, 2, "-c:a libmp3lame -q:a 5"),
    "opus-celt": ("opus", 48_000, 2, "-c:a libopus -b:a 64k -application lowdelay"),
    "opus-in-webm": ("webm", 48_000, 1, "-c:a libopus -b:a 48k -application lowdelay"),
}


@pytest.fixture(scope="module", params=cases(CLIPS, one_in=4))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def clip(name: str, make_clip) -> Path:
    suffix, rate, channels, options = CLIPS[name]
    frames = SECONDS * rate + 777
    return make_clip(suffix, rate=rate, channels=channels, frames=frames, options=options)


def ranges(seconds: float) -> list[tuple[float, float | None]]:
    """Anywhere, most of them short: the cost is in where they begin."""
    random, count = np.random.default_rng(7), RANGES - 9
    longest = np.where(np.arange(count) < 20, 20.0, 0.3)
    lengths = np.exp(random.uniform(np.log(0.001), np.log(longest), count))
    offsets = random.uniform(0, seconds * 1.02, count)
    edges = [
        (0.0, 0.0),
        (0.0, 1e-4),
        (0.0, None),
        (seconds / 2, None),
        (seconds - 0.01, None),
        (seconds - 0.05, 1.0),
        (seconds, None),
        (seconds + 5, 1.0),
        (1e9, None),
    ]
    drawn = zip(map(float, offsets), map(float, lengths), strict=True)
    return [*edges, *drawn]


def check(sweep: Sweep, clip: Path, rate: int | None, mono: bool, tolerance: float) -> None:
    whole, got = ossicle.load(clip, rate, mono=mono)
    frames = whole.shape[-1]
    for offset, duration in sweep(ranges(frames / got), one_in=10):
        part, _ = ossicle.load(clip, rate, mono=mono, offset=offset, duration=duration)
        start = round(offset * got)
        end = frames if duration is None else start + round(duration * got)
        expected = whole[..., start:end]
        where = f"offset={offset!r}, duration={duration!r}"
        assert part.shape == expected.shape, where
        worst = np.abs(part - expected).max(initial=0)
        assert worst <= tolerance, f"{where}: {worst}"


def test_at_the_native_rate(name: str, clip: Path, sweep: Sweep) -> None:
    check(sweep, clip, None, mono=False, tolerance=0.0 if name in LOSSLESS else 1e-5)


def test_after_resampling(name: str, clip: Path, sweep: Sweep) -> None:
    check(sweep, clip, 16_000, mono=True, tolerance=1e-5)


def test_the_length_is_that_of_the_source(name: str, clip: Path) -> None:
    untold = ("mp3-no-xing", "adts", "mkv-aac", "mp2", "adpcm", "w64", "aac-in-fragments")
    if name in untold or clip.suffix in (".ts", ".m2ts", ".avi"):
        pytest.skip("the file does not tell how much at its end is padding")
    if name == "mp3-8k":
        pytest.skip("LAME's tag is 38 frames off at 8 kb/s: FFmpeg gives what we give")
    _, rate, channels, _ = CLIPS[name]
    info = ossicle.info(clip)
    assert (info.frames, info.sample_rate, info.channels) == (SECONDS * rate + 777, rate, channels)


def test_the_first_and_the_last_sample_of_each_second(clip: Path) -> None:
    whole, rate = ossicle.load(clip)
    for second in range(0, SECONDS, 7):
        part, _ = ossicle.load(clip, offset=second, duration=1 / rate)
        assert np.abs(part - whole[second * rate : second * rate + 1]).max() <= 1e-5


@pytest.mark.parametrize(("offset", "start"), [(0.5 / 8000, 0), (1.5 / 8000, 2), (2.5 / 8000, 2)])
def test_halves_round_to_even_as_in_python(offset: float, start: int, make_clip) -> None:
    path = make_clip("wav", rate=8_000, frames=100, options="-c:a pcm_s16le")
    whole, _ = ossicle.load(path)
    part, _ = ossicle.load(path, offset=offset)
    assert np.array_equal(part, whole[start:])


def test_a_batch_takes_ranges_too(make_clip) -> None:
    path = make_clip("flac", rate=44_100, channels=2, options="-c:a flac -sample_fmt s16")
    whole, _ = ossicle.load(path, 16_000)
    batch = ossicle.load_batch([path] * 3, offsets=[0.0, 0.1, 99.0], duration=0.2)
    assert batch.lengths.tolist() == [3_200, 3_200, 0]
    np.testing.assert_allclose(batch.waveforms[1], whole[1_600:4_800], atol=1e-5)


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("offset", [1.5, 2.0, 1e9, 1e300])
def test_past_the_end_there_are_no_samples(name: str, offset: float, make_clip) -> None:
    suffix, rate, channels, options = CLIPS[name]
    clip = make_clip(suffix, rate=rate, channels=channels, frames=rate, options=options)
    for asked in (None, 16_000):
        for more in ({}, {"verify": True}, {"on_error": "conceal"}, {"duration": 0.5}):
            for mono, shape in ((True, (0,)), (False, (channels, 0))):
                waveform, *_ = ossicle.load(clip, asked, offset=offset, mono=mono, **more)
                assert (waveform.shape, waveform.dtype) == (shape, np.float32)
    batch = ossicle.load_batch([clip, clip], offsets=[offset, 0.0])
    assert batch.errors == [None, None]
    assert batch.lengths[0] == 0 < batch.lengths[1]
    features = ossicle.load_features([clip], offsets=[offset], pad_to_seconds=None)
    assert features.errors == [None]
    assert features.input_features.shape == (1, 80, 0)

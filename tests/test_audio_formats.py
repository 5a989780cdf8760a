"""Every format, rate and channel count against FFmpeg: facts, lengths, samples, channel order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import formats
import numpy as np
import oracle
import pytest

import ossicle

RATES = (8_000, 16_000, 22_050, 44_100, 48_000, 96_000)
EVERYDAY_RATES = (16_000, 44_100)
CHANNELS = (1, 2, 6)

# Noise substitution is random by design: no two AAC decoders agree on it.
AAC = "-c:a aac -aac_pns 0"
FLAC_16 = "-c:a flac -sample_fmt s16"
FLAC_24 = "-c:a flac -sample_fmt s32 -bits_per_raw_sample 24"
ALAC_16 = "-c:a alac -sample_fmt s16p"
ALAC_24 = "-c:a alac -sample_fmt s32p -bits_per_raw_sample 24"


@dataclass(frozen=True)
class Format:
    """How to make a file, and what `info` says of it."""

    options: str
    suffix: str
    container: str
    codec: str
    bits: int | None = None
    max_rate: int = 96_000
    max_channels: int = 6
    min_rate: int = 8_000

    def allows(self, rate: int, channels: int) -> bool:
        return self.min_rate <= rate <= self.max_rate and channels <= self.max_channels


def pcm(suffix: str, container: str, *codecs: str) -> dict[str, Format]:
    bits = {"alaw": 8, "mulaw": 8}
    return {
        f"{container}-{codec}": Format(
            f"-c:a pcm_{codec}",
            suffix,
            container,
            f"pcm_{codec}",
            bits.get(codec) or int("".join(filter(str.isdigit, codec))),
        )
        for codec in codecs
    }


def mp3(options: str, suffix: str = "mp3", container: str = "mp3") -> Format:
    return Format(f"-c:a libmp3lame {options}", suffix, container, "mp3", None, 48_000, 2)


FORMATS = {
    # FFmpeg writes WAVEFORMATEXTENSIBLE above two channels, 16 bits or 48 kHz.
    **pcm("wav", "wav", "u8", "s16le", "s24le", "s32le", "f32le", "f64le", "alaw", "mulaw"),
    **pcm("aiff", "aiff", "s16be", "s24be", "s32be", "f32be"),
    **pcm("caf", "caf", "s16le", "s16be", "s24be", "f32be", "f64le"),
    **pcm("mkv", "matroska", "s16le", "s24le", "f32le"),
    **pcm("mov", "mp4", "s16le", "s24be", "f32be"),
    "flac-16": Format(FLAC_16, "flac", "flac", "flac", 16),
    "flac-24": Format(FLAC_24, "flac", "flac", "flac", 24),
    "ogg-flac": Format(FLAC_16, "ogg", "ogg", "flac", 16),
    "mkv-flac": Format(FLAC_16, "mkv", "matroska", "flac", 16),
    "m4a-alac-16": Format(ALAC_16, "m4a", "mp4", "alac", 16),
    "m4a-alac-24": Format(ALAC_24, "m4a", "mp4", "alac", 24),
    "caf-alac-16": Format(ALAC_16, "caf", "caf", "alac", 16),
    "caf-alac-24": Format(ALAC_24, "caf", "caf", "alac", 24),
    "mp3-cbr": mp3("-b:a 64k"),
    "mp3-vbr": mp3("-q:a 4"),
    "mp3-no-xing": mp3("-b:a 64k -write_xing 0"),
    "mkv-mp3": mp3("-b:a 64k", "mkv", "matroska"),
    "mp4-mp3": Format("-c:a libmp3lame -b:a 64k", "mp4", "mp4", "mp3", None, 48_000, 2, 16_000),
    "mp2": Format("-c:a mp2 -b:a 128k", "mp2", "mp3", "mp2", None, 48_000, 2, 16_000),
    "ogg-vorbis": Format("-c:a libvorbis -q:a 4", "ogg", "ogg", "vorbis"),
    "mkv-vorbis": Format("-c:a libvorbis -q:a 4", "mkv", "matroska", "vorbis"),
    "webm-vorbis": Format("-c:a libvorbis", "webm", "matroska", "vorbis"),
    "m4a-aac": Format(AAC, "m4a", "mp4", "aac"),
    "adts-aac": Format(f"{AAC} -f adts", "aac", "aac", "aac"),
    "mkv-aac": Format(AAC, "mkv", "matroska", "aac"),
    "mp4-aac-in-fragments": Format(
        f"{AAC} -movflags frag_keyframe+empty_moov+default_base_moof -frag_duration 300000",
        "mp4",
        "mp4",
        "aac",
    ),
    "mp4-flac": Format(FLAC_16, "mp4", "mp4", "flac", 16),
    **pcm("avi", "avi", "u8", "s16le", "s24le", "f32le", "mulaw"),
    "avi-aac": Format(AAC, "avi", "avi", "aac"),
    "avi-mp3": mp3("-b:a 64k", "avi", "avi"),
    "ts-aac": Format(AAC, "ts", "mpegts", "aac"),
    "ts-mp3": mp3("-b:a 64k", "ts", "mpegts"),
    "ts-mp2": Format("-c:a mp2 -b:a 128k", "ts", "mpegts", "mp2", None, 48_000, 2, 16_000),
    "m2ts-aac": Format(f"{AAC} -mpegts_m2ts_mode 1", "m2ts", "mpegts", "aac"),
}
LOSSY = {"mp3", "mp2", "vorbis", "aac"}


@dataclass(frozen=True)
class Group:
    """One signal in every format that can hold it, and what each FFmpeg makes of the files."""

    rate: int
    channels: int
    frames: int
    waveform: oracle.Array
    paths: dict[str, Path]
    expected: dict[str, dict[str, oracle.Array]]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(rate, marks=() if rate in EVERYDAY_RATES else pytest.mark.thorough)
        for rate in RATES
    ],
    ids=lambda rate: f"{rate}Hz",
)
def rate(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module", params=CHANNELS, ids=lambda count: f"{count}ch")
def channels(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def group(rate: int, channels: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """All formats at once: an FFmpeg process costs more than a second of audio."""
    folder = tmp_path_factory.mktemp(f"{rate}-{channels}")
    frames = rate + 1013  # a multiple of no block
    waveform = oracle.signal(rate, channels, frames)
    source = folder / "source.wav"
    source.write_bytes(oracle.wav_bytes(waveform, rate, "f32", extensible=True))
    wanted = {name: form for name, form in FORMATS.items() if form.allows(rate, channels)}
    paths = {name: folder / f"{name}.{form.suffix}" for name, form in wanted.items()}
    oracle.encode(source, [(paths[name], form.options.split()) for name, form in wanted.items()])
    expected = {
        version: dict(
            zip(paths, oracle.decode(executable, list(paths.values()), channels), strict=True)
        )
        for version, executable in oracle.decoders().items()
    }
    yield Group(rate, channels, frames, waveform, paths, expected)
    for path in (source, *paths.values()):
        path.unlink()


@pytest.fixture(params=FORMATS)
def name(request: pytest.FixtureRequest, group: Group) -> str:
    if request.param not in group.paths:
        pytest.skip("the codec has no such rate or number of channels")
    return request.param


def reference(name: str, group: Group, version: str) -> tuple[oracle.Array, int]:
    """What that FFmpeg gives, its known faults put right, and how long it should have been."""
    clip = group.expected[version][name]
    given = clip.shape[1]
    delay = {"mkv-mp3": 1105, "mkv-aac": 1024}.get(name)
    if name == "mp4-mp3" and group.rate == 22_050:
        # The edit list counts in milliseconds: we take the nearest sample, FFmpeg one before it.
        return clip[:, : group.frames], group.frames + 1
    if name in ("m4a-aac", "mp4-mp3") and 0 < given - group.frames < 1152:
        # FFmpeg 5 leaves the padding that fills the last packet.
        return clip[:, : group.frames], group.frames
    if delay and version == "system" and np.abs(clip[:, :delay]).max() < np.abs(clip).max() / 2:
        # FFmpeg 5 takes off the padding and leaves the encoder's delay.
        return clip[:, delay:], given - delay
    if name.startswith("caf-alac") and group.frames - given == -group.frames % 4096:
        # FFmpeg 9 takes the filling of the last packet off twice, where that packet is short.
        return clip, group.frames
    return clip, given


def test_info_and_samples_are_those_of_ffmpeg(name: str, group: Group) -> None:
    form, path = FORMATS[name], group.paths[name]
    info = ossicle.info(path)
    waveform, rate = ossicle.load(path, mono=False)

    facts = (info.sample_rate, info.channels, info.container, info.codec, info.bits_per_sample)
    assert facts == (group.rate, group.channels, form.container, form.codec, form.bits)
    assert rate == group.rate
    assert waveform.shape == (group.channels, info.frames)
    if form.codec not in LOSSY:
        assert info.frames == group.frames
        # A test of the oracle too: 8 bits and G.711 are the coarsest.
        assert np.abs(waveform - group.waveform).max() < 0.04

    for version in group.expected:
        expected, frames = reference(name, group, version)
        assert info.frames == frames, version
        difference = waveform[:, : expected.shape[1]] - expected
        if form.codec in LOSSY:
            assert oracle.rms(difference) < 1e-4, version
        else:
            assert not difference.any(), version
        if version == "bundled":
            distance = oracle.rms(difference)
            facts = (form.container, form.codec, group.rate, group.channels)
            formats.record(*facts, distance, path)


def test_mono_is_the_mean_of_the_channels(name: str, group: Group) -> None:
    path = group.paths[name]
    mono, _ = ossicle.load(path)
    waveform, _ = ossicle.load(path, mono=False)
    mean = waveform.mean(axis=0, dtype=np.float32)
    np.testing.assert_allclose(mono, mean, rtol=0, atol=1e-6)
    if group.channels == 1:
        assert np.array_equal(mono, waveform[0])


def test_mono_is_taken_before_resampling(name: str, group: Group) -> None:
    if group.rate == 16_000:
        pytest.skip("nothing to resample")
    path = group.paths[name]
    mono, rate = ossicle.load(path)
    resampled, _ = ossicle.load(path, 16_000)
    assert np.array_equal(resampled, ossicle.resample(mono, rate, 16_000))


@pytest.mark.parametrize("encoding", ["s16", "f32", "f64", "u8"])
@pytest.mark.parametrize("extensible", [False, True])
def test_wav_that_we_wrote_ourselves(encoding: str, extensible: bool) -> None:
    waveform = oracle.signal(11_025, 2, 1_001)
    data = oracle.wav_bytes(waveform, 11_025, encoding, extensible=extensible)
    decoded, rate = ossicle.load(data, mono=False)
    assert rate == 11_025
    tolerance = {"u8": 1 / 256, "s16": 1 / 65_536}.get(encoding, 0.0)
    assert np.abs(decoded - waveform).max() <= tolerance


@pytest.mark.parametrize("channels", [3, 4, 5, 7, 8])
@pytest.mark.parametrize("suffix", ["flac", "ogg", "wav", "caf", "m4a"])
def test_other_numbers_of_channels_keep_their_order(
    channels: int, suffix: str, tmp_path: Path
) -> None:
    layouts = {3: "3.0", 4: "quad", 5: "5.0", 7: "6.1", 8: "7.1"}
    if suffix == "m4a":  # of ALAC
        layouts |= {4: "4.0", 7: "6.1(back)", 8: "7.1(wide)"}
    waveform = oracle.signal(44_100, channels, 20_011)
    raw = tmp_path / "raw.f32"
    raw.write_bytes(waveform.T.tobytes())
    path = tmp_path / f"clip.{suffix}"
    how = ["-f", "f32le", "-ar", "44100", "-ch_layout", layouts[channels], "-i", raw]
    codecs = {"ogg": "-c:a libvorbis", "flac": FLAC_16, "m4a": ALAC_16}
    codec = codecs.get(suffix, "").split()
    oracle.ffmpeg(oracle.bundled(), [*how, *codec, path])
    expected = oracle.decode(oracle.bundled(), [path], channels)[0]
    decoded, _ = ossicle.load(path, mono=False)
    if suffix == "ogg":
        # FFmpeg does not cut the end where the whole recording is on one page.
        assert decoded.shape == waveform.shape
        assert oracle.rms(decoded - expected[:, : decoded.shape[1]]) < 1e-6
    else:
        assert np.array_equal(decoded, expected)

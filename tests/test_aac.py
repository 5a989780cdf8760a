"""AAC-LC by our own decoder, against FFmpeg's: rates, channels, tools, windows, and ranges."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import careless
import numpy as np
import oracle
import pytest

import ossicle

SECONDS = 2
# Noise is of each decoder's own making: where samples are compared there is none.
PLAIN = "-c:a aac -aac_pns 0"
CONTAINERS = {"m4a": "", "aac": "-f adts", "mka": ""}
# Of one decoder of FFmpeg's to the next more differs than we do from each.
TOLERANCE = 1e-5

Encode = Callable[..., Path]


def sound(kind: str, rate: int, channels: int, seconds: float = SECONDS) -> oracle.Array:
    frames = int(rate * seconds) + 77
    random = np.random.default_rng(1)
    tones = oracle.signal(rate, channels, frames)
    match kind:
        case "tones":
            return tones
        case "clicks":
            clicks = 0.1 * tones
            clicks[:, :: rate // 7] += 0.8
            return clicks
        case "alike":
            return tones[:1] + 0.01 * random.standard_normal((channels, frames)).astype("f4")
        case "full scale":
            return random.uniform(-1, 1, (channels, frames)).astype("f4")
        case "noise":
            return (0.1 * random.standard_normal((channels, frames))).astype("f4")
        case _:
            return np.zeros((channels, frames), "f4")


@pytest.fixture(scope="module")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Encode:
    """``encode("m4a", "tones", 44_100, 2, "-c:a aac")``: a path."""
    folder = tmp_path_factory.mktemp("aac")

    @functools.cache
    def make(
        suffix: str,
        kind: str,
        rate: int,
        channels: int,
        options: str = PLAIN,
        seconds: float = SECONDS,
        layout: str = "",
    ) -> Path:
        raw = folder / "source.f32"
        raw.write_bytes(sound(kind, rate, channels, seconds).T.astype("<f4").tobytes())
        path = folder / f"{len(list(folder.iterdir()))}.{suffix}"
        form = ["-f", "f32le", "-ar", str(rate), "-ac", str(channels)]
        form += ["-channel_layout", layout] if layout else []
        extra = [*options.split(), *CONTAINERS[suffix].split()]
        oracle.ffmpeg(oracle.bundled(), [*form, "-i", raw, *extra, path])
        return path

    return make


def differences(path: Path, channels: int, shifts: Sequence[int] = (0, 1024)) -> dict[str, float]:
    """RMS of what each FFmpeg gives less what we give; what they cut off differs."""
    waveform, _ = ossicle.load(path, mono=False)
    assert waveform.shape[0] == channels
    found = {}
    for version, executable in oracle.decoders().items():
        [expected] = oracle.decode(executable, [path], channels)
        assert abs(expected.shape[1] - waveform.shape[1]) <= 2048, version
        found[version] = min(
            oracle.rms(a[:, :end] - b[:, :end])
            for shift in shifts
            for a, b in ((waveform[:, shift:], expected), (waveform, expected[:, shift:]))
            for end in [min(a.shape[1], b.shape[1])]
        )
    return found


def check(path: Path, channels: int) -> None:
    found = differences(path, channels)
    assert max(found.values()) < TOLERANCE, found


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize(
    "rate",
    [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000],
)
def test_every_rate_is_what_ffmpeg_gives(rate: int, suffix: str, encode: Encode) -> None:
    for channels in (1, 2):
        check(encode(suffix, "tones", rate, channels), channels)


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("channels", range(1, 9))
def test_every_number_of_channels_is_what_ffmpeg_gives(
    channels: int, suffix: str, encode: Encode
) -> None:
    if suffix == "aac" and channels > 6:
        pytest.skip("FFmpeg writes no ADTS of so many channels")
    path = encode(suffix, "tones", 48_000, channels, f"{PLAIN} -b:a {64 * channels}k")
    check(path, channels)
    assert ossicle.info(path).channels == channels


LAYOUTS = {
    "2.1": 3,
    "3.1": 4,
    "quad": 4,
    "quad(side)": 4,
    "4.1": 5,
    "5.0(side)": 5,
    "5.1(side)": 6,
    "6.0": 6,
    "6.0(front)": 6,
    "hexagonal": 6,
    "6.1": 7,
    "6.1(back)": 7,
    "6.1(front)": 7,
    "7.0": 7,
    "7.0(front)": 7,
    "7.1(wide)": 8,
    "7.1(wide-side)": 8,
    "octagonal": 8,
}


@pytest.mark.sampled(one_in=13)
@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_programs_of_channels_are_what_ffmpeg_gives(
    layout: str, suffix: str, encode: Encode
) -> None:
    channels = LAYOUTS[layout]
    try:
        path = encode(suffix, "tones", 44_100, channels, PLAIN, layout=layout)
    except AssertionError as error:
        pytest.skip(f"this FFmpeg cannot write it: {str(error).splitlines()[-1]}")
    check(path, channels)


@pytest.mark.parametrize("configuration", [7, 12, 14])
def test_eight_channels_are_ordered_as_ffmpeg_does(
    configuration: int, encode: Encode, tmp_path: Path
) -> None:
    """The same elements with their channels under other names."""
    path = encode("mka", "tones", 48_000, 8, f"{PLAIN} -write_crc32 0")
    data = path.read_bytes()
    config = bytes.fromhex("11e056e500")
    assert data.count(config) == 1
    copy = tmp_path / "clip.mka"
    copy.write_bytes(data.replace(config, bytes([0x11, 0x80 | configuration << 3]) + config[2:]))
    waveform, _ = ossicle.load(copy, mono=False)
    [expected] = oracle.decode(oracle.bundled(), [copy], 8)
    assert waveform.shape == expected.shape
    assert oracle.rms(waveform - expected) < TOLERANCE


TOOLS = {
    "as is": "",
    "without noise shaping": "-aac_tns 0",
    "noise shaping": "-aac_tns 1",
    "without stereo": "-aac_ms 0 -aac_is 0",
    "sum and difference": "-aac_ms 1 -aac_is 0",
    "intensity": "-aac_ms 0 -aac_is 1 -b:a 48k",
    "fast": "-aac_coder fast",
    "24k": "-b:a 24k",
    "64k": "-b:a 64k",
    "320k": "-b:a 320k",
    "variable": "-q:a 1.5",
}


@pytest.mark.sampled(one_in=13)
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("kind", ["tones", "clicks", "alike", "full scale", "silence", "noise"])
def test_every_tool_is_what_ffmpeg_gives(kind: str, tool: str, encode: Encode) -> None:
    for channels in (1, 2):
        check(encode("m4a", kind, 44_100, channels, f"{PLAIN} {TOOLS[tool]}"), channels)


def test_intensity_beside_a_mask_of_all_bands_is_as_the_standard_says(encode: Encode) -> None:
    """FFmpeg inverts the right channel under a mask of 2 too; its encoder does not mean it so."""
    path = encode("m4a", "alike", 44_100, 2, f"{PLAIN} -aac_ms 1 -aac_is 1")
    source = sound("alike", 44_100, 2)
    waveform, _ = ossicle.load(path, mono=False)
    [theirs] = oracle.decode(oracle.bundled(), [path], 2)
    end = min(waveform.shape[1], theirs.shape[1], source.shape[1])
    ours = oracle.rms(waveform[:, :end] - source[:, :end])
    assert ours <= 1.001 * oracle.rms(theirs[:, :end] - source[:, :end])


def reframed(path: Path, folder: Path) -> Path:
    """The same packets, in a header that says they have 960 frames each."""
    data = path.read_bytes()
    config = bytes.fromhex("121056e500")
    assert data.count(config) == 1
    copy = folder / f"short-{path.name}"
    copy.write_bytes(data.replace(config, bytes.fromhex("121456e500")))
    return copy


@pytest.mark.parametrize("kind", ["tones", "clicks"])
def test_frames_of_960_are_what_ffmpeg_gives(kind: str, encode: Encode, tmp_path: Path) -> None:
    options = f"{PLAIN} -cutoff 14000 -b:a 96k -write_crc32 0"
    path = reframed(encode("mka", kind, 44_100, 2, options), tmp_path)
    check(path, 2)


def band_energies(waveform: oracle.Array) -> oracle.Array:
    """Mean power in bands of some 700 Hz, below the 7.9 kHz where the encoder cuts off."""
    blocks = waveform[:, : waveform.shape[1] // 1024 * 1024].reshape(waveform.shape[0], -1, 1024)
    power = np.square(np.abs(np.fft.rfft(blocks * np.hanning(1024), axis=-1))).mean(axis=1)
    return power[:, :176].reshape(waveform.shape[0], 11, 16).mean(axis=-1)


@pytest.mark.parametrize("channels", [1, 2])
def test_noise_has_the_energy_that_ffmpeg_gives_it(channels: int, encode: Encode) -> None:
    options = f"-c:a aac -aac_pns 1 -b:a {24 * channels}k"
    path = encode("m4a", "noise", 44_100, channels, options, 20)
    waveform, _ = ossicle.load(path, mono=False)
    [expected] = oracle.decode(oracle.bundled(), [path], channels)
    end = min(waveform.shape[1], expected.shape[1])
    waveform, expected = waveform[:, :end], expected[:, :end]
    # Other noise, or nothing would be tested.
    assert oracle.rms(waveform - expected) > 0.1 * oracle.rms(expected)
    ratio = band_energies(waveform) / band_energies(expected)
    assert np.abs(ratio - 1).max() < 0.04, ratio
    assert abs(oracle.rms(waveform) / oracle.rms(expected) - 1) < 0.01


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("kind", ["noise", "clicks"])
def test_ranges_are_slices_with_noise_too(kind: str, suffix: str, encode: Encode) -> None:
    for rate, channels in ((44_100, 2), (16_000, 1)):
        path = encode(suffix, kind, rate, channels, f"-c:a aac -b:a {24 * channels}k", 20)
        whole, _ = ossicle.load(path, mono=False)
        random = np.random.default_rng(3)
        for _ in range(200):
            start = int(random.integers(0, whole.shape[1]))
            frames = int(random.integers(1, 20_000))
            part, _ = ossicle.load(path, mono=False, offset=start / rate, duration=frames / rate)
            expected = whole[:, start : start + frames]
            assert part.shape == expected.shape
            assert np.abs(part - expected).max() < 1e-5, (start, frames)


def test_the_same_file_gives_the_same_noise(encode: Encode) -> None:
    path = encode("aac", "noise", 44_100, 2, "-c:a aac -b:a 48k", 20)
    assert np.array_equal(ossicle.load(path)[0], ossicle.load(path)[0])


@pytest.mark.parametrize("suffix", ["aac", "m4a"])
def test_damage_gives_samples_or_an_error(suffix: str, encode: Encode) -> None:
    data = encode(suffix, "clicks", 44_100, 2, "-c:a aac -b:a 48k", 1).read_bytes()
    random = np.random.default_rng(5)
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(random.integers(1, 5)):
            damaged[random.integers(len(data))] ^= 1 << random.integers(8)
        try:
            waveform, _ = ossicle.load(bytes(damaged))
        except ossicle.AudioError:
            continue
        assert np.isfinite(waveform).all()


@pytest.mark.parametrize("channels", [1, 2])
def test_a_header_that_depends_on_a_core_coder(
    channels: int, encode: Encode, tmp_path: Path
) -> None:
    """A flag that makes no sense of LC (``12 12`` for ``12 10``): FFmpeg passes over it."""
    clip = encode("m4a", "tones", 44_100, channels)
    config = bytes([0x12, channels << 3])
    data = clip.read_bytes()
    at = data.index(config + b"\x56\xe5\x00")
    path = tmp_path / "core.m4a"
    path.write_bytes(data[: at + 1] + bytes([data[at + 1] | 2]) + data[at + 2 :])
    expected, _ = ossicle.load(clip, mono=False)
    for executable in oracle.decoders().values():
        [decoded] = oracle.decode(executable, [path], channels)
        both = min(decoded.shape[1], expected.shape[1])
        assert oracle.rms(decoded[:, :both] - expected[:, :both]) < TOLERANCE
    what = "MP4, Matroska | AAC LC whose header depends on a core coder (0x1212)"
    careless.check(path, expected, "core coder", what=what, tolerance=1e-6)

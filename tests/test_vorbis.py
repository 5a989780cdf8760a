"""Vorbis against FFmpeg and libvorbis: channels, rates, qualities, encoders, ranges, the mean."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import formats
import numpy as np
import oracle
import pytest
from conftest import MakeClip

import ossicle

LAYOUTS = {
    1: "mono",
    2: "stereo",
    3: "3.0",
    4: "quad",
    5: "5.0",
    6: "5.1",
    7: "6.1",
    8: "7.1",
}
TOLERANCE = 1e-6


def noisy(kind: str, rate: int, frames: int) -> oracle.Array:
    """``(2, frames)`` of what is hard for an encoder, each in its own way."""
    random = np.random.default_rng(len(kind))
    noise = 0.3 * random.standard_normal((2, frames))
    if kind == "clicks":
        noise *= np.arange(frames) % (rate // 7) < 40
    elif kind == "silence":
        noise[:, frames // 4 : frames // 2] = 0
    elif kind == "one channel":
        noise[1] = 0
    elif kind == "opposite":
        noise[1] = -noise[0]
    elif kind == "loud":
        noise *= 5
    return np.clip(noise, -1, 1).astype(np.float32)


def encode(path: Path, waveform: oracle.Array, rate: int, options: str) -> Path:
    raw = path.with_suffix(".f32")
    raw.write_bytes(waveform.T.tobytes())
    layout = LAYOUTS[len(waveform)]
    how = ["-f", "f32le", "-ar", rate, "-ch_layout", layout, "-i", raw]
    oracle.ffmpeg(oracle.bundled(), [*map(str, how), *options.split(), path])
    return path


def check(path: Path, channels: int, oldest: int = 0) -> None:
    """Samples are those of every FFmpeg from version `oldest` on, and their mean is the mean."""
    waveform, rate = ossicle.load(path, mono=False)
    info = ossicle.info(path)
    assert (info.codec, info.sample_rate, info.channels) == ("vorbis", rate, channels)
    assert waveform.shape == (channels, info.frames)
    for name, executable in oracle.decoders().items():
        if oracle.major_version(executable) < oldest:
            continue
        expected = oracle.decode(executable, [path], channels)[0]
        # Lengths are test_ogg's: an FFmpeg may leave what the last page says to cut.
        count = waveform.shape[1]
        assert 0 <= expected.shape[1] - count < 8192, name
        difference = oracle.rms(waveform - expected[:, :count])
        assert difference < TOLERANCE, name
        formats.record(info.container, info.codec, rate, channels, difference, path)
    mean, _ = ossicle.load(path)
    loudest = max(1, np.abs(waveform).max())
    assert np.abs(mean - waveform.mean(axis=0)).max() < 1e-6 * loudest


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("channels", LAYOUTS)
@pytest.mark.parametrize("quality", [-1, 4, 10])
def test_every_number_of_channels(channels: int, quality: int, tmp_path: Path) -> None:
    waveform = oracle.signal(44_100, channels, 30_011)
    path = encode(tmp_path / "clip.ogg", waveform, 44_100, f"-c:a libvorbis -q:a {quality}")
    check(path, channels)


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 32_000, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_rate(rate: int, channels: int, tmp_path: Path) -> None:
    waveform = oracle.signal(rate, channels, rate + 77)
    check(encode(tmp_path / "clip.ogg", waveform, rate, "-c:a libvorbis -q:a 3"), channels)


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("kind", ["noise", "clicks", "silence", "one channel", "opposite", "loud"])
@pytest.mark.parametrize("codec", ["libvorbis -q:a 0", "libvorbis -q:a 9", "vorbis -strict -2"])
def test_hard_signals_of_both_encoders(kind: str, codec: str, tmp_path: Path) -> None:
    waveform = noisy(kind, 44_100, 60_000)
    path = encode(tmp_path / "clip.mka", waveform, 44_100, f"-c:a {codec}")
    # What FFmpeg's own encoder writes FFmpeg 5 decodes wrong; libvorbis and later ones agree.
    check(path, 2, oldest=6 if codec.startswith("vorbis") else 0)


def test_ffmpegs_own_encoder_as_libvorbis_decodes_it(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    waveform = noisy("noise", 44_100, 60_000)
    path = encode(tmp_path / "clip.ogg", waveform, 44_100, "-c:a vorbis -strict -2")
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    decoded, _ = ossicle.load(path, mono=False)
    assert decoded.shape == expected.shape
    assert oracle.rms(decoded - expected) < TOLERANCE


@pytest.mark.skipif(shutil.which("oggenc") is None, reason="vorbis-tools are not installed")
@pytest.mark.parametrize(
    "options", ["-q 2", "-b 64 --managed", "-q 6 --downmix", "--resample 16000"]
)
def test_the_reference_encoder(options: str, make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("wav", rate=44_100, channels=2, frames=88_200, options="-c:a pcm_s16le")
    path = tmp_path / "clip.ogg"
    subprocess.run(["oggenc", "-Q", *options.split(), "-o", path, clip], check=True)
    check(path, 1 if "downmix" in options else 2)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_samples_are_those_of_libvorbis(channels: int, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    waveform = oracle.signal(48_000, channels, 50_000)
    path = encode(tmp_path / "clip.ogg", waveform, 48_000, "-c:a libvorbis -q:a 5")
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    if channels == 6:  # libsndfile leaves the order of Vorbis
        expected = expected[[0, 2, 1, 5, 3, 4]]
    decoded, _ = ossicle.load(path, mono=False)
    assert decoded.shape == expected.shape
    assert oracle.rms(decoded - expected) < TOLERANCE


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("mono", [True, False])
def test_ranges_are_parts_of_the_whole(channels: int, mono: bool, tmp_path: Path) -> None:
    waveform = oracle.signal(44_100, channels, 200_003)
    path = encode(tmp_path / "clip.ogg", waveform, 44_100, "-c:a libvorbis -q:a 1")
    whole, rate = ossicle.load(path, mono=mono)
    for start in (0, 1, 4_410, 88_200, 190_000):
        part, _ = ossicle.load(path, mono=mono, offset=start / rate, duration=0.1)
        np.testing.assert_array_equal(part, whole[..., start : start + part.shape[-1]])


def test_speech(tmp_path: Path) -> None:
    """Pauses and breaths."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "speech"
    recordings = sorted(folder.glob("*.flac"))
    if not recordings:
        pytest.skip("no recordings of speech")
    for number, recording in enumerate(recordings):
        path = tmp_path / f"{number}.ogg"
        oracle.encode(recording, [(path, ["-c:a", "libvorbis", "-q:a", "2"])])
        check(path, ossicle.info(recording).channels)

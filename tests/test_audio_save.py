"""What `save` writes, other decoders read, and so do we."""

import ast
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import oracle
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import ossicle
from ossicle.audio import encode


@settings(max_examples=60, deadline=None)
@given(
    suffix=st.sampled_from([".wav", ".flac"]),
    bits=st.sampled_from([16, 24, 32]),
    channels=st.integers(1, 6),
    frames=st.integers(1, 9_000),
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_soundfile_reads_the_nearest_step(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    bits: int,
    channels: int,
    frames: int,
    rate: int,
    seed: int,
) -> None:
    waveform = np.random.default_rng(seed).uniform(-1.2, 1.2, (channels, frames)).astype(np.float32)
    path = tmp_path_factory.mktemp("save") / f"clip{suffix}"
    if (suffix, bits) == (".flac", 32):
        with pytest.raises(ossicle.InvalidArgumentError, match="flac of 32 bits"):
            ossicle.save(path, waveform, rate, bits_per_sample=bits)
        assert list(path.parent.iterdir()) == []
        return
    ossicle.save(path, waveform, rate, bits_per_sample=bits)
    scale = 2.0 ** (bits - 1)
    steps = np.clip(np.rint(waveform.astype(np.float64) * scale), -scale, scale - 1) / scale
    expected = waveform if bits == 32 else steps.astype(np.float32)
    theirs, their_rate = soundfile.read(path, dtype="float32", always_2d=True)
    ours, our_rate = ossicle.load(path, mono=False)
    assert their_rate == our_rate == rate
    np.testing.assert_array_equal(theirs.T, expected)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ""])
def test_other_suffixes_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ossicle.InvalidArgumentError, match="is not written here"):
        ossicle.save(tmp_path / f"clip{suffix}", np.zeros(10), 16_000)


def test_samples_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ossicle.InvalidArgumentError, match="sample 3"):
        ossicle.save(tmp_path / "clip.wav", [0, 0, 0, np.nan], 16_000)


def tones(rate: int, channels: int, frames: int) -> np.ndarray:
    """Tones that are not the same in each channel, under a slow swell."""
    time = np.arange(frames) / rate
    planes = [
        np.sin(2 * np.pi * (220 + 130 * n) * time) + 0.5 * np.sin(2 * np.pi * 700 * time)
        for n in range(channels)
    ]
    return (0.3 * np.stack(planes) * (1 + 0.5 * np.sin(5 * time))).astype(np.float32)


def snr(wanted: np.ndarray, found: np.ndarray) -> float:
    """In dB."""
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((wanted - found) ** 2)))


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 2),
    frames=st.integers(0, 3_000),
    rate=st.sampled_from([8_000, 12_000, 16_000, 24_000, 48_000]),
    bitrate=st.sampled_from([None, 6_000, 32_000, 510_000]),
)
def test_opus_is_as_long_as_its_samples(
    channels: int, frames: int, rate: int, bitrate: int | None
) -> None:
    waveform = tones(rate, channels, frames)
    data = encode(waveform, rate, "opus", bitrate=bitrate)
    assert encode(waveform, rate, "opus", bitrate=bitrate) == data
    facts = ossicle.info(data)
    assert (facts.codec, facts.channels) == ("opus", channels)
    assert facts.frames == frames * 48_000 // rate
    assert facts.remarks == ()
    assert ossicle.load(data, mono=False)[0].shape == (channels, facts.frames)


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_ffmpeg_and_libopus_read_the_opus_that_we_write(
    tmp_path: Path, rate: int, channels: int
) -> None:
    waveform = tones(rate, channels, rate + 77)
    path = ossicle.save(tmp_path / "clip.opus", waveform, rate, bitrate=64_000 * channels)
    wanted = ossicle.resample(waveform, rate, 48_000) if rate != 48_000 else waveform
    theirs = [
        oracle.decode_to(executable, path, channels, decoder)
        for executable in oracle.decoders().values()
        for decoder in ("opus", "libopus")
    ]
    ours, _ = ossicle.load(path, mono=False)
    for found in (*theirs, ours):
        assert found.shape == wanted.shape
        # In step with the samples, so that no offset is left: one sample costs 20 dB.
        assert snr(wanted[:, 2_000:-2_000], found[:, 2_000:-2_000]) > 20
    if shutil.which("opusinfo"):
        told = subprocess.run(["opusinfo", path], capture_output=True, text=True, check=True).stdout
        assert "WARNING" not in told.upper()
        assert f"Original sample rate: {rate} Hz" in told
        assert f"Channels: {channels}" in told


def test_what_opus_cannot_hold_is_refused() -> None:
    for waveform, rate, options, reason in (
        (np.zeros(9), 44_100, {}, "resample to 8000"),
        (np.zeros((3, 9)), 16_000, {}, "3 channels cannot be written as Opus"),
        (np.zeros(9), 16_000, {"bitrate": 100}, "Opus has 6000 to 510000"),
        (np.zeros(9), 16_000, {"bits_per_sample": 24}, "Opus takes a bitrate"),
        ([np.inf], 16_000, {}, "sample 0 is not a finite number"),
    ):
        with pytest.raises(ossicle.InvalidArgumentError, match=reason):
            encode(waveform, rate, "opus", **options)
    with pytest.raises(ossicle.InvalidArgumentError, match="bitrate is for opus"):
        encode(np.zeros(9), 16_000, "flac", bitrate=64_000)


def test_the_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs" / "saving.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    last, _, told = block.strip().splitlines()[-1].partition("  # ")
    assert eval(last, names) == ast.literal_eval(told)
    assert sorted(one.suffix for one in tmp_path.iterdir()) == [".flac", ".opus", ".wav"]


LOUD = {
    "white": lambda noise: noise,
    "near full scale": lambda noise: np.sign(noise) * (1 - np.abs(noise) * 1e-3),
    "clipped": lambda noise: noise * 9,
    "bursts": lambda noise: noise * (np.arange(noise.shape[-1]) // 3_000 % 2),
    "quiet": lambda noise: noise * 1e-4,
}


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", LOUD)
def test_flac_is_never_longer_than_its_samples(kind: str, channels: int, bits: int) -> None:
    noise = np.random.default_rng(7).standard_normal((channels, 21_600))
    waveform = np.clip(LOUD[kind](noise), -1, 1).astype(np.float32)
    data = encode(waveform, 48_000, "flac", bits_per_sample=bits)
    assert len(data) < waveform.size * bits / 8 * 1.01 + 100
    found, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert np.array_equal(ossicle.load(data, mono=False)[0], found.T)
    assert np.abs(found.T - waveform).max() <= 2.0 ** (1 - bits)

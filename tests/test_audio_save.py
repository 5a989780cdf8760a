"""What `save` writes, other decoders read, and so do we."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import ossicle


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

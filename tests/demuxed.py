"""What the tests of containers share: clips to put into them, and the comparison with FFmpeg."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import oracle

import ossicle


@functools.cache
def source(folder: Path, rate: int, channels: int, seconds: int) -> Path:
    path = folder / f"{rate}-{channels}-{seconds}.wav"
    path.write_bytes(oracle.wav_bytes(oracle.signal(rate, channels, rate * seconds + 77), rate))
    return path


def check(path: Path, container: str, channels: int, *, is_lossless: bool) -> None:
    """Lengths and samples as FFmpeg's, and ranges as slices of the whole."""
    whole, rate = ossicle.load(path, mono=False)
    facts = ossicle.info(path)
    assert (facts.container, facts.frames) == (container, whole.shape[1])
    (expected,) = oracle.decode(oracle.bundled(), [path], channels)
    assert whole.shape == expected.shape
    if is_lossless:
        np.testing.assert_array_equal(whole, expected)
    else:
        assert oracle.rms(whole - expected) < 1e-4
    random = np.random.default_rng(3)
    for start in [*random.integers(0, facts.frames, 12), facts.frames - 1]:
        begin = int(start)
        part, _ = ossicle.load(path, mono=False, offset=begin / rate, duration=0.2)
        within = whole[:, begin : begin + round(0.2 * rate)]
        np.testing.assert_allclose(part, within, rtol=0, atol=1e-5)

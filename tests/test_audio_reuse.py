"""What is kept between clips leaves no trace in the next one."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import MakeClip

import ossicle


@pytest.mark.parametrize("sample_rate", [None, 16_000])
def test_a_kept_vorbis_decoder_gives_the_same_bits(
    make_clip: MakeClip, sample_rate: int | None
) -> None:
    options = {"rate": 44_100, "channels": 2, "options": "-c:a libvorbis -q:a 3"}
    clip, other = (make_clip("ogg", frames=frames, **options) for frames in (60_000, 90_001))
    alone, _ = ossicle.load(clip, sample_rate)
    # Stopped in the middle, so that the decoder is left with half a block to overlap with.
    ossicle.load(other, sample_rate, offset=0.7, duration=0.5)
    np.testing.assert_array_equal(ossicle.load(clip, sample_rate)[0], alone)
    broken = bytearray(clip.read_bytes())
    broken[len(broken) // 2 :] = bytes(len(broken) - len(broken) // 2)
    with pytest.raises(ossicle.AudioError):
        ossicle.load(broken, sample_rate)
    np.testing.assert_array_equal(ossicle.load(clip, sample_rate)[0], alone)

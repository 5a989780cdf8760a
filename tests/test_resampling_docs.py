"""docs/resampling.md is what is measured, and what is measured is what is promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import resampling


@pytest.mark.thorough
def test_the_page_is_what_is_measured(request: pytest.FixtureRequest) -> None:
    page = Path(__file__).parents[1] / "docs" / "resampling.md"
    found = resampling.page()
    if request.config.getoption("write_docs"):
        page.write_text(found)
    assert page.read_text() == found, "write it anew: uv run pytest --write-docs"


@pytest.mark.sampled(one_in=4)
@pytest.mark.parametrize("quality", list(resampling.PASS_BANDS))
@pytest.mark.parametrize(
    ("source", "target"), [*resampling.PAIRS, (16_000, 44_100), (767_999, 8_000)]
)
def test_profiles_keep_what_they_promise(source: int, target: int, quality: str) -> None:
    band, limit = resampling.PASS_BANDS[quality], resampling.REJECTIONS[quality]
    found = resampling.measure(resampling.ours(quality), source, target, band)
    assert found.flat < 0.001
    assert found.image < -limit
    assert found.snr > limit


def test_high_is_better_than_the_best_of_soxr() -> None:
    for source, target in resampling.PAIRS[:4]:
        ours = resampling.measure(resampling.ours("high"), source, target, 0.95)
        theirs = resampling.measure(resampling.OTHERS["soxr VHQ"], source, target, 0.95)
        assert ours.snr > max(121, theirs.snr)
        assert ours.flat < min(0.1, theirs.flat)


def test_the_oracle_of_torchaudio_is_a_resampler() -> None:
    # A check of the oracle: far inside the band it agrees with everyone, and an impulse stays.
    low = resampling.tones(np.array([200.0, 700.0]), 8_000, 1)
    for name in ("torchaudio", "torchaudio, kaiser_best"):
        far = resampling.distance(
            resampling.OTHERS[name], resampling.ours("best"), low, (8_000, 16_000)
        )
        assert far[1] < 0.02, name
        impulse = np.zeros(4_000)
        impulse[2_000] = 1
        assert np.argmax(resampling.OTHERS[name](impulse, 8_000, 16_000)) == 4_000

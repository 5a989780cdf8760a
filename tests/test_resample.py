"""Resampling against analytic signals and soxr: levels, images, alignment, lengths."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import resampling
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

import ossicle
from ossicle.audio.resampling import Quality

PAIRS = [
    (44_100, 16_000),
    (48_000, 16_000),
    (22_050, 16_000),
    (8_000, 16_000),
    (16_000, 48_000),
    (16_000, 44_100),
    (32_000, 16_000),
    (11_025, 16_000),
    (96_000, 44_100),
    (44_100, 48_000),
    (24_000, 16_000),
    (16_000, 8_000),
]
RATES = st.one_of(
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000]),
    st.sampled_from([7_919, 15_991, 44_101, 47_999]),
    st.integers(1, 60_000),
)
Array = npt.NDArray[np.float64]


def decibels(difference: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    noise = np.sqrt(np.mean(np.square(np.asarray(difference, np.float64))))
    level = np.sqrt(np.mean(np.square(np.asarray(reference, np.float64))))
    return float(20 * np.log10(max(noise, 1e-30) / level))


def tones(frequencies: Array, rate: int, frames: int) -> Array:
    """A sum of sines, each with a phase of its own, that never clips."""
    time = np.arange(frames)[:, None] / rate
    phases = np.arange(len(frequencies)) ** 2 * 0.7
    return (np.sin(2 * np.pi * frequencies * time + phases)).sum(1) / len(frequencies)


def middle(waveform: npt.NDArray[np.generic], rate: int) -> npt.NDArray[np.generic]:
    """Away from the ends, where an ideal signal goes on and a clip does not."""
    edge = rate // 5
    return waveform[edge : len(waveform) - edge]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_multitone_is_the_same_at_the_other_rate(source: int, target: int) -> None:
    frequencies = np.linspace(0.001, 0.95, 33) * min(source, target) / 2
    given_tones = tones(frequencies, source, 2 * source)
    ideal = tones(frequencies, target, 2 * target)
    ours = ossicle.resample(given_tones, source, target)
    assert len(ours) == len(ideal)
    assert decibels(middle(ours - ideal, target), middle(ideal, target)) < -120


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize(("band", "limit"), [(0.5, -100), (0.85, -70)])
def test_it_agrees_with_soxr(source: int, target: int, band: float, limit: float) -> None:
    # Above half the band soxr itself strays from the ideal, by -74 dB at 0.85 for 44.1 to 16 kHz.
    frequencies = np.linspace(0.003, band, 29) * min(source, target) / 2
    signal = tones(frequencies, source, 2 * source).astype(np.float32)
    ours = ossicle.resample(signal, source, target)
    for quality in ("VHQ", "HQ"):
        theirs = soxr.resample(signal.astype(np.float64), source, target, quality)
        assert abs(len(theirs) - len(ours)) <= 1
        common = min(len(theirs), len(ours))
        difference = middle(ours[:common] - theirs[:common], target)
        assert decibels(difference, middle(theirs, target)) < limit, quality


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[0] > pair[1]])
@pytest.mark.parametrize("place", [1.02, 1.1, 1.5, 1.9])
def test_what_the_lower_rate_cannot_hold_is_gone(source: int, target: int, place: float) -> None:
    frequency = place * target / 2
    if frequency >= 0.99 * source / 2:
        pytest.skip("above the Nyquist frequency of the source too")
    signal = tones(np.array([frequency]), source, 2 * source)
    ours = ossicle.resample(signal, source, target)
    assert decibels(middle(ours, target), signal) < -110


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[0] < pair[1]])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.9, 0.95])
def test_going_up_makes_no_images(source: int, target: int, place: float) -> None:
    frequency = round(place * source / 2)
    ours = ossicle.resample(tones(np.array([frequency]), source, 3 * source), source, target)
    second = ours[target : 2 * target].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(second)) / (target / 2)
    assert spectrum[frequency] == pytest.approx(1, abs=1e-4)
    spectrum[frequency] = 0
    assert 20 * np.log10(spectrum.max()) < -110


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_impulses_stay_where_they_were(source: int, target: int) -> None:
    divisor = np.gcd(source, target)
    step, ratio = source // divisor, target // divisor  # both grids have each such a sample
    half = 4_000 // step + 2
    for place in (half, half + 1, half + 6):
        impulse = np.zeros(step * 2 * (half + 4), np.float32)
        impulse[place * step] = 1
        ours = ossicle.resample(impulse, source, target)
        centre = place * ratio
        assert np.argmax(np.abs(ours)) == centre
        before, after = ours[centre - 500 : centre][::-1], ours[centre + 1 : centre + 501]
        # Symmetric: not off by the fraction of a sample either.
        np.testing.assert_allclose(before, after, atol=2e-6)
        assert ours[centre] == pytest.approx(min(1, target / source), abs=0.03)


def test_the_pass_band_is_flat_and_ends_late() -> None:
    for source, target in PAIRS:
        for place in (0.25, 0.5, 0.75, 0.9, 0.95):
            frequency = place * min(source, target) / 2
            ideal = tones(np.array([frequency]), target, target)
            ours = ossicle.resample(tones(np.array([frequency]), source, source), source, target)
            gain = np.sqrt(np.mean(middle(ours, target) ** 2) / np.mean(middle(ideal, target) ** 2))
            assert abs(20 * np.log10(gain)) < 0.01, (source, target, place)


@settings(max_examples=150, deadline=None)
@given(source=RATES, target=RATES, frames=st.integers(0, 3_000))
def test_lengths_are_the_ratio_rounded_up(source: int, target: int, frames: int) -> None:
    expected = -(-frames * target // source)
    if expected > 2_000_000:
        frames, expected = 1, -(-target // source)
    ours = ossicle.resample(np.ones(frames, np.float32), source, target)
    assert ours.shape == (expected,)
    assert ours.dtype == np.float32
    assert np.isfinite(ours).all()


@settings(max_examples=30, deadline=None)
@given(
    source=st.integers(7_000, 50_000),
    target=st.integers(7_000, 50_000),
    place=st.floats(0.01, 0.9),
)
def test_any_pair_of_rates_keeps_a_tone(source: int, target: int, place: float) -> None:
    # It swells and fades, so that the ends of the clip are no part of the question.
    frequency = place * min(source, target) / 2

    def pulse(rate: int) -> Array:
        time = np.arange(2 * rate) / rate
        return np.sin(np.pi * time / 2) ** 4 * np.sin(2 * np.pi * frequency * time)

    ours = ossicle.resample(pulse(source), source, target)
    assert decibels(ours - pulse(target), pulse(target)) < -100


@pytest.mark.parametrize(
    ("source", "target"), [(44_100, 16_000), (8_000, 16_000), (48_000, 16_000)]
)
def test_it_is_linear_and_channels_do_not_mix(source: int, target: int) -> None:
    random = np.random.default_rng(3)
    pair = random.standard_normal((2, source + 17)).astype(np.float32) * 0.1
    both = ossicle.resample(pair, source, target)
    rows = [ossicle.resample(row, source, target) for row in pair]
    assert np.array_equal(both, np.stack(rows))
    mean = ossicle.resample(pair.mean(0), source, target)
    np.testing.assert_allclose(mean, both.mean(0), atol=1e-6)


def test_the_same_call_gives_the_same_bits_again() -> None:
    noise = np.random.default_rng(1).standard_normal(50_000).astype(np.float32)
    first = ossicle.resample(noise, 44_100, 16_000)
    ossicle.resample(np.ones(100_000, np.float32), 44_100, 16_000)  # leaves nothing in the plan
    assert np.array_equal(ossicle.resample(noise, 44_100, 16_000), first)


def test_the_same_rate_is_a_copy() -> None:
    noise = np.random.default_rng(1).standard_normal(1_000).astype(np.float32)
    same = ossicle.resample(noise, 16_000, 16_000)
    assert np.array_equal(same, noise)
    assert not np.shares_memory(same, noise)


@pytest.mark.parametrize("frames", [0, 1, 2, 159, 160, 161])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_short_and_silent_clips(source: int, target: int, frames: int) -> None:
    silence = ossicle.resample(np.zeros(frames, np.float32), source, target)
    assert len(silence) == -(-frames * target // source)
    assert not silence.any()
    one = ossicle.resample(np.ones((3, frames), np.float32), source, target)
    assert one.shape == (3, len(silence))
    if frames == 1:
        # One sample is an impulse: its height is the share of the band that the target keeps.
        assert one[0, 0] == pytest.approx(min(1, target / source), abs=0.03)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_other_types_are_converted(dtype: npt.DTypeLike) -> None:
    ramp = np.arange(-50, 50).astype(dtype)
    expected = ossicle.resample(ramp.astype(np.float32), 8_000, 16_000)
    assert np.array_equal(ossicle.resample(ramp, 8_000, 16_000), expected)
    strided = np.arange(-50, 50, 0.5).astype(dtype)[::2]
    assert ossicle.resample(strided, 8_000, 16_000).shape == (200,)


@pytest.mark.parametrize("rate", [0, -1, 768_001, 16_000.5, True, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_an_error(rate: float) -> None:
    for rates in ((rate, 16_000), (16_000, rate)):
        with pytest.raises(ossicle.InvalidArgumentError, match="rate"):
            ossicle.resample(np.zeros(10, np.float32), *rates)


def test_other_faults_are_named() -> None:
    for wrong in ("good", "", "High", None, 3):
        with pytest.raises(ossicle.InvalidArgumentError, match='"fast", "high" or "best"'):
            ossicle.resample(np.zeros(10), 8_000, 16_000, quality=wrong)
    with pytest.raises(ossicle.InvalidArgumentError, match="3 dimensions"):
        ossicle.resample(np.zeros((1, 2, 3)), 8_000, 16_000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_named(value: float) -> None:
    waveform = np.zeros((2, 100), np.float32)
    waveform[1, 63] = value
    with pytest.raises(ossicle.NonFiniteSampleError) as caught:
        ossicle.resample(waveform, 8_000, 16_000)
    assert caught.value.sample_index == 63


QUALITIES = get_args(Quality)
# The end of the pass band, and dB between a multitone up to there and the ideal.
PROMISED = {"fast": (0.90, 95), "high": (0.95, 118), "best": (0.98, 135)}


@settings(max_examples=60, deadline=None)
@given(
    source=st.one_of(RATES, st.integers(1, 768_000)),
    target=st.one_of(RATES, st.integers(1, 768_000)),
    quality=st.sampled_from(QUALITIES),
    places=st.lists(st.floats(0.02, 0.99), min_size=1, max_size=4),
)
def test_any_pair_keeps_what_its_profile_promises(
    source: int, target: int, quality: Quality, places: list[float]
) -> None:
    band, least = PROMISED[quality]
    lower = min(source, target)
    frequencies = np.array(places) * band * lower / 2
    # As long as a filter of the lower rate needs, and no longer than a test may take.
    seconds = 6_000 / lower
    if seconds * max(source, target) > 3e6:
        return

    def pulse(rate: int) -> Array:
        moments = np.arange(int(seconds * rate))[:, None] / rate
        phases = np.arange(len(places)) * 0.7
        total = np.sin(2 * np.pi * frequencies * moments + phases).sum(1)
        return np.sin(np.pi * moments[:, 0] / seconds) ** 4 * total / len(places)

    ours = ossicle.resample(pulse(source), source, target, quality=quality)
    ideal = pulse(target)
    common = min(len(ours), len(ideal))
    assert decibels(ours[:common] - ideal[:common], ideal) < -least


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(
    ("source", "target"), [(44_100, 16_000), (8_000, 16_000), (44_100, 16_001), (767_999, 16_000)]
)
def test_a_constant_stays_one(source: int, target: int, quality: Quality) -> None:
    ours = ossicle.resample(np.full(source, 0.5, np.float32), source, target, quality=quality)
    np.testing.assert_allclose(middle(ours, target), 0.5, atol=1e-6)


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(
    ("source", "target"), [(7_919, 15_991), (44_101, 16_000), (16_000, 47_999)]
)
def test_impulses_of_odd_pairs_stay_too(source: int, target: int, quality: Quality) -> None:
    # The one place that both grids share is the start; the other half would lie before it.
    impulse = np.zeros(2_000, np.float32)
    impulse[0] = 1
    ours = ossicle.resample(impulse, source, target, quality=quality)
    assert np.argmax(np.abs(ours)) == 0
    assert ours[0] == pytest.approx(min(1, target / source), abs=0.06)
    # And one in the middle: its centre of mass.
    impulse = np.zeros(4_000, np.float32)
    impulse[2_000] = 1
    ours = ossicle.resample(impulse, source, target, quality=quality).astype(np.float64)
    centre = (np.arange(len(ours)) * ours).sum() / ours.sum()
    assert centre == pytest.approx(2_000 * target / source, abs=0.01)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(
    ("source", "target"),
    [(1, 768_000), (768_000, 1), (767_999, 1), (1, 767_999), (768_000, 767_999), (7, 700_001)],
)
def test_the_widest_pairs_take_bounded_time(source: int, target: int, quality: Quality) -> None:
    frames = 3 if source < target else 100_000
    ours = ossicle.resample(np.ones(frames, np.float32), source, target, quality=quality)
    assert len(ours) == -(-frames * target // source)
    assert np.isfinite(ours).all()


def test_views_and_channels_are_rows_of_their_own() -> None:
    noise = np.random.default_rng(4).standard_normal((5_000, 4))
    for view in (noise.T, noise[::2].T[::-1], np.asfortranarray(noise.T), noise.T.astype(">f4")):
        got = ossicle.resample(view, 44_100, 16_000)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous
        rows = [ossicle.resample(np.array(row, np.float32), 44_100, 16_000) for row in view]
        assert np.array_equal(got, np.stack(rows))
    assert ossicle.resample(np.zeros((0, 10)), 8_000, 16_000).shape[0] == 0
    assert ossicle.resample(np.zeros((3, 0)), 8_000, 16_000).shape == (3, 0)


def test_load_takes_the_quality(tmp_path: Path) -> None:
    noise = np.random.default_rng(4).uniform(-0.5, 0.5, 44_100).astype(np.float32)
    path = ossicle.save(tmp_path / "noise.wav", noise, 44_100, bits_per_sample=32)
    made = {}
    for quality in QUALITIES:
        expected = ossicle.resample(noise, 44_100, 16_000, quality=quality)
        waveform, _ = ossicle.load(path, 16_000, quality=quality)
        batch = ossicle.load_batch([path, io.BytesIO(path.read_bytes())], quality=quality)
        assert np.array_equal(waveform, expected)
        assert all(np.array_equal(row, expected) for row in batch.waveforms)
        part, _ = ossicle.load(path, 16_000, quality=quality, offset=0.25, duration=0.5)
        assert np.array_equal(part, expected[4_000:12_000])
        made[quality] = expected
    assert not np.array_equal(made["high"], made["best"])
    assert np.array_equal(ossicle.load(path, 16_000)[0], made["high"])
    with pytest.raises(ossicle.InvalidArgumentError, match='"fast", "high" or "best"'):
        ossicle.load(path, 16_000, quality="good")  # type: ignore[call-overload]
    with pytest.raises(ossicle.InvalidArgumentError, match='"fast", "high" or "best"'):
        ossicle.load_batch([path], quality="good")  # type: ignore[arg-type]


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(("source", "target"), [*PAIRS[:3], (16_000, 44_100), (44_100, 16_001)])
def test_the_second_engine_agrees(source: int, target: int, quality: Quality) -> None:
    signal = resampling.speech_like(source)
    native, second = resampling.ours(quality), resampling.ours(quality, "rubato")
    assert second(signal, source, target).shape == native(signal, source, target).shape
    rms, most = resampling.distance(native, second, signal, (source, target))
    assert rms < 1e-6
    assert most < 1e-5


@settings(max_examples=60, deadline=None)
@given(
    source=st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000]),
    target=st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000]),
    frames=st.integers(0, 3_000),
    quality=st.sampled_from(QUALITIES),
)
def test_the_second_engine_has_as_many_samples_at_the_same_places(
    source: int, target: int, frames: int, quality: Quality
) -> None:
    impulse = np.zeros((2, frames), np.float32)
    # Sample 0 of both rates, and the last that both have.
    step = source // math.gcd(source, target)
    impulse[0, :1] = 1
    last = (frames - 1) // step * step if frames else 0
    impulse[1, last : last + 1] = 1
    got = ossicle.resample(impulse, source, target, quality=quality, engine="rubato")
    assert got.shape == (2, -(-frames * target // source))
    if frames:
        assert np.argmax(np.abs(got[0])) == 0
        assert np.argmax(np.abs(got[1])) == last * target // source


def test_an_engine_that_is_none_is_an_error() -> None:
    with pytest.raises(ossicle.InvalidArgumentError, match='"native" or "rubato"'):
        ossicle.resample(np.zeros(10), 8_000, 16_000, engine="soxr")  # type: ignore[arg-type]
    with pytest.raises(ossicle.NonFiniteSampleError, match="sample 3"):
        ossicle.resample([0, 0, 0, np.nan], 8_000, 16_000, engine="rubato")

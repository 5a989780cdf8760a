"""Streams of any chunks against the whole, bit for bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ossicle
from ossicle.audio.resampling import Quality

QUALITIES = st.sampled_from(["fast", "high", "best"])
RATES = st.one_of(
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]),
    st.sampled_from([7_919, 16_001, 47_999]),
    st.integers(4_000, 60_000),
)


@settings(max_examples=120, deadline=None)
@given(
    source=RATES,
    target=RATES,
    quality=QUALITIES,
    channels=st.sampled_from([None, 1, 2, 5]),
    chunks=st.lists(st.one_of(st.integers(0, 50), st.integers(0, 30_000)), max_size=10),
    seed=st.integers(0, 1_000),
)
def test_chunks_join_to_the_whole(
    source: int, target: int, quality: Quality, channels: int | None, chunks: list[int], seed: int
) -> None:
    shape = (sum(chunks),) if channels is None else (channels, sum(chunks))
    signal = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
    stream = ossicle.StreamResampler(source, target, quality=quality, channels=channels)
    pieces, given_frames, got_frames = [], 0, 0
    for chunk in np.split(signal, np.cumsum(chunks)[:-1], axis=-1) if chunks else []:
        pieces.append(stream.push(chunk))
        given_frames += chunk.shape[-1]
        got_frames += pieces[-1].shape[-1]
        assert got_frames * source >= given_frames * target - stream.latency * source
    pieces.append(stream.flush())
    joined = np.concatenate(pieces, axis=-1)
    whole = ossicle.resample(signal, source, target, quality=quality)
    assert joined.dtype == np.float32
    assert np.array_equal(joined, whole)


def test_it_lags_no_more_than_it_says_and_no_less_than_half() -> None:
    for source, target in [(44_100, 16_000), (8_000, 16_000), (44_100, 16_001)]:
        stream = ossicle.StreamResampler(source, target)
        made, most = 0, 0.0
        for number in range(1, 300):
            made += len(stream.push(np.zeros(441, np.float32)))
            most = max(most, number * 441 * target / source - made)
        assert stream.latency / 2 < most <= stream.latency
        assert stream.latency_seconds == stream.latency / target < 1.5


def test_after_a_flush_only_a_reset_makes_sense() -> None:
    stream = ossicle.StreamResampler(8_000, 16_000)
    noise = np.random.default_rng(2).standard_normal(9_000).astype(np.float32)
    expected = ossicle.resample(noise, 8_000, 16_000)
    for _ in range(2):
        got = [stream.push(noise), stream.flush()]
        assert np.array_equal(np.concatenate(got), expected)
        with pytest.raises(ossicle.InvalidArgumentError, match="flushed"):
            stream.push(noise)
        with pytest.raises(ossicle.InvalidArgumentError, match="flushed"):
            stream.flush()
        stream.reset()


def test_what_cannot_be_taken_is_refused_and_the_stream_goes_on() -> None:
    stream = ossicle.StreamResampler(44_100, 16_000, channels=2)
    noise = np.random.default_rng(2).standard_normal((2, 30_000)).astype(np.float32)
    pieces = [stream.push(noise[:, :20_000])]
    for shape in [(20,), (3, 20), (1, 20), (2, 2, 2)]:
        with pytest.raises(ossicle.InvalidArgumentError):
            stream.push(np.zeros(shape))
    bad = np.zeros((2, 10))
    bad[1, 4] = np.nan
    with pytest.raises(ossicle.NonFiniteSampleError) as caught:
        stream.push(bad)
    assert caught.value.sample_index == 20_004
    pieces += [stream.push(noise[:, 20_000:]), stream.flush()]
    whole = ossicle.resample(noise, 44_100, 16_000)
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)


@pytest.mark.parametrize(
    "wrong", [{"quality": "good"}, {"channels": 0}, {"orig_rate": 0}, {"target_rate": 1_000_000}]
)
def test_arguments_that_make_no_sense(wrong: dict[str, object]) -> None:
    arguments: dict[str, object] = {"orig_rate": 8_000, "target_rate": 16_000}
    with pytest.raises(ossicle.InvalidArgumentError):
        ossicle.StreamResampler(**(arguments | wrong))


def test_streams_on_many_threads_keep_apart() -> None:
    signals = np.random.default_rng(3).standard_normal((16, 40_000)).astype(np.float32)

    def run(signal: np.ndarray) -> np.ndarray:
        stream = ossicle.StreamResampler(48_000, 16_000)
        pieces = [stream.push(chunk) for chunk in np.array_split(signal, 37)]
        return np.concatenate([*pieces, stream.flush()])

    with ThreadPoolExecutor(8) as pool:
        for signal, got in zip(signals, pool.map(run, signals), strict=True):
            assert np.array_equal(got, ossicle.resample(signal, 48_000, 16_000))

"""A streamed clip against one pass over it with the same block mask, written out here."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder as TheirEncoder

from ossicle.model import WhisperEncoder
from ossicle.model.whisper_stream import StreamingLogMel

TINY = WhisperEncoder("tiny-random", layer="all")
EXTRACTOR = WhisperFeatureExtractor(feature_size=80)


def block_mask(count: int, chunk: int, left: int, positions: int) -> Tensor:
    """(count, count): whether the row's frame sees the column's, said frame by frame."""
    mask = torch.zeros(count, count, dtype=torch.bool)
    for frame in range(count):
        segment = frame // positions * positions
        begin = segment + (frame - segment) // chunk * chunk
        mask[frame, max(segment, begin - left) : min(begin + chunk, segment + positions)] = True
    return mask


@torch.no_grad()
def whole(encoder: TheirEncoder, features: Tensor, mask: Tensor) -> Tensor:
    """All hidden states, (layers + 1, T, d), by Hugging Face's layers with a mask."""
    x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features[None])))).transpose(1, 2)
    table = encoder.embed_positions.weight
    x = x + table[torch.arange(x.shape[1]) % len(table)]
    bias = torch.zeros(mask.shape).masked_fill(~mask, -math.inf)[None, None]
    states = [x]
    for layer in encoder.layers:
        x = layer(x, bias)
        x = x[0] if isinstance(x, tuple) else x
        states.append(x)
    states[-1] = encoder.layer_norm(x)
    return torch.cat(states)


def cuts(total: int, pieces: list[int]) -> list[slice]:
    ends = sorted({min(piece, total) for piece in pieces} | {0, total})
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(0, 130),
    chunk=st.integers(1, 40),
    left=st.integers(0, 60),
    pieces=st.lists(st.integers(0, 130), max_size=6),
    seed=st.integers(0, 99),
)
def test_a_stream_is_one_pass_with_a_block_mask(
    frames: int, chunk: int, left: int, pieces: list[int], seed: int
) -> None:
    features = torch.randn(80, frames, generator=torch.Generator().manual_seed(seed))
    stream = TINY.stream(chunk_frames=chunk, left_context=left)
    found = [stream.push_features(features[:, piece]) for piece in cuts(frames, pieces)]
    got = torch.cat([*found, stream.finish()], dim=1)
    count = math.ceil(frames / 2)
    assert got.shape == (3, count, 64)
    if count:
        expected = whole(TINY.encoder, features, block_mask(count, chunk, left, 1500))
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("chunk", [5, 7, 20])
def test_positions_and_context_begin_anew_where_they_end(chunk: int) -> None:
    encoder = WhisperEncoder("tiny-random")
    config = WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=2, max_source_positions=20
    )
    torch.manual_seed(0)
    encoder.encoder, encoder.d_model, encoder.max_frames = TheirEncoder(config).eval(), 32, 40
    features = torch.randn(80, 131)
    stream = encoder.stream(chunk_frames=chunk, left_context=9)
    got = torch.cat(
        [*(stream.push_features(x) for x in features.split(13, dim=1)), stream.finish()]
    )
    expected = whole(encoder.encoder, features, block_mask(66, chunk, 9, 20))[-1]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_one_chunk_over_all_is_the_whole_clip() -> None:
    features = torch.randn(80, 301)
    stream = TINY.stream(chunk_frames=1500, left_context=0)
    assert stream.push_features(features).shape == (3, 0, 64)
    torch.testing.assert_close(stream.finish(), TINY(features[None])[0], rtol=0, atol=1e-5)


def test_a_chunk_comes_with_the_first_mel_frame_behind_it() -> None:
    stream = TINY.stream(chunk_frames=10, left_context=10)
    features = torch.randn(80, 61)
    counts = [stream.push_features(features[:, [t]]).shape[1] for t in range(61)]
    assert [t for t, count in enumerate(counts) if count] == [20, 40, 60]
    assert stream.finish().shape == (3, 1, 64)


def waves(seed: int, samples: int) -> np.ndarray:
    """Noise whose loudness changes by 100 dB, so that the norm matters."""
    rng = np.random.default_rng(seed)
    loudness = 10 ** np.interp(
        np.arange(samples), np.linspace(0, samples, 9), rng.uniform(-6, -1, 9)
    )
    return (loudness * rng.normal(size=samples)).astype(np.float32)


def truth(clip: np.ndarray) -> np.ndarray:
    """Hugging Face's NumPy path: the clip's own frames, and some of the silence behind it."""
    padded = np.zeros((1, len(clip) + 1_600), np.float32)
    padded[0, : len(clip)] = clip
    return EXTRACTOR._np_extract_fbank_features(padded, "cpu")[0]


def streamed(clip: np.ndarray, pieces: list[int], log_max: float | None) -> np.ndarray:
    stream = StreamingLogMel(EXTRACTOR, log_max)
    found = [stream.push(clip[piece]) for piece in cuts(len(clip), pieces)]
    return np.concatenate([*found, stream.finish()], axis=1)


@settings(max_examples=40, deadline=None)
@given(
    samples=st.sampled_from([1, 159, 160, 161, 199, 200, 201, 400, 560, 4_000, 31_337]),
    pieces=st.lists(st.integers(0, 31_337), max_size=8),
    seed=st.integers(0, 99),
)
def test_streamed_features_are_the_clip_s_with_its_own_loudness(
    samples: int, pieces: list[int], seed: int
) -> None:
    clip = waves(seed, samples)
    padded = truth(clip)  # a window centred behind the end may hold the largest
    expected, log_max = padded[:, : math.ceil(samples / 160)], 4 * float(padded.max()) - 4
    got = streamed(clip, pieces, log_max)
    assert (got.shape, got.dtype) == (expected.shape, np.float32)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    # Without it: nothing is lower than in the clip but what lies below its floor.
    free = streamed(clip, pieces, None)
    floor = (log_max - 8 + 4) / 4
    np.testing.assert_allclose(np.maximum(free, floor), expected, atol=1e-5)


def test_behind_the_loudest_frame_nothing_differs() -> None:
    noise = np.random.default_rng(0).normal(size=33_600).astype(np.float32)
    clip = noise * np.repeat(np.float32([1e-4, 3, 1e-4]), [16_000, 1_600, 16_000])
    expected, got = truth(clip)[:, :210], streamed(clip, list(range(0, 33_600, 500)), None)
    loudest = int(expected.max(0).argmax())
    np.testing.assert_allclose(got[:, loudest:], expected[:, loudest:], atol=1e-5)
    assert np.abs(got[:, :loudest] - expected[:, :loudest]).max() > 0.1


def test_samples_stream_as_their_features_do() -> None:
    clip = waves(5, 20_000)
    stream = TINY.stream(chunk_frames=20, left_context=30)
    got = [stream.push(clip[at : at + 777]) for at in range(0, 20_000, 777)]
    got.append(stream.finish())
    again = TINY.stream(chunk_frames=20, left_context=30)
    features = torch.from_numpy(streamed(clip, list(range(0, 20_000, 777)), None))
    expected = torch.cat([again.push_features(features), again.finish()], dim=1)
    torch.testing.assert_close(torch.cat(got, dim=1), expected, rtol=0, atol=1e-5)
    assert expected.shape == (3, 63, 64)


def test_what_makes_no_sense_is_refused() -> None:
    for chunk, left in ((0, 1), (1501, 1), (5, -1)):
        with pytest.raises(ValueError, match=r"(chunk_frames|left_context) -?\d+ is"):
            TINY.stream(chunk_frames=chunk, left_context=left)
    stream = TINY.stream()
    with pytest.raises(ValueError, match=r"not \(80, T_mel\)"):
        stream.push_features(torch.zeros(1, 80, 10))
    with pytest.raises(ValueError, match=r"must be \(samples,\)"):
        stream.push(np.zeros((2, 10), np.float32))
    assert stream.finish().shape == (3, 0, 64)
    for call in (stream.finish, lambda: stream.push(np.zeros(1, np.float32))):
        with pytest.raises(ValueError, match="finished"):
            call()

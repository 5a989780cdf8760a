"""Masks are those of wav2vec 2.0: as many as transformers draws, and none in the padding."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Wav2Vec2Config, Wav2Vec2Model
from transformers.models.wav2vec2.modeling_wav2vec2 import (
    Wav2Vec2PreTrainedModel,
    _compute_mask_indices,
)

from ossicle.dataloader import MaskGenerator, SampleError, SpeechCollator
from ossicle.errors import InvalidArgumentError

FEW = settings(max_examples=60, deadline=None)


def masks_of(generator: MaskGenerator, frames: int, count: int) -> np.ndarray:
    """``(count, frames)``, one row a seed."""
    waveform, rate = torch.zeros(1, 400 + 320 * (frames - 1)), 16_000
    rows = [generator(waveform, rate, {"seed": seed})[2] for seed in range(count)]
    return np.stack([row["prediction_mask"] for row in rows])


def runs(mask: np.ndarray) -> np.ndarray:
    """``(n, 2)`` where stretches of True begin and end."""
    return np.flatnonzero(np.diff(np.concatenate([[0], mask, [0]]))).reshape(-1, 2)


def expected_share(frames: int, spans: float, length: int) -> np.ndarray:
    """``(frames,)`` how probable each is to be masked by spans drawn without replacement."""
    places = frames - length + 1
    covering = np.array([min(at, places - 1) - max(at - length + 1, 0) + 1 for at in range(frames)])

    def unmasked(count: int) -> np.ndarray:
        chosen = math.comb(places, count)
        return np.array([math.comb(places - c, count) / chosen for c in covering.tolist()])

    low, part = math.floor(spans), spans % 1
    return 1 - (1 - part) * unmasked(low) - part * unmasked(low + 1)


@pytest.mark.parametrize(("frames", "prob", "length"), [(149, 0.065, 10), (80, 0.03, 4)])
def test_as_much_is_masked_as_theory_and_transformers_say(
    frames: int, prob: float, length: int
) -> None:
    count = 2_000
    ours = masks_of(MaskGenerator(prob, length), frames, count)
    np.random.seed(0)  # noqa: NPY002 - what transformers draws from
    theirs = np.concatenate(
        # It rounds once a call, we once a sample.
        [_compute_mask_indices((1, frames), prob * length, length, min_masks=2) for _ in ours]
    )
    theory = expected_share(frames, prob * frames, length)
    # The largest of so many differences, five of their standard deviations.
    bound = 5 * np.sqrt(theory * (1 - theory) / count)
    assert (np.abs(ours.mean(0) - theory) < bound).all()
    assert (np.abs(theirs.mean(0) - theory) < bound).all()
    widths = [ours.sum(1), theirs.sum(1)]
    assert widths[0].std() == pytest.approx(widths[1].std(), rel=0.1)
    assert abs(widths[0].mean() - widths[1].mean()) < 5 * widths[1].std() * math.sqrt(2 / count)


@FEW
@given(
    st.integers(0, 300),
    st.floats(0, 1),
    st.integers(1, 20),
    st.integers(0, 5),
    st.integers(0, 2**64),
)
def test_spans_are_whole_and_as_many_as_asked_for(
    frames: int, prob: float, length: int, least: int, seed: int
) -> None:
    generator = MaskGenerator(prob, length, least, window_seconds=1, hop_seconds=1)
    _, _, metadata = generator(torch.zeros(1, frames), 1, {"seed": seed})
    mask, there = metadata["prediction_mask"], metadata["frame_attention_mask"]
    assert mask.shape == there.shape == (frames,)
    assert there.all()
    stretches = runs(mask)
    assert (stretches[:, 1] - stretches[:, 0] >= length).all()
    places = max(frames - length + 1, 0)
    most = min(max(math.ceil(prob * frames), least), places)
    fewest = min(max(math.floor(prob * frames), least), places)
    # So many spans cover at least what they do where all of them overlap, at most where none does.
    assert mask.sum() <= min(most * length, frames)
    assert mask.sum() >= (fewest + length - 1 if fewest else 0)


@FEW
@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(0, 2**40))
def test_masks_of_a_batch_stay_out_of_the_padding(lengths: list[int], seed: int) -> None:
    generator = MaskGenerator(0.2, 5)
    there, predicted = generator.batch_masks(lengths, seed)
    np.testing.assert_array_equal(there.sum(1), lengths)
    assert not (predicted & ~there).any()
    for row, frames in enumerate(lengths):
        stretches = runs(predicted[row, :frames])
        assert (stretches[:, 1] - stretches[:, 0] >= 5).all()
    # A row's mask depends on its own length alone.
    longer = generator.batch_masks([*lengths, 70], seed)[1]
    np.testing.assert_array_equal(longer[:-1, : predicted.shape[1]], predicted)
    np.testing.assert_array_equal(generator.batch_masks(lengths, seed)[1], predicted)


@FEW
@given(st.integers(0, 200_000))
def test_frames_are_those_of_wav2vec2(samples: int) -> None:
    model: Any = SimpleNamespace(config=Wav2Vec2Config(add_adapter=False))
    expected = Wav2Vec2PreTrainedModel._get_feat_extract_output_lengths(model, samples)
    assert MaskGenerator().frames(samples, 16_000) == max(int(expected), 0)


def test_a_model_of_transformers_takes_the_masks() -> None:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    sizes |= {"intermediate_size": 16, "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16}
    config = Wav2Vec2Config(**sizes, num_conv_pos_embedding_groups=2, mask_time_prob=0.1)
    model = Wav2Vec2Model(config).train()
    masker = MaskGenerator(mask_length=3)
    waveforms = [torch.randn(1, samples) for samples in (9_001, 5_000)]
    samples = [masker(item, 16_000, {"seed": 0}) for item in waveforms]
    batch = SpeechCollator()(samples)
    output = model(
        batch.waveforms[:, 0],
        attention_mask=batch.attention_mask.long(),
        mask_time_indices=batch.prediction_mask,
    )
    assert output.last_hidden_state.shape[:2] == batch.prediction_mask.shape
    assert model._get_feat_extract_output_lengths(batch.waveform_lengths).tolist() == (
        batch.frame_attention_mask.sum(1).tolist()
    )


# Pinned, so that they stay with other versions of Python and NumPy.
PINNED = ["00000000000001111111", "00011100001110011100", "00011100000000111111"]


def test_masks_are_a_function_of_the_seed() -> None:
    generator = MaskGenerator(mask_length=3, min_masks=3)
    masks = masks_of(generator, 20, 3)
    assert ["".join(map(str, row.astype(int))) for row in masks] == PINNED
    np.testing.assert_array_equal(masks, masks_of(generator, 20, 3))
    other = MaskGenerator(mask_length=3, min_masks=3, seed=1)
    assert (masks_of(other, 20, 3) != masks).any()
    with pytest.raises(SampleError, match="randomness needs"):
        generator(torch.zeros(1, 9_000), 16_000, {})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"mask_prob": 1.5}, "not 1.5"),
        ({"mask_prob": math.nan}, "not nan"),
        ({"mask_length": 0}, "mask_length is 0"),
        ({"min_masks": -1}, "min_masks -1"),
        ({"hop_seconds": 0}, "hop_seconds 0"),
        ({"window_seconds": math.inf}, "window_seconds is inf"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason):
        MaskGenerator(**arguments)

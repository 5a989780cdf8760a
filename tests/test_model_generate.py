"""Generation: greedy against whole forwards, rows against themselves alone, draws against odds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_gpt import randomised, tokens
from torch import Tensor

from ossicle.model import GPT, GPTConfig
from ossicle.model.generate import _pick

CONFIG = GPTConfig(12, 64, 3, 2, 1, 32, "SL")
model_of = cache(lambda: randomised(CONFIG))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def batch_of(lengths: list[tuple[int, int]], seed: int) -> dict[str, Tensor]:
    """Rows of so many soft tokens and prompt tokens."""
    rng = np.random.default_rng(seed)
    audio, prompts = (torch.tensor(column) for column in zip(*lengths, strict=True))
    features = rng.normal(size=(len(lengths), int(audio.max()), CONFIG.n_embd))
    return {
        "idx": torch.tensor([tokens(rng, int(prompts.max()), CONFIG) for _ in lengths]),
        "audio_features": torch.tensor(features, dtype=torch.float32),
        "audio_lengths": audio,
        "prompt_lengths": prompts,
    }


def alone(batch: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    heard, read = int(batch["audio_lengths"][row]), int(batch["prompt_lengths"][row])
    return {
        "idx": batch["idx"][row : row + 1, :read],
        "audio_features": batch["audio_features"][row : row + 1, :heard],
    }


def greedy(model: GPT, idx: Tensor, audio_features: Tensor, count: int) -> list[int]:
    """The whole sequence read anew for each token."""
    said = idx
    for _ in range(count):
        with torch.no_grad():
            token = model(said, audio_features=audio_features)[0, -1].argmax()
        said = torch.cat([said, token.view(1, 1)], dim=1)
    return said[0, idx.shape[1] :].tolist()


rows = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), min_size=1, max_size=4)


@settings(max_examples=15, deadline=None)
@given(lengths=rows, seed=st.integers(0, 2**16))
def test_greedy_rows_of_a_batch_are_those_of_whole_forwards(
    lengths: list[tuple[int, int]], seed: int
) -> None:
    model, batch = model_of(), batch_of(lengths, seed)
    out = model.generate(**batch, max_new_tokens=6, temperature=0)
    assert out.dtype == torch.int64
    for row in range(len(lengths)):
        assert out[row].tolist() == greedy(model, **alone(batch, row), count=6)


@settings(max_examples=15, deadline=None)
@given(lengths=rows, seed=st.integers(0, 2**16), top_k=st.sampled_from([None, 1, 5, 64, 999]))
def test_sampled_rows_depend_on_their_own_seed_alone(
    lengths: list[tuple[int, int]], seed: int, top_k: int | None
) -> None:
    model, batch = model_of(), batch_of(lengths, seed)
    options: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0.8, "top_k": top_k}
    out = model.generate(**batch, **options, seed=seed)
    for row in range(len(lengths)):
        for seeds in (seed + row, [seed + row]):
            single = model.generate(**alone(batch, row), **options, seed=seeds)
            assert torch.equal(single[0], out[row])
    shorter = model.generate(**batch, **{**options, "max_new_tokens": 3}, seed=seed)
    assert torch.equal(shorter, out[:, :3])


def test_other_seeds_say_other_things_and_top_1_is_greedy() -> None:
    model, batch = model_of(), batch_of([(4, 3)] * 6, 0)
    batch = {name: value[:1].expand_as(value) for name, value in batch.items()}  # six alike
    sampled = model.generate(**batch, max_new_tokens=12, seed=5)
    assert len({tuple(row) for row in sampled.tolist()}) > 3
    first = model.generate(**batch, max_new_tokens=12, temperature=0)
    for options in ({"top_k": 1}, {"temperature": 1e-12}, {"temperature": 5e-324}):
        assert torch.equal(model.generate(**batch, max_new_tokens=12, **options), first)


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (2.0, 4), (1.0, 1)])
def test_tokens_are_drawn_by_their_probabilities(temperature: float, top_k: int | None) -> None:
    """Evenly spread draws hit each token as often as its probability says, to one draw."""
    logits = torch.randn(9, generator=torch.Generator().manual_seed(2))
    count = 20_000
    draws = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    picked = _pick(logits.expand(count, -1), draws, temperature, top_k)
    kept = logits.double()
    if top_k is not None:
        kept[logits < logits.sort(descending=True).values[top_k - 1]] = -float("inf")
    expected = count * torch.softmax(kept / temperature, dim=0)
    assert (torch.bincount(picked, minlength=9) - expected).abs().max() <= 1.01


def test_a_row_ends_with_its_stop_token() -> None:
    model, batch = model_of(), batch_of([(5, 2), (0, 4), (8, 1)], 3)
    free = model.generate(**batch, max_new_tokens=20, seed=1)
    stops = [int(free[0, 2]), int(free[1, 7])]
    out = model.generate(**batch, max_new_tokens=20, seed=1, stop_tokens=stops)
    ends = []
    for row, whole in zip(out.tolist(), free.tolist(), strict=True):
        end = next((i for i, token in enumerate(whole) if token in stops), len(whole) - 1)
        ends.append(end)
        assert row[: end + 1] == whole[: len(row)][: end + 1]
        assert set(row[end:]) == {whole[end]}
    assert out.shape == (3, max(ends) + 1)
    assert min(ends) < max(ends)  # else nothing was said behind an end


def test_without_audio_without_prompt_and_without_tokens() -> None:
    model, idx = model_of(), torch.tensor([[1, 2, 3]])
    none = torch.zeros(1, 0, CONFIG.n_embd)
    expected = greedy(model, idx, none, 5)
    assert model.generate(idx, max_new_tokens=5, temperature=0)[0].tolist() == expected
    heard = torch.randn(1, 6, CONFIG.n_embd)
    from_audio = model.generate(idx[:, :0], audio_features=heard, max_new_tokens=5, temperature=0)
    assert from_audio[0].tolist() == greedy(model, idx[:, :0], heard, 5)
    assert model.generate(idx, max_new_tokens=0).shape == (1, 0)
    assert model.generate(idx[:0], max_new_tokens=4).shape == (0, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": -1}, "max_new_tokens -1"),
        ({"temperature": -0.1}, "temperature -0.1"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"top_k": 0}, "top_k 0"),
        ({"seed": [1, 2]}, "2 seeds for 1 rows"),
        ({"max_new_tokens": 200}, r"203 positions .*rotary table's 120"),
        ({"idx": torch.zeros(1, 0, dtype=torch.int64)}, "neither audio nor prompt"),
    ],
)
def test_arguments_without_sense_are_value_errors(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"idx": torch.tensor([[1, 2, 3]]), "max_new_tokens": 2, **options}
    with pytest.raises(ValueError, match=message):
        model_of().generate(**arguments)

"""The cache: audio and prompt read at once, then tokens, against the whole read in one go."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_gpt import randomised, reference_logits, tokens
from torch import Tensor

from ossicle.model import GPT, GPTConfig
from ossicle.model.kv_cache import KVCache

# A sequence_len of 9 makes L windows that a few tokens outgrow (S windows are 128 at least).
CONFIGS = {
    "windows": GPTConfig(9, 64, 3, 4, 2, 32, "L"),
    "short-and-long": GPTConfig(20, 100, 4, 2, 2, 24, "SSSL"),
    "all-seen": GPTConfig(512, 64, 2, 2, 1, 32, "L"),
}
model_of = cache(lambda name: randomised(CONFIGS[name]))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def new_cache(model: GPT, batch: int, size: int) -> KVCache:
    return KVCache(model.config, batch, size, dtype=model.compute_dtype)


rows = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGS)),
    lengths=rows.map(lambda pairs: [(a, p or int(a == 0)) for a, p in pairs]),
    chunks=st.lists(st.integers(1, 4), max_size=6),
    seed=st.integers(0, 2**16),
)
def test_prefill_and_decode_give_what_the_whole_forward_gives(
    name: str, lengths: list[tuple[int, int]], chunks: list[int], seed: int
) -> None:
    """Each row against itself alone, in one forward; padding of audio is NaN, so it would show."""
    model, rng = model_of(name), np.random.default_rng(seed)
    audio_lengths, prompts = (torch.tensor(column) for column in zip(*lengths, strict=True))
    batch, longest = len(lengths), int(prompts.max())
    text = torch.tensor([tokens(rng, longest, model.config) for _ in lengths], dtype=torch.int64)
    audio = torch.full((batch, int(audio_lengths.max()), model.config.n_embd), float("nan"))
    for row, length in enumerate(audio_lengths):
        audio[row, :length] = torch.tensor(rng.normal(size=(int(length), audio.shape[2])))

    store = new_cache(model, batch, audio.shape[1] + longest + sum(chunks))
    first = model.prefill(
        text, store,
        audio_features=audio, audio_lengths=audio_lengths, text_lengths=prompts,
    )  # fmt: skip
    got, said = [first[:, None]], [row[:n] for row, n in zip(text, prompts, strict=True)]
    for chunk in chunks:
        further = torch.tensor([tokens(rng, chunk, model.config) for _ in lengths])
        said = [torch.cat(pair) for pair in zip(said, further, strict=True)]
        got.append(model.decode(further, store))
    logits = torch.cat(got, dim=1)

    for row, (heard, read) in enumerate(lengths):
        with torch.no_grad():
            whole = model(said[row][None], audio_features=audio[row : row + 1, :heard])[0]
        torch.testing.assert_close(logits[row], whole[heard + read - 1 :], rtol=0, atol=3e-5)
        assert store.lengths[row] == heard + read + sum(chunks)


def test_decoding_equals_the_float64_reference() -> None:
    model, rng = model_of("windows"), np.random.default_rng(1)
    idx, audio = tokens(rng, 12, model.config), rng.normal(size=(7, 32)).astype(np.float32)
    store = new_cache(model, 1, 19)
    first = model.prefill(torch.tensor([idx[:4]]), store, audio_features=torch.tensor(audio[None]))
    rest = [model.decode(torch.tensor([[token]]), store)[0, 0] for token in idx[4:]]
    expected = reference_logits(model, idx, audio)
    np.testing.assert_allclose(torch.stack([first[0], *rest]), expected[10:], rtol=0, atol=1e-5)


def test_the_cache_has_nanochats_layout() -> None:
    store = KVCache(GPTConfig(64, 64, 3, 4, 2, 32, "L"), 5, 17, dtype=torch.bfloat16)
    assert store.keys.shape == store.values.shape == (3, 5, 17, 2, 8)
    assert store.previous.shape == (5, 1, 32)
    assert store.keys.dtype == store.previous.dtype == torch.bfloat16


def test_bfloat16_decodes_near_its_whole_forward() -> None:
    config = CONFIGS["all-seen"]
    model = GPT(config, compute_dtype=torch.bfloat16)
    model.load_state_dict(randomised(config).state_dict())
    idx = torch.tensor([tokens(np.random.default_rng(0), 20, config)])
    store = new_cache(model, 1, 20)
    model.prefill(idx[:, :5], store)
    got = torch.cat([model.decode(idx[:, i : i + 1], store) for i in range(5, 20)], dim=1)
    with torch.no_grad():
        whole = model(idx)[:, 5:]
    assert got.dtype == torch.float32
    assert torch.corrcoef(torch.stack([got.flatten(), whole.flatten()]))[0, 1] > 0.99


def prefill(model: GPT, store: KVCache, **options: Tensor) -> Tensor:
    return model.prefill(torch.zeros(2, 3, dtype=torch.int64), store, **options)


def test_what_does_not_fit_is_a_value_error_with_the_numbers() -> None:
    model = model_of("windows")
    with pytest.raises(ValueError, match=r"91 positions .*rotary table's 90"):
        new_cache(model, 1, 91)
    with pytest.raises(ValueError, match="2 rows do not match a cache of 3"):
        prefill(model, new_cache(model, 3, 9))
    with pytest.raises(ValueError, match="3 positions after 0 do not fit a cache of 2"):
        prefill(model, new_cache(model, 2, 2))
    store = new_cache(model, 2, 4)
    prefill(model, store)
    with pytest.raises(ValueError, match="first call"):
        prefill(model, store)
    model.decode(torch.zeros(2, 1, dtype=torch.int64), store)
    with pytest.raises(ValueError, match="1 positions after 4 do not fit a cache of 4"):
        model.decode(torch.zeros(2, 1, dtype=torch.int64), store)
    for lengths in ([0, 3], [4, 3], [-1, 3], [3]):
        with pytest.raises(ValueError, match=r"text_lengths|neither audio nor prompt"):
            prefill(model, new_cache(model, 2, 9), text_lengths=torch.tensor(lengths))

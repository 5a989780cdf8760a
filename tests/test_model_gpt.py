"""GPT against a float64 reference in loops, and a batch of clips against each clip alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_gpt import SMALL, randomised, reference_logits, tokens

from ossicle.model import GPT, GPTConfig
from ossicle.model.blocks import Linear, compute_dtype


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small matrices gain nothing from more, and waiting threads crawl on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("n_audio", [None, 0, 1, 60])
@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        GPTConfig(100, 300, 3, 2, 2, 24, "L"),  # longer than sequence_len: L windows bite too
        GPTConfig(64, 64, 5, 3, 1, 48, "SL"),
        GPTConfig(64, 64, 1, 2, 2, 32, "S"),
    ],
    ids=["SSSL", "L-beyond", "SL-gqa", "one-layer"],
)
def test_logits_equal_the_float64_reference(config: GPTConfig, n_audio: int | None) -> None:
    rng = np.random.default_rng(7)
    model = randomised(config)
    idx = tokens(rng, 140, config)
    audio = None if n_audio is None else rng.normal(size=(n_audio, config.n_embd))
    features = None if audio is None else torch.tensor(audio, dtype=torch.float32)[None]
    with torch.no_grad():
        logits = model(torch.tensor([idx]), audio_features=features)[0]
    expected = reference_logits(model, idx, None if audio is None else features[0].numpy())
    assert logits.shape == expected.shape
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.numpy(), expected, rtol=0, atol=1e-5)


def test_state_dict_has_the_names_and_shapes_of_nanochat() -> None:
    c = GPTConfig(128, 100, 3, 4, 2, 64, "SL")
    expected = {
        "transformer.wte.weight": (128, 64),
        "lm_head.weight": (128, 64),
        "value_embeds.0.weight": (128, 32),
        "value_embeds.2.weight": (128, 32),
        "transformer.h.0.attn.ve_gate.weight": (2, 12),
        "transformer.h.2.attn.ve_gate.weight": (2, 12),
        "resid_lambdas": (3,),
        "x0_lambdas": (3,),
        "smear_gate.weight": (1, 24),
        "smear_lambda": (1,),
        "backout_lambda": (1,),
    }
    for i in range(3):
        expected |= {
            f"transformer.h.{i}.attn.c_q.weight": (64, 64),
            f"transformer.h.{i}.attn.c_k.weight": (32, 64),
            f"transformer.h.{i}.attn.c_v.weight": (32, 64),
            f"transformer.h.{i}.attn.c_proj.weight": (64, 64),
            f"transformer.h.{i}.mlp.c_fc.weight": (256, 64),
            f"transformer.h.{i}.mlp.c_proj.weight": (64, 256),
        }
    assert {name: tuple(t.shape) for name, t in GPT(c).state_dict().items()} == expected


def ragged_batch(
    rng: np.random.Generator, lengths: list[int], n_text: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    idx = torch.tensor([tokens(rng, n_text) for _ in lengths])
    audio = torch.full((len(lengths), max(lengths), SMALL.n_embd), float("nan"))
    for row, length in enumerate(lengths):
        audio[row, :length] = torch.tensor(rng.normal(size=(length, SMALL.n_embd)))
    return idx, audio, torch.tensor(lengths)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 160), min_size=1, max_size=4),
    n_text=st.integers(1, 40),
    seed=st.integers(0, 2**16),
)
def test_a_clip_gives_in_a_batch_what_it_gives_alone(
    lengths: list[int], n_text: int, seed: int
) -> None:
    """The padding is NaN: whatever touches it shows."""
    model = randomised(SMALL)
    idx, audio, audio_lengths = ragged_batch(np.random.default_rng(seed), lengths, n_text)
    with torch.no_grad():
        batch = model(idx, audio_features=audio, audio_lengths=audio_lengths)
        for row, length in enumerate(lengths):
            alone = model(idx[row : row + 1], audio_features=audio[row : row + 1, :length])
            kept = batch[row : row + 1, : length + n_text]
            torch.testing.assert_close(kept, alone, rtol=0, atol=2e-5)
    assert batch.isfinite().all()


def test_text_padding_on_the_right_does_not_reach_the_left() -> None:
    rng = np.random.default_rng(0)
    model = randomised(SMALL)
    idx = torch.tensor([tokens(rng, 20)])
    padded = torch.cat([idx, torch.zeros(1, 9, dtype=torch.long)], dim=1)
    audio = torch.tensor(rng.normal(size=(1, 30, SMALL.n_embd)), dtype=torch.float32)
    with torch.no_grad():
        short, long = (model(i, audio_features=audio) for i in (idx, padded))
    torch.testing.assert_close(long[:, :50], short, rtol=0, atol=2e-5)


@pytest.mark.parametrize("lengths", [None, [5, 0, 12]])
def test_the_loss_is_the_cross_entropy_of_the_text_logits(lengths: list[int] | None) -> None:
    rng = np.random.default_rng(3)
    model = randomised(SMALL)
    idx, audio, audio_lengths = ragged_batch(rng, lengths or [12, 12, 12], 9)
    targets = torch.tensor([tokens(rng, 9) for _ in range(3)])
    targets[0, 6:] = -1
    kwargs = {"audio_features": audio, "audio_lengths": audio_lengths if lengths else None}
    with torch.no_grad():
        logits = model(idx, **kwargs).double()
        losses = {r: model(idx, targets, loss_reduction=r, **kwargs) for r in ("mean", "sum")}
        every = model(idx, targets, loss_reduction="none", **kwargs).view(3, -1)
    naive = torch.zeros_like(every)
    for row, t in itertools.product(range(3), range(9)):
        at = int(audio_lengths[row]) + t
        if targets[row, t] >= 0:
            naive[row, at] = -torch.log_softmax(logits[row, at], dim=0)[targets[row, t]]
    torch.testing.assert_close(every, naive, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses["sum"], naive.sum(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses["mean"], naive.sum() / 24, rtol=1e-5, atol=1e-5)


def test_gradients_do_not_come_from_padding() -> None:
    rng = np.random.default_rng(5)
    model = randomised(SMALL)
    idx, audio, lengths = ragged_batch(rng, [4, 9], 6)
    audio.requires_grad_(True)
    model(idx, idx, audio_features=audio, audio_lengths=lengths).backward()
    assert audio.grad is not None
    assert audio.grad.isfinite().all()
    assert audio.grad[0, :4].abs().min() > 0
    assert audio.grad[0, 4:].abs().max() == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_rotary_table_that_is_too_short_is_an_error_with_both_numbers() -> None:
    model = GPT(GPTConfig(8, 64, 1, 1, 1, 24, "L"))
    idx = torch.zeros(1, 30, dtype=torch.long)
    assert model(idx, audio_features=torch.zeros(1, 50, 24)).shape == (1, 80, 64)
    with pytest.raises(ValueError, match=r"81 positions .*rotary table's 80"):
        model(idx, audio_features=torch.zeros(1, 51, 24))


def test_audio_of_the_wrong_shape_is_a_value_error() -> None:
    model = GPT(GPTConfig(8, 64, 1, 1, 1, 24, "L"))
    idx = torch.zeros(2, 3, dtype=torch.long)
    audio = torch.zeros(2, 5, 24)
    for bad in (torch.zeros(2, 5, 25), torch.zeros(1, 5, 24), torch.zeros(2, 24)):
        with pytest.raises(ValueError, match=r"audio_features .*n_embd"):
            model(idx, audio_features=bad)
    for lengths in ([5, 6], [-1, 5]):
        with pytest.raises(ValueError, match="audio_lengths"):
            model(idx, audio_features=audio, audio_lengths=torch.tensor(lengths))
    with pytest.raises(ValueError, match="audio_lengths"):
        model(idx, audio_features=audio, audio_lengths=torch.tensor([5]))
    with pytest.raises(ValueError, match="audio_lengths needs"):
        model(idx, audio_lengths=torch.tensor([5, 5]))


@pytest.mark.parametrize(
    "sizes",
    [{"n_embd": 30, "n_head": 4}, {"n_kv_head": 4}, {"n_embd": 12}, {"window_pattern": "X"}],
)
def test_sizes_that_do_not_fit_are_a_value_error(sizes: dict) -> None:
    with pytest.raises(ValueError, match=r"\d|X"):
        GPTConfig(**{"n_embd": 48, "n_head": 6, "n_kv_head": 6, **sizes})


def test_initial_weights_follow_nanochat() -> None:
    torch.manual_seed(0)
    c = GPTConfig(128, 257, 5, 4, 4, 128, "SSSL")
    model = GPT(c)
    bound = (3 / 128) ** 0.5
    state = model.state_dict()
    assert state["transformer.wte.weight"].std().item() == pytest.approx(0.8, rel=0.02)
    assert state["lm_head.weight"].std().item() == pytest.approx(0.001, rel=0.02)
    uniform = {"c_q": bound, "c_k": bound, "c_v": bound, "c_fc": 0.4 * bound, "value_em": bound}
    for name, weight in state.items():
        for part, limit in uniform.items():
            if part in name:
                assert 0.98 * limit < weight.max() <= limit
                assert -limit <= weight.min() < -0.98 * limit
        if "c_proj" in name:
            assert weight.abs().max() == 0
        if "gate" in name:
            assert weight.min() >= 0
            assert 0.015 < weight.max() <= 0.02
    np.testing.assert_allclose(state["resid_lambdas"], [1.15, 1.125, 1.1, 1.075, 1.05], rtol=1e-6)
    np.testing.assert_allclose(state["x0_lambdas"], [0.2, 0.1625, 0.125, 0.0875, 0.05], rtol=1e-6)
    assert state["smear_lambda"].item() == 0
    assert state["backout_lambda"].item() == pytest.approx(0.2)


def test_a_model_made_on_meta_equals_one_made_in_place() -> None:
    torch.manual_seed(1)
    direct = GPT(SMALL)
    with torch.device("meta"):
        late = GPT(SMALL)
    late.to_empty(device="cpu")
    torch.manual_seed(1)
    direct.init_weights()
    torch.manual_seed(1)
    late.init_weights()
    idx = torch.arange(40)[None]
    assert torch.equal(direct(idx), late(idx))


def test_linear_casts_its_float32_master_weight_to_the_activations() -> None:
    linear = Linear(8, 4)
    x = torch.randn(3, 8)
    assert linear(x.bfloat16()).dtype == torch.bfloat16
    assert linear.weight.dtype == torch.float32
    torch.testing.assert_close(linear(x.double()), x.double() @ linear.weight.double().T)
    assert compute_dtype(torch.device("cpu")) == torch.float32


def test_bfloat16_activations_stay_near_float32() -> None:
    model = randomised(SMALL)
    half = GPT(SMALL, compute_dtype=torch.bfloat16)
    half.load_state_dict(model.state_dict())
    assert half.transformer.wte.weight.dtype == torch.bfloat16
    assert half.lm_head.weight.dtype == torch.float32
    rng = np.random.default_rng(2)
    idx = torch.tensor([tokens(rng, 30)])
    logits = half(idx, audio_features=torch.ones(1, 4, SMALL.n_embd))
    full = model(idx, audio_features=torch.ones(1, 4, SMALL.n_embd))
    assert logits.dtype == torch.float32
    assert torch.corrcoef(torch.stack([logits.flatten(), full.flatten()]))[0, 1] > 0.95

"""The projector against its formula, and how it starts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from ossicle.model import GPT, GPTConfig, Projector


@pytest.mark.parametrize("stack", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 3, 4, 9])
def test_projector_equals_its_formula(stack: int, length: int) -> None:
    torch.manual_seed(0)
    projector = Projector(6, 10, 14, stack=stack)
    torch.nn.init.normal_(projector.fc2.weight)
    frames = torch.randn(length, 6)
    padded = np.zeros((math.ceil(length / stack) * stack, 6))
    padded[:length] = frames
    w1, w2 = (fc.weight.detach().double().numpy() for fc in (projector.fc1, projector.fc2))
    erf = np.vectorize(math.erf)
    expected = []
    for start in range(0, len(padded), stack):
        hidden = w1 @ padded[start : start + stack].reshape(-1)
        expected.append(w2 @ (hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))))
    got = projector(frames[None])[0].detach().numpy()
    np.testing.assert_allclose(got, np.array(expected), atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=5), stack=st.integers(1, 7))
def test_projector_gives_in_a_batch_what_it_gives_alone(lengths: list[int], stack: int) -> None:
    projector = Projector(5, 8, stack=stack)
    torch.nn.init.normal_(projector.fc2.weight)
    frames = torch.randn(len(lengths), max(lengths), 5)
    batch = projector(frames, torch.tensor(lengths))
    counts = projector.output_lengths(torch.tensor(lengths)).tolist()
    for row, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        assert count == math.ceil(length / stack)
        alone = projector(frames[row : row + 1, :length])
        torch.testing.assert_close(batch[row, :count], alone[0], rtol=1e-5, atol=1e-6)


def test_projector_starts_silent_with_float32_masters() -> None:
    projector = Projector(512, 384)
    assert {name: tuple(w.shape) for name, w in projector.state_dict().items()} == {
        "fc1.weight": (384, 512),
        "fc2.weight": (384, 384),
    }
    bound = math.sqrt(3 / 512)
    assert 0.99 * bound < projector.fc1.weight.abs().max() <= bound
    out = projector(torch.randn(2, 7, 512, dtype=torch.bfloat16))
    assert (out.dtype, out.abs().max().item()) == (torch.bfloat16, 0.0)
    assert {w.dtype for w in projector.parameters()} == {torch.float32}
    with pytest.raises(ValueError, match="stack 0"):
        Projector(4, 4, stack=0)


def normed(projector: Projector, x: torch.Tensor) -> torch.Tensor:
    """The soft tokens as GPT takes them in."""
    return F.rms_norm(projector(x), (projector.fc2.out_features,))


def test_layers_are_mixed_by_a_softmax_and_saved() -> None:
    torch.manual_seed(0)
    projector = Projector(6, 10, stack=2, layers=3)
    torch.nn.init.normal_(projector.fc2.weight)
    torch.testing.assert_close(projector.layer_weights(), torch.full((3,), 1 / 3))
    with torch.no_grad():
        projector.layer_logits.copy_(torch.tensor([0.3, -1.0, 2.0]))
    weights = np.exp([0.3, -1.0, 2.0]) / np.exp([0.3, -1.0, 2.0]).sum()
    torch.testing.assert_close(projector.layer_weights().double(), torch.tensor(weights))
    x = torch.randn(2, 3, 7, 6)
    mixed = sum(w * x[:, i] for i, w in enumerate(weights))
    plain = Projector(6, 10, stack=2)
    plain.load_state_dict({k: v for k, v in projector.state_dict().items() if k != "layer_logits"})
    lengths = torch.tensor([7, 2])
    torch.testing.assert_close(projector(x, lengths), plain(mixed, lengths), atol=1e-5, rtol=1e-5)
    again = Projector(6, 10, stack=2, layers=3)
    again.load_state_dict(projector.state_dict())
    assert torch.equal(again(x), projector(x))
    projector(x).sum().backward()
    assert projector.layer_logits.grad.abs().sum() > 0
    assert plain.layer_weights() is None
    assert projector(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("layers", "shape"), [(None, (2, 3, 7, 6)), (3, (2, 7, 6)), (3, (2, 4, 7, 6))]
)
def test_another_number_of_layers_is_refused(layers: int | None, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"encoder frames .* are not \(B"):
        Projector(6, 10, layers=layers)(torch.zeros(shape))
    for wrong in ({"layers": 0}, {"start": "loud"}):
        with pytest.raises(ValueError, match=r"^(layers 0 is|start must be)"):
            Projector(6, 10, **wrong)


def test_start_ignore_gives_the_same_token_whatever_is_heard() -> None:
    torch.manual_seed(0)
    projector = Projector(16, 48, start="ignore")
    tokens = projector(100 * torch.randn(3, 5, 16))
    assert torch.equal(tokens, projector.base.expand(3, 5, 48))
    assert projector.base.square().mean().item() == pytest.approx(1, abs=1e-3)
    assert set(projector.state_dict()) == {"fc1.weight", "fc2.weight", "base", "gate"}
    assert projector.half()(torch.randn(1, 2, 16, dtype=torch.half)).dtype == torch.half


@pytest.mark.parametrize(("start", "low", "high"), [("zero", 0.3, 2.0), ("ignore", 1e-3, 0.1)])
def test_what_one_step_makes_of_the_audio(start: str, low: float, high: float) -> None:
    """How far two clips lie apart, in the GPT, after one step of AdamW at the smoke's rate."""
    torch.manual_seed(0)
    gpt = GPT(
        GPTConfig(sequence_len=64, vocab_size=64, n_layer=2, n_head=2, n_kv_head=2, n_embd=32)
    )
    torch.nn.init.normal_(gpt.lm_head.weight, std=0.1)
    for block in gpt.transformer.blocks():
        torch.nn.init.normal_(block.attn.c_proj.weight, std=0.1)
    projector = Projector(16, 32, start=start)
    frames, idx = torch.randn(2, 12, 16), torch.randint(0, 64, (2, 9))
    optimizer = torch.optim.AdamW(projector.parameters(), lr=3e-3, weight_decay=0.0)
    assert torch.equal(normed(projector, frames)[0], normed(projector, frames)[1])
    gpt(idx[:, :-1], targets=idx[:, 1:], audio_features=projector(frames)).backward()
    optimizer.step()
    first, second = normed(projector, frames)
    assert low < (first - second).square().mean().sqrt().item() < high

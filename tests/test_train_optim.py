"""Optimizers: Muon's orthogonalisation against the SVD, its step against one written in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossicle.model import GPT, GPTConfig, Projector
from ossicle.train import checkpoint
from ossicle.train.optim import (
    POLAR_EXPRESS,
    SAFETY,
    MuonAdamW,
    build_optimizer,
    muon_momentum,
    orthogonalise,
    scale_lr,
)

CONFIG = GPTConfig(64, 64, 3, 2, 1, 48, "L")
# What the five polynomials make of [0.001, 1] is 1 with this error, which is the paper's minimax.
MINIMAX = 0.1412


def models(seed: int = 0) -> tuple[Projector, GPT]:
    torch.manual_seed(seed)
    projector, gpt = Projector(16, CONFIG.n_embd), GPT(CONFIG)
    with torch.no_grad():
        for parameter in [*projector.parameters(), *gpt.parameters()]:
            parameter.normal_(0, 0.2)
    return projector, gpt


def take_steps(optimizer: Any, projector: Projector, gpt: GPT, first: int, count: int) -> None:
    for step in range(first, first + count):
        generator = torch.Generator().manual_seed(step)
        idx = torch.randint(0, 64, (2, 9), generator=generator)
        audio = projector(torch.randn(2, 4, 16, generator=generator))
        optimizer.zero_grad(set_to_none=True)
        gpt(idx[:, :-1], idx[:, 1:], audio_features=audio).backward()
        optimizer.step()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    log_scale=st.floats(-6, 6),
    seed=st.integers(0, 2**16),
)
def test_singular_values_become_about_1_and_the_vectors_stay(
    rows: int, columns: int, log_scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rank = min(rows, columns)
    u = np.linalg.qr(rng.normal(size=(rows, rank)))[0]
    v = np.linalg.qr(rng.normal(size=(columns, rank)))[0]
    singular = 10 ** rng.uniform(-2, 0, rank)  # of 40 at most: 0.01 / sqrt(40) is above 0.001
    matrix = torch.tensor((u * singular) @ v.T * 10**log_scale)
    out = orthogonalise(matrix).numpy()
    inner = u.T @ out @ v  # diagonal, in the same singular vectors
    assert np.abs(np.diag(inner) - 1).max() <= MINIMAX + 1e-3
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=1e-6)
    np.testing.assert_allclose(out, u @ inner @ v.T, atol=1e-6)


def test_a_stack_is_orthogonalised_matrix_by_matrix_and_zeros_stay() -> None:
    stack = torch.randn(4, 12, 7, dtype=torch.float64)
    stack[2] = 0
    out = orthogonalise(stack)
    for matrix, one in zip(stack, out, strict=True):
        torch.testing.assert_close(orthogonalise(matrix), one)
    assert (out[2] == 0).all()
    assert orthogonalise(torch.randn(3, 5)).dtype == torch.float32


def test_momentum_goes_from_085_to_097_in_400_steps() -> None:
    momenta = [muon_momentum(step) for step in (0, 100, 200, 400, 9000)]
    np.testing.assert_allclose(momenta, [0.85, 0.88, 0.91, 0.97, 0.97], rtol=1e-12)


def naive_orthogonal(matrix: np.ndarray) -> np.ndarray:
    """The polynomials applied to the singular values, which the SVD gives."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    s = s / (np.linalg.norm(matrix) * SAFETY)
    for a, b, c in POLAR_EXPRESS:
        s = a * s + b * s**3 + c * s**5
    return (u * s) @ vt


@pytest.mark.parametrize("shape", [(6, 6), (12, 3), (3, 12)])
def test_muon_steps_equal_those_of_a_naive_reference(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    weight, momentum = rng.normal(size=shape), np.zeros(shape)
    parameter = torch.nn.Parameter(torch.tensor(weight))
    optimizer = MuonAdamW([{"params": [parameter], "muon": True, "lr": 0.02, "weight_decay": 0.1}])
    for step in range(5):
        gradient = rng.normal(size=shape)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        mu = 0.85 + 0.12 * step / 400
        momentum = mu * momentum + (1 - mu) * gradient
        update = naive_orthogonal((1 - mu) * gradient + mu * momentum)
        rate = 0.02 * max(1, shape[0] / shape[1]) ** 0.5
        weight = weight * (1 - 0.02 * 0.1) - rate * update
        # 1e-7 is added to the norm, which is about 3 here.
        np.testing.assert_allclose(parameter.detach().numpy(), weight, atol=1e-7)


def test_adamw_groups_step_as_torch_does() -> None:
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(5, 3)) for _ in range(2))
    options: dict[str, Any] = {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-6, "weight_decay": 0.3}
    mixed = MuonAdamW([{"params": [ours], **options}])
    plain = torch.optim.AdamW([theirs], **options)
    for _ in range(4):
        ours.grad = torch.randn(5, 3)
        theirs.grad = ours.grad.clone()
        mixed.step()
        plain.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_groups_are_those_of_nanochat() -> None:
    projector, gpt = models()
    optimizer = build_optimizer(projector, gpt, "muon", lr=0.003)
    names = {id(p): name for name, p in gpt.named_parameters()}
    groups = {group["name"]: group for group in optimizer.param_groups}
    fall = (768 / 48) ** 0.5
    rates = {
        "projector": 0.003, "lm_head": 0.008 * fall, "wte": 0.3 * fall,
        "value_embeds": 0.15 * fall, "resid_lambdas": 0.005, "x0_lambdas": 0.5,
        "smear_backout": 0.2, "matrices": 0.02,
    }  # fmt: skip
    assert {name: group["lr"] for name, group in groups.items()} == pytest.approx(rates)
    members = {n: {names.get(id(p)) for p in g["params"]} for n, g in groups.items()}
    in_blocks = {name for name in names.values() if name.startswith("transformer.h.")}
    assert members["matrices"] == in_blocks
    assert members["smear_backout"] == {"smear_gate.weight", "smear_lambda", "backout_lambda"}
    assert members["value_embeds"] == {"value_embeds.0.weight", "value_embeds.2.weight"}
    assert sum(len(g["params"]) for g in groups.values()) == len(names) + 2
    assert all(g["eps"] == 1e-10 for n, g in groups.items() if n not in ("projector", "matrices"))


def test_what_is_frozen_stays_out() -> None:
    projector, gpt = models()
    gpt.requires_grad_(False)
    for kind in ("adamw", "muon"):
        optimizer = build_optimizer(projector, gpt, kind)
        assert [g["name"] for g in optimizer.param_groups] == ["projector"]
    projector.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        build_optimizer(projector, gpt)
    with pytest.raises(ValueError, match="'sgd' is neither"):
        build_optimizer(None, gpt, "sgd")  # type: ignore[arg-type]
    odd = torch.nn.Linear(2, 2)
    odd.config = CONFIG  # type: ignore[assignment]
    with pytest.raises(ValueError, match="no parameter of nanochat"):
        build_optimizer(None, odd, "muon")
    with pytest.raises(ValueError, match=r"matrices, not \(3,\)"):
        MuonAdamW([{"params": [torch.nn.Parameter(torch.ones(3))], "muon": True}])


def test_rates_are_scaled_from_the_first_ones() -> None:
    optimizer = build_optimizer(*models(), "muon")
    before = [group["lr"] for group in optimizer.param_groups]
    for factor in (0.5, 0.25):
        scale_lr(optimizer, factor)
        assert [g["lr"] for g in optimizer.param_groups] == [factor * lr for lr in before]


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_run_goes_on_from_a_checkpoint_to_the_last_bit(kind: Any, tmp_path: Path) -> None:
    projector, gpt = models()
    optimizer = build_optimizer(projector, gpt, kind)
    take_steps(optimizer, projector, gpt, 0, 3)
    named = {
        **{f"projector.{n}": p for n, p in projector.named_parameters()},
        **{f"model.{n}": p for n, p in gpt.named_parameters()},
    }
    tensors = {
        "model": gpt.state_dict(),
        "projector": projector.state_dict(),
        "optimizer": checkpoint.optimizer_tensors(optimizer, named),
    }
    saved = checkpoint.load(checkpoint.save(tmp_path, 3, tensors, {}))
    take_steps(optimizer, projector, gpt, 3, 2)

    later_projector, later = models(seed=9)
    later_projector.load_state_dict(saved.tensors["projector"])
    later.load_state_dict(saved.tensors["model"])
    again = build_optimizer(later_projector, later, kind)
    renamed = {
        **{f"projector.{n}": p for n, p in later_projector.named_parameters()},
        **{f"model.{n}": p for n, p in later.named_parameters()},
    }
    checkpoint.restore_optimizer(again, renamed, saved.tensors["optimizer"])
    take_steps(again, later_projector, later, 3, 2)
    for name, parameter in renamed.items():
        assert torch.equal(parameter, named[name]), name


def test_a_closure_is_called_and_its_loss_returned() -> None:
    projector, gpt = models()
    optimizer = build_optimizer(projector, gpt, "muon")
    idx = torch.arange(8)[None]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = gpt(idx, idx)
        loss.backward()
        return loss

    first, second = optimizer.step(closure), optimizer.step(closure)  # type: ignore[arg-type]
    assert second < first

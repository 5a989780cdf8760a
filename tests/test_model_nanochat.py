"""Checkpoints in nanochat's layout, made here, against the float64 reference; and faulty ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive_gpt import randomised, reference_logits, tokens

from ossicle.model import GPT, GPTConfig, NanochatLoadError, load_nanochat_checkpoint

# An odd vocabulary (padded to 128), grouped heads, windows of 128 and 7.
CONFIG = GPTConfig(7, 100, 5, 4, 2, 32, "SSL")


def nanochat_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """As nanochat saves: matrices and scalars in float32, tables in bfloat16."""
    state = randomised(CONFIG, seed).state_dict()
    tables = [name for name in state if "wte" in name or "value_embeds" in name]
    return {name: t.bfloat16() if name in tables else t for name, t in state.items()}


def write(
    folder: Path,
    step: int = 1234,
    *,
    state: Any = None,
    config: Any = None,
    prefix: str = "",
) -> Path:
    folder.mkdir(exist_ok=True)
    state = nanochat_state() if state is None else state
    if isinstance(state, dict):
        state = {prefix + name: tensor for name, tensor in state.items()}
    torch.save(state, folder / f"model_{step:06d}.pt")
    torch.save({"state": {}, "lr": 0.02}, folder / f"optim_{step:06d}_rank0.pt")
    meta = {"step": step, "val_bpb": 0.8, "model_config": config or asdict(CONFIG)}
    (folder / f"meta_{step:06d}.json").write_text(json.dumps(meta), encoding="utf-8")
    return folder


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@pytest.mark.parametrize("heard", [None, 9])
def test_logits_of_a_loaded_checkpoint_equal_the_reference(
    prefix: str, heard: int | None, tmp_path: Path
) -> None:
    model = load_nanochat_checkpoint(write(tmp_path, prefix=prefix))
    assert model.config == CONFIG
    rng = np.random.default_rng(1)
    idx = tokens(rng, 30 if heard else 65, CONFIG)  # the rotary table has 70
    audio = None if heard is None else rng.normal(size=(heard, 32)).astype(np.float32)
    with torch.no_grad():
        features = None if audio is None else torch.tensor(audio)[None]
        logits = model(torch.tensor([idx]), audio_features=features)[0]
    np.testing.assert_allclose(logits, reference_logits(model, idx, audio), rtol=0, atol=1e-5)
    for name, tensor in nanochat_state().items():
        assert torch.equal(model.state_dict()[name], tensor.float()), name


def test_the_last_step_unless_another_is_named(tmp_path: Path) -> None:
    for step in (5, 1_000_000, 999_999):
        write(tmp_path, step, state=nanochat_state(step))
    (tmp_path / "model_9999999_backup.pt").touch()
    for step, named in ((1_000_000, None), (5, 5)):
        model = load_nanochat_checkpoint(str(tmp_path), named)
        expected = nanochat_state(step)["lm_head.weight"]
        assert torch.equal(model.lm_head.weight, expected)


def test_loading_leaves_the_random_state_and_takes_a_compute_dtype(tmp_path: Path) -> None:
    write(tmp_path)
    before = torch.get_rng_state()
    model = load_nanochat_checkpoint(tmp_path, compute_dtype=torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.transformer.wte.weight.dtype == torch.bfloat16
    assert model.lm_head.weight.dtype == torch.float32
    assert all(p.requires_grad for p in model.parameters())


def without(*names: str) -> dict[str, torch.Tensor]:
    return {name: t for name, t in nanochat_state().items() if name not in names}


def with_(**others: Any) -> dict[str, Any]:
    return {**nanochat_state(), **{name.replace("__", "."): t for name, t in others.items()}}


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (lambda: {"state": without("smear_lambda", "lm_head.weight")},
         r"missing lm_head\.weight, smear_lambda$"),
        (lambda: {"state": with_(ve_gate=torch.ones(1))}, r"unknown ve_gate$"),
        (lambda: {"state": with_(lm_head__weight=torch.ones(100, 32))},
         r"lm_head\.weight is \(100, 32\), not \(128, 32\)$"),
        (lambda: {"state": {**without("x0_lambdas"), "a": torch.ones(1),
                            "smear_gate.weight": torch.ones(24)}},
         r"missing x0_lambdas; unknown a; smear_gate\.weight is \(24,\), not \(1, 24\)$"),
        (lambda: {"config": {**asdict(CONFIG), "n_layer": 6}}, r"missing .*transformer\.h\.5"),
        (lambda: {"config": {**asdict(CONFIG), "bias": True}}, r"model_config has bias, n_embd"),
        (lambda: {"config": {k: v for k, v in asdict(CONFIG).items() if k != "window_pattern"}},
         r"where .*window_pattern are expected"),
        (lambda: {"config": {**asdict(CONFIG), "n_head": 5}}, r"n_embd 32 .* n_head 5"),
        (lambda: {"config": {**asdict(CONFIG), "n_head": 0}}, r"meta_001234\.json"),
        (lambda: {"config": "d12"}, r"model_config has"),
        (lambda: {"state": [torch.ones(1)]}, "not a state dict of tensors"),
        (lambda: {"state": with_(step=3)}, "not a state dict of tensors"),
        (lambda: {"state": {"model": print}}, "cannot be read"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_error_that_lists_it(
    faulty: Callable[[], dict[str, Any]], message: str, tmp_path: Path
) -> None:
    write(tmp_path, **faulty())
    with pytest.raises(NanochatLoadError, match=message) as caught:
        load_nanochat_checkpoint(tmp_path)
    assert "_001234." in str(caught.value)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(NanochatLoadError, match="nowhere is not a folder"):
        load_nanochat_checkpoint(tmp_path / "nowhere")
    with pytest.raises(NanochatLoadError, match=r"has no model_<step>\.pt"):
        load_nanochat_checkpoint(tmp_path)
    folder = write(tmp_path / "d5")
    with pytest.raises(NanochatLoadError, match=r"meta_000007\.json has no model_config"):
        load_nanochat_checkpoint(folder, 7)
    model = folder / "model_001234.pt"
    whole = model.read_bytes()
    for kept in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        model.write_bytes(whole[:kept])
        with pytest.raises(NanochatLoadError, match=r"model_001234\.pt cannot be read"):
            load_nanochat_checkpoint(folder)
    (folder / "meta_001234.json").write_text("{", encoding="utf-8")
    with pytest.raises(NanochatLoadError, match=r"meta_001234\.json has no model_config"):
        load_nanochat_checkpoint(folder)


def test_an_empty_model_has_all_but_weights() -> None:
    trained, empty = randomised(CONFIG), GPT.empty(CONFIG)
    empty.load_state_dict(trained.state_dict())
    idx = torch.arange(60)[None]
    assert torch.equal(empty(idx), trained(idx))

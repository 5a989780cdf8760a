"""Reads nanochat's own checkpoints into a `GPT`.

A folder holds ``model_000123.pt`` (a state dict), ``meta_000123.json`` (sizes under
``model_config``) and optimizer states, which are not read.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ossicle.errors import ModelLoadError
from ossicle.model.blocks import GPTConfig
from ossicle.model.gpt import GPT

__all__ = ["NanochatLoadError", "load_nanochat_checkpoint"]

COMPILED = "_orig_mod."  # what torch.compile puts before each name
SHOWN = 12  # names that a message lists of each kind


class NanochatLoadError(ModelLoadError):
    """A nanochat checkpoint is missing, damaged, or of another architecture; it says which."""


def load_nanochat_checkpoint(
    directory: Path | str,
    step: int | None = None,
    *,
    device: torch.device | str = "cpu",
    compute_dtype: torch.dtype | None = None,
) -> GPT:
    """A `GPT` with the weights of a checkpoint that nanochat has written.

    Only tensors are unpickled. Older architectures of nanochat, whose tensors have other names, are
    refused: read with today's formulas they would say something else.

    Args:
        directory: The folder of the checkpoint's files, as ``base_checkpoints/d12``.
        step: Which of its steps; the last one if None.
        device: Where the weights go.
        compute_dtype: The dtype of activations; by default what the device is good at.

    Returns:
        The model; matrices in float32, embedding tables in the compute dtype.

    Raises:
        NanochatLoadError: If there is no such checkpoint, a file cannot be read, the sizes make no
            sense, or tensors are missing, left over or of other shapes, all of which it lists.
    """
    directory = Path(directory)
    if step is None:
        step = _last_step(directory)
    path = directory / f"model_{step:06d}.pt"
    config = _config(directory / f"meta_{step:06d}.json")
    state = _state(path)
    model = GPT.empty(config, device=device, compute_dtype=compute_dtype)
    _check(path, state, model.state_dict())
    model.load_state_dict(state)
    return model


def _last_step(directory: Path) -> int:
    if not directory.is_dir():
        raise NanochatLoadError(f"{directory} is not a folder")
    found = [re.fullmatch(r"model_(\d{6,})\.pt", path.name) for path in directory.iterdir()]
    steps = [int(match[1]) for match in found if match]
    if not steps:
        raise NanochatLoadError(f"{directory} has no model_<step>.pt")
    return max(steps)


def _config(path: Path) -> GPTConfig:
    try:
        sizes = json.loads(path.read_text(encoding="utf-8"))["model_config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NanochatLoadError(f"{path} has no model_config: {error!r}") from error
    wanted = {field.name for field in dataclasses.fields(GPTConfig)}
    if not isinstance(sizes, dict) or sizes.keys() != wanted:
        raise NanochatLoadError(
            f"{path}: model_config has {_names(sizes)}, where {_names(wanted)} are expected"
        )
    try:
        return GPTConfig(**sizes)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise NanochatLoadError(f"{path}: {error}") from error


def _state(path: Path) -> dict[str, Tensor]:
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise NanochatLoadError(f"{path} cannot be read: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise NanochatLoadError(f"{path} is not a state dict of tensors")
    return {str(name).removeprefix(COMPILED): tensor for name, tensor in state.items()}


def _check(path: Path, state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    faults = []
    if missing := expected.keys() - state.keys():
        faults.append(f"missing {_names(missing)}")
    if unknown := state.keys() - expected.keys():
        faults.append(f"unknown {_names(unknown)}")
    shapes = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(expected[name].shape)}"
        for name in expected.keys() & state.keys()
        if state[name].shape != expected[name].shape
    ]
    if shapes:
        faults.append(_names(shapes))
    if faults:
        raise NanochatLoadError(f"{path} does not fit its sizes: {'; '.join(faults)}")


def _names(names: Iterable[str] | object) -> str:
    if not isinstance(names, Iterable):
        return repr(names)
    listed = sorted(map(str, names))
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more

"""Checkpoints that a kill, a full disk or a cut cannot turn into wrong weights.

A checkpoint is a folder ``step_00000050`` of safetensors files and one ``state.json``, which holds
the size and SHA-256 of each file and its own. It is written under a temporary name, flushed to the
disk and renamed, so a folder of that name was complete when it appeared; whatever damages it later
is found when it is read. Nothing is ever unpickled. One process at a time writes to a directory.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ossicle.atomic import flush
from ossicle.errors import TrainingError

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "any_in",
    "folder_of",
    "latest",
    "load",
    "optimizer_tensors",
    "remove_all",
    "restore_optimizer",
    "restore_rng",
    "rng_tensors",
    "save",
]

FORMAT = 1
STATE = "state.json"
TEMPORARY = ".tmp-"
# A file of the checkpoint's own folder.
_FILE = re.compile(r"[^/\\\0]+\.safetensors")

Tensors = dict[str, dict[str, Tensor]]


class CheckpointError(TrainingError):
    """A checkpoint could not be written, is damaged, or does not fit the run; it says which."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        path: Its folder.
        step: How many optimizer steps had been taken.
        tensors: Tensors by file (without extension), then by name.
        meta: The JSON that `save` was given.
    """

    path: Path
    step: int
    tensors: Tensors
    meta: dict[str, Any]


def save(
    directory: Path | str,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    meta: Mapping[str, Any],
    *,
    keep: int = 2,
    protect: Collection[int] = (),
) -> Path:
    """Writes a checkpoint, then removes the oldest ones beyond ``keep``.

    Args:
        directory: Where checkpoints lie; made if it is missing.
        step: Optimizer steps taken; names the folder.
        tensors: Tensors by file, then by name.
        meta: Anything that JSON holds.
        keep: How many checkpoints stay, this one among them; 2 at least, so that a damaged newest
            one has another after it.
        protect: Steps whose checkpoints stay beside them, such as the best.

    Returns:
        The checkpoint's folder.

    Raises:
        CheckpointError: If it could not be written; the earlier checkpoints are as they were.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _remove_temporary(directory)
    temporary = directory / f"{TEMPORARY}{uuid.uuid4().hex}"
    final = folder_of(directory, step)
    try:
        _write(temporary, step, tensors, meta)
        _publish(temporary, final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(f"{final} could not be written: {error}") from error
    kept = {folder_of(directory, one) for one in protect}
    for old in _folders(directory)[: -max(keep, 2)]:
        if old not in kept:
            shutil.rmtree(old, ignore_errors=True)
    return final


def folder_of(directory: Path | str, step: int) -> Path:
    """Where the checkpoint of a step lies, if there is one."""
    return Path(directory) / f"step_{step:08d}"


def load(path: Path | str) -> Checkpoint:
    """Reads a checkpoint onto the CPU after checking every byte of it.

    Args:
        path: A checkpoint's folder, as `save` and `latest` return it.

    Returns:
        Its content.

    Raises:
        CheckpointError: If a file is missing, cut or changed; the message names it.
    """
    path = Path(path)
    state = _verified_state(path)
    try:
        tensors = {Path(name).stem: load_file(path / name) for name in state["files"]}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return Checkpoint(path, int(state["step"]), tensors, state["meta"])


def latest(directory: Path | str) -> Path | None:
    """The newest checkpoint that is whole; each damaged one is a warning.

    Args:
        directory: Where checkpoints lie; it may be missing.

    Returns:
        The checkpoint's folder, or None where there has never been one.

    Raises:
        CheckpointError: If there are checkpoints and all are damaged.
    """
    folders = _folders(Path(directory))
    for folder in reversed(folders):
        try:
            _verified_state(folder)
        except CheckpointError as error:
            warnings.warn(f"skipped: {error}", stacklevel=2)
        else:
            return folder
    if folders:
        raise CheckpointError(f"all {len(folders)} checkpoints in {directory} are damaged")
    return None


def any_in(directory: Path | str) -> bool:
    """Whether ``directory`` has checkpoints, whole or not."""
    return bool(_folders(Path(directory)))


def remove_all(directory: Path | str) -> None:
    """Removes every checkpoint in ``directory``, and nothing else."""
    for folder in _folders(Path(directory)):
        shutil.rmtree(folder)


def _folders(directory: Path) -> list[Path]:
    """The checkpoints of ``directory``, oldest first."""
    if not directory.is_dir():
        return []
    found = [p for p in directory.iterdir() if re.fullmatch(r"step_\d{8,}", p.name)]
    return sorted(found, key=lambda p: int(p.name.removeprefix("step_")))


def _write(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], meta: Mapping[str, Any]
) -> None:
    folder.mkdir()
    files = {}
    for stem, group in tensors.items():
        path = folder / f"{stem}.safetensors"
        save_file({name: t.detach().contiguous() for name, t in group.items()}, path)
        files[path.name] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    state = {"format": FORMAT, "step": step, "meta": dict(meta), "files": files}
    state["sha256"] = _seal(state)
    (folder / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        flush(path)
    flush(folder)


def _publish(temporary: Path, final: Path) -> None:
    """Gives a complete folder its name; a damaged one of that name makes way first."""
    if final.exists():
        final.rename(final.with_name(f"{TEMPORARY}{uuid.uuid4().hex}"))
    temporary.rename(final)
    flush(final.parent)
    _remove_temporary(final.parent)


def _remove_temporary(directory: Path) -> None:
    for leftover in directory.glob(f"{TEMPORARY}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seal(state: Mapping[str, Any]) -> str:
    """The digest of the state file's own content, all but the digest."""
    content = {key: value for key, value in state.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _verified_state(path: Path) -> dict[str, Any]:
    """The state file of a checkpoint that is whole."""
    try:
        state = _check_state(path, json.loads((path / STATE).read_bytes()))
        for name, expected in state["files"].items():
            _verify(path / name, expected)
    # Values nested without end are a RecursionError.
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from error
    return state


def _check_state(path: Path, state: Any) -> dict[str, Any]:
    """The state, where it is of this format, as it was written, and has what belongs in it."""
    if not isinstance(state, dict):
        raise TypeError(f"its state is {type(state).__name__}, not an object")
    if state["format"] != FORMAT:
        raise CheckpointError(f"{path} has format {state['format']}, not {FORMAT}")
    if state["sha256"] != _seal(state):
        raise CheckpointError(f"{path / STATE} has changed since it was written")
    wanted = {"step": int, "meta": dict, "files": dict}
    wrong = [name for name, kind in wanted.items() if not isinstance(state[name], kind)]
    wrong += (
        [repr(name) for name in state["files"] if not _FILE.fullmatch(name)] if not wrong else []
    )
    if wrong:
        raise TypeError(f"its state has invalid fields: {', '.join(wrong)}")
    return state


def _verify(path: Path, expected: Any) -> None:
    if not isinstance(expected, dict):
        raise TypeError(f"the entry of {path.name} is not an object")
    size = path.stat().st_size
    if size != expected["size"]:
        raise CheckpointError(f"{path} has {size} bytes, not {expected['size']}")
    if _sha256(path) != expected["sha256"]:
        raise CheckpointError(f"{path} has changed since it was written")


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """An optimizer's state as ``parameter/key`` tensors.

    Args:
        optimizer: One whose state is tensors alone, as that of AdamW is.
        parameters: Its parameters by name.

    Returns:
        Tensors for every parameter that has been stepped.

    Raises:
        TypeError: If a part of the state is no tensor; the message names it.
    """
    out = {}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"the state {key} of {name} is {type(value).__name__}, not a tensor"
                )
            out[f"{name}/{key}"] = value
    return out


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
) -> None:
    """Puts back what `optimizer_tensors` took; the hyperparameters stay the optimizer's own.

    Args:
        optimizer: A fresh optimizer over the same parameters.
        parameters: Its parameters by name.
        tensors: The saved state.

    Raises:
        CheckpointError: If a tensor belongs to no parameter.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, field = key.rpartition("/")
        states.setdefault(name, {})[field] = tensor
    unknown = states.keys() - parameters.keys()
    if unknown:
        raise CheckpointError(f"optimizer state for unknown parameters: {sorted(unknown)}")
    names = {id(parameter): name for name, parameter in parameters.items()}
    order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    saved = optimizer.state_dict()
    saved["state"] = {i: states[name] for i, name in enumerate(order) if name in states}
    optimizer.load_state_dict(saved)


def rng_tensors(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's random generators: the CPU's, and that of ``device``."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_rng(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Puts back what `rng_tensors` took, as far as ``device`` has such a generator."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)

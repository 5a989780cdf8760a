"""Where a run goes on: what its checkpoints hold, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ossicle.faults import Fault
from ossicle.model import Projector
from ossicle.train import checkpoint
from ossicle.train.checkpoint import CheckpointError
from ossicle.train.setup import Setup
from ossicle.train.stages import STAGES

__all__ = ["History", "identity", "projector_config", "restore", "save"]


_LATER = ("too_long",)
"""What older checkpoints do not tell."""


@dataclass
class History:
    """What a run has measured so far.

    Attributes:
        losses: Of every step.
        evaluations: Figures of each, with its ``step``.
        best: The lowest held-out loss and its step.
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best: tuple[float, int] | None = None

    def add_evaluation(self, step: int, found: Mapping[str, float]) -> None:
        """Adds an evaluation, which may be the best."""
        self.evaluations.append({"step": step, **found})
        loss = found.get("loss")
        if loss is not None and (self.best is None or loss < self.best[0]):
            self.best = (loss, step)


def identity(setup: Setup) -> dict[str, Any]:
    """What the losses depend on; a checkpoint of another identity is another run's."""
    config, modules = setup.config, setup.modules
    same = ["seed", "lr", "stage", "optimizer", "weight_decay", "warmup", "warmdown", "final_lr"]
    same += [
        "clip",
        "too_long",
        "max_seconds",
        "pad_to_seconds",
        "max_batch_seconds",
        "max_batch_tokens",
    ]
    if config.lm in (None, "random"):
        same += ["depth", "head_dim", "max_seq_len", "window_pattern"]
    if config.warmdown:
        same.append("steps")
    size = {"batch_size": setup.batch_size} if setup.budget is None else {"accumulate": setup.parts}
    return {
        **{name: getattr(config, name) for name in same},
        **size,
        "stack": modules.model.projector.stack,
        "start": config.start,
        "dtype": str(setup.dtype),
        "encoder": modules.encoder.fingerprint,
        "lm": modules.lm_sha256,
        "tokenizer": modules.tokenizer_sha256 or "bytes",
        "data": setup.source.sha256,
    }


def save(setup: Setup, history: History, out: Path, who: Mapping[str, Any]) -> Path:
    """Writes the checkpoint of the step that ``history`` has come to; the best one stays.

    Args:
        setup: What learns.
        history: What it has measured.
        out: The run's folder.
        who: Its `identity`.

    Returns:
        The checkpoint's folder.
    """
    device = setup.processes.device
    tensors = {
        "projector": setup.modules.model.projector.state_dict(),
        "optimizer": checkpoint.optimizer_tensors(setup.optimizer, setup.trained),
        "rng": checkpoint.rng_tensors(device),
        "progress": {"losses": torch.tensor(history.losses, dtype=torch.float64)},
    }
    if STAGES[setup.config.stage].trains_lm:
        tensors["model"] = setup.modules.model.gpt.state_dict()
    return checkpoint.save(
        out,
        len(history.losses),
        tensors,
        _meta(setup, history, who),
        keep=setup.config.keep,
        protect=[] if history.best is None else [history.best[1]],
    )


def _meta(setup: Setup, history: History, who: Mapping[str, Any]) -> dict[str, Any]:
    modules = setup.modules
    return {
        "identity": dict(who),
        "whisper": modules.encoder.name,
        "layer": setup.config.layer,
        "lm": setup.config.lm,
        "tokenizer": modules.tokenizer_name,
        "model_config": asdict(modules.model.gpt.config),
        "projector_config": projector_config(modules.model.projector),
        "evaluations": history.evaluations,
        "best": history.best,
        "skipped": [[row, asdict(fault)] for row, fault in setup.skipped.items()],
    }


def restore(setup: Setup, out: Path, who: Mapping[str, Any]) -> tuple[History, Path] | None:
    """Puts back the newest whole checkpoint in ``out``, if there is one.

    Raises:
        CheckpointError: If it is another run's, past the steps asked for, or lacks what a run
            leaves.
    """
    path = checkpoint.latest(out)
    if path is None:
        return None
    saved = checkpoint.load(path)
    try:
        _check(saved, who, setup.config.steps)
        _fill(setup, saved.tensors)
        return _history(setup, saved), path
    except CheckpointError:
        raise
    # Whole, but not as a run leaves it: keys, shapes, kinds.
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path} is not the state of a run: {error!r}") from error


def _history(setup: Setup, saved: checkpoint.Checkpoint) -> History:
    setup.skipped.update((row, Fault(**fields)) for row, fields in saved.meta["skipped"])
    best = saved.meta["best"]
    losses = saved.tensors["progress"]["losses"].tolist()
    return History(losses, saved.meta["evaluations"], best and (best[0], best[1]))


def _fill(setup: Setup, tensors: Mapping[str, dict[str, Tensor]]) -> None:
    model = setup.modules.model
    if "model" in tensors:
        model.gpt.load_state_dict(tensors["model"])
    model.projector.load_state_dict(tensors["projector"])
    checkpoint.restore_optimizer(setup.optimizer, setup.trained, tensors["optimizer"])
    checkpoint.restore_rng(tensors["rng"], setup.processes.device)


def _check(saved: checkpoint.Checkpoint, ours: Mapping[str, Any], steps: int) -> None:
    theirs = saved.meta["identity"]
    differ = [
        name
        for name in ours
        if ours[name] != theirs.get(name) and not (name in _LATER and name not in theirs)
    ]
    if differ:
        pairs = "; ".join(f"{n} was {theirs.get(n)}, is {ours[n]}" for n in differ)
        raise CheckpointError(f"{saved.path} is of another run: {pairs}")
    if saved.step > steps:
        raise CheckpointError(f"{saved.path} is at step {saved.step}, past the {steps} asked for")


def projector_config(projector: Projector) -> dict[str, Any]:
    """The arguments that make such a projector."""
    hidden, fan_in = projector.fc1.weight.shape
    return {
        "in_dim": fan_in // projector.stack,
        "out_dim": projector.fc2.weight.shape[0],
        "hidden_dim": hidden,
        "stack": projector.stack,
        "layers": projector.layers,
        "start": projector.start,
    }

"""Where the figures of a run go: lines of JSON, TensorBoard, Weights & Biases."""

from __future__ import annotations

import importlib.util
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ossicle.train.config import TrainConfig

__all__ = ["JsonLines", "RunLog", "Sink", "TensorBoard", "Wandb", "check_packages"]

METRICS = "metrics.jsonl"


class Sink(Protocol):
    """Takes figures by step."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Notes the figures of a step."""
        ...

    def close(self) -> None:
        """Finishes what is written."""
        ...


def check_packages(config: TrainConfig) -> None:
    """Before anything slow: that what the sinks need is there.

    Raises:
        ImportError: If a package is missing; the message says how to install it.
    """
    wanted = {"tensorboard": config.tensorboard, "wandb": config.wandb != "off"}
    extras = {"tensorboard": "'ossicle[train]'", "wandb": "wandb"}
    for package, is_wanted in wanted.items():
        if is_wanted and importlib.util.find_spec(package) is None:
            raise ImportError(f"{package} is not installed: pip install {extras[package]}")


class RunLog:
    """All sinks that a configuration asks for; none on processes that do not write.

    Args:
        config: Which.
        start_step: The step that this call begins after: later lines are dropped.
        is_first: Whether this process is the one that writes.
    """

    def __init__(self, config: TrainConfig, start_step: int, *, is_first: bool) -> None:
        self._sinks: list[Sink] = []
        if not is_first:
            return
        out = None if config.out is None else Path(config.out)
        if out is not None:
            self._sinks.append(JsonLines(out / METRICS, start_step))
        if out is not None and config.tensorboard:
            self._sinks.append(TensorBoard(out / "tensorboard", start_step))
        if config.wandb != "off":
            self._sinks.append(Wandb(config, out))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Notes the figures of a step everywhere."""
        for sink in self._sinks:
            sink.write(step, values)

    def close(self) -> None:
        """Finishes what is written."""
        for sink in self._sinks:
            sink.close()


class JsonLines:
    """A line ``{"step": ..., name: value, ...}`` for each write.

    Args:
        path: The file.
        start_step: Lines of later steps, which a stopped run has left, go.
    """

    def __init__(self, path: Path, start_step: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _lines_up_to(path, start_step) if start_step else []
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Notes the figures of a step; they are in the file when this returns."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _lines_up_to(path: Path, step: int) -> list[str]:
    """What is whole and not of a later step."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            is_kept = json.loads(line)["step"] <= step
        except (ValueError, KeyError, TypeError):  # cut by a kill
            continue
        if is_kept:
            kept.append(line)
    return kept


class TensorBoard:
    """Event files.

    Args:
        folder: Where to.
        start_step: Later steps of an earlier call are hidden.
    """

    def __init__(self, folder: Path, start_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = start_step + 1 if start_step else None
        self._writer: Any = SummaryWriter(str(folder), purge_step=purge)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Notes the figures of a step."""
        for name, value in values.items():
            self._writer.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


class Wandb:
    """A run of Weights & Biases, whose id lies in ``wandb-id`` so that a resumed run is the same.

    Args:
        config: Of the run; its project and whether it is offline.
        out: Where its files go.
    """

    def __init__(self, config: TrainConfig, out: Path | None) -> None:
        import wandb

        settings = {name: str(v) if isinstance(v, Path) else v for name, v in vars(config).items()}
        self._run: Any = wandb.init(
            project=config.wandb_project,
            mode=config.wandb,
            dir=None if out is None else str(out),
            name=None if out is None else out.name,
            id=_run_id(out, is_resumed=config.resume),
            resume="allow",
            config=settings,
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Notes the figures of a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


def _run_id(out: Path | None, *, is_resumed: bool) -> str:
    if out is None:
        return uuid.uuid4().hex
    path = out / "wandb-id"
    if not (is_resumed and path.exists()):
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex, encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()

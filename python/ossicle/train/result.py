"""The progress and the result of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ossicle.errors import TrainingError
from ossicle.faults import count_line

__all__ = [
    "LossDidNotFallError",
    "TooLongError",
    "TrainProgress",
    "TrainResult",
    "TrainingError",
    "TrainingInterrupted",
    "TrainingTerminated",
]


class TooLongError(TrainingError):
    """A clip is longer than what is taken, or with its text than the language model's positions.

    Attributes:
        name: The clip.
        reason: What is too long.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.reason)


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C, after the step was finished and its checkpoint written; it says where that is.

    Attributes:
        status: What the process exits with.
    """

    status = 130


class TrainingTerminated(SystemExit):
    """SIGTERM, after the step was finished and its checkpoint written; uncaught, the process ends.

    Attributes:
        status: What the process exits with.
    """

    status = 143

    def __init__(self, message: str) -> None:
        super().__init__(self.status)
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class TrainProgress:
    """Where a run stands.

    Attributes:
        stage: ``load``, ``encode`` (the first clips), ``train``, ``evaluate``, ``save``; ``stop``
            where a signal has asked the run to end after this step.
        step: Optimizer steps taken.
        steps: Optimizer steps of the whole run.
        counts: Rows, clips and faults of the data, in words, once it is read.
        loss: Of the latest step whose loss is known, in nats a token; None before the first.
        figures: What the logs say of the latest steps, by name.
    """

    stage: str
    step: int
    steps: int
    loss: float | None
    figures: Mapping[str, float] = field(default_factory=dict)
    counts: str = ""


@dataclass(frozen=True)
class TrainResult:
    """What a run gave.

    Attributes:
        losses: Mean cross entropy a text token, in nats, of every step from 0, also of those that
            a resumed run took earlier.
        start_step: The step that this call began with: 0, or that of the checkpoint.
        seconds: Wall time of this call.
        stage_seconds: Seconds by stage, apart from each other: load, wait (for clips), encode,
            train, evaluate, save; of the first process.
        feed_seconds: Seconds that the background spent reading clips, beside the stages.
        rows: Of the data.
        clips: Those that could be used, as far as this run has met them: ``rows - skipped``.
        skipped: Those that could not, each counted once.
        faults: How many of them have each reason.
        cut: Clips that were cut at ``max_seconds``, or their texts at the model's positions.
        remarks: How many clips have each reason for a remark (`ossicle.AudioInfo`), where their
            headers were read: with a budget of seconds or tokens.
        audio_seconds: Seconds of audio that this call's steps trained on, over all processes; a
            clip counts each time.
        soft_tokens: Audio positions of the longest clip of the last step.
        parameters: Trained parameters.
        device: Where it ran.
        processes: How many took part.
        is_first: Whether this is the result of the process that writes.
        figures: Speeds and shares of this call's steps, see docs/train.md: ``tokens_per_second``,
            ``data_wait``, ``padding``, ``mfu`` and more.
        bottleneck: What held the steps up most, in words.
        evaluations: What each evaluation found, with its ``step``.
        log_mel: Log-mel features of a clip, float32 (n_mels, frames).
        checkpoint: The last checkpoint's folder; None without ``out``.
        best: The folder of the checkpoint with the lowest held-out loss.
        report: The picture; None without ``out`` or without matplotlib.
    """

    losses: list[float]
    start_step: int
    seconds: float
    stage_seconds: dict[str, float]
    clips: int
    audio_seconds: float
    soft_tokens: int
    parameters: int
    device: str
    feed_seconds: float = 0.0
    rows: int = 0
    skipped: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    cut: int = 0
    remarks: dict[str, int] = field(default_factory=dict)
    processes: int = 1
    is_first: bool = True
    figures: dict[str, float] = field(default_factory=dict)
    bottleneck: str = ""
    evaluations: list[dict[str, float]] = field(default_factory=list)
    log_mel: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    checkpoint: Path | None = None
    best: Path | None = None
    report: Path | None = None

    def _repr_html_(self) -> str:
        from ossicle.train.notebook import page_of_result

        return page_of_result(self)

    @property
    def counts(self) -> str:
        """Rows, clips and faults with their reasons, in words."""
        return count_line(self.rows, self.faults)

    @property
    def loss_drop(self) -> float:
        """How far the loss fell from the first step to the last."""
        return self.losses[0] - self.losses[-1]

    @property
    def steps_per_second(self) -> float:
        """Optimizer steps of this call a second of training, reading and encoding left out."""
        return _rate(len(self.losses) - self.start_step, self.stage_seconds["train"])

    @property
    def audio_seconds_per_second(self) -> float:
        """Seconds of audio trained on a second of training."""
        return _rate(self.audio_seconds, self.stage_seconds["train"])

    def to_json(self) -> dict[str, Any]:
        """Everything but the picture's data, as JSON holds it."""
        fields = {k: v for k, v in vars(self).items() if k not in ("log_mel", "is_first")}
        for key in ("checkpoint", "best", "report"):
            fields[key] = None if fields[key] is None else str(fields[key])
        rates = ("loss_drop", "steps_per_second", "audio_seconds_per_second")
        return fields | {name: getattr(self, name) for name in rates}


class LossDidNotFallError(TrainingError):
    """Training ended, and was written, but its loss fell by less than it must.

    Attributes:
        result: The whole result, losses and paths included.
        loss_drop_min: How far the loss had to fall.
    """

    def __init__(self, result: TrainResult, loss_drop_min: float) -> None:
        first, last, steps = result.losses[0], result.losses[-1], len(result.losses)
        super().__init__(
            f"the loss fell by {result.loss_drop:.4f} in {steps} steps ({first:.4f} to {last:.4f}),"
            f" {loss_drop_min} at least are required: try more steps or another learning rate"
        )
        self.result, self.loss_drop_min = result, loss_drop_min

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.result, self.loss_drop_min)


def _rate(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0

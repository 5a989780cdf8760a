"""What a training run is told, what it tells on the way, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["AlignConfig", "AlignProgress", "AlignResult", "LossDidNotFallError"]


@dataclass(frozen=True)
class AlignConfig:
    """What an alignment run does.

    Attributes:
        data: Manifest: JSON lines with ``wav`` or ``audio_path``, ``text`` and optionally ``sr``.
        whisper: Source of the encoder, as `WhisperEncoder` takes it.
        steps: Optimizer steps of the whole run, those before a resume counted in.
        seed: Of the weights and of the order of the clips.
        lr: Learning rate of AdamW.
        out: Folder for checkpoints, ``result.json`` and ``report.png``; None writes nothing.
        save_every: Steps between checkpoints; 0 saves the last step alone.
        resume: Whether to go on from the newest whole checkpoint in ``out``, if there is one.
        overwrite: Whether to remove the checkpoints that are in ``out`` and start anew.
        stack: Encoder frames in one soft token; by default 1 on CUDA and 4 on the CPU.
        depth: Layers of the GPT, which is ``64 * depth`` wide, rounded up to whole heads.
        head_dim: Channels of a head.
        max_seq_len: ``sequence_len`` of the GPT; positions reach ten times as far.
        max_seconds: Where clips are cut; 30 at most, which is what the encoder takes.
        loss_drop_min: How far the loss must fall from the first step to the last; None to allow
            anything.
        device: Where to train; by default CUDA where there is one, else the CPU.
        batch_size: Clips of a step; by default all of them up to 32, else 16.
        cache_bytes: The most memory for encoder output that is kept between steps.

    Raises:
        ValueError: If a number makes no sense; the message names it.
    """

    data: Path | str
    whisper: str = "openai/whisper-base"
    steps: int = 50
    seed: int = 0
    lr: float = 3e-3
    out: Path | str | None = None
    save_every: int = 0
    resume: bool = False
    overwrite: bool = False
    stack: int | None = None
    depth: int = 6
    head_dim: int = 64
    max_seq_len: int = 2048
    max_seconds: float = 30.0
    loss_drop_min: float | None = 0.5
    device: str | None = None
    batch_size: int | None = None
    cache_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        counts = ("steps", "depth", "head_dim", "max_seq_len", "stack", "batch_size")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        for name in ("seed", "save_every", "cache_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not self.lr > 0:
            raise ValueError(f"lr must be above 0, not {self.lr}")
        if not 0 < self.max_seconds <= 30:
            raise ValueError(f"max_seconds must be above 0 and up to 30, not {self.max_seconds}")
        if self.out is None and (self.resume or self.save_every or self.overwrite):
            raise ValueError("resume, save_every and overwrite need a folder: out")
        if self.resume and self.overwrite:
            raise ValueError("resume and overwrite exclude each other")


@dataclass(frozen=True)
class AlignProgress:
    """Where a run stands.

    Attributes:
        stage: ``load``, ``encode`` (the first clips), ``train``, ``save``.
        step: Optimizer steps taken.
        steps: Optimizer steps of the whole run.
        loss: Of the latest step, in nats a token; None before the first.
    """

    stage: str
    step: int
    steps: int
    loss: float | None


@dataclass(frozen=True)
class AlignResult:
    """What a run gave.

    Attributes:
        losses: Mean cross entropy a text token, in nats, of every step from 0, also of those that
            a resumed run took earlier.
        start_step: The step that this call began with: 0, or that of the checkpoint.
        seconds: Wall time of this call.
        stage_seconds: Seconds by stage: load, decode, log-mel, encode, train, save.
        clips: Rows of the manifest.
        audio_seconds: Seconds of audio that this call's steps trained on; a clip counts each time.
        soft_tokens: Audio positions of the longest clip of the last step.
        parameters: Trained parameters.
        device: Where it ran.
        log_mel: Log-mel features of a clip, float32 (n_mels, frames).
        checkpoint: The last checkpoint's folder; None without ``out``.
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
    log_mel: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    checkpoint: Path | None = None
    report: Path | None = None

    @property
    def loss_drop(self) -> float:
        """How far the loss fell from the first step to the last."""
        return self.losses[0] - self.losses[-1]

    @property
    def steps_per_second(self) -> float:
        """Optimizer steps of this call a second of training, decoding and encoding left out."""
        return _rate(len(self.losses) - self.start_step, self.stage_seconds["train"])

    @property
    def audio_seconds_per_second(self) -> float:
        """Seconds of audio trained on a second of training."""
        return _rate(self.audio_seconds, self.stage_seconds["train"])

    def to_json(self) -> dict[str, Any]:
        """Everything but the picture's data, as JSON holds it."""
        fields = {k: v for k, v in vars(self).items() if k not in ("log_mel",)}
        for key in ("checkpoint", "report"):
            fields[key] = None if fields[key] is None else str(fields[key])
        rates = ("loss_drop", "steps_per_second", "audio_seconds_per_second")
        return fields | {name: getattr(self, name) for name in rates}


class LossDidNotFallError(RuntimeError):
    """Training ended, and was written, but its loss fell by less than it must.

    Attributes:
        result: The whole result, losses and paths included.
        loss_drop_min: How far the loss had to fall.
    """

    def __init__(self, result: AlignResult, loss_drop_min: float) -> None:
        first, last, steps = result.losses[0], result.losses[-1], len(result.losses)
        super().__init__(
            f"the loss fell by {result.loss_drop:.4f} in {steps} steps ({first:.4f} to {last:.4f}),"
            f" {loss_drop_min} at least are asked for: more steps, or another learning rate?"
        )
        self.result, self.loss_drop_min = result, loss_drop_min

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.result, self.loss_drop_min)


def _rate(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0

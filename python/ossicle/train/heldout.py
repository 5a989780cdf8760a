"""Evaluation on held-out clips while a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import TypeAlias

import torch

from ossicle.train.encoder_cache import EncoderCache
from ossicle.train.evaluate import ControlBatch, control, projected_loss
from ossicle.train.feed import Feed
from ossicle.train.modules import Modules
from ossicle.train.order import Rows
from ossicle.train.result import TrainingError
from ossicle.train.sources import ClipSource

__all__ = ["Evaluate", "HeldOut", "losses_of_control"]

BATCH = 16


Evaluate: TypeAlias = Callable[[Modules, Iterator[ControlBatch]], Mapping[str, float]]
"""Figures by name of a model on held-out clips; the lowest ``loss`` marks the best checkpoint."""


def losses_of_control(modules: Modules, batches: Iterator[ControlBatch]) -> dict[str, float]:
    """The loss with the right audio, with another clip's and with none: whether the model hears.

    Returns:
        ``loss`` (nats a token with the right audio), ``shuffled``, ``none``, ``gap`` (shuffled
        above right), ``gain`` (none above right).
    """
    found = control(projected_loss(modules.model.gpt, modules.model.projector), batches)
    return {
        "loss": found.right,
        "shuffled": found.shuffled,
        "none": found.none,
        "gap": found.gap,
        "gain": found.gain,
    }


class HeldOut:
    """Held-out clips, and what is measured on them.

    Args:
        modules: The model as it is when it is called.
        feed: Of the clips; its steps are the batches.
        frames: Of the encoder, for the feed's batches.
        batches: How many there are.
        evaluate: What is measured; by default `losses_of_control`.

    Attributes:
        source: Of the clips.
    """

    def __init__(
        self,
        modules: Modules,
        feed: Feed,
        frames: EncoderCache,
        batches: int,
        evaluate: Evaluate | None,
    ) -> None:
        self.source: ClipSource = feed.source
        self._modules, self._feed, self._frames = modules, feed, frames
        self._count, self._evaluate = batches, evaluate or losses_of_control

    @staticmethod
    def order(source: ClipSource, most: int) -> FixedOrder:
        """The first ``most`` clips in batches; none of them of one clip alone."""
        rows = list(range(min(len(source), most)))
        parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        if len(parts) > 1 and len(parts[-1]) == 1:  # it could not be given another's audio
            parts[-2:] = [parts[-2] + parts[-1]]
        return FixedOrder(parts)

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """The figures now; the model is in eval mode meanwhile."""
        model = self._modules.model
        was_training = model.training
        model.eval()
        try:
            with closing(self._batches()) as batches:
                return dict(self._evaluate(self._modules, batches))
        finally:
            model.train(was_training)

    def _batches(self) -> Generator[ControlBatch]:
        device, is_any = self._frames.device, False
        with closing(self._feed.steps(0, self._count)) as steps:
            for part in chain.from_iterable(steps):
                is_any = True
                frames, lengths = self._frames.take(part)
                idx, targets = part.idx.to(device), part.targets.to(device)
                yield ControlBatch(idx, targets, frames, lengths.to(device))
        if not is_any:
            raise TrainingError("no held-out clip can be used")


class FixedOrder:
    """Given batches, one a step."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    def parts(self, step: int) -> list[Rows]:
        """The batch of a step."""
        return [list(self._parts[step])]

    def epochs(self, steps: int) -> float:
        """How often ``steps`` steps go over the data."""
        return steps / len(self._parts)

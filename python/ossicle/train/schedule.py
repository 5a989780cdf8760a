"""The learning rate over a run: up, flat, down, as nanochat has it."""

from __future__ import annotations

__all__ = ["lr_factor"]


def lr_factor(step: int, steps: int, *, warmup: int, warmdown: float, final: float) -> float:
    """What the rate of a step is multiplied by.

    Args:
        step: From 0.
        steps: Of the whole run.
        warmup: Steps in which it rises linearly to 1, which the last of them reaches.
        warmdown: Share of ``steps``, the last ones, in which it falls linearly towards ``final``,
            which the step after the last would reach.
        final: What is left at the end.
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    falling = round(warmdown * steps)
    left = min(1.0, (steps - step) / falling) if falling else 1.0
    return rise * (left + (1 - left) * final)

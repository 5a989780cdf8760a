"""What steps cost: where their time goes, what padding wastes, and how busy the device is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

__all__ = ["StepCounts", "bottleneck", "figures"]

# From which share on something is called the bottleneck; below all of them it is the arithmetic.
WAIT_SHARE, ENCODE_SHARE, PADDING_SHARE = 0.1, 0.4, 0.2


@dataclass
class StepCounts:
    """What some steps took in; counts of steps and of processes add up.

    Attributes:
        steps: Optimizer steps.
        seconds: Wall time of the steps.
        wait: Of it, seconds in which nothing had been read for the next step.
        encode: Of it, seconds of the encoder.
        clips: Clips, each time they came.
        audio_seconds: Of audio in them.
        text_tokens: Graded tokens.
        soft_tokens: Positions of audio.
        positions: Positions that the language model computed, with padding.
        encoded: Encoder frames that were computed and belong to clips.
        encoder_positions: Encoder frames that were computed, with padding.
        flops: Arithmetic of the models' formulas, without padding.
    """

    steps: int = 0
    seconds: float = 0.0
    wait: float = 0.0
    encode: float = 0.0
    clips: int = 0
    audio_seconds: float = 0.0
    text_tokens: int = 0
    soft_tokens: int = 0
    positions: int = 0
    encoded: int = 0
    encoder_positions: int = 0
    flops: float = 0.0

    def add(self, other: StepCounts) -> None:
        """Adds the counts of ``other`` to these."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))


def figures(counts: StepCounts, processes: int, peak: float | None) -> dict[str, float]:
    """Speeds and shares of some steps.

    Args:
        counts: Summed over steps and processes.
        processes: How many ran side by side: wall time is counted by each of them.
        peak: What one process's device could do in a second; None leaves MFU out.

    Returns:
        ``step_ms``, ``audio_seconds_per_second``, ``tokens_per_second`` (soft and text, without
        padding), ``data_wait``, ``encode`` (shares of the time), ``padding`` and
        ``encoder_padding`` (shares of the positions), ``tflops`` (a second, of each process) and
        ``mfu``.
    """
    wall = counts.seconds / processes
    tokens = counts.text_tokens + counts.soft_tokens
    found = {
        "step_ms": 1e3 * _share(wall, counts.steps / processes),
        "audio_seconds_per_second": _share(counts.audio_seconds, wall),
        "tokens_per_second": _share(tokens, wall),
        "data_wait": _share(counts.wait, counts.seconds),
        "encode": _share(counts.encode, counts.seconds),
        "padding": 1 - _share(tokens, counts.positions) if counts.positions else 0.0,
        "encoder_padding": 1 - _share(counts.encoded, counts.encoder_positions)
        if counts.encoder_positions
        else 0.0,
        "tflops": 1e-12 * _share(counts.flops, counts.seconds),
    }
    return found if peak is None else found | {"mfu": _share(counts.flops, counts.seconds) / peak}


def bottleneck(found: Mapping[str, float]) -> str:
    """What holds the steps up most, and what helps, in words."""
    if found["data_wait"] >= WAIT_SHARE:
        return (
            f"data: {found['data_wait']:.0%} of the time is spent waiting for clips; more threads, "
            "a larger prefetch, shards, or features extracted before"
        )
    if found["encode"] >= ENCODE_SHARE:
        return (
            f"encoder: {found['encode']:.0%} of the time; extract its features once "
            "(ossicle extract whisper), or give cache_bytes room"
        )
    if found["padding"] >= PADDING_SHARE:
        return (
            f"padding: {found['padding']:.0%} of the positions; batches of like length "
            "(max_batch_seconds) have less"
        )
    return "compute: the models' arithmetic takes the time"


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0

"""The picture of a run: how the loss fell, what the model heard, and where the time went."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ossicle.drawing import (
    BAR,
    COLOUR_MAP,
    FAINT_BAR,
    GRID,
    INK,
    LINE,
    MUTED,
    label_axes,
    new_figure,
    save_figure,
)

__all__ = ["draw_layer_weights", "write_report"]

FRAMES_PER_SECOND = 100  # Whisper's mel frames
HELD_OUT = {
    "loss": ("held out", "#c1440e"),
    "shuffled": ("another clip's audio", "#8d6a9f"),
    "none": ("no audio", "#7a8450"),
}


def write_report(
    path: Path | str,
    losses: Sequence[float],
    *,
    log_mel: NDArray[np.float32] | None = None,
    stages: Mapping[str, float] | None = None,
    title: str = "Training report",
    subtitle: str | None = None,
    evaluations: Sequence[Mapping[str, float]] = (),
    figures: Mapping[str, float] | None = None,
    remarks: Mapping[str, int] | None = None,
) -> Path:
    """Writes a PNG with one panel for each part that is given.

    Args:
        path: Where the picture goes; its folder is made if it is missing.
        losses: Loss of each step, in nats a token; may be empty.
        log_mel: Log-mel features of one clip, (n_mels, frames), 100 frames a second.
        stages: Seconds by stage, in order.
        title: Above everything.
        subtitle: A line below the title, for what was run; by default what the losses say.
        evaluations: Held-out losses, each with its ``step``: ``loss``, ``shuffled`` and ``none``
            are drawn where they are there.
        figures: Speeds and shares of the run, for a line of text.
        remarks: How many clips have each reason for a remark, for that line too.

    Returns:
        The path.
    """
    below: list[Callable[[Any], None]] = []
    if log_mel is not None and log_mel.size:
        below.append(partial(_draw_log_mel, log_mel=log_mel))
    if stages:
        below.append(partial(_draw_stages, stages=stages))
    parts = (_summary(losses), _speeds(figures), _count_remarks(remarks))
    subtitle = subtitle or "; ".join(filter(None, parts))
    figure = new_figure(10, 7.4 if below else 4.4, title, subtitle, dpi=130)
    grid = figure.add_gridspec(2 if below else 1, max(len(below), 1))
    _draw_losses(figure.add_subplot(grid[0, :]), losses, evaluations)
    for column, draw in enumerate(below):
        draw(figure.add_subplot(grid[1, column]))
    return save_figure(figure, path)


def draw_layer_weights(
    path: Path | str,
    weights: Sequence[float],
    *,
    title: str = "Which layers of the encoder are used",
    subtitle: str = "softmax weights of a learned sum; 0 is what the convolutions give",
) -> Path:
    """Writes a PNG of the weights of the encoder's layers.

    Args:
        path: Where the picture goes; its folder is made if it is missing.
        weights: One a layer, from the input on, that sum to 1.
        title: Above everything.
        subtitle: A line below the title.
    """
    figure = new_figure(7, 3.6, title, subtitle)
    axes: Any = figure.add_subplot()
    label_axes(axes, "", "layer", "weight")
    colours = [LINE if w == max(weights) else BAR for w in weights]
    axes.bar(range(len(weights)), weights, color=colours, width=0.7)
    axes.axhline(1 / len(weights), color=MUTED, linewidth=1, linestyle=":")
    axes.annotate("all equal", (len(weights) - 0.5, 1 / len(weights)), color=MUTED, ha="right",
                  xytext=(0, 3), textcoords="offset points", fontsize=9)  # fmt: skip
    axes.set_xticks(range(len(weights)))
    axes.set_ylim(0, 1.15 * max(weights))
    return save_figure(figure, path)


def _summary(losses: Sequence[float]) -> str:
    if not len(losses):
        return "no steps"
    steps = "1 step" if len(losses) == 1 else f"{len(losses)} steps"
    fall = losses[0] - losses[-1]
    return f"{steps}, loss {losses[0]:.3f} to {losses[-1]:.3f}, a fall of {fall:.3f}"


def _speeds(figures: Mapping[str, float] | None) -> str:
    """The figures that say how well the machine was used, as far as they are known."""
    if not figures:
        return ""
    parts = [
        f"{figures['audio_seconds_per_second']:,.0f} s of audio and "
        f"{figures['tokens_per_second']:,.0f} tokens a second"
    ]
    shares = {"data_wait": "waiting for data", "padding": "padding", "mfu": "MFU"}
    parts += [f"{figures[name]:.1%} {words}" for name, words in shares.items() if name in figures]
    return ", ".join(parts)


def _count_remarks(remarks: Mapping[str, int] | None) -> str:
    count = sum((remarks or {}).values())
    return f"{count:,} remarks on clips, in result.json" if count else ""


def _draw_losses(
    axes: Any, losses: Sequence[float], evaluations: Sequence[Mapping[str, float]]
) -> None:
    label_axes(axes, "Loss by step", "step", "cross entropy (nats a token)")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if not len(losses):
        axes.text(0.5, 0.5, "no steps", ha="center", transform=axes.transAxes, color=MUTED)
        return
    marker = "o" if len(losses) <= 20 else None
    axes.plot(range(len(losses)), losses, color=LINE, linewidth=2, marker=marker)
    finite = [loss for loss in losses if np.isfinite(loss)]
    axes.set_ylim(0, 1.1 * max(finite, default=1.0))
    axes.set_xlim(-0.5, len(losses) - 0.5)
    _draw_evaluations(axes, evaluations)


def _draw_evaluations(axes: Any, evaluations: Sequence[Mapping[str, float]]) -> None:
    """Held-out losses over the training's own; a step's evaluation comes after it."""
    for name, (words, colour) in HELD_OUT.items():
        points = [(found["step"] - 1, found[name]) for found in evaluations if name in found]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=words, markersize=4)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
        axes.set_ylim(0, max(axes.get_ylim()[1], 1.1 * _highest(evaluations)))


def _highest(evaluations: Sequence[Mapping[str, float]]) -> float:
    values = [found[name] for found in evaluations for name in HELD_OUT if name in found]
    return max((value for value in values if np.isfinite(value)), default=0.0)


def _draw_log_mel(axes: Any, log_mel: NDArray[np.float32]) -> None:
    seconds = log_mel.shape[1] / FRAMES_PER_SECOND
    label_axes(axes, "Input of the encoder: one clip", "time (s)", "mel bin")
    picture = axes.imshow(
        log_mel,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        cmap=COLOUR_MAP,
        extent=(0, seconds, 0, log_mel.shape[0]),
    )
    bar = axes.figure.colorbar(picture, ax=axes, pad=0.02)
    bar.set_label("log-mel, as Whisper scales it", color=MUTED)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, length=0)


def _draw_stages(axes: Any, stages: Mapping[str, float]) -> None:
    names, seconds = list(stages), list(stages.values())
    total = sum(seconds)
    label_axes(axes, f"Time by stage: {total:.1f} s in all", "seconds", "")
    longest = max(seconds)
    colours = [BAR if s == longest else FAINT_BAR for s in seconds]
    bars = axes.barh(names, seconds, color=colours, height=0.65)
    share = [f"{s:.2f} s  ({s / total:.1%})" if total else "0 s" for s in seconds]
    axes.bar_label(bars, share, padding=4, color=INK, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.45 * longest or 1)
    axes.spines["left"].set_visible(False)

"""Pictures that say whether a model listens: loss curves, the control, soft tokens.

Needs matplotlib: ``pip install 'ossicle[train]'``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ossicle.drawing import (
    BAR,
    GRID,
    INK,
    LINE,
    label_axes,
    new_figure,
    save_figure,
)
from ossicle.train.evaluate import ControlResult

__all__ = ["draw_control", "draw_losses", "draw_soft_tokens"]

FloatArray = NDArray[np.floating[Any]]

COLOURS = {"shuffled": "#c8553d", "none": "#8d99a6", "right": LINE}
LABELS = {"shuffled": "another clip's audio", "none": "no audio", "right": "the right audio"}
GROUPS = (
    "#2a6f97",
    "#c8553d",
    "#588157",
    "#e09f3e",
    "#7b5ea7",
    "#3aa6a0",
    "#b5446e",
    "#6c757d",
    "#8a6d3b",
    "#1b9e4b",
)
SHOWN = 1_500  # soft tokens of a cloud
SMOOTHED = 25  # steps of a running mean


def draw_losses(
    path: Path | str,
    curves: Mapping[str, tuple[Sequence[float], str]],
    *,
    title: str = "Loss by step",
    subtitle: str = "faint: each step; strong: the mean of 25",
) -> Path:
    """Writes a PNG with a panel for each loss curve.

    Args:
        path: Where the picture goes; its folder is made if it is missing.
        curves: By the heading of each panel, the loss of each step and the unit.
        title: Above everything.
        subtitle: A line below the title.
    """
    figure = new_figure(3.6 * max(2, len(curves)), 3.8, title, subtitle)
    for number, (name, (losses, unit)) in enumerate(curves.items()):
        axes: Any = figure.add_subplot(1, len(curves), number + 1)
        label_axes(axes, name, "step", unit)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.plot(losses, color=BAR, linewidth=0.8, alpha=0.45)
        if len(losses) >= SMOOTHED:
            mean = np.convolve(losses, np.full(SMOOTHED, 1 / SMOOTHED), mode="valid")
            axes.plot(np.arange(len(mean)) + SMOOTHED // 2, mean, color=LINE, linewidth=2)
        axes.set_ylim(0, 1.05 * max((x for x in losses if np.isfinite(x)), default=1.0))
    return save_figure(figure, path)


def draw_control(
    path: Path | str,
    evaluations: Sequence[Mapping[str, float]],
    final: ControlResult,
    *,
    title: str = "Is the audio used?",
    subtitle: str | None = None,
) -> Path:
    """Writes a PNG of the three losses of the control, over the steps and at the end.

    Args:
        path: Where the picture goes; its folder is made if it is missing.
        evaluations: ``step``, ``loss``, ``shuffled`` and ``none`` of each, as a run has them.
        final: The control after the last step.
        title: Above everything.
        subtitle: A line below the title; by default the gap.
    """
    text = (
        f"{final.clips} held-out clips, {final.tokens:,} tokens: the right audio lowers "
        "the loss by "
    )
    text += f"{final.gap:.2f} nats a token over another clip's, {final.gain:.2f} over none"
    figure = new_figure(10, 4.4, title, subtitle or text)
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    _draw_conditions(left, evaluations)
    _draw_last(right, final)
    return save_figure(figure, path)


def _draw_conditions(axes: Any, evaluations: Sequence[Mapping[str, float]]) -> None:
    label_axes(axes, "Held-out loss while the projector learns", "step", "nats a token")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    steps = [found["step"] for found in evaluations]
    marker = "o" if len(steps) <= 20 else None
    top = 0.0
    for name, colour in COLOURS.items():
        values = [found["loss" if name == "right" else name] for found in evaluations]
        label = LABELS[name]
        axes.plot(steps, values, color=colour, linewidth=2, marker=marker, ms=4, label=label)
        top = max([top, *(value for value in values if np.isfinite(value))])
    axes.set_ylim(0, 1.1 * top or 1)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)


def _draw_last(axes: Any, last: ControlResult) -> None:
    label_axes(axes, "At the end", "nats a token", "")
    values = [getattr(last, name) for name in COLOURS]
    names = [LABELS[name] for name in COLOURS]
    bars = axes.barh(names, values, color=list(COLOURS.values()), height=0.6)
    axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=4, color=INK, fontsize=10)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * max(values) or 1)
    axes.spines["left"].set_visible(False)


def principal_components(points: FloatArray, count: int = 2) -> tuple[FloatArray, FloatArray]:
    """Mean (d,) and the first directions (count, d) of points (n, d), largest variance first.

    Signs are such that the largest entry of each direction is positive.
    """
    mean = points.mean(axis=0)
    directions = np.linalg.svd(points - mean, full_matrices=False)[2][:count]
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    return mean, directions * signs[:, None]


def draw_soft_tokens(
    path: Path | str,
    soft: FloatArray,
    text: Mapping[str, FloatArray],
    groups: Mapping[str, FloatArray],
    *,
    title: str = "Soft tokens beside text",
    subtitle: str = "",
    heading: str = "",
) -> Path:
    """Writes a PNG of a PCA of projector outputs, beside the embeddings of text tokens.

    Args:
        path: Where the picture goes; its folder is made if it is missing.
        soft: Soft tokens as the language model sees them, normed (n, d); a share is shown.
        text: The embedding (d,) of each token that is named, normed in the same way.
        groups: Soft tokens (m, d) by what they ought to share, for the right panel.
        title: Above everything.
        subtitle: A line below the title.
        heading: Of the right panel: what the groups are.
    """
    figure = new_figure(11, 5.2, title, subtitle)
    left, right = figure.subplots(1, 2)
    letters = np.stack(list(text.values()))
    mean, axes2 = principal_components(letters)  # the space of the text
    soft = soft[:: max(1, len(soft) // SHOWN)]
    _draw_beside(left, (soft - mean) @ axes2.T, (letters - mean) @ axes2.T, list(text))
    mean, axes2 = principal_components(np.concatenate(list(groups.values())))
    label_axes(right, heading, "first component", "second component")
    for (name, points), colour in zip(groups.items(), GROUPS * 10, strict=False):
        x, y = ((points - mean) @ axes2.T).T
        right.scatter(x, y, s=18, color=colour, alpha=0.75, linewidths=0)
        right.annotate(
            name,
            (float(np.median(x)), float(np.median(y))),
            color=colour,
            fontweight="bold",
            ha="center",
            path_effects=_halo(),
        )
    return save_figure(figure, path)


def _draw_beside(axes: Any, soft: FloatArray, letters: FloatArray, names: list[str]) -> None:
    label_axes(
        axes, "In the plane where the letters differ most", "first component", "second component"
    )
    axes.scatter(*soft.T, s=6, color=BAR, alpha=0.4, linewidths=0, label="soft tokens")
    axes.scatter(*letters.T, s=8, color=COLOURS["shuffled"], label="embeddings of letters")
    for name, (x, y) in zip(names, letters, strict=True):
        axes.annotate(
            name, (x, y), xytext=(3, 3), textcoords="offset points", color=COLOURS["shuffled"],
            fontsize=8, path_effects=_halo(),
        )  # fmt: skip
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)


def _halo() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground="white")]

"""The picture of a recording's windows: its waveform, its segments and what is cut out of it.

Needs matplotlib: ``pip install 'ossicle[train]'``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ossicle.dataloader.transform.segments import SAME_SECONDS, segment_lists
from ossicle.dataloader.transform.windows import Window
from ossicle.dataloader.types import MetadataDict, SampleRate, SegmentList
from ossicle.drawing import GRID, HEADING_INCHES, LINE, MUTED, new_figure, save_figure
from ossicle.features.picture import COLUMNS

if TYPE_CHECKING:
    from ossicle.dataloader.types import Waveform

__all__ = ["draw_windows"]

_ROW_INCHES, _WAVEFORM_INCHES, _AXIS_INCHES = 0.34, 1.5, 0.75
_BAR = 0.64  # of a row
_UNLABELLED = "#8d99a3"
_COLOURS = ("#2a6f97", "#e07a5f", "#5b8e7d", "#9a6fb0", "#c9a227", "#6d6875")
_WINDOW: dict[str, Any] = {"facecolor": "#f4d58d", "edgecolor": "#b8860b", "linewidth": 1}


def draw_windows(
    path: Path | str,
    waveform: Waveform,
    sample_rate: SampleRate,
    metadata: MetadataDict,
    windows: Mapping[str, Sequence[Window]],
    *,
    title: str,
    subtitle: str = "",
) -> Path:
    """Writes a PNG: the waveform, below it a row for each list of segments and each set of windows.

    Args:
        path: Where the picture goes; its folder is made if it is missing.
        waveform: ``(channels, samples)``; the first channel is drawn.
        sample_rate: In Hz.
        metadata: Whose segments are drawn, coloured by their labels.
        windows: By the name that their row gets; rows of overlapping windows are drawn in turns of
            two heights.
        title: Above everything.
        subtitle: A line below the title.

    Returns:
        The path.
    """
    lists = segment_lists(metadata)
    rows = len(lists) + len(windows)
    height = HEADING_INCHES + _WAVEFORM_INCHES + rows * _ROW_INCHES + _AXIS_INCHES
    spacing = {"h_pad": 0.08, "w_pad": 0.12, "hspace": 0}
    figure = new_figure(10, height, title, subtitle, dpi=130, **spacing)
    ratios = (_WAVEFORM_INCHES, rows * _ROW_INCHES)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=ratios)
    _draw_waveform(upper, waveform[0].numpy(), sample_rate)
    _draw_rows(lower, lists, windows)
    lower.set_xlim(0, waveform.shape[1] / sample_rate)
    return save_figure(figure, path)


def _draw_waveform(axes: Any, samples: Any, sample_rate: int) -> None:
    count = min(COLUMNS, len(samples))
    starts = np.linspace(0, len(samples), count, endpoint=False).astype(int)
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    axes.fill_between(starts / sample_rate, low, high, color=LINE, linewidth=0.5)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_rows(
    axes: Any, lists: Mapping[str, SegmentList], windows: Mapping[str, Sequence[Window]]
) -> None:
    segments = [item for items in lists.values() for item in items]
    labels = sorted({str(item["label"]) for item in segments if "label" in item})
    colours = {label: _COLOURS[at % len(_COLOURS)] for at, label in enumerate(labels)}
    for row, items in enumerate(lists.values()):
        for item in items:
            label = str(item.get("label", ""))
            span = item["onset"], item["offset"]
            _bar(axes, span, row, _BAR, label, facecolor=colours.get(label, _UNLABELLED))
    for row, found in enumerate(windows.values(), len(lists)):
        overlap = any(second.onset < first.end - SAME_SECONDS for first, second in pairwise(found))
        height = _BAR / 2 if overlap else _BAR
        for at, window in enumerate(found):
            place = row + (at % 2 - 0.5) * height if overlap else row
            _bar(axes, (window.onset, window.end), place, height, **_WINDOW)
    axes.set_ylim(len(lists) + len(windows) - 0.4, -0.6)
    axes.set_yticks(range(len(lists) + len(windows)), [*lists, *windows])
    axes.tick_params(colors=MUTED, length=0)
    axes.set_xlabel("time (s)", color=MUTED)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _bar(
    axes: Any, span: tuple[float, float], row: float, height: float, label: str = "", **style: Any
) -> None:
    onset, offset = span
    axes.broken_barh([(onset, offset - onset)], (row - height / 2, height), **style)
    text = {"color": "white", "fontsize": 8, "ha": "center", "va": "center", "clip_on": True}
    axes.text((onset + offset) / 2, row, label, **text)

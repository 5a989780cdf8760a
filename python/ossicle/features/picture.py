"""The picture of a clip: its waveform, and above it the log-mel features that a model hears.

Needs matplotlib: ``pip install 'ossicle[train]'``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ossicle.features.mel import HOP_LENGTH, SAMPLE_RATE, FloatArray

__all__ = ["draw_features"]

HEADING_INCHES = 0.72
INK, MUTED, GRID, LINE = "#22303c", "#5d6d7a", "#e3e8ec", "#2a6f97"
COLOUR_MAP = "magma"
TICKS_HZ = (250, 500, 1_000, 2_000, 4_000, 7_000)
COLUMNS = 2_000  # of the waveform's outline: more than pixels


def draw_features(
    path: Path | str, log_mel: FloatArray, waveform: FloatArray, *, title: str, subtitle: str
) -> Path:
    """Writes a PNG of features over the waveform that they were made of.

    Args:
        path: Where the picture goes; its folder is made if it is missing.
        log_mel: ``(n_mels, frames)``, 100 frames a second.
        waveform: ``(samples,)`` at 16 kHz.
        title: Above everything.
        subtitle: A line below the title.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    height = 5.6
    panels = (0, 0, 1, 1 - HEADING_INCHES / height)
    layout = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1, rect=panels)
    figure = Figure(figsize=(10, height), dpi=130, layout=layout)
    FigureCanvasAgg(figure)
    style: dict[str, Any] = {"x": 0.012, "ha": "left", "va": "top"}
    figure.text(y=1 - 0.14 / height, s=title, color=INK, fontsize=14, fontweight="bold", **style)
    figure.text(y=1 - 0.43 / height, s=subtitle, color=MUTED, fontsize=10, **style)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    seconds = log_mel.shape[1] * HOP_LENGTH / SAMPLE_RATE
    _draw_log_mel(upper, log_mel, seconds)
    _draw_waveform(lower, waveform, seconds)
    figure.savefig(path)
    return path


def _draw_log_mel(axes: Any, log_mel: FloatArray, seconds: float) -> None:
    bands = log_mel.shape[0]
    picture = axes.imshow(
        log_mel,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        cmap=COLOUR_MAP,
        extent=(0, seconds, 0, bands),
    )
    ticks = [_mels(hertz) / _mels(SAMPLE_RATE / 2) * (bands + 1) - 0.5 for hertz in TICKS_HZ]
    axes.set_yticks(ticks, [f"{hertz:,}" for hertz in TICKS_HZ])
    _frame(axes, "Hz")
    bar = axes.figure.colorbar(picture, ax=axes, pad=0.02)
    bar.set_label("log-mel, as Whisper scales it", color=MUTED)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, length=0)


def _draw_waveform(axes: Any, waveform: FloatArray, seconds: float) -> None:
    _frame(axes, "amplitude")
    axes.set_xlabel("time (s)", color=MUTED)
    axes.set_xlim(0, seconds)
    if not len(waveform):
        return
    starts = np.linspace(0, len(waveform), min(COLUMNS, len(waveform)), endpoint=False).astype(int)
    low = np.minimum.reduceat(waveform, starts)
    high = np.maximum.reduceat(waveform, starts)
    axes.fill_between(starts / SAMPLE_RATE, low, high, color=LINE, linewidth=0.5)


def _frame(axes: Any, label: str) -> None:
    axes.set_ylabel(label, color=MUTED)
    axes.tick_params(colors=MUTED, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)


def _mels(hertz: float) -> float:
    """Slaney's scale: linear up to 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    if hertz < 1_000:
        return 3 * hertz / 200
    return 15 + float(np.log(hertz / 1_000)) * 27 / float(np.log(6.4))

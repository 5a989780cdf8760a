"""The picture of a clip: its waveform, and above it the log-mel features that a model hears.

Needs matplotlib: ``pip install 'ossicle[train]'``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ossicle.drawing import COLOUR_MAP, LINE, MUTED, frame_axes, new_figure, save_figure
from ossicle.features.mel import HOP_LENGTH, SAMPLE_RATE, FloatArray

__all__ = ["draw_features"]

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
    figure = new_figure(10, 5.6, title, subtitle, dpi=130, h_pad=0.1)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    seconds = log_mel.shape[1] * HOP_LENGTH / SAMPLE_RATE
    _draw_log_mel(upper, log_mel, seconds)
    _draw_waveform(lower, waveform, seconds)
    return save_figure(figure, path)


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
    axes.set_ylabel("Hz", color=MUTED)
    frame_axes(axes)
    bar = axes.figure.colorbar(picture, ax=axes, pad=0.02)
    bar.set_label("log-mel, as Whisper scales it", color=MUTED)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, length=0)


def _draw_waveform(axes: Any, waveform: FloatArray, seconds: float) -> None:
    axes.set_ylabel("amplitude", color=MUTED)
    frame_axes(axes)
    axes.set_xlabel("time (s)", color=MUTED)
    axes.set_xlim(0, seconds)
    if not len(waveform):
        return
    starts = np.linspace(0, len(waveform), min(COLUMNS, len(waveform)), endpoint=False).astype(int)
    low = np.minimum.reduceat(waveform, starts)
    high = np.maximum.reduceat(waveform, starts)
    axes.fill_between(starts / SAMPLE_RATE, low, high, color=LINE, linewidth=0.5)


def _mels(hertz: float) -> float:
    """Slaney's scale: linear up to 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    if hertz < 1_000:
        return 3 * hertz / 200
    return 15 + float(np.log(hertz / 1_000)) * 27 / float(np.log(6.4))

"""Draws docs/resampling.png: gain near the Nyquist frequency, and what a sweep leaves at 16 kHz.

uv run --group bench benches/chart_resampling.py docs/resampling.png
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.signal import resample_poly, spectrogram

import ossicle

Array = npt.NDArray[np.float64]
SOURCE, TARGET = 44_100, 16_000
INK, MUTED = "#22303c", "#5d6d7a"
FLOOR_DB = -160.0

Resample = Callable[[Array], npt.NDArray[np.floating]]
CONTESTANTS: dict[str, tuple[Resample, str, str]] = {
    "fast": (lambda x: ossicle.resample(x, SOURCE, TARGET, quality="fast"), "#e76f51", "-"),
    "high": (lambda x: ossicle.resample(x, SOURCE, TARGET), "#2a6f97", "-"),
    "best": (lambda x: ossicle.resample(x, SOURCE, TARGET, quality="best"), "#264653", "-"),
    "soxr HQ": (lambda x: soxr.resample(x, SOURCE, TARGET, "HQ"), "#9a8c98", "--"),
    "soxr VHQ": (lambda x: soxr.resample(x, SOURCE, TARGET, "VHQ"), "#6d597a", ":"),
    "scipy resample_poly": (lambda x: resample_poly(x, 160, 441), "#e9c46a", "--"),
}
SHOWN = ["high", "best", "soxr HQ", "scipy resample_poly"]


def gain(resample: Resample, hz: float) -> float:
    """dB of what a tone becomes, wherever it lands."""
    time = np.arange(SOURCE) / SOURCE
    got = resample(np.sin(2 * np.pi * hz * time)).astype(np.float64)[TARGET // 4 : -TARGET // 4]
    return float(10 * np.log10(max(2 * np.mean(got**2), 10 ** (FLOOR_DB / 10))))


def draw_gain(axes: Axes) -> None:
    """Kept below 8 kHz, and beyond it what folds back."""
    frequencies = np.arange(6_800, 9_000, 20.0)
    for name, (resample, colour, style) in CONTESTANTS.items():
        gains = [gain(resample, hz) for hz in frequencies]
        axes.plot(frequencies / 1e3, gains, style, color=colour, label=name, linewidth=1.4)
    axes.axvline(TARGET / 2e3, color=INK, linewidth=0.8)
    axes.set(xlim=(6.8, 9), ylim=(FLOOR_DB, 5))
    axes.set_xlabel("kHz in the input (8 kHz: the Nyquist frequency of the output)", color=MUTED)
    axes.set_ylabel("dB in the output", color=MUTED)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    axes.set_title("A tone, 44.1 to 16 kHz", loc="left", fontsize=11, color=INK)


def draw_sweep(axes: Axes, name: str) -> None:
    """A sweep of 4 s from 0 to 22.05 kHz: the line is the signal, the rest was made."""
    time = np.arange(4 * SOURCE) / SOURCE
    sweep = np.sin(np.pi * SOURCE / 2 / 4 * time**2)
    got = CONTESTANTS[name][0](sweep).astype(np.float64)
    window = np.kaiser(512, 20)
    hz, seconds, power = spectrogram(
        got, TARGET, window=window, noverlap=384, detrend=False, scaling="spectrum"
    )
    levels = 10 * np.log10(np.maximum(2 * power, 1e-20))
    axes.pcolormesh(seconds, hz / 1e3, levels, vmin=-150, vmax=0, cmap="magma", rasterized=True)
    axes.set_title(name, loc="left", fontsize=9, color=INK)
    axes.set_xlabel("s", color=MUTED)


def draw(picture: Path) -> None:
    figure = Figure(figsize=(11, 7), layout="constrained")
    panes = figure.subplot_mosaic([["gain"] * 4, SHOWN], height_ratios=[1.2, 1])
    draw_gain(panes["gain"])
    for name in SHOWN:
        draw_sweep(panes[name], name)
    panes[SHOWN[0]].set_ylabel("kHz", color=MUTED)
    meshes = panes[SHOWN[-1]].collections[0]
    figure.colorbar(meshes, ax=[panes[name] for name in SHOWN], label="dB", shrink=0.9)
    for axes in panes.values():
        axes.tick_params(colors=MUTED)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    draw(parser.parse_args().picture)

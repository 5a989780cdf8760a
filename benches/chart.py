"""Draws the README's chart from records: ratio of each peer's time to ours, by kind of work.

python benches/chart.py benches/record/<date> docs/speed.png
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# What one would pick instead, in the order of the bars.
PEERS = {"soundfile": "#2a6f97", "torchcodec": "#61a5c2", "librosa": "#c9ada7", "SPDL": "#9a8c98"}
FILES = {
    "wav 15 s 16k mono -> native": "WAV 15 s",
    "wav 15 s 44.1k stereo -> 16k": "WAV stereo\nto 16 kHz",
    "flac 15 s 16k mono -> native": "FLAC 15 s",
    "flac 15 s 44.1k stereo -> 16k": "FLAC stereo\nto 16 kHz",
    "mp3 15 s 16k mono -> native": "MP3 15 s",
    "vorbis 15 s 16k mono -> native": "Vorbis 15 s",
    "opus 15 s 48k mono -> native": "Opus 15 s",
    "aac 15 s 16k mono -> native": "AAC 15 s",
}
# Record, row and peer.
ARRAYS = {
    "resample 15 s, 44.1 to 16 kHz: soxr HQ": ("resample", "15 s 44.1k mono", "soxr HQ"),
    "resample 15 s, 48 to 16 kHz: soxr HQ": ("resample", "15 s 48k mono", "soxr HQ"),
    "the same: scipy resample_poly": ("resample", "15 s 48k mono", "scipy"),
    "log-mel of 30 s: transformers, torch": ("mel", "30 s, 80 mels", "HF-torch"),
    "log-mel of 5 s padded to 30 s: the same": ("mel", "5 s padded to 30 s, 80 mels", "HF-torch"),
    "16 FLAC files to features:\ntorchcodec and transformers": (
        "mel",
        "fused, 16 flac of 1 to 16 s, 44100 Hz",
        "torchcodec+HF",
    ),
    "16 MP3 files to features:\ntorchcodec and transformers": (
        "mel",
        "fused, 16 mp3 of 1 to 16 s, 44100 Hz",
        "torchcodec+HF",
    ),
}
INK, MUTED = "#22303c", "#5d6d7a"

Ratios = dict[str, dict[str, float]]


def ratios(stem: str, subject: str) -> Ratios:
    """Of each row and peer of the record ``<stem>-<subject>.json``."""
    content = json.loads(Path(f"{stem}-{subject}.json").read_text(encoding="utf-8"))
    return {row["name"]: row["ratios"] for row in content["rows"]}


def shown(ratio: float) -> str:
    return "" if math.isnan(ratio) else f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


def draw_files(axes: Axes, decode: Ratios) -> None:
    rows = {label: decode[name] for name, label in FILES.items() if name in decode}
    width = 0.8 / len(PEERS)
    for at, (peer, colour) in enumerate(PEERS.items()):
        heights = [values.get(peer, math.nan) for values in rows.values()]
        places = [index + (at - (len(PEERS) - 1) / 2) * width for index in range(len(rows))]
        bars = axes.bar(places, heights, width * 0.92, color=colour, label=peer)
        axes.bar_label(bars, [shown(h) for h in heights], fontsize=7, color=MUTED, padding=1)
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 5, 10, 20, 50, 100], ["1x", "2x", "5x", "10x", "20x", "50x", "100x"])
    axes.set_xticks(range(len(rows)), list(rows), fontsize=8)
    axes.set_ylabel("time of the peer / Ossicle's", color=MUTED)
    title = "One file to mono float32 on one thread: how many times longer the others take"
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.legend(frameon=False, ncols=len(PEERS), fontsize=8)


def draw_arrays(axes: Axes, records: dict[str, Ratios]) -> None:
    values = [records[record][row][peer] for record, row, peer in ARRAYS.values()]
    bars = axes.barh(range(len(values)), values, 0.6, color=PEERS["soundfile"])
    axes.bar_label(bars, [shown(value) for value in values], fontsize=8, color=MUTED, padding=2)
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20, 50], ["1x", "2x", "5x", "10x", "20x", "50x"])
    axes.set_yticks(range(len(values)), list(ARRAYS), fontsize=8)
    axes.invert_yaxis()
    axes.set_title("Resampling and features, likewise", loc="left", fontsize=11, color=INK)


def draw(stem: str, picture: Path) -> None:
    """Writes the chart of the records that begin with ``stem`` to ``picture``."""
    figure = Figure(figsize=(9, 7), layout="constrained")
    upper, lower = figure.subplots(2, height_ratios=[4, 3])
    draw_files(upper, ratios(stem, "decode"))
    draw_arrays(lower, {subject: ratios(stem, subject) for subject in ("resample", "mel")})
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=MUTED, which="both")
        axes.minorticks_off()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=140)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", help="benches/record/<date>")
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    draw(options.records, options.picture)

"""Draws the README's chart from a record: ratio of each peer's time to ours, by kind of file.

python benches/chart.py benches/record/<date>-decode.json docs/decode.png
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from matplotlib.figure import Figure

# What one would pick instead, in the order of the bars.
PEERS = {"soundfile": "#2a6f97", "torchcodec": "#61a5c2", "librosa": "#c9ada7", "SPDL": "#9a8c98"}
ROWS = {
    "wav 15 s 16k mono -> native": "WAV 15 s",
    "wav 15 s 44.1k stereo -> 16k": "WAV 15 s stereo\nto 16 kHz",
    "flac 15 s 16k mono -> native": "FLAC 15 s",
    "flac 15 s 44.1k stereo -> 16k": "FLAC 15 s stereo\nto 16 kHz",
    "mp3 15 s 16k mono -> native": "MP3 15 s",
    "vorbis 15 s 16k mono -> native": "Vorbis 15 s",
    "aac 15 s 16k mono -> native": "AAC 15 s",
}
INK, MUTED = "#22303c", "#5d6d7a"


def draw(record: Path, picture: Path) -> None:
    """Writes the chart of ``record`` to ``picture``."""
    content = json.loads(record.read_text(encoding="utf-8"))
    ratios = {row["name"]: row["ratios"] for row in content["rows"]}
    shown = {label: ratios[name] for name, label in ROWS.items() if name in ratios}
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(PEERS)
    for at, (peer, colour) in enumerate(PEERS.items()):
        heights = [values.get(peer, math.nan) for values in shown.values()]
        places = [index + (at - (len(PEERS) - 1) / 2) * width for index in range(len(shown))]
        bars = axes.bar(places, heights, width * 0.92, color=colour, label=peer)
        labels = ["" if math.isnan(h) else f"{h:.0f}" if h >= 10 else f"{h:.1f}" for h in heights]
        axes.bar_label(bars, labels, fontsize=7, color=MUTED, padding=1)
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 5, 10, 20, 50, 100], ["1x", "2x", "5x", "10x", "20x", "50x", "100x"])
    axes.set_xticks(range(len(shown)), list(shown), fontsize=8)
    axes.set_ylabel("time of the peer / Ossicle's", color=MUTED)
    axes.set_title(
        "One file to mono float32 on one thread: how many times longer the others take",
        loc="left",
        fontsize=11,
        color=INK,
    )
    axes.legend(frameon=False, ncols=len(PEERS), fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=MUTED, which="both")
    axes.minorticks_off()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=140)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    draw(options.record, options.picture)

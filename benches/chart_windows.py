"""Draws docs/dataloader-windows.png: two speakers in turns, and what each way of cutting takes.

Run it where `../shared/data/speech` lies beside the repository: `python benches/chart_windows.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import ossicle
from ossicle.dataloader import OnlineWindower, VADSegmenter
from ossicle.dataloader.transform.windows_picture import draw_windows

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT.parent / "shared" / "data" / "speech"
RATE = 16_000
# Clips, what of them in seconds, and who speaks.
TURNS = [
    ("jfk.flac", 0.3, 2.1, "MAL"),
    ("LJ002-0020.wav", 0.0, 1.5, "FEM"),
    ("jfk.flac", 3.2, 4.4, "MAL"),
    ("jfk.flac", 5.3, 7.6, "MAL"),
    ("LJ002-0035.wav", 0.0, 1.5, "FEM"),
]
PAUSES = (0.8, 0.5, 1.4, 0.25, 0.4, 1.1)


def main() -> None:
    pieces, segments, now = [np.zeros(round(PAUSES[0] * RATE), np.float32)], [], PAUSES[0]
    for (name, onset, offset, label), pause in zip(TURNS, PAUSES[1:], strict=True):
        clip, _ = ossicle.load(SPEECH / name, RATE, offset=onset, duration=offset - onset)
        length = len(clip) / RATE
        segments.append({"onset": now, "offset": now + length, "label": label})
        pieces += [0.3 * clip / np.abs(clip).max(), np.zeros(round(pause * RATE), np.float32)]
        now += length + pause
    waveform = torch.from_numpy(np.concatenate(pieces))[None]
    spoken = [{"onset": item["onset"], "offset": item["offset"]} for item in segments]
    metadata = {"duration": now, "vad_merged": spoken, "vtc_merged": segments}
    makers = {
        "fixed, 3 s": OnlineWindower(length=3),
        'fixed, 3 s, hop 2 s, tail="shift"': OnlineWindower(length=3, hop=2, tail="shift"),
        "vad, at most 4 s": OnlineWindower("vad", length=4, padding=0.1),
        'label "FEM", 2 s': OnlineWindower("label", length=2, labels=["FEM"]),
        "VADSegmenter, gaps to 0.3 s": VADSegmenter(merge_gap=0.3, padding=0.1),
    }
    draw_windows(
        ROOT / "docs" / "dataloader-windows.png",
        waveform,
        RATE,
        metadata,
        {name: maker.windows(metadata) for name, maker in makers.items()},
        title="What each way of cutting takes",
        subtitle="two speakers in turns, their segments, and the windows that come of them",
    )


if __name__ == "__main__":
    main()

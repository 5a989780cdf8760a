"""Corpora, models and configurations of a size that tests of training can afford."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import ossicle
from ossicle.train import TrainConfig

TONES = [(220, "low tone"), (330, "mid low tone"), (440, "middle"), (660, "high"), (880, "top é")]
SECONDS = [0.4 + 0.13 * i for i in range(len(TONES))]
RATES = [16_000, 8_000, 22_050, 44_100, 48_000]


def write_tones(folder: Path) -> Path:
    """Five tones of different lengths and rates, with words, and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, (pitch, text) in enumerate(TONES):
        t = np.arange(int(RATES[i] * SECONDS[i])) / RATES[i]
        tone = 0.5 * np.sin(2 * np.pi * pitch * t)
        ossicle.save(folder / f"{pitch}.wav", tone.astype(np.float32), RATES[i])
        key = ("wav", "audio_path")[i % 2]
        rows.append({key: f"{pitch}.wav", "text": text, "sr": RATES[i], "wav_id": f"tone {pitch}"})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def small(data: Path | str, **changes: Any) -> TrainConfig:
    """The smoke with one narrow layer, on the CPU."""
    base = TrainConfig(data, "tiny-random", steps=6, depth=1, device="cpu", loss_drop_min=None)
    return replace(base, **changes)

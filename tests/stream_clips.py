"""Small clips of several formats and rates, and plans over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ossicle.stream import Plan, Source

FORMATS = [("wav", 16_000), ("flac", 44_100), ("ogg", 48_000)]


def write(folder: Path, rows: int) -> list[Path]:
    """Clips of 0.05 to 0.25 s, every other in stereo."""
    noise = np.random.default_rng(0)
    files = []
    for row in range(rows):
        suffix, rate = FORMATS[row % len(FORMATS)]
        files.append(folder / f"clip-{row:03}.{suffix}")
        samples = noise.uniform(-0.5, 0.5, (noise.integers(rate // 20, rate // 4), 1 + row % 2))
        soundfile.write(files[-1], samples, rate)
    return files


def plan_of(files: list[Path], batch: Any = 4, **settings: Any) -> Plan:
    rows = [{"id": file.stem, "audio": str(file), "text": f"text {file.stem}"} for file in files]
    return Plan(Source(rows), batch, **settings)


def ids_of(plan: Plan, epoch: int) -> list[list[str]]:
    """The clips of an epoch, batch after batch, as the plan says."""
    batches = [plan.batch(epoch, number) for number in range(plan.batches(epoch))]
    return [plan.sources[0].ids(batch.row) for batch in batches]


def fails(rows: list[Any]) -> Any:
    """A collator."""
    raise ArithmeticError("no such number")

"""The least that keeps the contract of a plan: one source of files, shuffled by NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from ossicle.data.recordings import Recording

RATE = 16_000


class Batch(NamedTuple):
    source: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]
    number: int
    epoch: int


class State(NamedTuple):
    epoch: int
    consumed: int

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()


@dataclass(frozen=True)
class Folder:
    """A source of files."""

    files: list[Path]

    def recordings(self, rows: npt.NDArray[np.int64]) -> list[Recording]:
        return [Recording(self.files[row], str(self.files[row])) for row in rows]

    def ids(self, rows: npt.NDArray[np.int64]) -> list[str]:
        return [self.files[row].stem for row in rows]

    def facts(self, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        return [{"audio": str(self.files[row]), "text": f"text {row}"} for row in rows]


@dataclass(frozen=True)
class Order:
    """The contract of a plan, over one source, in batches of a size."""

    sources: list[Folder]
    size: int = 4

    @property
    def count(self) -> int:
        return -(-len(self.sources[0].files) // self.size)

    def steps(self, epoch: int, world_size: int = 1, start: int = 0) -> int:
        return -(-(self.count - start) // world_size)

    def batch(
        self, epoch: int, step: int, rank: int = 0, world_size: int = 1, start: int = 0
    ) -> Batch:
        after = self.state(epoch, start + step * world_size + rank)
        rows = np.random.default_rng(after.epoch).permutation(len(self.sources[0].files))
        rows = rows[after.consumed * self.size :][: self.size]
        return Batch(np.zeros(len(rows), np.int32), rows, after.consumed, after.epoch)

    def state(self, epoch: int, consumed: int) -> State:
        return State(epoch + consumed // self.count, consumed % self.count)

    def resume(self, state: dict[str, int]) -> State:
        return State(**state)

    def replacement(self, source: int, row: int, attempt: int) -> tuple[int, int]:
        return source, (row + attempt) % len(self.sources[0].files)


def write(folder: Path, rows: int) -> list[Path]:
    noise = np.random.default_rng(0)
    files = []
    for row in range(rows):
        suffix, rate = [("wav", 16_000), ("flac", 44_100), ("ogg", 48_000)][row % 3]
        files.append(folder / f"clip-{row:03}.{suffix}")
        samples = noise.uniform(-0.5, 0.5, (noise.integers(rate // 20, rate // 4), 1 + row % 2))
        soundfile.write(files[-1], samples, rate)
    return files


def expected(plan: Order, epoch: int) -> list[list[Path]]:
    count = plan.steps(epoch, 1)
    rows = [plan.batch(epoch, step, 0, 1).row for step in range(count)]
    return [[plan.sources[0].files[row] for row in one] for one in rows]

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ossicle.audio import AudioSource
from ossicle.errors import AudioError

__all__ = [
    "VERSION",
    "available_threads",
    "build",
    "encode",
    "info",
    "load",
    "load_batch",
    "resample",
]

VERSION: Final[str]

def available_threads() -> int: ...
def build() -> dict[str, str]: ...
def encode(
    planes: NDArray[np.float32], sample_rate: int, container: str, bits_per_sample: int
) -> bytes: ...
def info(source: AudioSource) -> tuple[int, int, int, str, str, int | None]: ...
def load(
    source: AudioSource,
    sample_rate: int | None,
    mono: bool,
    offset: float,
    duration: float | None,
    allow_nonfinite: bool,
) -> tuple[NDArray[np.float32], int]: ...
def load_batch(
    sources: Sequence[AudioSource],
    sample_rate: int,
    offsets: Sequence[float],
    duration: float | None,
    threads: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], list[AudioError | None]]: ...
def resample(
    waveform: NDArray[np.float32], orig_rate: int, target_rate: int
) -> NDArray[np.float32]: ...

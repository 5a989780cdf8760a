from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from ossicle.audio import AudioSource
from ossicle.errors import AudioError

__all__ = [
    "AUDIO_EXTENSIONS",
    "PIPELINE_VERSION",
    "RAW_CODECS",
    "VERSION",
    "Cache",
    "Resampler",
    "Shard",
    "ShardMember",
    "ShardWriter",
    "available_threads",
    "build",
    "encode",
    "encode_opus",
    "index_shards",
    "info",
    "load",
    "load_batch",
    "load_features",
    "log_mel",
    "reopen_member",
    "repair_shard",
    "resample",
    "verify_shards",
]

AUDIO_EXTENSIONS: Final[list[str]]
PIPELINE_VERSION: Final[str]
RAW_CODECS: Final[list[str]]
VERSION: Final[str]

@final
class Cache:
    def __new__(
        cls, root: str | PathLike[str], array: str, max_bytes: int | None, fsync: bool
    ) -> Cache: ...
    def exists(self, names: tuple[str, str, bool]) -> bool: ...
    def get(self, names: tuple[str, str, bool], copy: bool) -> NDArray[np.float32] | None: ...
    def get_batch(
        self, names: Sequence[tuple[str, str, bool]], copy: bool, threads: int
    ) -> list[NDArray[np.float32] | None]: ...
    def get_into(
        self, names: tuple[str, str, bool], out: NDArray[Any]
    ) -> tuple[int, ...] | None: ...
    def get_batch_into(
        self, names: Sequence[tuple[str, str, bool]], out: NDArray[Any], threads: int
    ) -> tuple[NDArray[np.int64], AudioError | None]: ...
    def put_batch(
        self,
        names: Sequence[tuple[str, str, bool]],
        arrays: Sequence[NDArray[Any]],
        threads: int,
    ) -> list[AudioError | None]: ...
    def clear(self) -> None: ...
    def prune(self, max_bytes: int | None) -> tuple[int, int, int]: ...
    def entries(self) -> list[tuple[Path, int, float]]: ...
    def check(
        self, paths: Sequence[str | PathLike[str]], threads: int
    ) -> list[tuple[Literal["corrupt", "stale", "unreadable"], str] | None]: ...
    def stats(self) -> tuple[int, int, int, int, int, int, int, int, int]: ...

@final
class Resampler:
    def __new__(
        cls, orig_rate: int, target_rate: int, quality: str, channels: int
    ) -> Resampler: ...
    @property
    def latency(self) -> int: ...
    def push(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]: ...
    def flush(self) -> NDArray[np.float32]: ...
    def reset(self) -> None: ...

@final
class Shard:
    def __new__(
        cls,
        path: str | PathLike[str],
        access: str,
        index: Sequence[tuple[str, int, int, int]] | None,
        by_headers: bool,
        identity: str | None,
    ) -> Shard: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[dict[str, Any]]: ...
    def is_mapped(self) -> bool: ...
    def is_indexed(self) -> bool: ...
    def identity(self) -> str: ...
    def check_unchanged(self) -> None: ...
    def keys(self) -> list[str]: ...
    def key(self, number: int) -> str: ...
    def find(self, key: str) -> int | None: ...
    def members(self) -> list[tuple[str, int, int, int]]: ...
    def extensions(self, number: int) -> list[str]: ...
    def sample(self, number: int) -> dict[str, Any]: ...
    def read(self, number: int, extension: str) -> bytes | None: ...
    def member(self, number: int, extension: str) -> ShardMember | None: ...

@final
class ShardMember:
    @property
    def shard(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def size(self) -> int: ...
    def __reduce__(self) -> tuple[Any, tuple[str, str, tuple[str, int, int, int]]]: ...

@final
class ShardWriter:
    def __new__(
        cls,
        path: str | PathLike[str],
        max_bytes: int | None,
        max_samples: int | None,
        index: bool,
        overwrite: bool,
        fsync: bool,
    ) -> ShardWriter: ...
    def write(
        self, key: str, members: Sequence[tuple[str, Buffer]], same_shard: bool = False
    ) -> None: ...
    def finish(self) -> None: ...
    def discard(self) -> None: ...
    def shards(self) -> list[tuple[Path, int, int]]: ...

def available_threads() -> int: ...
def build() -> dict[str, str]: ...
def encode(
    planes: NDArray[np.float32], sample_rate: int, container: str, bits_per_sample: int
) -> bytes: ...
def encode_opus(planes: NDArray[np.float32], sample_rate: int, bitrate: int | None) -> bytes: ...
def index_shards(
    paths: Sequence[str | PathLike[str]],
    threads: int,
    force: bool,
    progress: Callable[[int, int], object] | None,
) -> list[bool | AudioError]: ...
def info(
    source: AudioSource,
    raw: tuple[str, int, int, int] | None,
    decoder: str,
) -> tuple[int, int, int, str, str, int | None, tuple[str, ...]]: ...
def load(
    source: AudioSource,
    sample_rate: int | None,
    mono: bool,
    segment: tuple[float, float | None, int | None],
    allow_nonfinite: bool,
    verify: bool,
    conceal: bool,
    quality: str,
    strict: bool,
    raw: tuple[str, int, int, int] | None,
    decoder: str,
) -> tuple[NDArray[np.float32], int, list[tuple[int, int, AudioError]]]: ...
def load_batch(
    sources: Sequence[AudioSource],
    sample_rate: int | None,
    mono: bool,
    segments: Sequence[tuple[float, float | None, int | None]],
    threads: int,
    verify: bool,
    conceal: bool,
    quality: str,
    out: NDArray[np.float32] | None,
    strict: bool,
    raw: tuple[str, int, int, int] | None,
    decoder: str,
) -> tuple[
    tuple[NDArray[np.float32], NDArray[np.int64] | None],
    NDArray[np.int64],
    NDArray[np.int64],
    list[AudioError | None],
    list[list[tuple[int, int, AudioError]]],
]: ...
def load_features(
    sources: Sequence[AudioSource],
    n_mels: int,
    padded: int | None,
    segments: Sequence[tuple[float, float | None, int | None]],
    threads: int,
    verify: bool,
    conceal: bool,
    quality: str,
    out: NDArray[np.float32] | None,
    strict: bool,
    raw: tuple[str, int, int, int] | None,
) -> tuple[
    NDArray[np.float32],
    NDArray[np.int64],
    NDArray[np.int64],
    list[AudioError | None],
    list[list[tuple[int, int, AudioError]]],
]: ...
def log_mel(
    waveforms: Sequence[NDArray[np.float32]],
    n_mels: int,
    padded: int | None,
    threads: int,
    out: NDArray[np.float32],
) -> None: ...
def resample(
    waveform: NDArray[np.float32], orig_rate: int, target_rate: int, quality: str, engine: str
) -> NDArray[np.float32]: ...
def reopen_member(
    path: str | PathLike[str], identity: str, member: tuple[str, int, int, int]
) -> ShardMember: ...
def repair_shard(
    path: str | PathLike[str],
    target: str | PathLike[str],
    decode: bool,
    overwrite: bool,
    progress: Callable[[int, int], object] | None,
) -> tuple[int, int, int, list[AudioError]]: ...
def verify_shards(
    paths: Sequence[str | PathLike[str]],
    threads: int,
    decode: bool,
    decoder: str,
    progress: Callable[[int, int], object] | None,
) -> list[list[AudioError]]: ...

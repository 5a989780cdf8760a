from collections.abc import Sequence
from os import PathLike
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from ossicle.errors import AudioError

__all__ = ["PIPELINE_VERSION", "Cache"]

PIPELINE_VERSION: Final[str]

@final
class Cache:
    def __new__(cls, root: str | PathLike[str], array: str, max_bytes: int | None) -> Cache: ...
    def exists(self, name: str, identity: str) -> bool: ...
    def get(self, name: str, identity: str, copy: bool) -> NDArray[np.float32] | None: ...
    def get_batch(
        self, names: Sequence[tuple[str, str]], copy: bool
    ) -> list[NDArray[np.float32] | None]: ...
    def put_batch(
        self, names: Sequence[tuple[str, str]], arrays: Sequence[NDArray[np.float32]]
    ) -> list[AudioError | None]: ...
    def clear(self) -> None: ...
    def stats(self) -> tuple[int, int, int, int, int, int]: ...

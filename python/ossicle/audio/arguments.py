"""Arguments that the functions on audio have in common: checked, and with their defaults."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ossicle import _native
from ossicle.errors import InvalidArgumentError

if TYPE_CHECKING:
    from ossicle.errors import AudioError

__all__ = ["clip_starts", "default_threads", "raise_first", "thread_count"]


def clip_starts(offsets: Sequence[float] | None, count: int) -> list[float]:
    """Where to begin in each of ``count`` clips, in seconds."""
    starts = [0.0] * count if offsets is None else [float(start) for start in offsets]
    if len(starts) != count:
        raise InvalidArgumentError(f"{len(starts)} offsets for {count} sources")
    return starts


def raise_first(errors: Sequence[AudioError | None]) -> None:
    """Raises the first error, if there is any."""
    for error in filter(None, errors):
        raise error


def thread_count(threads: int | None) -> int:
    """As many threads as were asked for, or else as fit."""
    if threads is None:
        return default_threads()
    if threads < 1:
        raise InvalidArgumentError(f"threads must be at least 1, not {threads}")
    return int(threads)


def default_threads() -> int:
    """One inside a data loader's worker, which has siblings; else what this process may use."""
    loader = sys.modules.get("torch.utils.data")
    if loader is not None and loader.get_worker_info() is not None:
        return 1
    return _native.available_threads()

"""Errors of streams."""

from __future__ import annotations

from typing import Final

__all__ = ["FORKED", "StreamError"]

FORKED: Final = (
    "a stream does not survive a fork: make it in the process that iterates over it, or start that "
    'process by "spawn"; a DataLoader around a stream needs num_workers=0'
)


class StreamError(RuntimeError):
    """A stream cannot go on: a thread or process of it has ended, or it was forked or closed."""

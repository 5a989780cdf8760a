"""Errors of streams."""

from __future__ import annotations

__all__ = ["StreamError"]


class StreamError(RuntimeError):
    """A stream cannot go on: a thread or process of it has ended, or it was forked or closed."""

"""Forked processes, where Polars hangs: its threads are gone, and a query waits for them."""

from __future__ import annotations

import os
import sys

from ossicle.data.errors import DataError

__all__ = ["refuse_after_fork"]

_forked_with_polars = False


def _note_fork() -> None:
    global _forked_with_polars
    _forked_with_polars = "polars" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def refuse_after_fork(remedy: str = "call prepare()") -> None:
    """Raises in a process that cannot run Polars.

    Args:
        remedy: What is to be done before the process is forked, for the message.

    Raises:
        DataError: It was forked off one that had Polars.
    """
    if _forked_with_polars:
        raise DataError(
            f"Polars does not run in a forked worker: {remedy} before the workers start"
        )

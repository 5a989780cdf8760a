"""How functions that take long tell how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

__all__ = ["Progress", "Report", "reporting"]

Report: TypeAlias = Callable[[int, int], object]
"""Called with what is done and with all."""

Progress: TypeAlias = Report | bool | None
"""True shows a bar on standard error that goes away when all is done."""


@contextmanager
def reporting(progress: Progress, what: str) -> Iterator[Report]:
    """What is to be called along the way."""
    if callable(progress):
        yield progress
    elif progress:
        with _bar(what) as report:
            yield report
    else:
        yield lambda done, total: None


@contextmanager
def _bar(what: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)

"""How functions that take long tell how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars

__all__ = ["LossReport", "Progress", "Report", "StageReport", "bars", "reporting"]

Report: TypeAlias = Callable[[int, int], object]
"""Called with what is done and with all."""

StageReport: TypeAlias = Callable[[str, int, int], object]
"""Called with the name of a stage, with what is done of it and with all."""

LossReport: TypeAlias = Callable[[int, int, float], object]
"""Called after each step of a training with the steps taken, all steps, and the loss."""

Progress: TypeAlias = Report | bool | None
"""True shows a bar on standard error that goes away when all is done."""


@contextmanager
def reporting(progress: Progress, what: str) -> Iterator[Report]:
    """What is to be called along the way."""
    if callable(progress):
        yield progress
    elif progress:
        with bars() as shown:
            task = shown.add_task(what, total=None)
            yield lambda done, total: shown.update(task, completed=done, total=total)
    else:
        yield lambda done, total: None


def bars(console: Console | None = None, *, in_bytes: bool = False) -> Bars:
    """Bars that go away when all is done; ``with`` shows them.

    Args:
        console: Where they are shown; None takes standard error.
        in_bytes: Whether amounts are bytes, rather than items.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    amounts: list[ProgressColumn] = [MofNCompleteColumn()]
    if in_bytes:
        amounts = [DownloadColumn(), TransferSpeedColumn()]
    columns = (TextColumn("{task.description:<22}"), BarColumn(), *amounts, TimeElapsedColumn())
    shown = console or Console(stderr=True)
    # Without a terminal there would be nothing of them but empty lines.
    hidden = not (shown.is_terminal or shown.is_jupyter)
    return Bars(*columns, console=shown, transient=True, disable=hidden)

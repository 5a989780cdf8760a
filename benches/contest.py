"""Contestants in processes of their own, in turns: processor and wall time, peak memory."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import harness
from rich.console import Console
from rich.progress import track
from rich.table import Table

__all__ = ["Taken", "peaks", "race", "row_of", "show_peaks"]

MIB = 1 << 20

Result: TypeAlias = dict[str, Any]
"""What a contestant prints as JSON: ``cpu`` and ``wall`` in seconds, ``peak`` in bytes, ``rows``,
``sums``."""
Taken: TypeAlias = dict[str, list[Result]]
"""By contestant, what it took in each round."""


def race(
    script: Path,
    names: Sequence[str],
    work: str,
    folder: Path,
    rounds: int,
    is_same: Callable[[Result, Result], bool],
) -> Taken:
    """What each contestant took in each round.

    Args:
        script: Called with the work, a contestant and the folder.
        names: The contestants, ours among them.
        work: What they do.
        folder: Of their inputs.
        rounds: How often, each time in another order.
        is_same: Whether two results are of the same rows.
    """
    order, shuffle = list(names), random.Random(0).shuffle
    taken: Taken = {name: [] for name in names}
    for _ in track(range(rounds), work, transient=True):
        shuffle(order)
        for name in order:
            taken[name].append(_run(script, work, name, folder))
    expected = taken[harness.OURS][0]
    for name, results in taken.items():
        for found in results:
            if not is_same(found, expected):
                raise RuntimeError(f"{work}: {name} gives other rows than ours: {found}")
    return taken


def _run(script: Path, work: str, name: str, folder: Path) -> Result:
    command = [sys.executable, str(script), work, name, str(folder)]
    environment = {key: value for key, value in os.environ.items() if "NUM_THREADS" not in key}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{work}: {name} ended with {done.returncode}: {done.stderr[-2000:]}")
    result: Result = json.loads(done.stdout)
    return result


def row_of(title: str, taken: Taken, clock: str = "cpu") -> harness.Row:
    """A row of processor time, or of the wall's."""
    row = harness.Row(title)
    ours = [result[clock] for result in taken[harness.OURS]]
    for name, results in taken.items():
        times = [result[clock] for result in results]
        row.seconds[name], row.rounds = min(times), len(times)
        if name != harness.OURS:
            row.ratios[name] = statistics.median(a / b for a, b in zip(times, ours, strict=True))
    return row


def peaks(taken: Taken) -> dict[str, float]:
    """Of each contestant its median peak, in MiB."""
    return {
        name: statistics.median(result["peak"] for result in results) / MIB
        for name, results in taken.items()
    }


def show_peaks(memory: dict[str, dict[str, float]], peers: Sequence[str], console: Console) -> None:
    """Prints a table of peaks, a row for each piece of work."""
    table = Table(title="peak memory, MiB")
    for heading in ("", harness.OURS, *peers):
        table.add_column(heading, justify="right" if heading else "left")
    for title, found in memory.items():
        cells = (f"{found[one]:,.0f}" if one in found else "-" for one in (harness.OURS, *peers))
        table.add_row(title, *cells)
    console.print(table)

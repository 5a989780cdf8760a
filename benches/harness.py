"""Fair timing of several contestants side by side, and the records made of it.

One processor, one thread, the garbage collector off. Contestants take turns within a round, in an
order that is shuffled for each round; a ratio is the median of the rounds' own ratios, so that a
machine whose speed drifts slows both sides of it. Time is processor time, user and system, of all
threads and of child processes: on one processor with files in the page cache that is what the wall
clock says of an idle machine, and other processes do not count on a busy one.
"""

from __future__ import annotations

import datetime
import gc
import importlib.metadata
import json
import os
import platform
import random
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

try:
    import resource
except ImportError:  # Windows: children are not counted
    resource = None

OURS = "ossicle"
RECORD = Path(__file__).resolve().parent / "record"
# A timed stretch is at least so long: shorter calls are repeated within it.
_SHORTEST_STRETCH_S = 2e-3
# Rows of short work go on until they have filled this time.
_ROW_S = 2.0
_THREAD_VARIABLES = tuple(
    f"{library}_NUM_THREADS" for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")
)


@dataclass
class Row:
    """What one piece of work took each contestant.

    Attributes:
        name: What was done, to which file.
        seconds: The fastest call of each contestant.
        ratios: Time of the peer / our time: the median over rounds, each taken within its round.
        rounds: How many rounds stand behind each figure.
        missing: Why a contestant was not timed.
    """

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    rounds: int = 0
    missing: dict[str, str] = field(default_factory=dict)


def one_thread() -> None:
    """Leaves this process one processor and each library one thread; call it before imports."""
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with suppress(ImportError):
        import torch

        torch.set_num_threads(1)


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _clock() -> float:
    """Processor seconds, with those of children: librosa runs FFmpeg for what it cannot read."""
    if resource is None:
        return time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _stretch(work: Callable[[], object], repeats: int) -> float:
    """Seconds of one call, over `repeats` calls; each result is freed by the next one."""
    start = _clock()
    for _ in range(repeats):
        result = work()
    took = _clock() - start
    del result
    return took / repeats


def _repeats(work: Callable[[], object]) -> int:
    _stretch(work, 1)  # warm: plans, page cache, lazy imports
    return max(1, round(_SHORTEST_STRETCH_S / max(_stretch(work, 1), 1e-7)))


def race(row: Row, contestants: dict[str, Callable[[], object]], rounds: int) -> Row:
    """Times `contestants` in interleaved rounds and fills `row`; ours must be among them.

    Short work gets more rounds than asked for, until it has filled `_ROW_S` or ten times as many.
    """
    repeats = {name: _repeats(work) for name, work in contestants.items()}
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    order, shuffle = list(contestants), random.Random(0).shuffle
    end = time.monotonic() + _ROW_S
    with _no_collection():
        while row.rounds < rounds or (row.rounds < 10 * rounds and time.monotonic() < end):
            shuffle(order)
            for name in order:
                taken[name].append(_stretch(contestants[name], repeats[name]))
            row.rounds += 1
    row.seconds = {name: min(times) for name, times in taken.items()}
    for name in [name for name in taken if name != OURS]:
        paired = zip(taken[name], taken[OURS], strict=True)
        row.ratios[name] = statistics.median(peer / ours for peer, ours in paired)
    return row


def reason(error: Exception) -> str:
    """The first line of what went wrong, without paths."""
    lines = re.sub(r"\S*/\S*", "", str(error)).strip(" :").splitlines()
    return lines[0][:120] if lines else type(error).__name__


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, system, versions; no names, no paths."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": _system(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "commit": _commit(),
    }


def _processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        facts = {key.strip(): value.strip() for key, value in facts.items()}
        name = facts.get("model name", platform.machine())
        return f"{name}, family {facts.get('cpu family')}, model {facts.get('model')}"
    return platform.processor() or platform.machine()


def _system() -> str:
    with suppress(OSError):
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.machine()}"
    return f"{platform.system()} {platform.machine()}"


def _commit() -> str:
    command = ["git", "-C", str(RECORD), "describe", "--always", "--dirty"]
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions, and what ours was built from."""
    found = {}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    import ossicle

    return found | {f"{OURS} ({part})": value for part, value in ossicle.__build__.items()}


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def _cells(row: Row, peers: Sequence[str]) -> list[str]:
    ratios = [f"{row.ratios[peer]:.2f}" if peer in row.ratios else "-" for peer in peers]
    return [row.name, _milliseconds(row.seconds[OURS]), *ratios]


def show(title: str, rows: Sequence[Row], peers: Sequence[str], console: Console) -> None:
    """The table on the terminal: green where we are ahead, red where we are not."""
    table = Table(title=title, caption="time of the peer / ours: above 1 we are faster")
    for heading in ("", "ours ms", *peers):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for row in rows:
        name, ours, *ratios = _cells(row, peers)
        painted = [_painted(text) for text in ratios]
        table.add_row(name, ours, *painted)
    console.print(table)
    for note in notes(rows):
        console.print(f"- {note}", style="dim", markup=False, highlight=False)


def _painted(ratio: str) -> str:
    if ratio == "-":
        return ratio
    colour = "green" if float(ratio) > 1 else "red"
    return f"[{colour}]{ratio}[/]"


def notes(rows: Sequence[Row]) -> list[str]:
    """Why peers are missing, each reason once."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for peer, reason in row.missing.items():
            found.setdefault((peer, reason), []).append(row.name)
    return [f"{peer}: {reason} ({_some(names)})" for (peer, reason), names in found.items()]


def _some(names: list[str]) -> str:
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    return ", ".join(shown)


def record(
    subject: str, rows: Sequence[Row], peers: Sequence[str], facts: dict[str, Any], method: str
) -> list[Path]:
    """Writes `record/<date>-<subject>.md` and `.json`; a later run of the day replaces them."""
    stem = f"{datetime.date.today().isoformat()}-{subject}"
    files = [RECORD / f"{stem}.md", RECORD / f"{stem}.json"]
    RECORD.mkdir(exist_ok=True)
    files[0].write_text(_markdown(stem, rows, peers, facts, method), encoding="utf-8")
    document = {"subject": subject, "method": method, **facts, "rows": [vars(row) for row in rows]}
    files[1].write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return files


def _markdown(
    title: str, rows: Sequence[Row], peers: Sequence[str], facts: dict[str, Any], method: str
) -> str:
    table = [["", "ours ms", *peers], ["---", "---:", *["---:"] * len(peers)]]
    table += [_cells(row, peers) for row in rows]
    lines = [f"# {title}", "", method, "", *[f"| {' | '.join(cells)} |" for cells in table]]
    lines += ["", "Not timed:", "", *[f"- {note}" for note in notes(rows)]] if notes(rows) else []
    lines += ["", "Machine and versions:", ""]
    for name, value in facts.items():
        pairs = value.items() if isinstance(value, dict) else [(name, value)]
        lines += [f"- {key}: {fact}" for key, fact in pairs]
    return "\n".join(lines) + "\n"

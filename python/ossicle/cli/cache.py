"""Commands on a cache's folder: ``ossicle cache stats``, ``verify``, ``prune``, ``clear``."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ossicle.cache import CacheEntry, CacheFault, CacheReport, WaveformCache
from ossicle.cli.base import Bars, app, console, errors, progress_bars, report_errors

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B?")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}

cache = typer.Typer(no_args_is_help=True, help="Inspect and maintain a folder of cached arrays.")
app.add_typer(cache, name="cache")

Root = Annotated[Path, typer.Argument(metavar="ROOT", help="The cache's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@cache.command(
    epilog="Examples:  [bold]ossicle cache stats ~/.cache/talks[/]   ·   "
    "[bold]ossicle cache stats /mnt/cache --json[/]"
)
def stats(root: Root, as_json: AsJson = False) -> None:
    """Count what a cache holds: waveforms and features, sizes, last use. No entry is read."""
    with report_errors():
        opened = _open(root)
        entries, totals = opened.entries(), opened.stats()
    kinds = {name: _summary(some) for name, some in _by_kind(entries).items()}
    temporary = {"files": totals.temporary, "bytes": totals.bytes - sum(e.bytes for e in entries)}
    if as_json:
        total = {"root": str(root), "entries": len(entries), "bytes": totals.bytes}
        typer.echo(json.dumps(total | {"kinds": kinds, "temporary": temporary}))
        return
    table = Table("", caption=escape(str(root)))
    for heading in ("entries", "size", "used first", "used last"):
        table.add_column(heading, justify="right")
    for name, kind in kinds.items():
        stamps = [_when(kind["first_used"]), _when(kind["last_used"])]
        table.add_row(name, f"{kind['entries']:,}", _size(kind["bytes"]), *stamps)
    if totals.temporary:
        table.add_row("temporary", f"{totals.temporary:,}", _size(temporary["bytes"]), "", "")
    table.add_row("all", f"{len(entries):,}", _size(totals.bytes), "", "", style="bold")
    console.print(table)


@cache.command(
    epilog="Examples:  [bold]ossicle cache verify /mnt/cache[/]   ·   "
    "[bold]ossicle cache verify /mnt/cache --delete[/]"
)
def verify(
    root: Root,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove what is corrupt or stale.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="By default one a core.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read every entry and check it: framing, checksum, name, and the version that made it.

    Each fault is listed with its reason. The exit code is 1 where something is corrupt or cannot be
    read; entries of another version (stale) are only misses.
    """
    with report_errors():
        opened = _open(root)
        with progress_bars() as progress:
            bars = Bars(progress)
            report = opened.verify(
                delete=delete, threads=threads, progress=lambda *done: bars("verifying", *done)
            )
    if as_json:
        typer.echo(json.dumps(_as_json(root, report)))
    else:
        _print_report(report)
    if report.count("corrupt") or report.count("unreadable"):
        raise typer.Exit(1)


@cache.command(
    epilog="Examples:  [bold]ossicle cache prune /mnt/cache --max-bytes 10GB[/]   ·   "
    "[bold]ossicle cache prune /mnt/cache[/]"
)
def prune(
    root: Root,
    max_bytes: Annotated[
        str | None,
        typer.Option(help="Size to reduce the cache to: 500MB, 10GB, 2TiB, or plain bytes."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove temporary files of dead writers, and evict what was used longest ago.

    Safe while others read and write. Without --max-bytes no entry is evicted.
    """
    with report_errors():
        bound = None if max_bytes is None else parse_size(max_bytes)
        with errors.status("pruning"):
            done = _open(root).prune(bound)
    if as_json:
        typer.echo(json.dumps({"root": str(root)} | asdict(done)))
        return
    text = f"evicted {done.evicted:,} entries, collected {done.orphans:,} temporary files"
    console.print(f"{text}; {_size(done.bytes)} left", highlight=False)


@cache.command(
    epilog="Examples:  [bold]ossicle cache clear /mnt/cache[/]   ·   "
    "[bold]ossicle cache clear /mnt/cache --yes[/]"
)
def clear(
    root: Root,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete all entries and temporary files, but nothing that the cache did not make."""
    with report_errors():
        opened = _open(root)
        totals = opened.stats()
        question = f"Delete {totals.entries:,} entries, {_size(totals.bytes)}, from {root}?"
        if not yes:
            typer.confirm(question, abort=True, err=True)
        with errors.status("clearing"):
            opened.clear()
    if as_json:
        facts = {"root": str(root), "entries": totals.entries, "bytes": totals.bytes}
        typer.echo(json.dumps(facts))
    else:
        text = f"deleted {totals.entries:,} entries, {_size(totals.bytes)}"
        console.print(text, highlight=False)


def parse_size(text: str) -> int:
    """Bytes of ``500MB`` (powers of 1000), ``10GiB`` (of 1024) or a plain number."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a size such as 500MB, 10GB or 2TiB")
    number, prefix, binary = found.groups()
    return int(float(number) * float((1024 if binary else 1000) ** _POWERS[prefix]) + 0.5)


def _open(root: Path) -> WaveformCache:
    """Upkeep is the same for both caches: it goes by the files' names and what they echo."""
    if not root.is_dir():
        raise NotADirectoryError(f"the folder {root} does not exist")
    return WaveformCache(root)


def _by_kind(entries: Sequence[CacheEntry]) -> dict[str, list[CacheEntry]]:
    kinds: dict[str, list[CacheEntry]] = {}
    for entry in entries:
        name = entry.path.name
        kind = "waveforms" if name.endswith(".wav.npz") else "features"
        kind += ", float16" if ".f16." in name else ""
        kinds.setdefault(kind, []).append(entry)
    return dict(sorted(kinds.items()))


def _summary(entries: Sequence[CacheEntry]) -> dict[str, float]:
    used = [entry.used for entry in entries]
    size = sum(entry.bytes for entry in entries)
    return {
        "entries": len(entries),
        "bytes": size,
        "first_used": min(used),
        "last_used": max(used),
    }


def _as_json(root: Path, report: CacheReport) -> dict[str, object]:
    counts = {kind: report.count(kind) for kind in ("corrupt", "stale", "unreadable")}
    faults = [asdict(fault) | {"path": str(fault.path)} for fault in report.faults]
    totals = {"root": str(root), "entries": report.entries, "bytes": report.bytes}
    return totals | counts | {"faults": faults}


def _print_report(report: CacheReport) -> None:
    if report.faults:
        table = Table()
        for heading in ("entry", "fault", "reason"):
            table.add_column(heading, overflow="fold")
        for fault in report.faults:
            table.add_row(*map(escape, _row(fault)))
        console.print(table)
    text = f"{report.entries:,} entries, {_size(report.bytes)}"
    counts = f"{report.count('corrupt')} corrupt, {report.count('stale')} stale"
    unreadable = report.count("unreadable")
    more = f", {unreadable} unreadable" if unreadable else ""
    console.print(f"{text}: {counts}{more}", highlight=False)


def _row(fault: CacheFault) -> tuple[str, str, str]:
    kind = f"{fault.kind}, deleted" if fault.deleted else fault.kind
    return fault.path.name, kind, fault.reason


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))

"""``ossicle index``: the indexes of shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ossicle.cli.base import app, console, print_labelled, progress_bars, report_errors

if TYPE_CHECKING:
    import polars

    from ossicle.errors import AudioError


@app.command(
    epilog="Examples:  [bold]ossicle index train-*.tar[/]   ·   "
    "[bold]ossicle index --json train-000.tar[/]   ·   "
    "[bold]ossicle index --force --threads 4 shards/*.tar[/]"
)
def index(
    shards: Annotated[list[Path], typer.Argument(metavar="SHARD...", help="Tar shards.")],
    force: Annotated[
        bool, typer.Option("--force", help="Make all indexes anew, and replace existing ones.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="How many work (by default all processors).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Make the index of each shard, NAME.index.parquet beside it, where it is missing or stale.

    A row a member: where it lies, its SHA-256, codec, rate, channels and exact frames. Shards open
    by it at once. Stop and start again as you like: finished indexes are kept. Damaged shards are
    reported beside the others, as are members that cannot be read; the exit code is then 1.
    """
    from ossicle.shard import index_shards

    with report_errors(), progress_bars(in_bytes=True) as progress:
        bar = progress.add_task("indexing", total=None)
        frame, faults = index_shards(
            shards,
            threads=threads,
            force=force,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
            on_error="collect",
        )
    facts = [
        _error_fact(shard, fault) if fault is not None else _fact(shard, frame)
        for shard, fault in zip(shards, faults, strict=True)
    ]
    unreadable = frame.filter(frame["error"].is_not_null())
    if as_json:
        for fact in facts:
            typer.echo(json.dumps(fact, ensure_ascii=False))
    else:
        _print_facts([fact for fact in facts if "error" not in fact])
        for row in unreadable.iter_rows(named=True):
            print_labelled("error", f"{row['shard']} [{row['name']}]: {row['error']}")
        for fault in filter(None, faults):
            print_labelled("error", f"{type(fault).__name__}: {fault}")
    if len(unreadable) or any(fault is not None for fault in faults):
        raise typer.Exit(1)


def _fact(shard: Path, frame: polars.DataFrame) -> dict[str, Any]:
    import polars

    rows = frame.filter(polars.col("shard") == str(shard))
    is_remark = polars.col("name").str.contains(r"^__[^/]*__(/|$)")
    seconds = (polars.col("frames") / polars.col("sample_rate")).sum()
    return {
        "shard": str(shard),
        "members": len(rows),
        "samples": rows.filter(~is_remark)["key"].n_unique(),
        "bytes": int(rows["size"].sum()),
        "audio": len(rows) - rows["codec"].null_count(),
        "seconds": float(rows.select(seconds).item()),
        "unreadable": len(rows) - rows["error"].null_count(),
    }


def _error_fact(shard: Path, error: AudioError) -> dict[str, Any]:
    return {
        "shard": str(shard),
        "error": type(error).__name__,
        "reason": error.reason,
        "source": error.source,
        "member": error.member,
        "byte_offset": error.byte_offset,
    }


def _print_facts(facts: list[dict[str, Any]]) -> None:
    if not facts:
        return
    table = Table()
    table.add_column("shard", overflow="fold")
    for heading in ("members", "samples", "audio", "bytes", "hours"):
        table.add_column(heading, justify="right")
    for fact in facts:
        counts = [f"{fact[name]:,}" for name in ("members", "samples", "audio", "bytes")]
        table.add_row(escape(fact["shard"]), *counts, f"{fact['seconds'] / 3600:,.2f}")
    console.print(table)

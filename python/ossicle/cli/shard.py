"""``ossicle shard``: rows and their recordings, in shards."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ossicle.cli.base import app, console, print_labelled, progress_bars, report_errors
from ossicle.shard.pack import PackResult, pack


class Segments(Enum):
    """What becomes of segments."""

    cut = "cut"
    keep = "keep"


# Errors of many rows are in the file; these are shown.
_SHOWN = 10


@app.command(
    epilog="Examples:  "
    "[bold]ossicle shard train.jsonl train-%06d.tar --max-bytes 1e9 --flac[/]   ·   "
    "[bold]ossicle shard data.parquet data.tar --audio file --key id[/]   ·   "
    "[bold]ossicle shard talks.jsonl talks-%04d.tar --max-bytes 1e9 --segments keep[/]"
)
def shard(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="Rows: a manifest, a table, a folder or shards."),
    ],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="A .tar, or a pattern for many, like train-%06d.tar."),
    ],
    max_bytes: Annotated[
        float | None, typer.Option(min=1, help="Begin another shard before this size, as in 1e9.")
    ] = None,
    max_samples: Annotated[
        int | None, typer.Option(min=1, help="Begin another shard after this number of samples.")
    ] = None,
    flac: Annotated[
        bool, typer.Option("--flac", help="Decode to mono, resample, write FLAC of 16 bits.")
    ] = False,
    rate: Annotated[int, typer.Option(help="Of --flac, in Hz.")] = 16_000,
    segments: Annotated[
        Segments,
        typer.Option(help="Cut segments out, or keep recordings once beside rows that point."),
    ] = Segments.cut,
    audio: Annotated[
        str | None, typer.Option(help="Column of the recordings (else audio, wav, ...).")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Column of the keys (else id, key, utt_id, ... or file names)."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="What a column means, once for each: [bold]offset=from[/]."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The folder that paths are relative to (else that of IN).")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="By default all processors.")] = None,
    index: Annotated[bool, typer.Option(help="Write an index beside each shard.")] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace shards of these names.")
    ] = False,
) -> None:
    """Pack rows and their recordings into tar shards, each with its row as JSON.

    Files go in unchanged, or as FLAC with --flac. Segments of recordings (offset, duration, channel
    of a row) are cut out, or kept. Rows whose recording is no good are left out and listed in
    OUT.errors.jsonl; the exit code is then 1. The same input gives the same bytes.
    """
    with report_errors(), progress_bars() as progress:
        bar = progress.add_task("shard")
        result = pack(
            source,
            out,
            max_bytes=None if max_bytes is None else int(max_bytes),
            max_samples=max_samples,
            transcode="flac" if flac else None,
            sample_rate=rate,
            segments=segments.value,
            audio=audio,
            key=key,
            columns=dict(one.partition("=")[::2] for one in column or []),
            root=root,
            threads=threads,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
            index=index,
            overwrite=overwrite,
        )
    _report(result, out)
    if result.errors:
        raise typer.Exit(1)


def _report(result: PackResult, out: Path) -> None:
    for failed in result.errors[:_SHOWN]:
        text = f"row {failed.row}: {type(failed.error).__name__}: {failed.error}"
        print_labelled("error", text)
    if result.errors:
        text = f"{len(result.errors):,} rows left out, listed in {result.errors_path}"
        print_labelled("error", text)
    if result.clipped:
        text = f"{result.clipped:,} samples of sound were beyond full scale and clipped"
        print_labelled("warning", text, colour="yellow")
    hours, megabytes = result.seconds / 3600, result.bytes / 1e6
    console.print(result.summary(), markup=False, highlight=False)
    console.print(
        f"wrote {out}: {result.samples:,} samples in {len(result.shards):,} shards, "
        f"{megabytes:,.1f} MB, {hours:,.3f} hours",
        markup=False,
        highlight=False,
    )

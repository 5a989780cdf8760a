"""``ossicle shard``: the recordings of a manifest, in shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ossicle.cli.base import app, console, print_labelled, progress_bars, report_errors
from ossicle.shard.pack import PackResult, pack

# Errors of many rows are in the file; these are shown.
_SHOWN = 10


@app.command(
    epilog="Examples:  "
    "[bold]ossicle shard train.jsonl train-%06d.tar --max-bytes 1e9 --flac[/]   ·   "
    "[bold]ossicle shard data.parquet data.tar --audio file --key id[/]"
)
def shard(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="Ends in .jsonl, .csv, .tsv or .parquet.")
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
    audio: Annotated[
        str | None, typer.Option(help="Column of the recordings (else wav, audio_path, ...).")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Column of the keys (else key, id, wav_id, utt_id or file names)."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="By default all processors.")] = None,
    index: Annotated[bool, typer.Option(help="Write an index beside each shard.")] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace shards of these names.")
    ] = False,
) -> None:
    """Pack the recordings of a manifest into tar shards, each with its row as JSON.

    Files go in unchanged, or as FLAC with --flac. Paths are relative to the manifest's folder. Rows
    whose recording is no good are left out and listed in OUT.errors.jsonl; the exit code is then 1.
    The same input gives the same bytes.
    """
    with report_errors(), progress_bars() as progress:
        bar = progress.add_task("shard")
        result = pack(
            manifest,
            out,
            max_bytes=None if max_bytes is None else int(max_bytes),
            max_samples=max_samples,
            transcode="flac" if flac else None,
            sample_rate=rate,
            audio=audio,
            key=key,
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
    console.print(
        f"wrote {out}: {result.samples:,} samples in {len(result.shards):,} shards, "
        f"{megabytes:,.1f} MB, {hours:,.3f} hours",
        markup=False,
        highlight=False,
    )

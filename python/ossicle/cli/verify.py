"""``ossicle verify``: what is damaged in shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ossicle.audio.decoders import check_decoder
from ossicle.cli.base import (
    Bars,
    app,
    console,
    print_fault,
    print_labelled,
    progress_bars,
    report_errors,
)

if TYPE_CHECKING:
    from ossicle.shard.verify import Remark


@app.command(
    epilog="Examples:  [bold]ossicle verify shards/*.tar[/]   ·   "
    "[bold]ossicle verify --decode --json train-000.tar[/]   ·   "
    "[bold]ossicle verify --decoder both train-000.tar[/]"
)
def verify(
    shards: Annotated[list[Path], typer.Argument(help="Tar shards.")],
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode all audio too, with its checksums.")
    ] = False,
    decoder: Annotated[
        str,
        typer.Option(
            help="Decode with [bold]native[/], [bold]symphonia[/] or [bold]both[/]; "
            "a disagreement is damage. Another than native decodes all audio."
        ),
    ] = "native",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Shards read at a time (by default one a processor).")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for remarks on recordings, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Read shards to their last byte and say what is damaged in them; the exit code is then 1.

    Wrong headers of recordings whose bytes are whole are remarks, which change no exit code.

    Payloads are compared with the SHA-256 of an index beside the shard (see [bold]ossicle
    index[/]); without one only headers can be checked, and with --decode what the audio says of
    itself.
    """
    from ossicle.shard import verify_shards
    from ossicle.shard.verify import shard_remarks

    with report_errors(), progress_bars(in_bytes=True) as progress:
        bars = Bars(progress)
        faults = verify_shards(
            shards,
            decode=decode or decoder != "native",
            decoder=check_decoder(decoder),
            threads=threads,
            progress=lambda done, total: bars("verify", done, total),
        )
        remarks = shard_remarks(shards, threads=threads)
    for row in faults.iter_rows(named=True):
        if as_json:
            typer.echo(json.dumps(row, ensure_ascii=False))
        else:
            print_fault(row)
    for remark in remarks:
        if as_json:
            typer.echo(json.dumps(remark._asdict(), ensure_ascii=False))
        else:
            _print_remark(remark, strict)
    if not as_json:
        damaged = faults["shard"].n_unique()
        careless = f", {len(remarks):,} remarks" if remarks else ""
        whole = f"{len(shards) - damaged} of {len(shards)} shards are whole{careless}"
        console.print(whole, highlight=False)
    if not faults.is_empty() or (strict and remarks):
        raise typer.Exit(1)


def _print_remark(remark: Remark, strict: bool) -> None:
    label, colour = ("error", "red") if strict else ("remark", "yellow")
    text = f"{remark.shard} [{remark.member}]: {remark.remark}"
    print_labelled(label, text, colour=colour)

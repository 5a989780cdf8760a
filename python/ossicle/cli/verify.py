"""Commands on damaged shards: ``ossicle verify``, ``repair``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ossicle.atomic import write_text
from ossicle.cli.base import Bars, app, console, errors, progress_bars, reported
from ossicle.errors import InvalidArgumentError
from ossicle.outputs import refuse_same_file

if TYPE_CHECKING:
    from ossicle.shard.verify import Remark


@app.command(
    epilog="Examples:  [bold]ossicle verify shards/*.tar[/]   ·   "
    "[bold]ossicle verify --decode --json train-000.tar[/]"
)
def verify(
    shards: Annotated[list[Path], typer.Argument(help="Tar shards.")],
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode all audio too, with its checksums.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Shards read at a time (by default one a processor).")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for remarks on recordings, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Read shards to their last byte and say what is damaged in them; the exit code is then 1.

    What is careless in recordings that are whole is a remark, which changes no exit code.

    Payloads are compared with the SHA-256 of an index beside the shard (see [bold]ossicle
    index[/]); without one only headers can be checked, and with --decode what the audio says of
    itself.
    """
    from ossicle.shard import verify_shards
    from ossicle.shard.verify import shard_remarks

    with reported(), progress_bars(in_bytes=True) as progress:
        bars = Bars(progress)
        faults = verify_shards(
            shards,
            decode=decode,
            threads=threads,
            progress=lambda done, total: bars("verify", done, total),
        )
        remarks = shard_remarks(shards, threads=threads)
    for row in faults.iter_rows(named=True):
        if as_json:
            typer.echo(json.dumps(row, ensure_ascii=False))
        else:
            _print_fault(row)
    for remark in remarks:
        if as_json:
            typer.echo(json.dumps(remark._asdict(), ensure_ascii=False))
        else:
            _print_remark(remark, strict)
    if not as_json:
        damaged = faults["shard"].n_unique()
        told = f", {len(remarks):,} remarks" if remarks else ""
        whole = f"{len(shards) - damaged} of {len(shards)} shards are whole{told}"
        console.print(whole, highlight=False)
    if not faults.is_empty() or (strict and remarks):
        raise typer.Exit(1)


@app.command(
    epilog="Examples:  [bold]ossicle repair train-007.tar train-007.repaired.tar[/]   ·   "
    "[bold]ossicle repair --decode old.tar new.tar --lost lost.jsonl[/]"
)
def repair(
    shard: Annotated[
        Path, typer.Argument(metavar="IN", help="A damaged shard: it is not changed.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The new shard.")],
    decode: Annotated[
        bool, typer.Option("--decode", help="Leave out audio that does not decode, too.")
    ] = False,
    lost: Annotated[
        Path | None, typer.Option(help="List what is lost in this file, as JSON lines.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what lies at OUT.")
    ] = False,
) -> None:
    """Write a new shard from what is whole in a damaged one, and list what is not.

    Samples that have lost a member are left out whole. The exit code is 1 where anything is lost.
    """
    from ossicle.shard import index_path
    from ossicle.shard.verify import fault_row, repair_shard

    with reported():
        if lost is not None:
            refuse_same_file([lost], [shard, index_path(shard)])
            if lost.resolve() in (target.resolve(), index_path(target).resolve()):
                raise InvalidArgumentError(f"--lost is {target}, where the new shard goes")
        with progress_bars(in_bytes=True) as progress:
            bars = Bars(progress)
            done = repair_shard(
                shard,
                target,
                decode=decode,
                overwrite=overwrite,
                progress=lambda at, total: bars("repair", at, total),
            )
        rows = [fault_row(str(shard), error) for error in done.errors]
        if lost is not None:
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            write_text(lost, "".join(f"{line}\n" for line in lines))
    for row in rows:
        _print_fault(row)
    if done.path is None:
        errors.print("[bold red]error:[/] nothing is left to make a shard of")
    else:
        text = f"wrote {done.path}: {done.samples} samples, {done.members} members"
        console.print(text, highlight=False)
    if rows:
        raise typer.Exit(1)


def _print_remark(remark: Remark, strict: bool) -> None:
    errors.print("[bold red]error:[/] " if strict else "[bold yellow]remark:[/] ", end="")
    text = f"{remark.shard} [{remark.member}]: {remark.remark}"
    errors.print(text, markup=False, highlight=False)


def _print_fault(row: Mapping[str, object]) -> None:
    member = "" if row["member"] is None else f" [{row['member']}]"
    at = "" if row["byte_offset"] is None else f" (byte {row['byte_offset']})"
    errors.print("[bold red]damage:[/] ", end="")
    text = f"{row['shard']}{member}{at}: {row['error']}: {row['reason']}"
    errors.print(text, markup=False, highlight=False)

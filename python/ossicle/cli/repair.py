"""``ossicle repair``: a new shard from what is whole in a damaged one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ossicle.atomic import write_text
from ossicle.cli.base import (
    Bars,
    app,
    console,
    print_fault,
    print_labelled,
    progress_bars,
    report_errors,
)
from ossicle.errors import InvalidArgumentError
from ossicle.outputs import refuse_same_file


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
        bool, typer.Option("--overwrite", help="Replace OUT if it exists.")
    ] = False,
) -> None:
    """Write a new shard from what is whole in a damaged one, and list what is not.

    Samples that have lost a member are left out whole. The exit code is 1 where anything is lost.
    """
    from ossicle.shard import index_path
    from ossicle.shard.verify import fault_row, repair_shard

    with report_errors():
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
        print_fault(row)
    if done.path is None:
        print_labelled("error", "no sample is whole: no shard was written")
    else:
        text = f"wrote {done.path}: {done.samples} samples, {done.members} members"
        console.print(text, highlight=False)
    if rows:
        raise typer.Exit(1)

"""``ossicle info``: what recordings hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

import ossicle
from ossicle.cli.base import (
    RawOption,
    app,
    console,
    print_labelled,
    print_remarks,
    progress_bars,
)


@app.command(
    epilog="Examples:  [bold]ossicle info *.mp3[/]   ·   [bold]ossicle info --json talk.m4a[/]"
)
def info(
    files: Annotated[list[Path], typer.Argument(help="Recordings.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    raw: RawOption = None,
) -> None:
    """Say what recordings hold, from their headers.

    A wrong header of a file whose bytes are whole is a remark. A file that cannot be read is
    reported beside the others; the exit code is then 1.
    """
    facts = list(_facts(files, raw))
    if as_json:
        for fact in facts:
            typer.echo(json.dumps(fact, ensure_ascii=False))
    else:
        _print_facts(facts)
    if any("error" in fact for fact in facts):
        raise typer.Exit(1)


def _facts(files: list[Path], raw: ossicle.RawFormat | None) -> Iterator[dict[str, Any]]:
    """What each file holds, or the error that it ends in, as JSON's own types."""
    with progress_bars() as progress:
        for file in progress.track(files, description="reading"):
            try:
                fact = ossicle.info(file, raw=raw)
            except ossicle.AudioError as error:
                kind = type(error).__name__
                yield {
                    "file": str(file),
                    "error": kind,
                    "reason": error.reason,
                    "byte_offset": error.byte_offset,
                }
            else:
                yield {"file": str(file)} | asdict(fact) | {"duration": fact.duration}


def _print_facts(facts: list[dict[str, Any]]) -> None:
    table = Table()
    table.add_column("file", overflow="fold")
    for heading in ("container", "codec"):
        table.add_column(heading)
    for heading in ("Hz", "channels", "bits", "frames", "seconds"):
        table.add_column(heading, justify="right")
    for fact in facts:
        if "error" not in fact:
            numbers = (fact["sample_rate"], fact["channels"], fact["bits_per_sample"] or "")
            ends = (f"{fact['frames']:,}", f"{fact['duration']:,.2f}")
            texts = (fact["file"], fact["container"], fact["codec"])
            table.add_row(*map(escape, texts), *map(str, numbers), *ends)
    if table.row_count:
        console.print(table)
    for fact in facts:
        print_remarks(console, fact["file"], fact.get("remarks", ()))
    for fact in facts:
        if "error" in fact:
            at = "" if fact["byte_offset"] is None else f" (byte {fact['byte_offset']})"
            text = f"{fact['error']}: {fact['file']}: {fact['reason']}{at}"
            print_labelled("error", text)

"""Commands on rows in any format: ``ossicle data show``, ``convert``, ``check``, ``split``."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ossicle.cli.base import app, console, errors, print_labelled, progress_bars, report_errors
from ossicle.outputs import refuse_same_file

if TYPE_CHECKING:
    from ossicle.data import ManifestError, Rows

data = typer.Typer(
    no_args_is_help=True,
    help="Rows in any format: manifests, tables, folders, shards; look at them, convert, check.",
)
app.add_typer(data, name="data")

# Faults that are printed; all go into the file of --faults.
_SHOWN = 10

Source = Annotated[Path, typer.Argument(metavar="IN", help="A file or a folder of any format.")]
From = Annotated[
    str | None, typer.Option("--from", help="The format of IN (else it is recognised).")
]
Root = Annotated[
    Path | None, typer.Option(help="The folder that paths are relative to (else that of IN).")
]
Column = Annotated[
    list[str] | None,
    typer.Option(help="What a column means, once for each: [bold]audio=my_path[/]."),
]
FaultsFile = Annotated[
    Path | None, typer.Option("--faults", help="Write all faults to this file, as JSON lines.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@data.command(
    epilog="Examples:  [bold]ossicle data show train.jsonl[/]   ·   "
    "[bold]ossicle data show cv-corpus/en --rows 20[/]   ·   "
    "[bold]ossicle data show exp/data --from kaldi --json[/]"
)
def show(
    source: Source,
    rows: Annotated[int, typer.Option(min=0, help="Print this number of rows.")] = 5,
    form: From = None,
    root: Root = None,
    column: Column = None,
    faults: FaultsFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the first rows, and what all of them are: format, counts, hours, columns.

    The exit code is 0 also where rows are at fault; they are counted and listed.
    """
    with report_errors():
        found = _read(source, form, root, column)
        facts = _facts(found)
        if as_json:
            first = [_plain(row) for row in islice(found, rows)]
            typer.echo(json.dumps({**facts, "first": first}, ensure_ascii=False, default=str))
        else:
            _print_rows(found, rows)
            _print_columns(facts)
        _report(found, found.faults, faults, quiet=as_json)


@data.command(
    epilog="Examples:  [bold]ossicle data convert train.tsv train.jsonl[/]   ·   "
    "[bold]ossicle data convert IN OUT --to nemo[/]   ·   "
    "[bold]ossicle data convert LibriSpeech/dev-clean dev.parquet --embed[/]"
)
def convert(
    source: Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A file, or a folder.")],
    to: Annotated[str | None, typer.Option(help="The format of OUT (else by its ending).")] = None,
    form: From = None,
    root: Root = None,
    column: Column = None,
    embed: Annotated[
        bool, typer.Option("--embed", help="Parquet: put the recordings inside.")
    ] = False,
    faults: FaultsFile = None,
) -> None:
    """Write rows in another format; a recording is not changed, and paths stay right.

    Rows at fault are left out, counted and listed; the exit code is then 1.
    """
    with report_errors():
        refuse_same_file([out], [source])
        found = _read(source, form, root, column)
        count = found.write(out, to, **({"embed": True} if embed else {}))
        _report(found, found.faults, faults)
        console.print(f"wrote {out}: {count:,} rows", markup=False, highlight=False)
    if found.faults:
        raise typer.Exit(1)


@data.command(
    epilog="Examples:  [bold]ossicle data check train.jsonl[/]   ·   "
    "[bold]ossicle data check exp/data --faults faults.jsonl[/]"
)
def check(
    source: Source,
    form: From = None,
    root: Root = None,
    column: Column = None,
    threads: Annotated[int | None, typer.Option(min=1, help="By default all processors.")] = None,
    faults: FaultsFile = None,
) -> None:
    """Read the headers of all recordings: are they there, and do segments lie inside?

    Nothing is decoded. The exit code is 1 where a row is at fault.
    """
    from ossicle.data import check as check_rows

    with report_errors():
        found = _read(source, form, root, column)
        with progress_bars() as progress:
            bar = progress.add_task("headers")
            result = check_rows(
                found,
                threads=threads,
                progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )
        wrong = sorted([*found.faults, *result.faults], key=lambda one: one.row or 0)
        _report(found, wrong, faults)
        good = result.rows - len(result.faults)
        text = f"{good:,} of {result.rows:,} rows fit their recordings, {_hours(result.seconds)}"
        console.print(text, markup=False, highlight=False)
    if wrong:
        raise typer.Exit(1)


@data.command(
    epilog="Examples:  [bold]ossicle data split all.jsonl parts --share train=0.9 --share test=0.1 "
    "--by speaker[/]   ·   [bold]ossicle data split all.csv parts --seed 1 --to nemo[/]"
)
def split(
    source: Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder for a file of each part.")],
    share: Annotated[
        list[str] | None,
        typer.Option(help="Name and share of a part (by default train=0.9, dev=0.05, test=0.05)."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Each value of this column is in one part alone (else each recording)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another one gives another split.")] = 0,
    to: Annotated[str, typer.Option(help="The format of the parts.")] = "jsonl",
    form: From = None,
    root: Root = None,
    column: Column = None,
    faults: FaultsFile = None,
) -> None:
    """Split rows into parts that share no speaker, or no value of another column.

    The split is a function of the seed and the rows, not of their order.
    """
    from ossicle.data import split as split_rows

    shares = _shares(share or ["train=0.9", "dev=0.05", "test=0.05"])
    with report_errors():
        found = _read(source, form, root, column)
        parts = split_rows(found, shares, by=by, seed=seed)
        targets = {name: out / (f"{name}.{_ending(to)}" if _ending(to) else name) for name in parts}
        refuse_same_file(targets.values(), [source])
        out.mkdir(parents=True, exist_ok=True)
        for name, part in parts.items():
            part.write(targets[name], to)
            text = f"wrote {targets[name]}: {len(part):,} rows ({len(part) / len(found):.1%})"
            console.print(text, markup=False, highlight=False)
        _report(found, found.faults, faults)
    if found.faults:
        raise typer.Exit(1)


def _ending(form: str) -> str:
    """What files of a format end in; nothing for folders."""
    return {
        "nemo": "json",
        "lhotse": "jsonl.gz",
        "webdataset": "tar",
        "kaldi": "",
        "hf-folder": "",
    }.get(form, form.removesuffix("-quoted"))


def _shares(told: list[str]) -> dict[str, float]:
    shares = {}
    for one in told:
        name, _, value = one.partition("=")
        try:
            shares[name] = float(value)
        except ValueError:
            raise typer.BadParameter(f"{one!r}: NAME=SHARE", param_hint="--share") from None
        if not name or Path(name).name != name:
            raise typer.BadParameter(f"{one!r}: the name is no file's", param_hint="--share")
    return shares


def _read(source: Path, form: str | None, root: Path | None, column: list[str] | None) -> Rows:
    from ossicle.data import read

    columns = dict(one.partition("=")[::2] for one in column or [])
    with errors.status("reading"):
        rows = read(source, form, root=root, columns=columns)
        len(rows)  # reads all
    return rows


def _facts(rows: Rows) -> dict[str, Any]:
    frame = rows.frame
    known = frame["duration"].drop_nulls()
    columns = {
        name: {
            "type": "JSON" if name in rows.nested else str(frame.schema[name]),
            "values": frame.height - frame[name].null_count(),
        }
        for name in frame.columns
    }
    return {
        "source": rows.source,
        "format": rows.format,
        "rows": len(rows) + len(rows.faults),
        "kept": len(rows),
        "faults": len(rows.faults),
        "seconds": float(known.sum()) if len(known) else None,
        "with_duration": len(known),
        "columns": columns,
    }


def _plain(row: Any) -> dict[str, Any]:
    """A row without the bytes of its recording."""
    made = {name: row[name] for name in row if row[name] is not None}
    audio = made.get("audio")
    if isinstance(audio, dict):
        size = len(audio.get("bytes") or b"")
        made["audio"] = {"path": audio.get("path"), "bytes": f"{size:,} bytes"}
    return made


def _print_rows(rows: Rows, count: int) -> None:
    first = [_plain(row) for row in islice(rows, count)]
    names = [name for name in rows.frame.columns if any(name in row for row in first)]
    if not first:
        return
    table = Table()
    for name in names:
        table.add_column(escape(name), overflow="fold")
    for row in first:
        table.add_row(*(escape(_short(row.get(name))) for name in names))
    console.print(table)


def _short(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _print_columns(facts: dict[str, Any]) -> None:
    table = Table()
    table.add_column("column", overflow="fold")
    table.add_column("type", overflow="fold")
    table.add_column("values", justify="right")
    for name, fact in facts["columns"].items():
        if fact["values"]:
            table.add_row(escape(name), escape(fact["type"]), f"{fact['values']:,}")
    console.print(table)
    length = "" if facts["seconds"] is None else f", {_hours(facts['seconds'])}"
    text = f"{facts['source']}: {facts['format']}, {facts['kept']:,} rows{length}"
    console.print(text, markup=False, highlight=False)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.3f} hours"


def _report(
    rows: Rows, faults: list[ManifestError], path: Path | None, *, quiet: bool = False
) -> None:
    """Prints the counts and the first faults, and writes all."""
    from ossicle.data import write_faults

    if path is not None:
        write_faults(path, faults)
    for fault in faults[:_SHOWN]:
        print_labelled("fault", str(fault))
    if len(faults) > _SHOWN:
        where = f"all are in {path}" if path else "--faults writes all to a file"
        print_labelled("fault", f"and {len(faults) - _SHOWN:,} more; {where}")
    if not quiet:
        console.print(rows.count(faults), markup=False, highlight=False)

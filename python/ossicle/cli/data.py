"""Commands on rows in any format: ``ossicle data show``, ``convert``, ``check``, ``split``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ossicle.cli.base import app, console, print_labelled, progress_bars, report_errors
from ossicle.data.errors import ManifestError
from ossicle.data.rows import counted
from ossicle.outputs import refuse_same_file

if TYPE_CHECKING:
    from ossicle.data import Rows
    from ossicle.data.pieces import Found
    from ossicle.data.sources import RowSource
    from ossicle.data.summary import Summary

data = typer.Typer(
    no_args_is_help=True,
    help="Rows in any format: manifests, tables, folders, shards; look at them, convert, check.",
)
app.add_typer(data, name="data")

# Faults that are printed; all go into the file of --faults.
_SHOWN = 10

Source = Annotated[
    Path, typer.Argument(metavar="IN", help="A file, a folder or a pattern of any format.")
]
Sources = Annotated[
    list[Path], typer.Argument(metavar="IN...", help="Files, folders or patterns of any format.")
]
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
    "[bold]ossicle data show exp/data --from kaldi --json[/]   ·   "
    "[bold]ossicle data show 'shards/a-{000..127}.tar'[/]"
)
def show(
    sources: Sources,
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
    from ossicle.data.rows import SpeechRow
    from ossicle.data.summary import Summary

    with report_errors():
        # A piece at a time: recordings inside of Parquet may be more than the memory holds.
        found, known = _source(sources, form, root, column), Summary()
        first: list[dict[str, Any]] = []
        for piece in _pieces(found):
            known.add(piece)
            if len(first) < rows and not isinstance(piece, ManifestError):
                count = min(rows - len(first), len(piece.numbers))
                first += [_plain(SpeechRow(piece, at)) for at in range(count)]
        if as_json:
            told = {**_facts(found, known), "first": first}
            typer.echo(json.dumps(told, ensure_ascii=False, default=str))
        else:
            _print_rows(first, list(known.columns))
            _print_columns(known)
            console.print(_sentence(found, known), markup=False, highlight=False)
        _list_faults(known.faults, faults)
        if not as_json:
            text = counted(known.rows + len(known.faults), known.faults)
            console.print(text, markup=False, highlight=False)


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
        found = _read([source], form, root, column)
        options = {"embed": True} if embed else {}
        with progress_bars() as progress:
            bar = progress.add_task("writing", total=len(found))
            watched = found.watched(lambda done: progress.update(bar, completed=done))
            count = watched.write(out, to, **options)
        _report(found, found.faults, faults)
        console.print(f"wrote {out}: {count:,} rows", markup=False, highlight=False)
    if found.faults:
        raise typer.Exit(1)


@data.command(
    epilog="Examples:  [bold]ossicle data check train.jsonl[/]   ·   "
    "[bold]ossicle data check exp/data --faults faults.jsonl[/]   ·   "
    "[bold]ossicle data check train.parquet --decode[/]"
)
def check(
    sources: Sources,
    form: From = None,
    root: Root = None,
    column: Column = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode each clip too, which finds damage.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="By default all processors.")] = None,
    faults: FaultsFile = None,
) -> None:
    """Read the headers of all recordings: are they there, and do segments lie inside?

    Nothing is decoded without --decode. The exit code is 1 where a row is at fault.
    """
    from ossicle.data import check as check_rows

    with report_errors():
        found = _read(sources, form, root, column)
        with progress_bars() as progress:
            bar = progress.add_task("decoding" if decode else "headers")
            result = check_rows(
                found,
                decode=decode,
                threads=threads,
                progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )
        wrong = sorted([*found.faults, *result.faults], key=lambda one: one.row or 0)
        _report(found, wrong, faults)
        good = result.rows - len(result.faults)
        text = f"{good:,} of {result.rows:,} rows fit their recordings, {_hours(result.seconds)}"
        console.print(text, markup=False, highlight=False)
        if good == 0 and any("No such file" in fault.reason for fault in result.faults):
            where = "name the folder that the paths are relative to with --root"
            print_labelled("hint", f"no recording was found: {where}", colour="yellow")
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
        found = _read([source], form, root, column)
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


def _source(
    sources: list[Path], form: str | None, root: Path | None, column: list[str] | None
) -> RowSource:
    from ossicle.data.read import source_of_rows

    columns = dict(one.partition("=")[::2] for one in column or [])
    named = str(sources[0]) if len(sources) == 1 else [str(one) for one in sources]
    return source_of_rows(named, form, root=root, columns=columns)


def _pieces(source: RowSource) -> Iterator[Found]:
    """The rows of a source, with a bar that counts them."""
    with progress_bars() as progress:
        bar = progress.add_task("reading", total=None)
        for found in source.in_schema():
            if not isinstance(found, ManifestError):
                progress.advance(bar, len(found.numbers))
            yield found


def _read(
    sources: list[Path], form: str | None, root: Path | None, column: list[str] | None
) -> Rows:
    from ossicle.data.rows import Rows

    found = _source(sources, form, root, column)
    rows = Rows(found.name, found.format, lambda: _pieces(found))
    len(rows)  # reads all
    return rows


def _facts(source: RowSource, known: Summary) -> dict[str, Any]:
    return {
        "source": source.name,
        "format": source.format,
        "rows": known.rows + len(known.faults),
        "kept": known.rows,
        "faults": len(known.faults),
        "with_audio": known.sound,
        "with_text": known.text,
        "seconds": known.seconds if known.timed else None,
        "with_duration": known.timed,
        "languages": {
            name: {"rows": rows, "seconds": seconds}
            for name, (rows, seconds) in known.languages.items()
        },
        "splits": dict(known.splits),
        "speakers": known.speakers,
        "columns": {
            name: {"type": kind, "values": count} for name, (kind, count) in known.columns.items()
        },
    }


def _plain(row: Any) -> dict[str, Any]:
    """A row without the bytes of its recordings."""
    made = {name: row[name] for name in row if row[name] is not None}
    if "audio" in made:
        found = made["audio"]
        many = [_named(one) for one in found] if isinstance(found, list) else _named(found)
        made["audio"] = many
    return {name: one for name, one in made.items() if not isinstance(one, bytes)}


def _named(found: Any) -> Any:
    """A recording by its name; bytes are counted."""
    if isinstance(found, dict) and found.get("bytes") is not None:
        said = {name: one for name, one in found.items() if name not in ("bytes", "path")}
        return {"path": found["path"], "bytes": f"{len(found['bytes']):,} bytes", **said}
    return found if isinstance(found, str | dict) else f"{found.shard} [{found.name}]"


def _print_rows(first: list[dict[str, Any]], columns: list[str]) -> None:
    names = [name for name in columns if any(name in row for row in first)]
    if not first:
        return
    table = Table()
    for name in names:
        table.add_column(escape(name), overflow="fold")
    for row in first:
        table.add_row(*(escape(_short(row.get(name))) for name in names))
    console.print(table)


def _short(value: Any) -> str:
    if isinstance(value, dict) and "bytes" in value:
        value = f"{value['path'] or ''} ({value['bytes']} inside)".lstrip()
    text = "" if value is None else value if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _print_columns(known: Summary) -> None:
    table = Table()
    table.add_column("column", overflow="fold")
    table.add_column("type", overflow="fold")
    table.add_column("values", justify="right")
    for name, (kind, count) in known.columns.items():
        table.add_row(escape(name), escape(kind), f"{count:,}")
    console.print(table)


def _sentence(source: RowSource, known: Summary) -> str:
    """All rows in a line, and in one each their splits and languages."""
    parts = [f"{source.name}: {source.format}, {known.rows:,} rows"]
    if known.timed:
        whole = "" if known.timed == known.rows else f" in the {known.timed:,} rows with a duration"
        parts.append(_hours(known.seconds) + whole)
    if known.sound < known.rows:
        parts.append(f"{known.rows - known.sound:,} without sound")
    if known.text < known.rows:
        parts.append(f"{known.rows - known.text:,} without text")
    if known.speakers:
        parts.append(f"{known.speakers:,} speakers")
    lines = [", ".join(parts)]
    if known.splits:
        told = (f"{name} {rows:,}" for name, rows in known.splits.most_common(_SHOWN))
        lines.append(f"splits: {', '.join(told)}")
    if known.languages:
        most = sorted(known.languages.items(), key=lambda one: -one[1][0])[:_SHOWN]
        told = (
            f"{name} {rows:,}" + (f" ({_hours(seconds)})" if seconds else "")
            for name, (rows, seconds) in most
        )
        lines.append(f"languages: {', '.join(told)}")
    return "\n".join(lines)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.3f} hours"


def _report(rows: Rows, faults: list[ManifestError], path: Path | None) -> None:
    """Lists the faults, and prints the counts."""
    _list_faults(faults, path)
    console.print(rows.count(faults), markup=False, highlight=False)


def _list_faults(faults: list[ManifestError], path: Path | None) -> None:
    """Prints the first faults, and writes all."""
    from ossicle.data import write_faults

    if path is not None:
        write_faults(path, faults)
    for fault in faults[:_SHOWN]:
        print_labelled("fault", str(fault))
    if len(faults) > _SHOWN:
        where = f"all are in {path}" if path else "--faults writes all to a file"
        print_labelled("fault", f"and {len(faults) - _SHOWN:,} more; {where}")

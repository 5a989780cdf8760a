"""Commands on manifests: ``ossicle manifest build``, ``show``, ``join``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from ossicle.cli.base import app, console, errors, report_errors
from ossicle.outputs import refuse_same_file

if TYPE_CHECKING:
    from ossicle.dataloader import MetadataManifest

manifest = typer.Typer(
    no_args_is_help=True, help="Join the metadata of recordings, and filter them."
)
app.add_typer(manifest, name="manifest")

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Write the rows to this Parquet file.")
]
How = Literal["inner", "left", "outer"]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@manifest.command(
    epilog="Examples:  [bold]ossicle manifest build output/seedlings_1[/]   ·   "
    "[bold]ossicle manifest build output/seedlings_1 --min-snr-db 10 --label KCHI "
    "--exclude music --out good.parquet[/]   ·   "
    "[bold]ossicle manifest build output/seedlings_1 --stage vad --stage vtc[/]"
)
def build(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The pipeline's output folder.")],
    stage: Annotated[
        list[str] | None,
        typer.Option(help="A stage to read, once for each (by default vad, vtc, snr, esc)."),
    ] = None,
    min_speech_ratio: Annotated[
        float | None, typer.Option(help="The least share of speech, 0 to 1.")
    ] = None,
    min_snr_db: Annotated[float | None, typer.Option(help="The least mean SNR, in dB.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="A label that must occur, once for each.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="A dominant category of sound to leave out, once for each."),
    ] = None,
    min_duration: Annotated[float | None, typer.Option(help="In seconds.")] = None,
    max_duration: Annotated[float | None, typer.Option(help="In seconds.")] = None,
    how: Annotated[
        How, typer.Option(help="Recordings of all stages (inner), the first (left), any (outer).")
    ] = "inner",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Join the stages of a pipeline's output folder, filter, and say what is left.

    A recording on which a stage failed is not among that stage's rows; one that lacks what an
    option asks for does not meet it.
    """
    from ossicle.dataloader import FilterConfig, build_manifest

    with report_errors():
        filters = FilterConfig(
            min_speech_ratio=min_speech_ratio,
            min_snr_db=min_snr_db,
            required_labels=label or (),
            excluded_esc_categories=exclude or (),
            min_duration=min_duration,
            max_duration=max_duration,
        )
        if out is not None:
            refuse_same_file([out], _tables(folder))
        with errors.status("joining"):
            whole = build_manifest(folder, stages=stage or None, how=how)
            made = build_manifest(folder, filters, stage or None, how=how)
            _finish(made, out, as_json, {"before_filters": _count(whole)})


@manifest.command(
    epilog="Examples:  [bold]ossicle manifest show good.parquet[/]   ·   "
    "[bold]ossicle manifest show good.parquet --rows 5[/]   ·   "
    "[bold]ossicle manifest show good.parquet --json[/]"
)
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A manifest in Parquet.")],
    rows: Annotated[int, typer.Option(min=0, help="Also print this number of rows.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say what a manifest holds: rows, hours, and of each column type, nulls and values."""
    from ossicle.dataloader import MetadataManifest

    with report_errors():
        with errors.status("reading"):
            made = MetadataManifest.from_parquet(file, file.stem)
            _finish(made, None, as_json, {})
        if rows and not as_json:
            _print_rows(made, rows)


@manifest.command(
    epilog="Examples:  [bold]ossicle manifest join vad.parquet vtc.parquet --out both.parquet[/]"
    "   ·   [bold]ossicle manifest join a.parquet b.parquet --how outer --conflict prefix[/]"
)
def join(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Manifests in Parquet.")],
    how: Annotated[
        How, typer.Option(help="Rows in all (inner), in the first (left), in any (outer).")
    ] = "inner",
    conflict: Annotated[
        Literal["error", "prefix", "first", "last"],
        typer.Option(
            help="Of columns that several have: [bold]error[/], [bold]prefix[/] by the file's "
            "name, [bold]first[/] or [bold]last[/]."
        ),
    ] = "error",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Join manifests by wav_id, and say what comes of it; rows keep the order of the first file."""
    from ossicle.dataloader import ManifestJoiner, MetadataManifest

    with report_errors():
        if out is not None:
            refuse_same_file([out], files)
        joiner = ManifestJoiner(how, conflict)
        with errors.status("joining"):
            parts = [MetadataManifest.from_parquet(file, file.stem) for file in files]
            for part in parts:
                joiner.add(part)
            sizes = {str(file): len(part) for file, part in zip(files, parts, strict=True)}
            _finish(joiner.join(), out, as_json, {"files": sizes})


def _tables(folder: Path) -> list[Path]:
    """What the stages of a pipeline left in its folder."""
    kinds = ("meta", "raw", "merged")
    return [path for kind in kinds for path in folder.glob(f"*_{kind}/*.parquet")]


def _count(made: MetadataManifest) -> int:
    """Rows, without the columns that `len` would compute and keep."""
    import polars as pl

    return int(made.lazy.select(pl.len()).collect().item())


def _finish(made: MetadataManifest, out: Path | None, as_json: bool, more: dict[str, Any]) -> None:
    """Writes the rows where they are wanted, and prints what they are."""
    from ossicle.dataloader.outputs.column_summary import summarize

    if out is not None:
        _ = made.df  # once, for the file and the summary
        made.to_parquet(out)
    facts = summarize(made)
    if made.unmatched:
        more = {**more, "unmatched": made.unmatched}
    if as_json:
        printed = more | facts | {"out": None if out is None else str(out)}
        typer.echo(json.dumps(printed, ensure_ascii=False, default=str))
        return
    _print_facts(facts, more)
    if out is not None:
        console.print(f"wrote {out}", markup=False, highlight=False)


def _print_facts(facts: dict[str, Any], more: dict[str, Any]) -> None:
    table = Table()
    table.add_column("column", overflow="fold")
    table.add_column("type")
    for heading in ("nulls", "min", "mean", "max"):
        table.add_column(heading, justify="right")
    table.add_column("most frequent", overflow="fold")
    for name, fact in facts["columns"].items():
        numbers = [_number(fact.get(key)) for key in ("min", "mean", "max")]
        table.add_row(
            escape(name),
            escape(fact["type"]),
            _share(fact["nulls"], facts["rows"]),
            *numbers,
            escape(_frequent(fact)),
        )
    console.print(table)
    console.print(_headline(facts, more), markup=False, highlight=False)


def _headline(facts: dict[str, Any], more: dict[str, Any]) -> str:
    parts = [f"{facts['rows']:,} recordings"]
    before = more.get("before_filters")
    if before is not None and before != facts["rows"]:
        parts[0] += f" of {before:,} ({facts['rows'] / before:.1%})"
    if "files" in more:
        parts[0] += f" of {' and '.join(f'{size:,}' for size in more['files'].values())}"
    lost = {name: count for name, count in more.get("unmatched", {}).items() if count}
    if lost:
        told = " and ".join(f"{count:,} of {name}" for name, count in lost.items())
        parts.append(f"not in all: {told}")
    if facts["hours"] is not None:
        parts.append(f"{facts['hours']:,.2f} hours")
    if facts["speech_hours"] is not None:
        parts.append(f"{facts['speech_hours']:,.2f} hours of speech")
    return ", ".join(parts)


def _share(nulls: int, rows: int) -> str:
    return f"{nulls:,} ({nulls / rows:.0%})" if nulls else "0"


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _frequent(fact: dict[str, Any]) -> str:
    if fact.get("distinct") == fact.get("present") and fact.get("present", 0) > 1:
        return "all different"
    return ", ".join(f"{value} ({count:,})" for value, count in fact.get("top", []))


def _print_rows(made: MetadataManifest, count: int) -> None:
    # One below the other: manifests have more columns than a terminal has room for.
    for row in made.df.head(count).iter_rows(named=True):
        table = Table(show_header=False)
        for name, value in row.items():
            table.add_row(escape(name), "" if value is None else escape(str(value)))
        console.print(table)

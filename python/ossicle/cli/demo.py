"""``ossicle demo``: the whole path, timed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ossicle.audio.remarks import count_reasons
from ossicle.cli.base import (
    Bars,
    app,
    claim_output,
    console,
    print_losses,
    progress_bars,
    report_errors,
    require,
)

if TYPE_CHECKING:
    from ossicle.experiment.demo import DemoResult


@app.command(
    epilog="Examples:  [bold]ossicle demo[/]   ·   "
    "[bold]ossicle demo --data my/manifest.jsonl --out my-demo[/]"
)
def demo(
    data: Annotated[
        Path | None, typer.Option(help="Your own, in any format that ossicle data reads.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for corpus, cache and report.")] = Path("demo"),
    clips: Annotated[int, typer.Option(min=2, help="Clips to make without --data.")] = 24,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of the corpus and the training.")] = 0,
) -> None:
    """Make a corpus, decode, cache, shard, collate, train, and say what took how long.

    Writes a picture, report.png, and the numbers, report.json. The folder is a new or an empty one,
    or that of an earlier demo.
    """
    require("train", "torch", "transformers")
    from ossicle.experiment import demo as library

    claim_output(library.claim, out, "--out")
    with report_errors(), progress_bars() as progress:
        result = library.run(
            out, data=data, clips=clips, steps=steps, seed=seed, progress=Bars(progress)
        )
    _print_demo(result)


def _print_demo(result: DemoResult) -> None:
    total = sum(stage.seconds for stage in result.stages)
    table = Table(title="Throughput by stage", title_justify="left")
    table.add_column("stage")
    for heading in ("clips", "seconds", "clips/s", "audio s/s", "share"):
        table.add_column(heading, justify="right")
    for stage in result.stages:
        table.add_row(
            stage.name,
            f"{stage.clips:,}",
            f"{stage.seconds:.3f}",
            f"{stage.clips_per_second:,.0f}",
            f"{stage.speed:,.0f}",
            f"{stage.seconds / total:.1%}",
        )
    console.print(table)
    kinds = sorted({f"{fact.codec}@{fact.sample_rate}" for fact in result.facts})
    console.print(f"{result.counts}: {', '.join(kinds)}", markup=False, highlight=False)
    for reason, clips in count_reasons(fact.remarks for fact in result.facts).items():
        console.print(f"{clips:,} clips with a remark: {reason}", markup=False, highlight=False)
    print_losses(result.training.losses)
    for path in filter(None, (result.report, result.numbers)):
        console.print(f"wrote {path}", highlight=False)

"""Commands on models: ``ossicle demo``, ``corpus``; the stages of ``train`` are in stages.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ossicle.audio.remarks import count_reasons
from ossicle.cli.base import Bars, app, console, progress_bars, reported, require
from ossicle.errors import InvalidArgumentError

if TYPE_CHECKING:
    from ossicle.experiment.demo import DemoResult
    from ossicle.train.result import TrainResult

corpus_app = typer.Typer(no_args_is_help=True, help="Make a small corpus of tones with words.")
train_app = typer.Typer(no_args_is_help=True, help="Train Whisper-projector-GPT.")
app.add_typer(corpus_app, name="corpus")
app.add_typer(train_app, name="train")


@app.command(
    epilog="Examples:  [bold]ossicle demo[/]   ·   "
    "[bold]ossicle demo --data my/manifest.jsonl --out my-demo[/]"
)
def demo(
    data: Annotated[
        Path | None, typer.Option(help="A manifest of your own (JSON lines: wav, text).")
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
    _require_training()
    from ossicle.experiment import demo as library

    claimed(library.claim, out, "--out")
    with reported(), progress_bars() as progress:
        result = library.run(
            out, data=data, clips=clips, steps=steps, seed=seed, progress=Bars(progress)
        )
    _print_demo(result)


@corpus_app.command("sines", epilog="Example:  [bold]ossicle corpus sines data/audio_smoke[/]")
def corpus_sines(
    folder: Annotated[Path, typer.Argument(help="Where to put the clips and manifest.jsonl.")],
) -> None:
    """Make five sines of five seconds with five texts: the smallest set that can be learned."""
    from ossicle.experiment.corpus import claim, make_sines

    claimed(claim, folder, "FOLDER")
    with reported():
        console.print(f"wrote {make_sines(folder)}", highlight=False)


@corpus_app.command("demo", epilog="Example:  [bold]ossicle corpus demo data/tones --clips 100[/]")
def corpus_demo(
    folder: Annotated[Path, typer.Argument(help="Where to put the clips and manifest.jsonl.")],
    clips: Annotated[int, typer.Option(min=1, help="How many.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Of lengths, phases and noise.")] = 0,
) -> None:
    """Make tones in WAV, FLAC and (with an encoder at hand) MP3, at five rates, mono and stereo."""
    from ossicle.experiment.corpus import claim, make_demo

    claimed(claim, folder, "FOLDER")
    with reported(), progress_bars() as progress:
        bars = Bars(progress)
        manifest = make_demo(
            folder, clips=clips, seed=seed, on_clip=lambda done: bars("corpus", done, clips)
        )
    console.print(f"wrote {manifest}", highlight=False)


def claimed(claim: Callable[[Path], Any], folder: Path, option: str) -> None:
    """Ends with exit code 2 where a folder is not one that the command may write over."""
    with reported():
        try:
            claim(folder)
        except InvalidArgumentError as error:
            raise typer.BadParameter(str(error), param_hint=option) from error


def _require_training() -> None:
    require("train", "torch", "transformers")


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
    console.print(f"{len(result.facts)} clips: {', '.join(kinds)}", highlight=False)
    for reason, clips in count_reasons(fact.remarks for fact in result.facts).items():
        console.print(f"{clips:,} clips with a remark: {reason}", markup=False, highlight=False)
    print_losses(result.training)
    for path in filter(None, (result.report, result.numbers)):
        console.print(f"wrote {path}", highlight=False)


def print_losses(result: TrainResult) -> None:
    """The first loss and the last."""
    first, last = result.losses[0], result.losses[-1]
    console.print(
        f"loss {first:.3f} -> {last:.3f} nats a token in {len(result.losses)} steps",
        highlight=False,
    )

"""Commands on models: ``ossicle demo``, ``corpus``, ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ossicle.cli.base import Bars, app, console, progress_bars, reported, require

if TYPE_CHECKING:
    from ossicle.demo import DemoResult
    from ossicle.train.align import AlignProgress, AlignResult

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

    Writes a picture, report.png, and the numbers, report.json.
    """
    _require_training()
    from ossicle import demo as library

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
    from ossicle.corpus import make_sines

    with reported():
        console.print(f"wrote {make_sines(folder)}", highlight=False)


@corpus_app.command("demo", epilog="Example:  [bold]ossicle corpus demo data/tones --clips 100[/]")
def corpus_demo(
    folder: Annotated[Path, typer.Argument(help="Where to put the clips and manifest.jsonl.")],
    clips: Annotated[int, typer.Option(min=1, help="How many.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Of lengths, phases and noise.")] = 0,
) -> None:
    """Make tones in WAV, FLAC and (with an encoder at hand) MP3, at five rates, mono and stereo."""
    from ossicle.corpus import make_demo

    with reported(), progress_bars() as progress:
        bars = Bars(progress)
        manifest = make_demo(
            folder, clips=clips, seed=seed, on_clip=lambda done: bars("corpus", done, clips)
        )
    console.print(f"wrote {manifest}", highlight=False)


@train_app.command(
    "align",
    epilog="Examples:  [bold]ossicle train align --data data/manifest.jsonl --out run[/]   ·   "
    "offline: [bold]ossicle train align --data data/manifest.jsonl --whisper tiny-random[/]",
)
def train_align(
    data: Annotated[Path, typer.Option(help="Manifest (JSON lines: wav or audio_path, text).")],
    whisper: Annotated[
        str, typer.Option(help="Model id on a hub, a local folder, or tiny-random.")
    ] = "openai/whisper-base",
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of the whole run.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and of the clips' order.")] = 0,
    lr: Annotated[float, typer.Option(help="Learning rate of AdamW.")] = 3e-3,
    out: Annotated[Path | None, typer.Option(help="Folder for checkpoints and report.")] = None,
    save_every: Annotated[
        int, typer.Option(min=0, help="Steps between checkpoints; 0 saves the last alone.")
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what is in --out.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the checkpoints in --out first.")
    ] = False,
    stack: Annotated[
        int | None,
        typer.Option(
            min=1, help="Encoder frames in a soft token (by default 1 on CUDA, 4 on CPU)."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips a step (by default all up to 32, else 16).")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda or cpu (by default CUDA where there is one).")
    ] = None,
) -> None:
    """Align a frozen Whisper encoder with a small GPT: projector and GPT learn, the loss must fall.

    Fails when the loss falls by less than 0.5 nats a token.
    """
    _require_training()
    from ossicle.train import align

    with reported(), progress_bars() as progress:
        bars = Bars(progress)

        def show(at: AlignProgress) -> None:
            loss = "" if at.loss is None else f"loss {at.loss:.3f}"
            bars(f"{at.stage} {loss}".strip(), at.step, at.steps)

        config = align.AlignConfig(
            data,
            whisper=whisper,
            steps=steps,
            seed=seed,
            lr=lr,
            out=out,
            save_every=save_every,
            resume=resume,
            overwrite=overwrite,
            stack=stack,
            batch_size=batch_size,
            device=device,
        )
        result = align.run(config, progress=show)
    _print_training(result)


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
    _print_losses(result.training)
    for path in filter(None, (result.report, result.numbers)):
        console.print(f"wrote {path}", highlight=False)


def _print_training(result: AlignResult) -> None:
    _print_losses(result)
    speed = result.audio_seconds / max(result.seconds, 1e-9)
    console.print(
        f"{result.clips} clips, {result.parameters:,} trained parameters, {result.seconds:.1f} s "
        f"on {result.device}, {speed:,.0f} s of audio a second",
        highlight=False,
    )
    for path in filter(None, (result.checkpoint, result.report)):
        console.print(f"wrote {path}", highlight=False)


def _print_losses(result: AlignResult) -> None:
    first, last = result.losses[0], result.losses[-1]
    console.print(
        f"loss {first:.3f} -> {last:.3f} nats a token in {len(result.losses)} steps",
        highlight=False,
    )

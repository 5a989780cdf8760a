"""``ossicle experiment``: whole experiments, from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ossicle.cli.base import Bars, app, claim_output, console, progress_bars, report_errors, require
from ossicle.experiment.spoken import Speaker, SpokenConfig

if TYPE_CHECKING:
    from ossicle.experiment.weak_align import ExperimentResult

experiment_app = typer.Typer(no_args_is_help=True, help="Whole experiments, from nothing.")
app.add_typer(experiment_app, name="experiment")


@experiment_app.command(
    "weak-align",
    epilog="Examples:  [bold]ossicle experiment weak-align runs/weak-align[/]   ·   in a minute: "
    "[bold]ossicle experiment weak-align runs/quick --quick --speaker tones[/]",
)
def experiment_weak_align(
    out: Annotated[Path, typer.Argument(help="Folder of all stages, result.json and pictures.")],
    seed: Annotated[int, typer.Option(min=0, help="Of everything.")] = 0,
    speaker: Annotated[
        Speaker, typer.Option(help="espeak-ng, or tones that spell the letters.")
    ] = SpokenConfig.speaker,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few clips and steps: the mechanics, no result.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads of PyTorch.")] = 1,
) -> None:
    """Does a projector alone make a frozen language model hear? Everything is made here.

    A corpus, an encoder (CTC), a language model (text alone), then the projector between the two
    frozen ones. Finished stages are kept: a repeated call continues with the next.
    """
    require("train", "torch", "transformers", "jiwer")
    import torch

    from ossicle.experiment import weak_align

    torch.set_num_threads(threads)
    claim_output(weak_align.claim, out, "OUT")
    config = (weak_align.quick if quick else weak_align.whole)(speaker, seed)
    with report_errors(), progress_bars() as progress:
        result = weak_align.run_experiment(out, config, report=Bars(progress))
    _print(result)


def _print(result: ExperimentResult) -> None:
    final = result.control
    table = Table(title="Is the audio used?", title_justify="left")
    table.add_column("held-out text given")
    table.add_column("nats a token", justify="right")
    rows = (("the right audio", final.right), ("another clip's audio", final.shuffled))
    for name, value in (*rows, ("no audio", final.none)):
        table.add_row(name, f"{value:.3f}")
    console.print(table)
    console.print(
        f"gap {final.gap:.3f} nats a token over {final.clips} clips; word error rate of what it "
        f"writes {result.words.rate:.1%}",
        highlight=False,
    )
    for example in result.examples[:4]:
        console.print(f"  said   {example['said']}\n  heard  {example['heard']}", highlight=False)
    console.print(f"wrote {result.folder / 'result.json'}", highlight=False)

"""``ossicle train align``, ``weak-align``, ``full``: their options are the fields of one schema."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ossicle.cli.base import Bars, app, console, print_losses, progress_bars, report_errors, require
from ossicle.train.config import TrainConfig
from ossicle.train.config_file import config_from, option_types
from ossicle.train.stages import STAGES, StageName

if TYPE_CHECKING:
    from ossicle.train.result import TrainProgress, TrainResult

__all__ = ["make_command"]

train_app = typer.Typer(no_args_is_help=True, help="Train Whisper-projector-GPT.")
app.add_typer(train_app, name="train")

_LEFT = ("stage", "data")  # the command says the one; the other comes first


def make_command(stage: StageName) -> Callable[..., None]:
    """The command of a stage: an option for each field of `TrainConfig`, and ``--config``."""

    def command(config: Path | None = None, **given: Any) -> None:
        options = {name: value for name, value in given.items() if value is not None}
        _train(stage, config, options)

    command.__doc__ = STAGES[stage].help
    kinds = option_types()
    known = {f.name: f for f in fields(TrainConfig)}
    names = [name for name in kinds if name not in _LEFT]
    parameters = [_parameter("data", kinds["data"], known["data"], stage), _config_parameter()]
    parameters += [_parameter(name, kinds[name], known[name], stage) for name in names]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _config_parameter() -> inspect.Parameter:
    option = typer.Option(help="YAML file with any of these options; flags override it.")
    return inspect.Parameter(
        "config",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Path | None, option],
    )


def _parameter(name: str, kind: Any, f: Field[Any], stage: StageName) -> inspect.Parameter:
    """An option that is None where it was not given, so that files and defaults have their say."""
    default = STAGES[stage].defaults.get(name, f.default)
    shown = "" if default is None or default is MISSING else f" [default: {_default_text(default)}]"
    option = typer.Option(
        help=f.metadata["help"] + shown.replace("[", r"\["),
        rich_help_panel=f.metadata["section"],
        show_default=False,
    )
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _default_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _train(stage: StageName, file: Path | None, options: dict[str, Any]) -> None:
    require("train", "torch", "transformers")
    with report_errors():
        config = config_from(stage, options, file)
        from ossicle.train.result import TrainingInterrupted, TrainingTerminated
        from ossicle.train.trainer import run

        with progress_bars() as progress:
            bars = Bars(progress)

            told: list[str] = []

            def show(at: TrainProgress) -> None:
                if at.counts and not told:
                    told.append(at.counts)
                    progress.console.print(at.counts, markup=False, highlight=False)
                bars(f"{at.stage} {_line(at)}".strip(), at.step, at.steps)

            try:
                result = run(config, progress=show)
            except ImportError as error:  # of a package that only some runs need
                raise RuntimeError(str(error)) from error
            except (TrainingInterrupted, TrainingTerminated) as stop:
                # Of several processes the first one speaks.
                if os.environ.get("RANK", "0") == "0":
                    progress.console.print(str(stop), markup=False, highlight=False)
                raise typer.Exit(stop.status) from None
    if result.is_first:
        _print(result)


def _line(at: TrainProgress) -> str:
    """The latest loss and speeds, on the bar."""
    if at.loss is None:
        return ""
    tokens = at.figures.get("tokens_per_second")
    speed = "" if tokens is None else f" {tokens:,.0f} tok/s"
    return f"loss {at.loss:.3f}{speed}"


def _print(result: TrainResult) -> None:
    print_losses(result.losses)
    console.print(
        f"{result.counts}, {result.parameters:,} trained parameters, {result.seconds:.1f} s "
        f"on {result.processes} x {result.device}",
        highlight=False,
    )
    if result.figures:
        console.print(_speeds(result))
        console.print(f"bottleneck: {result.bottleneck}", highlight=False)
    _print_evaluation(result)
    if result.cut:
        console.print(f"{result.cut:,} clips cut, their texts whole or cut", highlight=False)
    for reason, clips in result.remarks.items():
        console.print(f"{clips:,} clips with a remark: {reason}", markup=False, highlight=False)
    for path in filter(None, (result.checkpoint, result.best, result.report)):
        console.print(f"wrote {path}", highlight=False)


SPEEDS = {
    "step_ms": ("a step", "{:,.1f} ms"),
    "audio_seconds_per_second": ("audio a second", "{:,.0f} s"),
    "tokens_per_second": ("tokens a second", "{:,.0f}"),
    "data_wait": ("waiting for data", "{:.1%}"),
    "encode": ("in the encoder", "{:.1%}"),
    "padding": ("padding of positions", "{:.1%}"),
    "encoder_padding": ("padding in the encoder", "{:.1%}"),
    "tflops": ("arithmetic a second", "{:,.3f} TFLOP"),
    "mfu": ("MFU, encoder counted", "{:.1%}"),
}


def _speeds(result: TrainResult) -> Table:
    table = Table(title="Steps", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("figure", justify="right")
    for name, (words, form) in SPEEDS.items():
        if name in result.figures:
            table.add_row(words, form.format(result.figures[name]))
    return table


def _print_evaluation(result: TrainResult) -> None:
    if not result.evaluations:
        return
    *_, last = result.evaluations
    values = ", ".join(f"{name} {value:.3f}" for name, value in last.items() if name != "step")
    console.print(f"held out at step {last['step']:.0f}: {values}", highlight=False)


for _name, _stage in STAGES.items():
    train_app.command(_name, epilog=_stage.examples)(make_command(_name))

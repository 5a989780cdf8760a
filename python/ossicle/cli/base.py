"""What the commands share: the application, how they show progress and say what went wrong."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from errno import EPIPE
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleDimensions
from rich.progress import Progress
from typer.core import TyperGroup

from ossicle.audio import RawFormat
from ossicle.errors import InvalidArgumentError
from ossicle.progress import bars


class Commands(TyperGroup):
    """All commands: what each of them may end in."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Reads the arguments."""
        with exit_codes():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Does what they say."""
        with exit_codes():
            return super().invoke(ctx)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Ends with exit code 130 at Ctrl-C, with 1 where nothing can be printed."""
    try:
        yield
    except KeyboardInterrupt:
        errors.print("stopped by Ctrl-C")
        raise typer.Exit(130) from None
    except OSError as error:
        # Others tell of files, and of a pipe that nobody reads any more, as behind `head`.
        if error.errno == EPIPE or error.filename is not None:
            raise
        _give_up_output()
        print_labelled("error", f"the output cannot be written: {error}")
        raise typer.Exit(1) from error


def _give_up_output() -> None:
    """Lets what is left in the buffer go nowhere: Python would fail at it once more at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(
    name="ossicle",
    cls=Commands,
    help="Carries sound from files to the model: decode, shard, cache, collate, train.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    # A fault of ours shows Python's own trace, which reports can be made from.
    pretty_exceptions_enable=False,
)


class Terminal(Console):
    """A console that wraps at a terminal's width, and nowhere else.

    Without a terminal Rich takes 80 columns, or those of a terminal that another stream has: lines
    of a pipe or a file, which programs read, would be broken inside their paths.
    """

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and lines; without a terminal more columns than any line has."""
        if self.is_terminal:
            return super().size
        return ConsoleDimensions(_UNWRAPPED, super().size.height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size


# Columns where no terminal has any.
_UNWRAPPED = 1 << 20
console = Terminal()
errors = Terminal(stderr=True)


class Bars:
    """One bar for each stage, made when the stage begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Shows `done` of `total` on the bar of the stage."""
        # The first word names the bar; what follows may change.
        name = stage.split(" ", 1)[0]
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(stage, total=total)
        self._progress.update(self._bars[name], description=stage, completed=done, total=total)


def progress_bars(*, in_bytes: bool = False) -> Progress:
    """Bars on standard error that go away when all is done."""
    return bars(errors, in_bytes=in_bytes)


@contextmanager
def report_errors() -> Iterator[None]:
    """Turns what users can mend into one line and exit code 1; faults of ours keep their trace."""
    try:
        yield
    except typer.Exit:  # a RuntimeError
        raise
    except (OSError, ValueError, RuntimeError) as error:
        print_labelled("error", f"{type(error).__name__}: {error}")
        raise typer.Exit(1) from error


def require(extra: str, *packages: str) -> None:
    """Ends with exit code 1, and says which extra to install, where a package is missing."""
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    if missing:
        what = " and ".join(missing)
        print_labelled("error", f'{what} not installed: pip install "ossicle[{extra}]"')
        raise typer.Exit(1)


def print_labelled(label: str, text: str, *, colour: str = "red", to: Console = errors) -> None:
    """Prints a line that begins with a label in colour; the text is shown as it is."""
    to.print(f"[bold {colour}]{label}:[/] ", end="")
    to.print(text, markup=False, highlight=False)


def print_remarks(to: Console, file: str, remarks: Sequence[str]) -> None:
    """Prints the remarks on a recording, a line each."""
    for remark in remarks:
        print_labelled("remark", f"{file}: {remark}", colour="yellow", to=to)


def claim_output(claim: Callable[[Path], Any], folder: Path, option: str) -> None:
    """Ends with exit code 2 where a folder is not one that the command may write over."""
    with report_errors():
        try:
            claim(folder)
        except InvalidArgumentError as error:
            raise typer.BadParameter(str(error), param_hint=option) from error


def raw_format(text: str) -> RawFormat:
    """What ``--raw`` says; exit code 2 where it makes no sense."""
    try:
        return RawFormat.parse(text)
    except InvalidArgumentError as error:
        raise typer.BadParameter(str(error)) from error


RawOption = Annotated[
    RawFormat | None,
    typer.Option(
        parser=raw_format,
        metavar="CODEC:RATE[:CHANNELS[:OFFSET]]",
        help="Samples without a header, as [bold]pcm_s16le:8000:1[/].",
    ),
]


def print_losses(losses: Sequence[float]) -> None:
    """The first loss and the last."""
    first, last = losses[0], losses[-1]
    console.print(
        f"loss {first:.3f} -> {last:.3f} nats a token in {len(losses)} steps",
        highlight=False,
    )


def print_fault(row: Mapping[str, object]) -> None:
    """Prints a row of what `verify_shards` gives."""
    member = "" if row["member"] is None else f" [{row['member']}]"
    at = "" if row["byte_offset"] is None else f" (byte {row['byte_offset']})"
    print_labelled("damage", f"{row['shard']}{member}{at}: {row['error']}: {row['reason']}")

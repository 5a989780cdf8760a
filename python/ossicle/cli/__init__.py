"""The command line: ``ossicle info``, ``decode``, ``shard``, ``cache``, ``extract``, ``train`` ...

Thin: each command calls one function of the library, shows its progress and prints its result.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import ossicle

# The order of these is that of --help.
# isort: off
from ossicle.cli import info, decode, features, demo, index, shard, verify, repair, cache
from ossicle.cli import corpus, train, experiment, extract, manifest, data, profile

# isort: on
from ossicle.cli.base import app, console, errors

__all__ = [
    "app",
    "cache",
    "corpus",
    "data",
    "decode",
    "demo",
    "experiment",
    "extract",
    "features",
    "index",
    "info",
    "main",
    "manifest",
    "profile",
    "repair",
    "shard",
    "train",
    "verify",
]


def main() -> None:
    """Entry point of the console script."""
    # Before PyTorch is loaded: on a busy machine its idle threads otherwise spin against those that
    # work, and training takes several times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except KeyboardInterrupt:  # while the commands are made
        errors.print("stopped by Ctrl-C")
        sys.exit(130)


def _print_version(wanted: bool) -> None:
    if wanted:
        facts = ", ".join(f"{name} {value}" for name, value in sorted(ossicle.__build__.items()))
        console.print(f"ossicle {ossicle.__version__} ({facts})", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Carries sound from files to the model: decode, cache, collate, train."""

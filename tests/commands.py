"""Command lines in the process of the tests, which has imported what the commands need."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from typer.testing import CliRunner

from ossicle.cli import app


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """What ``ossicle ARGUMENTS`` in `folder` prints and ends with; a fault of ours is raised."""
    words = [str(argument) for argument in arguments]
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, words, env={"HF_HUB_OFFLINE": "1"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)

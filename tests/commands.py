"""Commands and scripts in the process of the tests, which has imported what they need."""

from __future__ import annotations

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

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


def run_script(path: Path, *arguments: object, folder: Path) -> str:
    """What ``python PATH ARGUMENTS`` in `folder` prints."""
    words = [str(path), *map(str, arguments)]
    own, printed = [str(path.parent), *sys.path], io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        patch.object(sys, "argv", words),
        patch.object(sys, "path", own),
    ):
        runpy.run_path(str(path), run_name="__main__")
    return printed.getvalue()

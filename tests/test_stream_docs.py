"""docs/stream.md and docs/stream-plan.md: their blocks run as they are written."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ossicle.cli import app

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(("name", "values"), [("stream.md", 2), ("stream-plan.md", 5)])
def test_the_page_runs_as_written(
    name: str, values: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = DOCS / name
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    told = 0
    text = page.read_text(encoding="utf-8")
    for kind, block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL):
        if kind == "sh":
            done = CliRunner().invoke(app, shlex.split(block)[1:])
            assert done.exit_code == 0, done.output
            continue
        exec(compile(block, str(page), "exec"), names)
        # What a line's comment says is what its expression gives.
        for line in block.splitlines():
            code, mark, value = line.partition("  # ")
            if mark:
                assert eval(code, names) == ast.literal_eval(value), line
                told += 1
    assert told == values

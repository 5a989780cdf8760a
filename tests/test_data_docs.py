"""docs/data.md: each command and block runs as it is written, and its tables are the code's."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ossicle.cli import app
from ossicle.data import COLUMNS, SCHEMA
from ossicle.data.known import FORMATS

PAGE = Path(__file__).parents[1] / "docs" / "data.md"


def test_the_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    told = 0
    for kind, block in re.findall(
        r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    ):
        if kind == "sh":
            for line in block.splitlines():
                result = CliRunner().invoke(app, shlex.split(line)[1:])
                assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
            continue
        exec(compile(block, str(PAGE), "exec"), names)
        # What a line's comment says is what its expression gives.
        for line in block.splitlines():
            code, mark, value = line.partition("  # ")
            if mark and not value.startswith("Polars"):
                found = eval(code, names)
                assert found == ast.literal_eval(value), line
                told += 1
    assert told == 6


def test_the_tables_are_the_codes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z-]+)` \|.*\| (yes|no) \| (yes|no) \|$", page, re.MULTILINE)
    known = [
        (one.name, *("yes" if how else "no" for how in (one.read, one.write)))
        for one in FORMATS.values()
    ]
    assert listed == known
    table = page.partition("| meaning | names |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    assert {name: tuple(re.findall("`(.*?)`", text)) for name, text in rows.items()} == {
        name: names for name, names in COLUMNS.items() if name != "wav_id"
    }
    schema = page.partition("| column | type |")[2].partition("\n\n")[0]
    first = [line.split("|")[1] for line in schema.splitlines() if line.startswith("| `")]
    assert [name for cell in first for name in re.findall("`(.*?)`", cell)] == list(SCHEMA)

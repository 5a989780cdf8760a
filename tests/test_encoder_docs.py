"""docs/encoder.md: its code runs as written, and its table is the record's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ossicle.cli import app
from ossicle.experiment import corpus

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/encoder.md").read_text(encoding="utf-8")


def test_the_code_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus.make_demo(tmp_path, clips=6)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```(python|console)\n(.*?)```", PAGE, re.DOTALL)
    assert [kind for kind, _ in blocks].count("python") == 4
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, "docs/encoder.md", "exec"), names)
            continue
        for line in text.splitlines():
            done = CliRunner().invoke(app, line.removeprefix("$ ossicle ").split())
            assert done.exit_code == 0, done.output
    assert names["tokens"].shape[2] == 384  # type: ignore[attr-defined]
    assert names["padded"].shape[:2] == (3, 3)  # type: ignore[attr-defined]
    assert len(names["shards"]) == 6  # type: ignore[arg-type]


def test_the_table_is_the_record_s() -> None:
    record = (ROOT / "benches/record/2026-11-21-projector-start.md").read_text(encoding="utf-8")
    table = record[record.index("| start |") :]
    assert table in PAGE

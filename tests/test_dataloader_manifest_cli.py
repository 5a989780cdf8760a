"""`ossicle manifest` as a user runs it, and the page about manifests."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pipeline_outputs import Outputs, make_outputs
from typer.testing import CliRunner

from ossicle.cli import app
from ossicle.cli.base import console
from ossicle.dataloader.outputs.build import build_manifest
from ossicle.dataloader.outputs.column_summary import summarize
from ossicle.dataloader.outputs.config import FilterConfig
from ossicle.dataloader.outputs.manifest import MetadataManifest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 200)


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["manifest", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    root = tmp_path_factory.mktemp("run") / "output/seedlings_1"
    return make_outputs(root, n=60, with_arrays=False)


def test_build_says_and_writes_what_the_library_gives(outputs: Outputs, tmp_path: Path) -> None:
    filters = FilterConfig(
        min_speech_ratio=0.1,
        min_snr_db=11.0,
        required_labels=["FEM"],
        excluded_esc_categories=["music"],
        min_duration=12.0,
        max_duration=59.0,
    )
    expected, whole = build_manifest(outputs.root, filters), build_manifest(outputs.root)
    assert 0 < len(expected) < len(whole)
    options = ["--min-speech-ratio", 0.1, "--min-snr-db", 11, "--label", "FEM", "--exclude"]
    options += ["music", "--min-duration", 12, "--max-duration", 59]
    out = tmp_path / "good.parquet"
    code, text = run("build", outputs.root, *options, "--out", out)
    assert (code, f"{len(expected)} recordings of {len(whole)} (" in text) == (0, True)
    assert "hours of speech" in text
    assert all(f"│ {name} │" in text for name in expected.columns)
    assert pl.read_parquet(out).equals(expected.df)
    code, text = run("build", outputs.root, *options, "--json")
    facts = json.loads(text)
    assert (facts["rows"], facts["before_filters"]) == (len(expected), len(whole))
    hours = sum(expected.df["duration"] * expected.df["speech_ratio"]) / 3600
    assert facts["speech_hours"] == pytest.approx(hours)
    code, text = run("build", outputs.root, "--stage", "vtc", "--stage", "snr", "--how", "outer")
    assert (code, "hours" not in text, "duration" not in text) == (0, True, True)


def test_show_and_join(outputs: Outputs, tmp_path: Path) -> None:
    vad, vtc = tmp_path / "vad.parquet", tmp_path / "vtc.parquet"
    for file in (vad, vtc):
        build_manifest(outputs.root, stages=[file.stem]).to_parquet(file)
    code, text = run("show", vad, "--rows", 2)
    first = pl.read_parquet(vad).row(0, named=True)
    assert (code, f"│ duration │ {first['duration']} │" in text) == (0, True)
    assert "│ success │ Boolean │ 0 │ │ │ │ True (" in text
    code, text = run("join", vad, vtc)
    assert (code, "column 'error': is in 'vad' and 'vtc'" in text) == (1, True)
    out = tmp_path / "both.parquet"
    code, text = run("join", vad, vtc, "--conflict", "prefix", "--how", "outer", "--out", out)
    sizes = [pl.read_parquet(file).height for file in (vad, vtc)]
    both = build_manifest(outputs.root, stages=["vad", "vtc"], how="outer").df
    assert (code, f"{both.height} recordings of {sizes[0]} and {sizes[1]}" in text) == (0, True)
    assert pl.read_parquet(out).equals(both)
    code, text = run("join", vad, vtc, "--conflict", "first", "--json")
    assert json.loads(text)["files"] == {str(vad): sizes[0], str(vtc): sizes[1]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["build", "nowhere"], "MissingStageError"),
        (["build", "{root}", "--stage", "asr"], "unknown stage 'asr'"),
        (["build", "{root}", "--min-speech-ratio", "2"], "min_speech_ratio"),
        (["build", "{root}", "--stage", "vad", "--min-snr-db", "2"], "left out"),
        (["show", "nowhere.parquet"], "no such file"),
        (["join", "nowhere.parquet"], "no such file"),
    ],
)
def test_what_is_wrong_is_one_line(outputs: Outputs, arguments: list[str], told: str) -> None:
    code, text = run(*(each.format(root=outputs.root) for each in arguments))
    assert (code, "error:" in text, told in text, "Traceback" in text) == (1, True, True, False)


@pytest.mark.parametrize("command", ["build", "show", "join"])
def test_help(command: str) -> None:
    code, text = run(command, "--help")
    assert (code, f"Examples: ossicle manifest {command}" in text) == (0, True)


def test_summaries_are_those_of_plain_python() -> None:
    values: dict[str, list[Any]] = {
        "wav_id": ["a", "b", "c", "d"],
        "duration": [3600.0, 7200.0, None, math.nan],
        "speech_ratio": [0.5, 0.25, 1.0, 1.0],
        "count": [1, None, 3, 5],
        "label": ["x", "", "x", None],
        "none": [None] * 4,
    }
    facts = summarize(MetadataManifest(pl.DataFrame(values), "vad"))
    assert (facts["rows"], facts["hours"], facts["speech_hours"]) == (4, 3.0, 1.0)
    columns = facts["columns"]
    assert columns["duration"] == {
        "type": "Float64", "nulls": 2, "min": 3600.0, "mean": 5400.0, "max": 7200.0
    }  # fmt: skip
    assert columns["count"] == {"type": "Int64", "nulls": 1, "min": 1, "mean": 3.0, "max": 5}
    assert (columns["label"]["nulls"], columns["label"]["top"]) == (1, [("x", 2), ('""', 1)])
    assert columns["none"]["nulls"] == 4
    empty = MetadataManifest(pl.DataFrame(values).head(0), "vad")
    assert summarize(empty)["hours"] == 0.0


def test_the_page_runs_as_written(outputs: Outputs) -> None:
    folder = outputs.root.parents[1]
    page = (ROOT / "docs/dataloader-manifests.md").read_text(encoding="utf-8")
    codes = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(codes) == 6
    check = 'assert joined.columns == "wav_id long_duration hand_duration speech_ratio speaker"'
    script = folder / "page.py"
    text = "".join(codes) + check + ".split()\nassert 0 < len(joined) and len(good) < len(manifest)"
    script.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], cwd=folder, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert re.search(r"^[0-9a-f]{12}$", done.stdout, re.MULTILINE)
    commands = re.findall(r"^ossicle manifest (.*)$", page, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        at = {"good.parquet", "long.parquet", "both.parquet", "output/seedlings_1"}
        words = [str(folder / word) if word in at else word for word in command.split()]
        assert run(*words)[0] == 0, command

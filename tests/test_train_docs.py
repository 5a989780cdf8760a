"""docs/train.md: each command and each block runs as it is written."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ossicle.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "train.md"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.thorough
def test_the_page_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (yaml,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    Path("full.yaml").write_text(yaml)
    install, commands = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    assert install.startswith("pip install")
    for line in commands.splitlines():
        name, *arguments = shlex.split(line)
        assert name == "ossicle"
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    weak = json.loads(Path("runs/weak/result.json").read_text())
    assert weak["start_step"] == 20
    assert weak["clips"] == 5
    assert {"loss", "shuffled", "none", "gap"} <= weak["evaluations"][-1].keys()
    full = json.loads(Path("runs/full/result.json").read_text())
    assert len(full["losses"]) == 6
    assert full["bottleneck"].split(":")[0] in ("data", "encoder", "padding", "compute")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "docs/train.md", "exec"), {})
    assert re.search(r"(data|encoder|padding|compute): ", capsys.readouterr().out)

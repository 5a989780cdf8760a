"""What is missing is named with the extra that installs it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ossicle.extras import EXTRAS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "package"),
    [("WhisperFeatures", "transformers"), ("ContinuousAudioIO", "torch"), ("torch", "torch")],
)
def test_a_missing_package(name: str, package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None\nimport ossicle\nossicle.{name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    expected = f'ModuleNotFoundError: {package} not installed: pip install "ossicle[torch]"'
    assert last == expected


def test_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["optional-dependencies"]
    for package, extra in EXTRAS.items():
        assert any(package in line.split(">")[0] for line in listed[extra]), package

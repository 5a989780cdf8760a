"""What users install: a wheel, alone in an empty environment, decodes a file."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import uv

import ossicle

pytestmark = pytest.mark.thorough
ROOT = Path(__file__).parents[1]

# Run in the empty environment: no torch there, and nothing of this folder.
SCRIPT = """
import importlib.util, json, sys
before = set(sys.modules)
import ossicle
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
waveform, rate = ossicle.load(sys.argv[1], 16_000)
print(json.dumps({
    "file": ossicle.__file__,
    "profile": ossicle.__build__["profile"],
    "heavy": sorted(loaded & {"polars", "torch", "transformers", "typer", "rich"}),
    "torch": importlib.util.find_spec("torch") is not None,
    "samples": len(waveform),
    "energy": float((waveform.astype("float64") ** 2).sum()),
}))
"""


def run_uv(*arguments: str | Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    # What is compiled already need not be compiled again, and what is to be tested here is the
    # packing: optimising over crate borders would take most of the time.
    environment["CARGO_TARGET_DIR"] = str(ROOT / "target")
    environment["CARGO_PROFILE_RELEASE_LTO"] = "off"
    environment["CARGO_PROFILE_RELEASE_CODEGEN_UNITS"] = "16"
    command = [uv.find_uv_bin(), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-8_000:]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # The sdist first and the wheel from it, as a release does: a file left out of one shows here.
    run_uv("build", "--out-dir", folder)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_is_one_for_all_pythons_and_carries_what_it_must(wheel: Path) -> None:
    assert "-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    inside = {Path(name).name for name in names}
    assert {"py.typed", "_native.pyi", "LICENSE-MIT", "LICENSE-APACHE"} <= inside
    assert not [name for name in names if "tests" in name or name.endswith((".rs", "__pycache__"))]


def test_wheel_decodes_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    clip = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 44_100)).astype(np.float32)
    file = ossicle.save(tmp_path / "clip.flac", clip, 44_100)
    run_uv("venv", "--python", sys.executable, tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    run_uv("pip", "install", "--python", python, wheel)
    command = [str(python), "-I", "-c", SCRIPT, str(file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    expected, _ = ossicle.load(file, 16_000)
    assert str(tmp_path) in facts["file"]
    assert (facts["profile"], facts["heavy"], facts["torch"]) == ("release", [], False)
    assert facts["samples"] == len(expected) == 16_000
    assert facts["energy"] == float((expected.astype("float64") ** 2).sum())
    command_line = subprocess.run(
        [str(python.with_name("ossicle")), "demo"], cwd=tmp_path, capture_output=True, text=True
    )
    assert command_line.returncode == 1
    assert 'pip install "ossicle[train]"' in command_line.stderr

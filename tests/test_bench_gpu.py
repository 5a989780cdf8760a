"""The GPU bench, where there is none: it says so; and at tiny sizes on the CPU it runs through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benches" / "gpu.sh"
pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="gpu.sh is a shell script"),
    pytest.mark.thorough,
]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    command = [str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_without_a_gpu_it_says_so_and_ends_well(tmp_path: Path) -> None:
    done = run("--record-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "no CUDA device here" in done.stdout
    assert not list(tmp_path.iterdir())


def test_tiny_sizes_run_through_on_the_cpu_and_write_a_record(tmp_path: Path) -> None:
    """A share of waiting, MFU at a peak that is given, a profile: all that a GPU would be asked."""
    done = run("--device", "cpu", "--tiny", "--peak-flops", "1e12", "--record-dir", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    written = {path.suffix: path for path in tmp_path.iterdir()}
    record = json.loads(written[".json"].read_text(encoding="utf-8"))
    (smoke,) = record["smoke"]
    assert smoke["last_loss"] < smoke["first_loss"]
    large = record["large"]
    assert 0 <= large["data_wait"] < 1
    expected = large["tflop_a_step"] / large["step_ms_fed"] * 1e3  # TFLOP a second: peak 1
    assert large["mfu"] == pytest.approx(expected)
    assert "aten::mm" in large["table"]
    page = written[".md"].read_text(encoding="utf-8")
    assert "| eager |" in page
    assert large["table"].splitlines()[3] in page

"""The crate's own tests, so that one command runs all of them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tiers import Sweep

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(1800)  # it compiles the crate, and other tests run beside it
@pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo")
def test_crate(sweep: Sweep) -> None:
    # Cargo of one environment must not hear of another's flags.
    environment = {key: value for key, value in os.environ.items() if key != "RUSTFLAGS"}
    # One in so many of the flips and cuts of whole files, which comes to every bit of a byte.
    taken = sweep(range(17), one_in=17)
    environment["OSSICLE_ONE_IN"] = str(17 // len(taken))
    command = ["cargo", "test", "--locked", "--quiet", "--lib"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-8_000:]

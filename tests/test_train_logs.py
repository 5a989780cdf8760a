"""The figures of a run, in every place that keeps them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import training

from ossicle.train import CheckpointError, run
from ossicle.train.lock import only_run
from ossicle.train.logs import JsonLines


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    return training.write_tones(tmp_path / "tones")


def test_lines_and_events_say_what_the_result_says(tones: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    config = training.small(
        tones, out=out, steps=5, batch_size=2, tensorboard=True, warmup=4, peak_flops=1e12
    )
    result = run(config)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["loss"] for line in lines] == result.losses
    assert [line["lr"] for line in lines] == pytest.approx(
        [3e-3 * f for f in (0.25, 0.5, 0.75, 1, 1)]
    )
    assert [line["epoch"] for line in lines] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    for line in lines:
        assert 0 <= line["data_wait"] <= 1
        assert 0 <= line["padding"] < 1
        assert line["grad_norm"] > 0
        assert line["tokens_per_second"] > 0
        assert 0 < line["mfu"] < 1
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    found = events.Scalars("train/loss")
    assert [event.step for event in found] == [1, 2, 3, 4, 5]
    assert [event.value for event in found] == pytest.approx(result.losses)
    told = json.loads((out / "result.json").read_text())
    assert told["figures"]["mfu"] == result.figures["mfu"]
    assert told["bottleneck"] == result.bottleneck
    assert sum(told["stage_seconds"].values()) <= told["seconds"]


def test_lines_may_stand_for_several_steps(tones: Path, tmp_path: Path) -> None:
    config = training.small(tones, out=tmp_path / "a", steps=5, log_every=2)
    result = run(config)
    lines = [json.loads(line) for line in (tmp_path / "a/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 5]
    means = [sum(result.losses[:2]) / 2, sum(result.losses[2:4]) / 2, result.losses[4]]
    assert [line["loss"] for line in lines] == pytest.approx(means)
    assert result.losses == run(replace(config, out=None, log_every=1)).losses


@pytest.mark.thorough
def test_one_run_at_a_time_in_a_folder(tmp_path: Path) -> None:
    """Another process holds the folder; when it is killed, the folder is free."""
    script = "import sys, time; from pathlib import Path; from ossicle.train.lock import only_run\n"
    script += "with only_run(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(CheckpointError, match=f"in use by another run: process {other.pid} on"):
            only_run(tmp_path).__enter__()
        with pytest.raises(CheckpointError, match="in use"):
            run(training.small(tmp_path, out=tmp_path, steps=1))
        other.kill()
    for _ in range(2):
        # Of a lock the process itself would get a second one.
        mine = pytest.raises(CheckpointError, match=f"process {os.getpid()} on")
        with only_run(tmp_path), mine:
            only_run(tmp_path).__enter__()
    assert not list(tmp_path.iterdir())


def test_where_there_are_no_locks_runs_are_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lockf(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", lockf)
    with only_run(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()


def test_what_a_stopped_run_left_behind_its_checkpoint_goes(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = JsonLines(path, 0)
    for step in range(1, 6):
        log.write(step, {"loss": float(step)})
    log.close()
    path.write_text(path.read_text() + '{"step": 6, "lo')  # a kill
    again = JsonLines(path, 3)
    again.write(4, {"loss": 40.0})
    again.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": 2.0},
        {"step": 3, "loss": 3.0},
        {"step": 4, "loss": 40.0},
    ]
    JsonLines(path, 0).close()
    assert path.read_text() == ""


def test_weights_and_biases_offline(tones: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb, of 20 MB and a server of its own, is not for CI")
    out = tmp_path / "run"
    config = training.small(tones, out=out, steps=2, wandb="offline")
    run(config)
    first = (out / "wandb-id").read_text()
    run(replace(config, steps=3, resume=True))
    assert (out / "wandb-id").read_text() == first
    assert len(list((out / "wandb").glob("offline-run-*"))) == 2


def test_a_package_that_is_missing_is_named(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ImportError, match="pip install wandb"):
        run(training.small(tones, steps=1, wandb="offline"))


@pytest.mark.thorough
def test_a_compiled_run_takes_the_same_steps(tones: Path) -> None:
    """By the backend that needs no compiler; the graphs are those that a compiler would get."""
    config = training.small(tones, steps=2, batch_size=5)
    compiled = run(replace(config, compile="aot_eager")).losses
    assert compiled == pytest.approx(run(config).losses, abs=1e-5)

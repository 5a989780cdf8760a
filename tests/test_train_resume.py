"""A run stopped anywhere, and one shared by processes, is the run that nobody touched."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training
from typer.testing import CliRunner

from ossicle.cli import app
from ossicle.faults import read_ledger
from ossicle.train import (
    CheckpointError,
    TrainConfig,
    TrainingError,
    TrainingInterrupted,
    TrainingTerminated,
    TrainProgress,
    TrainResult,
    run,
    trainer,
)
from ossicle.train import checkpoint as ck
from ossicle.train.order import CountOrder

STEPS = 7


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def lm(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model that has learned the words."""
    out = tmp_path_factory.mktemp("lm")
    run(training.small(tones, steps=10, out=out))
    return out


class StoppedError(RuntimeError):
    """What a kill is to the run."""


def run_stopped(config: TrainConfig, stops: list[int]) -> TrainResult:
    """Runs, and is killed after each of some steps, and goes on."""
    for stop in stops:

        def kill(at: TrainProgress, stop: int = stop) -> None:
            if at.stage == "train" and at.step == stop:
                raise StoppedError

        torch.manual_seed(stop)  # whatever the state outside is
        with pytest.raises(StoppedError):
            run(replace(config, resume=True), progress=kill)
    return run(replace(config, resume=True))


OPTIONS: dict[str, dict[str, Any]] = {
    "whole set": {},
    "schedule": {"batch_size": 2, "warmup": 2, "warmdown": 0.5, "final_lr": 0.1, "log_every": 3},
    "muon": {"batch_size": 3, "optimizer": "muon", "depth": 2, "weight_decay": 0.1},
    "parts": {"batch_size": 4, "accumulate": 3, "cache_bytes": 0},
    "seconds": {"max_batch_seconds": 1.6, "accumulate": 2, "cache_bytes": 30_000},
    "tokens": {"max_batch_tokens": 60, "prefetch": 0},
    "layers": {"layer": "all", "start": "ignore", "stack": 2, "batch_size": 2},
    "memory": {"gradient_checkpointing": True, "batch_size": 2, "pad_to_seconds": 1.5},
    "weak": {"stage": "weak-align", "batch_size": 2},
}


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_stopped_at_random_goes_on_to_the_last_bit(
    name: str, tones: Path, lm: Path, tmp_path: Path
) -> None:
    options = OPTIONS[name] | ({"lm": str(lm)} if name == "weak" else {})
    config = training.small(tones, steps=STEPS, **options)
    straight = run(config)
    rng = random.Random(name)
    stops = sorted(rng.sample(range(1, STEPS), 2))
    resumed = run_stopped(replace(config, out=tmp_path, save_every=1), stops)
    assert resumed.losses == straight.losses
    # The kill comes when the step has been taken and not yet written.
    assert resumed.start_step == stops[-1] - 1
    assert len(set(straight.losses)) == STEPS
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps)), "each step once, although some were taken twice"
    assert steps[-1] == STEPS


ENDS = {signal.SIGTERM: TrainingTerminated, signal.SIGINT: TrainingInterrupted}


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_ends_a_run_after_its_step_with_a_checkpoint(
    number: signal.Signals, tones: Path, tmp_path: Path
) -> None:
    config = training.small(tones, steps=STEPS, batch_size=2, log_every=3)
    straight = run(config)
    before = [signal.getsignal(one) for one in ENDS]
    seen = []

    def ask(at: TrainProgress) -> None:
        seen.append(at.stage)
        if at.stage == "train" and at.step == 3:
            signal.raise_signal(number)

    saved = replace(config, out=tmp_path)
    with pytest.raises(ENDS[number], match=r"after step 4 of 7: .*step_00000004") as ended:
        run(saved, progress=ask)
    assert ended.value.status == 128 + number
    assert "stop" in seen
    assert [signal.getsignal(one) for one in ENDS] == before
    assert [path.name for path in tmp_path.glob("step_*")] == ["step_00000004"]
    resumed = run(replace(saved, resume=True))
    assert resumed.start_step == 4
    assert resumed.losses == straight.losses


def test_a_second_ctrl_c_does_not_wait(tones: Path, tmp_path: Path) -> None:
    def ask(at: TrainProgress) -> None:
        if at.stage == "train":
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as ended:
        run(training.small(tones, out=tmp_path), progress=ask)
    assert not isinstance(ended.value, TrainingInterrupted)
    assert list(tmp_path.glob("step_*")) == []


def test_the_command_says_where_the_checkpoint_is(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = trainer._Run._step

    def signalled(self: Any, number: int, parts: Any) -> Any:
        if number == 1:
            signal.raise_signal(signal.SIGTERM)
        return step(self, number, parts)

    monkeypatch.setattr(trainer._Run, "_step", signalled)
    options = ["--whisper", "tiny-random", "--depth", "1", "--steps", "6", "--device", "cpu"]
    arguments = ["train", "align", "--data", str(tones), "--out", str(tmp_path), *options]
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 143
    told = f"stopped after step 2 of 6: {tmp_path / 'step_00000002'} is the checkpoint"
    assert told in ended.stderr


def test_weak_alignment_moves_the_projector_alone(tones: Path, lm: Path, tmp_path: Path) -> None:
    config = training.small(tones, stage="weak-align", lm=str(lm), out=tmp_path, steps=4)
    result = run(config)
    saved = ck.load(result.checkpoint)
    assert saved.tensors.keys() == {"projector", "optimizer", "rng", "progress"}
    assert {name.split(".")[0] for name in saved.tensors["optimizer"]} == {"projector"}
    assert result.parameters == sum(t.numel() for t in saved.tensors["projector"].values())
    assert result.losses[-1] != result.losses[0]
    first = run(training.small(tones, lm=str(lm), steps=1)).losses[0]
    assert result.losses[0] == pytest.approx(first, abs=1e-6)
    with pytest.raises(CheckpointError, match="has no language model"):
        run(training.small(tones, lm=str(tmp_path)))
    on = run(training.small(tones, lm=str(lm), projector=str(tmp_path), steps=1))
    again = run(replace(config, out=None, steps=5))
    assert on.losses[0] == again.losses[4]
    with pytest.raises(CheckpointError, match="does not fit"):
        run(training.small(tones, lm=str(lm), projector=str(tmp_path), stack=2, steps=1))


def test_the_best_checkpoint_stays_beside_the_last_ones(tones: Path, tmp_path: Path) -> None:
    losses = iter([3.0, 1.0, 2.0, 4.0, 5.0, 6.0])
    config = training.small(tones, out=tmp_path, save_every=1, eval_every=1, eval_data=str(tones))
    seen = []

    def evaluate(modules: Any, batches: Any) -> dict[str, float]:
        seen.append(sum(len(batch.idx) for batch in batches))
        assert not modules.model.training
        return {"loss": next(losses), "clips": 5.0}

    result = run(config, evaluate=evaluate)
    kept = ["step_00000002", "step_00000005", "step_00000006"]
    assert sorted(p.name for p in tmp_path.glob("step_*")) == kept
    assert result.best == tmp_path / "step_00000002"
    assert [found["loss"] for found in result.evaluations] == [3.0, 1.0, 2.0, 4.0, 5.0, 6.0]
    assert seen == [5] * 6
    assert run(replace(config, resume=True), evaluate=evaluate).best == result.best
    assert result.losses == run(training.small(tones)).losses, "to evaluate changes nothing"


def test_the_evaluation_is_the_loss_of_the_next_step(tones: Path) -> None:
    """Over the same clips, before anything moves."""
    config = training.small(tones, eval_data=str(tones), eval_every=2, steps=4)
    result = run(config)
    found = result.evaluations[0]
    assert found["step"] == 2
    assert found["loss"] == pytest.approx(result.losses[2], abs=1e-5)
    assert found["gap"] == pytest.approx(found["shuffled"] - found["loss"], abs=1e-9)


def test_a_step_without_clips_and_a_loss_that_is_none_are_errors(
    tones: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in tones.read_text().splitlines()]
    for row in rows[:3]:
        row["wav" if "wav" in row else "audio_path"] = "gone.wav"
    some = tones.with_name("some-gone.jsonl")
    some.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = training.small(some, on_error="skip", steps=3, batch_size=2)
    with pytest.raises(TrainingError, match=r"step \d has no clip that can be used: .*gone"):
        run(replace(config, batch_size=1, steps=10))
    result = run(replace(config, batch_size=None, out=tmp_path))
    assert (result.rows, result.clips, result.skipped) == (5, 2, 3)
    ledger = read_ledger(tmp_path / "skipped.jsonl")
    assert [fault.row for fault in ledger] == [0, 1, 2]
    assert all("gone.wav" in (fault.file or "") and fault.reason for fault in ledger)
    with pytest.raises(TrainingError, match=r"the loss of step \d+ is nan"):
        run(training.small(tones, lr=1e30, clip=0.0, steps=20))
    under = training.small(some, on_error="skip", steps=2, max_batch_seconds=2.0)
    assert run(under).skipped == 3


def test_a_config_beside_a_run_makes_the_run_again(tones: Path, tmp_path: Path) -> None:
    from ossicle.train import config_from

    config = training.small(tones, out=tmp_path / "a", steps=3, batch_size=2, seed=4)
    losses = run(config).losses
    again = config_from("align", {"out": str(tmp_path / "b")}, tmp_path / "a" / "config.yaml")
    assert run(again).losses == losses


SCRIPT = """
import json, os, sys, warnings
from pathlib import Path
import torch
warnings.simplefilter("error", FutureWarning)
torch.set_num_threads(1)
import ossicle.train.sources as sources
from ossicle.train import TrainConfig, distributed, run
loaded, native = [], sources.recording_features
def counted(recordings, *args, **kwargs):
    loaded.extend(recording.name.rpartition("/")[2] for recording in recordings)
    return native(recordings, *args, **kwargs)
sources.recording_features = counted
out, configs = sys.argv[1], json.loads(sys.argv[2])
results = [run(TrainConfig(**config)) for config in configs]
distributed._leave()
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
told = {"losses": [r.losses for r in results], "loaded": loaded,
        "audio": [r.audio_seconds for r in results], "skipped": [r.skipped for r in results],
        "first": results[0].is_first, "processes": results[0].processes,
        "threads": [name for name in names if "gloo" in name]}
open(f"{out}.{os.environ['RANK']}", "w").write(json.dumps(told))
"""


def together(configs: list[TrainConfig], folder: Path) -> list[dict[str, Any]]:
    """What each of two processes of torchrun says of some runs."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    plain = [{k: str(v) if isinstance(v, Path) else v for k, v in vars(c).items()} for c in configs]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--master-port=0", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    command += [str(script), str(folder / "told"), json.dumps(plain)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((folder / f"told.{rank}").read_text()) for rank in (0, 1)]


@pytest.mark.thorough
def test_two_processes_take_the_steps_of_one(tones: Path, lm: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shared = [
        training.small(tones, steps=5, batch_size=3, cache_bytes=0),
        training.small(tones, steps=4, batch_size=1, optimizer="muon", depth=2),
        training.small(tones, steps=4, max_batch_seconds=1.6, accumulate=4),
        training.small(tones, steps=4, stage="weak-align", lm=str(lm), batch_size=4, accumulate=3),
        training.small(tones, steps=3, batch_size=2, out=out, eval_data=str(tones)),
    ]
    first, second = together(shared, tmp_path)
    assert (first["first"], second["first"], first["processes"]) == (True, False, 2)
    assert first["losses"] == second["losses"]
    # A thread that outlives the group may meet an interpreter that ends, and aborts the process.
    assert first["threads"] == second["threads"] == []
    alone = [run(replace(config, out=None)) for config in shared]
    for config, losses, expected in zip(shared, first["losses"], alone, strict=True):
        np.testing.assert_allclose(losses, expected.losses, rtol=0, atol=2e-5, err_msg=str(config))
    np.testing.assert_allclose(first["audio"], [result.audio_seconds for result in alone])
    # Nothing was kept in the first run, so that what each has read is what it has trained on.
    order = CountOrder(range(5), 3, 0, 2)
    for rank, told in enumerate((first, second)):
        mine = [row for step in range(5) for row in order.parts(step)[rank]]
        names = [f"{training.TONES[row][0]}.wav" for row in mine]
        assert told["loaded"][: len(names)] == names
    # The run that wrote goes on in one process, over the clips that two would have taken.
    going_on = run(replace(shared[-1], resume=True, steps=6))
    expected = run(replace(shared[-1], out=None, steps=6)).losses
    assert going_on.start_step == 3
    np.testing.assert_allclose(going_on.losses, expected, rtol=0, atol=5e-5)

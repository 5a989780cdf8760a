"""Batches under a budget inside transformers.Trainer: workers, resume, two processes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

import duration_training
import pytest
import torch
from duration_training import BUDGET, LENGTHS, make_trainer, trained

from ossicle import DurationBatchSampler
from ossicle.errors import InvalidArgumentError
from ossicle.experiment import corpus


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(**settings: Any) -> DurationBatchSampler:
    return DurationBatchSampler(LENGTHS, **{"max_tokens": BUDGET, **settings})


def two_epochs(**settings: Any) -> list[list[int]]:
    sampler = make(**settings)
    batches = list(sampler)
    sampler.set_epoch(1)
    return batches + list(sampler)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_trainer_takes_the_batches_as_they_are(tmp_path: Path, workers: int) -> None:
    seen, losses = trained(tmp_path, make(), dataloader_num_workers=workers)
    expected = two_epochs()
    assert seen == expected
    assert len(losses) == len(expected)
    assert losses[-1] < losses[0]


@pytest.mark.sampled(one_in=3)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("step", [6, 20, 24])
def test_resumes_with_the_same_next_batch(tmp_path: Path, step: int) -> None:
    expected = two_epochs()
    count = make().num_batches
    steps = -(-count // 2)
    # Two batches a step, one in the last of an epoch where the count is odd.
    trained_on = 2 * step if step < steps else count + 2 * (step - steps)
    settings: dict[str, Any] = {"gradient_accumulation_steps": 2, "save_steps": 1}
    settings |= {"save_strategy": "steps", "dataloader_num_workers": 2 * (step == 20)}
    seen, losses = trained(tmp_path, make(), **settings)
    assert seen == expected
    assert len(losses) == 2 * steps
    checkpoint = str(tmp_path / f"checkpoint-{step}")
    resumed, again = trained(tmp_path, make(), resume=checkpoint, **settings)
    assert resumed == expected[trained_on:]
    assert again == pytest.approx(losses, abs=1e-5)


def start(rank: int, world: int, port: int, out: Path) -> subprocess.Popen[str]:
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    environment = os.environ | {name: str(value) for name, value in ranks.items()}
    environment |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, duration_training.__file__, str(out)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.thorough
def test_two_processes_share_the_batches(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start(rank, 2, port, tmp_path) for rank in range(2)]
    try:
        told = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], told[0] + told[1]
    runs = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    for rank, run in enumerate(runs):
        assert run["whole"] == two_epochs(rank=rank, world_size=2)
        assert run["resumed"] == run["whole"][15:]
        assert run["losses_again"] == pytest.approx(run["losses"], abs=1e-5)
    seen = Counter(row for run in runs for batch in run["whole"] for row in batch)
    assert set(seen) == set(range(len(LENGTHS)))
    twice = 2 * (-make(rank=0, world_size=1).num_batches % 2)
    assert seen.total() <= 2 * len(LENGTHS) + twice * BUDGET
    assert runs[0]["state"] == runs[1]["state"]


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    short = DurationBatchSampler(LENGTHS[:-1], max_tokens=BUDGET)
    with pytest.raises(InvalidArgumentError, match="149 lengths for a train_dataset of 150 rows"):
        make_trainer(tmp_path, short).get_train_dataloader()
    for option in ("split_batches", "dispatch_batches"):
        trainer = make_trainer(tmp_path, make(), accelerator_config={option: True})
        with pytest.raises(InvalidArgumentError, match="turn them off"):
            trainer.get_train_dataloader()
    trainer = make_trainer(tmp_path, make())
    trainer.get_tp_size = lambda: 2
    with pytest.raises(InvalidArgumentError, match="2 processes work on the same batch"):
        trainer.get_train_dataloader()
    trainer.sampler = make(rank=0, world_size=1)
    assert len(trainer.get_train_dataloader()) == make().num_batches


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[1] / "docs" / "trainers-batching.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    manifest = corpus.make_demo(tmp_path, clips=36)
    manifest.write_text(manifest.read_text().replace('"wav"', '"audio_path"'))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)

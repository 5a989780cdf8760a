"""A stream in what people train with: transformers, TRL, accelerate, torchrun and DCP."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

import pytest
import torch
from stream_clips import write
from stream_training import StreamTrainer, Watched, collate, plan_in, settings, tiny_model, trained
from transformers import TrainingArguments

from ossicle.errors import InvalidArgumentError
from ossicle.stream import AudioStream, Plan, Seconds, Source

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A model this small is slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_in(tmp_path_factory.mktemp("clips"))


def rows_of(plan: Plan, batches: int) -> list[list[int]]:
    return [plan.batch(0, number).row.tolist() for number in range(batches)]


# Of 13 batches, each epoch of the trainer has 14: whole steps of two.
BATCHES = 28


def test_trainer_goes_on_where_a_checkpoint_was_written(plan: Plan, tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 5}
    seen, weights = trained(tmp_path, AudioStream(plan, collate=collate), **saving)
    assert seen == rows_of(plan, BATCHES)
    # In mid-epoch, and beyond the first.
    for step in (5, 10):
        stream = AudioStream(plan, collate=collate)
        resumed, again = trained(
            tmp_path / "again", stream, tmp_path / f"checkpoint-{step}", **saving
        )
        assert resumed == rows_of(plan, BATCHES)[2 * step :]
        for one, other in zip(weights, again, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_trainer_refuses_a_checkpoint_without_a_place(plan: Plan, tmp_path: Path) -> None:
    stream = AudioStream(plan, collate=collate)
    arguments = TrainingArguments(**settings(tmp_path, max_steps=2))
    trainer = StreamTrainer(model=tiny_model(), args=arguments)
    trainer.stream, trainer.seen = stream, []
    trainer.train()
    [callback] = [one for one in trainer.callback_handler.callbacks if hasattr(one, "stream")]
    trainer.state.global_step, trainer.state.stateful_callbacks = 1, {}
    with pytest.raises(InvalidArgumentError, match="no state of a stream"):
        callback.on_train_begin(arguments, trainer.state, trainer.control)


@pytest.mark.thorough
def test_trl_takes_a_stream(plan: Plan, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    class Tuning(Watched, SFTTrainer):
        pass

    from ossicle.experiment.tiny import tiny_tokenizer

    arguments = SFTConfig(
        **settings(tmp_path, max_steps=3), dataset_kwargs={"skip_prepare_dataset": True}
    )
    trainer = Tuning(
        model=tiny_model(),
        args=arguments,
        # It wants one; the stream has the rows.
        train_dataset=Dataset.from_dict({"input_ids": [[1, 2]]}),
        processing_class=tiny_tokenizer(["one"]),
    )
    trainer.stream, trainer.seen = AudioStream(plan, collate=collate), []
    trainer.train()
    assert trainer.seen == rows_of(plan, 6)


def test_accelerate_saves_and_loads_the_place(plan: Plan, tmp_path: Path) -> None:
    from accelerate import Accelerator

    def numbers(stream: Any, count: int) -> list[list[int]]:
        batches = iter(stream)
        return [next(batches)["row"].tolist() for _ in range(count)]

    accelerator = Accelerator(cpu=True)
    stream = accelerator.prepare(AudioStream(plan, collate=collate))
    assert isinstance(stream, AudioStream)
    accelerator.register_for_checkpointing(stream)
    assert numbers(stream, 5) == rows_of(plan, 5)
    accelerator.save_state(str(tmp_path / "state"))
    assert numbers(stream, 3) == rows_of(plan, 3)
    accelerator.load_state(str(tmp_path / "state"))
    assert numbers(stream, 4) == rows_of(plan, 9)[5:]
    stream.close()


def test_a_distributed_checkpoint_holds_the_place(plan: Plan, tmp_path: Path) -> None:
    import torch.distributed.checkpoint as dcp

    stream = AudioStream(plan, collate=collate)
    batches = iter(stream)
    for _ in range(4):
        next(batches)
    dcp.save({"stream": stream}, checkpoint_id=str(tmp_path / "dcp"), no_dist=True)
    stream.close()
    other = AudioStream(plan, collate=collate)
    dcp.load({"stream": other}, checkpoint_id=str(tmp_path / "dcp"), no_dist=True)
    assert other.state_dict() == stream.state_dict()
    assert next(iter(other))["row"].tolist() == rows_of(plan, 5)[4]
    other.close()


def torchrun(processes: int, data: Path, out: Path, steps: int) -> dict[int, list[str]]:
    """The batches of each step, in the order of the ranks, as a run of the example printed them."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", str(EXAMPLES / "stream_torchrun.py")]
    command += [str(data), str(out), f"--steps={steps}", "--save-every=3", "--seconds=0.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^step (\d+) rank (\d+) (\S+)$", done.stdout, re.MULTILINE)
    rows = sorted((int(step), int(rank), ids) for step, rank, ids in found)
    return {step: [ids for one, _, ids in rows if one == step] for step, _, _ in rows}


@pytest.mark.thorough
def test_torchrun_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    files = write(tmp_path / "clips", 30)
    rows = "".join(f'{{"id": "{one.stem}", "audio": "{one}"}}\n' for one in files)
    data = tmp_path / "clips.jsonl"
    data.write_text(rows)
    plan = Plan(Source(str(data)), Seconds(0.5))
    batches = [plan.batch(0, number) for number in range(2 * 3 + 4)]
    ids = [",".join(plan.sources[0].ids(batch.row)) for batch in batches]
    first = torchrun(2, data, tmp_path / "out", 3)
    assert first == {step + 1: ids[2 * step : 2 * step + 2] for step in range(3)}
    rest = torchrun(1, data, tmp_path / "out", 7)
    assert rest == {step + 4: [ids[6 + step]] for step in range(4)}

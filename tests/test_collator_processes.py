"""The collator in other processes: any start method, any number of workers, two ranks."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from collating import RATE, collator_of, family, one_thread, row_of, samples
from torch.utils.data import DataLoader

from ossicle.cache import AudioCache
from ossicle.collator import read_ledger
from ossicle.experiment.tiny_families import CHATML, PLACEHOLDERS

__all__ = ["one_thread"]


def write_rows(folder: Path, count: int) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        path = folder / f"{number}.wav"
        soundfile.write(path, samples(6_000 + 400 * number, number), RATE)
        parts = [{"type": "audio"}, {"type": "text", "text": "one"}]
        messages = [
            {"role": "user", "content": parts},
            {"role": "assistant", "content": "two three"},
        ]
        digest = f"{number:064x}"
        rows.append({"audio_path": str(path), "audio_blob_sha": digest, "messages": messages})
    return rows


def assert_same(got: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(got[key], value), key


@pytest.mark.sampled(one_in=4)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_any_start_method_gives_the_same(tmp_path: Path, context: str, workers: int) -> None:
    processor, _ = family("Qwen2Audio", CHATML)
    rows = write_rows(tmp_path, 6)
    bad = {"audio_path": str(tmp_path / "gone.wav"), "messages": rows[0]["messages"]}
    rows.insert(3, bad)
    collator = collator_of(
        processor,
        loss_on="response",
        on_error="replace",
        ledger_path=tmp_path / "ledger.jsonl",
        feature_cache=AudioCache(tmp_path / "cache"),
    )
    with pytest.warns(RuntimeWarning, match="a bad row"):
        here = [collator(rows[first : first + 3]) for first in range(0, 7, 3)]
    loader = DataLoader(
        rows,
        batch_size=3,
        collate_fn=pickle.loads(pickle.dumps(collator)),
        num_workers=workers,
        multiprocessing_context=context if workers else None,
    )
    for got, wanted in zip(loader, here, strict=True):
        assert_same(got, wanted)
    assert [fault.row for fault in read_ledger(tmp_path / "ledger.jsonl")] == [0, 0]


RANK = """
import json, os, sys
import torch
torch.set_num_threads(1)
from accelerate import Accelerator
from torch.utils.data import DataLoader
from ossicle.collator import AudioLmCollator
from ossicle.experiment.tiny_families import CHATML, tiny_family

rows = [{"audio_path": path, "text": "<|audio_bos|><|AUDIO|><|audio_eos|> one two"}
        for path in json.loads(sys.argv[1])]
accelerator = Accelerator(cpu=True)
processor, model = tiny_family("Qwen2Audio", chat=CHATML)
collator = AudioLmCollator(processor=processor, sample_rate=16_000, max_length_seconds=30.0)
loader = DataLoader(rows, batch_size=2, collate_fn=collator)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
seen = []
for batch in loader:
    loss = model(**batch).loss
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    frames = batch["feature_attention_mask"].sum(dim=1)
    seen += accelerator.gather(frames).tolist()
weight = next(model.parameters()).detach().double().sum().reshape(1)
same = accelerator.gather(weight).tolist()
if accelerator.is_main_process:
    backend = torch.distributed.get_backend()
    print(json.dumps([backend, accelerator.num_processes, seen, same, loss.item()]))
accelerator.end_training()
"""


@pytest.mark.thorough
def test_two_processes_of_accelerate(tmp_path: Path) -> None:
    paths = [row["audio_path"] for row in write_rows(tmp_path, 8)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, json.dumps(paths)],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "ACCELERATE_USE_CPU": "true",
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    out, errors = zip(*(rank.communicate(timeout=500) for rank in ranks), strict=True)
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    backend, processes, seen, weights, loss = json.loads(out[0].splitlines()[-1])
    assert (backend, processes) == ("gloo", 2)
    # Each row once, two of each rank at a time.
    assert sorted(seen) == [-(-(6_000 + 400 * number) // 160) for number in range(8)]
    assert weights[0] == weights[1]
    assert loss == loss  # no NaN


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_it_pickles_with_the_processor_of_every_family(name: str) -> None:
    processor, _ = family(name)
    collator = collator_of(processor)
    twin = pickle.loads(pickle.dumps(collator))
    row = row_of(name, 9_000)
    assert_same(twin([row]), collator([row]))

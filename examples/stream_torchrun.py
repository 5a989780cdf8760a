"""Train on a stream by plain PyTorch, on any number of processes, and go on after a stop.

    torchrun --nproc-per-node 2 examples/stream_torchrun.py DATA OUT [--steps 20]

DATA is anything with recordings: tar shards (``"data/*.tar"``), a manifest, a folder. A small model
learns to tell how loud each clip is. OUT gets a distributed checkpoint, which holds the stream's
place: started again, also with another number of processes, the run goes on with the next batch.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.nn.parallel import DistributedDataParallel

from ossicle.stream import AudioStream, LogMel, Plan, Seconds, Source


class Loudness(nn.Module):
    """One number for each clip, of its log-mel frames."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(80, 32), nn.GELU(), nn.Linear(32, 1))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The means over frames that are no padding, ``(B,)``."""
        frames = self.layers(features.transpose(1, 2)).squeeze(-1)
        own = torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]
        return (frames * own).sum(dim=1) / lengths


class Progress:
    """Model, optimizer and steps, as a distributed checkpoint takes them."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer, self.steps = model, optimizer, 0

    def state_dict(self) -> dict[str, Any]:
        """What is saved."""
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what was saved."""
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
        )
        self.steps = state["steps"]


def train(data: str, out: Path, seconds: float, steps: int, save_every: int) -> None:
    """Trains until ``steps`` in all were done."""
    plan = Plan(Source(data), Seconds(seconds))
    stream = AudioStream(plan, decode=LogMel(pad_to_seconds=None))
    torch.manual_seed(0)
    model = DistributedDataParallel(Loudness())
    progress = Progress(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
    saved = {"progress": progress, "stream": stream}
    if (out / ".metadata").exists():
        dcp.load(saved, checkpoint_id=str(out))
    batches = stream.forever()
    while progress.steps < steps:
        batch = next(batches)
        features, lengths = batch["input_features"], batch["lengths"]
        loss = nn.functional.mse_loss(model(features, lengths), features.mean(dim=(1, 2)))
        progress.optimizer.zero_grad()
        loss.backward()
        progress.optimizer.step()
        progress.steps += 1
        line = f"step {progress.steps} rank {dist.get_rank()} {','.join(batch['ids'])}"
        print(line + "\n", end="", flush=True)  # one write: lines of processes stay apart
        if progress.steps % save_every == 0 or progress.steps == steps:
            dcp.save(saved, checkpoint_id=str(out))
    stream.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="of audio in a batch")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--save-every", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    dist.init_process_group("gloo")
    try:
        train(**vars(arguments))
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()

"""Several processes, as torchrun starts them: who this one is, and what all of them add up to."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Processes", "join"]


class Processes:
    """This process among those of the run.

    Attributes:
        rank: Its number, from 0.
        count: How many there are.
        device: Where it computes.
    """

    def __init__(self, device: torch.device) -> None:
        active = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if active else 0
        self.count = dist.get_world_size() if active else 1
        self.device = device

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of ``tensor`` over all processes, in its place."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: Any) -> list[Any]:
        """What each process gave, in their order, on all of them."""
        found: list[Any] = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


def join(device: str | None) -> Processes:
    """Joins the processes that torchrun has started, if it has, until this one ends.

    NCCL connects processes on CUDA, gloo those on the CPU. A group that exists already is used and
    left as it is.

    Args:
        device: ``"cuda"`` or ``"cpu"``; None takes CUDA where there is one.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(name)
    started = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ
    if started and chosen.type == "cuda" and ":" not in name:
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    if started and not dist.is_initialized():
        # Functions of this module have the group of that moment as a default: imported later, as
        # torch.compile does, it would hold the group for ever.
        importlib.import_module("torch.distributed.nn.functional")
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        # Not at the end of the run: a second group over the same store would wait for ever.
        atexit.register(_leave)
    return Processes(chosen)


def _leave() -> None:
    """Ends the group, and with it gloo's threads, while the interpreter is whole.

    Such a thread may drop the last reference to a tensor, for which it takes the GIL. While the
    interpreter ends it gets none, and the process aborts with "terminate called without an active
    exception". Threads are joined when the group's last reference goes: runs that are over must
    hold none.
    """
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()

"""Arrays as tensors, where PyTorch is there."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["TensorLater", "as_array", "as_tensor", "conversion", "has_gpu", "pinned"]


def conversion() -> Callable[[Any], Any]:
    """What makes of an array what a batch holds; PyTorch is imported here, if it is there."""
    if importlib.util.find_spec("torch") is None:
        return as_array
    importlib.import_module("torch")  # here, where no batch waits for it
    return as_tensor


def as_array(array: Any) -> Any:
    """The same, where there is no PyTorch."""
    return array


def as_tensor(array: Any) -> Any:
    """A tensor of the array's memory."""
    import torch

    return torch.from_numpy(array if array.flags.writeable else array.copy())


class TensorLater:
    """An array that is a tensor once it was pickled: who pickles it needs no PyTorch."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __reduce__(self) -> Any:
        return as_tensor, (self.array,)


def has_gpu() -> bool:
    """Whether there is a GPU that PyTorch copies to; False where PyTorch is not in use."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_available())


def pinned(batch: Any) -> Any:
    """A batch with its tensors in memory that a GPU copies from while it computes."""
    if hasattr(batch, "pin_memory"):
        return batch.pin_memory()
    if isinstance(batch, Mapping):
        made = {name: pinned(value) for name, value in batch.items()}
        return made if type(batch) is dict else _like(batch, made)
    if type(batch) in (list, tuple):
        return type(batch)(map(pinned, batch))
    return batch


def _like(batch: Any, made: dict[str, Any]) -> Any:
    """A mapping of a class of its own, such as ``BatchFeature``."""
    batch.update(made)
    return batch

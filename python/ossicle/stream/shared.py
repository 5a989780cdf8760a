"""Batches from one process to another: arrays in shared memory, the rest pickled."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ossicle.stream.tensors import as_tensor

if TYPE_CHECKING:
    import torch

__all__ = ["Packed", "Slots", "Views", "pack"]

_SMALL = 1024
"""Bytes of an array below which it is pickled with the rest."""
_ALIGNED = 64
_LEAST = 1 << 16
"""Bytes of the smallest slot."""


class Packed(NamedTuple):
    """A batch as it is sent.

    Attributes:
        pickled: All but the arrays.
        slot: The number of the slot that its arrays are in; None where it has none.
        places: Where each array begins in the slot, and its bytes.
        nbytes: Of all arrays.
    """

    pickled: bytes
    slot: int | None
    places: list[tuple[int, int]]
    nbytes: int


class _Slot:
    """Memory that processes can share; on disk it has no name, so that nothing is left behind."""

    def __init__(self, size: int) -> None:
        self.file = _unnamed_file()
        os.ftruncate(self.file, size)
        self.memory = mmap.mmap(self.file, size)
        self.is_sent = False

    def __del__(self) -> None:
        os.close(self.file)


class Slots:
    """The memory of the process that sends: a slot for each batch, used again when it is free."""

    def __init__(self) -> None:
        self._slots: dict[int, _Slot] = {}
        self._free: set[int] = set()
        self._dropped: list[int] = []
        self._lock = threading.Lock()
        self._made = 0

    def take(self, nbytes: int) -> int:
        """The number of a slot of at least some bytes; the smallest free one, or a new one."""
        with self._lock:
            fitting = [one for one in self._free if len(self._slots[one].memory) >= nbytes]
            if fitting:
                number = min(fitting, key=lambda one: len(self._slots[one].memory))
                self._free.remove(number)
                return number
            self._drop(set(self._free))  # batches have grown: none of these fits any more
            number = self._made
            self._made += 1
            self._slots[number] = _Slot(max(_LEAST, 1 << (nbytes - 1).bit_length()))
            return number

    def dropped(self) -> list[int]:
        """Slots that are no more, each told once."""
        with self._lock:
            told, self._dropped = self._dropped, []
        return told

    def memory(self, number: int) -> mmap.mmap:
        """That of a slot."""
        return self._slots[number].memory

    def file(self, number: int) -> tuple[int, int] | None:
        """Descriptor and bytes of a slot that the other process has not been sent before."""
        slot = self._slots[number]
        if slot.is_sent:
            return None
        slot.is_sent = True
        return slot.file, len(slot.memory)

    def release(self, numbers: Sequence[int]) -> None:
        """Notes that nothing uses some slots any more."""
        with self._lock:
            self._free |= set(numbers)

    def _drop(self, numbers: set[int]) -> None:
        for number in numbers:
            del self._slots[number]
        self._dropped += numbers
        self._free -= numbers


class Views:
    """The memory of the process that receives."""

    def __init__(self) -> None:
        self._slots: dict[int, mmap.mmap] = {}
        # Appended to wherever an array ends, inside of anything: no lock may be taken there.
        self._ended: list[int] = []
        self._left: dict[int, int] = {}

    def add(self, number: int, file: int, size: int) -> None:
        """Maps a slot that was sent, and closes its descriptor."""
        try:
            self._slots[number] = mmap.mmap(file, size)
        finally:
            os.close(file)

    def drop(self, numbers: Sequence[int]) -> None:
        """Lets slots go that the sender has let go of."""
        for number in numbers:
            self._slots.pop(number, None)

    def unpack(self, packed: Packed) -> Any:
        """The batch; its arrays are in the slot, which is theirs until all of them have ended."""
        if packed.slot is None:
            return pickle.loads(packed.pickled)
        memory = self._slots[packed.slot]
        views = [np.frombuffer(memory, np.uint8, size, at) for at, size in packed.places]
        self._left[packed.slot] = len(views)
        for view in views:
            weakref.finalize(view, self._ended.append, packed.slot).atexit = False
        return pickle.loads(packed.pickled, buffers=views)

    def released(self) -> list[int]:
        """Slots that nothing uses any more; each once."""
        free = []
        while self._ended:
            number = self._ended.pop()
            self._left[number] -= 1
            if self._left[number] == 0:
                free.append(number)
        return free


def pack(batch: Any, slots: Slots) -> Packed:
    """Copies the arrays and tensors of a batch, whatever holds them, into a slot."""
    buffers: list[memoryview] = []
    file = io.BytesIO()
    _Pickler(file, buffers).dump(batch)
    if not buffers:
        return Packed(file.getvalue(), None, [], 0)
    places, end = [], 0
    for buffer in buffers:
        places.append((end, buffer.nbytes))
        end += -(-buffer.nbytes // _ALIGNED) * _ALIGNED
    slot = slots.take(end)
    memory = np.frombuffer(slots.memory(slot), np.uint8)
    for (at, size), buffer in zip(places, buffers, strict=True):
        memory[at : at + size] = np.frombuffer(buffer, np.uint8)
    return Packed(file.getvalue(), slot, places, end)


class _Pickler(pickle.Pickler):
    """Leaves the memory of arrays and tensors out."""

    def __init__(self, file: io.BytesIO, buffers: list[memoryview]) -> None:
        super().__init__(file, protocol=5, buffer_callback=self._keep)
        self._buffers = buffers
        self._torch = sys.modules.get("torch")

    def _keep(self, buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _SMALL:
            return True  # pickled with the rest
        self._buffers.append(raw)
        return False

    def reducer_override(self, value: Any) -> Any:
        torch = self._torch
        if torch is None or type(value) is not torch.Tensor:
            return NotImplemented
        if value.device.type != "cpu" or value.layout != torch.strided or value.requires_grad:
            return NotImplemented
        plain = value.contiguous()
        try:
            return as_tensor, (plain.numpy(),)
        except TypeError:  # bfloat16, which NumPy does not have
            return _tensor, (_bytes_of(plain), str(plain.dtype).removeprefix("torch."))


def _bytes_of(tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
    import torch

    bits: npt.NDArray[np.uint8] = tensor.reshape(-1).view(torch.uint8).numpy()
    return bits.reshape(*tensor.shape, -1)


def _tensor(array: npt.NDArray[Any], dtype: str) -> torch.Tensor:
    import torch

    tensor: torch.Tensor = as_tensor(array).view(getattr(torch, dtype)).squeeze(-1)
    return tensor


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("ossicle-stream", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())

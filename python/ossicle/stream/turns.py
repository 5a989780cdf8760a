"""An order that processes take turns at, and a place in it to go on from.

Of ``world_size`` processes, process ``rank`` takes the items ``rank``, ``rank + world_size``, ...
of one order. A place is counted over all processes, so that any number of them can go on from it.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ossicle.errors import InvalidArgumentError

__all__ = ["Turns", "check_ranks", "distributed"]

_STATE_VERSION = 2


class Turns(ABC):
    """What samplers share whose epochs are orders that depend on a seed and the epoch alone.

    Args:
        rank: The number of this process; None asks ``torch.distributed`` at each use.
        world_size: How many there are; None likewise.
        drop_last: Whether a last round that is not full is left out, or filled with the epoch's
            first items.

    Raises:
        InvalidArgumentError: The numbers make no sense.
    """

    _items: ClassVar[str]  # what is dealt out, in the plural

    def __init__(self, rank: int | None, world_size: int | None, *, drop_last: bool) -> None:
        check_ranks(rank, world_size)
        self.drop_last = drop_last
        self._rank, self._world_size = rank, world_size
        self.epoch = 0
        # Items of the epoch, over all processes: where the next iteration begins, where the last
        # one began, and what has been handed out.
        self._start = self._begun = self._done = 0

    @property
    @abstractmethod
    def _count(self) -> int:
        """Items of an epoch over all processes."""

    @abstractmethod
    def _identity(self) -> dict[str, Any]:
        """What the order depends on, as plain values."""

    @property
    def rank(self) -> int:
        """The number of this process."""
        return distributed("get_rank", 0) if self._rank is None else self._rank

    @property
    def world_size(self) -> int:
        """How many processes take turns."""
        return distributed("get_world_size", 1) if self._world_size is None else self._world_size

    def __len__(self) -> int:
        """What the next iteration gives on this process, exactly."""
        return self._rounds(self._start, self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives; a new one begins at its start.

        The epoch that is set already stays at the place where `load_state_dict` has put it.
        """
        if epoch < 0:
            raise InvalidArgumentError(f"epoch must be at least 0, not {epoch}")
        if epoch != self.epoch:
            self.epoch = int(epoch)
            self._start = self._begun = self._done = 0

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken: the next iteration gives the rest of its epoch.

        The rest is dealt out anew from there, so that nothing is lost or repeated with another
        number of processes either; only the last round is that of the new number.

        Raises:
            InvalidArgumentError: It was taken of another order.
        """
        own = self._state(None)
        fixed = own.keys() - {"epoch", f"{self._items}_done"}
        wrong = sorted(name for name in fixed if state.get(name) != own[name])
        if wrong:
            facts = ", ".join(f"{name} was {state.get(name)!r}, is {own[name]!r}" for name in wrong)
            raise InvalidArgumentError(f"the state is of another order of {self._items}: {facts}")
        self.epoch = int(state["epoch"])
        self._start = self._begun = self._done = int(state[f"{self._items}_done"])

    def _state(self, taken: int | None) -> dict[str, Any]:
        """Where the epoch stands once this process is through with ``taken`` of the iteration."""
        done = self._done
        if taken is not None:
            done = min(self._begun + taken * self.world_size, self._count)
        place = {"version": _STATE_VERSION, "epoch": self.epoch, f"{self._items}_done": done}
        return {**place, **self._identity()}

    def _begin(self) -> Iterator[int]:
        """The places in the order that this process takes, from where the epoch stands."""
        rank, world_size = self.rank, self.world_size
        self._begun = self._done = self._start
        return self._places(rank, world_size)

    def _places(self, rank: int, world_size: int) -> Iterator[int]:
        epoch, start = self.epoch, self._begun
        for step in range(self._rounds(start, world_size)):
            place = start + step * world_size
            self._record(epoch, min(place + world_size, self._count))
            # Beyond the end come the first items of the epoch again.
            yield (place + rank) % self._count
        self._record(epoch, self._count)
        if self.epoch == epoch:
            self._start = 0

    def _rounds(self, start: int, world_size: int) -> int:
        """How many items each process takes from the place ``start`` on."""
        left = self._count - start
        return left // world_size if self.drop_last else -(-left // world_size)

    def _record(self, epoch: int, done: int) -> None:
        # An iterator that is read on after a new epoch was set has no say in where that one stands.
        if self.epoch == epoch:
            self._done = done


def distributed(name: str, alone: int) -> int:
    """What ``torch.distributed`` says, if it is in use at all."""
    module = sys.modules.get("torch.distributed")
    if module is None or not module.is_available() or not module.is_initialized():
        return alone
    return int(getattr(module, name)())


def check_ranks(rank: int | None, world_size: int | None) -> None:
    """An `InvalidArgumentError` unless both are None, or rank is one of world_size processes."""
    if (rank is None) != (world_size is None):
        raise InvalidArgumentError("pass rank and world_size together, or neither")
    if rank is not None and world_size is not None and not 0 <= rank < world_size:
        raise InvalidArgumentError(
            f"rank must be from 0 to below world_size={world_size}, not {rank}"
        )

"""What was made last, kept for several threads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["Kept"]

Item = TypeVar("Item")


class Kept(Generic[Item]):
    """What was made last of numbers.

    Args:
        make: Makes it of a number.
        most: How many are kept.
    """

    def __init__(self, make: Callable[[int], Item], most: int) -> None:
        self._make, self._most = make, most
        self._lock = Lock()
        self._kept: OrderedDict[int, Item] = OrderedDict()

    def __call__(self, number: int) -> Item:
        """What there is of a number; made where it is not kept."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        made = self._make(number)
        with self._lock:
            self._kept[number] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made

"""Permutations that are functions: any place of any size at once, in no memory.

A Feistel network over the pairs ``(left, right)`` of numbers below about the square root of the
size (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002, their generalised Feistel
cipher): each round adds a hash of one half to the other. What lies beyond the size is sent through
the network again until it lies below ("cycle walking"); of a size near ``a * b`` few numbers are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle.errors import InvalidArgumentError

__all__ = ["Ints", "Permutation", "RunPermutation", "random_bits"]

Ints: TypeAlias = npt.NDArray[np.int64]
Bits: TypeAlias = npt.NDArray[np.uint64]

_ROUNDS = 6
# Places at a time: what a round makes of them stays in the processor's cache.
_CHUNK = 1 << 13
# The multipliers of the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


class Permutation:
    """A bijection of the numbers from 0 to below ``size``, chosen by a key.

    Args:
        size: How many numbers, up to 2**62.
        key: Whole numbers; each key has a permutation of its own, the same on every machine.

    Raises:
        InvalidArgumentError: The size is below 0 or too large.
    """

    def __init__(self, size: int, *key: int) -> None:
        if not 0 <= size <= 2**62:
            raise InvalidArgumentError(f"size must be from 0 to 2**62, not {size}")
        self.size = size
        left = math.isqrt(max(size - 1, 0)) + 1
        self._left, self._right = np.uint64(left), np.uint64(max(-(-size // left), 1))
        self._keys = _keys(key, _ROUNDS)

    def __call__(self, places: npt.ArrayLike) -> Ints:
        """``(N,)`` int64: what stands at each of ``(N,)`` places from 0 to below the size."""
        return self._walk(np.asarray(places), self._forth)

    def inverse(self, numbers: npt.ArrayLike) -> Ints:
        """``(N,)`` int64: at which place each of ``(N,)`` numbers stands."""
        return self._walk(np.asarray(numbers), self._back)

    def _walk(self, values: npt.NDArray[Any], through: Callable[[Bits], Bits]) -> Ints:
        found = np.empty(len(values), np.uint64)
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK].astype(np.uint64)
            found[start : start + _CHUNK] = through(part)
        outside = np.flatnonzero(found >= self.size)
        while len(outside):
            found[outside] = through(found[outside])
            outside = outside[found[outside] >= self.size]
        return found.astype(np.int64)

    def _forth(self, values: Bits) -> Bits:
        halves, sizes = self._split(values)
        for number in range(_ROUNDS):
            own = number % 2
            moved = halves[own] + self._shift(halves[1 - own], number)
            # What is below 0 as a signed number is huge as an unsigned one.
            halves[own] = np.minimum(moved, moved - sizes[own])
        return np.asarray(halves[0] * sizes[1] + halves[1])

    def _back(self, values: Bits) -> Bits:
        halves, sizes = self._split(values)
        for number in reversed(range(_ROUNDS)):
            own = number % 2
            moved = halves[own] - self._shift(halves[1 - own], number)
            halves[own] = np.minimum(moved, moved + sizes[own])
        return np.asarray(halves[0] * sizes[1] + halves[1])

    def _split(self, values: Bits) -> tuple[list[Bits], tuple[np.uint64, np.uint64]]:
        left = values // self._right
        return [left, values - left * self._right], (self._left, self._right)

    def _shift(self, half: Bits, number: int) -> Bits:
        """What a round adds: a hash of the other half, below the size of its own."""
        size = self._right if number % 2 else self._left
        bits = _mixed(half + self._keys[number])
        bits >>= np.uint64(32)
        bits *= size
        bits >>= np.uint64(32)
        return bits


class RunPermutation:
    """A permutation that keeps runs of neighbours together, in their order.

    Args:
        size: How many numbers.
        run: Of how many numbers a run is; the last run has the rest. 1 keeps none together.
        key: As for `Permutation`.
    """

    def __init__(self, size: int, run: int, *key: int) -> None:
        self.size, self._run = size, run
        self._runs = Permutation(-(-size // run), *key)
        self._rest = size % run
        # Where the run that has the rest begins; none is short where the size is a multiple.
        self._short = size
        if self._rest:
            self._short = int(self._runs.inverse([self._runs.size - 1])[0]) * run

    def __call__(self, places: npt.ArrayLike) -> Ints:
        """``(N,)`` int64: what stands at each of ``(N,)`` places from 0 to below the size."""
        at = np.asarray(places, np.int64)
        if self._run == 1:
            return self._runs(at)
        # As if the short run were whole: what comes after it moves on by what it lacks.
        lacks = self._run - self._rest
        at = np.where(at >= self._short + self._rest, at + lacks, at) if self._rest else at
        turn, inside = np.divmod(at, self._run)
        return self._runs(turn) * self._run + inside


def random_bits(numbers: npt.ArrayLike, *key: int) -> Bits:
    """``(N,)`` uint64: 64 random bits for each of ``(N,)`` numbers and a key."""
    values = np.asarray(numbers, np.int64).astype(np.uint64)
    return _mixed((values + np.uint64(1)) * _GAMMA + _keys(key, 1)[0])


def _keys(key: tuple[int, ...], count: int) -> Bits:
    text = ",".join(map(str, key)).encode()
    digest = hashlib.blake2b(text, digest_size=8 * count).digest()
    return np.frombuffer(digest, "<u8").astype(np.uint64)


def _mixed(values: Bits) -> Bits:
    """The values are overwritten."""
    values ^= values >> np.uint64(30)
    values *= _FIRST
    values ^= values >> np.uint64(27)
    values *= _SECOND
    values ^= values >> np.uint64(31)
    return values

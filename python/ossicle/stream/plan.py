"""The one order of samples: which clips each batch has, as a function of seed, epoch and number.

A plan draws clips from its sources, some ten thousand at a time (a window), puts those of like
length into batches, and shuffles blocks of neighbouring batches. Nothing else of an epoch has to be
known for that: any place can be reached at once. Batches are numbered over all processes: of
``world_size``, process ``rank`` takes the batches ``rank``, ``rank + world_size``, ...
"""

from __future__ import annotations

import bisect
import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import RLock
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ossicle.errors import InvalidArgumentError, one_of
from ossicle.stream.batches import (
    BatchRule,
    RowCount,
    count_batches,
    make_batches,
    rule_of,
)
from ossicle.stream.budgets import Floats
from ossicle.stream.mixing import Mixture, apportion, interleaved, shares_of
from ossicle.stream.permutation import Ints, RunPermutation, random_bits
from ossicle.stream.pools import Pool
from ossicle.stream.sources import Source
from ossicle.stream.state import StreamState

__all__ = ["Plan", "PlannedBatch"]

_VERSION = 1
# What the randomness is for.
_ORDER, _MIX, _TURNS, _REPLACE = range(4)
# Windows, and epochs' numbers of batches, that are kept.
_WINDOWS, _EPOCHS = 4, 8
# Clips that are looked at to find one in the place of another.
_PROBES = 4_096


@dataclass(frozen=True, eq=False)
class PlannedBatch:
    """The clips of a batch.

    Attributes:
        source: ``(B,)`` int32, the source of each clip.
        row: ``(B,)`` int64, its row there.
        number: Of the batch in its epoch, over all processes.
        epoch: The epoch that it is of.
    """

    source: npt.NDArray[np.int32]
    row: Ints
    number: int
    epoch: int

    def __len__(self) -> int:
        return len(self.row)


class _Draws(NamedTuple):
    """Clips of a window, in the order that they were drawn in."""

    source: npt.NDArray[np.int32]
    row: Ints
    costs: Floats


class _Window(NamedTuple):
    """Clips of a window, batch after batch."""

    source: npt.NDArray[np.int32]
    row: Ints
    offsets: Ints


class Plan:
    """Which clips each batch has, over all processes, epochs and resumes.

    An epoch's order is a function of the sources, the settings, ``seed`` and the epoch alone. Clips
    of a source come in a random order without repetition; where an epoch takes more or fewer than
    the source has, the next goes on where it stopped, so that all come equally often. The order
    runs on from epoch to epoch: where processes have no batch left in a last step, they take the
    first of the next epoch, which then begins after these. So every process takes as many steps,
    nothing is left out or repeated, and any number of processes can go on from any place.

    Args:
        sources: A `Source`, or several; or what a `Source` is made of.
        batch: `Seconds`, `Tokens`, or a number of rows.
        window: Rows that are planned together. More pad less; what is drawn from is the same.
        run: How many neighbouring rows stay together in the shuffle, so that they can be read at
            once. With budgets they are spread over a window by their lengths.
        sync: Batches of like length that follow each other: a multiple of the processes, so that
            those of a step get batches of like length.
        seed: Of the order, at least 0.
        temperature: The exponent of the sources' sizes: their shares of the draws are ``weight *
            rows ** temperature``. 1 draws all rows equally often, 0 all sources; between them
            small sources are raised. None is 1 where no source has a weight, and 0 otherwise.
        epoch_rows: Draws of an epoch; None takes as many as there are rows.
        on_too_long: What becomes of rows that cost more than the budget: ``"raise"``, ``"alone"``
            in a batch of their own, or ``"drop"``; the latter two warn.

    Attributes:
        sources: The sources.
        rows: Draws of an epoch.
        windows: Windows of an epoch.

    Raises:
        InvalidArgumentError: An argument makes no sense, a row is too long or has no length, or
            there is nothing to draw.
    """

    def __init__(
        self,
        sources: Any,
        batch: BatchRule | int,
        *,
        window: int = 65_536,
        run: int = 1,
        sync: int = 8,
        seed: int = 0,
        temperature: float | None = None,
        epoch_rows: int | None = None,
        on_too_long: Literal["raise", "alone", "drop"] = "raise",
    ) -> None:
        _check(window=window, run=run, sync=sync)
        if seed < 0:
            raise InvalidArgumentError(f"seed must be at least 0, not {seed}")
        self.sources = _sources_of(sources)
        self.seed, self._rule = int(seed), rule_of(batch)
        self._run, self._sync = run, sync
        one_of("on_too_long", on_too_long, ("raise", "alone", "drop"))
        self._pools = [Pool(source, self._rule, on_too_long) for source in self.sources]
        sizes = [pool.count for pool in self._pools]
        shares = shares_of(sizes, [source.weight for source in self.sources], temperature)
        self.rows = sum(sizes) if epoch_rows is None else epoch_rows
        _check(epoch_rows=self.rows)
        self._mixture = Mixture(apportion(shares, self.rows))
        self._ends = _ends(self.rows, window, self._rule)
        self._settings = {"window": window, "run": run, "sync": sync, **_fixed(self._rule)}
        self._forget()

    def __repr__(self) -> str:
        names = ", ".join(source.name for source in self.sources)
        return f"<Plan of {names}: {self.rows:,} rows an epoch, {self._rule}>"

    def __getstate__(self) -> dict[str, Any]:
        gone = ("_lock", "_kept", "_numbers")
        return {name: value for name, value in self.__dict__.items() if name not in gone}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    @property
    def windows(self) -> int:
        """Windows of an epoch."""
        return len(self._ends) - 1

    @property
    def shares(self) -> list[float]:
        """Each source's share of the draws of an epoch."""
        return [quota / self.rows for quota in self._mixture.quotas]

    @cached_property
    def sha256(self) -> str:
        """64 hex digits over all that the order depends on: seed, settings, rows and lengths."""
        digest = hashlib.sha256()
        digest.update(f"{_VERSION},{self.seed},{self.rows},{self._mixture.quotas}".encode())
        digest.update(repr(sorted(self._settings.items())).encode())
        for source, pool in zip(self.sources, self._pools, strict=True):
            source.update(digest)
            digest.update(f"{pool.count},".encode())
            for array in (pool.rows, pool.costs):
                digest.update(b"" if array is None else array.tobytes())
        return digest.hexdigest()

    def batches(self, epoch: int) -> int:
        """How many batches an epoch has, over all processes.

        Of budgets, each window of the epoch is planned for it, once.
        """
        return self._count_all(epoch)

    def steps(self, epoch: int, world_size: int = 1, start: int = 0) -> int:
        """How many steps every process takes through an epoch.

        Args:
            epoch: The epoch.
            world_size: How many processes take turns.
            start: Batches of the epoch that were taken before.
        """
        _check(world_size=world_size)
        return -(-max(self.batches(epoch) - start, 0) // world_size)

    def batch(
        self, epoch: int, step: int, rank: int = 0, world_size: int = 1, start: int = 0
    ) -> PlannedBatch:
        """The batch of a process in a step; beyond the end of an epoch it is one of the next.

        Args:
            epoch: The epoch.
            step: From 0.
            rank: The number of the process.
            world_size: How many processes take turns.
            start: Batches of the epoch that were taken before step 0.
        """
        if not 0 <= rank < world_size or min(epoch, step, start) < 0:
            raise InvalidArgumentError(
                f"there is no batch at epoch {epoch}, step {step}, rank {rank} of {world_size}"
            )
        number = int(start) + int(step) * int(world_size) + int(rank)
        epoch, number, window, place = self._locate(int(epoch), number)
        made = self._window(epoch, window)
        part = slice(*made.offsets[place : place + 2].tolist())
        return PlannedBatch(made.source[part], made.row[part], number, epoch)

    def state(self, epoch: int, consumed: int) -> StreamState:
        """The state after some batches of an epoch, over all processes.

        Beyond the end of the epoch they are batches of the next.
        """
        epoch, number, window, place = self._locate(int(epoch), int(consumed))
        return StreamState(self.sha256, epoch, number, window, place)

    def resume(self, state: StreamState | Mapping[str, Any]) -> tuple[int, int]:
        """The epoch of a state, and its batches that were consumed; the place is found at once.

        Raises:
            InvalidArgumentError: It is no state, or one of another plan.
        """
        state = state if isinstance(state, StreamState) else StreamState.of(state)
        if state.plan_sha256 != self.sha256:
            raise InvalidArgumentError(
                "the state is of another plan: its sources, their lengths, or settings differ"
            )
        first = state.consumed - state.batch
        is_place = state.window < self.windows and first >= state.window
        batches = len(self._window(state.epoch, state.window).offsets) - 1 if is_place else 0
        if state.batch >= batches:
            raise InvalidArgumentError(f"the plan has no such place: {state.as_dict()}")
        self._learn(state.epoch, state.window, first)
        return state.epoch, state.consumed

    def replacement(self, source: int, row: int, attempt: int = 1) -> tuple[int, int]:
        """Another clip of the same source, of like length and no longer where there is one.

        Args:
            source: The source of the clip that cannot be used.
            row: Its row.
            attempt: From 1; each is another draw.

        Returns:
            Source and row: a function of the seed, the source, the row and the attempt.

        Raises:
            InvalidArgumentError: The source has no other row.
        """
        pool = self._pools[source]
        if pool.count < 2:
            raise InvalidArgumentError(f"{self.sources[source].name} has no other row")
        key = (self.seed, _REPLACE, source, row, attempt)
        bits = random_bits(np.arange(_PROBES), *key) >> np.uint64(1)
        rows = pool.number((bits % np.uint64(pool.count)).astype(np.int64))
        rows = rows[rows != row]
        costs, own = pool.cost(rows), float(pool.cost(np.array([row]))[0])
        padding = getattr(self._rule, "padding", 0.0)
        similar = np.flatnonzero((costs <= own) & (costs >= own * (1 - padding)))
        if len(similar):
            return source, int(rows[similar[0]])
        # None so long: the nearest that is shorter, and the shortest where all are longer.
        return source, int(rows[np.argmin(np.where(costs <= own, own - costs, costs + own + 1))])

    def costs(self, batch: PlannedBatch) -> Floats:
        """``(B,)`` what each clip of a batch costs, in seconds or tokens; 1 of batches of rows."""
        found = np.empty(len(batch))
        for source, pool in enumerate(self._pools):
            own = batch.source == source
            found[own] = pool.cost(batch.row[own])
        return found

    def _forget(self) -> None:
        self._lock = RLock()
        self._kept: OrderedDict[tuple[int, int], _Window] = OrderedDict()
        self._numbers: OrderedDict[int, tuple[list[int], list[int]]] = OrderedDict()

    def _draws(self, epoch: int, window: int) -> _Draws:
        """The clips of a window, source after source."""
        parts = self._drawn(epoch, window)
        source = np.repeat(np.arange(len(parts), dtype=np.int32), [len(one) for one in parts])
        costs = [pool.cost(part) for pool, part in zip(self._pools, parts, strict=True)]
        return _Draws(source, np.concatenate(parts), np.concatenate(costs))

    def _drawn(self, epoch: int, window: int) -> list[Ints]:
        first, last = map(self._mixture.taken, self._ends[window : window + 2])
        return [
            self._rows(source, epoch * quota + begin, epoch * quota + end)
            for source, (quota, begin, end) in enumerate(
                zip(self._mixture.quotas, first, last, strict=True)
            )
        ]

    def _rows(self, source: int, first: int, last: int) -> Ints:
        """Draws of a source, counted over all epochs; it has epochs of its own, of all its rows."""
        pool = self._pools[source]
        parts = [np.empty(0, np.int64)]
        while first < last:
            own, place = divmod(first, pool.count)
            count = min(last - first, pool.count - place)
            order = RunPermutation(pool.count, self._run, self.seed, _ORDER, source, own)
            parts.append(pool.number(order(np.arange(place, place + count))))
            first += count
        return np.concatenate(parts)

    def _mixed(self, draws: _Draws, epoch: int, window: int) -> _Draws:
        if len(self.sources) == 1:
            return draws
        counts = np.bincount(draws.source, minlength=len(self.sources))
        rows = np.split(draws.row, np.cumsum(counts)[:-1])
        starts = self._mixture.taken(self._ends[window])
        key = (self.seed, _MIX, epoch)
        order = interleaved(starts, self._mixture.quotas, rows, self._run > 1, *key)
        return _Draws(draws.source[order], draws.row[order], draws.costs[order])

    def _window(self, epoch: int, window: int) -> _Window:
        with self._lock:
            found = self._kept.get((epoch, window))
            if found is None:
                draws = self._mixed(self._draws(epoch, window), epoch, window)
                key = (self.seed, _TURNS, epoch, window)
                order, offsets = make_batches(self._rule, draws.costs, self._sync, *key)
                found = _Window(draws.source[order], draws.row[order], offsets)
                self._kept[epoch, window] = found
                if len(self._kept) > _WINDOWS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end((epoch, window))
            return found

    def _count(self, epoch: int, window: int) -> int:
        """Batches of a window."""
        if isinstance(self._rule, RowCount):
            return -(-(self._ends[window + 1] - self._ends[window]) // self._rule.budget)
        made = self._kept.get((epoch, window))
        if made is not None:
            return len(made.offsets) - 1
        return count_batches(self._rule, self._draws(epoch, window).costs, self._sync)

    def _locate(self, epoch: int, number: int) -> tuple[int, int, int, int]:
        """Where a batch is: its epoch and number there, its window and place there."""
        with self._lock:
            while True:
                nearest, first = self._known(epoch, number)
                window = nearest
                while window < self.windows:
                    # Most likely it is here or in the next window, which is needed whole then.
                    if window < nearest + 2:
                        self._window(epoch, window)
                    count = self._count(epoch, window)
                    if number < first + count:
                        return epoch, number, window, number - first
                    window, first = window + 1, first + count
                    self._learn(epoch, window, first)
                epoch, number = epoch + 1, number - first

    def _count_all(self, epoch: int) -> int:
        if isinstance(self._rule, RowCount):
            return -(-self.rows // self._rule.budget)
        with self._lock:
            window, first = self._known(epoch, 1 << 62)
            while window < self.windows:
                first += self._count(epoch, window)
                window += 1
                self._learn(epoch, window, first)
            return first

    def _known(self, epoch: int, number: int) -> tuple[int, int]:
        """The last window that is known to begin at or before a batch, and its first batch."""
        if isinstance(self._rule, RowCount):
            each = self._count(epoch, 0)
            window = min(number // each, self.windows)
            return (
                (window, window * each)
                if window < self.windows
                else (window, self._count_all(epoch))
            )
        windows, firsts = self._numbers_of(epoch)
        at = bisect.bisect_right(firsts, number) - 1
        return windows[at], firsts[at]

    def _learn(self, epoch: int, window: int, first: int) -> None:
        """Notes the number of a window's first batch."""
        with self._lock:
            windows, firsts = self._numbers_of(epoch)
            at = bisect.bisect_left(windows, window)
            if at == len(windows) or windows[at] != window:
                windows.insert(at, window)
                firsts.insert(at, first)
            around = firsts[max(at - 1, 0) : at + 2]
            if firsts[at] != first or sorted(set(around)) != around:
                raise InvalidArgumentError(f"window {window} begins elsewhere than the state says")

    def _numbers_of(self, epoch: int) -> tuple[list[int], list[int]]:
        with self._lock:
            found = self._numbers.setdefault(epoch, ([0], [0]))
            self._numbers.move_to_end(epoch)
            if len(self._numbers) > _EPOCHS:
                self._numbers.popitem(last=False)
            return found


def _sources_of(sources: Any) -> tuple[Source, ...]:
    if isinstance(sources, Source):
        return (sources,)
    if (
        isinstance(sources, Sequence)
        and sources
        and all(isinstance(one, Source) for one in sources)
    ):
        return tuple(sources)
    return (Source(sources),)


def _ends(rows: int, window: int, rule: BatchRule) -> list[int]:
    """Where windows begin in the draws of an epoch, and the end."""
    if isinstance(rule, RowCount):
        size = max(window // rule.budget, 1) * rule.budget
        return [*range(0, rows, size), rows]
    count = -(-rows // window)
    return [number * rows // count for number in range(count + 1)]


def _fixed(rule: BatchRule) -> dict[str, Any]:
    """What the order depends on beside the costs, which are told by themselves."""
    settings = {
        name: value for name, value in vars(rule).items() if name not in ("tokens", "cut_at")
    }
    return {"batch": type(rule).__name__, **settings}


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if isinstance(number, bool) or number != int(number) or number < 1:
            raise InvalidArgumentError(f"{name} must be a whole number of at least 1, not {number}")

"""Bad rows: an error, left out or replaced, and never silently.

The collator, the data sets, extraction and training have one record for such a row, `Fault`, and
one ledger, a file with a line of JSON for each.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar, get_args

from ossicle.atomic import write_text
from ossicle.errors import TooManyFaultsError, check_on_error

__all__ = [
    "Fault",
    "Faults",
    "OnError",
    "RowName",
    "append_ledger",
    "count_line",
    "read_ledger",
    "reasons_of",
    "write_ledger",
]

OnError: TypeAlias = Literal["raise", "skip", "replace"]
Item = TypeVar("Item")

# The most frequent reasons that a line has room for.
_REASONS = 5

WINDOW = 1_000
"""Rows over which bad ones are counted."""
_KEPT = 10_000  # faults in memory; the file has all


class HasReason(Protocol):
    """A `Fault`, or an error of a row."""

    @property
    def reason(self) -> str:
        """What is wrong."""
        ...


class RowName(NamedTuple):
    """How a row is called in the ledger.

    Attributes:
        row: Its number, from 0.
        id: What the data set calls it, where it does.
        file: Its file, for errors that name none.
    """

    row: int
    id: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class Fault:
    """A row that could not be used: a line of the ledger.

    Attributes:
        id: What the data set calls the row (``id``, ``__key__`` or ``key``), where it does.
        row: Its number, from 0: in the manifest or the shards, in the collator in its batch.
        file: The file at fault, as far as it is known.
        member: The member of a shard, where the file is one.
        byte: Where in the file, where known.
        error: The name of the error's class.
        reason: What was wrong.
        action: What was done: ``"skip"`` or ``"replace"``; about a row that is too long also
            ``"drop"`` or ``"cut"``.
    """

    id: str | None
    row: int
    file: str | None
    member: str | None
    byte: int | None
    error: str
    reason: str
    action: str

    @classmethod
    def of(cls, error: Exception, name: RowName, action: str = "skip") -> Fault:
        """The fault of a row that ended in an error."""
        return cls(
            id=name.id,
            row=name.row,
            file=getattr(error, "source", None) or name.file,
            member=getattr(error, "member", None),
            byte=getattr(error, "byte_offset", None),
            error=type(error).__name__,
            reason=str(getattr(error, "reason", error)),
            action=action,
        )


def reasons_of(faults: Iterable[HasReason]) -> dict[str, int]:
    """How many rows have each reason, the most frequent first.

    Without what differs from row to row, as far as that is at the end of a reason.
    """
    reasons = (fault.reason.partition(": ")[0].partition("; ")[0] for fault in faults)
    return dict(Counter(reasons).most_common())


def count_line(rows: int, reasons: Mapping[str, int], kept: str = "clips") -> str:
    """A line for people that adds up: rows, those that are kept, faults with their reasons.

    Args:
        rows: All of them.
        reasons: How many are at fault for each reason.
        kept: What the others are called.
    """
    lost = sum(reasons.values())
    most = list(reasons.items())[:_REASONS]
    why = "; ".join(f"{count:,} x {reason}" for reason, count in most)
    return f"{rows:,} rows = {rows - lost:,} {kept} + {lost:,} faults" + (why and f" ({why})")


def read_ledger(path: str | os.PathLike[str]) -> list[Fault]:
    """The faults in a ledger, in the order in which they were entered.

    Args:
        path: What ``AudioLmCollator(ledger_path=...)``, a data set, an extraction or a training run
            wrote. A missing file means that there were no faults.
    """
    file = Path(path)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Fault(**json.loads(line)) for line in lines]


def write_ledger(path: Path, faults: Iterable[Fault]) -> None:
    """Writes a ledger anew, whole or not at all."""
    write_text(path, _lines(faults))


def append_ledger(path: Path, faults: Iterable[Fault]) -> None:
    """Adds faults to a ledger that other processes may add to at the same time."""
    # One write at the end of the file: lines of other processes stay whole.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, _lines(faults).encode())
    finally:
        os.close(file)


def _lines(faults: Iterable[Fault]) -> str:
    return "".join(json.dumps(asdict(fault)) + "\n" for fault in faults)


class Faults:
    """Handles bad rows, and counts them.

    Attributes:
        ledger: Their records, the first 10,000 of them.
        counts: ``"rows"`` that were seen, and by action (``"skip"``, ``"cut"``...) what was done.

    Args:
        on_error: ``"raise"``, ``"skip"`` or ``"replace"``.
        max_bad_share: How many of the last 1,000 rows may be bad, as a share of them.
        ledger_path: A file that every process adds its faults to, one line of JSON each.
    """

    def __init__(
        self,
        on_error: OnError = "raise",
        max_bad_share: float = 0.01,
        ledger_path: str | os.PathLike[str] | None = None,
    ) -> None:
        check_on_error(on_error, *get_args(OnError))
        if not 0 <= max_bad_share <= 1:
            raise ValueError(f"max_bad_share must be from 0 to 1, not {max_bad_share}")
        self.ledger: list[Fault] = []
        self.counts: Counter[str] = Counter()
        self._on_error = on_error
        self._max_bad_share = max_bad_share
        self._ledger_path = None if ledger_path is None else Path(ledger_path)
        # Of the last batches: their rows, and how many of them were bad.
        self._batches: deque[tuple[int, int]] = deque()

    def choose(
        self,
        items: Sequence[Item],
        errors: Mapping[int, Exception],
        name: Callable[[int], RowName],
        dropped: Collection[int] = (),
    ) -> list[Item]:
        """The rows of a batch that are used.

        Args:
            items: What belongs to each row.
            errors: Of the bad ones, by their places.
            name: The name of the row at a place.
            dropped: Of the bad ones those that are left out whatever ``on_error`` says.

        Returns:
            The items of the good rows, or, where bad ones are replaced, as many as there were: in
            the place of a bad one that of the next good row, from the last on to the first.

        Raises:
            Exception: The first of ``errors``, where nothing else is to be done about them.
            TooManyFaultsError: No row is good.
        """
        bad = errors.keys() - set(dropped)
        if bad and self._on_error == "raise":
            raise errors[min(bad)]
        if len(errors) == len(items):
            self._enter(errors, name, dropped)
            first = errors[min(errors)]
            raise TooManyFaultsError(
                f"all rows of the batch are bad; the first of {len(items)}: {first}"
            ) from first
        if self._on_error != "replace":
            return [item for place, item in enumerate(items) if place not in errors]
        return [items[_next_good(place, len(items), errors)] for place in range(len(items))]

    def enter(
        self,
        rows: int,
        errors: Mapping[int, Exception],
        name: Callable[[int], RowName],
        dropped: Collection[int] = (),
    ) -> None:
        """Enters the bad rows of a batch of ``rows`` that was made, and counts them.

        Those that are dropped, as was asked for, do not count as bad.

        Raises:
            TooManyFaultsError: Too many of the last 1,000 rows were bad.
        """
        self._enter(errors, name, dropped)
        self.count(rows, len(errors.keys() - set(dropped)))

    def tell(
        self, errors: Mapping[int, Exception], name: Callable[[int], RowName], action: str
    ) -> None:
        """Enters rows that are used all the same, with what was done to them."""
        if errors:
            self._write(errors, name, action)

    def count(self, rows: int, bad: int) -> None:
        """Counts a batch.

        Raises:
            TooManyFaultsError: Too many of the last 1,000 rows were bad.
        """
        self.counts["rows"] += rows
        self._batches.append((rows, bad))
        while sum(rows for rows, _ in self._batches) - self._batches[0][0] >= WINDOW:
            self._batches.popleft()
        total = sum(bad for _, bad in self._batches)
        if total > self._max_bad_share * WINDOW:
            seen = sum(rows for rows, _ in self._batches)
            last = f"; the last: {self.ledger[-1].reason}" if self.ledger else ""
            raise TooManyFaultsError(
                f"{total} of the last {seen} rows were bad, more than max_bad_share="
                f"{self._max_bad_share} of {WINDOW} allows{last}"
            )

    def _enter(
        self,
        errors: Mapping[int, Exception],
        name: Callable[[int], RowName],
        dropped: Collection[int],
    ) -> None:
        for action, places in (
            (self._on_error, errors.keys() - set(dropped)),
            ("drop", errors.keys() & set(dropped)),
        ):
            if places:
                self._write({at: errors[at] for at in places}, name, action)

    def _write(
        self, errors: Mapping[int, Exception], name: Callable[[int], RowName], action: str
    ) -> None:
        faults = [Fault.of(errors[at], name(at), action) for at in sorted(errors)]
        self.ledger += faults[: max(_KEPT - len(self.ledger), 0)]
        if self._ledger_path is not None:
            append_ledger(self._ledger_path, faults)
        if not self.counts[action]:
            warnings.warn(_warning(faults[0]), RuntimeWarning, stacklevel=2)
        self.counts[action] += len(faults)


def _warning(fault: Fault) -> str:
    """Of the first one of a kind."""
    # Some reasons tell the file by themselves.
    where = "" if fault.file is None or fault.file in fault.reason else f"{fault.file}: "
    more = "more of them are entered in the ledger without a warning"
    if fault.action in ("cut", "drop"):
        what = "cut" if fault.action == "cut" else "left out"
        return (
            f"a row is too long and was {what} ({where}{fault.reason}), as "
            f"too_long={fault.action!r} says; {more}"
        )
    return f"a bad row ({where}{fault.reason}) was met with on_error={fault.action!r}; {more}"


def _next_good(place: int, count: int, errors: Mapping[int, Exception]) -> int:
    following = ((place + step) % count for step in range(count))
    return next(at for at in following if at not in errors)

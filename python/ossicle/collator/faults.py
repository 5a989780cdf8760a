"""Rows that cannot be used: refused, left out or replaced, and never silently."""

from __future__ import annotations

import json
import os
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, get_args

from ossicle.collator.errors import TooManyFaultsError
from ossicle.errors import check_on_error

if TYPE_CHECKING:
    from ossicle.collator.rows import Example

__all__ = ["Fault", "Faults", "OnError", "read_ledger"]

OnError: TypeAlias = Literal["raise", "skip", "replace"]
Item = TypeVar("Item")

WINDOW = 1_000
"""Rows over which bad ones are counted."""


@dataclass(frozen=True)
class Fault:
    """A row that could not be used: a line of the ledger.

    Attributes:
        id: What the data set calls the row (``id``, ``__key__`` or ``key``), where it does.
        row: Its place in its batch.
        file: The file at fault, as far as it is known.
        member: The member of a shard, where the file is one.
        byte: Where in the file, where known.
        error: The name of the error's class.
        reason: What was wrong.
        action: What was done: ``"skip"`` or ``"replace"``.
    """

    id: str | None
    row: int
    file: str | None
    member: str | None
    byte: int | None
    error: str
    reason: str
    action: str


def read_ledger(path: str | os.PathLike[str]) -> list[Fault]:
    """The faults in a file that ``AudioLmCollator(ledger_path=...)`` wrote, in the order of time.

    Args:
        path: The file. That it is not there means that nothing was wrong.
    """
    file = Path(path)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Fault(**json.loads(line)) for line in lines]


class Faults:
    """What is done about bad rows, and how many there were.

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
            raise ValueError(f"max_bad_share is a share, 0 to 1, not {max_bad_share}")
        self.ledger: list[Fault] = []
        self._on_error = on_error
        self._max_bad_share = max_bad_share
        self._ledger_path = None if ledger_path is None else Path(ledger_path)
        # Of the last batches: their rows, and how many of them were bad.
        self._batches: deque[tuple[int, int]] = deque()
        self._warned = False

    def choose(
        self, items: Sequence[Item], examples: Sequence[Example], errors: Mapping[int, Exception]
    ) -> list[Item]:
        """What goes on of a batch.

        Args:
            items: What belongs to each row.
            examples: The rows.
            errors: Of the bad ones, by their places.

        Returns:
            The items of the good rows, or, where bad ones are replaced, as many as there were: in
            the place of a bad one that of the next good row, from the last on to the first.

        Raises:
            Exception: The first of ``errors``, where nothing else is to be done about them.
            TooManyFaultsError: No row is good.
        """
        if errors and self._on_error == "raise":
            raise errors[min(errors)]
        if len(errors) == len(items):
            self._write(examples, errors)
            first = errors[min(errors)]
            raise TooManyFaultsError(
                f"no row of the batch can be used; the first of {len(items)}: {first}"
            ) from first
        if self._on_error == "skip":
            return [item for place, item in enumerate(items) if place not in errors]
        return [items[_next_good(place, len(items), errors)] for place in range(len(items))]

    def enter(self, examples: Sequence[Example], errors: Mapping[int, Exception]) -> None:
        """Enters the bad rows of a batch that was made, and counts them.

        Raises:
            TooManyFaultsError: Too many of the last 1,000 rows were bad.
        """
        if errors:
            self._write(examples, errors)
        self.count(len(examples), len(errors))

    def count(self, rows: int, bad: int) -> None:
        """Counts a batch.

        Raises:
            TooManyFaultsError: Too many of the last 1,000 rows were bad.
        """
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

    def _fault(self, example: Example, error: Exception) -> Fault:
        known = [clip.name for clip in example.clips]
        return Fault(
            id=example.id,
            row=example.index,
            file=getattr(error, "source", None) or (known[0] if known else None),
            member=getattr(error, "member", None),
            byte=getattr(error, "byte_offset", None),
            error=type(error).__name__,
            reason=str(getattr(error, "reason", error)),
            action=self._on_error,
        )

    def _write(self, examples: Sequence[Example], errors: Mapping[int, Exception]) -> None:
        faults = [self._fault(examples[place], errors[place]) for place in sorted(errors)]
        self.ledger += faults
        if self._ledger_path is not None:
            lines = "".join(json.dumps(asdict(fault)) + "\n" for fault in faults)
            # One write at the end of the file: lines of other processes stay whole.
            file = os.open(self._ledger_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, lines.encode())
            finally:
                os.close(file)
        if not self._warned:
            self._warned = True
            fault = faults[0]
            warnings.warn(
                f"a bad row ({fault.file}: {fault.reason}) met on_error={self._on_error!r}; more "
                "of them are entered in the ledger without a word",
                RuntimeWarning,
                stacklevel=2,
            )


def _next_good(place: int, count: int, errors: Mapping[int, Exception]) -> int:
    turns = ((place + step) % count for step in range(count))
    return next(turn for turn in turns if turn not in errors)

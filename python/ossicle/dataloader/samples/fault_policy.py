"""What datasets do about bad samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from ossicle.data.errors import DataError
from ossicle.errors import AudioError, InvalidArgumentError
from ossicle.faults import Fault, Faults, OnError, RowName

__all__ = ["BAD", "FaultPolicy"]

Item = TypeVar("Item")

BAD = (DataError, AudioError, OSError)
"""What is wrong with data; anything else is a mistake in a program, and always raised."""

# Good samples are counted in lots of so many.
_LOT = 50


class FaultPolicy:
    """Raises, skips or replaces bad samples, with the collator's ledger and its limit.

    Args:
        on_error: As for `SpeechDataset`, like the others.
        max_bad_share: See there.
        ledger_path: See there.
    """

    def __init__(
        self, on_error: OnError, max_bad_share: float, ledger_path: str | os.PathLike[str] | None
    ) -> None:
        try:
            self._faults = Faults(on_error, max_bad_share, ledger_path)
        except ValueError as error:
            raise InvalidArgumentError(str(error)) from error
        self._is_strict = on_error == "raise"
        self._good = 0

    @property
    def faults(self) -> list[Fault]:
        """Those of this process."""
        return self._faults.ledger

    @contextmanager
    def name_errors(self, wav_id: str) -> Iterator[None]:
        """Errors tell the recording."""
        try:
            yield
        except DataError as error:
            if error.wav_id is None:
                error.wav_id = wav_id
            raise
        except Exception as error:
            error.add_note(f"wav_id {wav_id!r}")
            raise

    def batch(
        self,
        indices: Sequence[int],
        load: Callable[[int], Item],
        name: Callable[[int], str],
    ) -> list[Item]:
        """The rows of a batch that are used."""
        if self._is_strict:
            return [load(index) for index in indices]
        items: dict[int, Item] = {}
        errors: dict[int, Exception] = {}
        for place, index in enumerate(indices):
            try:
                items[place] = load(index)
            except BAD as error:
                errors[place] = error

        def row_name(place: int) -> RowName:
            wav_id = name(indices[place])
            return RowName(indices[place], wav_id, wav_id)

        places = self._faults.choose(range(len(indices)), errors, row_name)
        self._faults.enter(len(indices), errors, row_name)
        return [items[place] for place in places]

    def enter(self, place: int, wav_id: str, error: Exception) -> None:
        """Enters a bad sample, or raises its error."""
        if self._is_strict:
            raise error
        known = getattr(error, "wav_id", None) or wav_id
        self._faults.enter(1, {0: error}, lambda _: RowName(place, known, known))

    def count_good(self) -> None:
        """Counts a good sample."""
        self._good += 1
        if self._good == _LOT:
            self._faults.count(_LOT, 0)
            self._good = 0

"""What is to be known of a source to read its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ossicle.data.columns import COLUMNS

__all__ = ["Reading"]


@dataclass(frozen=True)
class Reading:
    """What is to be known of a source to read its rows.

    Attributes:
        source: What errors call it.
        root: The folder that paths are relative to; None leaves them as they are.
        columns: By what a column means, its name, where that was told.
        facts: Names that mean nothing here although the table has them.
    """

    source: str
    root: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    facts: frozenset[str] = frozenset()

    def names(self, meaning: str) -> tuple[str, ...]:
        """The names that a column of this meaning may have."""
        told = self.columns.get(meaning)
        if told is not None:
            return (told,)
        return COLUMNS[meaning]

"""What a notebook shows of rows and of tables: the first of them, and what all are in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final, Protocol

from ossicle.audio import load
from ossicle.audio.notebook import picture_of_waveform, player, table
from ossicle.data.recordings import Recording
from ossicle.data.summary import Summary
from ossicle.errors import AudioError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["page_of_frame", "page_of_rows"]

ROWS_SHOWN: Final = 10
PLAYERS_SHOWN: Final = 3
SECONDS_HEARD: Final = 20.0
"""Of each player; more would make a notebook of many megabytes."""
_LONGEST = 200


class ShownRow(Protocol):
    """What is shown of an `ossicle.data.SpeechRow`."""

    @property
    def number(self) -> int: ...
    @property
    def recordings(self) -> list[Recording]: ...
    def __getitem__(self, name: str, /) -> Any: ...


def page_of_rows(
    name: str, first: Sequence[ShownRow], known: Summary, count: str, *, is_whole: bool
) -> str:
    """Rows in a table, some with a picture and a player, and counts with hours by language.

    Args:
        name: What the rows are of.
        first: The first of them, `ROWS_SHOWN` at most.
        known: What those that are read are.
        count: The same in a line.
        is_whole: Whether all are read.
    """
    faults, so_far = known.faults, "" if is_whole else ", as far as they are read"
    names = [one for one in known.columns if any(row[one] is not None for row in first)]
    head = "".join(f"<th>{escape(one)}</th>" for one in ["row", *names, "clip"])
    body = "".join(_row(row, names, heard=at < PLAYERS_SHOWN) for at, row in enumerate(first))
    title = f"<caption>{escape(f'{name}: {count}{so_far}')}</caption>"
    page = f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    if known.languages:
        rows = [
            (language, count, _hours(seconds))
            for language, (count, seconds) in sorted(known.languages.items())[:ROWS_SHOWN]
        ]
        page += table(("language", "rows", "hours"), rows)
    if known.timed:
        page += f"<p>{_hours(known.seconds)} hours in {known.timed:,} rows that say how long</p>"
    if faults:
        told = [("" if one.row is None else one.row, one.reason) for one in faults[:ROWS_SHOWN]]
        page += table(("row", "fault"), told)
    return page


def page_of_frame(name: str, head: pl.DataFrame, rows: int | None) -> str:
    """The first rows of a table.

    Args:
        name: What it is of.
        head: Its first rows.
        rows: How many it has, where they are counted.
    """
    count = "rows not counted yet" if rows is None else f"{rows:,} rows"
    shown = "" if rows is not None and rows <= head.height else f", the first {head.height} shown"
    cells = [[_text(one) for one in row] for row in head.rows()]
    names = [f"{column} ({kind})" for column, kind in head.schema.items()]
    return table(names, cells, caption=f"{name}: {count}{shown}")


def _row(row: ShownRow, names: Sequence[str], *, heard: bool) -> str:
    cells = "".join(f"<td>{escape(_shown(row, one))}</td>" for one in names)
    return f"<tr><td>{row.number}</td>{cells}<td>{_clip(row) if heard else ''}</td></tr>"


def _shown(row: ShownRow, name: str) -> str:
    """A value of a row; a recording by its name."""
    if name != "audio":
        return _text(row[name])
    try:
        return _text(", ".join(one.name for one in row.recordings))
    except ValueError as error:
        return _text(str(error))


def _clip(row: ShownRow) -> str:
    """Picture and player of a row's recording, or what is wrong with it."""
    try:
        if len(row.recordings) != 1:
            return ""
        [recording] = row.recordings
        part = recording.segment.at_most(SECONDS_HEARD)
        waveform, rate = load(
            recording.source, offset=part.offset, duration=part.duration, channel=part.channel
        )
    except (AudioError, OSError, ValueError) as error:
        return escape(_text(str(error)))
    return picture_of_waveform(waveform, rate) + player(waveform, rate)


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.2f}"

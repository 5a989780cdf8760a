"""CSV and TSV with a header."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ossicle.atomic import replacing
from ossicle.data.columns import SCHEMA
from ossicle.data.delimited import Dialect, field_of
from ossicle.data.errors import ManifestError
from ossicle.data.formats.json_lines import no_bytes, plain_row
from ossicle.data.opening import table_rows
from ossicle.data.pieces import Found, pieces_of
from ossicle.data.rows import Rows, SpeechRow

__all__ = ["CSV", "QUOTED_TSV", "TSV", "reader", "write_table", "writer"]

CSV = Dialect(",", quoted=True)
TSV = Dialect("\t", quoted=False)
QUOTED_TSV = Dialect("\t", quoted=True)


def reader(dialect: Dialect) -> Callable[[Path], Iterator[Found]]:
    """What reads it."""
    return lambda path: pieces_of(table_rows(path, dialect), str(path))


def writer(dialect: Dialect) -> Callable[[Rows, Path], None]:
    """What writes it."""
    return lambda rows, path: write_table(rows, path, dialect)


def write_table(
    rows: Rows,
    path: Path,
    dialect: Dialect,
    record: Callable[[SpeechRow, Path], dict[str, Any]] = plain_row,
    names: list[str] | None = None,
) -> None:
    """Writes the columns that have values, lists and objects as JSON.

    Args:
        rows: The rows.
        path: The file.
        dialect: How fields are told apart.
        record: Makes the values of a row by column.
        names: The columns; None takes all that have values.
    """
    if names is None:
        frame = rows.frame
        full = [one for one in frame.columns if frame[one].null_count() < frame.height]
        names = full or list(SCHEMA)
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        file.write(dialect.separator.join(_field(name, dialect, None, name) for name in names))
        file.write("\n")
        for row in rows:
            values = record(row, path.parent)
            fields = [_field(values.get(name), dialect, row.number, name) for name in names]
            file.write(dialect.separator.join(fields) + "\n")


def _field(value: Any, dialect: Dialect, row: int | None, name: str) -> str:
    if value is not None and not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, default=no_bytes)
    try:
        return field_of(value, dialect)
    except ValueError as error:
        raise ManifestError(f"it holds {error}: write csv or jsonl", row=row, column=name) from None

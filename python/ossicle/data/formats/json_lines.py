"""JSON lines and JSON arrays: a row is an object.

Format: https://jsonlines.org, and RFC 8259. An array may be of one object a row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ossicle.atomic import replacing
from ossicle.data.errors import ManifestError
from ossicle.data.opening import json_rows, read_text
from ossicle.data.pieces import Found, pieces_of
from ossicle.data.rows import Rows, SpeechRow
from ossicle.data.writing_paths import shown

__all__ = [
    "no_bytes",
    "objects",
    "parse",
    "plain_row",
    "read_array",
    "read_lines",
    "write_array",
    "write_lines",
]


def read_lines(path: Path) -> Iterator[Found]:
    """The rows of JSON lines."""
    return pieces_of(json_rows(path), str(path))


def read_array(path: Path) -> Iterator[Found]:
    """The rows of a JSON array.

    Raises:
        ManifestError: It is no array.
    """
    found = parse(path)
    if not isinstance(found, list):
        raise ManifestError(f"no JSON array but {type(found).__name__}", source=str(path))
    return pieces_of(objects(found, str(path)), str(path))


def objects(
    found: list[Any], source: str
) -> Iterator[tuple[int, None, Mapping[str, Any]] | ManifestError]:
    """The objects of a list, and what is none."""
    for number, one in enumerate(found):
        if isinstance(one, Mapping):
            yield number, None, one
        else:
            why = f"not a JSON object but {type(one).__name__}"
            yield ManifestError(why, source=source, row=number)


def parse(path: Path) -> Any:
    """A whole file of JSON.

    Raises:
        ManifestError: It is none.
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ManifestError(f"not valid JSON: {error}", source=str(path)) from error


def plain_row(row: SpeechRow, folder: Path) -> dict[str, Any]:
    """A row as JSON has it, without what it lacks.

    Raises:
        ManifestError: Its audio is in no file.
    """
    made = {name: row[name] for name in row}
    if made["audio"] is not None:
        made["audio"] = shown(row, folder)
    return {name: value for name, value in made.items() if value is not None}


def no_bytes(value: Any) -> str:
    """What JSON does not know, as text; bytes are none.

    Raises:
        ManifestError: A fact is bytes, such as a picture.
    """
    if isinstance(value, bytes):
        raise ManifestError("a fact holds bytes: write parquet")
    return str(value)


def write_lines(rows: Rows, path: Path) -> None:
    """Writes JSON lines."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(
                json.dumps(plain_row(row, path.parent), ensure_ascii=False, default=no_bytes)
            )
            file.write("\n")


def write_array(rows: Rows, path: Path) -> None:
    """Writes a JSON array, a row a line."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write("[")
        for at, row in enumerate(rows):
            text = json.dumps(plain_row(row, path.parent), ensure_ascii=False, default=no_bytes)
            file.write((",\n" if at else "\n") + text)
        file.write("\n]\n")

"""Lines of CSV and TSV, one at a time: a line that is damaged costs itself and no other.

Format: RFC 4180 for CSV, where a field in quotes may hold separators, doubled quotes and ends of
lines; a quote inside a field without quotes is text. Of TSV (IANA's text/tab-separated-values, and
what Common Voice writes) a quote is text everywhere, and a field holds no tab and no end of a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

__all__ = ["Dialect", "Record", "dialect_of", "field_of", "records"]

Fields = list[str | None]
# Lines that one record may have: an open quote that no line closes costs a line, not the file.
_MOST_LINES = 10_000
_BOM = b"\xef\xbb\xbf"


class Dialect(NamedTuple):
    """How fields are told apart."""

    separator: str
    quoted: bool


class Record(NamedTuple):
    """A record, or why a line is none.

    Attributes:
        line: The line that it begins on, from 1.
        fields: None is an empty field without quotes.
        fault: What is wrong, where ``fields`` is None.
    """

    line: int
    fields: Fields | None
    fault: str | None = None


def dialect_of(suffix: str) -> Dialect:
    """Of a file's suffix, in lower case."""
    return Dialect("\t", quoted=False) if suffix == ".tsv" else Dialect(",", quoted=True)


def records(lines: Iterable[bytes], dialect: Dialect) -> Iterator[Record]:
    """The records of a file, the header among them; blank lines are none.

    Args:
        lines: Of the file, with their ends.
        dialect: How fields are told apart.
    """
    queue = _Lines(lines)
    while (content := queue.take()) is not None:
        number = queue.number
        content = content.removeprefix(_BOM) if number == 1 else content
        if not content.strip(b"\r\n"):
            continue
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            yield Record(number, None, f"not UTF-8: {error.reason} at byte {error.start}")
            continue
        if dialect.quoted and '"' in text:
            yield _quoted(text, number, queue, dialect.separator)
        else:
            parts = _without_end(text).split(dialect.separator)
            yield Record(number, [part or None for part in parts])


def field_of(value: str | None, dialect: Dialect) -> str:
    """A field as it is written.

    Raises:
        ValueError: TSV cannot hold it; the reason says what is in it.
    """
    if value is None:
        return ""
    if dialect.quoted:
        special = ('"', dialect.separator, "\n", "\r")
        is_plain = value and not any(one in value for one in special)
        return value if is_plain else '"' + value.replace('"', '""') + '"'
    if not value:
        raise ValueError("an empty text, which TSV cannot tell from none")
    for name, one in (("a tab", "\t"), ("a line feed", "\n"), ("a carriage return", "\r")):
        if one in value:
            raise ValueError(f"{name}, which TSV cannot hold")
    return value


class _Lines:
    """Lines with their numbers, of which some can be given back."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._back: list[bytes] = []
        self.number = 0

    def take(self) -> bytes | None:
        line = self._back.pop() if self._back else next(self._lines, None)
        self.number += line is not None
        return line

    def give_back(self, lines: list[bytes]) -> None:
        self._back += reversed(lines)
        self.number -= len(lines)


def _quoted(text: str, number: int, queue: _Lines, separator: str) -> Record:
    """A record in whose first line there is a quote, with the lines that belong to it."""
    taken: list[bytes] = []
    parts = [text]
    # Inside of a quoted field while the quotes so far are odd in number, unless one of them is
    # text, which the reading of the whole tells.
    scanner = _Scanner(separator)
    while (found := scanner.scan("".join(parts) if len(parts) > 1 else text)) is None:
        following = queue.take() if len(taken) < _MOST_LINES else None
        while following is not None and b'"' not in following and len(taken) < _MOST_LINES:
            taken.append(following)
            parts.append(following.decode(errors="replace"))
            following = queue.take()
        if following is None:
            queue.give_back(taken)
            return Record(number, None, "a quote is opened and never closed")
        taken.append(following)
        parts.append(following.decode(errors="replace"))
    if isinstance(found, str):
        queue.give_back(taken)
        return Record(number, None, found)
    if any("\ufffd" in part for part in parts):
        try:
            b"".join(taken).decode()
        except UnicodeDecodeError:
            return Record(number, None, "not UTF-8")
    return Record(number, found)


class _Scanner:
    """The fields of a record as it grows; those that are complete are not read again."""

    def __init__(self, separator: str) -> None:
        self._closed, self._plain = _patterns(separator)
        self._separator = separator
        self._fields: Fields = []
        self._at = 0

    def scan(self, text: str) -> Fields | str | None:
        """All fields; or what is wrong; or None where a quoted field goes on."""
        end = len(_without_end(text))
        while True:
            if text.startswith('"', self._at):
                found = self._closed.match(text, self._at)
                if found is None:
                    return None
                self._fields.append(found[1].replace('""', '"'))
            else:
                found = self._plain.match(text, self._at, end)
                if found is None:  # it matches nothing too
                    return "no field"
                self._fields.append(found[0] or None)
            self._at = found.end()
            if self._at >= end:
                return self._fields
            if text[self._at] != self._separator:
                return "text after the closing quote of a field"
            self._at += 1


@cache
def _patterns(separator: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(r'"((?:[^"]|"")*+)"'), re.compile(f"[^{re.escape(separator)}]*")


def _without_end(text: str) -> str:
    if text.endswith("\r\n"):
        return text[:-2]
    return text[:-1] if text.endswith("\n") else text

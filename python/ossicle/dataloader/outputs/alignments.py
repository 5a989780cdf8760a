"""Forced alignments: what was said when, out of Praat's TextGrid and NIST's CTM.

Both give segments: dicts with ``onset`` and ``offset`` in seconds, ``label``, ``tier``, ``channel``
and ``confidence``, the last two None where the format does not say.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ossicle.data.errors import MetadataError
from ossicle.dataloader.types import SegmentList

__all__ = ["CtmRun", "index_ctm", "read_ctm", "read_textgrid"]

# UTF-32 would begin like UTF-16; Praat writes none.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Praat's manual, "TextGrid file formats": what counts are texts in quotes, numbers and flags that
# stand free; `xmin =` and `intervals [1]:` are for people, and `!` begins a comment.
_TOKEN = re.compile(
    r"""
      "(?P<text> [^"]* (?: "" [^"]* )* )"
    | (?P<open> " )
    | (?P<comment> ! [^\r\n]* )
    | (?P<flag> < [a-zA-Z]+ > ) (?! \S )
    | (?P<number> [-+]? (?: \d+ \.? \d* | \. \d+ ) (?: [eE] [-+]? \d+ )? ) (?! \S )
    | (?P<word> [^\s"!]+ )
    """,
    re.VERBOSE,
)


def read_textgrid(path: Path) -> tuple[SegmentList, float]:
    """The intervals and points of all tiers, and how long the recording is.

    Long and short text format, UTF-8, or UTF-16 with its mark. A point is a segment of no length.
    Intervals without a label are kept.

    Returns:
        Segments tier by tier, as the file has them, and the end of the grid in seconds.

    Raises:
        MetadataError: The file cannot be read, or is no such text; the message has the line.
    """
    return _TextGrid(path).read()


class CtmRun(NamedTuple):
    """Neighbouring lines of one recording.

    Attributes:
        path: The file.
        start: The byte at which they begin.
        stop: The byte after them.
        line: The number of the first one, from 1.
    """

    path: Path
    start: int
    stop: int
    line: int


def index_ctm(path: Path) -> dict[str, list[CtmRun]]:
    """Where a CTM file has each recording; only the first field of the lines is looked at.

    Raises:
        MetadataError: The file cannot be read, or is no UTF-8.
    """
    runs: dict[str, list[CtmRun]] = {}
    at, last = 0, None
    for line, content in enumerate(_content(path).splitlines(keepends=True), 1):
        fields = _fields(content, str(path), line)
        if fields:
            found = runs.setdefault(fields[0], [])
            if fields[0] == last:
                found[-1] = found[-1]._replace(stop=at + len(content))
            else:
                found.append(CtmRun(path, at, at + len(content), line))
            last = fields[0]
        at += len(content)
    return runs


def read_ctm(run: CtmRun) -> SegmentList:
    """The segments of a run of lines: recording, channel, onset, duration, label, confidence.

    The last may be missing; NIST's ``NA`` is none, and what follows is passed over. ``;;`` begins
    a comment. The tier is the file's name without suffix.

    Raises:
        MetadataError: The file cannot be read, or a line is no such line.
    """
    lines = _content(run.path, run.start, run.stop).splitlines()
    parsed = (_ctm_segment(text, run.path, line) for line, text in enumerate(lines, run.line))
    return [segment for segment in parsed if segment is not None]


def _ctm_segment(content: bytes, path: Path, line: int) -> dict[str, Any] | None:
    place = str(path)
    fields = _fields(content, place, line)
    if not fields:
        return None
    if len(fields) < 5:
        why = f"{len(fields)} fields, instead of recording, channel, onset, duration and label"
        raise MetadataError(f"line {line}: {why}", source=place)
    _, channel, onset, duration, label, *rest = fields
    start, length = (_seconds(text, place, line) for text in (onset, duration))
    known = bool(rest) and rest[0] != "NA"
    return {
        "onset": start,
        "offset": start + length,
        "label": label,
        "tier": path.stem,
        "channel": channel,
        "confidence": _number(rest[0], place, line) if known else None,
    }


def _fields(content: bytes, place: str, line: int) -> list[str]:
    """None of a blank line and of a comment."""
    try:
        # The mark of UTF-8 can only begin the first line.
        fields = content.decode("utf-8-sig" if line == 1 else "utf-8").split()
    except UnicodeDecodeError as error:
        raise MetadataError(f"line {line}: is not valid UTF-8: {error}", source=place) from error
    return [] if not fields or fields[0].startswith(";;") else fields


def _number(text: str, place: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MetadataError(f"line {line}: {text!r} is not a number", source=place)
    return value


def _seconds(text: str, place: str, line: int) -> float:
    value = _number(text, place, line)
    if value < 0:
        raise MetadataError(f"line {line}: {text} s is before the beginning", source=place)
    return value


class _TextGrid:
    """A parser over the free-standing tokens of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = _decode(path)
        self._at = 0
        self._tokens = self._scan()

    def read(self) -> tuple[SegmentList, float]:
        for wanted in ("ooTextFile", "TextGrid"):
            if self._next("text") != wanted:
                self._fail(f"is not a TextGrid: it does not begin with {wanted!r}")
        _, end = self._span()
        tiers = self._count() if self._next("flag") == "<exists>" else 0
        segments: SegmentList = []
        for _ in range(tiers):
            segments += self._tier()
        if next(self._tokens, None) is not None:
            self._fail("the file continues after the number of tiers that it declares")
        return segments, end

    def _tier(self) -> SegmentList:
        kind = self._next("text")
        if kind not in ("IntervalTier", "TextTier"):
            self._fail(f"unknown kind of tier {kind!r}")
        name = self._next("text")
        self._span()
        found = []
        for _ in range(self._count()):
            onset, offset = self._span() if kind == "IntervalTier" else [self._float()] * 2
            found.append(
                {
                    "onset": onset,
                    "offset": offset,
                    "label": self._next("text"),
                    "tier": name,
                    "channel": None,
                    "confidence": None,
                }
            )
        return found

    def _span(self) -> tuple[float, float]:
        start, end = self._float(), self._float()
        if end < start:
            self._fail(f"an interval ends at {end:g} s, before it begins at {start:g} s")
        return start, end

    def _float(self) -> float:
        value = float(self._next("number"))
        if not math.isfinite(value):
            self._fail("a number is too large")
        return value

    def _count(self) -> int:
        text = self._next("number")
        if not text.isdecimal():
            self._fail(f"a count belongs where {text} stands")
        return int(text)

    def _next(self, kind: str) -> str:
        """The next token, which is of that kind."""
        found, text = next(self._tokens, (None, ""))
        if found is None:
            self._fail(f"it ends where a {kind} belongs")
        if found != kind:
            self._fail(f"a {kind} belongs where {text[:40]!r} stands")
        return text

    def _scan(self) -> Iterator[tuple[str, str]]:
        for match in _TOKEN.finditer(self._text):
            self._at = match.start()
            kind = str(match.lastgroup)
            if kind == "open":
                self._fail("a quote is never closed")
            if kind == "text":
                yield kind, match[kind].replace('""', '"')
            elif kind in ("flag", "number"):
                yield kind, match[kind]

    def _fail(self, why: str) -> NoReturn:
        line = len(re.findall(r"\r\n?|\n", self._text[: self._at])) + 1
        raise MetadataError(f"line {line}: {why}", source=str(self._path))


def _decode(path: Path) -> str:
    content = _content(path)
    encoding = next((of for mark, of in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise MetadataError(f"line {line}: is no {encoding}: {error}", source=str(path)) from error


def _content(path: Path, start: int = 0, stop: int | None = None) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)
    except OSError as error:
        raise MetadataError(f"cannot read the file: {error.strerror}", source=str(path)) from error

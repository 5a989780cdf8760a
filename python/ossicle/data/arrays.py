"""Columns of a manifest as plain arrays: what workers read, without Polars and without objects.

A manifest of ten million rows as Python objects costs gigabytes in every worker, since counting
references writes to the pages that forked processes share; in arrays these pages stay shared. And
Polars must not run in a process that was forked from one that has used it.
"""

from __future__ import annotations

import bisect
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle.data.errors import ManifestError, MetadataError

if TYPE_CHECKING:
    import polars

__all__ = ["Bytes", "Column", "Columns", "Ints", "Lookup", "Strings"]

Ints: TypeAlias = npt.NDArray[np.int64]
Bytes: TypeAlias = npt.NDArray[np.uint8]

# Rows whose texts are joined at a time.
_CHUNK = 1 << 15
# Texts that are padded to one length to be sorted take so many bytes at most.
_MOST_PADDED = 1 << 32
# Up to so many different texts, each row holds a number of one byte.
_CODED_TEXTS = 255
# Of the names around a missing one, how many are compared with it.
_AROUND = 200


class Strings(Sequence[str]):
    """Texts in one buffer of bytes: 8 bytes and its UTF-8 each, and no object.

    Args:
        data: ``(bytes,)`` uint8: all of them, end to end.
        offsets: ``(N + 1,)`` where each begins, and the end.
    """

    def __init__(self, data: Bytes, offsets: Ints) -> None:
        self.data, self.offsets = data, offsets

    @classmethod
    def of(cls, texts: Iterable[str]) -> Strings:
        """From any texts; names of files that are no UTF-8 are kept as they are.

        Raises:
            ManifestError: One is no text.
        """
        try:
            encoded = [text.encode(errors="surrogateescape") for text in texts]
        except AttributeError as error:
            raise ManifestError(f"ids and paths must be text: {error}") from error
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(np.frombuffer(b"".join(encoded), np.uint8), _ends(lengths))

    @classmethod
    def of_series(cls, series: polars.Series) -> Strings:
        """From a Polars column of strings; null is the empty one."""
        series = series.fill_null("")
        lengths = series.str.len_bytes().to_numpy().astype(np.int64)
        ends = _ends(lengths)
        # One large block, and small ones in between: what is freed leaves no holes, see `_sort`.
        data = np.empty(ends[-1], np.uint8)
        for start in range(0, len(series), _CHUNK):
            part = series.slice(start, _CHUNK)
            text = part.str.join("").item().encode()
            data[ends[start] : ends[start + len(part)]] = np.frombuffer(text, np.uint8)
        return cls(data, ends)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        return self.raw(number).decode(errors="surrogateescape")

    def raw(self, number: int) -> bytes:
        """The UTF-8 of one."""
        if number < 0:
            number += len(self)
        if not 0 <= number < len(self):
            raise IndexError(f"text {number} of {len(self)}")
        return self.data[self.offsets[number] : self.offsets[number + 1]].tobytes()


class Lookup:
    """Finds texts by bisection: 8 bytes each beside the texts, and neighbours in their order.

    Args:
        strings: The texts, each once.
        source: What they are the names of, for errors.

    Raises:
        ManifestError: One comes twice.
    """

    def __init__(self, strings: Strings, source: str) -> None:
        self.strings, self.source = strings, source
        self._order = _sort(strings, source)

    def __len__(self) -> int:
        return len(self.strings)

    def find(self, text: str) -> int | None:
        """The number of a text, if it is there."""
        key = text.encode(errors="surrogateescape")
        place = self._place(key)
        if place == len(self._order):
            return None
        number = int(self._order[place])
        return number if self.strings.raw(number) == key else None

    def number(self, wav_id: str) -> int:
        """As `find`, of what has to be there.

        Raises:
            MetadataError: It is not; the message has names that are like it.
        """
        found = self.find(wav_id)
        if found is not None:
            return found
        near = ", ".join(map(repr, self.near(wav_id)))
        why = f"unknown id; {len(self):,} are known{'; similar: ' if near else ''}{near}"
        raise MetadataError(why, source=self.source, wav_id=wav_id)

    def beginning(self, text: str) -> list[int]:
        """The numbers of those that begin with `text`, in the order of the texts."""
        key = text.encode(errors="surrogateescape")
        found = []
        for place in range(self._place(key), len(self._order)):
            number = int(self._order[place])
            if not self.strings.raw(number).startswith(key):
                break
            found.append(number)
        return found

    def near(self, text: str) -> list[str]:
        """Up to three names that one may have meant."""
        place = self._place(text.encode(errors="surrogateescape"))
        around = range(max(place - _AROUND, 0), min(place + _AROUND, len(self._order)))
        names = [self.strings[int(self._order[one])] for one in around]
        return difflib.get_close_matches(text, names, 3)

    def _place(self, key: bytes) -> int:
        order, data, offsets = self._order, self.strings.data, self.strings.offsets

        def text(place: int) -> bytes:
            number = order[place]
            return data[offsets[number] : offsets[number + 1]].tobytes()

        return bisect.bisect_left(range(len(order)), key, key=text)


class Columns(Mapping[str, "Column"]):
    """Some columns of a manifest.

    Args:
        columns: By name; all of one length.
        length: The number of rows.
    """

    def __init__(self, columns: dict[str, Column], length: int) -> None:
        self._columns, self.length = columns, length

    @classmethod
    def of(
        cls, frame: polars.DataFrame, source: str = "the manifest", *, any_type: bool = False
    ) -> Columns:
        """All columns of a frame.

        Args:
            frame: The rows.
            source: What errors call it.
            any_type: Whether columns that plain arrays do not hold stay as Python's objects.

        Raises:
            ManifestError: There is such a column, and it may not.
        """
        make = _any_column if any_type else _column
        columns = {one.name: make(one, source) for one in frame.get_columns()}
        return cls(columns, frame.height)

    def __getitem__(self, name: str) -> Column:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def row(self, number: int) -> dict[str, Any]:
        """One row, as plain Python values; null is None."""
        return {name: column[number] for name, column in self._columns.items()}


class Column:
    """One column.

    Args:
        values: Numbers, booleans, times, texts or other objects.
        valid: ``(N,)`` which are not null; None: all.
        is_json: The texts are JSON of lists and structs.
        texts: What the numbers stand for, where the column is one of few different texts.
    """

    def __init__(
        self,
        values: npt.NDArray[Any] | Strings | list[Any],
        valid: npt.NDArray[np.bool_] | None = None,
        *,
        is_json: bool = False,
        texts: tuple[str, ...] | None = None,
    ) -> None:
        self.values, self.valid, self.is_json, self.texts = values, valid, is_json, texts

    def __getitem__(self, number: int) -> Any:
        if self.valid is not None and not self.valid[number]:
            return None
        value = self.values[number]
        if self.texts is not None:
            return self.texts[value]
        if isinstance(value, str):
            return json.loads(value)["_"] if self.is_json else value
        return value.item() if isinstance(value, np.generic) else value


def _column(series: polars.Series, source: str) -> Column:
    import polars

    kind, name = series.dtype, series.name
    valid = series.is_not_null().to_numpy() if series.null_count() else None
    if kind in (polars.Categorical, polars.Enum, polars.Null):
        series, kind = series.cast(polars.String), polars.String()
    if kind == polars.String:
        texts = series.drop_nulls().unique().sort()
        if len(texts) > _CODED_TEXTS:
            return Column(Strings.of_series(series), valid)
        codes = series.cast(polars.Enum(texts)).to_physical().fill_null(0).cast(polars.UInt8)
        return Column(codes.to_numpy(), valid, texts=tuple(texts))
    if kind.is_nested():
        # Wrapped, so that what is no struct has an object around it, too.
        boxed = series.alias("_").to_frame().to_struct(name).struct.json_encode()
        return Column(Strings.of_series(boxed), valid, is_json=True)
    if kind in (polars.Datetime, polars.Duration):
        # What Python's own have; a time zone has no place in an array.
        series = series.dt.cast_time_unit("us")
    is_plain = (
        kind.is_integer()
        or kind.is_float()
        or kind in (polars.Boolean, polars.Date, polars.Datetime, polars.Duration)
    )
    if not is_plain or getattr(kind, "time_zone", None):
        raise ManifestError(f"a column of {kind}: cast or drop it", source=source, column=name)
    if valid is not None:
        series = series.to_physical().fill_null(0).cast(series.dtype)
    return Column(np.ascontiguousarray(series.to_numpy()), valid)


def _any_column(series: polars.Series, source: str) -> Column:
    try:
        return _column(series, source)
    except ManifestError:
        return Column(series.to_list())


def _ends(lengths: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _sort(strings: Strings, source: str) -> Ints:
    """The numbers of texts in the order of their UTF-8.

    By NumPy, which leaves no garbage: what a parent frees after a fork stays with its
    workers. It pads with zeros, so that texts with zeros are sorted by Python.
    """
    width = int(np.diff(strings.offsets).max(initial=1))
    if width * len(strings) > _MOST_PADDED or not strings.data.all():
        numbers = sorted(range(len(strings)), key=strings.raw)
        order = np.array(numbers, np.int64)
        texts = [strings.raw(number) for number in numbers]
        twice = [n for n in range(1, len(texts)) if texts[n] == texts[n - 1]]
    else:
        padded = _pad(strings, width)
        order = np.argsort(padded, kind="stable")
        padded = padded[order]
        twice = np.flatnonzero(padded[1:] == padded[:-1]).tolist()
    if twice:
        raise ManifestError("duplicate wav_id", source=source, wav_id=strings[int(order[twice[0]])])
    return order


def _pad(strings: Strings, width: int) -> npt.NDArray[np.bytes_]:
    """``(N,)`` texts of ``width`` bytes, with zeros after."""
    lengths = np.diff(strings.offsets)
    matrix = np.zeros((len(strings), max(width, 1)), np.uint8)
    for start in range(0, len(strings), _CHUNK):
        part = slice(start, start + _CHUNK)
        is_text = np.arange(matrix.shape[1]) < lengths[part, None]
        first, end = strings.offsets[start], strings.offsets[start + len(is_text)]
        matrix[part][is_text] = strings.data[first:end]
    return matrix.view(f"S{matrix.shape[1]}")[:, 0]

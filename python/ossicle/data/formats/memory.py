"""What is in memory: frames of Polars and pandas, columns, lists of rows, `datasets`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ossicle.audio import encode
from ossicle.data.errors import ManifestError
from ossicle.data.formats.json_lines import objects
from ossicle.data.formats.parquet import pieces_of_frame
from ossicle.data.pieces import SIZE, Found, Piece, pieces_of

__all__ = ["in_memory", "read_dataset"]

# Rows of a data set, which may have recordings inside, at a time.
_ROWS = 1_000


def in_memory(source: Any) -> tuple[str, Callable[[], Iterable[Found]]] | None:
    """Name of the format and what reads it; None where it is nothing that is known."""
    kind = type(source)
    module = kind.__module__.partition(".")[0]
    if module == "polars" and hasattr(source, "lazy"):
        return "polars", lambda: pieces_of_frame(source.lazy().collect())
    if module == "pandas" and hasattr(source, "to_dict"):
        return "pandas", lambda: _pandas(source)
    if module == "datasets" and (isinstance(source, Mapping) or hasattr(source, "features")):
        return "datasets", lambda: read_dataset(source)
    if module == "pyarrow" and hasattr(source, "schema"):
        return "arrow", lambda: _arrow(source)
    if isinstance(source, Mapping):
        return "columns", lambda: _columns(source)
    if isinstance(source, Iterable) and not isinstance(source, str | bytes):
        return "rows", lambda: pieces_of(_objects(source), "the rows")
    return None


def read_dataset(source: Any) -> Iterator[Found]:
    """The rows of a `datasets.Dataset`, an iterable one, or a dict of them by split."""
    if isinstance(source, Mapping):
        start = 0
        for split, one in source.items():
            for piece in read_dataset(one):
                if isinstance(piece, Piece):
                    piece = _with_split(piece, str(split), start)
                yield piece
            start += len(one)
        return
    yield from _batches(source)


def _batches(source: Any) -> Iterator[Found]:
    start = 0
    for table in _without_decoding(source).with_format("arrow").iter(batch_size=_ROWS):
        yield from _arrow(table, start)
        start += table.num_rows


def _without_decoding(source: Any) -> Any:
    """Recordings stay as they are stored; those of a streamed set too."""
    if not hasattr(source, "cast_column") or hasattr(source, "num_rows"):
        return source
    for name, feature in (source.features or {}).items():
        if type(feature).__name__ == "Audio":
            source = source.cast_column(name, type(feature)(decode=False))
    return source


def _with_split(piece: Piece, split: str, start: int) -> Piece:
    import polars as pl

    frame = piece.frame
    if "split" not in frame.columns:
        frame = frame.with_columns(pl.lit(split).alias("split"))
    return Piece(frame, [start + number for number in piece.numbers], None, piece.nested)


def _arrow(table: Any, start: int = 0) -> Iterator[Found]:
    import polars as pl

    frame = pl.from_arrow(table)
    return pieces_of_frame(frame if isinstance(frame, pl.DataFrame) else frame.to_frame(), start)


def _pandas(frame: Any) -> Iterator[Found]:
    def rows() -> Iterator[tuple[int, None, Mapping[str, Any]] | ManifestError]:
        for start in range(0, len(frame), SIZE):
            part = frame.iloc[start : start + SIZE]
            names = [str(name) for name in part.columns]
            for at, values in enumerate(part.itertuples(index=False, name=None)):
                yield _row(start + at, dict(zip(names, values, strict=True)), "the frame")

    return pieces_of(rows(), "the frame")


def _value(value: Any) -> Any:
    """Of pandas: what is missing is None, a number of NumPy Python's own."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, Mapping) and value.get("bytes") is None and "array" in value:
        return _with_bytes(value)
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _columns(source: Mapping[str, Any]) -> Iterator[Found]:
    columns = {str(name): list(values) for name, values in source.items()}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        told = ", ".join(f"{name} {len(values)}" for name, values in columns.items())
        raise ManifestError(f"the columns have different lengths: {told}")
    rows = (
        _row(number, {name: values[number] for name, values in columns.items()}, "the columns")
        for number in range(next(iter(lengths), 0))
    )
    return pieces_of(rows, "the columns")


def _objects(source: Iterable[Any]) -> Iterator[Any]:
    for number, one in enumerate(source):
        found = next(objects([one], "the rows"))
        if isinstance(found, ManifestError):
            reason = found.reason.replace("a JSON object", "a mapping")
            yield ManifestError(reason, source="the rows", row=number)
        else:
            yield _row(number, found[2], "the rows")


def _row(
    number: int, values: Mapping[str, Any], source: str
) -> tuple[int, None, Mapping[str, Any]] | ManifestError:
    try:
        return number, None, {str(name): _plain(value) for name, value in values.items()}
    except ValueError as error:
        return ManifestError(str(error), source=source, row=number)


def _plain(value: Any) -> Any:
    """Paths as texts; audio dicts with an array as they are stored."""
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return _value(value)


def _with_bytes(audio: Mapping[str, Any]) -> dict[str, Any]:
    """An audio dict of decoded samples, with the samples as a file."""
    left = {name: one for name, one in audio.items() if name != "array"}
    return {**left, "bytes": _wav(audio), "path": audio.get("path")}


def _wav(audio: Mapping[str, Any]) -> bytes:
    """An audio dict of decoded samples as a file of them, to the bit where they are float32.

    Raises:
        ValueError: It is no waveform, or has no rate.
    """
    array = np.asarray(audio["array"])
    if array.ndim == 2 and array.shape[0] > array.shape[1]:
        raise ValueError(
            f"an array of shape {array.shape}, where channels come first: transpose it"
        )
    return encode(array, audio.get("sampling_rate") or 0, "wav", bits_per_sample=32)

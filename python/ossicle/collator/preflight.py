"""A data set looked through before days of training: what the collator would meet, row by row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ossicle.audio.raw import RawFormat
from ossicle.audio.remarks import count_reasons
from ossicle.collator.batcher import Batcher
from ossicle.collator.collator import AudioLmCollator
from ossicle.collator.errors import CollatorError
from ossicle.collator.loss import IGNORE_INDEX, token_id
from ossicle.collator.types import BatchRow, Row
from ossicle.data.recordings import Recording, Samples, header_of, samples_at
from ossicle.errors import AudioError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["preflight"]

_CUT_CLIP = "the clip is too long and is cut; its text is kept whole"
_CUT_TEXT = "the text is too long and is cut"


@dataclass
class _Line:
    """What is known of a row: a line of the table."""

    row: int
    id: str | None = None
    files: list[str] = field(default_factory=list)
    seconds: float | None = None
    sample_rates: list[int] = field(default_factory=list)
    tokens: int | None = None
    audio_tokens: int | None = None
    encoder_tokens: int | None = None
    labels: int | None = None
    duplicate_of: int | None = None
    remarks: list[str] = field(default_factory=list)
    problem: str | None = None


def preflight(
    rows: Iterable[Row],
    collator: AudioLmCollator,
    *,
    model: Any = None,
    batch_size: int = 16,
    show: bool = True,
) -> pl.DataFrame:
    """Sends a data set through a collator and says what is wrong with it; nothing is raised.

    Each row is read, decoded, expanded and labelled as in training, whatever the collator's
    ``on_error``. Looked for are rows that cannot be used, placeholders that are not as many as the
    tokens that the model's encoder makes of the audio, rows without a label, and recordings that
    come again, or segments of them, with the same text. Rows that ``too_long="cut"`` cuts have a
    remark.

    Args:
        rows: The data set, or a part of it.
        collator: As it will be used.
        model: A model that is to be trained by adapters of ``peft``: that none is attached, or none
            of their weights is trained, is a problem with ``row`` None.
        batch_size: Rows that are decoded at a time.
        show: Print the problems, the reasons for remarks and a summary.

    Returns:
        A Polars frame, a line a row: ``row`` (its place), ``id``, ``files``, ``seconds`` (of all
        its recordings), ``sample_rates`` (native, in Hz), ``tokens``, ``audio_tokens`` (the
        placeholders among them), ``encoder_tokens``, ``labels`` (tokens that are learned),
        ``duplicate_of`` (the earlier row), ``remarks`` (on its recordings, as
        `ossicle.AudioInfo` has them, and on what is cut), and ``problem``, None where all is well.
    """
    seen: dict[str, int] = {}
    parts = _parts(rows, batch_size)
    found = [one for part in parts for one in _examine(collator.batcher, part, seen)]
    if model is not None and (problem := _adapters(model)):
        found.append(_Line(row=-1, problem=problem))
    frame = _frame(found)
    if show:
        _print(frame)
    return frame


def _parts(rows: Iterable[Row], size: int) -> Iterator[list[tuple[int, Row]]]:
    numbered = iter(enumerate(rows))
    while part := list(islice(numbered, size)):
        yield part


def _examine(batcher: Batcher, part: list[tuple[int, Row]], seen: dict[str, int]) -> list[_Line]:
    """A part of the data set; ``seen`` gathers the rows by what they hold."""
    lines, items = [], []
    for number, row in part:
        found = _Line(number)
        lines.append(found)
        try:
            item = batcher.read(number, row)
        except CollatorError as error:
            found.problem = _describe_error(error)
        else:
            _describe(found, item, batcher.raw)
            first = seen.setdefault(_digest(item), number)
            found.duplicate_of = None if first == number else first
            items.append((found, item))
    if items:
        _encode(batcher, items)
    return lines


def _describe(found: _Line, item: BatchRow, raw: RawFormat | None) -> None:
    """What headers tell."""
    example = item.example
    found.id, found.files = example.id, [recording.title for recording in example.recordings]
    seconds = 0.0
    for recording in example.recordings:
        try:
            header = header_of(recording, raw)
            frames = samples_at(recording, header)
        except AudioError:
            return
        found.sample_rates.append(header.sample_rate)
        found.remarks += header.remarks
        seconds += frames / header.sample_rate
    found.seconds = seconds


def _digest(item: BatchRow) -> str:
    """Of the recordings and the text."""
    example = item.example
    words = json.dumps([example.text, example.messages], sort_keys=True, default=str)
    total = hashlib.sha256(words.encode())
    for recording in example.recordings:
        total.update(_content(recording))
        total.update(repr(recording.segment).encode())
    return total.hexdigest()


def _content(recording: Recording) -> bytes:
    """A digest of a recording; of what cannot be read, its name."""
    source = recording.source
    if isinstance(source, Samples):
        return hashlib.sha256(np.ascontiguousarray(source.array).tobytes()).digest()
    if isinstance(source, bytes | bytearray | memoryview | np.ndarray):
        return hashlib.sha256(bytes(source)).digest()
    try:
        with Path(source).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except (OSError, TypeError):
        return hashlib.sha256(recording.name.encode()).digest()


def _encode(batcher: Batcher, pairs: list[tuple[_Line, BatchRow]]) -> None:
    """Decodes all rows at once, and then makes a batch of each, so that one cannot hide another."""
    items, errors = batcher.load([item for _, item in pairs])
    for place, (found, _) in enumerate(pairs):
        if place in errors:
            found.problem = _describe_error(errors[place])
            continue
        try:
            _measure(batcher, found, items[place])
        except (CollatorError, AudioError) as error:
            found.problem = _describe_error(error)


def _measure(batcher: Batcher, found: _Line, item: BatchRow) -> None:
    long = batcher.long_clips([item], {})
    if batcher.too_long != "cut":
        for error in long.values():
            raise error
    found.remarks += [_CUT_CLIP for _ in long]
    request, encoding = batcher.encode([item])
    counts = batcher.token_counts([item], request, encoding)
    ids, audio = encoding.text.get("input_ids"), token_id(batcher.processor, "audio_token")
    if ids is not None:
        found.tokens = int(encoding.text["attention_mask"].sum())
    if counts is not None:
        found.encoder_tokens = sum(counts[0])
    if audio is not None and ids is not None:
        found.audio_tokens = int((ids == audio).sum())
    for error in batcher.check_lengths([item], counts).values():
        raise error
    if None not in (audio, counts) and found.audio_tokens != found.encoder_tokens:
        found.problem = (
            f"{found.audio_tokens} placeholders for {found.encoder_tokens} tokens of the encoder"
        )
    batch = batcher.finish([item], request, encoding)
    for fault in batch.errors.values():
        raise fault
    found.remarks += [_CUT_TEXT for _ in batch.cuts]
    if "labels" in batch.values:
        found.labels = int((batch.values["labels"] != IGNORE_INDEX).sum())


def _describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _adapters(model: Any) -> str | None:
    if not getattr(model, "peft_config", None):
        return "no adapter of peft is attached to the model"
    if not any(value.requires_grad for value in model.parameters()):
        return "adapters are attached to the model, but none of its weights is trained"
    return None


def _frame(found: list[_Line]) -> pl.DataFrame:
    import polars as pl

    schema: dict[str, Any] = {
        "row": pl.Int64,
        "id": pl.String,
        "files": pl.List(pl.String),
        "seconds": pl.Float64,
        "sample_rates": pl.List(pl.Int64),
        "tokens": pl.Int64,
        "audio_tokens": pl.Int64,
        "encoder_tokens": pl.Int64,
        "labels": pl.Int64,
        "duplicate_of": pl.Int64,
        "remarks": pl.List(pl.String),
        "problem": pl.String,
    }
    lines = [vars(one) | {"row": one.row if one.row >= 0 else None} for one in found]
    return pl.DataFrame(lines, schema=schema)


def _print(frame: pl.DataFrame) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    bad = frame.filter(frame["problem"].is_not_null())
    if len(bad):
        table = Table("row", "files", "problem", title="problems")
        for line in bad.head(50).iter_rows(named=True):
            place = "" if line["row"] is None else str(line["row"])
            table.add_row(place, "\n".join(line["files"]), line["problem"])
        console.print(table)
    if reasons := count_reasons(frame["remarks"].to_list()):
        table = Table("rows", "remark", title="remarks")
        for reason, rows in reasons.items():
            table.add_row(f"{rows:,}", reason)
        console.print(table)
    console.print(_summary(frame, len(bad)))


def _summary(frame: pl.DataFrame, bad: int) -> Any:
    from rich.table import Table

    table = Table("what", "found", title="preflight")
    rows = frame.filter(frame["row"].is_not_null())
    table.add_row("rows", f"{len(rows):,}")
    table.add_row("problems", f"{bad:,}")
    table.add_row("rows with remarks", f"{(rows['remarks'].list.len() > 0).sum():,}")
    table.add_row("duplicates", f"{rows['duplicate_of'].is_not_null().sum():,}")
    table.add_row("hours", f"{(rows['seconds'].sum() or 0.0) / 3600:,.2f}")
    rates = rows["sample_rates"].explode().drop_nulls().value_counts(sort=True)
    shown = [f"{int(rate)} Hz: {int(count):,}" for rate, count in rates.rows()]
    table.add_row("rates", ", ".join(shown))
    for name in ("tokens", "audio_tokens", "labels"):
        known = rows[name].drop_nulls()
        if len(known):
            low, middle, high = (int(known.quantile(q) or 0) for q in (0.0, 0.5, 1.0))
            span = f"{low:,} to {high:,}, median {middle:,}"
            table.add_row(name.replace("_", " "), span)
    return table

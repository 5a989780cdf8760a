"""Rows in parts that have nothing in common: for training, development and test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ossicle.data.errors import ManifestError
from ossicle.data.rows import Rows

__all__ = ["split"]


def split(
    rows: Rows, shares: Mapping[str, float], *, by: str | None = None, seed: int = 0
) -> dict[str, Rows]:
    """Splits rows so that what they have in common is in one part alone.

    A group of rows goes where most is lacking, in an order that is a function of the seed and of
    the groups' names: the order of the rows changes nothing.

    Args:
        rows: The rows.
        shares: Of each part, as ``{"train": 0.9, "test": 0.1}``; their sum need not be 1.
        by: The column whose values are in one part each, as ``"speaker"``; rows that have none are
            one group. None takes the recordings, so that segments of one stay together.
        seed: Another one gives another split.

    Returns:
        The rows of each part in their order, with its name in the column ``split``.

    Raises:
        ManifestError: There is no such column, or a share is below zero or all are zero.
    """
    whole = sum(shares.values())
    if any(not share >= 0 for share in shares.values()) or not 0 < whole < float("inf"):
        raise ManifestError(f"shares must be zero or more, and not all zero: {dict(shares)}")
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(_names(rows, by)):
        groups.setdefault(name, []).append(place)
    parts: dict[str, list[int]] = {name: [] for name in shares}
    wanted = {name: share / whole * len(rows) for name, share in shares.items()}
    # Big groups first: what is small fills the gaps that they leave.
    for name in sorted(groups, key=lambda one: (-len(groups[one]), _order(one, seed))):
        least = max(parts, key=lambda part: wanted[part] - len(parts[part]))
        parts[least] += groups[name]
    return {name: _named(rows.take(sorted(places)), name) for name, places in parts.items()}


def _names(rows: Rows, by: str | None) -> list[str]:
    if by is None:
        found = zip(rows.frame["audio"], rows.numbers, strict=True)
        return [_recording(audio, int(number)) for audio, number in found]
    if by not in rows.frame.columns:
        known = ", ".join(rows.frame.columns)
        raise ManifestError(f"no such column; there are {known}", source=rows.source, column=by)
    return [repr(value) for value in rows.frame[by].to_list()]


def _recording(audio: Any, number: int) -> str:
    """What the rows of one recording have in common; rows without sound have nothing."""
    if isinstance(audio, dict) and audio.get("bytes") is not None:
        return hashlib.sha256(audio["bytes"]).hexdigest()
    if isinstance(audio, dict) and "member" in audio:
        return repr((audio["shard"], audio["member"]))
    if isinstance(audio, dict):
        return repr(audio["path"])
    if audio is None:
        return f"row {number}"
    # Several recordings: of a row by the first of them.
    return repr(audio) if isinstance(audio, str) else _recording(audio[0], number)


def _order(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode(errors="surrogatepass")).digest()


def _named(rows: Rows, name: str) -> Rows:
    import polars as pl

    pieces = list(rows.pieces())
    for piece in pieces:
        piece.frame = piece.frame.with_columns(pl.lit(name).alias("split"))
    return Rows.of(pieces, rows.source, rows.format)

"""What a manifest holds, in a few numbers for each column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ossicle.dataloader.outputs.stage_tables import ID

if TYPE_CHECKING:
    import polars as pl

    from ossicle.dataloader.outputs.manifest import MetadataManifest

__all__ = ["summarize"]

_SHOWN = 3
_LONGEST = 40


def summarize(manifest: MetadataManifest) -> dict[str, Any]:
    """Rows, hours and columns, as JSON holds them.

    Returns:
        ``rows``; ``hours`` of recordings, of ``duration``, and ``speech_hours``, of that times
        ``speech_ratio``, None where there are no such columns; and by column ``type``, ``nulls``
        (NaN too), ``min``, ``mean`` and ``max`` of finite numbers, ``top`` of text and truth (the
        most frequent values with their counts), ``distinct`` and ``present``.
    """
    df = manifest.df
    return {
        "source": manifest.source,
        "rows": df.height,
        "hours": _hours(df, ["duration"]),
        "speech_hours": _hours(df, ["duration", "speech_ratio"]),
        "columns": {name: _column(df[name]) for name in df.columns},
    }


def _hours(df: pl.DataFrame, factors: list[str]) -> float | None:
    """Of the product of columns, which build_manifest may have put their stage before."""
    import polars as pl

    product = pl.lit(1 / 3600)
    for factor in factors:
        name = next((name for name in (f"vad_{factor}", factor) if name in df.columns), None)
        if name is None or not df.schema[name].is_numeric():
            return None
        product = product * pl.col(name).cast(pl.Float64).fill_nan(None)
    return float(df.select(product.sum()).item() or 0.0)


def _column(values: pl.Series) -> dict[str, Any]:
    fact: dict[str, Any] = {"type": str(values.dtype), "nulls": values.null_count()}
    if values.dtype.is_float():
        fact["nulls"] += int(values.is_nan().sum())
        values = values.filter(values.is_finite())
    if values.dtype.is_numeric():
        mean = None if values.is_empty() else values.mean()
        return fact | {"min": values.min(), "mean": mean, "max": values.max()}
    if values.dtype.is_nested() or values.name == ID:
        return fact
    return fact | _most_frequent(values)


def _most_frequent(values: pl.Series) -> dict[str, Any]:
    import polars as pl

    counts = values.drop_nulls().to_frame("value").group_by("value").len()
    # In a fixed order where counts are equal.
    top = counts.sort(["len", "value"], descending=[True, False]).head(_SHOWN)
    shown = [(_short(str(value)), int(count)) for value, count in top.iter_rows()]
    present = int(counts.select(pl.col("len").sum()).item())
    return {"distinct": counts.height, "present": present, "top": shown}


def _short(text: str) -> str:
    if not text:
        return '""'
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

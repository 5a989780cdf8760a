"""The conditions of a `FilterConfig` as expressions of Polars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ossicle.data.errors import ManifestError, MissingStageError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["LABEL_COUNTS", "can_be_sought", "compile_conditions"]

LABEL_COUNTS = "vtc_label_counts"
"""JSON text: how many segments each label has."""

# By field of a FilterConfig: the stage and the column that it asks.
_ASKED = {
    "min_duration": ("vad", "duration"),
    "max_duration": ("vad", "duration"),
    "min_speech_ratio": ("vad", "speech_ratio"),
    "min_snr_db": ("snr", "snr_mean"),
    "excluded_esc_categories": ("esc", "dominant_category"),
    "required_labels": ("vtc", LABEL_COUNTS),
}


def compile_conditions(
    wanted: Mapping[str, Any],
    schema: Mapping[str, Any] | Iterable[str],
    stages: Iterable[str] | None,
) -> pl.Expr:
    """All conditions that are set as one expression, see `FilterConfig.expression`."""
    import polars as pl

    types = dict(schema) if isinstance(schema, Mapping) else dict.fromkeys(schema)
    there = None if stages is None else list(stages)
    parts = []
    for field, value in wanted.items():
        if value is None or value == ():
            continue
        column = _find(field, types, there)
        _check_type(field, column, types[column])
        # Each part by itself is never null: so Polars can still move the parts to their tables.
        parts += [part.fill_null(False) for part in _expressions(field, pl.col(column), value)]
    # Joined by `&`, which Polars takes apart again when it moves conditions to the files.
    return pl.lit(True) if not parts else _all(parts)


def can_be_sought(label: str) -> bool:
    r"""Whether a label fits into a JSONPath of Polars, which has no escapes: no \, not both quotes.

    See https://docs.rs/jsonpath_lib, which Polars looks labels up with.
    """
    return "\\" not in label and not ('"' in label and "'" in label)


def _all(parts: list[pl.Expr]) -> pl.Expr:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole & part
    return whole


def _find(field: str, types: Mapping[str, Any], stages: list[str] | None) -> str:
    """The column that a condition asks, under its own name or the stage before it."""
    stage, column = _ASKED[field]
    if stages is not None and stage not in stages:
        why = f"{field} needs the stage {stage!r}, which was left out: there are {_list(stages)}"
        raise MissingStageError(why, column=column)
    for name in (f"{stage}_{column}", column):
        if name in types:
            return name
    why = f"{field} needs this column of the stage {stage!r}: the columns are {_list(types)}"
    raise ManifestError(why, column=column)


def _check_type(field: str, column: str, dtype: Any) -> None:
    import polars as pl

    if dtype is None or dtype == pl.Null:
        return
    is_text = dtype in (pl.String, pl.Categorical, pl.Enum)
    wants_text = field in ("required_labels", "excluded_esc_categories")
    if is_text if wants_text else dtype.is_numeric():
        return
    why = f"{field} needs {'text' if wants_text else 'numbers'}, not {dtype}"
    raise ManifestError(why, column=column)


def _expressions(field: str, column: pl.Expr, value: Any) -> list[pl.Expr]:
    import polars as pl

    if field == "excluded_esc_categories":
        return [~column.cast(pl.String, strict=False).is_in(list(value))]
    if field == "required_labels":
        return [_count(column.cast(pl.String, strict=False), label) > 0 for label in value]
    # To Polars NaN is above all numbers. A strict cast may fail, and what may fail is not moved.
    number = column.cast(pl.Float64, strict=False).fill_nan(None)
    return [number <= value if field == "max_duration" else number >= value]


def _count(text: pl.Expr, label: str) -> pl.Expr:
    """How often a label occurs; null where the text is no JSON or does not say."""
    import polars as pl

    quote = "'" if '"' in label else '"'
    return text.str.json_path_match(f"$[{quote}{label}{quote}]").cast(pl.Float64, strict=False)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"

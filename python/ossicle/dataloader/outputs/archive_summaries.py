"""What a stage's table of summaries would say, where there are only its archives of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from ossicle.data.errors import MetadataError
from ossicle.data.npz import Array, Npz
from ossicle.progress import Report

if TYPE_CHECKING:
    import polars as pl

__all__ = ["summarize_categories", "summarize_clarity"]

Item = TypeVar("Item")

# Archives whose frames are summed up at once: NumPy's calls take longer than their work on one.
_AT_ONCE = 512
_VAD_THRESHOLD = 0.5


def summarize_clarity(archives: Sequence[str], report: Report) -> pl.DataFrame:
    """Means of SNR and C50 over the frames of speech, or over all where there is no speech.

    Speech is where ``vad`` is above ``vad_threshold``, which is 0.5 where the archive has none.

    Returns:
        ``wav_id``, ``snr_status``, ``snr_mean``, ``c50_mean`` (decibels; null without frames) and
        ``n_raw_frames``.
    """
    parts = [_clarity(batch) for batch in _batches(archives, _read_clarity, report)]
    return _table(archives, "snr_status", _join(parts))


def summarize_categories(archives: Sequence[str], report: Report) -> pl.DataFrame:
    """The category of the largest mean probability.

    Only ``categories`` and ``category_names`` are read, not the many classes beside them.

    Returns:
        ``wav_id``, ``esc_status``, ``dominant_category``, ``dominant_prob`` (null without bins) and
        ``n_pooled_bins``.
    """
    parts = [_categories(batch) for batch in _batches(archives, _read_categories, report)]
    return _table(archives, "esc_status", _join(parts))


def _batches(
    archives: Sequence[str], read: Callable[[str], Item], report: Report
) -> Iterator[list[Item]]:
    for start in range(0, len(archives), _AT_ONCE):
        batch = [read(path) for path in archives[start : start + _AT_ONCE]]
        yield batch
        report(start + len(batch), len(archives))


class _Clarity(NamedTuple):
    snr: Array
    c50: Array | None
    vad: Array | None
    threshold: float


def _read_clarity(path: str) -> _Clarity:
    with Npz(path) as archive:
        arrays = {
            name: archive.array(name, copy=False)
            for name in ("snr", "c50", "vad", "vad_threshold")
            if name in archive or name == "snr"
        }
    threshold = float(arrays.pop("vad_threshold", _VAD_THRESHOLD))
    shape = arrays["snr"].shape[:1]
    for name, array in arrays.items():
        if array.shape != shape:
            raise MetadataError(f"has the shape {array.shape}", source=path, column=name)
    return _Clarity(arrays["snr"], arrays.get("c50"), arrays.get("vad"), threshold)


def _clarity(batch: list[_Clarity]) -> dict[str, list[Any]]:
    lengths = np.array([len(each.snr) for each in batch])
    of = np.repeat(np.arange(len(batch)), lengths)
    speech = _fill([each.vad for each in batch], lengths, math.inf) > np.repeat(
        [each.threshold for each in batch], lengths
    )
    speechless = np.bincount(of[speech], minlength=len(batch)) == 0
    used = np.flatnonzero(speech | speechless[of])
    return {
        "snr_mean": _means([each.snr for each in batch], lengths, of, used),
        "c50_mean": _means([each.c50 for each in batch], lengths, of, used),
        "n_raw_frames": lengths.tolist(),
    }


def _fill(arrays: Sequence[Array | None], lengths: Array, value: float) -> Array:
    """The arrays end to end, with a value for each frame of one that is missing."""
    missing = np.full(lengths.max(initial=0), value, np.float16)
    parts = [missing[:n] if a is None else a for a, n in zip(arrays, lengths, strict=True)]
    return np.concatenate(parts)


def _means(
    arrays: Sequence[Array | None], lengths: Array, of: Array, used: Array
) -> list[float | None]:
    """The mean of each array over the frames in use; `of` tells whose frame each is."""
    values = _fill(arrays, lengths, 0)[used].astype(np.float64)
    sums = np.bincount(of[used], weights=values, minlength=len(arrays))
    counts = np.bincount(of[used], minlength=len(arrays))
    means = zip(arrays, (sums / np.maximum(counts, 1)).tolist(), counts.tolist(), strict=True)
    return [None if array is None or not count else mean for array, mean, count in means]


class _Categories(NamedTuple):
    probabilities: Array
    names: Array


def _read_categories(path: str) -> _Categories:
    with Npz(path) as archive:
        names = ("categories", "category_names")
        found = _Categories(*(archive.array(name, copy=False) for name in names))
    shape = found.probabilities.shape
    if len(shape) != 2 or shape[1:] != found.names.shape:
        why = f"has the shape {shape}, for {found.names.size} names"
        raise MetadataError(why, source=path, column="categories")
    return found


def _dominant(of: _Categories) -> tuple[str | None, float | None]:
    if not of.probabilities.size:
        return None, None
    means = of.probabilities.mean(axis=0, dtype=np.float32)
    best = int(means.argmax())
    return str(of.names[best]), float(means[best])


def _categories(batch: list[_Categories]) -> dict[str, list[Any]]:
    names, probabilities = zip(*map(_dominant, batch), strict=True)
    return {
        "dominant_category": list(names),
        "dominant_prob": list(probabilities),
        "n_pooled_bins": [len(each.probabilities) for each in batch],
    }


def _join(parts: list[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def _table(archives: Sequence[str], status: str, columns: dict[str, list[Any]]) -> pl.DataFrame:
    import polars as pl

    ids = [path.rpartition("/")[2].removesuffix(".npz") for path in archives]
    texts = {"wav_id": ids, status: ["ok"] * len(ids)}
    types: dict[str, pl.DataType] = {"dominant_category": pl.String()}
    types |= dict.fromkeys(("snr_mean", "c50_mean", "dominant_prob"), pl.Float64())
    overrides = {name: of for name, of in types.items() if name in columns}
    return pl.DataFrame({**texts, **columns}, schema_overrides=overrides)

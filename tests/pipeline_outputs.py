"""Output folders as the pipeline of speech features leaves them, with what is true of them.

    outputs = make_outputs(tmp_path, n=20)
    VADAdapter(outputs.root).list_ids() == outputs.succeeded("vad")

Some recordings failed in some stages, and some hold no speech; ids have dots, spaces and letters of
any script. The same arguments give the same files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

STAGES = ("vad", "vtc", "snr", "esc")
LABELS = ("KCHI", "CHI", "OCHI", "FEM", "MAL")
CATEGORIES = ("animal", "music", "nature", "silence", "vehicle", "other")
ODD_IDS = (
    "plain",
    "two.dots.here",
    "with space",
    "日本語の録音",
    "عربي",
    "café",
    "cafe\u0301",
    "100%[x]*?",
    "..hidden",
    "UPPER_lower-1",
    "quote'\"",
    "😀",
)

Row = dict[str, Any]


@dataclass
class Outputs:
    """The folder, and what is in it.

    Attributes:
        root: The output directory.
        ids: All recordings, failed ones too, in the order of the tables.
        durations: Of the recordings, in seconds.
        failed: Recordings that failed, by stage.
        silent: Recordings without speech.
        meta: Rows of the stages' own tables by stage, as written.
        segments: Rows by folder (`vad_raw`, ...), as written.
        arrays: Of `snr` and `esc`, by recording.
    """

    root: Path
    ids: list[str]
    durations: dict[str, float]
    failed: dict[str, set[str]]
    silent: set[str]
    meta: dict[str, list[Row]] = field(default_factory=dict)
    segments: dict[str, list[Row]] = field(default_factory=dict)
    arrays: dict[str, dict[str, dict[str, np.ndarray]]] = field(default_factory=dict)

    def succeeded(self, stage: str) -> list[str]:
        return [name for name in self.ids if name not in self.failed[stage]]

    def segments_of(self, folder: str, wav_id: str) -> list[Row]:
        """What an adapter gives: rows without their id."""
        rows = (row for row in self.segments[folder] if row["uid"] == wav_id)
        return [{key: value for key, value in row.items() if key != "uid"} for row in rows]


def make_ids(n: int) -> list[str]:
    """The odd ones first, then as many plain ones as it takes."""
    return [*ODD_IDS[:n], *(f"rec_{number:06d}" for number in range(n - len(ODD_IDS)))]


def make_outputs(
    root: Path,
    n: int = 16,
    *,
    ids: Sequence[str] | None = None,
    durations: dict[str, float] | None = None,
    seed: int = 0,
    shards: int = 3,
    stages: Sequence[str] = STAGES,
    esc_folder: str = "esc",
    with_failures: bool = True,
    with_arrays: bool = True,
) -> Outputs:
    """Writes the outputs of the stages under `root`.

    Args:
        root: Made if it is not there.
        n: How many recordings, where `ids` are not given.
        ids: Their names.
        durations: Their lengths in seconds; 10 to 60 s where not given.
        seed: Of everything that is drawn.
        shards: How many files each sharded table has.
        stages: Which stages have run.
        esc_folder: "esc" or "noise".
        with_failures: Whether every seventh recording failed, in one stage after the other, and
            every fifth is silent.
        with_arrays: Whether the archives of `snr` and `esc` are written; they take most of the
            time.
    """
    rng = np.random.default_rng(seed)
    names = list(ids) if ids is not None else make_ids(n)
    lengths = durations or {name: round(float(rng.uniform(10, 60)), 3) for name in names}
    failed: dict[str, set[str]] = {stage: set() for stage in STAGES}
    silent: set[str] = set()
    if with_failures:
        for turn, name in enumerate(names[3::7]):
            failed[STAGES[turn % len(STAGES)]].add(name)
        silent = set(names[4::5])
    outputs = Outputs(root, names, lengths, failed, silent)
    for stage in stages:
        {"vad": _vad, "vtc": _vtc, "snr": _snr, "esc": _esc}[stage](outputs, rng, shards)
    if with_arrays:
        _write_arrays(outputs, esc_folder)
    if esc_folder != "esc" and "esc" in stages:
        (root / "esc_meta").rename(root / f"{esc_folder}_meta")
    return outputs


def segments(rng: np.random.Generator, duration: float) -> list[tuple[float, float]]:
    """A few stretches within the duration that do not overlap."""
    count = int(rng.integers(1, 6))
    ends = np.sort(rng.uniform(0, duration, 2 * count)).round(3).tolist()
    return list(zip(ends[::2], ends[1::2], strict=True))


def _segment(name: str, onset: float, offset: float, **more: Any) -> Row:
    return {"uid": name, "onset": onset, "offset": offset, "duration": offset - onset, **more}


def _vad(outputs: Outputs, rng: np.random.Generator, shards: int) -> None:
    meta, raw, merged = [], [], []
    for name in outputs.ids:
        duration, is_failed = outputs.durations[name], name in outputs.failed["vad"]
        none = is_failed or name in outputs.silent
        found = [] if none else segments(rng, duration)
        raw += [_segment(name, onset, offset) for onset, offset in found]
        # As if pauses below a limit were closed: here, all of them.
        merged += [_segment(name, found[0][0], found[-1][1])] if found else []
        meta.append(
            {
                "file_id": name,
                "duration": duration,
                "speech_ratio": sum(offset - onset for onset, offset in found) / duration,
                "n_segments": len(found),
                "success": not is_failed,
                "error": "cannot be decoded" if is_failed else "",
            }
        )
    outputs.meta["vad"] = meta
    _write(outputs.root / "vad_meta/metadata.parquet", meta)
    times = {"uid": pl.String, **dict.fromkeys(("onset", "offset", "duration"), pl.Float64)}
    for folder, rows in (("vad_raw", raw), ("vad_merged", merged)):
        outputs.segments[folder] = rows
        _write(outputs.root / folder / "segments.parquet", rows, times)


def _vtc(outputs: Outputs, rng: np.random.Generator, shards: int) -> None:
    meta, raw, merged = [], [], []
    for name in outputs.ids:
        is_failed, is_silent = name in outputs.failed["vtc"], name in outputs.silent
        found = [] if is_failed or is_silent else segments(rng, outputs.durations[name])
        labels = [LABELS[number] for number in rng.integers(0, len(LABELS), len(found))]
        rows = [
            _segment(name, *times, label=label) for times, label in zip(found, labels, strict=True)
        ]
        raw += rows
        merged += rows[:1]
        spoken = str(rng.choice(["met_target", "best_effort", "default"]))
        meta.append(
            {
                "uid": name,
                "vtc_status": "error" if is_failed else "vad_empty" if is_silent else spoken,
                "vtc_n_segments": len(rows),
                "vtc_label_counts": json.dumps({label: labels.count(label) for label in labels}),
                "error": "out of memory" if is_failed else "",
            }
        )
    outputs.meta["vtc"], outputs.segments["vtc_raw"] = meta, raw
    outputs.segments["vtc_merged"] = merged
    times = dict.fromkeys(("onset", "offset", "duration"), pl.Float64)
    schema = {"uid": pl.String, **times, "label": pl.String}
    _write_shards(outputs, "vtc_meta", meta, shards)
    _write_shards(outputs, "vtc_raw", raw, shards, schema)
    _write_shards(outputs, "vtc_merged", merged, shards, schema)


def _snr(outputs: Outputs, rng: np.random.Generator, shards: int) -> None:
    meta, arrays = [], {}
    for name in outputs.ids:
        row: Row = {"uid": name, "snr_status": "error", "snr_mean": None, "c50_mean": None}
        if name not in outputs.failed["snr"]:
            arrays[name] = _clarity(rng, int(outputs.durations[name] * 2), name in outputs.silent)
            row |= {"snr_status": "ok", **clarity_means(arrays[name])}
        meta.append(row)
    outputs.meta["snr"], outputs.arrays["snr"] = meta, arrays
    _write_shards(outputs, "snr_meta", meta, shards)


def _clarity(rng: np.random.Generator, frames: int, is_silent: bool) -> dict[str, np.ndarray]:
    vad = rng.uniform(0, 0.4 if is_silent else 1, frames)
    return {
        "snr": rng.normal(12, 8, frames).astype(np.float16),
        "c50": rng.normal(40, 10, frames).astype(np.float16),
        "vad": vad.astype(np.float16),
        "step_s": np.array(0.5, np.float32),
    }


def clarity_means(arrays: dict[str, np.ndarray]) -> Row:
    """Over frames of speech, or over all where there is none."""
    speech = arrays["vad"] > 0.5
    used = speech if speech.any() else np.ones_like(speech)
    return {
        f"{name}_mean": float(np.mean(arrays[name][used], dtype=np.float64))
        for name in ("snr", "c50")
    }


def _esc(outputs: Outputs, rng: np.random.Generator, shards: int) -> None:
    meta, arrays = [], {}
    for name in outputs.ids:
        row: Row = {
            "uid": name,
            "esc_status": "error",
            "dominant_category": "",
            "dominant_prob": 0.0,
        }
        if name not in outputs.failed["esc"]:
            arrays[name] = _sounds(rng, int(outputs.durations[name] / 10) + 1)
            means = arrays[name]["categories"].mean(axis=0, dtype=np.float32)
            best = int(means.argmax())
            row |= {
                "esc_status": "ok",
                "dominant_category": CATEGORIES[best],
                "dominant_prob": float(means[best]),
            }
        meta.append(row)
    outputs.meta["esc"], outputs.arrays["esc"] = meta, arrays
    _write_shards(outputs, "esc_meta", meta, shards)


def _sounds(rng: np.random.Generator, bins: int) -> dict[str, np.ndarray]:
    return {
        "categories": rng.uniform(0, 1, (bins, len(CATEGORIES))).astype(np.float16),
        "category_names": np.array(CATEGORIES),
        "audioset_probs": rng.uniform(0, 1, (bins, 527)).astype(np.float16),
        "pool_step_s": np.array(10, np.float32),
    }


def _write_arrays(outputs: Outputs, esc_folder: str) -> None:
    for stage, arrays in outputs.arrays.items():
        folder = outputs.root / (esc_folder if stage == "esc" else stage)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in arrays.items():
            np.savez_compressed(folder / f"{name}.npz", **content)


def _write_shards(
    outputs: Outputs, folder: str, rows: list[Row], shards: int, schema: Any = None
) -> None:
    """Rows of one recording stay in one shard."""
    of = {name: number * shards // len(outputs.ids) for number, name in enumerate(outputs.ids)}
    parts: list[list[Row]] = [[] for _ in range(shards)]
    for row in rows:
        parts[of[row["uid"]]].append(row)
    schema = schema or (pl.DataFrame(rows, infer_schema_length=None).schema if rows else None)
    for number, part in enumerate(parts):
        _write(outputs.root / folder / f"shard_{number:04d}.parquet", part, schema)


def _write(path: Path, rows: list[Row], schema: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(rows, schema=schema, infer_schema_length=None, orient="row")
    frame.write_parquet(path)

"""Adapters over the pipeline's outputs: manifests and look-ups, against NumPy, pandas, Polars."""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import harness
import numpy as np
import pandas as pd
import polars as pl
import typer
from rich.console import Console
from rich.progress import track

from ossicle.dataloader import ESCAdapter, SNRAdapter, VADAdapter, VTCAdapter

Work: TypeAlias = Callable[[], object]

FILES, SHARDS, TEMPLATES, LOOKUPS = 100_000, 64, 200, 100
LABELS = ("KCHI", "CHI", "OCHI", "FEM", "MAL")
CATEGORIES = np.array(["animal", "music", "nature", "silence", "vehicle", "other"])
PACKAGES = ("ossicle", "numpy", "pandas", "pyarrow", "polars")
PEERS = ("np.load", "pandas", "Polars")
METHOD = """\
Outputs of a pipeline for so many recordings as each row says, in the page cache; one processor,
one thread for each library, garbage collector off, contestants interleaved in an order shuffled for
each round. Ratio: processor time of the peer / ours, the median of the rounds' own ratios; above 1
we are faster. Milliseconds: our fastest call. table: as_manifest() where the stage left its table
of 64 shards (vad: one file): checked columns, ids as wav_id, failures left out, each id once;
pandas reads, filters and renames every shard and concatenates them, Polars does so by hand in one
scan without any check. archives: there is no table, and means come from the .npz of every
recording (np.savez_compressed, float16); np.load in a loop that builds lists takes the same arrays
and makes the same columns. load: the metadata and the segments of 100 recordings at random out of
500,000 segments, after prepare(); pandas has the segments in memory in a groupby, Polars scans with
a filter on the id. prepare: what load needs to be ready; pandas reads all and groups.\
""".replace("\n", " ")


def names(files: int) -> list[str]:
    return [f"rec_{number:07d}.part one" for number in range(files)]


def make_tables(root: Path, ids: list[str]) -> None:
    """Of all four stages; one recording in fifty failed."""
    rng = np.random.default_rng(0)
    n = len(ids)
    failed = np.arange(n) % 50 == 7
    status = np.where(failed, "error", "ok")
    common = {"uid": ids, "error": np.where(failed, "cannot be read", "")}
    spoken = rng.integers(0, 30, (n, 2)).tolist()
    counts = [json.dumps({"KCHI": own, "FEM": other}) for own, other in spoken]
    tables = {
        "vad": {
            "file_id": ids,
            "duration": rng.uniform(1, 600, n),
            "speech_ratio": rng.uniform(0, 1, n),
            "n_segments": rng.integers(0, 99, n),
            "success": ~failed,
            "error": common["error"],
        },
        "vtc": {
            "vtc_status": np.where(failed, "error", "met_target"),
            "vtc_n_segments": rng.integers(0, 99, n),
            "vtc_label_counts": counts,
        },
        "snr": {
            "snr_status": status,
            "snr_mean": rng.normal(12, 8, n),
            "c50_mean": rng.normal(40, 9, n),
        },
        "esc": {
            "esc_status": status,
            "dominant_category": CATEGORIES[rng.integers(0, 6, n)],
            "dominant_prob": rng.uniform(0, 1, n),
        },
    }
    write_shards(root / "vad_meta", tables.pop("vad"), "metadata")
    for stage, columns in tables.items():
        write_shards(root / f"{stage}_meta", common | columns)


def write_shards(folder: Path, columns: dict[str, Any], only: str | None = None) -> None:
    folder.mkdir(parents=True)
    frame = pl.DataFrame(columns)
    if only:
        frame.write_parquet(folder / f"{only}.parquet")
        return
    size = -(-frame.height // SHARDS)
    for number in range(SHARDS):
        part = frame.slice(number * size, size)
        part.write_parquet(folder / f"shard_{number:04d}.parquet")


def make_segments(root: Path, ids: list[str]) -> None:
    """Five of each recording."""
    rng = np.random.default_rng(1)
    onsets = np.sort(rng.uniform(0, 60, (len(ids), 5)).round(3), axis=1).ravel()
    labels = np.array(LABELS)[rng.integers(0, 5, len(onsets))]
    uids = np.repeat(np.array(ids), 5)
    columns = {
        "uid": uids,
        "onset": onsets,
        "offset": onsets + 0.5,
        "duration": 0.5,
        "label": labels,
    }
    for folder in ("vtc_raw", "vtc_merged"):
        write_shards(root / folder, columns)


def make_archives(root: Path, ids: list[str]) -> None:
    """As many different ones as `TEMPLATES`, each many times."""
    rng = np.random.default_rng(2)
    for folder, make in (("snr", clarity), ("esc", sounds)):
        (root / folder).mkdir(parents=True)
        contents = [compressed(make(rng)) for _ in range(TEMPLATES)]
        for number, name in enumerate(track(ids, f"writing {folder}", transient=True)):
            (root / folder / f"{name}.npz").write_bytes(contents[number % TEMPLATES])


def clarity(rng: np.random.Generator) -> dict[str, Any]:
    frames = int(rng.integers(20, 400))
    return {
        "snr": rng.normal(12, 8, frames).astype(np.float16),
        "c50": rng.normal(40, 10, frames).astype(np.float16),
        "vad": rng.uniform(0, 1, frames).astype(np.float16),
        "step_s": np.float32(0.5),
        "vad_threshold": np.float32(0.5),
    }


def sounds(rng: np.random.Generator) -> dict[str, Any]:
    bins = int(rng.integers(2, 4))
    return {
        "categories": rng.uniform(0, 1, (bins, 6)).astype(np.float16),
        "category_names": CATEGORIES,
        "audioset_probs": rng.uniform(0, 0.1, (bins, 527)).astype(np.float16),
        "pool_step_s": np.float32(10),
    }


def compressed(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


# What one would write instead.


def with_pandas(root: Path, stage: str) -> pd.DataFrame:
    parts = []
    for path in sorted((root / f"{stage}_meta").glob("*.parquet")):
        frame = pd.read_parquet(path)
        good = frame["success"] if stage == "vad" else frame[f"{stage}_status"] != "error"
        parts.append(frame[good].rename(columns={"uid": "wav_id", "file_id": "wav_id"}))
    return pd.concat(parts, ignore_index=True)


def with_polars(root: Path, stage: str) -> pl.DataFrame:
    scan = pl.scan_parquet(root / f"{stage}_meta/*.parquet")
    good = pl.col("success") if stage == "vad" else pl.col(f"{stage}_status") != "error"
    return scan.filter(good).rename({"file_id" if stage == "vad" else "uid": "wav_id"}).collect()


def clarity_by_numpy(root: Path) -> pd.DataFrame:
    rows: dict[str, list[Any]] = {"wav_id": [], "snr_mean": [], "c50_mean": [], "n_raw_frames": []}
    for path in sorted((root / "snr").iterdir()):
        with np.load(path) as archive:
            snr, c50, vad = archive["snr"], archive["c50"], archive["vad"]
            speech = vad > archive["vad_threshold"]
        used = speech if speech.any() else slice(None)
        rows["wav_id"].append(path.name.removesuffix(".npz"))
        rows["snr_mean"].append(float(snr[used].mean(dtype=np.float64)))
        rows["c50_mean"].append(float(c50[used].mean(dtype=np.float64)))
        rows["n_raw_frames"].append(len(snr))
    return pd.DataFrame(rows)


def sounds_by_numpy(root: Path) -> pd.DataFrame:
    rows: dict[str, list[Any]] = {"wav_id": [], "dominant_category": [], "dominant_prob": []}
    for path in sorted((root / "esc").iterdir()):
        with np.load(path) as archive:
            means = archive["categories"].mean(axis=0, dtype=np.float32)
            best = int(means.argmax())
            rows["dominant_category"].append(str(archive["category_names"][best]))
        rows["wav_id"].append(path.name.removesuffix(".npz"))
        rows["dominant_prob"].append(float(means[best]))
    return pd.DataFrame(rows)


# Rows.


def check_same(ours: pl.DataFrame, theirs: pd.DataFrame) -> None:
    """The contestants found the same, or a ratio means nothing."""
    ours, other = ours.sort("wav_id"), pl.from_pandas(theirs).sort("wav_id")
    assert ours["wav_id"].to_list() == other["wav_id"].to_list()
    for name in other.columns:
        if other.schema[name].is_float():
            np.testing.assert_allclose(ours[name], other[name], rtol=1e-6)
        else:
            assert ours[name].to_list() == other[name].to_list(), name


def table_rows(root: Path, files: int, rounds: int) -> list[harness.Row]:
    rows = []
    for kind in (VADAdapter, VTCAdapter, SNRAdapter, ESCAdapter):
        works: dict[str, Work] = {
            harness.OURS: kind(root).as_manifest,
            "pandas": partial(with_pandas, root, kind.name),
            "Polars": partial(with_polars, root, kind.name),
        }
        check_same(kind(root).as_manifest(), with_pandas(root, kind.name))
        rows.append(harness.race(harness.Row(f"{kind.name} table, {files:,}"), works, rounds))
    return rows


def archive_rows(root: Path, files: int, rounds: int) -> list[harness.Row]:
    rows = []
    for kind, by_numpy in ((SNRAdapter, clarity_by_numpy), (ESCAdapter, sounds_by_numpy)):
        works = {harness.OURS: kind(root).as_manifest, "np.load": partial(by_numpy, root)}
        check_same(kind(root).as_manifest(), by_numpy(root))
        rows.append(harness.race(harness.Row(f"{kind.name} archives, {files:,}"), works, rounds))
    return rows


def grouped(root: Path) -> tuple[pd.DataFrame, list[Any]]:
    meta = with_pandas(root, "vtc").set_index("wav_id")
    tables = [
        pd.concat([pd.read_parquet(path) for path in sorted((root / folder).glob("*.parquet"))])
        for folder in ("vtc_raw", "vtc_merged")
    ]
    return meta, [table.groupby("uid", sort=False) for table in tables]


def load_rows(root: Path, ids: list[str], rounds: int) -> list[harness.Row]:
    adapter = VTCAdapter(root).prepare()
    chosen = random.Random(0).sample(adapter.list_ids(), LOOKUPS)
    meta, groups = grouped(root)
    scans = [
        pl.scan_parquet(root / folder / "*.parquet")
        for folder in ("vtc_meta", "vtc_raw", "vtc_merged")
    ]

    def by_pandas() -> list[Any]:
        return [
            (meta.loc[name].to_dict(), *(of.get_group(name).to_dict("records") for of in groups))
            for name in chosen
        ]

    def by_polars() -> list[Any]:
        return [[scan.filter(uid=name).collect().to_dicts() for scan in scans] for name in chosen]

    def ours() -> list[Any]:
        return [adapter.load(name) for name in chosen]

    for mine, theirs in zip(ours(), by_polars(), strict=True):
        assert [row | {"uid": mine["wav_id"]} for row in mine["vtc_raw"]] == theirs[1]
    works: dict[str, Work] = {harness.OURS: ours, "pandas": by_pandas, "Polars": by_polars}
    load = harness.race(harness.Row(f"vtc load, {LOOKUPS} of {len(ids):,}"), works, rounds)
    works = {harness.OURS: VTCAdapter(root).prepare, "pandas": partial(grouped, root)}
    prepare = harness.race(harness.Row(f"vtc prepare, {len(ids):,}"), works, rounds)
    return [load, prepare]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds of the short rows.")] = 7,
    files: Annotated[int, typer.Option(min=SHARDS, help="How many recordings.")] = FILES,
    quick: Annotated[
        bool, typer.Option("--quick", help="2,000 recordings, 3 rounds, no record: does it work?")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """Manifests of 100,000 recordings out of tables and archives, and look-ups by id.

    For example: `peers.py adapters` (with a record; ten minutes), `peers.py adapters --quick`,
    `peers.py adapters --files 10000 --no-record`.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
    files, rounds = (2_000, 3) if quick else (files, rounds)
    with tempfile.TemporaryDirectory() as name:
        root, ids = Path(name), names(files)
        make_tables(root / "tables", ids)
        make_segments(root / "tables", ids)
        rows = table_rows(root / "tables", files, rounds)
        rows += load_rows(root / "tables", ids, rounds)
        make_archives(root / "archives", ids)
        # Half a minute a call of np.load: the ratio hardly moves from round to round.
        rows += archive_rows(root / "archives", files, min(rounds, 3))
    harness.show("adapters", rows, PEERS, console)
    if write and not quick:
        for file in harness.record("adapters", rows, PEERS, facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")

"""Manifests: joins and whole output folders with filters, against Polars by hand and pandas."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import contest
import harness
import numpy as np
import polars as pl
import typer
from peers_batch import all_processors
from rich.console import Console

PACKAGES = ("ossicle", "polars", "pandas", "pyarrow", "numpy")
METHOD = """\
Tables in Parquet files in the page cache, of names like corpus/rec_000000042 in a different random
order in each, all processors. Each contestant runs in a process of its own, from the files to the
rows in memory; they take turns in an order shuffled for each round. Ratio: time of the peer / ours,
the median of the rounds' own ratios; above 1 we are faster. CPU: processor time of all threads;
wall: by the clock on the wall, which other processes spoil. Peak: the largest resident memory of
the process, of which pandas, pyarrow and Polars themselves are 60 to 150 MiB. All sums of columns
are compared with ours first. join: four manifests of two, one, two and one columns of float64, the
last three lacking 2 % of the rows; ours checks that no name is missing or occurs twice, and keeps
the order of the first. polars: scan_parquet and joins by wav_id, no checks, no order; in order: the
same with maintain_order="left"; checked: with validate="1:1"; pandas: read_parquet (pyarrow) and
merge. build: the tables of four stages with their own names, failed rows left out, joined, and
filtered by five conditions, one of them on labels in JSON text.""".replace("\n", " ")
PEERS = ("polars", "polars in order", "polars checked", "pandas")
_CONTESTANT = Path(__file__).with_name("manifest_contestant.py")
CATEGORIES = ("music", "other", "silence", "vehicle")
PARTS = (("duration", "speech_ratio"), ("n_segments",), ("snr", "c50"), ("prob",))


# --- tables


def make_parts(folder: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    ids = _ids(rows)
    for number, columns in enumerate(PARTS):
        order = rng.permutation(rows)[: rows if number == 0 else rows * 49 // 50]
        drawn = {name: rng.random(len(order)) for name in columns}
        pl.DataFrame({"wav_id": ids[order], **drawn}).write_parquet(
            folder / f"part{number}.parquet"
        )


def make_stages(folder: Path, rows: int, shards: int = 8) -> None:
    rng = np.random.default_rng(1)
    for stage in ("vad", "vtc", "snr", "esc"):
        name = "file_id" if stage == "vad" else "uid"
        table = pl.DataFrame(
            {name: _ids(rows)[rng.permutation(rows)], **_columns(stage, rows, rng)}
        )
        (folder / f"{stage}_meta").mkdir()
        if stage == "vad":
            table.write_parquet(folder / "vad_meta/metadata.parquet")
            continue
        for number, start in enumerate(range(0, rows, -(-rows // shards))):
            part = table.slice(start, -(-rows // shards))
            part.write_parquet(folder / f"{stage}_meta/shard_{number:04d}.parquet")


def _ids(rows: int) -> pl.Series:
    number = pl.int_range(rows).cast(pl.String).str.zfill(9)
    return pl.select(pl.format("corpus/rec_{}", number)).to_series()


def _columns(stage: str, rows: int, rng: np.random.Generator) -> dict[str, Any]:
    failed = rng.random(rows) < 0.01
    status = np.where(failed, "error", "ok")
    if stage == "vad":
        return {
            "duration": rng.uniform(0.5, 60, rows),
            "speech_ratio": rng.random(rows),
            "n_segments": rng.integers(0, 40, rows),
            "success": ~failed,
            "error": [None] * rows,
        }
    if stage == "vtc":
        counts = rng.integers(0, 4, (rows, 3)).tolist()
        texts = [json.dumps(dict(zip(("KCHI", "FEM", "MAL"), row, strict=True))) for row in counts]
        return {
            "vtc_status": status,
            "vtc_n_segments": rng.integers(0, 40, rows),
            "vtc_label_counts": texts,
            "error": [None] * rows,
        }
    if stage == "snr":
        means = {"snr_mean": rng.normal(12, 8, rows), "c50_mean": rng.normal(40, 9, rows)}
        return {"snr_status": status, **means}
    category = np.array(CATEGORIES)[rng.integers(0, len(CATEGORIES), rows)]
    return {"esc_status": status, "dominant_category": category, "dominant_prob": rng.random(rows)}


# --- the race


def _is_same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return bool((found["rows"], found["sums"]) == (expected["rows"], expected["sums"]))


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 3,
    join_rows: Annotated[int, typer.Option(help="Rows of each manifest joined.")] = 10_000_000,
    build_rows: Annotated[int, typer.Option(help="Rows of each stage's table.")] = 1_000_000,
    quick: Annotated[
        bool, typer.Option("--quick", help="1 round, few rows, no record: does it work?")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """Joins of four manifests, and an output folder with filters: ours, Polars by hand, pandas.

    For example: `peers.py manifest` (with a record; 9 GiB of memory for pandas), `peers.py manifest
    --join-rows 1000000 --no-record`, `peers.py manifest --quick`.
    """
    if quick:
        rounds, join_rows, build_rows = 1, 50_000, 50_000
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts: dict[str, Any] = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
    rows, memory = [], {}
    with all_processors():
        for work, make, count in (
            ("build", make_stages, build_rows),
            ("join", make_parts, join_rows),
        ):
            with tempfile.TemporaryDirectory() as name:
                make(Path(name), count)
                taken = contest.race(
                    _CONTESTANT, [harness.OURS, *PEERS], work, Path(name), rounds, _is_same
                )
            title = f"{work}, {count:,} rows"
            rows.append(contest.row_of(f"{title}, CPU", taken))
            rows.append(contest.row_of(f"{title}, wall", taken, "wall"))
            memory[title] = contest.peaks(taken)
    harness.show("manifest", rows, PEERS, console)
    contest.show_peaks(memory, PEERS, console)
    facts["peak MiB"] = {
        title: ", ".join(f"{name} {found[name]:,.0f}" for name in (harness.OURS, *PEERS))
        for title, found in memory.items()
    }
    if write and not quick:
        for file in harness.record("manifest", rows, PEERS, facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")

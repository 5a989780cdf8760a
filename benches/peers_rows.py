"""Rows of manifests: to the first batch and to the last row, against what else reads them."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import contest
import harness
import polars as pl
import typer
from rich.console import Console
from rows_contestant import READERS

PACKAGES = ("ossicle", "polars", "datasets", "lhotse", "pyarrow")
METHOD = """\
Rows of id, audio, offset, duration, text, language and speaker in files in the page cache. Each
contestant runs in a process of its own, from its imports to the path, text and duration of each row
as Python's own; they take turns in an order shuffled for each round. first: 16 rows; all: every
row, whose sums are compared with ours. Ratio: processor time of all threads of the peer / ours, the
median of the rounds' own ratios; above 1 we are faster. Peak: the largest resident memory of the
process. datasets: load_dataset into a fresh cache, and streaming; polars, dicts: the whole file and
to_dicts; json.loads: all lines before the first sample, as NeMo reads a manifest; lhotse: CutSet of
cuts with a recording and a supervision each, and the same lazily. Ours checks each row: times,
paths, types, and keeps what is wrong as faults.""".replace("\n", " ")
PEERS = ("datasets", "datasets streaming", "polars, dicts", "json.loads", "lhotse", "lhotse lazy")
_CONTESTANT = Path(__file__).with_name("rows_contestant.py")


def make(folder: Path, rows: int, cuts: int) -> None:
    """The files."""
    number = pl.int_range(rows)
    frame = pl.select(
        pl.format("utt{}", number).alias("id"),
        pl.format("audio/{}/rec{}.flac", number % 997, number // 3).alias("audio"),
        ((number % 3) * 2.5).alias("offset"),
        (1.0 + (number % 89) / 10).alias("duration"),
        pl.format("what is said in the row with the number {}", number).alias("text"),
        pl.lit("en").alias("language"),
        pl.format("speaker{}", number % 4001).alias("speaker"),
    )
    frame.write_parquet(folder / "rows.parquet", row_group_size=100_000)
    frame.write_ndjson(folder / "rows.jsonl")
    with (folder / "cuts.jsonl").open("w", encoding="utf-8") as file:
        for row in frame.head(cuts).iter_rows(named=True):
            file.write(json.dumps(_cut(row)) + "\n")


def _cut(row: dict[str, Any]) -> dict[str, Any]:
    said = {"id": row["id"], "recording_id": row["id"], "start": 0.0, "channel": 0}
    said |= {name: row[name] for name in ("duration", "text", "language", "speaker")}
    source = {"type": "file", "channels": [0], "source": f"/data/{row['audio']}"}
    recording = {
        "id": row["id"],
        "sources": [source],
        "sampling_rate": 16_000,
        "num_samples": 480_000,
        "duration": 30.0,
        "channel_ids": [0],
    }
    cut = {"id": row["id"], "start": row["offset"], "duration": row["duration"], "channel": 0}
    return {**cut, "supervisions": [said], "recording": recording, "type": "MonoCut"}


def _is_same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return bool(
        found["rows"] == expected["rows"] and abs(found["sums"][0] - expected["sums"][0]) < 0.01
    )


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 3,
    rows: Annotated[int, typer.Option(help="Rows of JSON lines and of Parquet.")] = 1_000_000,
    cuts: Annotated[int, typer.Option(help="Cuts of lhotse.")] = 100_000,
    quick: Annotated[
        bool, typer.Option("--quick", help="1 round, few rows, no record: does it work?")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """Rows to the first batch and to the last: ours, datasets, polars, json.loads, lhotse.

    For example: `peers.py rows` (with a record), `peers.py rows --quick`.
    """
    if quick:
        rounds, rows, cuts = 1, 20_000, 2_000
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts: dict[str, Any] = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
    made, memory = [], {}
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), rows, cuts)
        for kind in READERS:
            for how in ("first", "all"):
                work, names = f"{kind} {how}", list(READERS[kind])
                taken = contest.race(_CONTESTANT, names, work, Path(name), rounds, _is_same)
                title = f"{kind}, {how} of {cuts if kind == 'cuts' else rows:,}"
                made.append(contest.row_of(title, taken))
                memory[title] = contest.peaks(taken)
    harness.show("rows", made, PEERS, console)
    contest.show_peaks(memory, PEERS, console)
    facts["peak MiB"] = {
        title: ", ".join(f"{name} {size:,.0f}" for name, size in found.items())
        for title, found in memory.items()
    }
    if write and not quick:
        for file in harness.record("rows", made, PEERS, facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")

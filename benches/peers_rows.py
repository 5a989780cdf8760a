"""Rows of manifests: to the first batch and to the last row, against what else reads them."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import harness
import polars as pl
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
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
MIB = 1 << 20
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


def race(work: str, folder: Path, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """What each contestant took in each round."""
    names, shuffle = list(READERS[work.partition(" ")[0]]), random.Random(0).shuffle
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in track(range(rounds), work, transient=True):
        shuffle(names)
        for name in names:
            taken[name].append(_run(work, name, folder))
    expected = taken[harness.OURS][0]
    for name, results in taken.items():
        for found in results:
            is_same = found["rows"] == expected["rows"]
            is_same = is_same and abs(found["sums"][0] - expected["sums"][0]) < 0.01
            if not is_same:
                raise RuntimeError(f"{work}: {name} gives other rows than ours: {found}")
    return taken


def _run(work: str, name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, str(_CONTESTANT), work, name, str(folder)]
    environment = {key: value for key, value in os.environ.items() if "NUM_THREADS" not in key}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{work}: {name} ended with {done.returncode}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def row_of(title: str, taken: dict[str, list[dict[str, Any]]]) -> harness.Row:
    """The row of processor time."""
    row = harness.Row(title)
    ours = [result["cpu"] for result in taken[harness.OURS]]
    for name, results in taken.items():
        times = [result["cpu"] for result in results]
        row.seconds[name], row.rounds = min(times), len(times)
        if name != harness.OURS:
            row.ratios[name] = statistics.median(a / b for a, b in zip(times, ours, strict=True))
    return row


def peaks(taken: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    return {
        name: statistics.median(result["peak"] for result in results) / MIB
        for name, results in taken.items()
    }


def show_peaks(memory: dict[str, dict[str, float]], console: Console) -> None:
    table = Table(title="peak memory, MiB")
    for heading in ("", harness.OURS, *PEERS):
        table.add_column(heading, justify="right" if heading else "left")
    for title, found in memory.items():
        cells = (f"{found[one]:,.0f}" if one in found else "-" for one in (harness.OURS, *PEERS))
        table.add_row(title, *cells)
    console.print(table)


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
                taken = race(f"{kind} {how}", Path(name), rounds)
                title = f"{kind}, {how} of {cuts if kind == 'cuts' else rows:,}"
                made.append(row_of(title, taken))
                memory[title] = peaks(taken)
    harness.show("rows", made, PEERS, console)
    show_peaks(memory, console)
    facts["peak MiB"] = {
        title: ", ".join(f"{name} {size:,.0f}" for name, size in found.items())
        for title, found in memory.items()
    }
    if write and not quick:
        for file in harness.record("rows", made, PEERS, facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")

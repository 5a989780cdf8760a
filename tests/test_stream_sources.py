"""Rows of all kinds of sources, by number: the same facts and recordings from each."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import ossicle
from ossicle.data import ManifestError, read
from ossicle.dataloader import MetadataManifest
from ossicle.errors import AudioFileNotFoundError, InvalidArgumentError
from ossicle.shard import ShardWriter, index_path
from ossicle.stream import Plan, Seconds, Source, parquet_rows, shard_rows

RATE = 8_000
COUNT = 12


def seconds(number: int) -> float:
    return 0.1 + 0.01 * number


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve files, and manifests, shards and a table with recordings inside of them."""
    folder = tmp_path_factory.mktemp("sources")
    rows: list[dict[str, Any]] = []
    for number in range(COUNT):
        path = folder / f"clip{number}.wav"
        tone = np.full(round(seconds(number) * RATE), number / 100, np.float32)
        ossicle.save(path, tone, RATE)
        rows.append(
            {
                "id": f"u{number}",
                "audio": path.name,
                "duration": seconds(number),
                "text": f"words {number}",
                "speaker": None if number % 3 else "s",
                "snr_mean": number * 2.0,
            }
        )
    table = pl.DataFrame(rows)
    table.write_parquet(folder / "rows.parquet")
    tagged = [{**row, "tags": [number, "é"]} for number, row in enumerate(rows)]
    read(tagged, root=folder).write(folder / "rows.jsonl")
    inside = [(folder / row["audio"]).read_bytes() for row in rows]
    audio = [{"bytes": data, "path": row["audio"]} for data, row in zip(inside, rows, strict=True)]
    table.with_columns(audio=pl.Series(audio)).write_parquet(folder / "inside.parquet")
    (folder / "shards").mkdir()
    for shard in range(3):
        with ShardWriter(folder / "shards" / f"s-{shard}.tar") as writer:
            for number in range(shard * 4, shard * 4 + 4):
                facts = {key: tagged[number][key] for key in ("text", "snr_mean", "tags")}
                sample = {"__key__": rows[number]["id"], "json": facts, "wav": inside[number]}
                writer.write(sample)
    return folder


def datasets_of(folder: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    table = pl.read_parquet(folder / "inside.parquet").to_arrow()
    made = datasets.Dataset(datasets.table.InMemoryTable(table))
    return made.select(range(len(made)))


KINDS = {
    "parquet": lambda folder: Source(folder / "rows.parquet"),
    "large parquet": lambda folder: Source(folder / "rows.parquet", store=folder / "store"),
    "inside": lambda folder: Source(str(folder / "inside.parquet")),
    "large inside": lambda folder: Source(folder / "inside.parquet", store=folder / "store"),
    "json lines": lambda folder: Source(folder / "rows.jsonl"),
    "frame": lambda folder: Source(pl.read_parquet(folder / "rows.parquet"), root=folder),
    "rows": lambda folder: Source(read(folder / "rows.parquet")),
    "shards": lambda folder: Source(str(folder / "shards" / "s-*.tar")),
    "folder of shards": lambda folder: Source(folder / "shards"),
    "many shards": lambda folder: Source(
        sorted((folder / "shards").glob("*.tar")), store=folder / "store"
    ),
    "datasets": lambda folder: Source(datasets_of(folder)),
}


@pytest.fixture(params=sorted(KINDS))
def source(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    if "large" in request.param:
        monkeypatch.setattr(parquet_rows, "LARGE_ROWS", 0)
    if "many" in request.param:
        monkeypatch.setattr(shard_rows, "OPEN", 1)
    made = KINDS[request.param](folder)
    kind = type(made._table).__name__
    assert (kind == "ParquetRows") == ("large" in request.param)
    assert (kind == "ShardRows") == ("shards" in request.param)
    return made


def test_a_source_gives_its_rows(source: Source) -> None:
    rows = [7, 0, 11, 7, 4]
    assert len(source) == COUNT
    assert source.ids(rows) == [f"u{row}" for row in rows]
    assert source.seconds == pytest.approx([seconds(row) for row in range(COUNT)], abs=1e-4)
    facts = source.facts(np.array(rows))
    assert [one["text"] for one in facts] == [f"words {row}" for row in rows]
    assert [one["snr_mean"] for one in facts] == [row * 2.0 for row in rows]
    assert [one["id"] for one in facts] == source.ids(rows)
    loaded = ossicle.load_batch([one.source for one in source.recordings(rows)], RATE)
    assert loaded.lengths.tolist() == [round(seconds(row) * RATE) for row in rows]
    assert loaded.waveforms[:, 100] == pytest.approx(np.array(rows) / 100, abs=1e-3)


def test_a_source_travels(source: Source) -> None:
    again = pickle.loads(pickle.dumps(source))
    assert again.ids([3]) == source.ids([3]) == ["u3"]
    assert again.facts([3])[0]["text"] == "words 3"
    plans = [Plan(one, Seconds(1), window=5) for one in (source, again)]
    assert plans[0].sha256 == plans[1].sha256
    drawn = np.sort(np.concatenate([plans[0].batch(0, n).row for n in range(plans[0].batches(0))]))
    assert drawn.tolist() == list(range(COUNT))


@pytest.mark.parametrize("kind", ["parquet", "large parquet", "shards", "many shards", "datasets"])
def test_where_chooses(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind.startswith("large"):
        monkeypatch.setattr(parquet_rows, "LARGE_ROWS", 0)
    if kind.startswith("many"):
        monkeypatch.setattr(shard_rows, "OPEN", 1)
    source = KINDS[kind](folder)
    source.where = (pl.col("duration") > 0.145) & (pl.col("id") != "u7")
    assert source.kept.tolist() == [5, 6, 8, 9, 10, 11]
    source = KINDS[kind](folder)
    source.where = pl.col("nowhere") > 1
    with pytest.raises(ManifestError, match="nowhere"):
        _ = source.kept
    source = KINDS[kind](folder)
    source.where = pl.col("duration") * 2
    with pytest.raises(InvalidArgumentError, match="where"):
        _ = source.kept


def test_shards_without_an_index(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "shards").glob("*.tar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    # One whose index is of another shard: it is not believed.
    stale = index_path(tmp_path / "s-1.tar")
    stale.write_bytes(index_path(folder / "shards" / "s-1.tar").read_bytes())
    source = Source(tmp_path)
    assert len(source) == COUNT
    assert source.seconds == pytest.approx([seconds(row) for row in range(COUNT)], abs=1e-4)
    assert source.facts([5])[0]["tags"] == [5, "é"]


def test_segments_of_rows(folder: Path) -> None:
    rows = [
        {"id": "a", "audio": "clip11.wav", "offset": 0.05, "duration": 0.1},
        {"id": "b", "audio": "clip11.wav", "offset": 0.05},
        {"id": "c", "audio": "clip11.wav"},
    ]
    source = Source(rows, root=folder)
    assert source.seconds == pytest.approx([0.1, 0.16, 0.21], abs=1e-4)
    segment = source.recordings([0])[0].segment
    assert (segment.offset, segment.duration, segment.channel) == (0.05, 0.1, None)


def test_a_manifest_of_dataloader(folder: Path) -> None:
    table = pl.read_parquet(folder / "rows.parquet").rename({"id": "wav_id"})
    source = Source(MetadataManifest(table, "clips"), root=folder)
    assert source.ids([2]) == ["u2"]
    assert len(ossicle.load(source.recordings([2])[0].source)[0]) == round(seconds(2) * RATE)


def test_what_is_no_source(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioFileNotFoundError):
        Source(tmp_path / "none.tar")
    with pytest.raises(AudioFileNotFoundError, match="pattern"):
        Source(str(tmp_path / "*.tar"))
    with pytest.raises(ManifestError):
        Source(3)
    with pytest.raises(InvalidArgumentError, match="tar shards"):
        Source([folder / "rows.parquet", folder / "rows.jsonl"])
    with pytest.raises(ManifestError, match="duration is -1"):
        Source([{"audio": "a.wav", "duration": 1.0}, {"audio": "b.wav", "duration": -1.0}])
    several = Source([{"audio": ["a.wav", "b.wav"], "duration": 2.0}])
    with pytest.raises(InvalidArgumentError, match="2 recordings"):
        several.recordings([0])


def test_a_store_is_made_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_rows, "LARGE_ROWS", 0)
    first = Source(folder / "rows.parquet", store=tmp_path)
    assert not list(tmp_path.iterdir()), "only what an order needs is read"
    assert first.ids([1]) == ["u1"]
    [made] = tmp_path.iterdir()
    before = (made / "rows.jsonl").stat().st_mtime_ns
    assert Source(folder / "rows.parquet", store=tmp_path).ids([1]) == ["u1"]
    assert [one.name for one in tmp_path.iterdir()] == [made.name]
    assert (made / "rows.jsonl").stat().st_mtime_ns == before


def test_rows_are_no_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300,000 rows neither an object nor more than the lengths is kept, whatever is asked."""
    count = 300_000
    number = pl.int_range(count, eager=True).alias("n").to_frame()
    table = number.select(
        id=pl.format("u{}", "n"),
        audio=pl.format("/data/{}.wav", "n"),
        duration=1.0 + pl.col("n") % 17,
    )
    table.write_parquet(tmp_path / "rows.parquet")
    del number, table
    monkeypatch.setattr(parquet_rows, "LARGE_ROWS", 0)
    Plan(Source([{"audio": "a.wav", "duration": 1.0}]), Seconds(20)).batch(0, 0)
    gc.collect()
    before = len(gc.get_objects())
    tracemalloc.start()
    plan = Plan(Source(tmp_path / "rows.parquet", store=tmp_path), Seconds(240), window=4_096)
    for batch in (0, 20_000, 100):
        plan.batch(0, batch % plan.batches(0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.collect()
    assert len(gc.get_objects()) - before < 2_000
    assert peak < 30 * count

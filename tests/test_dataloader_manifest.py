"""MetadataManifest: what it refuses, what it reads, and that it is lazy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossicle.data.errors import ManifestError
from ossicle.dataloader.outputs import manifest as module
from ossicle.dataloader.outputs.manifest import MetadataManifest

IDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=20)


def table(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"wav_id": ["b", "a", "c"], **columns})


@given(st.lists(st.none() | st.text("ab", max_size=2), max_size=6))
def test_names_are_there_and_unique_or_the_first_fault_is_told(ids: list[str | None]) -> None:
    df = pl.DataFrame({"wav_id": ids}, schema={"wav_id": pl.String})
    for given_as in (df, df.lazy()):
        if None not in ids and len(set(ids)) == len(ids):
            made = MetadataManifest(given_as, "vad")
            assert (made.wav_ids, len(made), made.source) == (ids, len(ids), "vad")
            continue
        with pytest.raises(ManifestError) as caught:
            MetadataManifest(given_as, "vad")
        error = caught.value
        assert (error.source, error.column) == ("vad", "wav_id")
        if None in ids:
            assert f"row {ids.index(None)} has none" in str(error)
        else:
            first = next(name for name in ids if ids.count(name) > 1)
            assert error.wav_id == first
            assert f"this one {ids.count(first)} times" in error.reason


def test_hashes_that_collide_are_not_names_that_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pl.Expr, "hash", lambda self, *_: pl.lit(7, dtype=pl.UInt64) + 0 * self.len()
    )
    assert len(MetadataManifest(table(), "vad")) == 3


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: pl.DataFrame({"uid": ["a"]}), "unknown column; the columns are uid"),
        (lambda: pl.DataFrame(), "the columns are none"),
        (lambda: pl.DataFrame({"wav_id": [1, 2]}), "holds Int64, not text"),
        (lambda: table().with_columns(pl.col("wav_id").cast(pl.Categorical)), "not text"),
    ],
)
def test_a_table_without_names_is_refused(
    make: Callable[[], pl.DataFrame], why: str, tmp_path: Path
) -> None:
    path = tmp_path / "table.parquet"
    make().write_parquet(path)
    for attempt, place in [
        (lambda: MetadataManifest(make(), "vad"), "vad"),
        (lambda: MetadataManifest(make().lazy(), "vad"), "vad"),
        (lambda: MetadataManifest.from_dataframe(make(), "vad"), "vad"),
        (lambda: MetadataManifest.from_parquet(path, "vad"), str(path)),
    ]:
        with pytest.raises(ManifestError, match=why) as caught:
            attempt()
        assert (caught.value.source, caught.value.column) == (place, "wav_id")


def test_faults_of_files_name_the_file(tmp_path: Path) -> None:
    twice, broken = tmp_path / "twice.parquet", tmp_path / "broken.parquet"
    pl.DataFrame({"wav_id": ["a", "b", "a"]}).write_parquet(twice)
    broken.write_bytes(twice.read_bytes()[:-20])
    for path, why in [
        (twice, "more than once"),
        (broken, "cannot be read"),
        (tmp_path / "none.parquet", "no such file"),
        (tmp_path, "no such file"),
    ]:
        with pytest.raises(ManifestError, match=why) as caught:
            MetadataManifest.from_parquet(path, "vad")
        assert caught.value.source == str(path)


def test_what_is_no_table_or_has_no_source() -> None:
    with pytest.raises(TypeError, match="Polars table, not dict"):
        MetadataManifest({"wav_id": ["a"]}, "vad")  # type: ignore[arg-type]
    with pytest.raises(ManifestError, match="source must be a name"):
        MetadataManifest(table(), "")


@given(IDS.map(lambda ids: list(dict.fromkeys(ids))), st.data())
def test_parquet_and_back(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], data: st.DataObject
) -> None:
    numbers = st.lists(st.none() | st.floats(), min_size=len(ids), max_size=len(ids))
    df = pl.DataFrame(
        {"wav_id": ids, "^x.*$": data.draw(numbers), "*": range(len(ids))},
        schema={"wav_id": pl.String, "^x.*$": pl.Float64, "*": pl.Int64},
    )
    folder = tmp_path_factory.mktemp("a=b") / "odd [0-9] *?.parquet"
    folder.parent.mkdir(exist_ok=True)
    for made in (MetadataManifest(df, "vad"), MetadataManifest(df.lazy(), "vad")):
        made.to_parquet(folder)
        read = MetadataManifest.from_parquet(folder, "vad")
        assert read.df.equals(df)
        assert read.schema == dict(df.schema)
        assert read.select(["*", "^x.*$"]).df.equals(df.select("wav_id", pl.nth(2), pl.nth(1)))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    MetadataManifest(table(x=[1, 2, 3]), "vad").to_parquet(path)
    failing = MetadataManifest(table(x=["1", "2", "no"]).lazy(), "vad")
    failing = failing.filter(pl.col("x").cast(pl.Int64) > 0)
    with pytest.raises(ManifestError, match="cannot be read") as caught:
        failing.to_parquet(path)
    assert caught.value.source == "vad"
    assert MetadataManifest.from_parquet(path, "vad").df["x"].to_list() == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["m.parquet"]
    with pytest.raises(FileNotFoundError):
        failing.to_parquet(tmp_path / "nowhere" / "m.parquet")


def test_a_manifest_may_take_the_place_of_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    MetadataManifest(table(x=[1, 2, 3]), "vad").to_parquet(path)
    MetadataManifest.from_parquet(path, "vad").filter(pl.col("x") > 1).to_parquet(path)
    assert MetadataManifest.from_parquet(path, "vad").wav_ids == ["a", "c"]


def test_filter_and_select() -> None:
    made = MetadataManifest(table(x=[1, None, 3], y=[True, True, False]), "vad")
    assert made.filter(pl.col("x") > 0).wav_ids == ["b", "c"]
    assert made.filter(pl.col("y")).filter(pl.col("x").is_null()).df.rows() == [("a", None, True)]
    assert made.select(["y"]).columns == ["wav_id", "y"]
    assert made.select(["y", "wav_id"]).columns == ["y", "wav_id"]
    assert made.select([]).columns == ["wav_id"]
    assert len(made.filter(pl.col("x") > 5)) == 0
    for predicate in (pl.col("z") > 0, pl.col("x") + 1):
        with pytest.raises(ManifestError):
            made.filter(predicate)
    for columns, column in [(["z"], "z"), (["y", "y"], "y")]:
        with pytest.raises(ManifestError) as caught:
            made.select(columns)
        assert (caught.value.source, caught.value.column) == ("vad", column)


def test_only_names_are_read_until_rows_are_asked_for() -> None:
    read: list[str] = []

    def note(name: str) -> pl.Expr:
        def look(values: pl.Series) -> pl.Series:
            read.append(name)
            return values

        return pl.col(name).map_batches(look, return_dtype=pl.self_dtype()).alias(name)

    lazy = table(x=[1, 2, 3], y=[4, 5, 6]).lazy().with_columns(note("x"), note("y"))
    made = MetadataManifest(lazy, "vad")
    derived = made.select(["x"]).filter(pl.col("wav_id") != "a")
    assert (len(made), made.columns, repr(made), read) == (3, ["wav_id", "x", "y"], repr(made), [])
    assert derived.df["x"].to_list() == [1, 3]
    assert set(read) == {"x"}
    before = len(read)
    assert (len(derived), derived.wav_ids, derived.df.height) == (2, ["b", "c"], 2)
    assert len(read) == before  # computed once, and kept


def test_repr() -> None:
    made = MetadataManifest(table(x=[1, 2, 3]), "vad")
    assert repr(made) == "MetadataManifest(source='vad', rows=3, columns=[wav_id, x])"
    assert "rows=not computed" in repr(made.filter(pl.col("x") > 1))


def test_polars_is_not_run_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ManifestError("forked")

    made = MetadataManifest(table().lazy(), "vad")
    monkeypatch.setattr(module, "refuse_after_fork", refuse)
    for attempt in (lambda: MetadataManifest(table(), "vad"), lambda: made.df):
        with pytest.raises(ManifestError, match="forked"):
            attempt()

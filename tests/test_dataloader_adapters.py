"""Adapters over the pipeline's outputs: against what was written, Polars, pandas' way and NumPy."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import run_script
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_outputs import CATEGORIES, Outputs, clarity_means, make_outputs

from ossicle.data import DataError
from ossicle.data.npz import Npz, read_npz
from ossicle.data.rows_by_id import RowsById
from ossicle.dataloader import (
    ESCAdapter,
    ManifestError,
    MetadataError,
    MissingStageError,
    SNRAdapter,
    VADAdapter,
    VTCAdapter,
)
from ossicle.dataloader.outputs.adapter_bases import StageAdapter

ADAPTERS = (VADAdapter, VTCAdapter, SNRAdapter, ESCAdapter)
Kind = type[StageAdapter]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return make_outputs(tmp_path_factory.mktemp("outputs"), 40)


def normalized(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with their id under our name."""
    return [
        {"wav_id": row.get("uid") or row.get("file_id")}
        | {key: value for key, value in row.items() if key not in ("uid", "file_id")}
        for row in rows
    ]


def whole(outputs: Outputs, stage: str) -> list[dict[str, Any]]:
    rows = normalized(outputs.meta[stage])
    return [row for row in rows if row["wav_id"] not in outputs.failed[stage]]


@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_manifest_is_what_was_written(kind: Kind, outputs: Outputs) -> None:
    adapter = kind(outputs.root)
    truth = whole(outputs, adapter.name)
    # Something failed, or the test would show nothing.
    assert len(outputs.ids) - len(truth) > 0
    found = adapter.as_manifest()
    assert {row["wav_id"]: row for row in found.to_dicts()} == {
        row["wav_id"]: {name: row.get(name) for name in found.columns} for row in truth
    }
    assert set(found.columns) >= set(truth[0])
    assert found.columns[0] == "wav_id"
    assert adapter.list_ids() == found["wav_id"].to_list() == outputs.succeeded(adapter.name)
    assert adapter.scan().collect().equals(found)
    assert isinstance(adapter.scan(), pl.LazyFrame)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_load_gives_the_row_and_what_belongs_to_it(kind: Kind, outputs: Outputs) -> None:
    adapter = kind(outputs.root)
    rows = {row["wav_id"]: row for row in adapter.as_manifest().to_dicts()}
    for wav_id in adapter.list_ids():
        found = adapter.load(wav_id)
        assert {name: found.pop(name) for name in rows[wav_id]} == rows[wav_id]
        if adapter.name in ("vad", "vtc"):
            folders = (f"{adapter.name}_raw", f"{adapter.name}_merged")
            assert found == {folder: outputs.segments_of(folder, wav_id) for folder in folders}
        else:
            truth = outputs.arrays[adapter.name][wav_id]
            assert found.keys() == truth.keys()
            for name, array in truth.items():
                assert found[name].dtype == array.dtype
                np.testing.assert_array_equal(found[name], array)


def test_a_recording_of_silence_has_empty_lists(outputs: Outputs) -> None:
    silent = next(iter(outputs.silent - outputs.failed["vad"] - outputs.failed["vtc"]))
    assert VADAdapter(outputs.root).load(silent)["vad_raw"] == []
    found = VTCAdapter(outputs.root).load(silent)
    assert (found["vtc_status"], found["vtc_raw"], found["vtc_merged"]) == ("vad_empty", [], [])


@pytest.mark.parametrize("kind", ADAPTERS)
def test_what_failed_is_nowhere(kind: Kind, outputs: Outputs) -> None:
    adapter = kind(outputs.root)
    for wav_id in [*outputs.failed[adapter.name], "never heard of", "", "\ud800"]:
        assert not adapter.exists(wav_id)
        with pytest.raises(
            MetadataError, match="failed on this recording, or has not processed it"
        ) as caught:
            adapter.load(wav_id)
        assert caught.value.wav_id == wav_id
        assert isinstance(caught.value, LookupError)
    assert all(adapter.exists(wav_id) for wav_id in adapter.list_ids())


@pytest.mark.parametrize("kind", ADAPTERS)
def test_adapters_never_write(kind: Kind, outputs: Outputs, tmp_path: Path) -> None:
    adapter = kind(outputs.root)
    with pytest.raises(DataError, match="read-only and does not process"):
        adapter.process("a", tmp_path / "a.wav")
    with pytest.raises(DataError, match="read-only and does not save"):
        adapter.save("a", {}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_folder_may_be_given(outputs: Outputs, tmp_path: Path) -> None:
    other = make_outputs(tmp_path, 5, seed=9, with_failures=False)
    adapter = VADAdapter(outputs.root)
    assert adapter.load("plain", tmp_path)["duration"] == other.durations["plain"]
    assert adapter.load("plain")["duration"] == outputs.durations["plain"]
    assert adapter.exists("rec_000000")
    assert not adapter.exists("rec_000000", tmp_path)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_stage_that_has_not_run_lists_what_is_there(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "some_meta").mkdir()
    adapter = kind(tmp_path)
    for call in (adapter.scan, adapter.as_manifest, adapter.list_ids, adapter.prepare):
        with pytest.raises(MissingStageError, match=f"{adapter.name}_meta.*there are some_meta"):
            call()
    with pytest.raises(MissingStageError, match="does not exist"):
        kind(tmp_path / "nowhere").scan()
    with pytest.raises(MissingStageError):
        adapter.load("a")


# Columns.

TABLES = {
    "vad": ("vad_meta/metadata.parquet", "file_id"),
    "vtc": ("vtc_meta/shard_0001.parquet", "uid"),
    "snr": ("snr_meta/shard_0001.parquet", "uid"),
    "esc": ("esc_meta/shard_0001.parquet", "uid"),
}
REQUIRED = {
    "vad": ("file_id", "duration", "speech_ratio", "success"),
    "vtc": ("uid", "vtc_status", "vtc_label_counts"),
    "snr": ("uid", "snr_status", "snr_mean"),
    "esc": ("uid", "esc_status", "dominant_category"),
}
OPTIONAL = {
    "vad": {"n_segments": pl.Int64, "error": pl.String},
    "vtc": {"vtc_n_segments": pl.Int64, "error": pl.String},
    "snr": {"c50_mean": pl.Float64},
    "esc": {"dominant_prob": pl.Float64},
}


def rewrite(root: Path, stage: str, change: Any) -> Path:
    path = root / TABLES[stage][0]
    frame = change(pl.read_parquet(path))
    frame.write_parquet(path)
    return path


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_missing_column_is_named_with_its_file(kind: Kind, tmp_path: Path) -> None:
    for name in REQUIRED[kind.name]:
        make_outputs(tmp_path, 20, with_arrays=False)
        path = rewrite(tmp_path, kind.name, lambda frame, name=name: frame.drop(name))
        with pytest.raises(ManifestError, match="missing column; the columns are") as caught:
            kind(tmp_path).scan()
        assert (caught.value.source, caught.value.column) == (str(path), name)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_optional_columns_are_null_and_others_are_kept(kind: Kind, tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path, 20, with_arrays=False)
    extra = pl.lit([1.5]).alias("extra list")
    rewrite(tmp_path, kind.name, lambda frame: frame.drop(OPTIONAL[kind.name]).with_columns(extra))
    found = kind(tmp_path).as_manifest()
    assert sorted(found["wav_id"]) == sorted(outputs.succeeded(kind.name))
    ids = pl.read_parquet(tmp_path / TABLES[kind.name][0])[TABLES[kind.name][1]]
    there = found.filter(pl.col("wav_id").is_in(ids.implode()))
    assert 0 < there.height <= found.height
    for name, dtype in OPTIONAL[kind.name].items():
        assert found.schema[name] == dtype
        assert there[name].null_count() == there.height
    assert there["extra list"].to_list() == [[1.5]] * there.height
    assert found["extra list"].null_count() == found.height - there.height


@pytest.mark.parametrize(
    ("kind", "column", "values", "why"),
    [
        (VADAdapter, "speech_ratio", pl.lit("0.5"), "holds String, not numbers"),
        (VADAdapter, "success", pl.lit(1), "not true or false"),
        (VTCAdapter, "vtc_label_counts", pl.lit(3), "not text"),
        (SNRAdapter, "uid", pl.lit(1.5), "ids must be text"),
    ],
)
def test_a_column_of_another_kind_is_named(
    kind: Kind, column: str, values: pl.Expr, why: str, tmp_path: Path
) -> None:
    make_outputs(tmp_path, 20, with_arrays=False)
    path = rewrite(tmp_path, kind.name, lambda frame: frame.with_columns(values.alias(column)))
    with pytest.raises(ManifestError, match=why) as caught:
        kind(tmp_path).scan()
    assert (caught.value.source, caught.value.column) == (str(path), column)


def test_shards_whose_types_differ_come_together(tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path, 20, with_arrays=False, with_failures=False)
    rewrite(
        tmp_path,
        "snr",
        lambda frame: frame.with_columns(
            pl.col("uid").cast(pl.Categorical),
            pl.col("snr_mean").cast(pl.Float32),
            pl.lit(None).alias("c50_mean"),
        ).reverse(),
    )
    found = SNRAdapter(tmp_path).as_manifest()
    assert sorted(found["wav_id"]) == sorted(outputs.ids)
    assert found.schema["snr_mean"] == pl.Float64
    assert found.schema["wav_id"] == pl.String
    # Shards that cannot come together are an error of ours.
    rewrite(tmp_path, "snr", lambda frame: frame.with_columns(extra=pl.struct(a=1)))
    path = tmp_path / "snr_meta/shard_0002.parquet"
    pl.read_parquet(path).with_columns(extra=pl.lit(b"x")).write_parquet(path)
    with pytest.raises(ManifestError, match="incompatible columns"):
        SNRAdapter(tmp_path).scan()


def test_ids_may_be_called_otherwise(tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path, 20, with_arrays=False)
    rewrite(tmp_path, "vad", lambda frame: frame.rename({"file_id": "uid"}))
    assert VADAdapter(tmp_path).list_ids() == outputs.succeeded("vad")
    rewrite(tmp_path, "vad", lambda frame: frame.rename({"uid": "wav_id"}))
    assert VADAdapter(tmp_path).list_ids() == outputs.succeeded("vad")
    rewrite(tmp_path, "vad", lambda frame: frame.with_columns(file_id=pl.lit("x")))
    with pytest.raises(ManifestError, match="two id columns"):
        VADAdapter(tmp_path).scan()
    rewrite(
        tmp_path, "vad", lambda frame: frame.drop("wav_id").with_columns(file_id=pl.int_range(20))
    )
    assert VADAdapter(tmp_path).list_ids()[:2] == ["0", "1"]


def test_rows_without_id_and_twice_are_errors(tmp_path: Path) -> None:
    make_outputs(tmp_path, 20, with_arrays=False, with_failures=False)
    rewrite(tmp_path, "vtc", lambda frame: pl.concat([frame, frame.head(1)]))
    adapter = VTCAdapter(tmp_path)
    for call in (adapter.as_manifest, adapter.list_ids, adapter.prepare):
        with pytest.raises(ManifestError, match="more than one row"):
            call()
    rewrite(
        tmp_path,
        "vtc",
        lambda frame: frame.with_columns(
            pl.when(pl.int_range(pl.len()) > 0).then("uid").alias("uid")
        ).unique("uid"),
    )
    with pytest.raises(ManifestError, match="have no id"):
        adapter.as_manifest()


def test_damaged_tables_are_named(tmp_path: Path) -> None:
    make_outputs(tmp_path, 20, with_arrays=False)
    path = tmp_path / TABLES["esc"][0]
    content = path.read_bytes()
    for wrong in (b"", b"no table", content[: len(content) // 2]):
        path.write_bytes(wrong)
        with pytest.raises(ManifestError, match="is not a Parquet file") as caught:
            ESCAdapter(tmp_path).scan()
        assert caught.value.source == str(path)
    # A page is damaged: only reading tells, and it tells the folder.
    path.write_bytes(content[:4] + bytes(len(content[4:200])) + content[200:])
    with pytest.raises(ManifestError, match="cannot be read"):
        ESCAdapter(tmp_path).as_manifest()


def test_a_status_of_null_is_a_failure(tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path, 20, with_arrays=False, with_failures=False)
    for stage, column in (("vad", "success"), ("esc", "esc_status")):
        rewrite(
            tmp_path,
            stage,
            lambda frame, column=column: frame.with_columns(
                pl.when(pl.int_range(pl.len()) > 0).then(column).alias(column)
            ),
        )
    assert VADAdapter(tmp_path).list_ids() == outputs.ids[1:]
    assert len(ESCAdapter(tmp_path).list_ids()) == 19


# Archives.


def test_the_stage_may_be_called_noise(tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path, 12, esc_folder="noise")
    assert sorted(path.name for path in tmp_path.glob("*noise*")) == ["noise", "noise_meta"]
    adapter = ESCAdapter(tmp_path)
    assert adapter.list_ids() == outputs.succeeded("esc")
    found = adapter.load("日本語の録音")
    assert found["category_names"].tolist() == list(CATEGORIES)


def test_without_its_table_clarity_comes_from_the_archives(tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path, 30)
    written = SNRAdapter(tmp_path).as_manifest().sort("wav_id")
    for path in (tmp_path / "snr_meta").iterdir():
        path.unlink()
    calls: list[tuple[int, int]] = []
    adapter = SNRAdapter(tmp_path)
    found = adapter.as_manifest(lambda *done: calls.append(done)).sort("wav_id")
    assert calls[-1] == (len(outputs.succeeded("snr")),) * 2
    assert found["wav_id"].to_list() == sorted(outputs.succeeded("snr"))
    assert found["n_raw_frames"].to_list() == [
        len(outputs.arrays["snr"][wav_id]["snr"]) for wav_id in found["wav_id"]
    ]
    for name in ("snr_mean", "c50_mean"):
        np.testing.assert_allclose(found[name], written[name], rtol=1e-12)
    assert adapter.load("plain")["snr_status"] == "ok"
    assert adapter.scan().collect().sort("wav_id").equals(found)
    assert adapter.exists("plain")


def test_clarity_without_speech_frames_or_c50(tmp_path: Path) -> None:
    folder = tmp_path / "snr"
    folder.mkdir()
    snr = np.array([1, 2, 4], np.float16)
    np.savez(folder / "no vad.npz", snr=snr, step_s=0.1)
    np.savez(folder / "no speech.npz", snr=snr, c50=snr, vad=np.zeros(3))
    np.savez(
        folder / "threshold.npz", snr=snr, c50=snr * 2, vad=[0.1, 0.2, 0.3], vad_threshold=0.15
    )
    np.savez(folder / "empty.npz", snr=snr[:0], c50=snr[:0], vad=snr[:0])
    np.savez(folder / "nan.npz", snr=np.array([np.nan, 1]), c50=snr[:2], vad=[1, 1])
    found = {row["wav_id"]: row for row in SNRAdapter(tmp_path).as_manifest().to_dicts()}
    mean = 7 / 3
    assert {
        key: (row["snr_mean"], row["c50_mean"]) for key, row in found.items() if key != "nan"
    } == {
        "no vad": (pytest.approx(mean), None),
        "no speech": (pytest.approx(mean), pytest.approx(mean)),
        "threshold": (3, 6),
        "empty": (None, None),
    }
    assert np.isnan(found["nan"]["snr_mean"])
    assert found["nan"]["c50_mean"] == 1.5
    np.savez(folder / "wrong.npz", snr=snr, c50=snr[:2])
    with pytest.raises(MetadataError, match=r"wrong\.npz, column 'c50': has the shape \(2,\)"):
        SNRAdapter(tmp_path).as_manifest()


def test_without_its_table_sounds_come_from_the_archives(tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path, 30)
    written = ESCAdapter(tmp_path).as_manifest().sort("wav_id")
    for path in (tmp_path / "esc_meta").iterdir():
        path.unlink()
    np.savez(
        tmp_path / "esc/zzz.npz", categories=np.zeros((0, 2)), category_names=np.array(["a", "b"])
    )
    found = ESCAdapter(tmp_path).as_manifest().sort("wav_id")
    columns = ("dominant_category", "dominant_prob", "n_pooled_bins")
    assert found.filter(wav_id="zzz").select(columns).row(0) == (None, None, 0)
    found = found.filter(pl.col("wav_id") != "zzz")
    assert found["dominant_category"].to_list() == written["dominant_category"].to_list()
    np.testing.assert_allclose(found["dominant_prob"], written["dominant_prob"], rtol=1e-6)
    assert len(found) == len(outputs.succeeded("esc"))


def test_a_missing_or_damaged_archive_is_named(tmp_path: Path) -> None:
    make_outputs(tmp_path, 5, with_failures=False)
    path = tmp_path / "snr/plain.npz"
    content = path.read_bytes()
    adapter = SNRAdapter(tmp_path)
    path.unlink()
    assert not adapter.exists("plain")
    with pytest.raises(MetadataError, match="cannot read the file") as caught:
        adapter.load("plain")
    assert (caught.value.wav_id, caught.value.source) == ("plain", str(path))
    path.write_bytes(content[:-30])
    with pytest.raises(MetadataError, match="not a complete NumPy archive") as caught:
        adapter.load("plain")
    assert (caught.value.wav_id, caught.value.source) == ("plain", str(path))


def test_ids_cannot_leave_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    ids = ["../secret", "/etc/passwd", "a/../../secret", "sub/fine", ".", ""]
    make_outputs(root, ids=ids, with_arrays=False, with_failures=False)
    (root / "snr/sub").mkdir(parents=True)
    np.savez(tmp_path / "secret.npz", snr=np.zeros(1))
    np.savez(root / "secret.npz", snr=np.zeros(1))
    np.savez(root / "snr/sub/fine.npz", snr=np.ones(1))
    adapter = SNRAdapter(root)
    for wav_id in ids:
        if wav_id == "sub/fine":
            assert adapter.load(wav_id)["snr"].tolist() == [1]
            continue
        with pytest.raises(MetadataError, match="is not the name of a file"):
            adapter.load(wav_id)
        assert not adapter.exists(wav_id)
    # Those stages look ids up in tables, where any id is as good as another.
    assert VADAdapter(root).load("../secret")["success"] is True


def test_large_and_unusual_archives_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    large = {"big": rng.normal(size=(300, 700)), "small": np.arange(3), "": np.array("é")}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **large)
        assert (tmp_path / "a.npz").stat().st_size > 1 << 20
        with np.load(tmp_path / "a.npz") as theirs, Npz(tmp_path / "a.npz") as ours:
            assert ours.names == theirs.files
            assert "big" in ours
            for name in theirs.files:
                np.testing.assert_array_equal(ours.array(name), theirs[name])
    import zipfile

    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "b.npz", "w", method) as archive:
            with archive.open("x.npy", "w") as member:
                np.lib.format.write_array(member, np.arange(5.0))
            archive.comment = b"a comment"
        np.testing.assert_array_equal(read_npz(tmp_path / "b.npz")["x"], np.arange(5.0))
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.comment = b"a comment"
        archive.writestr("x.npy", b"no array")
    with pytest.raises(MetadataError, match=r"c\.npz, column 'x'"):
        read_npz(tmp_path / "c.npz")


def test_arrays_may_be_written_into(outputs: Outputs) -> None:
    found = SNRAdapter(outputs.root).load("plain")["snr"]
    found[:] = 0
    assert SNRAdapter(outputs.root).load("plain")["snr"].any()


# Rows as plain arrays.

CELLS = {
    "int": (pl.Int64, st.none() | st.integers(-(2**63), 2**63 - 1)),
    "byte": (pl.UInt8, st.none() | st.integers(0, 255)),
    "float": (pl.Float64, st.none() | st.floats(allow_nan=False)),
    "bool": (pl.Boolean, st.none() | st.booleans()),
    "text": (pl.String, st.none() | st.text(st.characters(exclude_categories=["Cs"]))),
    "list": (pl.List(pl.Int64), st.none() | st.lists(st.integers(0, 9), max_size=3)),
}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"wav_id": st.sampled_from(["", "a", "b.c", "日本", "é", "\U0001f600", "￿"])}
            | {name: cells for name, (_, cells) in CELLS.items()}
        ),
        max_size=20,
    )
)
def test_columns_give_the_rows_of_a_frame(rows: list[dict[str, Any]]) -> None:
    schema = {"wav_id": pl.String} | {name: dtype for name, (dtype, _) in CELLS.items()}
    columns = pickle.loads(pickle.dumps(RowsById(pl.DataFrame(rows, schema=schema, orient="row"))))
    ids = {row["wav_id"] for row in rows}
    assert len(columns) == len(ids)
    for wav_id in [*ids, "missing"]:
        truth = [
            {key: value for key, value in row.items() if key != "wav_id"}
            for row in rows
            if row["wav_id"] == wav_id
        ]
        assert columns.rows(wav_id) == truth
        assert (wav_id in columns) == bool(truth)


def test_many_texts_are_kept_apart() -> None:
    texts = [None if number % 7 == 0 else f"t{number}é" for number in range(1_000)]
    columns = RowsById(pl.DataFrame({"wav_id": [f"{n:03}" for n in range(1_000)], "text": texts}))
    assert [columns.rows(f"{n:03}")[0]["text"] for n in range(1_000)] == texts


# Workers.

WORKER = """
import pickle, sys
for path in sys.argv[1:]:
    adapter = pickle.load(open(path, "rb"))
    found = adapter.load("plain")
    assert "polars" not in sys.modules, path
    print(sorted(found), adapter.exists("nothing"))
"""


def test_pickled_adapters_need_no_polars(outputs: Outputs, tmp_path: Path) -> None:
    """One process for all kinds: it imports PyTorch."""
    paths = [tmp_path / f"{kind.__name__}.pkl" for kind in ADAPTERS]
    for kind, path in zip(ADAPTERS, paths, strict=True):
        path.write_bytes(pickle.dumps(kind(outputs.root)))
    command = [sys.executable, "-c", WORKER, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = [f"{sorted(kind(outputs.root).load('plain'))} False" for kind in ADAPTERS]
    assert done.stdout.splitlines() == expected


def in_worker(adapter: VADAdapter, results: Any) -> None:
    try:
        results.put(len(adapter.load("plain")["vad_raw"]))
    except DataError as error:
        results.put(str(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore::RuntimeWarning")
def test_after_a_fork_adapters_read_or_say_why_not(outputs: Outputs) -> None:
    context = multiprocessing.get_context("fork")
    prepared = VADAdapter(outputs.root).prepare()
    expected = len(outputs.segments_of("vad_raw", "plain"))
    for adapter, answer in ((prepared, expected), (VADAdapter(outputs.root), "call prepare()")):
        results = context.Queue()
        worker = context.Process(target=in_worker, args=(adapter, results))
        worker.start()
        found = results.get(timeout=60)
        worker.join(60)
        assert worker.exitcode == 0
        assert found == answer if isinstance(answer, int) else answer in found


def test_prepare_sees_newer_outputs(tmp_path: Path) -> None:
    make_outputs(tmp_path, 5, with_failures=False)
    adapter = VADAdapter(tmp_path).prepare()
    make_outputs(tmp_path, 6, with_failures=False)
    new = make_outputs(tmp_path, 6, with_failures=False).ids[-1]
    assert not adapter.exists(new)
    assert adapter.prepare().exists(new)


def test_load_does_not_read_the_segments_again(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = VTCAdapter(outputs.root).prepare()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a table is read again")

    monkeypatch.setattr(pl, "scan_parquet", refuse)
    monkeypatch.setattr(pl, "read_parquet_schema", refuse)
    assert all(adapter.load(wav_id)["wav_id"] == wav_id for wav_id in outputs.succeeded("vtc"))


def test_progress_may_be_a_bar(outputs: Outputs, capsys: pytest.CaptureFixture[str]) -> None:
    plain = VADAdapter(outputs.root).as_manifest()
    assert VADAdapter(outputs.root).as_manifest(progress=True).equals(plain)
    calls: list[tuple[int, int]] = []
    VADAdapter(outputs.root).as_manifest(lambda done, total: calls.append((done, total)))
    assert calls == [(len(plain), len(plain))]
    assert capsys.readouterr().out == ""


def test_the_helper_tells_the_truth(outputs: Outputs) -> None:
    """Read by nothing of ours."""
    for stage, (path, column) in TABLES.items():
        files = sorted((outputs.root / path).parent.glob("*.parquet"))
        frame = pl.concat([pl.read_parquet(file) for file in files])
        assert frame[column].to_list() == outputs.ids
        assert frame.rows(named=True) == outputs.meta[stage]
    counts = json.loads(outputs.meta["vtc"][0]["vtc_label_counts"])
    rows = [row for row in outputs.segments["vtc_raw"] if row["uid"] == outputs.ids[0]]
    assert sum(counts.values()) == len(rows)
    with np.load(outputs.root / "snr/plain.npz") as archive:
        assert clarity_means(dict(archive)) == clarity_means(outputs.arrays["snr"]["plain"])


def test_code_of_the_page(tmp_path: Path) -> None:
    """The blocks of docs/dataloader-adapters.md run one after the other, as a reader would."""
    import re

    import ossicle

    make_outputs(tmp_path / "output/seedlings", 16)
    (tmp_path / "alignments").mkdir()
    (tmp_path / "alignments/phones.ctm").write_text("rec_000000 1 0.5 0.25 a\n")
    rng = np.random.default_rng(0)
    clip = rng.uniform(-0.5, 0.5, 8_000).astype(np.float32)
    ossicle.save(tmp_path / "rec_000000.wav", clip, 16_000)
    page = Path(__file__).parents[1] / "docs/dataloader-adapters.md"
    codes = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    check = """
assert len(segments) == len(ids) and any(segments)
assert (again["rms"] == metadata["rms"]).all() and again["step_s"] == 0.025
assert registry.create("loudness").exists("rec_000000", out)
assert str(store.path_for("day 1/rec.a")) == "labels/day 1%2Frec.a.json"
assert store.list_ids() == ["day 1/rec.a"]
assert default_registry().names() == ["esc", "phoneme", "snr", "vad", "vtc"]
"""
    script = tmp_path / "page.py"
    script.write_text("\n".join(codes) + check, "utf-8")
    printed = run_script(script, folder=tmp_path)
    assert "0.5 0.75 a" in printed
    assert "column 'score': a .json file cannot hold this float" in printed

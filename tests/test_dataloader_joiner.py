"""Joins of manifests against plain dicts, Polars and pandas; manifests of whole output folders."""

from __future__ import annotations

import collections
import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_outputs import make_outputs

from ossicle.data.errors import ManifestError, MissingStageError
from ossicle.dataloader.outputs import joins
from ossicle.dataloader.outputs.build import build_manifest
from ossicle.dataloader.outputs.config import FilterConfig
from ossicle.dataloader.outputs.joiner import ManifestJoiner
from ossicle.dataloader.outputs.manifest import MetadataManifest

Rows = dict[str, dict[str, Any]]
NAMES = ["a", "b", "", "é", "a b", "😀", "*"]
COLUMNS = ["x", "y", "^.*$", "*"]
ABSENT = object()


def coalesced(column: str, of: Mapping[str, pl.Expr]) -> pl.Expr:
    return pl.coalesce(of.values())


@st.composite
def tables(draw: st.DrawFn) -> list[Rows]:
    """Two to four tables: rows by name, columns of whole numbers and null."""
    made = []
    for _ in range(draw(st.integers(2, 4))):
        columns = draw(st.lists(st.sampled_from(COLUMNS), unique=True, max_size=3))
        names = draw(st.lists(st.sampled_from(NAMES), unique=True))
        value = st.none() | st.integers(0, 9)
        rows = {name: {column: draw(value) for column in columns} for name in names}
        made.append({"columns": columns, "rows": rows})
    return made


def manifest(one: Rows, source: str) -> MetadataManifest:
    rows = [{"wav_id": name, **row} for name, row in one["rows"].items()]
    schema = {"wav_id": pl.String, **dict.fromkeys(one["columns"], pl.Int64)}
    return MetadataManifest(pl.DataFrame(rows, schema=schema), source)


def naive(made: list[Rows], how: str, conflict: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The join, written with dicts."""
    parts = [one["rows"] for one in made]
    names = [name for part in parts for name in part]
    names = list(dict.fromkeys(names))  # those of the first, then of the second, ...
    if how == "inner":
        names = [name for name in names if all(name in part for part in parts)]
    elif how == "left":
        names = list(parts[0])
    owners: dict[str, list[int]] = {}
    for number, one in enumerate(made):
        for column in one["columns"]:
            owners.setdefault(column, []).append(number)
    joined, columns = [], ["wav_id"]
    for column, numbers in owners.items():
        shared = len(numbers) > 1 and conflict == "prefix"
        columns += [f"s{at}_{column}" for at in numbers] if shared else [column]
    for name in names:
        row = {"wav_id": name}
        for column, numbers in owners.items():
            values = [parts[at].get(name, {}).get(column, ABSENT) for at in numbers]
            if len(numbers) > 1 and conflict == "prefix":
                row |= {f"s{at}_{column}": v for at, v in zip(numbers, values, strict=True)}
                continue
            there = [value for value in values if value is not ABSENT]
            if conflict == "coalesce":
                there = [value for value in there if value is not None]
            row[column] = (there or [None])[-1 if conflict == "last" else 0]
        joined.append({key: None if value is ABSENT else value for key, value in row.items()})
    return columns, joined


@settings(max_examples=300, deadline=None)
@given(
    tables(),
    st.sampled_from(["inner", "left", "outer"]),
    st.sampled_from(["prefix", "first", "last", "coalesce"]),
    st.booleans(),
)
def test_joins_are_those_of_dicts(made: list[Rows], how: Any, conflict: Any, is_lazy: bool) -> None:
    several = ManifestJoiner(how, coalesced if conflict == "coalesce" else conflict)
    for number, one in enumerate(made):
        part = manifest(one, f"s{number}")
        several.add(MetadataManifest(part.df.lazy(), part.source) if is_lazy else part)
    joined = several.join()
    columns, rows = naive(made, how, conflict)
    assert joined.columns == columns
    assert joined.df.to_dicts() == rows  # the order too
    assert (joined.wav_ids, len(joined)) == ([row["wav_id"] for row in rows], len(rows))
    assert joined.source == "+".join(f"s{number}" for number in range(len(made)))


@pytest.mark.parametrize("how", ["inner", "left", "outer"])
def test_many_rows_join_as_by_hand_in_polars_and_pandas(how: Any) -> None:
    parts = []
    for number in range(3):
        ids = pl.int_range(20_000, eager=True).sample(15_000, shuffle=True, seed=number)
        name = pl.format("corpus/rec {}", pl.col("id"))
        value = (pl.col("id") * (number + 3)) % 97
        parts.append(
            pl.DataFrame({"id": ids}).select(name.alias("wav_id"), value.alias(f"v{number}"))
        )
    several = ManifestJoiner(how)
    for number, part in enumerate(parts):
        several.add(MetadataManifest(part, f"s{number}"))
    found = several.join().df
    by_hand = parts[0]
    for part in parts[1:]:
        kind = "full" if how == "outer" else how
        by_hand = by_hand.join(part, on="wav_id", how=kind, coalesce=True)
    assert found.sort("wav_id").equals(by_hand.sort("wav_id"))
    first = parts[0]["wav_id"].to_list()
    kept = set(found["wav_id"])
    assert found["wav_id"].to_list()[: len(kept & set(first))] == [n for n in first if n in kept]
    check_with_pandas(parts, how, found)


def check_with_pandas(parts: list[pl.DataFrame], how: Any, found: pl.DataFrame) -> None:
    frames = [pandas.DataFrame(part.to_dict(as_series=False)) for part in parts]
    theirs = frames[0]
    for frame in frames[1:]:
        theirs = theirs.merge(frame, on="wav_id", how=how, validate="one_to_one")
    rows = theirs.sort_values("wav_id").astype(object)
    rows = rows.where(rows.notna(), None)
    assert found.sort("wav_id").rows() == [tuple(row) for row in rows.to_numpy()]


def two(x: list[Any], other: list[Any], sources: tuple[str, str] = ("vad", "vtc")) -> Any:
    left = MetadataManifest(pl.DataFrame({"wav_id": ["a", "b"], "x": x}), sources[0])
    right = MetadataManifest(pl.DataFrame({"wav_id": ["b", "c"], "x": other}), sources[1])
    return left, right


def test_conflicts_are_errors_that_name_column_and_sources() -> None:
    left, right = two([1, 2], [3, 4])
    with pytest.raises(ManifestError, match="'vad' and 'vtc'") as caught:
        ManifestJoiner().add(left).add(right).join()
    assert caught.value.column == "x"
    with pytest.raises(ManifestError, match="'vad' and 'vtc'"):
        left.join(right)
    same = two([1, 2], [3, 4], ("vad", "vad"))
    for conflict in ("prefix", coalesced):
        with pytest.raises(ManifestError, match="'vad' and 'vad'"):
            ManifestJoiner("inner", conflict).add(same[0]).add(same[1]).join()
    taken = MetadataManifest(pl.DataFrame({"wav_id": ["a"], "vad_x": [1]}), "other")
    with pytest.raises(ManifestError) as caught:
        ManifestJoiner("inner", "prefix").add(left).add(right).add(taken).join()
    assert caught.value.column == "vad_x"


def test_columns_of_two_types_are_not_made_one() -> None:
    left, right = two([1, 2], ["3", "4"])
    for conflict in ("first", "last"):
        with pytest.raises(ManifestError, match="Int64 in 'vad', String in 'vtc'") as caught:
            ManifestJoiner("outer", conflict).add(left).add(right).join()
        assert caught.value.column == "x"
    left, right = two([1, 2], [None, None])  # but null is of every type
    joined = ManifestJoiner("outer", "first").add(left).add(right).join()
    assert joined.df.rows() == [("a", 1), ("b", 2), ("c", None)]


def test_what_a_joiner_refuses() -> None:
    with pytest.raises(ManifestError, match="no manifests to join"):
        ManifestJoiner().join()
    with pytest.raises(ManifestError, match="how must be"):
        ManifestJoiner("full")  # type: ignore[arg-type]
    with pytest.raises(ManifestError, match="conflict is"):
        ManifestJoiner("inner", "suffix")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a MetadataManifest was expected"):
        ManifestJoiner().add(pl.DataFrame())  # type: ignore[arg-type]
    left, right = two([1, 2], [3, 4])
    with pytest.raises(TypeError, match="gives an expression"):
        ManifestJoiner("inner", lambda column, of: 3).add(left).add(right).join()  # type: ignore
    assert ManifestJoiner().add(left).join() is left


def test_the_halves_of_a_key_are_independent() -> None:
    # Were they not, 128 bits would be no safer than 64.
    ids = pl.DataFrame({"wav_id": [f"rec_{number}" for number in range(50_000)]})
    keys = joins._part(MetadataManifest(ids, "vad"), 0).collect()[joins._KEY].to_list()
    halves = [(key >> 64, key & ((1 << 64) - 1)) for key in keys]
    assert len({high & ((1 << 64) - 1) ^ low for high, low in halves}) == 50_000
    for values in zip(*halves, strict=True):
        assert len(set(values)) == 50_000
        buckets = collections.Counter(value >> 40 & 0xFFFF for value in values)
        assert max(buckets.values()) < 12  # 0.76 expected


def test_join_by_another_column() -> None:
    clips = MetadataManifest(
        pl.DataFrame({"wav_id": ["c2", "c1", "c3", "c4"], "speaker": ["s", "t", "s", None]}), "clip"
    )
    speakers = MetadataManifest(
        pl.DataFrame({"wav_id": ["u", "v"], "speaker": ["s", "x"], "age": [3, 4]}), "who"
    )
    joined = clips.join(speakers, on="speaker")
    assert joined.df.to_dicts() == [
        {"wav_id": "c2", "speaker": "s", "who_wav_id": "u", "age": 3},
        {"wav_id": "c3", "speaker": "s", "who_wav_id": "u", "age": 3},
    ]
    left = clips.join(speakers, on="speaker", how="left")
    assert left.df["age"].to_list() == [3, None, 3, None]
    for other, on, why in [
        (clips, "speaker", "is a duplicate"),
        (speakers, "age", "unknown column"),
        (speakers.select(["age"]), "speaker", "unknown column"),
    ]:
        with pytest.raises(ManifestError, match=why) as caught:
            clips.join(other, on=on)
        assert caught.value.column == on
    with pytest.raises(ManifestError, match="by another column"):
        clips.join(speakers, on="speaker", how="outer")


# --- output folders


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_outputs(tmp_path_factory.mktemp("outputs"), n=60)


def expected_ids(outputs: Any, stages: list[str]) -> list[str]:
    return [name for name in outputs.ids if all(name not in outputs.failed[s] for s in stages)]


def test_a_whole_output_folder(outputs: Any) -> None:
    manifest = build_manifest(outputs.root)
    stages = ["vad", "vtc", "snr", "esc"]
    assert manifest.wav_ids == expected_ids(outputs, stages)
    assert 0 < len(manifest) < len(outputs.ids)
    assert manifest.source == "vad+vtc+snr+esc"
    assert {"vad_error", "vtc_error", "duration", "speech_ratio", "snr_mean"} <= set(
        manifest.columns
    )
    assert "error" not in manifest.columns
    for stage in stages:
        rows = {row.get("uid", row.get("file_id")): row for row in outputs.meta[stage]}
        for row in manifest.df.iter_rows(named=True):
            for column, value in rows[row["wav_id"]].items():
                if column in ("uid", "file_id"):
                    continue
                name = column if column in row else f"{stage}_{column}"
                assert row[name] == value or (value is None and row[name] is None)


@pytest.mark.parametrize("how", ["inner", "left", "outer"])
def test_some_stages_alone(outputs: Any, how: Any) -> None:
    manifest = build_manifest(outputs.root, stages=["vtc", "snr"], how=how)
    ids = [set(expected_ids(outputs, [stage])) for stage in ("vtc", "snr")]
    kept = {"inner": ids[0] & ids[1], "left": ids[0], "outer": ids[0] | ids[1]}[how]
    assert sorted(manifest.wav_ids) == sorted(kept)
    assert "error" in manifest.columns  # of the VTC alone
    assert "duration" not in manifest.columns


@pytest.mark.parametrize("how", ["inner", "outer"])
def test_filters_keep_what_plain_python_keeps(outputs: Any, how: Any) -> None:
    whole = build_manifest(outputs.root, how=how).df.to_dicts()
    median = sorted(row["snr_mean"] for row in whole if row["snr_mean"] is not None)[
        len(whole) // 3
    ]
    filters = FilterConfig(
        min_snr_db=median,
        min_speech_ratio=0.01,
        required_labels=["KCHI"],
        excluded_esc_categories=["music"],
        max_duration=1e6,
    )

    def keep(row: dict[str, Any]) -> bool:
        asked = ("snr_mean", "speech_ratio", "vtc_label_counts", "dominant_category", "duration")
        return (
            all(row[name] is not None for name in asked)
            and row["snr_mean"] >= median
            and row["speech_ratio"] >= 0.01
            and json.loads(row["vtc_label_counts"]).get("KCHI", 0) > 0
            and row["dominant_category"] != "music"
        )

    expected = [row["wav_id"] for row in whole if keep(row)]
    assert 0 < len(expected) < len(whole)
    assert build_manifest(outputs.root, filters, how=how).wav_ids == expected


def test_conditions_are_met_where_the_files_are_read(outputs: Any) -> None:
    filters = FilterConfig(0.1, 3.0, ["FEM", "CHI"], ["music"], 1.0, 100.0)
    plan = build_manifest(outputs.root, filters).lazy.explain()
    assert "JOIN" in plan
    assert "FILTER" not in plan.split("JOIN")[0]


def test_stages_that_have_not_run_are_listed_with_what_is_there(tmp_path: Path) -> None:
    root = make_outputs(tmp_path, n=15).root
    for folder in ("snr_meta", "snr", "esc_meta", "esc"):
        if (root / folder).is_dir():
            (root / folder).rename(tmp_path / f"gone_{folder}")
    with pytest.raises(MissingStageError) as caught:
        build_manifest(root)
    told = str(caught.value)
    for text in (str(root), "'snr'", "'esc'", "snr_meta/shard_*.parquet", "vad_meta", "vtc_meta"):
        assert text in told
    assert "stages=['vad', 'vtc']" in told
    assert len(build_manifest(root, stages=["vad", "vtc"])) > 0
    with pytest.raises(MissingStageError, match="'snr', which was left out"):
        build_manifest(root, FilterConfig(min_snr_db=1), ["vad", "vtc"])
    with pytest.raises(MissingStageError, match="no stage has"):
        build_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("stages", "why"),
    [
        (["vad", "asr"], "unknown stage 'asr': there are"),
        (["vad", "vad"], "twice"),
        ([], "names"),
        ("vad", "names"),
    ],
)
def test_stages_that_are_none(outputs: Any, stages: Any, why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        build_manifest(outputs.root, stages=stages)


def test_damage_in_a_stage_is_told_with_its_place(tmp_path: Path) -> None:
    root = make_outputs(tmp_path, n=15).root
    file = sorted((root / "vtc_meta").glob("*.parquet"))[0]
    whole = pl.read_parquet(file)
    wanted = whole.filter(pl.col("vtc_status") != "error")["uid"][0]
    broken = (
        pl.when(pl.col("uid") == wanted).then(pl.lit('{"KCHI": 1')).otherwise("vtc_label_counts")
    )
    whole.with_columns(broken.alias("vtc_label_counts")).write_parquet(file)
    with pytest.raises(ManifestError, match=r"is not a JSON object: '\{\"KCHI\": 1'") as caught:
        build_manifest(root, FilterConfig(required_labels=["FEM"]))
    assert (caught.value.wav_id, caught.value.column) == (wanted, "vtc_label_counts")
    pl.concat([whole, whole.filter(pl.col("uid") == wanted)]).write_parquet(file)
    with pytest.raises(ManifestError, match="more than once") as caught:
        build_manifest(root)
    assert (caught.value.wav_id, "stage 'vtc'" in str(caught.value)) == (wanted, True)


def _changed(name: str, how: str) -> str:
    match how:
        case "case":
            return name.upper()
        case "spaces":
            return f" {name} "
        case "an extension":
            return f"{name}.wav"
        case "a folder":
            return f"corpus/{name}"
        case "leading zeros":
            return f"00{name}"
        case "the form of their accents":
            return unicodedata.normalize("NFD", name)
        case "folder and extension":
            return f"a/b/{name}.flac"
    return f"a/ {name.upper()}.FLAC"


FORMS = ["case", "spaces", "an extension", "a folder", "leading zeros",
         "the form of their accents", "folder and extension",
         "folder, extension, case and spaces"]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FORMS),
    st.sets(st.sampled_from([f"r\u00e9c{n}" for n in range(1, 9)]), min_size=1),
    st.integers(0, 3),
    st.booleans(),
)
def test_ids_that_nearly_match_are_told(
    how: str, names: set[str], same: int, is_left: bool
) -> None:
    left = [f"s{n}" for n in range(same)] + sorted(names)
    right = [f"s{n}" for n in range(same)] + [_changed(name, how) for name in sorted(names)]
    left, right = (left, right) if is_left else (right, left)
    made = [
        MetadataManifest(pl.DataFrame({"wav_id": ids, column: range(len(ids))}), source)
        for ids, column, source in ((left, "x", "vad"), (right, "y", "vtc"))
    ]
    joiner = ManifestJoiner().add(made[0]).add(made[1])
    example = f"they differ by {how}, as {left[same]!r} and {right[same]!r}"
    if not same:
        for join in (
            joiner.join,
            lambda: made[0].join(made[1]),
            lambda: made[0].join(made[1], how="left"),
        ):
            with pytest.raises(ManifestError) as caught:
                join()
            assert caught.value.reason == (
                f"no row of 'vad' has the wav_id of one of 'vtc': {example}"
            )
        return
    with pytest.warns(RuntimeWarning, match="match no other by wav_id: they differ by"):
        joined = joiner.join()
    assert joined.wav_ids == left[:same]
    assert joined.unmatched == {"vad": len(names), "vtc": len(names)}
    assert joined.filter(pl.col("x") >= 0).unmatched == joined.unmatched


def test_ids_that_have_nothing_in_common_are_left_out_and_counted() -> None:
    made = [
        MetadataManifest(pl.DataFrame({"wav_id": ids, column: range(len(ids))}), column)
        for ids, column in ((["a", "b"], "x"), (["c", "b", "d"], "y"))
    ]
    joined = made[0].join(made[1])
    assert (joined.wav_ids, joined.unmatched) == (["b"], {"x": 1, "y": 2})
    assert made[0].unmatched == {}
    speakers = MetadataManifest(pl.DataFrame({"wav_id": ["s"], "who": ["ANN"], "age": [3]}), "ages")
    clips = MetadataManifest(pl.DataFrame({"wav_id": ["a", "b"], "who": ["ann", None]}), "clips")
    with pytest.raises(ManifestError, match="they differ by case, as 'ann' and 'ANN'"):
        clips.join(speakers, on="who")
    numbers = MetadataManifest(pl.DataFrame({"wav_id": ["s"], "who": [1]}), "numbers")
    with pytest.raises(ManifestError, match=r"holds String and Int64: cast one, as by pl\.col"):
        clips.join(numbers, on="who")
    with pytest.raises(ManifestError, match=r"holds Int64, not text: cast it, as by pl\.col"):
        MetadataManifest(pl.DataFrame({"wav_id": [1]}), "numbers")

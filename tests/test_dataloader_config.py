"""PipelineConfig and FilterConfig: versions, files, and conditions against plain Python."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import Sweep

from ossicle.data.errors import DataError, ManifestError, MissingStageError
from ossicle.dataloader.outputs.config import CONFIG_FILE, FilterConfig, PipelineConfig

shares = st.floats(0, 1) | st.sampled_from([0, 1, 0.0, -0.0])
lengths = st.floats(0.001, 1e6) | st.integers(1, 1000)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
pipelines = st.builds(
    PipelineConfig,
    vad_threshold=shares,
    vad_hop_size=st.integers(1, 10_000),
    vtc_threshold=shares,
    vtc_checkpoint=texts,
    esc_pool_window=lengths,
    max_clip_s=lengths,
    audio_fmt=st.sampled_from(["wav", "flac"]),
)


@given(pipelines)
def test_a_saved_config_is_loaded_equal(
    tmp_path_factory: pytest.TempPathFactory, config: PipelineConfig
) -> None:
    folder = tmp_path_factory.mktemp("run") / "new" / "folder"
    file = config.save(folder)
    assert file == folder / CONFIG_FILE == folder / "pipeline_config.json"
    for path in (folder, file, str(folder)):
        loaded = PipelineConfig.load(path)
        assert (loaded, loaded.version, hash(loaded)) == (config, config.version, hash(config))
    assert [path.name for path in folder.iterdir()] == [CONFIG_FILE]  # nothing temporary stays


@given(pipelines, pipelines)
def test_versions_are_equal_where_values_are(one: PipelineConfig, two: PipelineConfig) -> None:
    assert (one.version == two.version) == (one == two)
    assert len(one.version) == 12
    assert set(one.version) <= set("0123456789abcdef")
    assert PipelineConfig.from_dict(dict(reversed(asdict(one).items()))).version == one.version


def test_every_field_counts_in_the_version() -> None:
    changed = {"": PipelineConfig()}
    for each in fields(PipelineConfig):
        values = {"float": 0.25, "int": 7, "str": "flac"}
        changed[each.name] = replace(PipelineConfig(), **{each.name: values[str(each.type)]})
    assert len({config.version for config in changed.values()}) == len(changed)
    # 1 and 1.0 are one value, and 0.0 and -0.0.
    assert PipelineConfig(max_clip_s=1).version == PipelineConfig(max_clip_s=1.0).version
    assert PipelineConfig(vad_threshold=-0.0).version == PipelineConfig(vad_threshold=0).version


def test_the_version_is_the_same_in_another_process(sweep: Sweep) -> None:
    code = "from ossicle.dataloader import PipelineConfig as P; print(P(vad_threshold=0.3).version)"
    for seed in sweep(("1", "2"), one_in=2):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == PipelineConfig(vad_threshold=0.3).version
    # Folders are named by it: it must not change between releases either.
    assert PipelineConfig().version == "08e7e86f55ef"


@pytest.mark.parametrize(
    ("content", "field", "why"),
    [
        ('{"vad_treshold": 0.5}', "vad_treshold", "unknown field"),
        ('{"vad_threshold": "0.5"}', "vad_threshold", "a number, not '0.5'"),
        ('{"vad_threshold": null}', "vad_threshold", "a number, not None"),
        ('{"vad_threshold": true}', "vad_threshold", "a number, not True"),
        ('{"vad_threshold": NaN}', "vad_threshold", "finite"),
        ('{"vad_threshold": 1.5}', "vad_threshold", "at most 1"),
        ('{"vad_hop_size": 2.0}', "vad_hop_size", "a whole number"),
        ('{"vad_hop_size": 0}', "vad_hop_size", "at least 1"),
        ('{"vtc_checkpoint": 3}', "vtc_checkpoint", "text"),
        ('{"max_clip_s": 0}', "max_clip_s", "above 0"),
        ('{"audio_fmt": "mp3"}', "audio_fmt", "wav or flac"),
        ('{"shard_size": 1, "shard_size": 2}', "shard_size", "twice"),
        ('["vad_threshold"]', None, "not a JSON object"),
        ('{"vad_threshold": 0.5', None, "not valid JSON"),
        ("\xff", None, "not valid JSON"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, content: str, field: str | None, why: str
) -> None:
    file = tmp_path / CONFIG_FILE
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=why) as caught:
        PipelineConfig.load(tmp_path)
    assert (caught.value.source, caught.value.column) == (str(file), field)


def test_a_file_may_leave_fields_out_but_must_be_there(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('{"vad_threshold": 1}')
    assert PipelineConfig.load(tmp_path) == PipelineConfig(vad_threshold=1.0)
    with pytest.raises(FileNotFoundError):
        PipelineConfig.load(tmp_path / "nowhere")


def test_a_save_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PipelineConfig(shard_size=3).save(tmp_path)

    def full(self: Path, text: str, **_: Any) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        PipelineConfig().save(tmp_path)
    assert PipelineConfig.load(tmp_path).shard_size == 3
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG_FILE]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"min_snr": 3}, "min_snr"),
        ({"min_snr_db": "3"}, "min_snr_db"),
        ({"min_snr_db": math.nan}, "min_snr_db"),
        ({"min_speech_ratio": 30}, "min_speech_ratio"),
        ({"min_duration": -1}, "min_duration"),
        ({"min_duration": 3, "max_duration": 2}, "min_duration"),
        ({"required_labels": "KCHI"}, "required_labels"),
        ({"required_labels": [1]}, "required_labels"),
        ({"required_labels": ["a\\b"]}, "required_labels"),
        ({"excluded_esc_categories": 5}, "excluded_esc_categories"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(values: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError) as caught:
        FilterConfig.from_dict(values)
    assert caught.value.column == field


# --- conditions against plain Python

NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.3, 10.0])
LABELS = st.sampled_from(["KCHI", "CHI", "FEM", "a.b", "it's", 'q"q', "é 😀", "", "$", "x\ny"])
COUNTS = st.dictionaries(LABELS, st.integers(0, 3) | st.none() | st.just("many"), max_size=5)
ROWS = st.fixed_dictionaries(
    {
        "duration": NUMBERS,
        "speech_ratio": NUMBERS,
        "snr_mean": NUMBERS,
        "dominant_category": st.none() | st.sampled_from(["music", "other", ""]),
        "vtc_label_counts": st.none()
        | st.sampled_from(["", "{", "null", "[]"])
        | st.builds(
            lambda counts, plain: json.dumps(counts, ensure_ascii=plain), COUNTS, st.booleans()
        ),
    }
)
FILTERS = st.builds(
    FilterConfig,
    min_speech_ratio=st.none() | st.sampled_from([0, 0.3, 1]),
    min_snr_db=st.none() | st.floats(-20, 20) | st.just(10.0),
    required_labels=st.lists(LABELS, max_size=2),
    excluded_esc_categories=st.lists(st.sampled_from(["music", "x"]), max_size=2),
    min_duration=st.none() | st.just(0.3),
    max_duration=st.none() | st.sampled_from([10.0, 1e6]),
)
SCHEMA = {
    "duration": pl.Float64,
    "speech_ratio": pl.Float64,
    "snr_mean": pl.Float64,
    "dominant_category": pl.String,
    "vtc_label_counts": pl.String,
}


def passes(filters: FilterConfig, row: dict[str, Any]) -> bool:
    """What the conditions mean, one row at a time."""

    def number(name: str) -> float:
        return math.nan if row[name] is None else row[name]

    try:
        counts = json.loads(row["vtc_label_counts"] or "null")
    except ValueError:
        counts = None
    counts = counts if isinstance(counts, dict) else {}
    category = row["dominant_category"]
    return all(
        [
            filters.min_duration is None or number("duration") >= filters.min_duration,
            filters.max_duration is None or number("duration") <= filters.max_duration,
            filters.min_speech_ratio is None or number("speech_ratio") >= filters.min_speech_ratio,
            filters.min_snr_db is None or number("snr_mean") >= filters.min_snr_db,
            not filters.excluded_esc_categories
            or (category is not None and category not in filters.excluded_esc_categories),
            *(
                isinstance(counts.get(label), int) and counts[label] > 0
                for label in filters.required_labels
            ),
        ]
    )


@settings(max_examples=200)
@given(st.lists(ROWS, max_size=12), FILTERS, st.booleans())
def test_conditions_are_what_plain_python_says(
    rows: list[dict[str, Any]], filters: FilterConfig, prefixed: bool
) -> None:
    df = pl.DataFrame(rows, schema=SCHEMA)
    if prefixed:  # as build_manifest names columns that several stages have
        df = df.rename({"duration": "vad_duration"})
    mask = df.select(filters.expression(df.schema, ["vad", "vtc", "snr", "esc"])).to_series()
    expected = [passes(filters, row) for row in rows]
    if df.height and len(mask) == 1:
        mask = mask.new_from_index(0, df.height)  # without conditions: the literal true
    assert mask.to_list()[: df.height] == expected
    lazy = df.lazy().with_row_index().filter(filters.expression(df.columns))
    assert lazy.collect()["index"].to_list() == [at for at, ok in enumerate(expected) if ok]


@pytest.mark.parametrize(
    "label", ["KCHI", "a.b", "it's", 'q"q', "é 😀", "", "$", "*", "[0]", "x\ny"]
)
@pytest.mark.parametrize("plain", [True, False])
def test_a_label_occurs_where_its_count_is_above_zero(label: str, plain: bool) -> None:
    counts: list[Any] = [2, 0, None, 0.0, -1, 0.5, "no", {}]
    rows = [json.dumps({"x": 1, label: count}, ensure_ascii=plain) for count in counts]
    df = pl.DataFrame({"vtc_label_counts": [*rows, json.dumps({f"{label}x": 3}), "{}"]})
    mask = df.select(FilterConfig(required_labels=[label]).expression(df.schema)).to_series()
    assert mask.to_list() == [True, *[False] * 4, True, *[False] * 4]


def test_whole_numbers_and_categories_do_too() -> None:
    df = pl.DataFrame({"duration": [1, 5, None], "dominant_category": ["music", "x", "x"]})
    df = df.with_columns(pl.col("dominant_category").cast(pl.Categorical))
    filters = FilterConfig(min_duration=1, excluded_esc_categories=["music"])
    assert df.filter(filters.expression(df.schema))["duration"].to_list() == [5]


@pytest.mark.parametrize(
    ("filters", "column", "stage"),
    [
        (FilterConfig(min_snr_db=1), "snr_mean", "snr"),
        (FilterConfig(min_speech_ratio=0), "speech_ratio", "vad"),
        (FilterConfig(max_duration=1), "duration", "vad"),
        (FilterConfig(required_labels=["CHI"]), "vtc_label_counts", "vtc"),
        (FilterConfig(excluded_esc_categories=["music"]), "dominant_category", "esc"),
    ],
)
def test_a_condition_without_its_stage_or_column_is_an_error(
    filters: FilterConfig, column: str, stage: str
) -> None:
    others = {name: kind for name, kind in SCHEMA.items() if name != column}
    stages = ["vad", "vtc", "snr", "esc"]
    with pytest.raises(ManifestError, match=f"stage '{stage}'") as caught:
        filters.expression(others, stages)
    assert caught.value.column == column
    stages.remove(stage)
    with pytest.raises(MissingStageError, match=f"'{stage}', which was left out") as caught:
        filters.expression(SCHEMA, stages)
    assert caught.value.column == column
    wrong = pl.Boolean if SCHEMA[column] == pl.Float64 else pl.Int64
    with pytest.raises(ManifestError, match=r"needs (text|numbers)") as caught:
        filters.expression({**SCHEMA, column: wrong})
    assert caught.value.column == column

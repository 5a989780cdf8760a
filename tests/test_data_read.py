"""`ossicle.data.read`: whatever holds rows becomes rows of one schema, and no row is lost."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import ossicle
from ossicle.data import (
    SCHEMA,
    DataError,
    ManifestError,
    Rows,
    Segment,
    read,
    recordings_of,
    write_faults,
)
from ossicle.data.delimited import Dialect, field_of, records
from ossicle.errors import AudioFileNotFoundError

RATE = 16_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(RATE + number), RATE)
    return tmp_path


def values(rows: Rows) -> list[dict[str, Any]]:
    """What each row has."""
    return [{name: row[name] for name in row if row[name] is not None} for row in rows]


ROWS = [
    {"id": f"u{n}", "audio": f"{n}.wav", "offset": 0.25 * n, "duration": 0.5, "channel": 0,
     "sample_rate": RATE, "text": f'it said "{n}", twice', "language": "en", "speaker": "s1",
     "split": "train", "sha256": "0" * 64, "snr": 1.5 * n}
    for n in range(3)
]  # fmt: skip


def test_rows_are_of_one_schema_and_lazy(folder: Path) -> None:
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    rows = read(path)
    assert "so far" in repr(rows)
    first = next(iter(rows))
    assert (first.text, first.number, first["snr"]) == ('it said "0", twice', 0, 0.0)
    assert rows.frame.columns == [*SCHEMA, "snr"]
    assert len(rows) == 3
    assert rows.faults == []
    assert rows[-1].audio == rows[2].audio == str(folder / "2.wav")
    assert rows[1].recordings[0].source == str(folder / "1.wav")
    waveform, _ = ossicle.load(rows[1].audio, offset=rows[1].offset, duration=rows[1].duration)
    assert len(waveform) == RATE // 2
    again = pickle.loads(pickle.dumps(rows))
    assert (values(again), again.faults) == (values(rows), [])
    with pytest.raises(IndexError):
        rows[3]
    with pytest.raises(AttributeError, match="snr"):
        _ = rows[0].snr


WRITTEN = ["jsonl", "json", "csv", "tsv", "tsv-quoted", "parquet", "nemo"]


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_reads_the_same(folder: Path, name: str) -> None:
    rows = read(ROWS, root=folder)
    out = folder / f"out.{name}"
    assert rows.write(out, name) == 3
    again = read(out, name)
    wanted = values(rows)
    if name in ("csv", "tsv", "tsv-quoted"):  # where facts are texts
        wanted = [{**row, "snr": str(row["snr"])} for row in wanted]
    assert values(again) == wanted
    assert again.faults == []
    # Paths under the folder are relative to it.
    assert str(folder) not in out.read_bytes().decode("utf-8", errors="replace")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NASTY = st.sampled_from(
    ['"', '""', '"a', 'a"', '"a"', '"a""b"', "a,b", "\n", "\r\n", "\r", " ", "é"]
)
TABLES = st.lists(
    st.fixed_dictionaries({"text": TEXTS | NASTY, "fact": TEXTS | NASTY | st.none()}), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.sampled_from(["jsonl", "json", "csv", "tsv-quoted", "parquet"]))
def test_any_texts_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, table: list[dict[str, str | None]], name: str
) -> None:
    out = tmp_path_factory.mktemp("t") / "out"
    rows = read(table)
    rows.write(out, name)
    again = read(out, name)
    facts = [row.get("fact") for row in table]
    assert again.faults == []
    assert again.frame["text"].to_list() == [row["text"] for row in table]
    if any(fact is not None for fact in facts):
        assert again.frame["fact"].to_list() == facts


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS | NASTY, min_size=1))
def test_tsv_keeps_a_text_or_refuses_it_by_name(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    out = tmp_path_factory.mktemp("t") / "out.tsv"
    rows = read({"text": texts})
    bad = [text for text in texts if not text or any(one in text for one in "\t\n\r")]
    if bad:
        with pytest.raises(ManifestError, match=r"a tab|a line feed|a carriage return|empty text"):
            rows.write(out)
        assert not out.exists()
    else:
        rows.write(out)
        assert read(out).frame["text"].to_list() == texts


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(TEXTS | NASTY, min_size=2, max_size=4), min_size=1))
def test_csv_is_read_as_pythons_own_reader_reads_it(table: list[list[str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\r\n").writerows(table)
    found = list(records(io.BytesIO(file.getvalue().encode()), Dialect(",", quoted=True)))
    assert [[one or "" for one in record.fields or []] for record in found] == table
    ours = "\n".join(",".join(field_of(v, Dialect(",", quoted=True)) for v in row) for row in table)
    assert list(csv.reader(io.StringIO(ours, newline=""), strict=True)) == table


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(['{"text": "a"}', "{", "[]", "7", "", "\xff", '{"text": 3}', '{"a": "b"}'])
        | TEXTS
    ),
    st.sampled_from(["jsonl", "csv", "tsv"]),
)
def test_counts_add_up_for_damaged_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], name: str
) -> None:
    # A quote would join lines of CSV, which is another test's.
    quote = "'" if name == "csv" else '"'
    whole = [line.replace("\n", "").replace("\r", "").replace('"', quote) for line in lines]
    coded = [line.encode("latin-1", "replace") for line in whole]
    path = tmp_path_factory.mktemp("t") / "in"
    head = b"" if name == "jsonl" else b"text\n"
    path.write_bytes(head + b"".join(line + b"\n" for line in coded))
    rows = read(path, name)
    full = [line for line in coded if (line.strip() if name == "jsonl" else line)]
    assert len(rows) + len(rows.faults) == len(full)
    numbers = sorted([*rows.numbers, *(fault.row for fault in rows.faults)])  # type: ignore[list-item]
    assert numbers == list(range(len(full)))
    assert all(fault.source == str(path) and fault.reason for fault in rows.faults)


def test_faults_have_their_place_and_can_be_saved(folder: Path) -> None:
    path = folder / "m.jsonl"
    lines = ['{"audio": "0.wav", "text": "a"}', "", "{", '{"snr": 1}',
             '{"audio": "x", "offset": -1}', '{"audio": "x", "duration": "long"}',
             '{"audio": 7}', '{"text": "b"}',
             '{"audio": "x", "sample_rate": 0}', '{"audio": "x", "channel": 0.5}']  # fmt: skip
    path.write_text("\n".join(lines))
    rows = read(path)
    assert rows.frame["text"].to_list() == ["a", "b"]
    found = [(fault.row, fault.line) for fault in rows.faults]
    assert found == [(1, 3), (2, 4), (3, 5), (4, 6), (5, 7), (7, 9), (8, 10)]
    told = "\n".join(str(fault) for fault in rows.faults)
    for part in ("not valid JSON", "no audio, no text", "offset is -1.0", "'long', not a number",
                 "holds 7", "sample_rate is 0", "0.5, not an integer"):  # fmt: skip
        assert part in told, part
    assert rows.count().startswith("9 rows = 2 kept + 7 faults")
    write_faults(folder / "faults.jsonl", rows.faults)
    saved = [json.loads(line) for line in (folder / "faults.jsonl").read_text().splitlines()]
    assert saved[1] == {
        "source": str(path), "row": 2, "line": 4, "reason": rows.faults[1].reason
    }  # fmt: skip


QUOTES = ['"Wait," she said.', 'a "b', '"', '5" nails', '"whole"', "plain"]


def test_quotes_in_tsv_are_text_for_every_reader(folder: Path) -> None:
    (folder / "clips").mkdir()
    path = folder / "train.tsv"
    head = "client_id\tpath\tsentence\tlocale\r\n"
    path.write_bytes(
        ("\ufeff" + head + "".join(f"c{n}\t{n}.wav\t{q}\ten\r\n" for n, q in enumerate(QUOTES)))
        .encode()
    )  # fmt: skip
    rows = read(path)
    assert rows.format == "common-voice"
    assert rows.frame["text"].to_list() == QUOTES
    assert rows[0].audio == str(folder / "clips" / "0.wav")
    assert rows.frame.select("speaker", "language").row(1) == ("c1", "en")


def test_a_lone_quote_in_csv_costs_its_line(folder: Path) -> None:
    path = folder / "m.csv"
    path.write_text(
        'path,text\n0.wav,a\n1.wav,"open\n2.wav,"two\nlines, ""q"""\n0.wav,5" nail\nx\n'
    )
    rows = read(path)
    # The quote of line 3 seems to close on line 4, where text follows it.
    assert rows.frame["text"].to_list() == ["a", 'two\nlines, "q"', '5" nail']
    assert [(fault.line, fault.reason.partition(":")[0]) for fault in rows.faults] == [
        (3, "text after the closing quote of a field"),
        (7, "the number of fields is not the header's"),
    ]
    path.write_text('path,text\n0.wav,"never\n1.wav,b\n')
    assert read(path).frame["text"].to_list() == ["b"]


def test_embedded_audio_is_read_and_never_printed(folder: Path) -> None:
    data = (folder / "0.wav").read_bytes()
    frame = pl.DataFrame({"audio": [{"bytes": data, "path": "0.wav"}], "sentence": ["a"]})
    frame.write_parquet(folder / "m.parquet")
    rows = read(folder / "m.parquet")
    assert rows[0].audio == {"bytes": data, "path": "0.wav"}
    assert rows[0].text == "a"
    assert len(ossicle.load(rows[0].recordings[0].source)[0]) == RATE
    assert len(repr(rows[0])) < 300
    rows.write(folder / "again.parquet")
    assert values(read(folder / "again.parquet")) == values(rows)
    # Paths go inside where that is asked for.
    read([{"audio": "0.wav", "text": "a"}], root=folder).write(folder / "in.parquet", embed=True)
    assert values(read(folder / "in.parquet")) == values(rows)
    with pytest.raises(ManifestError, match="write parquet"):
        rows.write(folder / "m.jsonl")


def test_what_is_in_memory(folder: Path) -> None:
    plain = [{"audio": str(folder / f"{n}.wav"), "text": f"t{n}", "sr": RATE} for n in range(3)]
    columns = {name: [row[name] for row in plain] for name in plain[0]}
    sources = [
        plain, columns, pl.DataFrame(plain), pl.LazyFrame(plain), pd.DataFrame(plain), iter(plain),
        {name: np.array(list(values)) for name, values in columns.items()},
    ]  # fmt: skip
    wanted = values(read(plain))
    assert wanted[1] == {"audio": plain[1]["audio"], "text": "t1", "sample_rate": RATE}
    for source in sources:
        assert values(read(source)) == wanted, type(source)
    frame = pd.DataFrame({"audio": ["a", None], "text": [None, "b"], "duration": [1.0, np.nan]})
    assert values(read(frame)) == [{"audio": "a", "duration": 1.0}, {"text": "b"}]
    with pytest.raises(ManifestError, match="different lengths"):
        read({"a": [1], "b": []}).frame  # noqa: B018
    assert "not a mapping but int" in read([7]).faults[0].reason
    with pytest.raises(ManifestError, match="holds no rows"):
        read(7)


def test_arrays_and_bytes_of_rows_in_memory(folder: Path) -> None:
    array = np.linspace(-1, 1, 1_000, dtype=np.float32)
    data = (folder / "0.wav").read_bytes()
    rows = read([
        {"audio": {"array": array, "sampling_rate": RATE, "path": "x.wav"}, "text": "a"},
        {"audio": {"array": np.stack([array, array], 1), "sampling_rate": RATE}},
        {"audio": {"array": array}}, {"audio": data}, {"audio": {"bytes": data, "path": None}},
        {"audio": str(folder / "0.wav")},
    ])  # fmt: skip
    assert [fault.row for fault in rows.faults] == [1, 2]
    assert "transpose" in rows.faults[0].reason
    np.testing.assert_array_equal(ossicle.load(rows[0].recordings[0].source)[0], array)
    assert [len(ossicle.load(row.recordings[0].source)[0]) for row in rows] == [
        1_000, RATE, RATE, RATE,
    ]  # fmt: skip


def test_names_can_be_told(folder: Path) -> None:
    path = folder / "m.csv"
    path.write_text("my,other,text,t2\n0.wav,7,a,b\n")
    rows = read(path, columns={"audio": "my", "text": "t2", "id": "other"})
    assert (rows[0].audio, rows[0].text, rows[0].id) == (str(folder / "0.wav"), "b", "7")
    assert rows.frame.columns == list(SCHEMA)
    with pytest.raises(ManifestError, match="no column of the schema is called 'sound'"):
        read(path, columns={"sound": "my"})
    rows = read(path, columns={"audio": "my"}, root="/elsewhere")
    assert rows[0].audio == "/elsewhere/0.wav"
    assert rows.frame.columns == [*SCHEMA, "other", "t2"]


def test_what_is_unknown_is_told(folder: Path) -> None:
    (folder / "m.xyz").write_text("hello")
    with pytest.raises(ManifestError, match=r"no format that is known.*kaldi"):
        read(folder / "m.xyz")
    with pytest.raises(ManifestError, match="no format 'xyz' can be read; known are jsonl"):
        read(folder / "m.xyz", "xyz")
    with pytest.raises(AudioFileNotFoundError):
        read(folder / "none.jsonl")
    with pytest.raises(ManifestError, match="a URL"):
        read("https://example.org/m.jsonl")
    (folder / "empty").mkdir()
    with pytest.raises(ManifestError, match="the folder is of no format"):
        read(folder / "empty")


def test_values_of_many_types_in_one_column_are_kept(folder: Path) -> None:
    odd: list[Any] = [1, "1", None, [1, {"a": None}], {"b": 2.5}, True, 2**70, 1.5]
    path = folder / "m.jsonl"
    # In two pieces, the first of one type.
    rows_in = [{"text": "x", "odd": n} for n in range(9_000)]
    rows_in += [{"text": "x", "odd": one} for one in odd]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_in))
    rows = read(path)
    assert len(rows) == 9_008
    assert [rows[9_000 + n]["odd"] for n in range(8)] == odd
    assert rows[7]["odd"] == 7
    rows.write(folder / "again.jsonl")
    assert values(read(folder / "again.jsonl")) == values(rows)
    assert read([{"text": "\ud800"}, {"text": "b"}]).frame["text"].to_list() == ["b"]


def test_iterations_go_on_where_the_rest_is_read_meanwhile() -> None:
    count = 30_000
    rows = read([{"text": str(n)} for n in range(count)])
    other = iter(rows)
    found = []
    for n, row in enumerate(rows):
        found.append(row.text)
        if n == 9_000:
            assert next(other).text == "0"
            assert len(rows) == count  # joins what is read
        if n == 20_000:
            assert rows[-1].number == count - 1
    assert found == [str(n) for n in range(count)]
    assert [row.text for row in other] == found[1:]


TALK = [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "what?"}]},
        {"role": "assistant", "content": "one"}]  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TALK, "audio": "a.wav"},
        {"conversations": [{"from": "human", "value": "<audio>\nwhat?"},
                           {"from": "gpt", "value": "one"}], "audios": ["a.wav"]},
        {"prompt": TALK[:1], "completion": TALK[1:], "audio": "a.wav"},
        {"messages": [{"role": "user", "content": [
            {"type": "audio_url", "audio_url": {"url": "a.wav"}}, {"type": "text", "text": "what?"}
        ]}, TALK[1]]},
        {"messages": [{"role": "user", "content": [
            {"type": "audio", "url": "a.wav"}, "what?"]}, TALK[1]]},
    ],
)  # fmt: skip
def test_conversations_of_every_form_are_one(folder: Path, row: dict[str, Any]) -> None:
    path = folder / "m.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps({"text": "none"}) + "\n")
    rows = read(path)
    assert rows.faults == []
    assert (rows[0].audio, rows[0].messages) == (str(folder / "a.wav"), TALK)
    assert rows[1].messages is None
    for name in ("jsonl", "csv", "parquet"):
        rows.write(folder / f"out.{name}")
        assert values(read(folder / f"out.{name}")) == values(rows)
    if "conversations" in row:  # the others have contents of two types
        assert read(pl.DataFrame([row]))[0].messages == TALK


def test_what_is_wrong_with_a_conversation_is_told() -> None:
    rows = read([
        {"conversations": [{"from": "human", "value": "<audio><audio>"}], "audios": ["a"]},
        {"messages": [{"content": "x"}]}, {"messages": "x"},
        {"messages": [{"role": "user", "content": [
            {"type": "input_audio", "input_audio": {"format": "wav"}}]}]},
        {"prompt": "say", "completion": "done"}, {"audios": ["a", "b"], "text": "x"},
    ])  # fmt: skip
    told = [fault.reason for fault in rows.faults]
    assert told[0] == "2 places for audio in the messages, 1 recordings"
    assert told[1:3] == ["a message has no role", "messages is not a list of messages"]
    assert "names no path and no url" in told[3]
    assert rows[0].messages == [{"role": "user", "content": "say"},
                                {"role": "assistant", "content": "done"}]  # fmt: skip
    assert rows[1].audio == ["a", "b"]


def test_headers_that_are_odd(folder: Path) -> None:
    path = folder / "m.csv"
    path.write_text(",path,text\n0,0.wav,a\n1,a\0.wav,b\n")
    rows = read(path)
    assert values(rows) == [{"audio": str(folder / "0.wav"), "text": "a", "column_0": "0"}]
    assert rows.faults[0].reason == "the path of the recording holds a NUL"
    for text, reason in (
        ("path,text\r0.wav,a\r", "carriage returns alone"),
        ("path,path\n", "twice"),
        ("", "the file is empty"),
        ('"path,text\n', "the header: a quote is opened"),
    ):
        path.write_bytes(text.encode())
        with pytest.raises(ManifestError, match=reason):
            read(path).frame  # noqa: B018


def test_what_is_compressed(folder: Path) -> None:
    path = folder / "m.csv.gz"
    path.write_bytes(gzip.compress(b"path,text\n0.wav,a\n"))
    assert read(path)[0].text == "a"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(OSError, match="cannot read the file"):
        read(path).frame  # noqa: B018


def test_an_end_becomes_a_duration_and_no_row_means_the_schema() -> None:
    rows = read([{"audio": "a", "start": 1.0, "end": 2.5}, {"audio": "a", "start": 3, "end": 2}])
    assert (rows[0].offset, rows[0].duration) == (1.0, 1.5)
    assert "duration is -1.0" in rows.faults[0].reason
    assert read([]).frame.columns == list(SCHEMA)
    assert len(read(pl.DataFrame())) == 0


DICTS: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    ({"path": "0.wav", "offset": 0.25, "duration": 0.5, "channel": 0}, (0.25, 0.5, 0, None)),
    ({"path": "0.wav", "start": 0.25, "end": 0.5, "speaker_age": 7}, (0.25, 0.25, None, None)),
    ({"path": "0.wav", "sampling_rate": RATE}, (None, None, None, RATE)),
    ({"audio_filepath": "0.wav", "offset": 0, "duration": 0.25}, (0.0, 0.25, None, None)),
]


def _segment(row: Any) -> tuple[Any, ...]:
    return (row.offset, row.duration, row.channel, row.sample_rate)


@pytest.mark.parametrize(("audio", "wanted"), DICTS)
def test_a_segment_inside_of_an_audio_dict_is_the_rows(
    folder: Path, audio: dict[str, Any], wanted: tuple[Any, ...]
) -> None:
    datasets = pytest.importorskip("datasets")
    data = (folder / "0.wav").read_bytes()
    for inner in (audio, {**audio, "bytes": data}):
        row = {"audio": inner, "text": "a"}
        path = folder / "m.jsonl"
        sources: list[Any] = [[row], pl.DataFrame([row]), datasets.Dataset.from_list([row])]
        pl.DataFrame([row, {"audio": None, "text": "b"}]).write_parquet(folder / "m.parquet")
        sources.append(folder / "m.parquet")
        if inner is audio:
            path.write_text(json.dumps(row))
            sources.append(path)
        for source in sources:
            rows = read(source, root=folder)
            assert rows.faults == []
            assert _segment(rows[0]) == wanted
            # The collator's rows say the same.
            [ours], [theirs] = rows[0].recordings, recordings_of(row)
            assert ours.segment == theirs.segment
            waveform, _ = ossicle.load(
                ours.source, offset=ours.segment.offset, duration=ours.segment.duration
            )
            assert len(waveform) == ours.segment.frames(RATE, RATE)


def test_several_recordings_have_a_segment_each(folder: Path) -> None:
    pair = [{"path": "0.wav", "offset": 0.25, "duration": 0.5}, {"path": "1.wav", "channel": 0}]
    wanted = [Segment(0.25, 0.5), Segment(channel=0)]
    table = [
        {"audio": pair, "text": "a"},
        {"audio": ["0.wav", "1.wav"], "offset": [0.25, None], "duration": [0.5, None],
         "channel": [None, 0]},
        {"audio": "2.wav", "offset": [0.5]}, {"audio": ["0.wav", "1.wav"], "duration": 2.5},
        {"audio": ["0.wav", "1.wav"], "offset": 2.5}, {"audio": ["0.wav"], "offset": [1, 2]},
    ]  # fmt: skip
    rows = read(table, root=folder)
    assert [[one.segment for one in row.recordings] for row in rows] == [
        wanted, wanted, [Segment(0.5)], [Segment(), Segment()],
    ]  # fmt: skip
    assert [one.source for one in rows[1].recordings] == [
        str(folder / "0.wav"), str(folder / "1.wav"),
    ]  # fmt: skip
    assert rows[3].duration == 2.5
    assert [fault.row for fault in rows.faults] == [4, 5]
    assert "give a list, one for each" in rows.faults[0].reason
    for name in ("jsonl", "json", "csv", "parquet"):
        rows.write(folder / f"out.{name}")
        again = read(folder / f"out.{name}")
        assert values(again) == values(rows), name
    data = (folder / "0.wav").read_bytes()
    both = read([{"audio": [{"bytes": data, "path": None}, str(folder / "1.wav")]}])[0].recordings
    assert [len(ossicle.load(one.source)[0]) for one in both] == [RATE, RATE + 1]


def test_two_different_segments_are_a_fault() -> None:
    rows = read([
        {"audio": {"path": "a", "offset": 1.0}, "offset": 2.0},
        {"audio": {"path": "a", "offset": 1.0, "duration": 2.0}, "duration": 2.0},
        {"audio": {"path": "a", "offset": "x"}}, {"audio": {"path": "a", "duration": -1}},
    ])  # fmt: skip
    assert _segment(rows[0]) == (1.0, 2.0, None, None)
    assert [fault.row for fault in rows.faults] == [0, 2, 3]
    assert "offset is 2 in the row, 1 in its audio" in rows.faults[0].reason


def test_times_of_the_original_are_no_segment_of_a_clip(folder: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = (folder / "0.wav").read_bytes()
    times = {"begin_time": 100.5, "end_time": 101.5}
    inside = [{"audio": {"bytes": data, "path": "x.wav"}, **times}]
    beside = [{"audio": "0.wav", "original_full_path": "youtube/P0001.opus", **times}]
    frame = pl.DataFrame(inside)
    cached = datasets.Dataset.from_list([{"audio": str(folder / "0.wav"), **times}])
    sources = [
        inside, beside, frame, cached.cast_column("audio", datasets.Audio()),
        [{"audio": data, **times}], pl.DataFrame(beside),
    ]  # fmt: skip
    for source in sources:
        [row] = read(source, root=folder)
        assert _segment(row) == (None, None, None, None)
        assert (row["begin_time"], row["end_time"]) == (100.5, 101.5)
        assert recordings_of(row)[0].segment.is_whole
    for one in (*inside, *beside):
        assert recordings_of(one)[0].segment.is_whole
    plain = {"audio": "0.wav", **times}
    told = {"offset": "begin_time", "end": "end_time"}
    for rows in (read([plain]), read(inside, columns=told), read([plain, *inside])):
        assert _segment(rows[0]) == (100.5, 1.0, None, None)
    assert recordings_of(plain)[0].segment == Segment(100.5, 1.0)


def test_recordings_by_uri(folder: Path) -> None:
    data = (folder / "1.wav").read_bytes()
    (folder / "a b.wav").write_bytes(data)
    coded = base64.b64encode(data).decode()

    def talk(part: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [part]}]

    uris = [(folder / "a b.wav").as_uri(), f"file://localhost{folder}/1.wav",
            f"data:audio/wav;base64,{coded}"]  # fmt: skip
    table: list[dict[str, Any]] = [{"audio": one} for one in uris]
    table += [{"messages": talk({"type": "audio_url", "audio_url": {"url": one}})} for one in uris]
    table += [{"messages": talk({"type": "audio", "url": one})} for one in uris]
    table.append({"messages": talk(
        {"type": "input_audio", "input_audio": {"data": coded, "format": "wav"}})})  # fmt: skip
    for source in (table, [{"audio": [one]} for one in uris]):
        rows = read(source)
        assert rows.faults == []
        assert len(rows) == len(source)
        for row in rows:
            assert len(ossicle.load(row.recordings[0].source)[0]) == RATE + 1
    bad = ["https://a.b/c.wav", "s3://a/b", "hf://x/y", "data:audio/wav,AA", "data:;base64,A",
           "file://other/x.wav"]  # fmt: skip
    faulty = [{"audio": one} for one in bad]
    faulty += [{"messages": talk({"type": "audio", "url": one})} for one in bad]
    rows = read(faulty, root=folder)
    assert len(rows) == 0
    reasons = [fault.reason for fault in rows.faults]
    assert reasons[:3] == [f"a URL, which is not read: download it first: {one}" for one in bad[:3]]
    assert reasons[3:6] == reasons[9:]
    for part in ("without base64", "is damaged", "on another machine"):
        assert part in "\n".join(reasons)


def test_a_part_of_a_message_says_its_segment(folder: Path) -> None:
    part = {"type": "audio", "path": "0.wav", "offset": 0.25, "duration": 0.5}
    rows = read([{"messages": [{"role": "user", "content": [part]}]}], root=folder)
    assert rows[0].messages == [{"role": "user", "content": [{"type": "audio"}]}]
    assert rows[0].recordings[0].segment == Segment(0.25, 0.5)


def test_a_fork_reads_no_further(tmp_path: Path) -> None:
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("".join(f'{{"audio": "{n}.wav", "text": "{n}"}}\n' for n in range(3)))
    known, unread = read(manifest), read(manifest)
    assert len(known) == 3

    def told(rows: Rows) -> str:
        try:
            return " ".join(row.text for row in rows)
        except DataError as error:
            return str(error)

    def fork(rows: Rows) -> str:
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.write(writer, told(rows).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            found = pipe.read().decode()
        os.waitpid(child, 0)
        return found

    assert fork(known) == "0 1 2"
    assert "read all rows, as len(rows) does, before the workers start" in fork(unread)

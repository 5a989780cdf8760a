"""The room of rows: one table of names, one reader of manifests, one number for a row."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
import torch
from collating import RATE, collator_of, family, one_thread, samples

from ossicle import audio_lengths
from ossicle.collator import preflight
from ossicle.data import COLUMNS, DataError, ManifestError, Utterances, read
from ossicle.data.columns import column_of, value_of
from ossicle.data.utterances import utterances_of
from ossicle.errors import AudioFileNotFoundError
from ossicle.shard import Shard, pack

__all__ = ["one_thread"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", samples(8_000 + number), RATE)
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    match path.suffix:
        case ".parquet":
            pl.DataFrame(rows).write_parquet(path)
        case ".csv" | ".tsv":
            with path.open("w", newline="", encoding="utf-8") as file:
                # A quote in TSV is text.
                tsv: dict[str, Any] = {
                    "delimiter": "\t",
                    "quoting": csv.QUOTE_NONE,
                    "quotechar": None,
                }
                options = tsv if path.suffix == ".tsv" else {}
                writer = csv.DictWriter(file, list(rows[0]), **options)
                writer.writeheader()
                writer.writerows(rows)
        case _:
            # Blank lines and a mark at the beginning, which count nowhere.
            lines = "\n\n".join(json.dumps(row) for row in rows)
            path.write_text(f"\ufeff{lines}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"])
def test_every_format_gives_the_same_clips(folder: Path, suffix: str) -> None:
    rows = [
        {"id": f"u{n}", "wav": f"{n}.wav", "text": f'it said "{n}", twice', "sr": RATE}
        for n in range(3)
    ]
    path = write(folder / f"m{suffix}", rows)
    clips = utterances_of(path)
    found = [(clip.row, clip.id, clip.file, clip.text) for clip in clips]
    wanted = [(n, row["id"], str(folder / row["wav"]), row["text"]) for n, row in enumerate(rows)]
    assert found == wanted
    assert len(read(path)) == 3
    lines = [clip.line for clip in clips]
    text = [2, 3, 4] if suffix in (".csv", ".tsv") else [1, 3, 5]
    assert lines == ([None] * 3 if suffix == ".parquet" else text)
    packed = pack(path, folder / "m.tar", overwrite=True)
    assert list(Shard(packed.shards[0].path).keys()) == ["u0", "u1", "u2"]


@pytest.mark.parametrize("column", COLUMNS["audio"])
def test_a_recording_is_found_under_every_name_everywhere(folder: Path, column: str) -> None:
    processor, _ = family("Whisper")
    collator = collator_of(processor)
    path = str(folder / "1.wav")
    plain = {"audio_path": path, "text": "one two"}
    row = {column: path, "text": "one two"}
    batch, wanted = collator([row]), collator([plain])
    assert all(torch.equal(batch[key], wanted[key]) for key in wanted)
    assert audio_lengths([row]).samples.tolist() == [8_001]
    frame = preflight([row], collator, show=False)
    assert (frame["files"].to_list(), frame["problem"].to_list()) == ([[path]], [None])
    manifest = write(folder / "m.jsonl", [row])
    assert [clip.file for clip in utterances_of(manifest)] == [path]
    assert pack(manifest, folder / "m.tar").samples == 1


def test_the_same_bad_row_has_the_same_number_everywhere(folder: Path) -> None:
    rows = [{"wav": str(folder / f"{n}.wav"), "text": "one two"} for n in (0, 1, 9, 2)]
    manifest = write(folder / "m.jsonl", rows)
    assert [(row.number, row.audio) for row in read(manifest)] == [
        (number, row["wav"]) for number, row in enumerate(rows)
    ]
    [error] = pack(manifest, folder / "m.tar").errors
    lengths = audio_lengths(manifest, on_error="collect")
    collator = collator_of(family("Whisper")[0], on_error="skip", max_bad_share=1.0)
    frame = preflight(rows, collator, show=False)
    with pytest.warns(RuntimeWarning, match=r"9\.wav"):
        collator(rows)
    bad = frame.filter(frame["problem"].is_not_null())["row"].to_list()
    assert [error.row] == np.flatnonzero(~lengths.ok).tolist() == bad == [2]
    assert [fault.row for fault in collator.ledger] == bad
    # What is no row at all counts like the others.
    manifest.write_text("\n[]\n\n" + manifest.read_text(encoding="utf-8-sig"), encoding="utf-8")
    first = Utterances(read(manifest)).faults[0]
    assert (first.row, first.line) == (0, 2)
    assert str(first) == f"{manifest}, row 0 (line 2): not a JSON object but list"
    assert [failed.row for failed in pack(manifest, folder / "n.tar").errors] == [0, 3]


def test_the_first_name_with_a_value_counts() -> None:
    assert column_of("audio", {"path": "b", "audio": "a"}) == "audio"
    assert column_of("audio", {"path": "b", "audio": None}) == "path"
    assert column_of("audio", {"path": None, "audio": None}) == "audio"
    assert column_of("audio", {"mine": "c"}) is None
    assert column_of("audio", {"mine": "c"}, "mine") == "mine"
    assert column_of("audio", {"wav": "a"}, "mine") is None
    assert value_of("id", {"id": 0, "utt_id": "u"}) == 0
    assert value_of("id", {}) is None


def test_what_is_no_recording_is_told_by_row(folder: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "x"}, {"wav": 7}, {"wav": ""}, {"wav": ["0.wav", "1.wav"]}, {"wav": ["0.wav"]},
    ]  # fmt: skip
    manifest = write(folder / "m.jsonl", rows)
    result = pack(manifest, folder / "m.tar")
    assert [(failed.row, failed.error.reason) for failed in result.errors] == [
        (0, "row 0 has no recording, and a sample has one; its columns are: text"),
        (1, "row 1: audio holds 7, not the path of a recording"),
        (2, "row 2: no audio, no text and no messages; its columns are: text, wav"),
        (3, "row 3 has 2 recordings, and a sample has one"),
    ]
    assert result.samples == 1
    assert result.summary() == (
        "5 rows = 1 samples + 4 faults (1 x no recording, and a sample has one; "
        "1 x audio holds 7, not the path of a recording; 1 x no audio, no text and no messages; "
        "1 x 2 recordings, and a sample has one)"
    )
    with pytest.raises(ManifestError, match=r"row 0 \(line 1\): no recording"):
        Utterances(read(manifest))
    other = write(folder / "m.txt", [{"a": 1}])
    other.write_text("no rows at all")
    with pytest.raises(ManifestError, match="of no format that is known"):
        utterances_of(other)
    with pytest.raises(AudioFileNotFoundError):
        utterances_of(folder / "none.csv")


def test_a_folder_means_its_manifest(folder: Path) -> None:
    write(folder / "manifest.jsonl", [{"wav": "0.wav", "text": "x"}])
    assert len(utterances_of(folder)) == 1
    assert pack(folder, folder / "m.tar").samples == 1


def test_the_old_name_of_the_base_of_errors_warns() -> None:
    import ossicle.dataloader

    with pytest.warns(DeprecationWarning, match="DataError"):
        assert ossicle.dataloader.DataloaderError is DataError

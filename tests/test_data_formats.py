"""Every format of rows: made by the tool that it belongs to where that is here, and counted row by
row against that tool's own reader."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from commands import run

import ossicle
from ossicle.audio import encode
from ossicle.data import ManifestError, Rows, Segment, check, read, split
from ossicle.data.read import source_of_rows
from ossicle.errors import AudioFileNotFoundError

RATE = 16_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        tone = np.sin(np.arange(RATE + 100 * number) * 0.01 * (number + 1)) * 0.5
        soundfile.write(tmp_path / f"{number}.wav", np.stack([tone, -tone], 1), RATE)
    return tmp_path


def values(rows: Rows) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if row[name] is not None} for row in rows]


def samples(row: Any) -> int:
    """What a row's segment decodes to."""
    [recording] = row.recordings
    offset = row.offset or 0.0
    return len(ossicle.load(recording.source, offset=offset, duration=row.duration)[0])


SEGMENTS = [
    {"id": "a", "audio": "0.wav", "offset": 0.25, "duration": 0.5, "channel": 1, "text": "one",
     "speaker": "s1", "language": "en"},
    {"id": "b", "audio": "0.wav", "offset": 0.75, "duration": 0.25, "channel": 1, "text": "two",
     "speaker": "s1", "language": "en"},
    {"id": "c", "audio": "1.wav", "offset": 0.0, "duration": 1.0, "channel": 0, "text": "three",
     "speaker": "s2", "language": "de"},
]  # fmt: skip


CUT = {
    "parquet": {"embed": True}, "hf-folder": {}, "webdataset": {}, "shar": {"shard_size": 2},
    "nemo-tarred": {"shard_size": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
def test_segments_are_cut_out_by_the_formats_that_hold_recordings(folder: Path, name: str) -> None:
    whole = {"id": "d", "audio": "2.wav", "text": "four"}
    rows = read([*SEGMENTS, whole], root=folder)
    out = folder / {"parquet": "out.parquet", "webdataset": "out.tar"}.get(name, "out")
    rows.write(out, name, **CUT[name])
    again = read(out)
    assert (again.format, again.faults) == (name, [])
    assert [row.text for row in again] == ["one", "two", "three", "four"]
    assert [row.offset for row in again] == [row.channel for row in again] == [None] * 4
    for row, wanted in zip(again, rows, strict=True):
        [ours], [cut] = row.recordings, wanted.recordings
        sound, _ = ossicle.load(ours.source, mono=False)
        whole_sound, _ = ossicle.load(cut.source, mono=False)
        at = round((wanted.offset or 0) * RATE)
        end = at + round(wanted.duration * RATE) if wanted.duration else None
        channels = (
            slice(None) if wanted.channel is None else slice(wanted.channel, wanted.channel + 1)
        )
        np.testing.assert_array_equal(sound, whole_sound[channels, at:end])
    if name not in ("parquet", "webdataset"):
        with pytest.raises(ManifestError, match="not empty"):
            rows.write(out, name)
    bad = folder / "bad"
    with pytest.raises(
        ManifestError, match=r"recordings? where the format needs one|one recording"
    ):
        read([{"audio": ["0.wav", "1.wav"]}], root=folder).write(bad, name, **CUT[name])
    assert not bad.exists()
    assert not [one for one in folder.iterdir() if one.suffix == ".partial"]


@pytest.mark.parametrize("name", ["kaldi", "lhotse", "nemo"])
def test_segments_are_kept_by_the_formats_that_have_them(folder: Path, name: str) -> None:
    rows = read(SEGMENTS, root=folder)
    out = folder / ("out.jsonl.gz" if name == "lhotse" else "out")
    rows.write(out, name)
    again = read(out)
    assert again.format == name
    kept = [{k: v for k, v in row.items() if k in SEGMENTS[0]} for row in values(again)]
    wanted = [{**row, "audio": str(folder / str(row["audio"]))} for row in SEGMENTS]
    assert kept == wanted
    assert [samples(row) for row in again] == [8_000, 4_000, 16_000]


def test_kaldi_as_it_is_written_by_hand(folder: Path) -> None:
    made = folder / "kaldi"
    made.mkdir()
    (made / "wav.scp").write_text(
        "rec0 ../0.wav\nrec1 sox ../1.wav -t wav - |\nrec2  ../2.wav \nrec3 feats.ark:42\n"
    )
    (made / "segments").write_text(
        "u1 rec0 0.0 0.5\nu2 rec0 0.5 -1\nu3 rec1 0 1\nu4 rec9 0 1\nu5 rec2 x 1\nu6 rec3 0 1\n"
        "u2 rec0 0 1\n"
    )
    (made / "text").write_text("u1  one two\nu2 drei\nu9 lost\n", encoding="utf-8")
    (made / "utt2spk").write_text("u1 s1\nu2 s2\n")
    (made / "reco2file_and_channel").write_text("rec0 0 B\n")
    rows = read(made)
    assert rows.frame.select("id", "text", "speaker", "offset", "duration", "channel").rows() == [
        ("u1", "one two", "s1", 0.0, 0.5, 1),
        ("u2", "drei", "s2", 0.5, None, 1),
    ]
    told = "\n".join(str(fault) for fault in rows.faults)
    assert [fault.row for fault in rows.faults] == [2, 3, 4, 5, 6, None]
    for part in ("a pipe, which is not run: sox", "in no wav.scp: rec9", "are numbers: rec2 x 1",
                 "inside of an archive", "duplicate id: u2", "in no segments: u9"):  # fmt: skip
        assert part in told, part
    for name in ("segments", "reco2file_and_channel"):
        (made / name).unlink()
    (made / "text").write_text("rec0 whole\n")
    rows = read(made)
    assert rows.frame["id"].to_list() == ["rec0", "rec2"]
    with pytest.raises(ManifestError, match="has spaces"):
        read([{"audio": "a", "id": "a b"}]).write(folder / "k2", "kaldi")


def test_cuts_as_lhotse_writes_them(folder: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    recordings = [lhotse.Recording.from_file(folder / f"{n}.wav") for n in range(3)]
    said = [
        lhotse.SupervisionSegment(
            f"s{n}", recordings[n].id, 0.0, 0.5, channel=0, text=f"t{n}", speaker="p", language="en"
        )
        for n in range(3)
    ]
    cuts = [
        lhotse.MonoCut(f"c.{n}", 0.25, 0.5, 0, supervisions=[said[n]], recording=recordings[n])
        for n in range(3)
    ]
    cuts.append(lhotse.MultiCut("all", 0.0, 1.0, [0, 1], supervisions=[], recording=recordings[0]))
    path = folder / "cuts.jsonl.gz"
    lhotse.CutSet.from_cuts(cuts).to_file(path)
    rows = read(path)
    theirs = list(lhotse.CutSet.from_file(path))
    assert len(rows) == len(theirs) == 4
    for row, cut in zip(rows, theirs, strict=True):
        assert (row.id, row.offset, row.duration) == (cut.id, cut.start, cut.duration)
        assert row.text == (cut.supervisions[0].text if cut.supervisions else None)
        sound = cut.load_audio()
        ours, _ = ossicle.load(row.audio, offset=row.offset, duration=row.duration, mono=False)
        ours = ours if row.channel is None else ours[row.channel : row.channel + 1]
        np.testing.assert_allclose(ours, sound, atol=1e-4)
    # And lhotse reads what we write.
    rows.write(folder / "ours.jsonl.gz")
    again = list(lhotse.CutSet.from_file(folder / "ours.jsonl.gz"))
    assert [(c.id, c.start, c.duration) for c in again] == [
        (c.id, c.start, c.duration) for c in theirs
    ]
    assert [c.supervisions[0].text for c in again[:3]] == ["t0", "t1", "t2"]
    np.testing.assert_array_equal(again[0].load_audio(), theirs[0].load_audio())


def test_shar_as_lhotse_writes_it(folder: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    cuts = []
    for n in range(3):
        recording = lhotse.Recording.from_file(folder / f"{n}.wav")
        said = lhotse.SupervisionSegment(f"s{n}", recording.id, 0.0, 0.5, text=f"t{n}")
        cuts.append(lhotse.MonoCut(f"c.{n}", 0.0, 1.0, 0, supervisions=[said], recording=recording))
    shar = folder / "shar"
    shar.mkdir()
    lhotse.CutSet.from_cuts(cuts).to_shar(shar, fields={"recording": "flac"}, shard_size=2)
    rows = read(shar)
    theirs = list(lhotse.CutSet.from_shar(in_dir=shar))
    assert len(rows) == len(theirs) == 3
    assert rows.faults == []
    assert list(rows.numbers) == [0, 1, 2]
    for row, cut in zip(rows, theirs, strict=True):
        assert (row.id, row.text, row.duration) == (cut.id, cut.supervisions[0].text, cut.duration)
        ours, _ = ossicle.load(row.audio)
        np.testing.assert_allclose(ours, cut.load_audio()[0], atol=1e-4)


def test_lhotse_reads_the_shar_that_we_write(folder: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    rows = read(SEGMENTS, root=folder)
    rows.write(folder / "ours", "shar", shard_size=2)
    theirs = list(lhotse.CutSet.from_shar(in_dir=folder / "ours"))
    assert [(cut.id, cut.start, cut.duration) for cut in theirs] == [
        ("a", 0.0, 0.5), ("b", 0.0, 0.25), ("c", 0.0, 1.0),
    ]  # fmt: skip
    assert [one.text for cut in theirs for one in cut.supervisions] == ["one", "two", "three"]
    for row, cut in zip(rows, theirs, strict=True):
        sound, _ = ossicle.load(row.audio, offset=row.offset, duration=row.duration, mono=False)
        np.testing.assert_allclose(cut.load_audio()[0], sound[row.channel], atol=1e-4)
    # A cut without sound has a mark in the tar.
    silent = lhotse.MonoCut("s", 0.0, 1.0, 0, supervisions=[
        lhotse.SupervisionSegment("s", "r", 0.0, 1.0, text="only words")])  # fmt: skip
    (folder / "theirs").mkdir()
    spoken = lhotse.Recording.from_file(folder / "0.wav").to_cut()
    cuts = lhotse.CutSet.from_cuts([spoken, silent])
    cuts.to_shar(folder / "theirs", fields={"recording": "wav"})
    again = read(folder / "theirs")
    assert again.faults == []
    assert [(row.text, row.audio is None) for row in again] == [
        (None, False), ("only words", True),
    ]  # fmt: skip


def test_recordings_of_lhotse_are_rows(folder: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    recordings = [lhotse.Recording.from_file(folder / f"{n}.wav") for n in range(3)]
    lhotse.RecordingSet.from_recordings(recordings).to_file(folder / "recordings.jsonl.gz")
    rows = read(folder / "recordings.jsonl.gz")
    assert [(row.id, samples(row), row.sample_rate) for row in rows] == [
        (one.id, one.num_samples, one.sampling_rate) for one in recordings
    ]


def _speechlm(folder: Path) -> Path:
    """As espnet2/speechlm/bin/prepare_dataset_json.py writes it."""
    recording = {"sources": [{"type": "file", "channels": [0, 1], "source": "0.wav"}],
                 "id": "r", "sampling_rate": RATE, "num_samples": RATE, "duration": 1.0,
                 "channel_ids": [0, 1]}  # fmt: skip
    cuts = [{"id": f"u{n}", "start": 0.25 * n, "duration": 0.25, "channel": [0, 1],
             "supervisions": [], "recording": recording, "type": "MultiCut"}
            for n in range(3)]  # fmt: skip
    (folder / "manifest").mkdir()
    with gzip.open(folder / "manifest" / "cuts.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(cut) + "\n" for cut in cuts))
    (folder / "text").write_text("u0 zero words\nu1  one\nu2 two\n")
    (folder / "more.jsonl").write_text('{"id": "u0", "text": "x"}\n{"id": "u1", "text": "y"}\n')
    entries = [("audio1", "manifest", "lhotse_audio"), ("text1", "text", "text"),
               ("text2", "more.jsonl", "text")]  # fmt: skip
    names = [dict(zip(("name", "path", "reader"), one, strict=True)) for one in entries]
    path = folder / "dataset.json"
    path.write_text(json.dumps({"data_entry": names, "samples": ["u0", "u1", "u2"]}, indent=2))
    return path


def test_speechlm_of_espnet(folder: Path) -> None:
    path = _speechlm(folder)
    rows = read(path)
    assert rows.format == "speechlm"
    assert [(row.id, row.text, row["text2"], row.offset, samples(row)) for row in rows] == [
        ("u0", "zero words", "x", 0.0, 4_000), ("u1", "one", "y", 0.25, 4_000),
    ]  # fmt: skip
    assert [(f.row, f.reason) for f in rows.faults] == [(2, "the sample has no text2: u2")]
    found = json.loads(path.read_text())
    found["data_entry"].append({"name": "audio2", "path": "manifest", "reader": "lhotse_audio"})
    path.write_text(json.dumps(found))
    assert [len(row.recordings) for row in read(path)] == [2, 2]
    assert read(path)[1].recordings[1].segment == Segment(0.25, 0.25)
    found["data_entry"].append({"name": "audio3", "path": "x.parquet", "reader": "arkive_audio"})
    path.write_text(json.dumps(found))
    with pytest.raises(ManifestError, match="'arkive_audio', which is not known here"):
        read(path).frame  # noqa: B018
    talks = [["user", "text", "listen"], ["user", "audio", "1.wav"], ["assistant", "text", "yes"]]
    lines = [{"example_id": "d0", "messages": talks}, {"example_id": "d1", "messages": [["user"]]}]
    (folder / "talk.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    entry = {"name": "dialogue", "path": "talk.jsonl", "reader": "dialogue"}
    path.write_text(json.dumps({"data_entry": [entry], "samples": ["d0", "d1"]}))
    rows = read(path)
    assert [one["role"] for one in rows[0].messages] == ["user", "user", "assistant"]
    assert samples(rows[0]) == RATE + 100
    assert "no role" in rows.faults[0].reason


def test_speechlm_as_its_recipe_writes_it(folder: Path) -> None:
    entries = folder / "dump" / "raw_asr" / "test" / "entries"
    entries.mkdir(parents=True)
    (entries / "wav.scp").write_text("u0 0.wav\nu1 dump/x.ark:12\nu2 2.wav\n")
    (entries / "text").write_text("u0 zero\nu1 one\nu2 two\n")
    (entries / "utt2spk").write_text("u0 s\nu1 s\nu2 t\n")
    files = [f"dump/raw_asr/test/entries/{name}" for name in (
        "wav.scp,codec,kaldi_ark", "text,text_bpe,text", "utt2spk,spk,text")]  # fmt: skip
    found = {"task": "asr", "vocabularies": [], "data_files": files, "num_examples": 3,
             "examples": ["u0", "u1", "u2"]}  # fmt: skip
    path = folder / "dump" / "raw_asr" / "test" / "data.json"
    path.write_text(json.dumps(found, indent=4))
    rows = read(path)
    assert rows.format == "speechlm"
    assert [(row.id, row.text, row.speaker, samples(row)) for row in rows] == [
        ("u0", "zero", "s", 16_000), ("u2", "two", "t", 16_200),
    ]  # fmt: skip
    assert "inside of an archive" in rows.faults[0].reason


def test_several_files_are_one_source(folder: Path) -> None:
    for n in range(3):
        lines = [f'{{"audio": "{n}.wav", "text": "{n}-{at}"}}\n' for at in range(2)]
        (folder / f"part-00{n}.jsonl").write_text(lines[0] + "{\n" + lines[1])
    read([{"audio": "0.wav", "text": "packed"}], root=folder).write(folder / "a.tar")
    parts = [folder / f"part-00{n}.jsonl" for n in range(3)]
    wanted = [f"{n}-{at}" for n in range(3) for at in range(2)]
    sources: list[Any] = [
        parts, str(folder / "part-*.jsonl"), str(folder / "part-{000..002}.jsonl"),
        str(folder / "part-_OP_000..002_CL_.jsonl"), [str(folder / "part-00{0,1,2}.jsonl")],
    ]  # fmt: skip
    for source in sources:
        rows = read(source)
        assert [row.text for row in rows] == wanted
        assert list(rows.numbers) == [0, 2, 3, 5, 6, 8]
        assert [(fault.row, fault.line, fault.source) for fault in rows.faults] == [
            (1 + 3 * n, 2, str(part)) for n, part in enumerate(parts)
        ]
        came = list(source_of_rows(source).rows(as_they_came=True))
        assert [getattr(one, "number", getattr(one, "row", None)) for one in came] == list(range(9))
    # Of two formats, one of members of a shard.
    rows = read([folder / "a.tar", *parts])
    assert [samples(row) for row in rows][:3] == [16_000] * 3
    assert rows.format == "webdataset+jsonl"
    assert len(rows.frame) == 7
    assert [samples(row) for row in pickle.loads(pickle.dumps(rows))][:3] == [16_000] * 3
    found = read(str(folder / "[01].wav"))
    assert [(row.id, samples(row)) for row in found] == [("0", 16_000), ("1", 16_100)]
    with pytest.raises(AudioFileNotFoundError, match="no file fits"):
        read(str(folder / "none-*.jsonl"))
    with pytest.raises(AudioFileNotFoundError):
        read(str(folder / "part-{000..003}.jsonl"))


def test_what_is_compressed_otherwise_is_refused_by_name(folder: Path) -> None:
    read([{"audio": "0.wav"}], root=folder).write(folder / "a.tar")
    (folder / "a.tar.gz").write_bytes(gzip.compress((folder / "a.tar").read_bytes()))
    with pytest.raises(ossicle.UnsupportedFormatError, match="in gzip, of which no member can be"):
        read(folder / "a.tar.gz").frame  # noqa: B018
    with pytest.raises(ossicle.UnsupportedFormatError, match="a tar in gzip"):
        ossicle.Shard(folder / "a.tar.gz")
    with pytest.raises(AudioFileNotFoundError, match="a URL, which is not read: download it first"):
        ossicle.load("https://a.b/c.wav")
    (folder / "m.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd rest")
    with pytest.raises(ManifestError, match="a file in Zstandard, which is not read"):
        read(folder / "m.jsonl.zst")


def test_nemo_tarred_with_its_manifest(folder: Path) -> None:
    lines = []
    for shard in range(2):
        with tarfile.open(folder / f"audio_{shard}.tar", "w") as tar:
            for n in range(2):
                tar.add(folder / f"{n}.wav", f"s{shard}_{n}.wav")
                row = {
                    "audio_filepath": f"s{shard}_{n}.wav",
                    "duration": 1.0,
                    "text": f"{shard}{n}",
                }
                lines.append(json.dumps({**row, "shard_id": shard}))
    lines.append(json.dumps({"audio_filepath": "x.wav", "duration": 1, "text": "x", "shard_id": 1}))
    path = folder / "tarred_audio_manifest.json"
    path.write_text("\n".join(lines) + "\n")
    rows = read(path)
    assert rows.format == "nemo-tarred"
    assert rows.frame["text"].to_list() == ["00", "01", "10", "11"]
    assert [samples(row) for row in rows] == [16_000] * 4
    assert [(f.row, f.reason) for f in rows.faults] == [(4, "not in its tar: x.wav")]
    # The members go into formats that hold bytes.
    rows.write(folder / "in.parquet")
    assert [samples(row) for row in read(folder / "in.parquet")] == [16_000] * 4
    # And what we write has NeMo's layout: one manifest, one for each tar, keys without dots.
    rows.write(folder / "out", "nemo-tarred", shard_size=3)
    whole = (folder / "out" / "tarred_audio_manifest.json").read_text()
    lines = [json.loads(one) for one in whole.splitlines()]
    assert [one["shard_id"] for one in lines] == [0, 0, 0, 1]
    for shard in range(2):
        with tarfile.open(folder / "out" / f"audio_{shard}.tar") as tar:
            names = [one["audio_filepath"] for one in lines if one["shard_id"] == shard]
            assert tar.getnames() == names
            assert all(name.count(".") == 1 for name in names)
    sharded = folder / "out" / "sharded_manifests"
    assert [row.text for row in read(str(sharded / "manifest_{0..1}.json"))] == [
        "00", "01", "10", "11",
    ]  # fmt: skip


def test_datasets_objects_folders_and_saved_ones(folder: Path) -> None:
    datasets = pytest.importorskip("datasets")
    paths = [str(folder / f"{n}.wav") for n in range(3)]
    plain = datasets.Dataset.from_dict({"audio": paths, "sentence": ["a", "b", "c"]})
    audio = plain.cast_column("audio", datasets.Audio())
    for source in (plain, audio, plain.to_iterable_dataset(), audio.to_iterable_dataset()):
        rows = read(source)
        assert rows.format == "datasets"
        assert rows.frame["text"].to_list() == source_texts(source)
        assert [one.recordings[0].source for one in rows] == paths
    both = datasets.DatasetDict({"train": audio, "test": audio.select([1])})
    assert read(both).frame.select("text", "split").rows() == [
        ("a", "train"), ("b", "train"), ("c", "train"), ("b", "test"),
    ]  # fmt: skip
    audio.save_to_disk(folder / "saved")
    both.save_to_disk(folder / "dict")
    assert len(read(folder / "saved")) == 3
    assert len(read(folder / "dict")) == 4
    # As push_to_hub does it.
    embed = importlib.import_module("datasets.table").embed_table_storage
    inside = audio.with_format("arrow").map(embed, batched=True, cache_file_name=None)
    inside.to_parquet(folder / "hf.parquet")
    rows = read(folder / "hf.parquet")
    assert [len(row.audio["bytes"]) for row in rows] == [Path(one).stat().st_size for one in paths]
    assert [samples(row) for row in rows] == [16_000, 16_100, 16_200]
    # And what we write, they read.
    rows.write(folder / "hf", "hf-folder")
    if importlib.util.find_spec("torchcodec"):  # which `datasets` asks for to read its own folders
        found = datasets.load_dataset(
            "audiofolder",
            data_dir=str(folder / "hf"),
            split="train",
            cache_dir=str(folder / "cache"),
        ).cast_column("audio", datasets.Audio(decode=False))
        assert [one["text"] for one in found] == ["a", "b", "c"]
    again = read(folder / "hf")
    assert again.format == "hf-folder"
    assert again.frame["text"].to_list() == ["a", "b", "c"]
    assert [samples(row) for row in again] == [16_000, 16_100, 16_200]


def source_texts(source: Any) -> list[str]:
    return [one["sentence"] for one in source.select_columns(["sentence"])]


def test_shards_of_webdataset(folder: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(folder / "x.tar")) as sink:
        for n in range(3):
            wav = (folder / f"{n}.wav").read_bytes()
            sink.write({"__key__": f"k{n}", "wav": wav, "txt": f"t{n}", "json": {"speaker": "s"}})
        sink.write({"__key__": "words", "txt": "no sound"})
        sink.write({"__key__": "two", "wav": wav, "flac": wav})
        sink.write({"__key__": "bad", "wav": wav, "json": b"{"})
    rows = read(folder / "x.tar")
    theirs = list(webdataset.WebDataset(str(folder / "x.tar"), shardshuffle=False))
    assert len(rows) + len(rows.faults) == len(theirs) == 6
    for row, sample in zip(rows, theirs, strict=False):
        assert (row.id, row.text) == (sample["__key__"], sample["txt"].decode())
        if row.audio is not None:
            assert samples(row) == len(soundfile.read(io.BytesIO(sample["wav"]))[0])
    assert [fault.row for fault in rows.faults] == [4, 5]
    rows.write(folder / "again.tar")
    assert [{**row, "audio": None} for row in values(read(folder / "again.tar"))] == [
        {**row, "audio": None} for row in values(rows)
    ]
    theirs = list(webdataset.WebDataset(str(folder / "again.tar"), shardshuffle=False))
    assert [one.get("wav") for one in theirs] == [
        *((folder / f"{n}.wav").read_bytes() for n in range(3)), None,
    ]  # fmt: skip


def test_ids_that_are_no_keys_come_back(folder: Path) -> None:
    rows = read([{"id": one, "audio": "0.wav", "text": "x"} for one in ("c.0", "a/b c", "d")],
                root=folder)  # fmt: skip
    rows.write(folder / "o.tar")
    again = read(folder / "o.tar")
    assert again.frame["id"].to_list() == ["c.0", "a/b c", "d"]
    assert ossicle.Shard(folder / "o.tar").keys() == ["c_0", "a_b c", "d"]


def _librispeech(folder: Path) -> list[tuple[str, str]]:
    for speaker in (19, 26):
        here = folder / "dev" / str(speaker) / "198"
        here.mkdir(parents=True)
        lines = []
        for n in range(2):
            key = f"{speaker}-198-{n:04d}"
            soundfile.write(here / f"{key}.flac", np.zeros(RATE), RATE)
            lines.append(f"{key} TEXT {speaker} {n}\n")
        (here / f"{speaker}-198.trans.txt").write_text("".join(lines))
    return [(f"{s}-198-{n:04d}", f"TEXT {s} {n}") for s in (19, 26) for n in range(2)]


def _ljspeech(folder: Path) -> list[tuple[str, str]]:
    (folder / "wavs").mkdir()
    for n in range(2):
        soundfile.write(folder / "wavs" / f"LJ-{n}.wav", np.zeros(RATE), RATE)
    (folder / "metadata.csv").write_text('LJ-0|"Dr. 1|"Doctor one\nLJ-1|plain|\n')
    return [("LJ-0", '"Doctor one'), ("LJ-1", "plain")]


def _common_voice(folder: Path) -> list[tuple[str, str]]:
    (folder / "clips").mkdir()
    rows = []
    for n, name in enumerate(("train", "dev", "test", "validated")):
        soundfile.write(folder / "clips" / f"cv{n}.wav", np.zeros(RATE), RATE)
        head = "client_id\tpath\tsentence\tup_votes\tlocale\n"
        (folder / f"{name}.tsv").write_text(head + f'c\tcv{n}.wav\t"q {n}\t2\ten\n')
        rows += [("", f'"q {n}')] * (name != "validated")
    return rows


def _fleurs(folder: Path) -> list[tuple[str, str]]:
    rows = []
    for split_name in ("train", "test"):
        (folder / "audio" / split_name).mkdir(parents=True)
        name = f"{split_name}7.wav"
        soundfile.write(folder / "audio" / split_name / name, np.zeros(RATE), RATE)
        line = f'9\t{name}\tRaw "T".\traw t\tr a w | t\t16000\tFEMALE\n'
        (folder / f"{split_name}.tsv").write_text(line)
        rows.append((f"{split_name}7", "raw t"))
    return rows


def _folder(folder: Path) -> list[tuple[str, str]]:
    (folder / "deep").mkdir()
    for n in range(2):
        soundfile.write(folder / "deep" / f"x.{n}.wav", np.zeros(RATE), RATE)
        (folder / "deep" / f"x.{n}.txt").write_text(f"t {n}\n")
    return [("deep/x.0", "t 0"), ("deep/x.1", "t 1")]


def _hf_folder(folder: Path) -> list[tuple[str, str]]:
    for name in ("train", "test"):
        (folder / name).mkdir()
        soundfile.write(folder / name / "a.wav", np.zeros(RATE), RATE)
        line = json.dumps({"file_name": "a.wav", "transcription": f"t {name}"})
        (folder / name / "metadata.jsonl").write_text(line)
    return [("", "t test"), ("", "t train")]


LAYOUTS: dict[str, Callable[[Path], list[tuple[str, str]]]] = {
    "librispeech": _librispeech,
    "ljspeech": _ljspeech,
    "common-voice": _common_voice,
    "fleurs": _fleurs,
    "folder": _folder,
    "hf-folder": _hf_folder,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_folders_of_corpora_are_recognised(tmp_path: Path, name: str) -> None:
    wanted = LAYOUTS[name](tmp_path)
    rows = read(tmp_path)
    assert rows.format == name
    assert rows.faults == []
    assert [(row.id or "", row.text) for row in rows] == wanted
    assert [samples(row) for row in rows] == [RATE] * len(wanted)
    if name in ("common-voice", "fleurs", "hf-folder"):
        assert all(row.split for row in rows)
    result = check(rows)
    assert (result.faults, result.seconds) == ([], len(wanted))


def test_json_of_espnet_and_gigaspeech(folder: Path) -> None:
    utts = {
        f"u{n}": {"input": [{"feat": f"{n}.wav", "name": "input1"}],
                  "output": [{"text": f"t{n}", "token": "x"}], "utt2spk": "s"}
        for n in range(2)
    }  # fmt: skip
    utts["u2"] = {"input": [{"feat": "dump/feats.1.ark:17"}], "output": [{"text": "x"}]}
    (folder / "data.json").write_text(json.dumps({"utts": utts}, indent=2))
    rows = read(folder / "data.json")
    assert rows.format == "espnet"
    assert [(row.id, row.text, row.speaker, samples(row)) for row in rows] == [
        ("u0", "t0", "s", 16_000), ("u1", "t1", "s", 16_100),
    ]  # fmt: skip
    assert "features in an archive" in rows.faults[0].reason
    segments = [
        {"sid": f"P_{n}", "begin_time": 0.25 * n, "end_time": 0.25 * n + 0.25, "speaker": "N/A",
         "text_tn": "WELL <COMMA> YES <PERIOD>", "subsets": ["{XL}"]}
        for n in range(3)
    ]  # fmt: skip
    audios = [{"aid": "P", "path": "0.wav", "segments": [*segments, {"sid": "broken"}]}, {}]
    (folder / "giga.json").write_text(
        json.dumps({"dataset": "GigaSpeech", "language": "EN", "audios": audios}, indent=1)
    )
    rows = read(folder / "giga.json")
    assert rows.format == "gigaspeech"
    assert [(row.offset, row.text, samples(row)) for row in rows] == [
        (0.25 * n, "WELL, YES.", 4_000) for n in range(3)
    ]
    assert [fault.row for fault in rows.faults] == [3, 4]


def test_check_finds_what_does_not_fit(folder: Path) -> None:
    (folder / "broken.wav").write_bytes(b"RIFF")
    rows = read([
        {"audio": "0.wav"}, {"audio": "0.wav", "offset": 0.5, "duration": 0.5},
        {"audio": "0.wav", "offset": 0.5, "duration": 0.6}, {"audio": "9.wav"},
        {"audio": "0.wav", "channel": 2}, {"audio": "0.wav", "sample_rate": 8_000},
        {"audio": "broken.wav"}, {"text": "no sound"},
    ], root=folder)  # fmt: skip
    result = check(rows)
    assert [fault.row for fault in result.faults] == [2, 3, 4, 5, 6]
    assert result.seconds == 1.5
    told = "\n".join(str(fault) for fault in result.faults)
    for part in ("ends at 1.1 s, after its recording: 1 s", "channel 2 is not among the 2",
                 "8000 Hz, the recording's 16000"):  # fmt: skip
        assert part in told


def test_no_speaker_is_in_two_parts_of_a_split() -> None:
    table = [{"audio": f"{n % 70}.wav", "speaker": f"s{n % 23}", "text": "x"} for n in range(1_000)]
    rows = read(table)
    for by in (None, "speaker"):
        parts = split(rows, {"train": 0.8, "dev": 0.1, "test": 0.1}, by=by)
        column = by or "audio"
        groups = [set(part.frame[column].to_list()) for part in parts.values()]
        assert sum(map(len, groups)) == len(set.union(*groups))
        assert sum(map(len, parts.values())) == 1_000
        assert abs(len(parts["train"]) - 800) < 60
        assert parts["dev"].frame["split"].unique().to_list() == ["dev"]
    turned = split(read(table[::-1]), {"train": 0.8, "dev": 0.1, "test": 0.1}, by="speaker")
    assert set(turned["dev"].frame["speaker"]) == set(parts["dev"].frame["speaker"])
    other = split(rows, {"train": 0.8, "dev": 0.1, "test": 0.1}, by="speaker", seed=1)
    assert set(other["dev"].frame["speaker"]) != set(parts["dev"].frame["speaker"])
    # Recordings that are inside, or members of a tar, stay together too.
    data = [bytes([n]) * 9 for n in range(20)]
    inside = read([{"audio": {"bytes": data[n % 20], "path": None}} for n in range(200)])
    listed = read([{"audio": [f"{n % 20}.wav", "same.wav"]} for n in range(200)])
    for source in (inside, listed):
        halves = split(source, {"a": 1, "b": 1})
        found = [{repr(one) for one in part.frame["audio"].to_list()} for part in halves.values()]
        assert not found[0] & found[1]
        assert len(found[0] | found[1]) == 20
    with pytest.raises(ManifestError, match="no such column"):
        split(rows, {"a": 1}, by="nothing")
    with pytest.raises(ManifestError, match="shares"):
        split(rows, {"a": -1})


def test_the_commands(folder: Path) -> None:
    lines = [{"audio_filepath": f"{n}.wav", "text": f"t{n}", "duration": 1.0, "spk": f"s{n}"}
             for n in range(3)]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "m.jsonl").write_text(text + "{\n")
    done = run("data", "show", "m.jsonl", folder=folder)
    assert done.returncode == 0
    assert "4 rows = 3 kept + 1 faults (1 x not valid JSON)" in done.stdout
    assert "nemo, 3 rows, 0.001 hours, 3 speakers" in done.stdout
    facts = json.loads(run("data", "show", "m.jsonl", "--json", folder=folder).stdout)
    assert (facts["rows"], facts["kept"], facts["faults"], len(facts["first"])) == (4, 3, 1, 3)
    done = run("data", "convert", "m.jsonl", "out.csv", "--faults", "f.jsonl", folder=folder)
    assert done.returncode == 1
    assert "4 rows = 3 kept + 1 faults" in done.stdout
    assert json.loads((folder / "f.jsonl").read_text())["line"] == 4
    (folder / "m.jsonl").write_text(text)
    for name, fit in (("nemo", 0), ("kaldi", 0), ("parquet", 0), ("hf-folder", 0)):
        done = run("data", "convert", "m.jsonl", f"out-{name}", "--to", name, folder=folder)
        assert done.returncode == fit, done.stderr
        assert "3 rows = 3 kept + 0 faults" in done.stdout
        assert len(read(folder / f"out-{name}")) == 3
    assert run("data", "check", "m.jsonl", folder=folder).returncode == 0
    # Several files and patterns; damage that headers do not tell.
    (folder / "n.jsonl").write_text(text)
    for named in (("m.jsonl", "n.jsonl"), ("[mn].jsonl",)):
        done = run("data", "show", *named, folder=folder)
        assert "nemo+nemo, 6 rows" in done.stdout or "nemo, 6 rows" in done.stdout
    whole = encode(np.zeros(RATE), RATE, "flac")
    (folder / "d.flac").write_bytes(whole[:-9] + bytes(9))
    (folder / "d.jsonl").write_text('{"audio": "d.flac", "text": "x"}\n')
    assert run("data", "check", "d.jsonl", folder=folder).returncode == 0
    assert run("data", "check", "d.jsonl", "--decode", folder=folder).returncode == 1
    # Recordings inside are named and counted; rows whose recordings are all elsewhere get a hint.
    read(folder / "m.jsonl").write(folder / "in.parquet", embed=True)
    assert "bytes inside)" in run("data", "show", "in.parquet", folder=folder).stdout
    done = run("data", "check", "m.jsonl", "--root", "elsewhere", folder=folder)
    assert "with --root" in done.stderr
    (folder / "2.wav").unlink()
    done = run("data", "check", "m.jsonl", "--faults", "f.jsonl", folder=folder)
    assert done.returncode == 1
    assert "2 of 3 rows fit their recordings" in done.stdout
    assert json.loads((folder / "f.jsonl").read_text())["row"] == 2
    done = run("data", "split", "m.jsonl", "parts", "--share", "a=2", "--share", "b=1",
               "--by", "speaker", folder=folder)  # fmt: skip
    assert done.returncode == 0
    assert [len(read(folder / "parts" / f"{name}.jsonl")) for name in "ab"] == [2, 1]
    done = run("data", "convert", "m.jsonl", "m.jsonl", folder=folder)
    assert done.returncode == 1
    assert "is the input" in done.stderr
    assert run("data", "show", "none", folder=folder).returncode == 1
    for command in ("show", "convert", "check", "split"):
        assert "Examples" in run("data", command, "--help", folder=folder).stdout


def test_gzip_is_no_format_of_its_own(folder: Path) -> None:
    (folder / "m.json.gz").write_bytes(gzip.compress(b'[{"wav": "0.wav", "text": "a"}]'))
    assert read(folder / "m.json.gz")[0].audio == str(folder / "0.wav")

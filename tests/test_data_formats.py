"""Every format of rows: made by the tool that it belongs to where that is here, and counted row by
row against that tool's own reader."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from commands import run

import ossicle
from ossicle.data import ManifestError, Rows, check, read, split

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
    assert "nemo, 3 rows, 0.001 hours" in done.stdout
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

"""Loaders by wav_id against soundfile, webdataset, json and NumPy; and what they refuse."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import textwrap
import zlib
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
import torch
import webdataset
from commands import run_script
from hypothesis import given, settings
from hypothesis import strategies as st

import ossicle
from ossicle.data.arrays import Columns, Lookup, Strings
from ossicle.data.npz import read_npz
from ossicle.dataloader import (
    FeatureLoader,
    ManifestError,
    MetadataError,
    MetadataLoader,
    RawFileLoader,
    SampleError,
    WaveformLoader,
    WebDatasetLoader,
)
from ossicle.errors import InvalidArgumentError

RATE = 8_000
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)


def noise(frames: int, channels: int = 1, seed: int = 0) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng([seed, frames, channels])
    return generator.integers(-(2**15), 2**15, (frames, channels)).astype(np.int16)


def flac(frames: int, channels: int = 1, seed: int = 0, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(frames, channels, seed), rate, format="FLAC")
    return file.getvalue()


def decoded(data: bytes | Path) -> torch.Tensor:
    """soundfile's."""
    source = data if isinstance(data, Path) else io.BytesIO(data)
    waveform, _ = soundfile.read(source, dtype="float32", always_2d=True)
    return torch.from_numpy(waveform.T.copy())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings, some in folders of their own, with side-cars."""
    folder = tmp_path_factory.mktemp("corpus")
    names = ["a", "b.c", "sub/a", "sub/ü mit Leerzeichen"]
    for number, name in enumerate(names):
        path = folder / f"{name}.{('flac', 'FLAC')[number % 2]}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(flac(9_000 + number, 1 + number % 2, number))
        segments = [{"onset": 0.1, "offset": 0.5 + number}]
        (folder / f"{name}.json").write_text(json.dumps({"vad": segments, "n": number}))
        np.savez(folder / f"{name}.npz", snr=np.arange(number + 1, dtype=np.float32))
    (folder / ".hidden.flac").write_bytes(b"")
    (folder / "notes.txt").write_text("no recording")
    return folder


def write_shards(folder: Path, clips: int = 3, per_shard: int = 4) -> list[str]:
    """Three recordings as clips, and one that is a sample of its own."""
    with ossicle.ShardWriter(folder / "s-%03d.tar", max_samples=per_shard) as writer:
        for number, wav_id in enumerate(["u0", "u1", "u_1"]):
            for clip in range(clips):
                facts = {"uid": wav_id, "abs_onset": float(clip)}
                data = flac(8_000 + 10 * clip, seed=10 * number + clip)
                key = f"{wav_id}_{clip:04d}"
                writer.write({"__key__": key, "flac": data, "json": facts})
        arrays = io.BytesIO()
        np.savez(arrays, snr=np.arange(3.0))
        whole = {"flac": flac(4_000, 2), "json": {"text": "one"}, "npz": arrays.getvalue()}
        extra = {"seg.json": [{"onset": 0, "offset": 1}], "txt": "hallo", "cls": 7, "pyd": b"x"}
        writer.write({"__key__": "whole", **whole, **extra})
    return [str(shard.path) for shard in writer.shards]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_shards(tmp_path_factory.mktemp("shards"))


def assert_ranges_are_slices(loader: FeatureLoader, wav_id: str) -> None:
    whole, rate = loader.load_waveform(wav_id)
    for offset, duration in [(0.0, None), (0.25, 0.5), (0.3333, None), (0.9, 9.0), (50.0, 1.0)]:
        part, same = loader.load_range(wav_id, offset, duration)
        start = round(offset * rate)
        end = None if duration is None else start + round(duration * rate)
        assert torch.equal(part, whole[:, start:end])
        assert same == rate
    assert loader.duration(wav_id) == pytest.approx(whole.shape[1] / rate, abs=1e-9)


def test_files_of_a_folder(corpus: Path) -> None:
    loader = WaveformLoader(corpus)
    assert loader.available_ids() == ["a", "b.c", "sub/a", "sub/ü mit Leerzeichen"]
    for wav_id in loader.available_ids():
        waveform, rate, metadata = loader.load(wav_id)
        path = Path(metadata["path"])
        assert waveform.dtype == torch.float32
        assert torch.equal(waveform, decoded(path))
        assert rate == RATE
        assert metadata["wav_id"] == wav_id
        assert_ranges_are_slices(loader, wav_id)
    mono = WaveformLoader(corpus, mono=True, sample_rate=16_000)
    stereo, rate = mono.load_waveform("b.c")
    assert (stereo.shape, rate) == ((1, 18_002), 16_000)


def test_files_of_mappings_and_manifests(corpus: Path, tmp_path: Path) -> None:
    paths = {"x": corpus / "a.flac", "y": str(corpus / "b.c.FLAC")}
    wanted = decoded(corpus / "b.c.FLAC")
    frame = pl.DataFrame({"wav_id": ["x", "y"], "path": [str(path) for path in paths.values()]})
    relative = frame.with_columns(path=pl.Series(["a.flac", "b.c.FLAC"]))
    relative.write_parquet(corpus / "m.parquet")
    relative.write_ndjson(corpus / "m.jsonl")
    relative.rename({"path": "where"}).write_csv(tmp_path / "m.csv")
    for loader in (
        WaveformLoader(paths),
        WaveformLoader(frame),
        WaveformLoader(frame.lazy(), column="path"),
        WaveformLoader({"wav_id": ["x", "y"], "path": frame["path"].to_list()}),
        WaveformLoader(corpus / "m.parquet"),
        WaveformLoader(str(corpus / "m.jsonl")),
        WaveformLoader(tmp_path / "m.csv", column="where", root=corpus),
    ):
        assert loader.available_ids() == ["x", "y"]
        assert torch.equal(loader.load_waveform("y")[0], wanted)
        assert torch.equal(pickle.loads(pickle.dumps(loader)).load_waveform("y")[0], wanted)


def test_metadata_of_side_cars_manifests_and_stores(corpus: Path) -> None:
    loader = RawFileLoader(corpus)
    _, _, metadata = loader.load("b.c")
    assert metadata.pop("snr").tolist() == [0.0, 1.0]
    path = str(corpus / "b.c.FLAC")
    assert metadata == {
        "wav_id": "b.c",
        "path": path,
        "vad": [{"onset": 0.1, "offset": 1.5}],
        "n": 1,
    }

    frame = pl.DataFrame({"wav_id": ["a", "b.c"], "snr": [1.5, None], "labels": [["KCHI"], []]})
    rows = RawFileLoader(corpus, frame, missing="empty")
    assert rows.load_metadata("b.c") == {"wav_id": "b.c", "path": path, "snr": None, "labels": []}
    assert set(rows.load_metadata("sub/a")) == {"wav_id", "path"}
    assert rows.available_ids() == loader.available_ids()

    class Store:
        def load(self, wav_id: str) -> dict[str, Any]:
            return {"from": wav_id}

        def list_ids(self) -> list[str]:
            return ["a"]

    store = RawFileLoader(WaveformLoader(corpus), Store())
    assert store.load_metadata("a")["from"] == "a"
    assert MetadataLoader(Store()).available_ids() == ["a"]


def test_samples_of_shards_against_webdataset(shards: list[str]) -> None:
    loader = WebDatasetLoader(shards)
    samples = {one["__key__"]: one for one in webdataset.WebDataset(shards, shardshuffle=False)}
    assert loader.available_ids() == list(samples)
    assert len(samples) == 10
    for key, sample in reversed(samples.items()):  # at random places
        waveform, rate, metadata = loader.load(key)
        assert torch.equal(waveform, decoded(sample["flac"]))
        assert rate == RATE
        assert metadata.items() >= json.loads(sample["json"]).items()
        assert_ranges_are_slices(loader, key)
    metadata = loader.load_metadata("whole")
    assert metadata.pop("snr").tolist() == [0.0, 1.0, 2.0]
    assert metadata == {
        "wav_id": "whole",
        "text": "one",
        "seg": [{"onset": 0, "offset": 1}],
        "txt": "hallo",
        "cls": 7,
    }
    assert loader.load_metadata("u1_0001")["clip_id"] == "u1_0001"
    assert loader.load_metadata("u1_0001")["wav_id"] == "u1"


@pytest.mark.parametrize("rate", [None, 11_025])
def test_clips_of_a_recording_end_to_end(shards: list[str], rate: int | None) -> None:
    loader = WebDatasetLoader(shards, sample_rate=rate)
    assert loader.clip_ids("u1") == ["u1_0000", "u1_0001", "u1_0002"]
    assert loader.clip_ids("u_1") == ["u_1_0000", "u_1_0001", "u_1_0002"]
    assert loader.clip_ids("u") == loader.clip_ids("whole") == []
    waveform, _, metadata = loader.load("u1")
    parts = [loader.load_waveform(clip)[0] for clip in loader.clip_ids("u1")]
    assert torch.equal(waveform, torch.cat(parts, dim=1))
    assert [clip["abs_onset"] for clip in metadata["clips"]] == [0.0, 1.0, 2.0]
    for offset, duration in [(0.5, 1.7), (0.9999, 0.0002), (1.0, None), (2.5, 9.0), (9.0, 1.0)]:
        part, own = loader.load_range("u1", offset, duration)
        start = round(offset * own)
        end = None if duration is None else start + round(duration * own)
        assert part.shape == waveform[:, start:end].shape
        assert torch.allclose(part, waveform[:, start:end], atol=1e-5)


def test_few_shards_are_open_at_a_time(shards: list[str]) -> None:
    loader = WebDatasetLoader(shards, max_open=2)
    for key in [*loader.available_ids()] * 2:
        loader.load_waveform(key)
        assert len(loader._shards._open) <= 2
    twin = pickle.loads(pickle.dumps(loader))
    assert not twin._shards._open
    assert torch.equal(twin.load_waveform("whole")[0], loader.load_waveform("whole")[0])


@pytest.mark.parametrize("how", ["renamed over", "written over", "shorter"])
def test_a_shard_that_was_rewritten_gives_no_other_recording(how: str, tmp_path: Path) -> None:
    """After its shard was let go of, and in another process: asked for one, never given another."""
    first = write_shards(tmp_path)
    loader = WebDatasetLoader(first, max_open=1)
    sent = pickle.dumps(loader)
    names = loader.available_ids()
    (tmp_path / "others").mkdir()
    others = Path(write_shards(tmp_path / "others", clips=2, per_shard=3)[how == "shorter"])
    loader.load_metadata(names[-1])  # the first one is let go of
    if how == "renamed over":
        others.replace(first[0])
    else:
        Path(first[0]).write_bytes(others.read_bytes())
    for one in (loader, pickle.loads(sent)):
        for read in (one.load_waveform, one.load_metadata, one.duration):
            with pytest.raises((ossicle.AudioIOError, SampleError), match="has changed"):
                read(names[1])
        assert one.load_waveform(names[-1])[0].shape[1] == 4_000


def test_a_cut_under_a_reader_of_metadata_is_an_error(tmp_path: Path) -> None:
    """Never a signal that kills it: nothing is read through a map."""
    script = """
        import os, sys, threading
        from ossicle.dataloader import WebDatasetLoader
        loader = WebDatasetLoader(sys.argv[1])
        os.truncate(sys.argv[1], 600)
        try:
            loader.load_metadata("long")
        except OSError as error:
            print(error.reason)
        threading.Timer(0.05, os.truncate, (sys.argv[2], 600)).start()
        loader = WebDatasetLoader(sys.argv[2])
        try:
            while True:
                assert loader.load_metadata("long")["txt"] == "x" * 1_000_000
        except OSError as error:
            print(error.reason)
    """
    paths = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for path in paths:
        with ossicle.ShardWriter(path) as writer:
            writer.write({"__key__": "long", "txt": "x" * 1_000_000})
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout.count("has changed") == 2, done.stdout


def npz_member(payload: bytes, full: int, method: int = 8) -> bytes:
    """An archive of one array whose directory promises so many bytes."""
    crc = zlib.crc32(payload)
    data = zlib.compress(payload, wbits=-15) if method == 8 else payload
    facts = struct.pack("<HHLLL", 0, 33, crc, len(data), full) + struct.pack("<H", 5)
    local = b"PK\3\4" + struct.pack("<HHH", 20, 0, method) + facts + b"\0\0" + b"a.npy"
    entry = b"PK\1\2" + struct.pack("<HHHH", 20, 20, 0, method) + facts
    entry += bytes(16) + b"a.npy"
    start = len(local) + len(data)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry), start, 0)
    return local + data + entry + end


def npy(shape: str, payload: bytes = b"") -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + payload


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (npz_member(npy("(2,)", bytes(8)), 3 << 30), "cannot have the size"),
        (npz_member(npy("(2,)", bytes(8)), 3 << 30, 0), "checksum or length"),
        (npz_member(npy(f"({1 << 40},)"), len(npy(f"({1 << 40},)"))), "length differs"),
        (npz_member(npy(f"({1 << 40}, )").replace(b"'<f4'", b'"<f4"'), 128), "length differs"),
    ],
    ids=["directory", "stored", "header", "unusual header"],
)
def test_archives_that_promise_the_sky_are_refused(
    content: bytes, why: str, tmp_path: Path
) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(MetadataError, match=why):
        read_npz(tmp_path / "a.npz")
    with ossicle.ShardWriter(tmp_path / "a.tar") as writer:
        writer.write({"__key__": "a", "npz": content})
        writer.write({"__key__": "b", "npy": npy(f"({1 << 40},)")})
    loader = WebDatasetLoader(tmp_path / "a.tar")
    for key in "ab":
        with pytest.raises(MetadataError, match=rf"a\.tar \[{key}\.np"):
            loader.load_metadata(key)


def test_more_than_an_archive_may_inflate_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ossicle.data.npz._MOST_BYTES", 1 << 20)
    for save in (np.savez_compressed, np.savez):
        save(tmp_path / "a.npz", x=np.zeros(1 << 20))
        if save is np.savez:
            assert read_npz(tmp_path / "a.npz")["x"].size == 1 << 20
            continue
        with pytest.raises(MetadataError, match="compressed member of 8388"):
            read_npz(tmp_path / "a.npz")


def test_what_is_missing_is_named(corpus: Path, shards: list[str]) -> None:
    for loader, wrong, near in (
        (WaveformLoader(corpus), "sub/b", "'sub/a'"),
        (MetadataLoader(corpus), "sub/b", "'sub/a'"),
        (WebDatasetLoader(shards), "u1_0003", "'u1_0002'"),
    ):
        load = getattr(loader, "load_waveform", loader.load_metadata)
        with pytest.raises(MetadataError, match=f"unknown id.*{near}") as caught:
            load(wrong)
        assert caught.value.wav_id == wrong
        assert isinstance(caught.value, LookupError)
    for escape in ("../corpus/a", "/etc/passwd", "a/../a", ""):
        with pytest.raises(MetadataError, match="unknown id"):
            RawFileLoader(corpus).load(escape)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(flac(8_000)[:2_000])
    (tmp_path / "a.json").write_text("[1]")
    (tmp_path / "b.wav").write_bytes(b"")
    np.savez(tmp_path / "b.npz", x=np.array([object()], dtype=object))
    loader = RawFileLoader(tmp_path)
    for wav_id, kind, load in (
        ("a", SampleError, loader.load_waveform),
        ("b", SampleError, loader.load_waveform),
        ("a", MetadataError, loader.load_metadata),
        ("b", MetadataError, loader.load_metadata),
    ):
        with pytest.raises(kind, match=f"{wav_id}.*wav_id '{wav_id}'") as caught:
            load(wav_id)
        assert caught.value.wav_id == wav_id
        assert str(tmp_path) in str(caught.value.source)
    (tmp_path / "b.wav").unlink()
    (tmp_path / "a.wav").write_bytes(flac(10))
    with pytest.raises(ManifestError, match="wav_id 'a': duplicate wav_id"):
        WaveformLoader(tmp_path)


@pytest.mark.parametrize(
    ("member", "payload", "why"),
    [
        ("json", b"[1]", "a JSON object was expected, not list"),
        ("json", b"{", "Expecting property name"),
        ("npz", b"PK\x03\x04nonsense", "zip"),
        ("npy", b"\x80\x04pickled", "."),
        ("cls", b"seven", "invalid literal"),
    ],
)
def test_members_that_cannot_be_read(tmp_path: Path, member: str, payload: bytes, why: str) -> None:
    with ossicle.ShardWriter(tmp_path / "s.tar") as writer:
        writer.write({"__key__": "k", "flac": flac(100), member: payload})
    with pytest.raises(MetadataError, match=why) as caught:
        WebDatasetLoader(tmp_path / "s.tar").load_metadata("k")
    assert f"s.tar [k.{member}]" in str(caught.value)


def test_shards_that_are_refused(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        with ossicle.ShardWriter(tmp_path / name) as writer:
            writer.write({"__key__": "k", "flac": flac(100), "json": {"wav_id": 5}})
    with pytest.raises(ManifestError, match=r"2 shards.*wav_id 'k': duplicate wav_id"):
        WebDatasetLoader([tmp_path / "a.tar", tmp_path / "b.tar"])
    assert WebDatasetLoader(tmp_path / "a.tar").load_metadata("k")["wav_id"] == "5"
    with pytest.raises(ManifestError, match="no shards"):
        WebDatasetLoader([])
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        header = tarfile.TarInfo("k.txt")
        tar.addfile(header, io.BytesIO())
    with pytest.raises(SampleError, match="no audio member"):
        WebDatasetLoader(tmp_path / "c.tar").load("k")
    with ossicle.ShardWriter(tmp_path / "d.tar") as writer:
        writer.write({"__key__": "u_0000", "flac": flac(100)})
        writer.write({"__key__": "u_0001", "flac": flac(100, 2)})
    with pytest.raises(SampleError, match="differ in channels or rate: 1 at 8000 Hz, 2 at 8000"):
        WebDatasetLoader(tmp_path / "d.tar").load_waveform("u")


@pytest.mark.parametrize(("offset", "duration"), [(-1.0, None), (0.0, -1.0), (np.nan, None)])
def test_ranges_that_make_no_sense(
    corpus: Path, shards: list[str], offset: float, duration: float | None
) -> None:
    for loader, key in ((WaveformLoader(corpus), "a"), (WebDatasetLoader(shards), "u1")):
        with pytest.raises(InvalidArgumentError):
            loader.load_range(key, offset, duration)


def test_a_loader_of_ones_own() -> None:
    class Tones(FeatureLoader):
        def load_waveform(self, wav_id: str) -> tuple[torch.Tensor, int]:
            return torch.arange(1_000.0).expand(2, -1), 100

        def load_metadata(self, wav_id: str) -> dict[str, Any]:
            return {"wav_id": wav_id}

        def available_ids(self) -> list[str]:
            return ["t"]

    assert_ranges_are_slices(Tones(), "t")
    assert len(Tones().load("t")) == 3


@given(st.lists(TEXTS, unique=True))
@settings(max_examples=50)
def test_texts_and_their_places(texts: list[str]) -> None:
    strings = Strings.of(texts)
    series = Strings.of_series(pl.Series(texts, dtype=pl.String))
    assert list(strings) == list(series) == texts
    lookup = Lookup(pickle.loads(pickle.dumps(strings)), "here")
    assert [lookup.find(text) for text in texts] == list(range(len(texts)))
    for probe in ["", "a", "\U0010ffff", *(text + "x" for text in texts)]:
        wanted = texts.index(probe) if probe in texts else None
        assert lookup.find(probe) == wanted
        begun = [number for number, text in enumerate(texts) if text.startswith(probe)]
        assert sorted(lookup.beginning(probe)) == begun


ROWS = st.fixed_dictionaries(
    {
        "text": st.none() | TEXTS,
        "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
        "real": st.none() | st.floats(allow_nan=False),
        "yes": st.none() | st.booleans(),
        "day": st.none() | st.dates(),
        "moment": st.none() | st.datetimes(),
        "span": st.none() | st.timedeltas(-timedelta(days=9), timedelta(days=9)),
        "labels": st.none() | st.lists(TEXTS, max_size=3),
        "segments": st.none()
        | st.lists(st.fixed_dictionaries({"onset": st.floats(0, 9), "label": TEXTS}), max_size=2),
    }
)
SCHEMA = {
    "text": pl.String,
    "whole": pl.Int64,
    "real": pl.Float64,
    "yes": pl.Boolean,
    "day": pl.Date,
    "moment": pl.Datetime("us"),
    "span": pl.Duration("us"),
    "labels": pl.List(pl.String),
    "segments": pl.List(pl.Struct({"onset": pl.Float64, "label": pl.String})),
}


@given(st.lists(ROWS, max_size=6))
@settings(max_examples=50)
def test_rows_of_plain_arrays_are_those_of_polars(rows: list[dict[str, Any]]) -> None:
    frame = pl.DataFrame(rows, schema=SCHEMA)
    columns = pickle.loads(pickle.dumps(Columns.of(frame)))
    assert columns.length == len(rows)
    assert [columns.row(number) for number in range(len(rows))] == frame.rows(named=True)


def test_manifests_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"nonsense")
    for source, why in (
        (pl.DataFrame({"id": ["a"]}), "column 'wav_id': unknown column; the columns are id"),
        (pl.DataFrame({"wav_id": ["a", "a"]}), "wav_id 'a': duplicate wav_id"),
        (pl.DataFrame({"wav_id": ["a", None]}), "ids must be text, not with nulls"),
        (pl.DataFrame({"wav_id": [1.5]}), "ids must be text, not Float64"),
        (pl.DataFrame({"wav_id": ["a"], "x": [b"x"]}), "column 'x': a column of Binary"),
        (pl.DataFrame({"wav_id": ["a"], "x": [time(1)]}), "column 'x': a column of Time"),
        (tmp_path / "x.parquet", "x.parquet: "),
        (tmp_path / "none.parquet", "none.parquet: "),
        (tmp_path / "m.xlsx", "no such file"),
        (5, "a int holds no rows"),
    ):
        with pytest.raises(ManifestError, match=why):
            MetadataLoader(source)
    with pytest.raises(
        ManifestError,
        match=r"no column with paths .*, but wav_id, there: "
        "name one",
    ):
        WaveformLoader(pl.DataFrame({"wav_id": ["a"], "there": ["a.wav"]}))
    with pytest.raises(ManifestError, match="wav_id 'b', column 'path': the path is null"):
        WaveformLoader(pl.DataFrame({"wav_id": ["a", "b"], "path": ["a.wav", None]}))
    with pytest.raises(InvalidArgumentError, match="pass metadata"):
        RawFileLoader({"a": "a.wav"})


@pytest.mark.filterwarnings("ignore")
def test_the_page_runs_as_written(tmp_path: Path) -> None:
    page = Path(__file__).parents[1] / "docs" / "dataloader-loading.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    script = tmp_path / "page.py"
    script.write_text("".join(blocks), encoding="utf-8")
    run_script(script, folder=tmp_path)
    assert len(blocks) == 7


@pytest.mark.parametrize("rates", [(44_100, 22_050), (22_050, 44_100), (16_000, 48_000)], ids=str)
@pytest.mark.parametrize("suffix", ["mp3", "aac"])
def test_clips_that_change_their_rate_keep_their_tails(
    suffix: str, rates: tuple[int, int], make_clip, tmp_path: Path
) -> None:
    """Each part of a clip is resampled by itself, so headers do not tell the length."""
    options = {"mp3": "-write_xing 0 -id3v2_version 0", "aac": ""}[suffix]
    parts = [make_clip(suffix, rate=rate, frames=rate // 3, options=options) for rate in rates]
    data = b"".join(part.read_bytes() for part in parts)
    shard = tmp_path / "a.tar"
    with ossicle.ShardWriter(shard) as writer:
        writer.write({"__key__": "u_0000", suffix: data})
        writer.write({"__key__": "u_0001", "flac": flac(RATE)})
        writer.write({"__key__": "u_0002", suffix: data})
    first, last = ossicle.load(data, RATE)[0], decoded(flac(RATE))[0]
    expected = torch.cat([torch.from_numpy(first), last, torch.from_numpy(first)])
    loader = WebDatasetLoader([str(shard)], sample_rate=RATE, mono=True)
    whole, _ = loader.load_waveform("u")
    np.testing.assert_allclose(whole[0], expected, rtol=0, atol=1e-5)
    for start in (0, 100, len(first) - 5, len(first) + RATE - 5, len(expected) - 5):
        part, _ = loader.load_range("u", start / RATE, 0.5)
        ours = expected[start : start + RATE // 2]
        assert part.shape == (1, len(ours))
        np.testing.assert_allclose(part[0], ours, rtol=0, atol=1e-5)
    rows = [data, io.BytesIO(data), {"audio": [data, data]}]
    lengths = ossicle.audio_lengths(rows, sample_rate=RATE)
    assert lengths.samples.tolist() == [len(first), len(first), 2 * len(first)]

"""Segments of recordings in shards: cut out or kept, they sound as the rows say."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ossicle
import ossicle.data
from ossicle.data import members
from ossicle.dataloader import WebDatasetLoader
from ossicle.shard import PackResult, Shard, ShardWriter, pack

# Name, rate, channels, subtype, and what a segment of it becomes.
RECORDINGS = [
    ("stereo.wav", 44_100, 2, "PCM_16", ("flac", "int16")),
    ("deep.flac", 48_000, 1, "PCM_24", ("flac", "int32")),
    ("low.wav", 8_000, 1, "PCM_U8", ("flac", "int16")),
    ("float.wav", 16_000, 2, "FLOAT", ("wav", "float32")),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for name, rate, channels, subtype, _ in RECORDINGS:
        samples = rng.uniform(-0.5, 0.5, (rate // 2, channels))
        soundfile.write(folder / name, samples, rate, subtype=subtype)
    return folder


ROWS: list[dict[str, Any]] = [
    {"id": "s0", "audio": "stereo.wav", "offset": 0.1, "duration": 0.05, "channel": 1, "text": "a"},
    {"id": "s1", "audio": "stereo.wav", "offset": 0.2, "text": "b"},
    {"id": "d0", "audio": "deep.flac", "start": 0.0, "end": 0.125, "text": "c"},
    {"id": "l0", "audio": "low.wav", "offset": 0.25, "duration": 0.1, "text": "d"},
    {"id": "f0", "audio": "float.wav", "offset": 0.3, "duration": 0.1, "text": "e"},
    {"id": "s2", "audio": "stereo.wav", "text": "all of it", "duration": 0.5},
    {"id": "d1", "audio": {"path": "deep.flac", "offset": 0.4}, "text": "f"},
]


def given_rows(corpus: Path, rows: list[dict[str, Any]]) -> ossicle.data.Rows:
    return ossicle.data.read(rows, root=corpus)


def wanted(row: Any, rate: int | None = None) -> np.ndarray[Any, Any]:
    """What the row means, by `load`."""
    [recording] = row.recordings
    offset, duration, channel = recording.segment[:3]
    whole = ossicle.load(recording.source, rate)[0]
    if recording.segment.frames(len(whole), rate or 16_000) == len(whole) and not channel:
        return whole
    options = {"offset": offset, "duration": duration, "channel": channel}
    return ossicle.load(recording.source, rate, **options)[0]


def keys_of(path: str | Path) -> list[str]:
    return Shard(path).keys()


def samples_of(result: PackResult) -> list[dict[str, bytes | str]]:
    return [
        {name: one if name == "__key__" else bytes(one) for name, one in sample.items()}
        for written in result.shards
        for sample in Shard(written.path)
    ]


def test_what_is_cut_out_is_lossless(corpus: Path, tmp_path: Path) -> None:
    result = pack(ROWS, tmp_path / "a.tar", root=corpus)
    assert (result.samples, result.recordings, result.errors) == (7, 7, [])
    kinds = {name: (rate, kind) for name, rate, _, _, kind in RECORDINGS}
    for row, sample in zip(ROWS, samples_of(result), strict=True):
        audio = row["audio"]
        name, segment = (audio, row) if isinstance(audio, str) else (audio["path"], audio)
        fields = json.loads(sample["json"])
        if row["id"] == "s2":
            assert sample["wav"] == (corpus / name).read_bytes()
            assert fields == row
            continue
        rate, (extension, dtype) = kinds[name]
        theirs, _ = soundfile.read(corpus / name, dtype=dtype, always_2d=True)
        start = round(segment.get("offset", segment.get("start", 0.0)) * rate)
        length = segment.get("duration", segment.get("end"))
        stop = None if length is None else start + round(length * rate)
        part = theirs[start:stop]
        part = part if row.get("channel") is None else part[:, [row["channel"]]]
        ours, found = soundfile.read(io.BytesIO(sample[extension]), dtype=dtype, always_2d=True)
        assert found == rate
        np.testing.assert_array_equal(ours, part)
        parts = {
            one: row[one] for one in ("offset", "start", "end", "duration", "channel") if one in row
        }
        assert fields["cut_from"] == parts
        assert not parts.keys() & fields.keys()
        # A tar of webdataset's own kind: its samples are whole.
        assert ossicle.data.read(tmp_path / "a.tar").faults == []
    seconds = ossicle.audio_lengths(given_rows(corpus, ROWS)).seconds.sum()
    assert result.seconds == pytest.approx(seconds)
    assert ossicle.audio_lengths(tmp_path / "a.tar").seconds.sum() == pytest.approx(seconds)


def test_lossy_recordings_are_rounded_or_kept(make_clip: Any, tmp_path: Path) -> None:
    path = make_clip("mp3", rate=16_000, frames=16_000)
    rows = [{"audio": str(path), "offset": 0.1 * n, "duration": 0.2} for n in range(3)]
    cut = pack(rows, tmp_path / "cut.tar")
    for row, sample in zip(rows, samples_of(cut), strict=True):
        exact, _ = ossicle.load(path, offset=row["offset"], duration=0.2)
        ours, _ = soundfile.read(io.BytesIO(sample["flac"]), dtype="int16")
        np.testing.assert_array_equal(ours, np.clip(np.rint(exact * 32_768), -32_768, 32_767))
    kept = pack(rows, tmp_path / "kept.tar", segments="keep")
    assert (kept.samples, kept.recordings) == (3, 1)
    with Shard(tmp_path / "kept.tar") as shard:
        for number, row in enumerate(rows):
            exact, _ = ossicle.load(path, offset=row["offset"], duration=0.2)
            np.testing.assert_array_equal(shard.load(number)[0], exact)


def test_what_is_kept_is_read_as_the_rows_say_everywhere(corpus: Path, tmp_path: Path) -> None:
    result = pack(ROWS, tmp_path / "k-%d.tar", root=corpus, segments="keep", max_bytes=150_000)
    assert (result.samples, result.recordings, result.errors) == (7, 6, [])
    assert len(result.shards) > 1
    paths = [str(written.path) for written in result.shards]
    samples = samples_of(result)
    assert [sample["__key__"] for sample in samples] == [row["id"] for row in ROWS]
    held = [sum(len(sample) - 2 for sample in Shard(path)) for path in paths]
    assert sum(held) == 6
    rows = given_rows(corpus, ROWS)
    packed = [row for path in paths for row in ossicle.data.read(path)]
    loader = WebDatasetLoader(paths, sample_rate=16_000, mono=True)
    lengths = [n for path in paths for n in ossicle.audio_lengths(path, sample_rate=16_000).samples]
    shards = {key: Shard(path) for path in paths for key in keys_of(path)}
    for at, row in enumerate(rows):
        exact = wanted(row, 16_000)
        name = str(row.id)
        np.testing.assert_array_equal(shards[name].load(name, 16_000)[0], exact)
        np.testing.assert_array_equal(loader.load_waveform(name)[0][0].numpy(), exact)
        np.testing.assert_array_equal(wanted(packed[at], 16_000), exact)
        assert packed[at].text == row.text
        assert lengths[at] == len(exact)
        assert loader.duration(name) == pytest.approx(len(exact) / 16_000, abs=1e-4)
        # A range is a slice of the segment, also with its channels.
        part, _ = shards[name].load(name, 16_000, offset=0.013, duration=0.02)
        np.testing.assert_array_equal(part, exact[208:528])
        part = loader.load_range(name, 0.013, 9.0)[0]
        np.testing.assert_array_equal(part[0].numpy(), exact[208:])
        planes, rate = shards[name].load(name, mono=False)
        whole, _ = ossicle.load(row.recordings[0].source, mono=False)
        channel = row.recordings[0].segment.channel
        whole = whole if channel is None else whole[[channel]]
        start = round(row.recordings[0].segment.offset * rate)
        np.testing.assert_array_equal(
            np.atleast_2d(planes), whole[:, start : start + planes.shape[-1]]
        )
    segment = next(key for key in shards if key == "s0")
    with pytest.raises(ossicle.InvalidArgumentError, match="is a segment of a recording"):
        shards[segment].member(segment)


STARTS = st.sampled_from([0.0, 0.05, 0.21])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["stereo.wav", "deep.flac", "low.wav", "gone.wav"]),
            STARTS,
            st.none() | st.just(0.1),
            st.sampled_from([None, 0, 1]),
        ),
        max_size=8,
    ),
    st.sampled_from(["cut", "keep"]),
    st.sampled_from([None, "flac"]),
)
def test_any_rows(
    corpus: Path, tmp_path: Path, drawn: list[tuple[Any, ...]], how: Any, transcode: Any
) -> None:
    rows = [
        {"id": str(n), "audio": name, "offset": start, "duration": length, "channel": channel}
        for n, (name, start, length, channel) in enumerate(drawn)
    ]
    for old in tmp_path.glob("a-*"):
        old.unlink()
    digests = set()
    for threads in (1, 3):
        result = pack(
            rows,
            tmp_path / "a-%d.tar",
            root=corpus,
            segments=how,
            transcode=transcode,
            max_bytes=100_000,
            threads=threads,
            overwrite=True,
        )
        digests.add(hashlib.sha256(b"".join(w.path.read_bytes() for w in result.shards)).digest())
    assert len(digests) == 1
    assert result.samples + len(result.errors) == len(rows)
    lost = {failed.row for failed in result.errors}
    bad = {
        n for n, (name, _, _, channel) in enumerate(drawn)
        if name == "gone.wav" or (channel == 1 and name != "stereo.wav")
    }  # fmt: skip
    assert lost == bad
    kept = [row for n, row in enumerate(rows) if n not in bad]
    found = [(Shard(w.path), key) for w in result.shards for key in keys_of(w.path)]
    assert [key for _, key in found] == [row["id"] for row in kept]
    for row, (shard, key) in zip(kept, found, strict=True):
        path = corpus / row["audio"]
        options = {name: row[name] for name in ("offset", "duration", "channel")}
        rate = 16_000 if transcode else None
        exact, native = ossicle.load(path, rate, **options)
        ours, rate = shard.load(key)
        assert rate == native
        # 16 bits, and the mean of what was rounded.
        np.testing.assert_allclose(ours, exact, atol=1.01 / 32_768)


def test_recordings_of_every_kind_of_source(corpus: Path, tmp_path: Path) -> None:
    data = (corpus / "low.wav").read_bytes()
    frame = pl.DataFrame({"audio": [{"bytes": data, "path": "x/low.wav"}], "sentence": ["a"]})
    frame.write_parquet(tmp_path / "m.parquet")
    shard = pack(frame, tmp_path / "frame.tar")
    rows: list[Any] = [
        tmp_path / "m.parquet",
        frame,
        tmp_path / "frame.tar",
        [{"audio": data, "key": "low"}],
        [{"audio": ["low.wav"]}],
        pd.DataFrame({"audio": ["low.wav"]}),
        [{"audio": str(corpus / "low.wav")}],
        iter([{"audio": "low.wav"}]),
        {"audio": ["low.wav"]},
    ]
    assert shard.errors == []
    for number, source in enumerate(rows):
        result = pack(source, tmp_path / f"{number}.tar", root=corpus)
        [sample] = samples_of(result)
        assert (sample["__key__"], sample["wav"]) == ("low", data), number
        assert b"RIFF" not in sample["json"]
        cut = pack(source, tmp_path / f"c{number}.tar", root=corpus) if number == 6 else result
        assert cut.samples == 1
    told = [{"p": "low.wav", "from": 0.25, "till": 0.35, "n": "k"}]
    columns = {"audio": "p", "offset": "from", "end": "till", "id": "n"}
    for how in ("cut", "keep"):
        out = tmp_path / f"{how}.tar"
        pack(told, out, root=corpus, columns=columns, segments=how)  # type: ignore[arg-type]
        exact, _ = ossicle.load(corpus / "low.wav", offset=0.25, duration=0.1)
        np.testing.assert_array_equal(Shard(out).load("k")[0], exact)


def test_what_is_no_segment_of_its_recording_is_told(corpus: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"audio": "low.wav", "offset": 7.0, "duration": 1.0},
        {"audio": "low.wav", "channel": 1},
        {"audio": "low.wav", "offset": -1.0},
        {"text": "no sound"},
        {"audio": ["low.wav", "deep.flac"]},
        {"audio": "low.wav", "duration": 0.45},
    ]
    for how in ("cut", "keep"):
        result = pack(rows, tmp_path / f"{how}.tar", root=corpus, segments=how)  # type: ignore[arg-type]
        reasons = [failed.error.reason for failed in result.errors]
        assert [failed.row for failed in result.errors] == [0, 1, 2, 3, 4]
        assert "the segment begins at 7 s" in reasons[0]
        assert "channel 1 of a recording of 1 channels" in reasons[1]
        assert "offset is -1.0" in reasons[2]
        assert "no recording" in reasons[3]
        assert "2 recordings" in reasons[4]
        assert result.summary().startswith("6 rows = 1 samples + 5 faults (")
    with pytest.raises(ossicle.InvalidArgumentError, match='segments must be "cut" or "keep"'):
        pack(rows, tmp_path / "x.tar", segments="whole")  # type: ignore[arg-type]


def test_samples_that_point_to_nothing_say_so(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.tar") as writer:
        writer.write({"__key__": "a", "json": {"segment": {"member": "gone.wav", "offset": 1.0}}})
        # Facts of other programs under the same name are none of ours.
        writer.write({"__key__": "b", "json": {"segment": 3, "offset": 1.0}, "wav": b"x"})
        writer.write({"__key__": "c", "json": {"segment": {"speaker": 3}}, "wav": b"x"})
    shard = Shard(tmp_path / "a.tar")
    with pytest.raises(ossicle.InvalidArgumentError, match=r"points to 'gone\.wav', which is not"):
        shard.load("a")
    assert shard.recording("b").segment.is_whole
    assert shard.recording("c").segment.is_whole
    lengths = ossicle.audio_lengths(tmp_path / "a.tar", on_error="collect")
    assert "no such member" in str(lengths.errors[0])
    assert len(lengths) == 3


def test_a_shard_that_was_rewritten_is_an_error_or_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tar"

    def write(level: float, samples: int) -> None:
        with ShardWriter(path, overwrite=True) as writer:
            for number in range(samples):
                sound = ossicle.audio.encode(np.full(80, level + number / 64, np.float32), 8_000)
                writer.write({"__key__": f"k{number}", "wav": sound, "txt": "a"})

    def first(rows: ossicle.data.Rows) -> float:
        return float(ossicle.load(rows[0].recordings[0].source)[0][0])

    write(0.25, 2)
    old = ossicle.data.read(path)
    pickled = pickle.dumps(old)
    assert first(old) == 0.25
    write(0.5, 2)
    with pytest.raises(ossicle.AudioIOError, match=r"changed|another"):
        first(old)
    # In a process that knows nothing of it, rows bring along what they were read from.
    monkeypatch.setattr(members, "_IDENTITIES", {})
    with pytest.raises(ossicle.AudioIOError, match=r"changed|another"):
        first(pickle.loads(pickled))
    monkeypatch.setattr(members, "_IDENTITIES", {})
    new = ossicle.data.read(path)
    assert (len(new), first(new)) == (2, 0.5)
    write(0.125, 1)
    assert first(ossicle.data.read(path)) == 0.125
    assert ossicle.audio_lengths(path).samples.tolist() == [80]


def test_the_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs" / "shards-writing.md"
    text = page.read_text(encoding="utf-8").partition("## Segments")[2]
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(block, str(page), "exec"), {})

"""Lengths without decoding, against what decoding gives."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ossicle
import ossicle.data
from ossicle import audio_lengths
from ossicle.errors import (
    AudioFileNotFoundError,
    InvalidArgumentError,
    UnsupportedFormatError,
)

MakeClip = Callable[..., Path]

FORMATS = [
    ("wav", {"rate": 44_100, "channels": 2}),
    ("flac", {"rate": 22_050, "frames": 9_001}),
    ("mp3", {"rate": 44_100, "frames": 30_011}),
    ("mp3", {"rate": 16_000, "options": "-write_xing 0"}),
    ("opus", {"rate": 48_000, "frames": 47_999}),
    ("ogg", {"rate": 32_000, "options": "-c:a libvorbis"}),
    ("m4a", {"rate": 44_100, "channels": 2, "frames": 20_003}),
    ("aac", {"rate": 16_000}),
]


@pytest.fixture(scope="module")
def clips(make_clip: MakeClip) -> list[Path]:
    return [make_clip(suffix, **options) for suffix, options in FORMATS]


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    return ossicle.save(tmp_path / "tone.wav", np.zeros(801, np.float32), 8_000)


@pytest.mark.parametrize("rate", [None, 16_000, 44_100, 11_025])
def test_lengths_are_those_of_what_is_decoded(clips: list[Path], rate: int | None) -> None:
    lengths = audio_lengths(clips, sample_rate=rate)
    assert lengths.samples.dtype == np.int64
    assert lengths.samples.tolist() == [len(ossicle.load(clip, rate)[0]) for clip in clips]
    native = [ossicle.load(clip) for clip in clips]
    assert lengths.seconds.dtype == np.float64
    assert lengths.seconds.tolist() == [len(waveform) / rate for waveform, rate in native]
    assert lengths.errors == [None] * len(clips)
    assert lengths.ok.all()


def test_every_form_of_a_row_gives_the_same_length(clips: list[Path], tmp_path: Path) -> None:
    path = clips[1]
    data = path.read_bytes()
    waveform, rate = ossicle.load(path)
    rows: list[Any] = [
        path,
        str(path),
        data,
        np.frombuffer(data, np.uint8),
        io.BytesIO(data),
        {"audio_path": path, "text": "words", "path": "not this one"},
        {"audio": data},
        {"audio": str(path), "audio_path": None},
        {"audio": {"path": "gone.flac", "bytes": data}, "text": "words"},
        {"audio": {"path": str(path), "bytes": None}},
        {"audio": {"array": waveform, "sampling_rate": rate}},
        {"audio": {"array": np.stack([waveform, waveform]), "sampling_rate": rate}},
        {"path": None, "bytes": data},
        {"messages": [{"role": "user", "content": [{"type": "audio", "path": str(path)}]}]},
        {"messages": [{"content": [{"type": "audio", "audio": data, "path": None}]}]},
        {"array": waveform.tolist(), "sampling_rate": rate},
    ]
    lengths = audio_lengths(rows, sample_rate=16_000)
    expected = len(ossicle.load(path, 16_000)[0])
    assert lengths.samples.tolist() == [expected] * len(rows)
    assert lengths.seconds.tolist() == [len(waveform) / rate] * len(rows)
    assert audio_lengths(iter(rows[:4])).seconds.tolist() == lengths.seconds[:4].tolist()


def test_several_audios_of_a_row_add_up(clips: list[Path]) -> None:
    # Each is rounded up by itself, as each is decoded by itself.
    rows = [{"audio_path": clips}, {"audio": [clips[0], {"path": None, "bytes": None}]}]
    one, many = (
        audio_lengths(clips, sample_rate=11_025),
        audio_lengths(rows[:1], sample_rate=11_025),
    )
    assert many.samples.tolist() == [one.samples.sum()]
    assert many.seconds[0] == pytest.approx(one.seconds.sum(), rel=1e-12)
    with pytest.raises(InvalidArgumentError) as caught:
        audio_lengths(rows)
    assert caught.value.__notes__ == ["in row 1"]


def test_members_of_a_shard(clips: list[Path], tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for number, clip in enumerate(clips):
            tar.add(clip, f"{number}{clip.suffix}")
    with ossicle.Shard(tmp_path / "s.tar") as shard:
        members = [shard.member(str(n), c.suffix[1:]) for n, c in enumerate(clips)]
        assert audio_lengths(members).samples.tolist() == audio_lengths(clips).samples.tolist()


@pytest.mark.parametrize("threads", [1, 3])
def test_many_rows_keep_their_order(tmp_path: Path, threads: int) -> None:
    for frames in range(7):
        ossicle.save(tmp_path / f"{frames}.wav", np.zeros(frames, np.float32), 8_000)
    frames = np.random.default_rng(0).integers(0, 7, 2_000)
    calls: list[tuple[int, threading.Thread]] = []
    lengths = audio_lengths(
        [{"audio_path": tmp_path / f"{n}.wav"} for n in frames],
        threads=threads,
        progress=lambda done: calls.append((done, threading.current_thread())),
    )
    assert lengths.samples.tolist() == frames.tolist()
    done = [count for count, _ in calls]
    assert done == sorted(set(done))
    assert done[-1] == 2_000
    assert {thread for _, thread in calls} == {threading.current_thread()}


def test_errors_are_collected_or_the_first_is_raised(tone: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_bytes(b"no audio")
    rows: list[Any] = [tone] * 600
    rows[300], rows[301], rows[302] = tmp_path / "gone.wav", text, {"text": "no audio"}
    lengths = audio_lengths(rows, on_error="collect", threads=2)
    assert [type(error) for error in lengths.errors[300:303]] == [
        AudioFileNotFoundError,
        UnsupportedFormatError,
        InvalidArgumentError,
    ]
    assert np.flatnonzero(~lengths.ok).tolist() == [300, 301, 302]
    assert np.isnan(lengths.seconds[300:303]).all()
    assert lengths.samples[299:304].tolist() == [801, -1, -1, -1, 801]
    assert sum(error is not None for error in lengths.errors) + lengths.ok.sum() == len(rows)
    with pytest.raises(AudioFileNotFoundError, match=r"gone\.wav") as caught:
        audio_lengths(rows, threads=2)
    assert caught.value.__notes__ == ["in row 300"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "words"}, "no audio_path and no audio .its keys: text"),
        ({}, "keys: none"),
        ({"audio": []}, "no audio_path and no audio"),
        ({"messages": [{"role": "user", "content": "words"}]}, "keys: messages"),
        (3, "cannot be a int"),
        (None, "cannot be a NoneType"),
        ({"audio_path": b"RIFF"}, "audio_path cannot be a bytes"),
        ({"array": [0.0]}, "no array with sampling_rate"),
        ({"array": 0.0, "sampling_rate": 8_000}, "0 dimensions"),
        ({"array": [0.0], "sampling_rate": 0}, "sampling_rate must be .* not 0"),
        ({"path": None, "bytes": None}, "no bytes, no path"),
    ],
)
def test_rows_without_audio(row: Any, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason):
        audio_lengths([row])


SEGMENTS = [(0.0, None), (0.1, 0.2), (0.033_3, 0.000_03), (0.25, 9.0), (7.0, 1.0), (0.0, 0.0)]


def is_inside(clip: Path | bytes, offset: float, duration: float | None) -> bool:
    """Whether a segment is one of its recording, as far as half a second past its end."""
    facts = ossicle.info(clip)
    length = facts.frames / facts.sample_rate
    return not offset or (offset < length and offset + (duration or 0) <= length + 0.5)


@pytest.mark.parametrize("rate", [None, 16_000, 44_100, 11_025])
def test_segments_are_as_long_as_what_is_decoded_of_them(
    clips: list[Path], rate: int | None
) -> None:
    cases = [(clip, *part) for clip in clips for part in SEGMENTS]
    rows = [{"audio": clip, "offset": start, "duration": length} for clip, start, length in cases]
    decoded = [ossicle.load(clip, rate, offset=o, duration=d)[0] for clip, o, d in cases]
    inside = [is_inside(clip, o, d) for clip, o, d in cases]
    assert 0 < sum(inside) < len(inside)
    wanted = [len(wave) if ok else -1 for wave, ok in zip(decoded, inside, strict=True)]
    asked: dict[str, Any] = {"sample_rate": rate, "on_error": "collect"}
    assert audio_lengths(rows, **asked).samples.tolist() == wanted
    # By their end, in the dict of the recording, and of samples at hand.
    ends = [
        {"path": str(clip), "start": o} | ({} if d is None else {"end": o + d})
        for clip, o, d in cases
    ]
    assert audio_lengths(ends, **asked).samples == pytest.approx(wanted, abs=1)
    dicts = [{"audio": {"path": str(clip), "offset": o, "duration": d}} for clip, o, d in cases]
    assert audio_lengths(dicts, **asked).samples.tolist() == wanted
    frame = pl.DataFrame([row | {"audio": str(row["audio"]), "text": "x"} for row in rows])
    found = audio_lengths(frame, **asked)
    assert found.samples.tolist() == wanted
    native = [ossicle.load(clip, offset=o, duration=d) for clip, o, d in cases]
    seconds = [len(waveform) / rate for waveform, rate in native]
    assert found.seconds[inside].tolist() == np.array(seconds)[inside].tolist()
    error = found.errors[inside.index(False)]
    assert "its recording is" in str(error)


@settings(max_examples=40)
@given(
    frames=st.integers(0, 3_000),
    native=st.sampled_from([8_000, 11_025, 44_100]),
    rate=st.sampled_from([None, 8_000, 16_000, 48_000]),
    offset=st.floats(0, 0.4),
    duration=st.none() | st.floats(0, 0.4),
)
def test_any_segment(
    frames: int, native: int, rate: int | None, offset: float, duration: float | None
) -> None:
    data = ossicle.audio.encode(np.zeros(frames, np.float32), native)
    waveform, _ = ossicle.load(data, rate, offset=offset, duration=duration)
    row = {"audio": data, "offset": offset, "duration": duration}
    wanted = len(waveform) if is_inside(data, offset, duration) else -1
    found = audio_lengths([row], sample_rate=rate, on_error="collect")
    assert found.samples.tolist() == [wanted]


def test_a_channel_is_as_long_as_its_recording_and_has_to_be_there(clips: list[Path]) -> None:
    rows = [{"audio": clips[0], "channel": channel} for channel in (0, 1, 2)]
    lengths = audio_lengths(rows, on_error="collect")
    assert lengths.samples.tolist() == [ossicle.info(clips[0]).frames] * 2 + [-1]
    assert "channel 2 of a recording of 2 channels" in str(lengths.errors[2])
    array = {"array": np.zeros((2, 80), np.float32), "sampling_rate": 8_000}
    rows = [{"audio": array, "channel": 1, "offset": 0.005}]
    assert audio_lengths(rows).samples.tolist() == [40]


def test_whatever_holds_rows(clips: list[Path], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"audio": str(clips[0]), "offset": 0.1, "duration": 0.2},
        {"audio": str(clips[1])},
        {"text": "no sound"},
        {"audio": str(tmp_path / "gone.wav")},
        {"snr": 3},
    ]
    wanted = [4_410 * 2, 9_001, 0, -1, -1]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for source in (path, str(path), pl.DataFrame(rows), pd.DataFrame(rows)):
        lengths = audio_lengths(source, on_error="collect")
        assert lengths.samples.tolist() == wanted
        assert [type(error) for error in lengths.errors[2:]] == [
            type(None),
            AudioFileNotFoundError,
            InvalidArgumentError,
        ]
        with pytest.raises(AudioFileNotFoundError) as caught:
            audio_lengths(source)
        assert caught.value.__notes__ == ["in row 3"]
    # Rows have those that fit, and lists of them too.
    fitting = ossicle.data.read(path)
    for given_rows in (fitting, list(fitting), fitting.take([0, 1, 2, 3])):
        found = audio_lengths(given_rows, on_error="collect")
        assert found.samples.tolist() == wanted[:4]
        assert len(found) == len(given_rows)
    columns = {"audio": [str(clips[1])] * 2, "offset": [0.0, 0.1], "duration": [0.1, None]}
    assert audio_lengths(columns).samples.tolist() == [2_205, 9_001 - 2_205]
    # A line that is none keeps its place.
    path.write_text(f"no json\n\n{json.dumps(rows[1])}\n")
    assert audio_lengths(path, on_error="collect").samples.tolist() == [-1, 9_001]
    with pytest.raises(InvalidArgumentError, match="no row names a recording; the columns are"):
        audio_lengths(pl.DataFrame({"text": ["a"], "my_path": ["b"]}))
    with pytest.raises(InvalidArgumentError, match="must be a list"):
        audio_lengths(str(clips[0]))


def test_an_index_with_segments_of_recordings_is_read(clips: list[Path]) -> None:
    facts = ossicle.info(clips[1])
    frame = pl.DataFrame(
        {"audio": [str(clips[1])], "frames": [facts.frames], "sample_rate": [facts.sample_rate]}
    )
    assert audio_lengths(frame).samples.tolist() == [facts.frames]
    cut = frame.with_columns(offset=pl.lit(0.1), duration=pl.lit(0.1))
    assert audio_lengths(cut).samples.tolist() == [2_205]


@pytest.mark.parametrize("rows", [Path("a.wav"), "a.wav", b"RIFF", {"audio_path": "a.wav"}])
def test_one_row_is_no_list_of_rows(rows: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="must be a list"):
        audio_lengths(rows)


def test_no_rows() -> None:
    lengths = audio_lengths([], sample_rate=8_000)
    assert (len(lengths), lengths.errors, lengths.samples.dtype) == (0, [], np.int64)


@pytest.mark.parametrize(
    "wrong", [{"sample_rate": 0}, {"threads": 0}, {"on_error": "conceal"}, {"sample_rate": 1.5}]
)
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        audio_lengths([], **wrong)


@given(
    facts=st.lists(st.tuples(st.integers(0, 2**41), st.integers(1, 768_000)), max_size=20),
    rate=st.none() | st.integers(1, 768_000),
)
def test_an_index_is_counted_without_its_files(
    facts: list[tuple[int, int]], rate: int | None
) -> None:
    schema = {"frames": pl.UInt64, "sample_rate": pl.UInt32}
    index = pl.DataFrame(facts, schema=schema, orient="row").with_columns(shard=pl.lit("gone.tar"))
    lengths = audio_lengths(index, sample_rate=rate)
    exact = [f if rate is None else -(-f * rate // native) for f, native in facts]
    assert lengths.samples.tolist() == exact
    assert lengths.seconds.tolist() == [frames / native for frames, native in facts]
    lazy = audio_lengths(index.lazy(), sample_rate=rate)
    assert lazy.samples.tolist() == exact


def test_members_of_an_index_that_are_no_audio() -> None:
    index = pl.DataFrame({"frames": [16_000, None, 8_000], "sample_rate": [16_000, None, 16_000]})
    with pytest.raises(InvalidArgumentError) as caught:
        audio_lengths(index)
    assert caught.value.__notes__ == ["in row 1"]
    lengths = audio_lengths(index, on_error="collect")
    assert lengths.samples.tolist() == [16_000, -1, 8_000]
    assert lengths.ok.tolist() == [True, False, True]
    assert lengths.seconds[lengths.ok].tolist() == [1.0, 0.5]


def test_a_frame_of_paths_is_read_row_by_row(tone: Path) -> None:
    frame = pl.DataFrame({"audio_path": [str(tone)] * 3, "text": ["a", "b", "c"]})
    assert audio_lengths(frame).samples.tolist() == [801] * 3


def test_nothing_is_decoded(tmp_path: Path) -> None:
    # A damaged payload under a whole header: decoding it would fail.
    clip = tmp_path / "clip.flac"
    ossicle.save(clip, np.random.default_rng(0).uniform(-1, 1, 9_000), 8_000)
    damaged = bytearray(clip.read_bytes())
    damaged[-3_000:-2_000] = bytes(1_000)
    with pytest.raises(ossicle.AudioError):
        ossicle.load(bytes(damaged))
    assert audio_lengths([bytes(damaged)]).samples.tolist() == [9_000]

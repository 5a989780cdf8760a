"""`AudioStream`: the clips of a plan in its order, whatever threads, faults and stops there are."""

from __future__ import annotations

import contextlib
import errno
import io
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from stream_plan import RATE, Folder, Order, expected, write

import ossicle
from ossicle.data.recordings import Recording
from ossicle.dataloader.batch import SpeechCollator
from ossicle.errors import TooManyFaultsError
from ossicle.faults import read_ledger
from ossicle.stream import engine, reading
from ossicle.stream.audio_stream import AudioStream
from ossicle.stream.decoding import LogMel, Waveforms
from ossicle.stream.errors import StreamError

ROWS = 41


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(tmp_path_factory.mktemp("clips"), ROWS)


@pytest.fixture
def plan(files: list[Path]) -> Order:
    return Order([Folder(files)])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("prefetch_bytes", [0, 1 << 16, 1 << 30])
def test_clips_are_those_of_load_in_the_order_of_the_plan(
    plan: Order, threads: int, prefetch_bytes: int
) -> None:
    stream = AudioStream(plan, threads=threads, prefetch_bytes=prefetch_bytes)
    for epoch in range(2):
        batches = list(stream)
        assert len(batches) == plan.steps(epoch, 1)
        for step, (batch, paths) in enumerate(zip(batches, expected(plan, epoch), strict=True)):
            assert (batch["epoch"], batch["step"]) == (epoch, step)
            assert batch["ids"] == [path.stem for path in paths]
            assert [row["audio"] for row in batch["rows"]] == list(map(str, paths))
            clips = zip(batch["waveforms"].numpy(), batch["lengths"].tolist(), paths, strict=True)
            for waveform, length, path in clips:
                clip, _ = ossicle.load(path, RATE)
                assert length == len(clip)
                np.testing.assert_array_equal(waveform[:length], clip)
                assert not waveform[length:].any()
            assert batch["waveforms"].shape[1] == max(batch["lengths"])


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_isolation(plan: Order, isolation: str) -> None:
    plain = list(AudioStream(plan))
    stream = AudioStream(plan, isolation=isolation)
    for _ in range(2):
        stream.set_epoch(0)
        for one, other in zip(stream, plain, strict=True):
            assert one.keys() == other.keys()
            assert torch.equal(one["waveforms"], other["waveforms"])
            assert torch.equal(one["lengths"], other["lengths"])
            for name in ("ids", "rows", "epoch", "step"):
                assert one[name] == other[name]
    stream.close()


def test_lengths_and_facts_of_packed_and_padded_batches(plan: Order) -> None:
    padded = list(AudioStream(plan, decode=Waveforms(pad_to_multiple=1000)))
    packed = list(AudioStream(plan, decode=Waveforms(packed=True)))
    for one, other in zip(padded, packed, strict=True):
        assert one["waveforms"].shape[1] % 1000 == 0
        clips = [row[:n] for row, n in zip(one["waveforms"], one["lengths"], strict=True)]
        assert torch.equal(torch.cat(clips), other["waveforms"])
        assert torch.equal(one["lengths"], other["lengths"])


@pytest.mark.parametrize("seconds", [None, 0.2])
def test_features_are_those_of_load_features(plan: Order, seconds: float | None) -> None:
    stream = AudioStream(plan, decode=LogMel(pad_to_seconds=seconds), threads=2)
    for batch, paths in zip(stream, expected(plan, 0), strict=True):
        features = ossicle.load_features(paths, pad_to_seconds=seconds)
        np.testing.assert_array_equal(batch["input_features"], features.input_features)
        np.testing.assert_array_equal(batch["lengths"], features.frames)


def test_packed_features_are_the_own_frames_of_each(plan: Order) -> None:
    packed = AudioStream(plan, decode=LogMel(pad_to_seconds=None, packed=True))
    for batch, paths in zip(packed, expected(plan, 0), strict=True):
        clips = [ossicle.load(path, RATE)[0] for path in paths]
        own = [ossicle.log_mel_spectrogram(clip, pad_to_seconds=None) for clip in clips]
        np.testing.assert_array_equal(batch["input_features"], np.concatenate(own, axis=1))
        assert batch["lengths"].tolist() == [features.shape[1] for features in own]


def test_a_function_collates_rows_with_their_clips(plan: Order) -> None:
    names: list[str] = []

    def collate(rows: list[dict[str, Any]]) -> list[str]:
        names.append(threading.current_thread().name)
        for row in rows:
            assert row.keys() == {"audio", "text"}
            assert row["audio"]["sampling_rate"] == 8_000
            clip, _ = ossicle.load(plan.sources[0].files[int(row["text"][5:])], 8_000)
            np.testing.assert_array_equal(row["audio"]["array"], clip)
        return [row["text"] for row in rows]

    stream = AudioStream(plan, decode=Waveforms(sample_rate=8_000), collate=collate)
    assert [len(batch) for batch in stream] == list(map(len, expected(plan, 0)))
    assert len(set(names)) == 1


def test_dataloader_collators_take_samples(plan: Order) -> None:
    for batch, paths in zip(
        AudioStream(plan, collate=SpeechCollator()), expected(plan, 0), strict=True
    ):
        clips = [ossicle.load(path, RATE)[0] for path in paths]
        assert batch.waveform_lengths.tolist() == list(map(len, clips))
        assert all(np.array_equal(one[0][0], clip) for one, clip in zip(batch, clips, strict=True))
        assert [one["audio"] for one in batch.metadata] == list(map(str, paths))


# Faults


@pytest.fixture
def damaged(files: list[Path], tmp_path: Path) -> Order:
    """Rows 7, 8 and 20 hold no recording."""
    own = list(files)
    for row in (7, 8, 20):
        own[row] = tmp_path / f"bad-{row}.wav"
        own[row].write_bytes(b"RIFF, or so it says")
    return Order([Folder(own)])


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_bad_clip_is_replaced_and_entered(damaged: Order, tmp_path: Path, isolation: str) -> None:
    ledger = tmp_path / "bad.jsonl"
    stream = AudioStream(damaged, ledger=ledger, isolation=isolation, max_bad_share=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        batches = list(stream)
    stream.close()
    found = [name for batch in batches for name in batch["ids"]]
    names = [path.stem for batch in expected(damaged, 0) for path in batch]
    instead = {"bad-7": "clip-009", "bad-8": "clip-009", "bad-20": "clip-021"}
    assert found == [instead.get(name, name) for name in names]
    assert [row["audio"].split("/")[-1][:8] for one in batches for row in one["rows"]] == found
    faults = read_ledger(ledger)
    # Row 8 was tried by itself, and in the place of row 7.
    assert sorted(fault.row for fault in faults) == [7, 8, 8, 20]
    assert all(fault.file == str(damaged.sources[0].files[fault.row]) for fault in faults)
    assert stream.ledger == faults


def test_replacements_do_not_depend_on_threads(damaged: Order) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        runs = [
            [batch["ids"] for batch in AudioStream(damaged, threads=n, prefetch_bytes=1 << n)]
            for n in (1, 4)
        ]
    assert runs[0] == runs[1]


def test_an_error_is_raised_in_its_turn(damaged: Order) -> None:
    names = [path.stem for batch in expected(damaged, 0) for path in batch]
    first = min(names.index(f"bad-{row}") for row in (7, 8, 20)) // damaged.size
    stream = AudioStream(damaged, on_error="raise")
    batches = iter(stream)
    assert [next(batches)["step"] for _ in range(first)] == list(range(first))
    with pytest.raises(ossicle.AudioError, match=r"bad-\d+\.wav"):
        next(batches)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_too_many_bad_clips_end_the_run(damaged: Order) -> None:
    with pytest.raises(TooManyFaultsError, match="4 of the last 36 rows"):
        list(AudioStream(damaged, max_bad_share=0.002))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bad_clips_alone_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(b"")
    with pytest.raises(TooManyFaultsError, match="16 clips were tried"):
        list(AudioStream(Order([Folder([path] * 3)]), max_bad_share=1))


class Flaky:
    """A file whose first reads fail."""

    def __init__(self, path: Path, failures: int) -> None:
        self.name, self._file, self.failures = str(path), io.BytesIO(path.read_bytes()), failures

    def read(self, size: int) -> bytes:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EIO, "the network is away")
        return self._file.read(size)

    def seek(self, offset: int, whence: int) -> int:
        return self._file.seek(offset, whence)


@dataclass(frozen=True)
class FlakyFolder(Folder):
    failures: int = 0

    def recordings(self, rows: npt.NDArray[np.int64]) -> list[Recording]:
        found = super().recordings(rows)
        at = [replace(one, source=Flaky(one.source, self.failures)) for one in found[:1]]
        return at + found[1:]


def test_bytes_that_cannot_be_read_are_tried_again_and_then_an_error(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_DELAYS", (0.001, 0.001, 0.001))
    stream = AudioStream(Order([FlakyFolder(files, 2)]))
    assert [one["ids"] for one in stream] == [
        [p.stem for p in one] for one in expected(stream.plan, 0)
    ]
    assert not stream.ledger
    with pytest.raises(ossicle.AudioIOError, match="the network is away"):
        list(AudioStream(Order([FlakyFolder(files, 99)])))


@dataclass(frozen=True)
class Vanishing(Folder):
    def recordings(self, rows: npt.NDArray[np.int64]) -> list[Recording]:
        raise ossicle.AudioFileNotFoundError("no such file", source="a-000.tar")


def test_a_shard_that_vanished_is_an_error(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_DELAYS", (0.001,))
    with pytest.raises(ossicle.AudioFileNotFoundError, match=r"a-000\.tar"):
        list(AudioStream(Order([Vanishing(files)])))


# Stops


def watched(work: Callable[[], Any], seconds: float = 60) -> Any:
    """What some work gives, on a thread that must come to its end."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    return found[0]


def stream_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("ossicle-stream")]


def test_whoever_stops_early_leaves_no_thread(plan: Order) -> None:
    def stop() -> list[str]:
        for _ in AudioStream(plan, threads=3):
            break
        batches = iter(AudioStream(plan, threads=3, prefetch_bytes=0))
        next(batches)
        del batches
        stream = AudioStream(plan)
        iter(stream)  # nothing was taken
        stream.close()
        with contextlib.suppress(KeyError):
            for batch in AudioStream(plan):
                batch["nothing"]
        return stream_threads()

    assert watched(stop) == []


def test_a_second_iteration_ends_the_first(plan: Order) -> None:
    stream = AudioStream(plan)
    first = iter(stream)
    next(first)
    assert watched(lambda: len(list(stream))) == plan.steps(0, 1)
    with pytest.raises(StreamError, match="another iteration"):
        next(first)


def test_a_thread_that_dies_is_an_error(plan: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_read", lambda board: None)

    def run() -> None:
        with pytest.raises(StreamError, match="has ended without an error"):
            list(AudioStream(plan))

    watched(run)


def test_a_collator_that_fails_is_an_error(plan: Order) -> None:
    def collate(rows: list[Any]) -> Any:
        raise SystemExit("enough")

    def run() -> None:
        with pytest.raises(SystemExit, match="enough"):
            list(AudioStream(plan, collate=collate))

    watched(run)


def test_a_run_goes_on_from_any_stop_with_any_ranks_and_threads(plan: Order) -> None:
    chance = np.random.default_rng(0)
    whole = [plan.batch(0, number).row.tolist() for number in range(3 * plan.count)]
    ids = {row: path.stem for row, path in enumerate(plan.sources[0].files)}
    state, place = AudioStream(plan).state_dict(), 0
    while place < len(whole):
        world_size = int(chance.integers(1, 5))
        taken, states = {}, []
        steps = int(chance.integers(0, 4))
        for rank in range(world_size):
            how = {
                "threads": int(chance.integers(1, 4)),
                "prefetch_bytes": 1 << chance.integers(24),
            }
            stream = AudioStream(plan, rank=rank, world_size=world_size, **how)
            stream.load_state_dict(state)
            for step, batch in zip(range(min(steps, len(stream))), stream):  # noqa: B905
                taken[place + step * world_size + rank] = batch["ids"]
            states.append(stream.state_dict())
        assert states == states[:1] * world_size
        steps = len(taken) // world_size
        expected = [[ids[row] for row in rows] for rows in whole[place:][: steps * world_size]]
        assert [taken[number] for number in sorted(taken)][: len(expected)] == expected
        state, place = states[0], place + steps * world_size
        assert state == plan.state(0, place).as_dict()

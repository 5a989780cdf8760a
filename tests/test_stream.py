"""`AudioStream`: the clips of a plan in its order, whatever threads, faults and stops there are."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stream_clips import fails, ids_of, plan_of, write
from tiers import cases

import ossicle
from ossicle.dataloader.batch import SpeechCollator
from ossicle.errors import TooManyFaultsError
from ossicle.faults import read_ledger
from ossicle.stream import (
    AudioStream,
    LogMel,
    Plan,
    Seconds,
    Source,
    StreamError,
    Waveforms,
    engine,
    reading,
)

ROWS = 41
RATE = 16_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(tmp_path_factory.mktemp("clips"), ROWS)


@pytest.fixture
def plan(files: list[Path]) -> Plan:
    return plan_of(files)


@pytest.fixture
def paths(files: list[Path]) -> dict[str, Path]:
    return {file.stem: file for file in files}


def expected(plan: Plan, epoch: int, paths: dict[str, Path]) -> list[list[Path]]:
    return [[paths[name] for name in names] for names in ids_of(plan, epoch)]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("prefetch_bytes", [0, 1 << 16, 1 << 30])
def test_clips_are_those_of_load_in_the_order_of_the_plan(
    plan: Plan, paths: dict[str, Path], threads: int, prefetch_bytes: int
) -> None:
    stream = AudioStream(plan, threads=threads, prefetch_bytes=prefetch_bytes)
    for epoch in range(2):
        batches = list(stream)
        assert len(batches) == plan.steps(epoch)
        for step, (batch, names) in enumerate(zip(batches, ids_of(plan, epoch), strict=True)):
            assert (batch["epoch"], batch["step"], batch["ids"]) == (epoch, step, names)
            assert [row["audio"] for row in batch["rows"]] == [str(paths[name]) for name in names]
            clips = zip(batch["waveforms"].numpy(), batch["lengths"].tolist(), names, strict=True)
            for waveform, length, name in clips:
                clip, _ = ossicle.load(paths[name], RATE)
                assert length == len(clip)
                np.testing.assert_array_equal(waveform[:length], clip)
                assert not waveform[length:].any()
            assert batch["waveforms"].shape[1] == max(batch["lengths"])


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_isolation(plan: Plan, isolation: Any) -> None:
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


def test_lengths_and_facts_of_packed_and_padded_batches(plan: Plan) -> None:
    padded = list(AudioStream(plan, decode=Waveforms(pad_to_multiple=1000)))
    packed = list(AudioStream(plan, decode=Waveforms(packed=True)))
    for one, other in zip(padded, packed, strict=True):
        assert one["waveforms"].shape[1] % 1000 == 0
        clips = [row[:n] for row, n in zip(one["waveforms"], one["lengths"], strict=True)]
        assert torch.equal(torch.cat(clips), other["waveforms"])
        assert torch.equal(one["lengths"], other["lengths"])


@pytest.mark.parametrize("seconds", [None, 0.2])
def test_features_are_those_of_load_features(
    plan: Plan, paths: dict[str, Path], seconds: float | None
) -> None:
    stream = AudioStream(plan, decode=LogMel(pad_to_seconds=seconds), threads=2)
    for batch, own in zip(stream, expected(plan, 0, paths), strict=True):
        features = ossicle.load_features(own, pad_to_seconds=seconds)
        np.testing.assert_array_equal(batch["input_features"], features.input_features)
        np.testing.assert_array_equal(batch["lengths"], features.frames)


def test_packed_features_are_the_own_frames_of_each(plan: Plan, paths: dict[str, Path]) -> None:
    packed = AudioStream(plan, decode=LogMel(pad_to_seconds=None, packed=True))
    for batch, own in zip(packed, expected(plan, 0, paths), strict=True):
        clips = [ossicle.load(path, RATE)[0] for path in own]
        frames = [ossicle.log_mel_spectrogram(clip, pad_to_seconds=None) for clip in clips]
        np.testing.assert_array_equal(batch["input_features"], np.concatenate(frames, axis=1))
        assert batch["lengths"].tolist() == [features.shape[1] for features in frames]


def test_a_function_collates_rows_with_their_clips(plan: Plan, paths: dict[str, Path]) -> None:
    threads: set[str] = set()

    def collate(rows: list[dict[str, Any]]) -> list[str]:
        threads.add(threading.current_thread().name)
        for row in rows:
            assert row["audio"]["sampling_rate"] == 8_000
            assert row["text"] == f"text {row['id']}"
            assert not row.keys() & {"offset", "duration", "channel"}
            clip, _ = ossicle.load(paths[row["id"]], 8_000)
            np.testing.assert_array_equal(row["audio"]["array"], clip)
        return [row["id"] for row in rows]

    stream = AudioStream(plan, decode=Waveforms(sample_rate=8_000), collate=collate)
    assert list(stream) == ids_of(plan, 0)
    assert len(threads) == 1


def test_dataloader_collators_take_samples(plan: Plan, paths: dict[str, Path]) -> None:
    stream = AudioStream(plan, collate=SpeechCollator())
    for batch, own in zip(stream, expected(plan, 0, paths), strict=True):
        clips = [ossicle.load(path, RATE)[0] for path in own]
        assert batch.waveform_lengths.tolist() == list(map(len, clips))
        assert all(np.array_equal(one[0][0], clip) for one, clip in zip(batch, clips, strict=True))
        assert [one["audio"] for one in batch.metadata] == list(map(str, own))


def test_segments_and_a_limit_are_obeyed(files: list[Path]) -> None:
    rows = [
        {"id": str(n), "audio": str(files[1]), "offset": n / 100, "duration": 0.03}
        for n in range(3)
    ]
    plan = Plan(Source(rows), 3)
    [batch] = AudioStream(plan, decode=Waveforms(max_seconds=0.02))
    for name, row in zip(batch["ids"], batch["waveforms"].numpy(), strict=True):
        clip, _ = ossicle.load(files[1], RATE, offset=int(name) / 100, duration=0.02)
        np.testing.assert_array_equal(row, clip)


def test_rows_name_their_recordings_and_do_not_hold_them(files: list[Path], tmp_path: Path) -> None:
    shard = tmp_path / "clips.tar"
    with ossicle.ShardWriter(shard) as writer:
        for file in files[:4]:
            writer.write({"__key__": file.stem, file.suffix[1:]: file.read_bytes()})
    [batch] = AudioStream(Plan(str(shard), 4))
    names = {file.stem: f"{shard} [{file.name}]" for file in files}
    assert [row["audio"] for row in batch["rows"]] == [names[name] for name in batch["ids"]]
    rows = [{"id": "a", "audio": {"bytes": files[0].read_bytes(), "path": "a.wav"}}]
    [batch] = AudioStream(Plan(Source(rows), 1))
    assert b"RIFF" not in pickle.dumps(batch["rows"])


# Faults


@pytest.fixture
def damaged(files: list[Path], tmp_path: Path) -> Plan:
    """Rows 7, 8 and 20 hold no recording."""
    own = list(files)
    for row in (7, 8, 20):
        own[row] = tmp_path / f"bad-{row}.wav"
        own[row].write_bytes(b"RIFF, or so it says")
    return plan_of(own)


def replaced(plan: Plan, name: str) -> str:
    """The clip that comes in the place of another, which is itself where it is good."""
    number, attempt = int(name.rpartition("-")[2]), 0
    own = number
    while name.startswith("bad"):
        attempt += 1
        _, own = plan.replacement(0, number, attempt)
        [name] = plan.sources[0].ids([own])
    return name


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_bad_clip_is_replaced_and_entered(damaged: Plan, tmp_path: Path, isolation: Any) -> None:
    ledger = tmp_path / "bad.jsonl"
    stream = AudioStream(damaged, ledger=ledger, isolation=isolation)
    batches = list(stream)
    stream.close()
    assert [batch["ids"] for batch in batches] == [
        [replaced(damaged, name) for name in names] for names in ids_of(damaged, 0)
    ]
    for batch in batches:
        assert [row["id"] for row in batch["rows"]] == batch["ids"]
        assert batch["lengths"].min() > 0
    faults = read_ledger(ledger)
    assert {fault.id for fault in faults} == {"bad-7", "bad-8", "bad-20"}
    assert all(fault.row == int((fault.id or "").rpartition("-")[2]) for fault in faults)
    assert all(fault.file == str(tmp_path / f"{fault.id}.wav") for fault in faults)
    assert {fault.action for fault in faults} == {"replace"}
    assert stream.ledger == faults


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_replacements_do_not_depend_on_threads(damaged: Plan) -> None:
    runs = [
        [batch["ids"] for batch in AudioStream(damaged, threads=n, prefetch_bytes=1 << n)]
        for n in (1, 4)
    ]
    assert runs[0] == runs[1]


def test_an_error_is_raised_in_its_turn(damaged: Plan) -> None:
    is_bad = [any(name.startswith("bad") for name in names) for names in ids_of(damaged, 0)]
    batches = iter(AudioStream(damaged, on_error="raise"))
    first = is_bad.index(True)
    assert [next(batches)["step"] for _ in range(first)] == list(range(first))
    with pytest.raises(ossicle.AudioError, match=r"bad-\d+\.wav"):
        next(batches)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_too_many_bad_clips_end_the_run(damaged: Plan) -> None:
    with pytest.raises(TooManyFaultsError, match=r"[3-9] of the last \d+ rows"):
        list(AudioStream(damaged, max_bad_share=0.002))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bad_clips_alone_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(b"")
    with pytest.raises(TooManyFaultsError, match="16 clips were tried"):
        list(AudioStream(plan_of([path] * 3), max_bad_share=1))


class Flaky:
    """A file whose first reads fail."""

    def __init__(self, path: str, failures: int) -> None:
        self.name, self._file, self.failures = path, io.BytesIO(Path(path).read_bytes()), failures

    def read(self, size: int) -> bytes:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EIO, "the network is away")
        return self._file.read(size)

    def seek(self, offset: int, whence: int) -> int:
        return self._file.seek(offset, whence)


def make_flaky(plan: Plan, failures: int) -> None:
    """One recording of each batch fails a number of times."""
    [source] = plan.sources
    plain = source.recordings

    def recordings(rows: Any) -> list[Any]:
        first, *rest = plain(rows)
        return [replace(first, source=Flaky(first.source, failures)), *rest]

    source.recordings = recordings  # type: ignore[method-assign]


def test_bytes_that_cannot_be_read_are_tried_again_and_then_an_error(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_DELAYS", (0.001, 0.001, 0.001))
    plan = plan_of(files)
    make_flaky(plan, 2)
    stream = AudioStream(plan)
    assert [batch["ids"] for batch in stream] == ids_of(plan, 0)
    assert not stream.ledger
    plan = plan_of(files)
    make_flaky(plan, 99)
    with pytest.raises(ossicle.AudioIOError, match="the network is away"):
        list(AudioStream(plan))


def test_a_file_that_vanishes_is_an_error(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_DELAYS", (0.001,))
    gone = tmp_path / "gone.wav"
    shutil.copy(files[0], gone)
    plan = plan_of([*files, gone])
    gone.unlink()
    with pytest.raises(ossicle.AudioFileNotFoundError, match=r"gone\.wav"):
        list(AudioStream(plan))


# Stops


def watched(work: Callable[[], Any], seconds: float = 60) -> Any:
    """What some work gives, on a thread that must come to its end."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def stream_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("ossicle-stream")]


def test_whoever_stops_early_leaves_no_thread(plan: Plan) -> None:
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


def test_a_second_iteration_ends_the_first(plan: Plan) -> None:
    stream = AudioStream(plan)
    first = iter(stream)
    next(first)
    assert watched(lambda: len(list(stream))) == plan.steps(0)
    with pytest.raises(StreamError, match="another iteration"):
        next(first)


def test_a_thread_that_dies_is_an_error(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_read", lambda board: None)

    def run() -> None:
        with pytest.raises(StreamError, match="has ended without an error"):
            list(AudioStream(plan))

    watched(run)


def test_a_collator_that_fails_is_an_error(plan: Plan) -> None:
    def collate(rows: list[Any]) -> Any:
        raise SystemExit("enough")

    def run() -> None:
        with pytest.raises(SystemExit, match="enough"):
            list(AudioStream(plan, collate=collate))

    watched(run)


def test_a_run_goes_on_from_any_stop_with_any_ranks_and_threads(files: list[Path]) -> None:
    plan = plan_of(files, Seconds(0.6, padding=0.3), window=16, sync=2)
    chance = np.random.default_rng(0)
    whole = [names for epoch in range(4) for names in ids_of(plan, epoch)]
    state, place = AudioStream(plan).state_dict(), 0
    while place < 3 * len(whole) // 4:
        world_size = int(chance.integers(1, 5))
        steps = int(chance.integers(0, 4))
        taken: dict[int, list[str]] = {}
        states = []
        for rank in range(world_size):
            stream = AudioStream(
                plan,
                rank=rank,
                world_size=world_size,
                threads=int(chance.integers(1, 4)),
                prefetch_bytes=1 << int(chance.integers(24)),
            )
            stream.load_state_dict(json.loads(json.dumps(state)))
            for step, batch in enumerate(islice(stream, steps)):
                taken[place + step * world_size + rank] = batch["ids"]
            states.append(stream.state_dict())
        assert states == states[:1] * world_size
        assert [taken[at] for at in sorted(taken)] == whole[place : place + len(taken)]
        state, place = states[0], place + len(taken)
        assert len(json.dumps(state)) < 500


# Processes


class Running:
    """A process of `stream_stops.py`."""

    def __init__(self, what: str, isolation: str, folder: Path) -> None:
        script = Path(__file__).with_name("stream_stops.py")
        command = [sys.executable, str(script), what, isolation, str(folder)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, **pipes)

    def child(self) -> int:
        """The child's number, once there is a batch; 0 where there is no child."""
        assert self.process.stdout is not None
        word, number = self.process.stdout.readline().split()
        assert word == "ready"
        return int(number)

    def end(self) -> tuple[int, str, str]:
        """Exit code and what was printed, once it is over, which it must be."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def is_gone(process: int) -> bool:
    """Whether a process comes to its end soon."""
    for _ in range(600):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("how", cases(["wait thread", "hold thread", "hold process"], one_in=2))
def test_ctrl_c_ends_all_of_it(files: list[Path], how: str) -> None:
    running = Running(*how.split(), files[0].parent)
    child = running.child()
    running.process.send_signal(signal.SIGINT)
    code, _, err = running.end()
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    assert not child or is_gone(child)


@pytest.mark.parametrize("isolation", cases(["thread", "process"], one_in=2))
def test_a_fork_has_an_error(files: list[Path], isolation: str) -> None:
    code, out, err = Running("fork", isolation, files[0].parent).end()
    assert (code, err) == (0, "")
    begun, anew, parent = out.splitlines()
    assert "does not survive a fork" in begun
    assert "does not survive a fork" in anew
    assert parent == f"fork 0 {-(-len(files) // 4)}"


def test_a_child_that_was_killed_is_an_error(plan: Plan) -> None:
    stream = AudioStream(plan, isolation="process")
    batches = iter(stream)
    next(batches)
    assert stream._child is not None
    os.kill(stream._child.process.pid or 0, signal.SIGKILL)
    with pytest.raises(StreamError, match="ended by SIGKILL"):
        watched(lambda: list(batches))
    assert watched(lambda: len(list(stream))) == plan.steps(0)
    stream.close()


@pytest.mark.thorough
def test_a_child_does_not_outlive_its_parent(files: list[Path]) -> None:
    running = Running("hold", "process", files[0].parent)
    child = running.child()
    running.process.kill()
    running.end()
    assert is_gone(child)


def test_an_error_of_a_child_says_where_it_was(plan: Plan) -> None:
    stream = AudioStream(plan, isolation="process", collate=fails)
    with pytest.raises(ArithmeticError, match="no such number") as caught:
        next(iter(stream))
    assert "in fails" in caught.value.__notes__[0]
    stream.close()


def test_what_does_not_pickle_is_an_error(plan: Plan) -> None:
    with pytest.raises(StreamError, match="must pickle"):
        next(iter(AudioStream(plan, isolation="process", collate=lambda rows: rows)))

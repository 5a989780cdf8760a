"""What is read in the background is what would be read in between, errors and ledger included."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ossicle.faults import Fault, RowName
from ossicle.model import ByteTokenizer
from ossicle.train.feed import Feed, MicroBatch, pad_frames
from ossicle.train.order import CountOrder
from ossicle.train.result import TooLongError
from ossicle.train.sources import LoadedClip

SIZES = [3, 8, 5, 1, 9, 4, 2]


@dataclass
class Clips:
    """Clips whose features say whose they are; those in ``bad`` cannot be read."""

    bad: frozenset[int] = frozenset()
    is_encoded: bool = False
    skipped: list[Fault] = field(default_factory=list)
    sha256: str = ""
    loaded: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(SIZES)

    def row_name(self, row: int) -> RowName:
        return RowName(row, f"clip {row}")

    def texts(self) -> list[str]:
        return [self.text(row) for row in range(len(self))]

    def text(self, row: int) -> str:
        return "abcdefgh"[: row + 1]

    def seconds(self) -> NDArray[np.float64]:
        return np.array(SIZES) / 100

    def load(self, rows: Sequence[int]) -> list[LoadedClip | Exception]:
        self.loaded += rows
        return [self.example(row) for row in rows]

    def example(self, row: int) -> LoadedClip | Exception:
        if row in self.bad:
            return OSError(f"clip {row} is gone")
        shape = (SIZES[row], 2) if self.is_encoded else (2, SIZES[row])
        return LoadedClip(torch.full(shape, float(row)), self.text(row), SIZES[row] / 100)


def feed_of(clips: Clips, **options) -> Feed:
    order = options.pop("order", None) or CountOrder(range(len(clips)), 3, 0, 2)
    return Feed(clips, order, ByteTokenizer(), lambda frames: frames, **options)


def told(steps: list[list[MicroBatch]]) -> list:
    """Everything in the parts as plain values."""
    return [
        [
            {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in vars(p).items()}
            for p in s
        ]
        for s in steps
    ]


@settings(max_examples=40, deadline=None)
@given(
    prefetch=st.integers(1, 5),
    world_size=st.integers(1, 3),
    bad=st.frozensets(st.integers(0, 6), max_size=3),
    cache=st.sampled_from([None, 0, 10, 10_000]),
    is_encoded=st.booleans(),
    first=st.integers(0, 4),
)
def test_the_background_changes_nothing(
    prefetch: int,
    world_size: int,
    bad: frozenset[int],
    cache: int | None,
    is_encoded: bool,
    first: int,
) -> None:
    options = {
        "on_error": "skip",
        "world_size": world_size,
        "frame_bytes": None if cache is None else lambda frames: 2 * frames,
        "cache_bytes": cache or 0,
    }
    seen: list[int] = []
    for rank in range(world_size):
        direct, ahead = (
            feed_of(Clips(bad, is_encoded), rank=rank, prefetch=n, **options) for n in (0, prefetch)
        )
        steps = list(direct.steps(first, 9))
        assert told(list(ahead.steps(first, 9))) == told(steps)
        assert ahead.skipped == direct.skipped
        seen += [row for step in steps for part in step for row in part.rows]
        assert {s.row for s in direct.skipped.values()} <= bad
    order = CountOrder(range(len(SIZES)), 3, 0, 2)
    wanted = [r for step in range(first, 9) for p in order.parts(step) for r in p if r not in bad]
    assert sorted(seen) == sorted(wanted)


@pytest.mark.parametrize("is_encoded", [False, True])
def test_parts_hold_their_clips_and_nothing_behind_them(is_encoded: bool) -> None:
    feed = feed_of(Clips(is_encoded=is_encoded), frame_bytes=lambda n: n, cache_bytes=9)
    kept: dict[int, int] = {}
    for step in feed.steps(0, 8):
        for part in step:
            assert sorted({*part.new, *(n for n, r in enumerate(part.rows) if r in kept)}) == list(
                range(len(part.rows))
            )
            for at, length, features in zip(part.new, part.lengths, part.features, strict=True):
                row = part.rows[at]
                assert int(length) == SIZES[row]
                own = features if is_encoded else features.T
                assert (own[:length] == row).all()
                assert (own[length:] == 0).all()
            for row, idx, targets in zip(part.rows, part.idx, part.targets, strict=True):
                ids = [256, *b"abcdefgh"[: row + 1]]
                assert idx[: row + 1].tolist() == ids[:-1]
                assert targets[: row + 1].tolist() == ids[1:]
                assert (targets[row + 1 :] == -1).all()
            assert part.text_lengths.tolist() == [row + 1 for row in part.rows]
            assert part.seconds == pytest.approx(sum(SIZES[row] for row in part.rows) / 100)
            kept |= {row: SIZES[row] for row in part.keep}
            assert sum(kept.values()) <= 9


def test_what_is_kept_is_not_read_again() -> None:
    clips = Clips()
    feed = feed_of(clips, frame_bytes=lambda n: n, cache_bytes=1000, prefetch=3)
    list(feed.steps(0, 20))
    assert sorted(clips.loaded) == list(range(len(SIZES)))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_comes_when_its_step_does_and_the_thread_ends(prefetch: int) -> None:
    order = CountOrder(range(len(SIZES)), 1, 0, 1)
    (bad,) = order.parts(3)[0]
    feed = feed_of(Clips(frozenset([bad])), order=order, prefetch=prefetch)
    steps = feed.steps(0, 20)
    for _ in range(3):
        next(steps)
    with pytest.raises(OSError, match=f"clip {bad} is gone"):
        next(steps)
    assert_no_thread()


def test_a_run_that_stops_early_leaves_no_thread() -> None:
    steps = feed_of(Clips(), prefetch=1).steps(0, 1_000_000)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert_no_thread()


def assert_no_thread() -> None:
    for _ in range(200):
        if not any(thread.name == "ossicle-feed" for thread in threading.enumerate()):
            return
        time.sleep(0.01)
    raise AssertionError("the thread is still there")


def test_clips_that_do_not_fit_or_say_nothing_are_refused_by_name() -> None:
    with pytest.raises(TooLongError, match=r"clip 4 \(row 4\): .* take 14 positions"):
        list(feed_of(Clips(), max_positions=13, on_error="skip").steps(0, 5))
    feed = feed_of(Clips(), max_positions=13, too_long="drop")
    rows = {row for step in feed.steps(0, 9) for part in step for row in part.rows}
    assert rows == {0, 1, 2, 3, 5, 6}
    assert [(s.row, s.id) for s in feed.skipped.values()] == [(4, "clip 4")]
    feed = feed_of(Clips(), max_positions=13, too_long="cut")
    whole = {row: feed_of(Clips()).tokenizer.encode(Clips().text(row)) for row in range(7)}
    for part in (part for step in feed.steps(0, 9) for part in step):
        for row, idx, graded in zip(part.rows, part.idx, part.text_lengths, strict=True):
            kept = len(whole[row]) - 1 - (row == 4)
            assert idx[: int(graded)].tolist() == whole[row][:kept]
            assert graded == kept
    assert (feed.cut, feed.skipped) == ({4}, {})


def test_texts_without_sound_have_no_features() -> None:
    class Mixed(Clips):
        def example(self, row: int) -> LoadedClip | Exception:
            if row % 2:
                return super().example(row)
            return LoadedClip(torch.zeros(2, 0), self.text(row), 0.0)

    feed = feed_of(Mixed(), frame_bytes=lambda frames: frames, cache_bytes=1000)
    parts = [part for step in feed.steps(0, 9) for part in step]
    assert {row for part in parts for row in part.rows} == set(range(7))
    seen = {part.rows[place] for part in parts for place in part.new}
    assert seen == {1, 3, 5}


def test_frames_of_several_layers_pad_in_time() -> None:
    clips = [torch.full((3, size, 2), float(size)) for size in (1, 4)]
    padded, lengths = pad_frames(clips, axis=-2)
    assert padded.shape == (2, 3, 4, 2)
    assert lengths.tolist() == [1, 4]
    assert padded[0, :, 1:].abs().max() == 0
    assert pad_frames([], axis=-1)[0].numel() == 0


def test_reading_goes_on_while_a_step_runs() -> None:
    """With what is read ahead, 8 steps of 20 ms and reads of 20 ms overlap."""

    class Slow(Clips):
        def load(self, rows: Sequence[int]) -> list[LoadedClip | Exception]:
            time.sleep(0.01)
            return super().load(rows)

    def run(prefetch: int) -> float:
        waited = 0.0
        steps = feed_of(Slow(), prefetch=prefetch).steps(0, 8)
        for _ in range(8):
            start = time.perf_counter()
            next(steps)
            waited += time.perf_counter() - start
            time.sleep(0.02)
        return waited

    assert run(2) < 0.8 * run(0)

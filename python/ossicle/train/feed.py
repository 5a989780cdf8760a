"""What a step needs, read, computed and collated in the background while another step runs.

One thread does it, in the order of the steps; decoding and log-mel features run in native code
beside it, on threads of their own, without the GIL.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ossicle.data.errors import ManifestError
from ossicle.faults import Fault
from ossicle.train.order import Order
from ossicle.train.result import TooLongError
from ossicle.train.sources import ClipSource, LoadedClip

__all__ = ["Feed", "MicroBatch", "TextTokenizer", "collate_text", "must_raise", "pad_frames"]


class TextTokenizer(Protocol):
    """What turns texts into ids: `ByteTokenizer`, or `HubTokenizer`."""

    bos_token_id: int
    vocab_size: int

    def encode(self, text: str) -> list[int]:
        """The ids of ``text`` after the beginning-of-sequence id."""
        ...


@dataclass(frozen=True)
class MicroBatch:
    """Clips that go through the model side by side: a part of a step.

    Attributes:
        rows: Their numbers.
        new: Places among ``rows`` whose features are in ``features``; the encoder output of the
            others is kept from before, or they are texts without sound.
        keep: Of ``new``, those whose encoder output is to be kept.
        features: Log-mel features (N, n_mels, T) of the new ones, or encoder frames (N, T, d) or
            (N, n, T, d) of all, zeros after each clip's own.
        lengths: How many are each one's own, int64 (N,).
        idx: Token ids, int64 (B, T), padded with 0.
        targets: The ids that follow them, int64 (B, T), padded with -1.
        seconds: Of audio in all of them.
    """

    rows: tuple[int, ...]
    new: tuple[int, ...]
    keep: frozenset[int]
    features: Tensor
    lengths: Tensor
    idx: Tensor
    targets: Tensor
    seconds: float

    @property
    def text_lengths(self) -> Tensor:
        """Graded tokens of each clip, int64 (B,)."""
        return (self.targets >= 0).sum(dim=1)

    def pin(self) -> MicroBatch:
        """The same in memory that a GPU can copy from while it computes."""
        tensors = ("features", "lengths", "idx", "targets")
        return replace(self, **{name: getattr(self, name).pin_memory() for name in tensors})


@dataclass
class _KeptClip:
    """Facts on clips whose encoder output stays in memory."""

    ids: list[int]
    seconds: float


@dataclass
class Feed:
    """The parts of each step that are this process's.

    Args:
        source: Of the clips.
        order: Of the steps.
        tokenizer: Of the texts.
        rank: This process among ``world_size``: it takes every ``world_size``-th part.
        world_size: How many processes there are.
        on_error: ``"raise"`` a clip's error, or ``"skip"`` the clip and note it.
        too_long: ``"error"`` raises a clip's `TooLongError`, ``"drop"`` notes it; ``"cut"`` cuts
            its text at the language model's positions.
        prefetch: Steps to read ahead; 0 reads each when it is asked for.
        pin: Whether to put what a GPU will copy into pinned memory.
        frame_bytes: Bytes of encoder output for so many frames of features; None keeps none.
        cache_bytes: The most of it that is kept.
        max_positions: Soft and text tokens that a clip may have.
        soft_tokens: Soft tokens of so many frames.

    Attributes:
        skipped: Clips that could not be used, by row; each once.
        cut: Clips of which audio or text was cut, by row.
        seconds: Spent reading, so far.
        log_mel: The first clip's features, (n_mels, T); None before it was read.
    """

    source: ClipSource
    order: Order
    tokenizer: TextTokenizer
    soft_tokens: Callable[[int], int]
    rank: int = 0
    world_size: int = 1
    on_error: str = "raise"
    too_long: str = "error"
    prefetch: int = 2
    pin: bool = False
    frame_bytes: Callable[[int], int] | None = None
    cache_bytes: int = 0
    max_positions: int = 1 << 30
    skipped: dict[int, Fault] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)
    seconds: float = 0.0
    log_mel: Tensor | None = None

    def __post_init__(self) -> None:
        self._kept: dict[int, _KeptClip] = {}
        self._bytes = 0
        self._axis = -2 if self.source.is_encoded else -1  # of time in features

    def steps(self, first: int, last: int) -> Generator[list[MicroBatch]]:
        """The parts of the steps ``first`` to ``last`` (not included), this process's alone.

        A part without a clip that can be used is left out.

        Raises:
            AudioError, ManifestError, ValueError: What is wrong with a clip, if it may not be left
                out.
        """
        numbers = range(first, last)
        if not self.prefetch:
            yield from map(self._step, numbers)
            return
        # Named steps go through a queue; an error takes the place of its step.
        ready: queue.Queue[list[MicroBatch] | BaseException] = queue.Queue(self.prefetch)
        stop = threading.Event()
        thread = threading.Thread(
            target=self._work, args=(numbers, ready, stop), name="ossicle-feed", daemon=True
        )
        thread.start()
        try:
            for _ in numbers:
                step = ready.get()
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            stop.set()
            while thread.is_alive():  # it may wait for room
                _drain(ready)
                thread.join(0.01)

    def _work(
        self,
        numbers: range,
        ready: queue.Queue[list[MicroBatch] | BaseException],
        stop: threading.Event,
    ) -> None:
        try:
            for number in numbers:
                if stop.is_set():
                    return
                ready.put(self._step(number))
        except BaseException as error:  # of any kind: the other thread must hear of it
            ready.put(error)

    def _step(self, number: int) -> list[MicroBatch]:
        start = time.perf_counter()
        own = self.order.parts(number)[self.rank :: self.world_size]
        parts = [part for part in map(self._part, own) if part is not None]
        self.seconds += time.perf_counter() - start
        return parts

    def _part(self, rows: Sequence[int]) -> MicroBatch | None:
        absent = [row for row in dict.fromkeys(rows) if row not in self._kept]
        loaded = self._load(absent)
        keep = self._keep(loaded)
        usable = [row for row in rows if row in loaded or row in self._kept]
        if not usable:
            return None
        texts = [loaded[r][1] if r in loaded else self._kept[r].ids for r in usable]
        seconds = [loaded[r][0].seconds if r in loaded else self._kept[r].seconds for r in usable]
        new = [n for n, row in enumerate(usable) if row in loaded and self._length(loaded[row])]
        features, lengths = pad_frames([loaded[usable[n]][0].frames for n in new], self._axis)
        idx, targets = collate_text(texts)
        part = MicroBatch(
            tuple(usable), tuple(new), keep, features, lengths, idx, targets, sum(seconds)
        )
        return part.pin() if self.pin else part

    def _length(self, loaded: tuple[LoadedClip, list[int]]) -> int:
        """Frames of features; 0 of a text without sound."""
        return loaded[0].frames.shape[self._axis]

    def _load(self, rows: list[int]) -> dict[int, tuple[LoadedClip, list[int]]]:
        """What can be used of some clips, with the ids of their texts."""
        found: dict[int, tuple[LoadedClip, list[int]]] = {}
        for row, example in zip(rows, self.source.load(rows) if rows else [], strict=True):
            checked = self._check(row, example)
            if isinstance(checked, Exception):
                self._refuse(row, checked)
            else:
                found[row] = checked
        return found

    def _check(
        self, row: int, example: LoadedClip | Exception
    ) -> tuple[LoadedClip, list[int]] | Exception:
        if isinstance(example, Exception):
            return example
        frames = example.frames.shape[self._axis]
        if self.log_mel is None and frames and not self.source.is_encoded:
            self.log_mel = example.frames
        try:
            ids = self.tokenizer.encode(example.text)
        except ValueError as error:  # lone surrogates
            return error
        name = self.source.row_name(row)
        if len(ids) < 2:
            return ManifestError("its text has no tokens", source=name.file, row=name.row)
        soft = self.soft_tokens(frames)
        room = self.max_positions - soft + 1  # the last id is no input
        if len(ids) > room and (self.too_long != "cut" or room < 2):
            length, most = soft + len(ids) - 1, self.max_positions
            why = f"audio and text take {length} positions, the language model has {most}"
            why = f"audio and text are too long: {why} (too_long=cut or drop)"
            return TooLongError(f"{name.id} (row {name.row})", why)
        if example.is_cut or len(ids) > room:
            self.cut.add(row)
        return example, ids[:room]

    def _refuse(self, row: int, error: Exception) -> None:
        if must_raise(error, self.on_error, self.too_long):
            raise error
        self.skipped.setdefault(row, Fault.of(error, self.source.row_name(row)))

    def _keep(self, loaded: dict[int, tuple[LoadedClip, list[int]]]) -> frozenset[int]:
        """The first clips that fit stay: over shuffled epochs none is better than another."""
        kept = set()
        for row, (example, ids) in loaded.items():
            if self.frame_bytes is None:
                break
            size = self.frame_bytes(example.frames.shape[self._axis])
            if self._bytes + size <= self.cache_bytes:
                self._bytes += size
                self._kept[row] = _KeptClip(ids, example.seconds)
                kept.add(row)
        return frozenset(kept)


def must_raise(error: Exception, on_error: str, too_long: str) -> bool:
    """Whether a clip's error ends the run, rather than that the clip is left out."""
    return too_long != "drop" if isinstance(error, TooLongError) else on_error == "raise"


def collate_text(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids of texts as inputs and the ids that follow them.

    Args:
        ids: Of each text at least two, the beginning-of-sequence id first.

    Returns:
        Inputs, int64 (B, T), padded with 0, and targets of the same shape, padded with -1.
    """
    rows = [torch.tensor(row, dtype=torch.int64) for row in ids]
    inputs = pad_sequence([row[:-1] for row in rows], batch_first=True, padding_value=0)
    targets = pad_sequence([row[1:] for row in rows], batch_first=True, padding_value=-1)
    return inputs, targets


def pad_frames(clips: Sequence[Tensor], axis: int) -> tuple[Tensor, Tensor]:
    """Features side by side, zeros after each clip's own.

    Args:
        clips: Of one shape but for time.
        axis: That of time, counted from the last: -1 of log-mel features (n_mels, T), -2 of an
            encoder's frames (T, d) or (n, T, d).

    Returns:
        Features (B, ...), of one frame at least, and the length of each clip, int64 (B,).
    """
    lengths = [clip.shape[axis] for clip in clips]
    if not clips:
        return torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    shape = list(clips[0].shape)
    shape[axis] = max(1, *lengths)
    padded = clips[0].new_zeros(len(clips), *shape)
    for row, clip, length in zip(padded, clips, lengths, strict=True):
        row.narrow(axis, 0, length).copy_(clip)
    return padded, torch.tensor(lengths, dtype=torch.int64)


def _drain(ready: queue.Queue[list[MicroBatch] | BaseException]) -> None:
    try:
        while True:
            ready.get_nowait()
    except queue.Empty:
        return

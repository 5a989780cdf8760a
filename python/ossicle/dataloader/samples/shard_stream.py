"""Samples of shards as a stream, dealt out to processes and workers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from ossicle.dataloader.samples.epoch import SharedEpoch, sample_seed
from ossicle.dataloader.samples.fault_policy import BAD, FaultPolicy
from ossicle.dataloader.samples.shard_set import ShardSet
from ossicle.dataloader.types import Sample
from ossicle.errors import InvalidArgumentError, TooManyFaultsError
from ossicle.faults import Fault, OnError
from ossicle.shard.index import Shards
from ossicle.stream.permutation import Permutation, random_bits
from ossicle.stream.turns import check_ranks, distributed

if TYPE_CHECKING:
    from ossicle.data.arrays import Ints
    from ossicle.dataloader.transform.base import DataProcessor
    from ossicle.dataloader.types import SampleRate

__all__ = ["WebDatasetSpeechDataset"]

_STATE_VERSION = 2
# What the randomness is for.
_SHARDS, _BLOCKS, _BUFFER = range(3)
# Samples whose numbers are looked up at a time.
_CHUNK = 1_024


class WebDatasetSpeechDataset(IterableDataset[Sample]):
    """The samples of shards as a stream, in the order of the tars, or shuffled.

    An epoch's order is a function of the shards, ``seed`` and the epoch. Processes take turns at
    it, and of each process its workers: nothing comes twice, and nothing is lost, however many
    there are; a `DataLoader` with ``batch_size=None`` gives the samples of a process in this order
    whatever its workers. A state is a place in the order, which any number of processes and workers
    goes on from. Metadata is that of `WebDatasetLoader`, with ``seed`` as in `SpeechDataset`.

    Args:
        shards: Their paths; with an index beside each (`ossicle.index_shards`), no tar header is
            read.
        processor: A transform, or a `Compose` of several.
        sample_rate: In Hz, what to resample to; None keeps each clip's own.
        mono: Take the mean of the channels, before resampling, in place of all of them.
        shuffle_shards: Take the shards in a new order in each epoch.
        shuffle_buffer: A sample moves by less than so many places. Only numbers are shuffled, so
            no audio waits in memory, however large it is.
        seed: Of the order and of ``metadata["seed"]``, at least 0.
        drop_last: Leave out the last samples of the order, fewer than there are processes, so that
            all have as many, in as many batches; of several processes not with
            ``on_error="skip"``, which would leave one of them waiting for another.
        rank: The number of this process; None asks ``torch.distributed``, 0 where that is not
            initialised.
        world_size: How many processes there are; None as for ``rank``.
        on_error: What becomes of samples that cannot be loaded: ``"raise"``, ``"skip"``, or
            ``"replace"`` by the next good one of the same reader, so that none is missing.
        max_bad_share: As for `SpeechDataset`, like ``ledger_path``.
        ledger_path: See there.
        max_open: How many shards a process keeps open.

    Raises:
        AudioError: A shard cannot be opened.
        InvalidArgumentError: An argument is invalid.
    """

    def __init__(
        self,
        shards: Shards,
        processor: DataProcessor | None = None,
        *,
        sample_rate: SampleRate | None = None,
        mono: bool = False,
        shuffle_shards: bool = False,
        shuffle_buffer: int = 0,
        seed: int = 0,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        on_error: OnError = "raise",
        max_bad_share: float = 0.01,
        ledger_path: str | os.PathLike[str] | None = None,
        max_open: int = 16,
    ) -> None:
        check_ranks(rank, world_size)
        if seed < 0 or shuffle_buffer < 0:
            raise InvalidArgumentError(f"seed is {seed}, shuffle_buffer {shuffle_buffer}: below 0")
        self.processor, self.seed, self.drop_last = processor, seed, drop_last
        self.shuffle_shards, self.shuffle_buffer = shuffle_shards, shuffle_buffer
        self._rank, self._world_size = rank, world_size
        self._on_error = on_error
        self._policy = FaultPolicy(on_error, max_bad_share, ledger_path)
        self._shards = ShardSet(shards, sample_rate, mono, max_open)
        self._epoch = SharedEpoch()
        self._start = self._done = 0

    def __getstate__(self) -> dict[str, Any]:
        # A worker that is spawned knows nothing of torch.distributed.
        rank, world_size = self.ranks
        return {**self.__dict__, "_rank": rank, "_world_size": world_size}

    @property
    def ranks(self) -> tuple[int, int]:
        """The number of this process, and how many there are."""
        if self._rank is None or self._world_size is None:
            return distributed("get_rank", 0), distributed("get_world_size", 1)
        return self._rank, self._world_size

    @property
    def num_samples(self) -> int:
        """How many samples this process gives from where it stands, over all of its workers."""
        rank, world_size = self.ranks
        return len(range(self._start + rank, self._end(world_size), world_size))

    @property
    def epoch(self) -> int:
        """The epoch that is set."""
        return self._epoch.get()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iteration gives, here and in workers that already run."""
        if epoch != self.epoch:
            self._start = self._done = 0
        self._epoch.set(epoch)

    @property
    def faults(self) -> list[Fault]:
        """Bad samples that this process has met; those of workers are in the ledger's file."""
        return self._policy.faults

    def __iter__(self) -> Iterator[Sample]:
        self._check_ranks()
        reader, readers = self._reader()
        start, end, epoch = self._start, self._end(self.ranks[1]), self.epoch
        places = range(start + reader, end, readers)
        self._done = start
        for first in range(0, len(places), _CHUNK):
            part = places[first : first + _CHUNK]
            for place, number in zip(part, self._order(epoch, np.array(part)), strict=True):
                # Once all readers have taken this turn, so many are done.
                self._done = min(place - reader + readers, end)
                sample = self._sample(int(number), epoch)
                if sample is None and self._on_error == "replace":
                    sample = self._next_good(places, place, epoch)
                if sample is not None:
                    yield sample
        self._done = end
        self._start = 0

    def state_dict(self) -> dict[str, Any]:
        """Where the epoch stands once all readers have given as many samples, as plain values.

        In a worker of torchdata's ``StatefulDataLoader`` it is called for each; PyTorch's own
        `DataLoader` does so without workers only.
        """
        place = {"epoch": self.epoch, "samples_done": self._done}
        return {"version": _STATE_VERSION, **place, **self._settings()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken: the next iteration gives the rest of its epoch.

        Raises:
            InvalidArgumentError: It is of other shards or settings.
        """
        own = {"version": _STATE_VERSION, **self._settings()}
        wrong = sorted(name for name in own if state.get(name) != own[name])
        if wrong:
            facts = ", ".join(f"{name} was {state.get(name)!r}, is {own[name]!r}" for name in wrong)
            raise InvalidArgumentError(f"the state is of other shards or settings: {facts}")
        self._epoch.set(int(state["epoch"]))
        self._start = self._done = int(state["samples_done"])

    def _settings(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "shards": len(self._shards.paths),
            "samples": len(self._shards),
            "shuffle_shards": self.shuffle_shards,
            "shuffle_buffer": self.shuffle_buffer,
            "drop_last": self.drop_last,
        }

    def _check_ranks(self) -> None:
        if self.drop_last and self._on_error == "skip" and self.ranks[1] > 1:
            raise InvalidArgumentError(
                'drop_last=True promises every process as many samples, which on_error="skip" '
                'breaks: pass on_error="replace"'
            )

    def _reader(self) -> tuple[int, int]:
        """The number of this process or worker in a turn, and how many take turns."""
        rank, world_size = self.ranks
        worker = get_worker_info()
        if worker is None:
            return rank, world_size
        # A `DataLoader` asks its workers in turn: its samples come in the order of the epoch.
        return worker.id * world_size + rank, world_size * worker.num_workers

    def _end(self, world_size: int) -> int:
        """Where this iteration ends in the epoch's order."""
        count = len(self._shards)
        return count - (count - self._start) % world_size if self.drop_last else count

    def _order(self, epoch: int, places: Ints) -> Ints:
        """``(N,)`` the numbers of the samples at ``(N,)`` rising places of an epoch."""
        if self.shuffle_buffer > 1:
            places = self._moved(epoch, places)
        starts = self._shards.starts
        if not self.shuffle_shards:
            return places
        turns = Permutation(len(starts) - 1, self.seed, _SHARDS, epoch)(np.arange(len(starts) - 1))
        ends = np.cumsum(np.diff(starts)[turns])
        turn = np.searchsorted(ends, places, side="right")
        before_end: Ints = ends[turn] - places
        return np.asarray(starts[turns[turn] + 1] - before_end)

    def _moved(self, epoch: int, places: Ints) -> Ints:
        """Places mixed in blocks of the buffer's size, which begin elsewhere in each epoch."""
        size, count = self.shuffle_buffer, len(self._shards)
        shift = int(random_bits([0], self.seed, _BLOCKS, epoch)[0] % np.uint64(size))
        blocks = np.unique((places + shift) // size)
        whole = (blocks[:, None] * size + np.arange(size) - shift).ravel()
        whole = whole[(whole >= 0) & (whole < count)]
        bits = random_bits(whole, self.seed, _BUFFER, epoch)
        mixed = whole[np.lexsort((bits, (whole + shift) // size))]
        return np.asarray(mixed[np.searchsorted(whole, places)])

    def _next_good(self, places: range, place: int, epoch: int) -> Sample:
        """What stands for the sample at a place; bad ones on the way are entered at their own."""
        after = places.index(place) + 1
        for other in (*places[after:], *places[: after - 1]):
            _, found = self._load(int(self._order(epoch, np.array([other]))[0]), epoch)
            if not isinstance(found, Exception):
                return found
        raise TooManyFaultsError(f"none of the {len(places)} samples of this reader can be loaded")

    def _sample(self, number: int, epoch: int) -> Sample | None:
        key, found = self._load(number, epoch)
        if isinstance(found, Exception):
            self._policy.enter(number, key, found)
            return None
        self._policy.count_good()
        return found

    def _load(self, number: int, epoch: int) -> tuple[str, Sample | Exception]:
        """The key of a sample, and it or what is wrong with it."""
        key = f"sample {number}"
        try:
            metadata = self._shards.metadata(number)
            key = str(metadata.get("clip_id", metadata["wav_id"]))
            with self._policy.name_errors(key):
                waveform, rate = self._shards.waveform(number, key)
                metadata["seed"] = sample_seed(self.seed, epoch, key)
                if self.processor is not None:
                    waveform, rate, metadata = self.processor(waveform, rate, metadata)
        except BAD as error:
            return key, error
        return key, (waveform, rate, metadata)

"""`AudioStream`: the batches of a plan, read ahead on threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from ossicle.audio.arguments import thread_count
from ossicle.errors import InvalidArgumentError, check_on_error, one_of
from ossicle.faults import Fault, Faults
from ossicle.stream.decoding import Decoding, Waveforms
from ossicle.stream.engine import Engine
from ossicle.stream.errors import FORKED, StreamError
from ossicle.stream.process import Child, ChildEngine
from ossicle.stream.profile import Profile, profile_stream
from ossicle.stream.reading import Collate, Reader, Run
from ossicle.stream.tensors import conversion, has_gpu, pinned
from ossicle.stream.turns import check_ranks, distributed

if TYPE_CHECKING:
    from ossicle.stream.plan import Plan

__all__ = ["AudioStream"]

_END = object()


class AudioStream:
    """Ready batches of a plan, in its order, read ahead by native threads.

    ``for batch in stream`` gives the epoch's batches of this process: dicts of ``ids`` (the rows'),
    ``waveforms`` or ``input_features`` (as ``decode`` says), ``lengths`` int64 ``(B,)``, ``rows``
    (what the plan knows of each), ``epoch`` and ``step``; or what ``collate`` makes of them. After
    a whole epoch the stream is at the beginning of the next.

    Args:
        plan: The order of the batches, an `ossicle.stream.Plan`.
        decode: What is made of a recording: `Waveforms` or `LogMel`.
        collate: What makes a batch of rows, called in the order of batches on one thread: an
            `AudioLmCollator`, a Dataloader++ collator such as `SpeechCollator`, or a function of a
            list of rows, each a dict of what is known of it and its clip, under ``audio`` as
            ``{"array", "sampling_rate"}`` or under ``input_features``.
        isolation: ``"thread"`` reads in this process, ``"process"`` in one child, which hands
            batches over in shared memory.
        threads: That read and decode; None takes one for each processor that this process may use.
        prefetch_bytes: What batches that wait to be taken may hold, beside one.
        on_error: What becomes of a clip that cannot be decoded: ``"replace"`` it by another of its
            kind, which depends on it and the plan's seed alone, or ``"raise"`` its error. Bytes
            that cannot be read are tried again, and then always an error.
        ledger: A file that each process adds a line of JSON to for each bad row;
            `ossicle.faults.read_ledger` reads it.
        max_bad_share: How many of the last 1,000 rows may be bad, as a share of 1,000; more end the
            run.
        rank: The number of this process; None asks ``torch.distributed`` at each use.
        world_size: How many processes take turns; None likewise.

    Attributes:
        epoch: The epoch that the next iteration gives.
        plan: The order.
        threads: That read and decode.
        prefetch_bytes: What batches that wait may hold.
        reader: What all batches have in common.

    Raises:
        InvalidArgumentError: An argument is invalid.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        decode: Decoding | None = None,
        collate: Collate | None = None,
        isolation: Literal["thread", "process"] = "thread",
        threads: int | None = None,
        prefetch_bytes: int = 1 << 30,
        on_error: Literal["replace", "raise"] = "replace",
        ledger: str | os.PathLike[str] | None = None,
        max_bad_share: float = 0.01,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        check_on_error(on_error, "replace", "raise")
        check_ranks(rank, world_size)
        if prefetch_bytes < 0:
            why = f"prefetch_bytes must be at least 0, not {prefetch_bytes}"
            raise InvalidArgumentError(why)
        self.plan = plan
        self.epoch = 0
        self._isolation = one_of("isolation", isolation, ("thread", "process"))
        self.threads, self.prefetch_bytes = thread_count(threads), prefetch_bytes
        self._faults = Faults(on_error, max_bad_share, ledger)
        self.reader = Reader(
            plan=plan,
            decoding=Waveforms() if decode is None else decode,
            collate=collate,
            faults=self._faults,
            replaces=on_error == "replace",
            convert=conversion(),
        )
        self._rank, self._world_size = rank, world_size
        self._process = os.getpid()
        # Batches of the epoch, over all processes: where an iteration begins, and handed out.
        self._start = self._done = 0
        self._run: Run | None = None
        self._engine: Engine | ChildEngine | None = None
        self._child: Child | None = None

    def __len__(self) -> int:
        """Batches that the next iteration gives on this process, exactly."""
        return self.plan.steps(self.epoch, self._ranks()[1], self._start)

    def __iter__(self) -> Iterator[Any]:
        """The rest of the epoch; an iteration that was begun before ends.

        Raises:
            StreamError: This process is a fork of the one that made the stream.
        """
        return self._iterate(self.plan.steps(self.epoch, self._ranks()[1], self._start))

    def forever(self) -> Iterator[Any]:
        """Batches without an end: epoch after epoch, with no pause between them.

        An iteration that was begun before ends; a later one goes on where this was left.

        Raises:
            StreamError: As for an iteration over an epoch.
        """
        return self._iterate(None)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives; a new one begins at its start.

        The epoch that is set already stays at the place where `load_state_dict` has put it.
        """
        if epoch < 0:
            raise InvalidArgumentError(f"epoch must be at least 0, not {epoch}")
        if epoch != self.epoch:
            self._run = None  # whatever is still iterated over has no say in the place any more
            self._go_to(int(epoch), 0)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, in batches handed out: plain values, less than 500 bytes.

        It is the same on all processes after equal steps.
        """
        return self.plan.state(self.epoch, self._done).as_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken: the next iteration gives the rest of its epoch.

        Any number of processes and threads goes on from the state of any other.

        Raises:
            InvalidArgumentError: It is no state, or one of another plan.
        """
        self._stop()
        self._run = None
        self._go_to(*self.plan.resume(state))

    def close(self) -> None:
        """Ends all threads and processes of the stream, which can be iterated over again."""
        self._stop()
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def profile(
        self,
        *,
        seconds: float = 20.0,
        step_seconds: float = 0.0,
        progress: Callable[[str, int, int], object] | None = None,
    ) -> Profile:
        """Measures where the time goes: stages of clips, threads, waits.

        It reads from the beginning of the epoch and leaves the stream's place as it is.

        Args:
            seconds: What it may take, about.
            step_seconds: What a training step takes: how long it would wait is told.
            progress: Called with what is done, and how much of it is.
        """
        return profile_stream(self, seconds=seconds, step_seconds=step_seconds, progress=progress)

    @property
    def ledger(self) -> list[Fault]:
        """The bad rows that this process has met; yours to clear."""
        return self._faults.ledger

    def _iterate(self, steps: int | None) -> Iterator[Any]:
        self._check_process()
        self._stop()
        self._done = self._start
        self._run = run = Run(self.reader, self.epoch, self._start, steps, *self._ranks())
        self._engine = engine = self._begin(run)
        return self._batches(engine, run)

    def _check_process(self) -> None:
        # Polars hangs in a fork, and so might any lock.
        if os.getpid() != self._process:
            raise StreamError(FORKED)
        _check_worker()

    def _begin(self, run: Run) -> Engine | ChildEngine:
        if self._isolation == "thread":
            return Engine(run, self.threads, self.prefetch_bytes)
        if self._child is None or not self._child.is_alive():
            self._child = Child(self.reader, self.threads, self.prefetch_bytes)
        return self._child.begin(run)

    def _stop(self) -> None:
        """Ends an iteration that was not finished."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    @property
    def has_own_ranks(self) -> bool:
        """Whether ``rank`` and ``world_size`` were told, and ``torch.distributed`` is not asked."""
        return self._rank is not None

    @property
    def rank(self) -> int:
        """The number of this process."""
        return self._ranks()[0]

    @property
    def world_size(self) -> int:
        """How many processes take turns."""
        return self._ranks()[1]

    def _ranks(self) -> tuple[int, int]:
        """The number of this process, and how many there are."""
        if self._rank is None or self._world_size is None:
            return distributed("get_rank", 0), distributed("get_world_size", 1)
        return self._rank, self._world_size

    def _batches(self, engine: Engine | ChildEngine, run: Run) -> Iterator[Any]:
        taken = 0
        try:
            while (batch := self._next(engine)) is not _END:
                taken += 1
                # Counted when it is handed out: what was read ahead never is.
                self._count(run, taken)
                yield batch
        finally:
            engine.close()

    def _next(self, engine: Engine | ChildEngine) -> Any:
        if self._engine is not engine:
            raise StreamError("another iteration over the stream has begun since, or it was closed")
        batch = next(engine, _END)
        return pinned(batch) if self._isolation == "process" and has_gpu() else batch

    def _count(self, run: Run, taken: int) -> None:
        """Notes that so many batches of a run were handed out."""
        if self._run is not run:
            return
        after = self.plan.state(run.epoch, run.start + taken * run.world_size)
        if run.steps is None or taken == run.steps:
            # What the last step of an epoch took of the next one is its beginning.
            self._go_to(after.epoch, after.consumed)
        else:
            self._done = after.consumed

    def _go_to(self, epoch: int, place: int) -> None:
        self.epoch, self._start, self._done = epoch, place, place


def _check_worker() -> None:
    loader = sys.modules.get("torch.utils.data")
    worker = None if loader is None else loader.get_worker_info()
    if worker is not None and worker.num_workers > 1:
        raise InvalidArgumentError(
            f"{worker.num_workers} workers of a data loader would read the same batches: pass "
            "num_workers=0, the stream has threads of its own"
        )

"""Batches made on threads ahead of a consumer, and handed out in their order.

One thread plans: it begins batches, collates those that are read, in order, and hands them out.
The others read and decode parts of batches. Several batches are on their way at a time, so that
no thread waits at the end of one.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

from ossicle.stream.errors import FORKED, StreamError
from ossicle.stream.trace import Trace, span

__all__ = ["Engine", "Work"]

_LOOK = 0.5
"""Seconds after which a consumer that waits looks whether the threads are alive."""


class Work(ABC):
    """One batch on its way."""

    nbytes = 0
    """Of the batch, once it is finished."""

    @abstractmethod
    def parts(self, number: int) -> Sequence[Callable[[], None]]:
        """What is to be done first, in any order, by about ``number`` threads."""

    @abstractmethod
    def finish(self) -> None:
        """What is to be done once all parts are."""

    @abstractmethod
    def give(self) -> Any:
        """The batch; batch after batch in their order, on one thread."""


class _Begun:
    """A batch whose parts are with the threads."""

    def __init__(self, work: Work, trace: Trace | None) -> None:
        self.work, self.trace = work, trace
        self.error: BaseException | None = None
        self.is_done = False
        self._left = 0
        self._lock = threading.Lock()

    def tasks(self, count: int) -> list[Callable[[], None]]:
        parts = self.work.parts(count)
        self._left = max(len(parts), 1)
        return [partial(self._do, part) for part in parts] or [partial(self._do, None)]

    def _do(self, part: Callable[[], None] | None) -> None:
        try:
            if part is not None and self.error is None:
                with span(self.trace, "decode"):
                    part()
        except BaseException as error:  # of any kind: the consumer must hear of it
            self.error = self.error or error
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._finish()

    def _finish(self) -> None:
        try:
            if self.error is None:
                with span(self.trace, "join"):
                    self.work.finish()
        except BaseException as error:
            self.error = error
        self.is_done = True


_Task: TypeAlias = "Callable[[], None] | None"


class _Board:
    """What the threads and the consumer know of each other."""

    def __init__(self, threads: int, prefetch_bytes: int, trace: Trace | None) -> None:
        self.trace = trace
        self.changed = threading.Condition()
        self.stop = threading.Event()
        self.tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self.begun: deque[_Begun] = deque()
        self.ready: deque[tuple[Any, int]] = deque()
        self.error: BaseException | None = None
        self.is_at_end = False
        self._threads, self._limit = threads, prefetch_bytes
        self._typical = 0

    @property
    def held_bytes(self) -> int:
        """Of all batches that are not with the consumer; an estimate of those that are begun."""
        ready = sum(size for _, size in self.ready)
        return ready + sum(one.work.nbytes or self._typical for one in self.begun)

    def has_room(self) -> bool:
        """Whether another batch may be begun."""
        if not self.begun and not self.ready:
            return True
        # Beyond what keeps every thread at work, more batches at a time only come later.
        unfinished = sum(not one.is_done for one in self.begun)
        return unfinished < 2 + self._threads and self.held_bytes + self._typical <= self._limit

    def next_turn(self, is_exhausted: bool) -> str:
        """What the planning thread is to do next; waits until there is something."""
        with self.changed:
            while not self.stop.is_set():
                if self.begun and self.begun[0].is_done:
                    return "give"
                if is_exhausted and not self.begun:
                    return "end"
                if not is_exhausted and self.has_room():
                    return "begin"
                self.changed.wait()
        return "stop"

    def give(self, batch: Any, nbytes: int) -> None:
        with self.changed:
            self.begun.popleft()
            self.ready.append((batch, nbytes))
            self._typical = max(self._typical, nbytes)
            self.changed.notify_all()

    def notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        with self.changed:
            self.error, self.is_at_end = error, True
            self.begun.clear()
            self.changed.notify_all()
        self.dismiss()

    def dismiss(self) -> None:
        """Lets the threads go."""
        self.stop.set()
        self.notify()
        for _ in range(self._threads):
            self.tasks.put(None)


class Engine:
    """Batches of a run of `Work`, in its order.

    Args:
        begin: Gives the batches to make, in order; called with an event that is set when the work
            is to end early.
        threads: How many read and decode.
        prefetch_bytes: Batches that nobody has taken yet hold no more than this, beside one.
        trace: Where the time of each stage is noted; None notes nothing.
    """

    def __init__(
        self,
        begin: Callable[[threading.Event], Iterator[Work]],
        threads: int,
        prefetch_bytes: int,
        trace: Trace | None = None,
    ) -> None:
        self._board = board = _Board(threads, prefetch_bytes, trace)
        self._process = os.getpid()
        self._threads = [
            threading.Thread(target=_read, args=(board,), name=f"ossicle-stream-{n}", daemon=True)
            for n in range(threads)
        ]
        planner = threading.Thread(
            target=_plan, args=(board, begin, threads), name="ossicle-stream-plan", daemon=True
        )
        self._threads.append(planner)
        # Also at the end of the interpreter, before its threads are stopped where they are.
        self._end = weakref.finalize(self, _close, board, self._threads, self._process)
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Batches that are ready."""
        return len(self._board.ready)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """The next batch.

        Raises:
            StreamError: The engine cannot go on.
        """
        if os.getpid() != self._process:
            raise StreamError(FORKED)
        board = self._board
        if board.trace is not None:
            board.trace.depths.append((time.perf_counter(), len(board.ready)))
        with span(board.trace, "wait"), board.changed:
            while not board.ready:
                if board.error is not None:
                    raise board.error
                if board.is_at_end:
                    raise StopIteration
                if board.stop.is_set():
                    raise StreamError("the stream was closed while it was iterated over")
                if not board.changed.wait(_LOOK):
                    self._check_alive()
            batch, _ = board.ready.popleft()
            board.changed.notify_all()
        return batch

    def close(self) -> None:
        """Ends the threads; batches that are ready are dropped."""
        self._end()

    def _check_alive(self) -> None:
        dead = [thread.name for thread in self._threads if not thread.is_alive()]
        if dead and not self._board.is_at_end:
            raise StreamError(f"the thread {dead[0]} of the stream has ended without an error")


def _plan(board: _Board, begin: Callable[[threading.Event], Iterator[Work]], threads: int) -> None:
    error = None
    try:
        _run(board, begin(board.stop), threads)
    except BaseException as caught:  # of any kind: the consumer must hear of it
        error = caught
    board.end(error)


def _run(board: _Board, works: Iterator[Work], threads: int) -> None:
    is_exhausted = False
    while (turn := board.next_turn(is_exhausted)) in ("give", "begin"):
        if turn == "give":
            first = board.begun[0]
            if first.error is not None:
                raise first.error
            with span(board.trace, "collate"):
                batch = first.work.give()
            board.give(batch, first.work.nbytes)
        else:
            with span(board.trace, "plan"):
                is_exhausted = not _begin(board, next(works, None), threads)


def _begin(board: _Board, work: Work | None, threads: int) -> bool:
    """Hands the parts of a batch to the threads; False where there is no batch any more."""
    if work is None:
        return False
    begun = _Begun(work, board.trace)
    tasks = begun.tasks(threads)
    with board.changed:
        board.begun.append(begun)
    for task in tasks:
        board.tasks.put(task)
    return True


def _read(board: _Board) -> None:
    while (task := board.tasks.get()) is not None and not board.stop.is_set():
        task()
        board.notify()


def _close(board: _Board, threads: list[threading.Thread], process: int) -> None:
    if os.getpid() != process:  # in a fork: the threads are not there, their locks may be held
        return
    board.dismiss()
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join()
    board.ready.clear()
    board.begun.clear()

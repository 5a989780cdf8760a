"""An engine in a child process, which leaves the interpreter of the parent alone.

The parent asks for one batch at a time; the child reads ahead as far as its engine does. Arrays
are handed over in shared memory.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from typing import TYPE_CHECKING, Any

from ossicle.stream.engine import Engine, Work
from ossicle.stream.errors import FORKED, StreamError
from ossicle.stream.shared import Packed, Slots, Views, pack
from ossicle.stream.tensors import TensorLater, as_tensor

if TYPE_CHECKING:
    import threading

    from ossicle.stream.reading import Reader, Run

__all__ = ["Child", "ChildEngine"]

_LOOK = 0.5
"""Seconds after which a parent that waits hands back what has become free."""


class Child:
    """The child process, for one run after the other.

    Args:
        reader: What all batches have in common.
        threads: As for `Engine`.
        prefetch_bytes: As for `Engine`.

    Raises:
        StreamError: Something of the plan or the collator cannot be sent to another process.
    """

    def __init__(self, reader: Reader, threads: int, prefetch_bytes: int) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self.connection, self.views = ours, Views()
        self.faults = reader.faults
        self._runs = 0
        reader = replace(reader, pins=False)  # not here: the GPU is the parent's
        if reader.collate is None and reader.convert is as_tensor:
            reader = replace(reader, convert=TensorLater)
        arguments = (theirs, reader, threads, prefetch_bytes)
        self.process = context.Process(
            target=_serve, args=arguments, name="ossicle-stream", daemon=True
        )
        try:
            self.process.start()
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            ours.close()
            why = "the plan, the collator and what they hold must pickle"
            raise StreamError(f'isolation="process": {why}: {error}') from error
        finally:
            theirs.close()
        self.owner = os.getpid()
        self._end = weakref.finalize(self, _end, self.process, ours, self.owner)

    def begin(self, run: Run) -> ChildEngine:
        """Begins a run; the one before it ends."""
        self._runs += 1
        self.send("begin", self._runs, run)
        return ChildEngine(self, self._runs)

    def is_alive(self) -> bool:
        """Whether it takes another run, of this process and not of one that it was forked from."""
        return os.getpid() == self.owner and self.process.is_alive()

    def close(self) -> None:
        """Ends the process."""
        self._end()

    def send(self, *message: Any) -> None:
        """A message to the child.

        Raises:
            StreamError: It is no more.
        """
        try:
            self.connection.send(message)
        except OSError as error:
            raise self.lost() from error

    def receive(self) -> Any:
        """A message of the child, once it comes.

        Raises:
            StreamError: The child is no more.
        """
        connection = self.connection
        while True:
            ended = self.views.released()
            if ended:
                self.send("free", ended)
            ready = wait([connection, self.process.sentinel], _LOOK)
            if connection in ready:
                try:
                    return connection.recv()
                except (EOFError, OSError) as error:
                    raise self.lost() from error
            if ready:
                raise self.lost()

    def take(self, packed: Packed, size: int | None, dropped: list[int]) -> Any:
        """The batch of a message."""
        self.views.drop(dropped)
        if size is not None and packed.slot is not None:
            self.views.add(packed.slot, recv_handle(self.connection), size)
        return self.views.unpack(packed)

    def lost(self) -> StreamError:
        """The error of a child that is no more."""
        self.process.join(1)
        code = self.process.exitcode
        if code is None:
            return StreamError("the process of the stream does not answer any more")
        if code < 0:
            name = signal.Signals(-code).name
            return StreamError(f"the process of the stream was ended by {name}")
        return StreamError(
            f"the process of the stream has ended with exit code {code}; its message is above. A "
            'script must begin its work under `if __name__ == "__main__":`'
        )


class ChildEngine:
    """A run of a child: as `Engine`, whose batches come from there."""

    def __init__(self, child: Child, number: int) -> None:
        self._child, self._number = child, number
        self._is_at_end = self._is_asked = False
        self._ask()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """The next batch.

        Raises:
            StreamError: The child has ended, or this process is a fork of its parent.
        """
        child = self._child
        if os.getpid() != child.owner:
            raise StreamError(FORKED)
        if self._is_at_end:
            raise StopIteration
        while True:
            kind, number, faults, *rest = child.receive()
            batch = child.take(*rest) if kind == "batch" else None
            if number == self._number:  # else of a run that was given up
                break
        child.faults.ledger += faults
        if kind == "error":
            self._is_at_end = True
            raise rest[0]
        if kind == "end":
            self._is_at_end = True
            raise StopIteration
        self._ask()
        return batch

    def close(self) -> None:
        """Ends the run; the child stays for the next one."""
        if not self._is_at_end:
            self._is_at_end = True
            if self._child.is_alive():
                self._child.send("stop", self._number)

    def _ask(self) -> None:
        self._child.send("next", self._number)


@dataclass
class _PackedBatch(Work):
    """A batch that is copied into shared memory once it is collated."""

    work: Work
    slots: Slots

    def parts(self, number: int) -> Sequence[Callable[[], None]]:
        """Those of the batch."""
        return self.work.parts(number)

    def finish(self) -> None:
        """That of the batch."""
        self.work.finish()
        self.nbytes = self.work.nbytes

    def give(self) -> Packed:
        """The batch as it is sent."""
        return pack(self.work.give(), self.slots)


@dataclass
class _Server:
    """The child's side."""

    connection: Connection
    reader: Reader
    threads: int
    prefetch_bytes: int
    slots: Slots = field(default_factory=Slots)
    engine: Engine | None = None
    number: int = 0

    def serve(self) -> None:
        """Answers messages until the parent is no more."""
        while True:
            kind, *rest = self.connection.recv()
            getattr(self, kind)(*rest)

    def begin(self, number: int, run: Run) -> None:
        self.stop(self.number)
        self.number = number
        run = replace(run, reader=self.reader)

        def works(stop: threading.Event) -> Iterator[Work]:
            return (_PackedBatch(work, self.slots) for work in run(stop))

        self.engine = Engine(works, self.threads, self.prefetch_bytes)

    def next(self, number: int) -> None:
        if number != self.number or self.engine is None:
            return
        try:
            packed = next(self.engine)
        except StopIteration:
            self._answer("end")
        except BaseException as error:  # of any kind: the parent must hear of it
            self._answer("error", _told(error))
        else:
            self._send(packed)

    def stop(self, number: int) -> None:
        if number == self.number and self.engine is not None:
            self.engine.close()
            self.engine = None

    def free(self, numbers: list[int]) -> None:
        self.slots.release(numbers)

    def _send(self, packed: Packed) -> None:
        slot = packed.slot
        new = None if slot is None else self.slots.file(slot)
        size = None if new is None else new[1]
        self._answer("batch", packed, size, self.slots.dropped())
        if new is not None:
            send_handle(self.connection, new[0], os.getppid())

    def _answer(self, kind: str, *rest: Any) -> None:
        faults, self.reader.faults.ledger[:] = list(self.reader.faults.ledger), []
        self.connection.send((kind, self.number, faults, *rest))


def _serve(connection: Connection, reader: Reader, threads: int, prefetch_bytes: int) -> None:
    # Ctrl-C goes to both; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = _Server(connection, reader, threads, prefetch_bytes)
    try:
        server.serve()
    except (EOFError, OSError):  # the parent is no more
        server.stop(server.number)


def _told(error: BaseException) -> BaseException:
    """An error as it can be sent, with the place where it was met as a note."""
    lines = traceback.format_exception(error)
    error.add_note("in the process of the stream:\n" + "".join(lines).rstrip())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return StreamError("".join(lines).rstrip())
    return error


def _end(process: BaseProcess, connection: Connection, owner: int) -> None:
    if os.getpid() != owner:
        return
    connection.close()
    process.terminate()
    process.join()

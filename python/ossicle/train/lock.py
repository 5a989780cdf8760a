"""One run at a time in a folder: two would write into each other's figures and checkpoints."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ossicle.train.checkpoint import CheckpointError

__all__ = ["LOCK", "only_run"]

LOCK = ".lock"

# A lock is the process's: a second one of its own would be granted.
_held: set[Path] = set()


@contextmanager
def only_run(folder: Path | None) -> Iterator[None]:
    """Keeps other runs out of ``folder`` as long as this one is in ``with``, or alive.

    The lock is advisory, on the file ``.lock``, and ends with the process, however that ends. Where
    a file system has no locks, or the folder cannot be written to, nothing is locked.

    Args:
        folder: The run's; made if it is missing. None: the run has none.

    Raises:
        CheckpointError: Another run writes there; the message names its process and machine.
    """
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / LOCK
    if path in _held:
        raise _in_use(folder, _me())
    descriptor = _lock(path)
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _lock(path: Path) -> int | None:
    """The lock's file, open; None where nothing can be locked."""
    if os.name == "nt":
        return None
    import fcntl

    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            return None
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 300, 0).decode(errors="replace").strip()
            os.close(descriptor)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise _in_use(path.parent, holder or "an unnamed process") from error
            return None
        if _is_there(path, descriptor):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _me().encode(), 0)
            return descriptor
        os.close(descriptor)  # of a run that has just ended


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _in_use(folder: Path, holder: str) -> CheckpointError:
    return CheckpointError(f"{folder} is in use by another run: {holder}")

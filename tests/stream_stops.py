"""A process that iterates over a stream until something is done to it.

``python stream_stops.py WHAT ISOLATION FOLDER``
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.modules["torch"] = None  # type: ignore[assignment]  # NumPy is enough, and imported sooner

from stream_clips import plan_of  # noqa: E402

from ossicle.stream import AudioStream, StreamError  # noqa: E402


def hold(stream: AudioStream) -> None:
    """Takes one batch, and then waits for what comes."""
    for _ in stream:
        child = stream._child
        print("ready", child.process.pid if child else 0, flush=True)
        time.sleep(60)


def slow(rows: list[dict[str, Any]]) -> int:
    time.sleep(0.05)
    return len(rows)


def wait(stream: AudioStream) -> None:
    """Takes batches for ever."""
    print("ready 0", flush=True)
    while True:
        sum(1 for _ in stream)


def fork(stream: AudioStream) -> None:
    """Goes on in a fork, where the threads are not."""
    batches = iter(stream)
    next(batches)
    child = os.fork()
    if child == 0:
        for work in (lambda: next(batches), lambda: next(iter(stream))):
            try:
                work()
            except StreamError as error:
                print(error, flush=True)
        batches.close()
        stream.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("fork", status, 1 + sum(1 for _ in batches), flush=True)


def main() -> None:
    what, isolation, folder = sys.argv[1:]
    plan = plan_of(sorted(Path(folder).glob("clip-*")))
    collate = slow if what == "wait" else None
    stream = AudioStream(plan, isolation=isolation, collate=collate, threads=2)
    {"hold": hold, "wait": wait, "fork": fork}[what](stream)


if __name__ == "__main__":
    main()

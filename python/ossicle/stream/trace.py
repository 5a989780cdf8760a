"""When each thread of a stream did what: spans of time."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Span", "Trace", "span"]


class Span(NamedTuple):
    """A stretch of time that a thread spent on one stage.

    Attributes:
        thread: Its name.
        stage: ``"plan"``, ``"decode"``, ``"join"``, ``"collate"``, or ``"wait"`` of the consumer.
        start: In seconds of `time.perf_counter`.
        end: Likewise.
    """

    thread: str
    stage: str
    start: float
    end: float


class Trace:
    """What was noted; any thread adds to it.

    Attributes:
        spans: In the order in which they ended.
        depths: Whenever the consumer asked for a batch, when, and how many were ready.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.depths: list[tuple[float, int]] = []

    @contextmanager
    def span(self, stage: str) -> Iterator[None]:
        """Notes the time that something takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            thread = threading.current_thread().name
            self.spans.append(Span(thread, stage, start, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        """Of each stage, summed up over threads."""
        sums: dict[str, float] = defaultdict(float)
        for one in self.spans:
            sums[one.stage] += one.end - one.start
        return dict(sums)

    def busy(self) -> dict[str, float]:
        """Of each thread, the seconds that it did not wait."""
        sums: dict[str, float] = defaultdict(float)
        for one in self.spans:
            sums[one.thread] += (one.end - one.start) * (one.stage != "wait")
        return dict(sums)

    def write_chrome(self, path: Path) -> None:
        """A file for Perfetto, ``chrome://tracing`` and others."""
        threads = {name: at for at, name in enumerate(dict.fromkeys(s.thread for s in self.spans))}
        first = min((one.start for one in self.spans), default=0.0)
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": at, "args": {"name": name}}
            for name, at in threads.items()
        ]
        for one in self.spans:
            begin, took = 1e6 * (one.start - first), 1e6 * (one.end - one.start)
            place = {"pid": 1, "tid": threads[one.thread], "ts": begin, "dur": took}
            events.append({"ph": "X", "name": one.stage, **place})
        for at, depth in self.depths:
            value = {"ts": 1e6 * (at - first), "args": {"batches": depth}}
            events.append({"ph": "C", "name": "ready", "pid": 1, **value})
        path.write_text(json.dumps({"traceEvents": events}), encoding="utf-8")


def span(trace: Trace | None, stage: str) -> AbstractContextManager[None]:
    """What notes the time of a stage, if anything does."""
    return nullcontext() if trace is None else trace.span(stage)

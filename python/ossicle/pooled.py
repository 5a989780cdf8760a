"""Work on threads whose results come in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

Work = TypeVar("Work")
Done = TypeVar("Done")

# Results that wait for their turn, for each thread.
_AHEAD = 2


def in_order(
    work: Callable[[Work], Done], items: Iterable[Work], threads: int, name: str
) -> Generator[Done]:
    """Works on several threads, not too far ahead of what is taken; close it to stop.

    Args:
        work: Is called with each item.
        items: They are drawn from the thread that takes the results.
        threads: How many work.
        name: Of the threads.
    """
    waiting: deque[Future[Done]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)

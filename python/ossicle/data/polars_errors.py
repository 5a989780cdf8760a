"""What Polars raises on files of others, as errors of ours.

Beside its own errors, which name no file, Polars panics on damaged files: its ``PanicException`` is
no `Exception`, so that whoever catches those is ended by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["reading"]


@contextmanager
def reading(error: Callable[[str], Exception]) -> Iterator[None]:
    """Around all that Polars does with a file: raises ``error(reason)`` for what it raises.

    Args:
        error: Makes the error of a reason; it names the file.
    """
    import polars

    try:
        yield
    except (OSError, polars.exceptions.PolarsError) as failure:
        raise error(str(failure) or type(failure).__name__) from failure
    except BaseException as failure:
        # Each extension module has a class of its own of this name.
        if type(failure).__name__ != "PanicException":
            raise
        raise error(f"Polars cannot read it: {failure}") from failure

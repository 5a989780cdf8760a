"""A run that is asked to end: by SIGTERM or Ctrl-C, after the step that it is in.

SIGTERM is what batch systems send some seconds before they kill. A second Ctrl-C ends the run at
once, but for a run of several processes: there torchrun sends each of them the signal once more.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ossicle.train.result import TrainingInterrupted, TrainingTerminated

__all__ = ["Stop"]


class Stop:
    """Whether the run has been asked to end.

    Attributes:
        number: The signal that asked first; None as long as none has.
    """

    def __init__(self, on_first: Callable[[], None], *, is_patient: bool) -> None:
        """Calls `on_first` at the first signal; one that `is_patient` is not hurried by more."""
        self.number: int | None = None
        self._on_first, self._is_patient = on_first, is_patient

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notes signals instead of dying of them; Python lets the main thread alone do so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            # None was not set from Python and cannot be put back from here. What is ignored, as by
            # nohup and in the background jobs of a shell, stays so.
            if handler not in (None, signal.SIG_IGN):
                before[number] = signal.signal(number, self._note_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            self._on_first()
        elif number == signal.SIGINT and not self._is_patient:
            raise KeyboardInterrupt

    def exception(self, message: str) -> TrainingInterrupted | TrainingTerminated:
        """What ends the run: as without a checkpoint, Ctrl-C or the end of the process."""
        if self.number == signal.SIGINT:
            return TrainingInterrupted(message)
        return TrainingTerminated(message)

"""A stream as the training data of `transformers.Trainer` and its subclasses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from ossicle.errors import InvalidArgumentError

if TYPE_CHECKING:
    from ossicle.stream.audio_stream import AudioStream

__all__ = ["StreamCallback", "stream_dataloader"]

_ADVICE = (
    "no state of a stream is in the checkpoint: it was written by a run that did not take its "
    "batches from one"
)


class StreamCallback(TrainerCallback, ExportableState):
    """Keeps the stream's place in ``trainer_state.json`` of each checkpoint, and goes on there.

    `stream_dataloader` adds it to a trainer.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: AudioStream | None = None) -> None:
        self.stream = stream

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        place = None if self.stream is None else self.stream.state_dict()
        return {"args": {}, "attributes": {"place": place}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Puts the stream where the checkpoint that is resumed was written.

        Raises:
            InvalidArgumentError: The checkpoint has no place of a stream, or of another plan.
        """
        if self.stream is None or state.global_step == 0:
            return
        stored = state.stateful_callbacks.get(type(self).__name__)
        if not stored or stored["attributes"]["place"] is None:
            raise InvalidArgumentError(_ADVICE)
        self.stream.load_state_dict(stored["attributes"]["place"])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ends the threads of the stream."""
        if self.stream is not None:
            self.stream.close()


def stream_dataloader(trainer: Any, stream: AudioStream) -> _Loader:
    """The training data loader of a trainer, with the batches of a stream.

    To be what ``get_train_dataloader`` of a subclass returns. Batches are what the stream's
    ``collate`` makes, and the trainer moves them to its device; of its arguments,
    ``per_device_train_batch_size``, ``data_collator`` and all on data loaders have no meaning. Its
    epochs are of one length, whole optimizer steps, and run on through the epochs of the plan.
    Each checkpoint holds the stream's place, and a run that is resumed goes on there without
    replaying anything.

    Args:
        trainer: A `transformers.Trainer` or a subclass, such as TRL's ``SFTTrainer``.
        stream: The stream.

    Raises:
        InvalidArgumentError: Several processes share a batch (tensor, context or sequence
            parallelism) and the stream's ``rank`` and ``world_size`` do not say how.
    """
    # Batches that were trained on are not read again to be skipped.
    trainer.args.ignore_data_skip = True
    _check_shared(trainer, stream)
    for callback in list(trainer.callback_handler.callbacks):
        if isinstance(callback, StreamCallback):
            trainer.remove_callback(callback)
    trainer.add_callback(StreamCallback(stream))
    return _Loader(trainer, stream)


class _Loader:
    """What a trainer iterates over once an epoch.

    Args:
        trainer: The trainer.
        stream: The stream.
    """

    def __init__(self, trainer: Any, stream: AudioStream) -> None:
        self._trainer, self._stream = trainer, stream
        self._batches: Iterator[Any] | None = None
        self.dataset = range(stream.plan.rows)

    def __len__(self) -> int:
        together = self._stream.world_size * self._accumulation
        return self._stream.plan.steps(0, together) * self._accumulation

    def __iter__(self) -> Iterator[Any]:
        # The trainer counts optimizer steps from the beginning of the run, resumed or not.
        taken = self._trainer.state.global_step * self._accumulation % len(self)
        if self._batches is None:
            self._batches = self._stream.forever()
        for _ in range(taken, len(self)):
            yield next(self._batches)

    @property
    def _accumulation(self) -> int:
        return int(self._trainer.args.gradient_accumulation_steps)


def _check_shared(trainer: Any, stream: AudioStream) -> None:
    sizes = [f"get_{kind}_size" for kind in ("tp", "cp", "sp")]
    shared = math.prod(getattr(trainer, size)() for size in sizes if hasattr(trainer, size))
    if shared > 1 and not stream.has_own_ranks:
        raise InvalidArgumentError(
            f"{shared} processes work on the same batch here: pass rank and world_size to "
            "AudioStream, counted in groups of such processes"
        )

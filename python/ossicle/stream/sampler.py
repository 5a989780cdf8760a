"""Batches of rows of similar length, under a budget, the same for any number of processes.

The batches of an epoch and their order are a function of the lengths, the settings, ``seed`` and
the epoch. Processes take turns at that one order: of ``world_size``, process ``rank`` takes the
batches ``rank``, ``rank + world_size``, ... A state is a place in the order, so that a run
resumes there with any number of processes.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle.errors import InvalidArgumentError
from ossicle.stream.batches import Seconds, Tokens, count_batches, make_batches, sorted_batches
from ossicle.stream.permutation import Permutation
from ossicle.stream.turns import Turns

if TYPE_CHECKING:
    from ossicle.stream.audio_stream import AudioStream

__all__ = ["DurationBatchSampler", "trainer_dataloader"]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


class DurationBatchSampler(Turns):
    """Gives lists of row numbers, for ``DataLoader(batch_sampler=...)``.

    A batch costs its longest row times its number of rows, which is what the model computes, with
    padding; no batch costs more than the budget. From the longest row on, rows are sorted into
    groups in which none is shorter than the longest by more than ``max_padding``, each filling
    whole batches; where there are too few for one batch, shorter rows fill it. An epoch shuffles
    the rows inside of the groups and the batches as a whole. The number of batches and their sizes
    are those of every epoch.

    With ``count_padding=False``, for models that take rows end to end without padding, a batch
    costs the sum of its rows, and rows of all lengths mix.

    Where the number of batches is no multiple of ``world_size``, the last round is filled with the
    first batches of the epoch once more (fewer than ``world_size``), or left out with
    ``drop_last=True``; all other rows come exactly once an epoch.

    Args:
        lengths: ``(N,)`` length of each row, at least 0: seconds for ``max_seconds``, tokens or
            anything else that adds up for ``max_tokens``.
        max_seconds: Budget of a batch in seconds. Either this or ``max_tokens``.
        max_tokens: Budget of a batch in tokens.
        max_batch: The most rows in a batch; None sets no limit.
        max_padding: 0 to 1, the share of padding that a batch may have where there are enough rows
            of similar length to fill it. Smaller pads less, larger mixes more.
        count_padding: Whether padding counts against the budget.
        shuffle: False gives the batches from the longest rows to the shortest in every epoch.
        seed: Of the shuffle, at least 0; the same on all processes.
        drop_last: What becomes of the last round, see above.
        on_too_long: What becomes of a row that is longer than the budget: ``"raise"``, ``"alone"``
            in a batch of its own that breaks the budget, or ``"drop"``. The latter two warn with
            their number; ``too_long`` has the rows.
        rank: The number of this process; None asks ``torch.distributed`` at each use, 0 where it is
            not initialised. Pass 0 and ``world_size=1`` where something else deals the batches out,
            as ``Accelerator.prepare`` does.
        world_size: How many processes there are; None as for ``rank``.

    Attributes:
        epoch: The epoch that the next iteration gives.
        too_long: ``(M,)`` int64, rows that are longer than the budget.
        num_batches: Batches of an epoch over all processes, without any that come twice.

    Raises:
        InvalidArgumentError: An argument makes no sense, or a row is too long.
    """

    _items = "batches"

    def __init__(
        self,
        lengths: npt.ArrayLike,
        *,
        max_seconds: float | None = None,
        max_tokens: float | None = None,
        max_batch: int | None = None,
        max_padding: float = 0.1,
        count_padding: bool = True,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        on_too_long: Literal["raise", "alone", "drop"] = "raise",
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._lengths = _checked_lengths(lengths)
        budget = _budget(max_seconds, max_tokens)
        _check_settings(max_batch, max_padding, seed, on_too_long)
        super().__init__(rank, world_size, drop_last=drop_last)
        self._settings: dict[str, Any] = {
            "seed": int(seed),
            "budget": budget,
            "max_batch": max_batch,
            "max_padding": float(max_padding),
            "count_padding": bool(count_padding),
            "shuffle": bool(shuffle),
            "on_too_long": on_too_long,
        }
        self.too_long = np.flatnonzero(self._lengths > budget)
        self._report_too_long(budget, on_too_long)
        self._rule = _rule(self._settings)
        keep = self._lengths >= 0 if on_too_long == "alone" else self._lengths <= budget
        self._rows = np.flatnonzero(keep)
        self.num_batches = count_batches(self._rule, self._lengths[self._rows], 1, mix=None)

    def __iter__(self) -> Iterator[list[int]]:
        places = self._begin()
        return self._batches(places, *self._arrange(self.epoch))

    @property
    def sampler(self) -> DurationBatchSampler:
        """Itself: under this name accelerate looks for what is to hear of a new epoch."""
        return self

    @property
    def padding(self) -> float:
        """The share of padding, 0 to 1, in this epoch's batches, each padded to its longest row."""
        rows, offsets = self._arrange(self.epoch)
        if len(rows) == 0:
            return 0.0
        lengths = self._lengths[rows]
        computed = float(np.maximum.reduceat(lengths, offsets[:-1]) @ np.diff(offsets))
        return 1 - float(lengths.sum()) / computed if computed > 0 else 0.0

    def state_dict(self, *, batches: int | None = None) -> dict[str, Any]:
        """Where this epoch stands, as plain values; the same on all processes after equal steps.

        Args:
            batches: How many batches of this iteration the process has trained on. None: as many as
                were handed out, which is the same only without workers, as those are handed
                batches ahead of time.
        """
        return self._state(batches)

    @property
    def _count(self) -> int:
        return self.num_batches

    def _identity(self) -> dict[str, Any]:
        digest = hashlib.sha256(self._lengths.tobytes()).hexdigest()
        return {"lengths_sha256": digest, **self._settings}

    def _report_too_long(self, budget: float, on_too_long: str) -> None:
        count = len(self.too_long)
        if count == 0:
            return
        examples = ", ".join(f"row {row} of {self._lengths[row]:g}" for row in self.too_long[:3])
        facts = f"{count} of {len(self._lengths)} rows are longer than the budget of {budget:g}"
        facts += f" ({examples}{', ...' if count > 3 else ''})"
        if on_too_long == "raise":
            raise InvalidArgumentError(
                f'{facts}: raise the budget, or pass on_too_long="alone" or "drop"'
            )
        fate = (
            "are left out" if on_too_long == "drop" else "get batches of one row, beyond the budget"
        )
        warnings.warn(f"{facts} and {fate}", UserWarning, stacklevel=3)

    def _arrange(self, epoch: int) -> tuple[Ints, Ints]:
        """All rows batch after batch, and where each batch begins: one window of a `Plan`."""
        if not self._settings["shuffle"]:
            rows = self._rows[np.argsort(-self._lengths[self._rows], kind="stable")]
            order, offsets = sorted_batches(self._rule, self._lengths[rows], None)
            return rows[order], offsets
        key = self._settings["seed"], epoch
        rows = self._rows[Permutation(len(self._rows), *key)(np.arange(len(self._rows)))]
        order, offsets = make_batches(self._rule, self._lengths[rows], 1, *key, mix=None)
        return rows[order], offsets

    def _batches(self, places: Iterator[int], rows: Ints, offsets: Ints) -> Iterator[list[int]]:
        for place in places:
            yield rows[offsets[place] : offsets[place + 1]].tolist()


def _rule(settings: dict[str, Any]) -> Seconds | Tokens:
    """What a batch may hold: a budget in seconds and one in tokens are planned alike."""
    budget, padding, most = (settings[name] for name in ("budget", "max_padding", "max_batch"))
    if settings["count_padding"]:
        return Seconds(budget, padding, most)
    return Tokens(budget, packed=True, max_rows=most)


def trainer_dataloader(trainer: Any, sampler: DurationBatchSampler | AudioStream) -> Any:
    """The training data loader of a `transformers.Trainer`, with the batches of ``sampler``.

    To be what ``get_train_dataloader`` of a subclass returns. Everything else (workers, collator,
    seeds of workers, pinned memory, device) is as `Trainer` sets it up; of its arguments,
    ``per_device_train_batch_size``, ``dataloader_drop_last`` and the sampling strategy have no
    meaning any more. The processes take turns as the sampler says, in the order of the batches.

    Args:
        trainer: A `transformers.Trainer` or a subclass, such as TRL's ``SFTTrainer``.
        sampler: Over the rows of ``trainer.train_dataset``; or an `AudioStream`, whose batches are
            taken as they are, and whose place each checkpoint holds
            (`ossicle.stream.trainers.stream_dataloader`).

    Raises:
        InvalidArgumentError: The numbers of rows differ, or accelerate is to split or dispatch
            batches, or several processes must share a batch (tensor, context or sequence
            parallelism) and the sampler's ``rank`` and ``world_size`` do not say how.
    """
    from accelerate.data_loader import prepare_data_loader
    from torch.utils.data import DataLoader
    from transformers import Trainer

    if not isinstance(sampler, DurationBatchSampler):
        from ossicle.stream.trainers import stream_dataloader

        return stream_dataloader(trainer, sampler)
    _check_trainer(trainer, sampler)
    loader = Trainer.get_train_dataloader(trainer)
    kept = {name: getattr(loader, name) for name in _KEPT if hasattr(loader, name)}
    loader = DataLoader(loader.dataset, batch_sampler=sampler, **kept)
    accelerator = trainer.accelerator
    # As for one process: the sampler deals the batches out itself.
    return prepare_data_loader(
        loader,
        device=accelerator.device,
        num_processes=1,
        process_index=0,
        put_on_device=accelerator.device_placement,
        non_blocking=accelerator.non_blocking,
    )


_KEPT = (
    "collate_fn",
    "num_workers",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
    "persistent_workers",
    "in_order",
)


def _check_trainer(trainer: Any, sampler: DurationBatchSampler) -> None:
    rows, expected = len(trainer.train_dataset), len(sampler._lengths)
    if rows != expected:
        raise InvalidArgumentError(f"{expected} lengths for a train_dataset of {rows} rows")
    accelerator = trainer.accelerator
    if accelerator.split_batches or accelerator.dispatch_batches:
        raise InvalidArgumentError(
            "split_batches and dispatch_batches of accelerator_config need batches of one size: "
            "turn them off, the sampler gives each process its own batches"
        )
    sizes = [f"get_{kind}_size" for kind in ("tp", "cp", "sp")]
    shared = math.prod(getattr(trainer, size)() for size in sizes if hasattr(trainer, size))
    if shared > 1 and sampler._rank is None:
        raise InvalidArgumentError(
            f"{shared} processes work on the same batch here: pass rank and world_size to "
            "DurationBatchSampler, counted in groups of such processes"
        )


def _checked_lengths(lengths: npt.ArrayLike) -> Floats:
    array = np.array(lengths, np.float64)
    if array.ndim != 1:
        raise InvalidArgumentError(f"lengths has {array.ndim} dimensions, not one")
    wrong = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if len(wrong):
        raise InvalidArgumentError(
            f"the length of row {wrong[0]} is {array[wrong[0]]}, as are {len(wrong)} rows: "
            "leave out rows that cannot be read"
        )
    return array


def _budget(max_seconds: float | None, max_tokens: float | None) -> float:
    given = [budget for budget in (max_seconds, max_tokens) if budget is not None]
    if len(given) != 1:
        raise InvalidArgumentError("pass either max_seconds or max_tokens")
    if not 0 < given[0] < math.inf:
        raise InvalidArgumentError(f"the budget must be a positive number, not {given[0]}")
    return float(given[0])


def _check_settings(max_batch: int | None, padding: float, seed: int, on_too_long: str) -> None:
    if max_batch is not None and max_batch < 1:
        raise InvalidArgumentError(f"max_batch must be at least 1, not {max_batch}")
    if not 0 <= padding < 1:
        raise InvalidArgumentError(f"max_padding must be from 0 to below 1, not {padding}")
    if seed < 0:
        raise InvalidArgumentError(f"seed must be at least 0, not {seed}")
    if on_too_long not in ("raise", "alone", "drop"):
        raise InvalidArgumentError(
            f'on_too_long must be "raise", "alone" or "drop", not {on_too_long!r}'
        )

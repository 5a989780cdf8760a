"""A run's parts, put together before its first step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ossicle.faults import Fault, count_line, reasons_of
from ossicle.model.encoder import load_encoder
from ossicle.train.config import TrainConfig
from ossicle.train.distributed import Processes
from ossicle.train.encoder_cache import EncoderCache
from ossicle.train.feed import Feed, must_raise
from ossicle.train.flops import StepFlops, peak_flops
from ossicle.train.heldout import Evaluate, HeldOut
from ossicle.train.modules import Modules, activation_dtype, build_modules
from ossicle.train.optim import build_optimizer
from ossicle.train.order import BudgetOrder, CountOrder, Order, budget_sampler
from ossicle.train.result import TrainingError
from ossicle.train.sources import ClipSource, check_exists, open_source
from ossicle.train.stages import STAGES

__all__ = ["Setup"]

WHOLE_SET = 32  # clips up to which, by default, a step takes all of them
DEFAULT_BATCH = 16


@dataclass
class Setup:
    """The parts of a run on one process.

    Attributes:
        config: What they are made of.
        processes: This one among the others.
        modules: Encoder, projector, language model and tokenizer.
        source: Of the clips.
        optimizer: Of what learns.
        order: Of the clips.
        feed: Of the steps.
        frames: Of the encoder, for the feed's batches.
        flops: Of the steps.
        peak: What the device could do in a second.
        held_out: What is evaluated, if anything is.
        skipped: Clips that cannot be used, by row.
    """

    config: TrainConfig
    processes: Processes
    modules: Modules
    source: ClipSource
    optimizer: torch.optim.Optimizer
    skipped: dict[int, Fault] = field(default_factory=dict)
    order: Order = field(init=False)
    feed: Feed = field(init=False)
    frames: EncoderCache = field(init=False)
    flops: StepFlops = field(init=False)
    peak: float | None = field(init=False)
    held_out: HeldOut | None = field(init=False)

    @classmethod
    def of(cls, config: TrainConfig, processes: Processes, evaluate: Evaluate | None) -> Setup:
        """Loads and makes all parts.

        Raises:
            As `ossicle.train.run` does.
        """
        check_exists(config.data)
        if config.eval_data is not None:
            check_exists(config.eval_data)
        device = processes.device
        encoder = load_encoder(
            config.whisper,
            device=device,
            dtype=activation_dtype(config, device),
            layer=config.layer,
        )
        # A projector learns nothing of a text without sound.
        trains_lm = STAGES[config.stage].trains_lm
        source = open_source(config.data, config, encoder, with_texts=trains_lm)
        modules = build_modules(config, encoder, device)
        optimizer = build_optimizer(
            modules.model.projector,
            modules.model.gpt if trains_lm else None,
            config.optimizer,
            lr=config.lr,
            weight_decay=config.weight_decay,
        )
        setup = cls(config, processes, modules, source, optimizer)
        setup._connect(evaluate)
        return setup

    def _connect(self, evaluate: Evaluate | None) -> None:
        model = self.modules.model
        self.order = self._make_order()
        self.feed = self._make_feed(self.source, self.order, self.config.prefetch)
        self.frames = self._make_cache(self.source)
        self.flops = StepFlops(self.modules.encoder, model.projector, model.gpt)
        self.peak = peak_flops(self.processes.device, self.config.peak_flops)
        self.held_out = None if self.config.eval_data is None else self._make_held_out(evaluate)

    def counts(self) -> str:
        """Rows, clips and faults so far of the data, in words, a line each for ``eval_data``."""
        lines = [_counted(self.source, self.skipped)]
        if self.held_out is not None:
            held_out = self.held_out.source
            lines.append(f"{_counted(held_out, {})}, held out")
        return "\n".join(lines)

    @property
    def trained(self) -> dict[str, Tensor]:
        """The parameters that learn, by name."""
        return self.modules.trained

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations."""
        return activation_dtype(self.config, self.processes.device)

    @property
    def budget(self) -> float | None:
        """Of a part of a step, in seconds or tokens; None where steps are of so many clips."""
        return self.config.max_batch_seconds or self.config.max_batch_tokens

    @property
    def batch_size(self) -> int:
        """Clips of a step where no budget says how many."""
        count = len(self.source)
        size = self.config.batch_size or (count if count <= WHOLE_SET else DEFAULT_BATCH)
        return min(size, count)

    @property
    def parts(self) -> int:
        """Parts of a step, over all processes."""
        return self.config.accumulate or self.processes.count

    def _make_order(self) -> Order:
        """Of the clips that have a length where one is needed, and fit where there is a budget."""
        count, seed = self.processes.count, self.config.seed
        if self.budget is None:
            # Parts only split the step, so that each process may have as many as the others.
            even = -(-self.parts // count) * count
            return CountOrder(range(len(self.source)), self.batch_size, seed, even)
        if self.parts % count:
            raise ValueError(
                f"accumulate: {self.parts} parts of a step do not divide among {count} processes"
            )
        lengths = self._lengths()
        self._skip_unusable(lengths)
        usable = np.flatnonzero(~np.isnan(lengths)).tolist()
        sampler = budget_sampler(
            [float(lengths[row]) for row in usable],
            self.budget,
            is_tokens=self.config.max_batch_tokens is not None,
            seed=seed,
            may_drop=self.config.too_long == "drop" or self.config.on_error == "skip",
        )
        if not sampler.num_batches:
            raise TrainingError(f"no clip of {self.config.data} can be used")
        return BudgetOrder(usable, sampler, self.parts)

    def _lengths(self) -> NDArray[np.float64]:
        """Seconds of each clip, or its positions in the language model."""
        seconds = self.source.seconds()
        silent = seconds == 0
        is_tokens = self.config.max_batch_tokens is not None
        if not is_tokens and not silent.any():
            return seconds
        texts = (len(self.modules.tokenizer.encode(text)) for text in self.source.texts())
        tokens = np.fromiter(texts, np.float64)
        rate, stack = self.modules.encoder.frames_per_second, self.modules.model.projector.stack
        if not is_tokens:
            # A text without sound takes as many positions as so many seconds of audio.
            return np.where(silent, tokens * stack / rate, seconds)
        return np.ceil(np.ceil(seconds * rate) / stack) + tokens

    def _skip_unusable(self, lengths: NDArray[np.float64]) -> None:
        """Notes, or raises, what has no length; notes what is longer than the budget."""
        for row in np.flatnonzero(np.isnan(lengths)).tolist():
            (found,) = self.source.load([row])
            if not isinstance(found, Exception):
                found = TrainingError("its length is not known")
            if must_raise(found, self.config.on_error, self.config.too_long):
                raise found
            self._skip(row, found)
        budget = self.budget or math.inf
        for row in np.flatnonzero(lengths > budget).tolist():
            why = f"its length {lengths[row]:g} is above the budget of a batch, {budget:g}"
            self._skip(row, TrainingError(why))

    def _skip(self, row: int, error: Exception) -> None:
        self.skipped[row] = Fault.of(error, self.source.row_name(row))

    def _make_feed(self, source: ClipSource, order: Order, prefetch: int) -> Feed:
        encoder, projector = self.modules.encoder, self.modules.model.projector
        width = encoder.d_model * (encoder.layers or 1) * self.dtype.itemsize

        def frame_bytes(frames: int) -> int:
            return encoder.output_lengths(frames) * width

        def soft_tokens(frames: int) -> int:
            own = frames if source.is_encoded else encoder.output_lengths(frames)
            return -(-own // projector.stack)

        return Feed(
            source,
            order,
            self.modules.tokenizer,
            soft_tokens,
            rank=self.processes.rank,
            world_size=self.processes.count,
            on_error=self.config.on_error,
            too_long=self.config.too_long,
            prefetch=prefetch,
            pin=self.processes.device.type == "cuda",
            frame_bytes=None if source.is_encoded else frame_bytes,
            cache_bytes=self.config.cache_bytes,
            max_positions=self.modules.model.gpt.config.rotary_len,
            skipped=self.skipped,
        )

    def _make_cache(self, source: ClipSource) -> EncoderCache:
        return EncoderCache(
            self.modules.encoder,
            self.processes.device,
            self.dtype,
            is_encoded=source.is_encoded,
            is_padded=self.config.pad_to_seconds is not None,
        )

    def _make_held_out(self, evaluate: Evaluate | None) -> HeldOut:
        config = self.config
        source = open_source(str(config.eval_data), config, self.modules.encoder)
        order = HeldOut.order(source, config.eval_clips)
        feed = self._make_feed(source, order, prefetch=1)
        alone = replace(feed, rank=0, world_size=1, skipped={}, cut=set())
        return HeldOut(self.modules, alone, self._make_cache(source), len(order), evaluate)


def _counted(source: ClipSource, skipped: dict[int, Fault]) -> str:
    faults = [*source.skipped, *skipped.values()]
    return count_line(len(source) + len(source.skipped), reasons_of(faults))

"""The training loop: frozen Whisper encoder, projector, soft tokens before the text, a GPT.

A step is a set of clips that depends on the seed and its number alone. Each process of the run
takes its share of the step's parts, and gradients are weighed such that their sum is that of the
mean over all graded tokens of the step: its loss does not depend on how many processes there are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, astuple, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ossicle.model import Projector, WhisperEncoder
from ossicle.model.whisper import Layer
from ossicle.train import checkpoint, finish
from ossicle.train.checkpoint import CheckpointError
from ossicle.train.config import TrainConfig
from ossicle.train.config_file import write_config
from ossicle.train.distributed import Processes, joined
from ossicle.train.encoded import Encoded
from ossicle.train.feed import Feed, Part
from ossicle.train.flops import StepFlops, peak_flops
from ossicle.train.heldout import Evaluate, HeldOut
from ossicle.train.logs import RunLog
from ossicle.train.meter import StepCounts, figures
from ossicle.train.modules import activation_dtype, build_modules
from ossicle.train.optim import build_optimizer, scale_lr
from ossicle.train.order import BudgetOrder, CountOrder, Order, budget_sampler
from ossicle.train.result import LossDidNotFallError, TrainingError, TrainProgress, TrainResult
from ossicle.train.schedule import lr_factor
from ossicle.train.sources import ClipSource, Skipped, open_source

__all__ = ["run"]

WHOLE_SET = 32  # clips up to which, by default, a step takes all of them
DEFAULT_BATCH = 16

_Arguments = tuple[Tensor, Tensor | None, Tensor, Tensor]
Report = Callable[[TrainProgress], None]


def run(
    config: TrainConfig,
    *,
    progress: Report | None = None,
    evaluate: Evaluate | None = None,
) -> TrainResult:
    """Trains what the stage says on clips and their texts; the encoder stays as it is.

    Started by torchrun, the processes share each step; the first one writes. On the CPU the losses
    are a function of the configuration to the last bit, for one number of torch threads and of
    processes, however often the run was stopped and resumed. Torch's global random state is as
    before afterwards.

    Args:
        config: What to do.
        progress: Called at the beginning of each stage and after each step, on the first process.
        evaluate: What is measured on ``eval_data``, see `ossicle.train.heldout`; by default the
            loss with the right audio, with shuffled audio and with none.

    Returns:
        Losses, speeds and where the files are.

    Raises:
        LossDidNotFallError: If the loss fell by less than ``config.loss_drop_min``, after all was
            written.
        TrainingError: If the loss is no number any more, or no clip of a step can be read.
        WhisperLoadError: If no encoder could be loaded.
        ManifestError: If the manifest or a row of it cannot be used, and none may be left out.
        AudioError: If a clip cannot be decoded, and none may be left out.
        FingerprintError: If features were extracted by another encoder.
        CheckpointError: If ``out`` has checkpoints and neither ``resume`` nor ``overwrite`` says
            what is to become of them, or if they are of another run.
    """
    with joined(config.device) as processes:
        cuda = [processes.device] if processes.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            result = _Run(config, processes, progress or (lambda _: None), evaluate).run()
    if config.loss_drop_min is not None and not result.loss_drop >= config.loss_drop_min:
        raise LossDidNotFallError(result, config.loss_drop_min)
    return result


class _Run:
    """One run: its parts, and what it has measured."""

    def __init__(
        self,
        config: TrainConfig,
        processes: Processes,
        report: Report,
        evaluate: Evaluate | None,
    ) -> None:
        self.start = time.perf_counter()
        self.config, self.processes, self.device = config, processes, processes.device
        self.report = report if processes.is_first else lambda _: None
        self.out = None if config.out is None else Path(config.out)
        self.losses: list[float] = []
        self.evaluations: list[dict[str, float]] = []
        self.best: tuple[float, int] | None = None  # held-out loss and step
        self.saved: Path | None = None
        self.figures: dict[str, float] = {}
        self.skipped: dict[int, Skipped] = {}
        self.total, self.counts = StepCounts(), StepCounts()
        self.seconds = dict.fromkeys(("load", "wait", "encode", "train", "evaluate", "save"), 0.0)
        self._pending: list[Tensor] = []
        self._soft_tokens = 0
        self._check_out()
        self._tell("load")
        self._build(evaluate)

    def _check_out(self) -> None:
        """Before anything slow: a run must not mix its checkpoints with those of another."""
        if self.out is None or self.config.resume or self.config.overwrite:
            return
        if checkpoint.any_in(self.out):
            raise CheckpointError(
                f"{self.out} has checkpoints: resume goes on from them, overwrite removes them"
            )

    def _build(self, evaluate: Evaluate | None) -> None:
        config, dtype = self.config, activation_dtype(self.config, self.device)
        named = config.layer in ("last", "all")
        layer = cast(Layer, config.layer if named else int(config.layer))
        encoder = WhisperEncoder(config.whisper, device=self.device, dtype=dtype, layer=layer)
        self.source = open_source(config.data, config, encoder)
        self.modules = build_modules(config, encoder, self.device)
        self.model = self.modules.model
        self.trained = self.modules.trained
        frozen = config.stage == "weak-align"
        self.optimizer = build_optimizer(
            self.model.projector,
            None if frozen else self.model.gpt,
            config.optimizer,
            lr=config.lr,
            weight_decay=config.weight_decay,
        )
        self.order = self._make_order()
        self.feed = self._make_feed(self.source, self.order, config.prefetch)
        self.encoded = self._make_encoded(self.source)
        self.flops = StepFlops(encoder, self.model.projector, self.model.gpt)
        self.peak = peak_flops(self.device, config.peak_flops)
        self.held_out = None if config.eval_data is None else self._make_held_out(evaluate)

    def _make_order(self) -> Order:
        """Of the clips that have a length where one is needed, and fit where there is a budget."""
        config, processes = self.config, self.processes.count
        budget = config.max_batch_seconds or config.max_batch_tokens
        parts = config.accumulate or processes
        if budget is None:
            rows = range(len(self.source))
            # Parts only split the step, so that each process may have as many as the others.
            return CountOrder(
                rows, self.batch_size, config.seed, -(-parts // processes) * processes
            )
        if parts % processes:
            raise ValueError(
                f"accumulate {parts} parts of a step do not divide among {processes} processes"
            )
        lengths = self._lengths(is_tokens=config.max_batch_tokens is not None)
        usable = np.flatnonzero(~np.isnan(lengths)).tolist()
        self._skip_unusable(lengths, float(budget))
        sampler = budget_sampler(
            [float(lengths[row]) for row in usable],
            float(budget),
            is_tokens=config.max_batch_tokens is not None,
            seed=config.seed,
            may_drop=config.on_error == "skip",
        )
        if not sampler.num_batches:
            raise TrainingError(f"no clip of {config.data} can be used")
        return BudgetOrder(usable, sampler, parts)

    def _lengths(self, *, is_tokens: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Seconds of each clip, or its positions in the language model."""
        seconds = self.source.seconds()
        if not is_tokens:
            return seconds
        frames = np.ceil(seconds * 50)
        texts = (len(self.modules.tokenizer.encode(text)) for text in self.source.texts())
        return np.ceil(frames / self.model.projector.stack) + np.fromiter(texts, np.float64)

    def _skip_unusable(self, lengths: np.ndarray[Any, Any], budget: float) -> None:
        """Notes, or raises, what has no length; what is too long is noted (or raised) as well."""
        for row in np.flatnonzero(np.isnan(lengths)).tolist():
            (found,) = self.source.load([row])
            reason = str(found) if isinstance(found, Exception) else "its length is not known"
            if self.config.on_error == "raise":
                raise found if isinstance(found, Exception) else TrainingError(reason)
            self.skipped[row] = Skipped(*self.source.place(row), reason)
        for row in np.flatnonzero(lengths > budget).tolist():
            why = f"{lengths[row]:g} are longer than the budget of {budget:g}"
            self.skipped[row] = Skipped(*self.source.place(row), why)

    @property
    def batch_size(self) -> int:
        """Clips of a step where no budget says how many."""
        count = len(self.source)
        return self.config.batch_size or (count if count <= WHOLE_SET else DEFAULT_BATCH)

    def _make_feed(self, source: ClipSource, order: Order, prefetch: int) -> Feed:
        encoder, projector, config = self.modules.encoder, self.model.projector, self.config
        width = encoder.d_model * (encoder.layers or 1)
        width *= activation_dtype(config, self.device).itemsize

        def soft_tokens(frames: int) -> int:
            own = frames if source.is_encoded else -(-frames // 2)
            return -(-own // projector.stack)

        return Feed(
            source,
            order,
            self.modules.tokenizer,
            soft_tokens,
            rank=self.processes.rank,
            world_size=self.processes.count,
            on_error=config.on_error,
            prefetch=prefetch,
            pin=self.device.type == "cuda",
            frame_bytes=None if source.is_encoded else lambda frames: -(-frames // 2) * width,
            cache_bytes=config.cache_bytes,
            max_positions=self.model.gpt.config.rotary_len,
            skipped=self.skipped,
        )

    def _make_encoded(self, source: ClipSource) -> Encoded:
        return Encoded(
            self.modules.encoder,
            self.device,
            activation_dtype(self.config, self.device),
            is_encoded=source.is_encoded,
            is_padded=self.config.pad_to_seconds is not None,
        )

    def _make_held_out(self, evaluate: Evaluate | None) -> HeldOut:
        config = self.config
        source = open_source(
            str(config.eval_data), config, self.modules.encoder, on_error=config.on_error
        )
        order = HeldOut.order(source, config.eval_clips)
        feed = replace(self._make_feed(source, order, prefetch=1), rank=0, world_size=1, skipped={})
        return HeldOut(self.modules, feed, self._make_encoded(source), len(order), evaluate)

    def run(self) -> TrainResult:
        if self.config.resume:
            self._resume()
        if self.out is not None and self.config.overwrite and self.processes.is_first:
            checkpoint.remove_all(self.out)  # not earlier: until here a run may fail to start
        if self.out is not None and self.processes.is_first:
            self.out.mkdir(parents=True, exist_ok=True)
            write_config(self.out / "config.yaml", self._written_config())
        start_step = len(self.losses)
        log = RunLog(self.config, start_step, is_first=self.processes.is_first)
        self.replica = self._replica()
        self.seconds["load"] = time.perf_counter() - self.start
        try:
            self._train(start_step, log)
        finally:
            log.close()
        return self._finish(start_step)

    def _written_config(self) -> TrainConfig:
        """The configuration with what was left to this machine, so that another goes on alike."""
        stack = self.model.projector.stack
        budget = self.config.max_batch_seconds or self.config.max_batch_tokens
        parts = self.config.accumulate or (self.processes.count if budget else None)
        return replace(self.config, stack=stack, accumulate=parts)

    def _replica(self) -> nn.Module:
        """What the forward pass goes through: compiled, and joined with the other processes'."""
        if self.config.compile == "aot_eager":
            self.model.compile(backend="aot_eager")
        elif self.config.compile != "off":
            self.model.compile(mode=self.config.compile)
        if self.processes.count == 1:
            return self.model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(self.model, device_ids=ids, broadcast_buffers=False)

    def _train(self, start_step: int, log: RunLog) -> None:
        self._tell("encode")
        steps = self.feed.steps(start_step, self.config.steps)
        self._mark()
        for step in range(start_step, self.config.steps):
            begun = time.perf_counter()
            parts = next(steps)
            self.counts.wait += time.perf_counter() - begun
            norm = self._step(step, parts)
            self._after(step + 1, norm, log)
        next(steps, None)  # lets the background thread end

    def _after(self, step: int, norm: Tensor, log: RunLog) -> None:
        is_last = step == self.config.steps
        is_eval = self._is_due(step, self.config.eval_every) and self.held_out is not None
        is_save = self._is_due(step, self.config.save_every) and self.out is not None
        if step % self.config.log_every == 0 or is_last or is_eval or is_save:
            self._log(step, norm, log)
        self._tell("train")
        if is_eval:
            self._evaluate(step, log)
        if is_save or (is_eval and self.out is not None and self._is_best(step)):
            self._save(step)

    def _is_due(self, step: int, every: int) -> bool:
        return step == self.config.steps or (every > 0 and step % every == 0)

    def _is_best(self, step: int) -> bool:
        return self.best is not None and self.best[1] == step

    def _tell(self, stage: str) -> None:
        loss = self.losses[-1] if self.losses else None
        done = len(self.losses) + len(self._pending)
        self.report(TrainProgress(stage, done, self.config.steps, loss, self.figures))

    def _mark(self) -> None:
        """From here on time is the steps'."""
        self._marked = time.perf_counter()

    def _step(self, step: int, parts: list[Part]) -> Tensor:
        """One optimizer step; the norm of its gradient."""
        tokens = sum(int((part.targets >= 0).sum()) for part in parts)
        graded = torch.tensor(float(tokens), device=self.device)
        self.processes.sum(graded)
        # Processes' gradients are averaged; what is wanted is the sum over all tokens by their
        # number.
        scale = self.processes.count / graded.clamp(min=1)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for number, arguments in enumerate(self._arguments(parts), start=1):
            with self._synchronised(number >= len(parts)):
                loss = self.replica(*arguments)
                (loss * scale).backward()
            total += loss.detach()
        norm = self._update(step)
        self.processes.sum(total)
        self._pending.append(torch.stack([total / graded, graded]))
        return norm

    def _arguments(
        self, parts: list[Part]
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor, Tensor]]:
        """What the model takes of each part, one after the other."""
        for part in parts:
            frames, lengths = self.encoded.take(part)
            idx, targets = (t.to(self.device, non_blocking=True) for t in (part.idx, part.targets))
            self._count(part, lengths)
            # Clips of one length need no mask.
            is_even = bool((lengths == frames.shape[-2]).all())
            yield frames, None if is_even else lengths.to(self.device), idx, targets
        if not parts:  # the other processes wait for this one's gradient, which is zero
            encoder = self.modules.encoder
            layers = () if encoder.layers is None else (encoder.layers,)
            frames = torch.zeros(1, *layers, 1, encoder.d_model, device=self.device)
            idx = torch.zeros(1, 1, dtype=torch.int64, device=self.device)
            dtype = activation_dtype(self.config, self.device)
            yield frames.to(dtype), None, idx, torch.full_like(idx, -1)

    def _synchronised(self, is_last: bool) -> AbstractContextManager[None]:
        """Processes exchange gradients once a step."""
        if is_last or not isinstance(self.replica, DistributedDataParallel):
            return nullcontext()
        return cast("AbstractContextManager[None]", self.replica.no_sync())

    def _update(self, step: int) -> Tensor:
        config = self.config
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), config.clip or math.inf)
        scale_lr(self.optimizer, self._lr_factor(step))
        self.optimizer.step()
        return norm

    def _lr_factor(self, step: int) -> float:
        config = self.config
        return lr_factor(
            step,
            config.steps,
            warmup=config.warmup,
            warmdown=config.warmdown,
            final=config.final_lr,
        )

    def _count(self, part: Part, lengths: Tensor) -> None:
        text = part.text_lengths.tolist()
        soft = self.model.projector.output_lengths(lengths).tolist()
        self._soft_tokens = max(soft)
        counts, new = self.counts, [int(lengths[n]) for n in part.new]
        counts.clips += len(text)
        counts.audio_seconds += part.seconds
        counts.text_tokens += sum(text)
        counts.soft_tokens += sum(soft)
        counts.positions += len(text) * (max(soft) + part.idx.shape[1])
        counts.flops += sum(map(self.flops.train, soft, text))
        if self.source.is_encoded or not new:
            return
        counts.encoded += sum(new)
        counts.encoder_positions += len(new) * (max(new) if self.device.type != "cpu" else 0)
        counts.encoder_positions += sum(new) if self.device.type == "cpu" else 0
        counts.flops += sum(map(self.flops.encode, new))

    def _log(self, step: int, norm: Tensor, log: RunLog) -> None:
        """Waits for the device; then losses and figures since the last time are known."""
        found = torch.stack(self._pending).tolist()
        self._pending.clear()
        self._check_losses([loss for loss, _ in found], [int(tokens) for _, tokens in found])
        self.losses += [loss for loss, _ in found]
        counts = self._settled(len(found))
        self.figures = figures(counts, self.processes.count, self.peak)
        self.total.add(counts)
        rate = self.optimizer.param_groups[0]["lr"]
        told = {
            "loss": math.fsum(loss for loss, _ in found) / len(found),
            "lr": rate,
            "grad_norm": float(norm),
            "epoch": self.order.epochs(step),
        }
        log.write(step, told | self.figures)

    def _check_losses(self, losses: list[float], tokens: list[int]) -> None:
        for number, (loss, graded) in enumerate(zip(losses, tokens, strict=True), len(self.losses)):
            if not graded:
                reasons = "; ".join(s.reason for s in list(self.feed.skipped.values())[-3:])
                raise TrainingError(f"step {number + 1} has no clip that can be used: {reasons}")
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss of step {number + 1} is {loss}: a lower learning rate, a warmup?"
                )

    def _settled(self, steps: int) -> StepCounts:
        """The counts since the last time, over all processes; the stages' seconds go along."""
        counts, self.counts = self.counts, StepCounts()
        counts.steps, counts.seconds = steps, time.perf_counter() - self._marked
        counts.encode = self.encoded.watch.settle() - self.seconds["encode"]
        self.seconds["encode"] += counts.encode
        self.seconds["wait"] += counts.wait
        self.seconds["train"] += max(counts.seconds - counts.encode - counts.wait, 0.0)
        self._mark()
        summed = torch.tensor(astuple(counts), dtype=torch.float64, device=self.device)
        return StepCounts(*self.processes.sum(summed).tolist())

    def _evaluate(self, step: int, log: RunLog) -> None:
        assert self.held_out is not None
        self._tell("evaluate")
        start = time.perf_counter()
        (found, *_) = self.processes.gather(self.held_out() if self.processes.is_first else None)
        self.evaluations.append({"step": step, **found})
        loss = found.get("loss")
        if loss is not None and (self.best is None or loss < self.best[0]):
            self.best = (loss, step)
        log.write(step, {f"eval_{name}": value for name, value in found.items()})
        self.seconds["evaluate"] += time.perf_counter() - start
        self._mark()

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """What the losses depend on; a checkpoint of another identity is another run's."""
        config = self.config
        same = [
            "seed",
            "lr",
            "stage",
            "optimizer",
            "weight_decay",
            "warmup",
            "warmdown",
            "final_lr",
        ]
        same += ["clip", "max_seconds", "pad_to_seconds", "max_batch_seconds", "max_batch_tokens"]
        same += ["depth", "head_dim", "max_seq_len", "window_pattern"] * is_random
        same += ["steps"] * (config.warmdown > 0)
        budget = config.max_batch_seconds or config.max_batch_tokens
        size = (config.accumulate or self.processes.count) if budget else self.batch_size
        return {
            **{name: getattr(config, name) for name in same},
            "stack": self.model.projector.stack,
            "start": config.start,
            "accumulate" if budget else "batch_size": size,
            "dtype": str(activation_dtype(config, self.device)),
            "encoder": self.modules.encoder.fingerprint,
            "lm": self.modules.lm_sha256,
            "tokenizer": self.modules.tokenizer_sha256 or "bytes",
            "data": self.source.sha256,
        }

    def _save(self, step: int) -> None:
        assert self.out is not None
        self._tell("save")
        start = time.perf_counter()
        self._gather_skipped()
        if self.processes.is_first:
            protect = [] if self.best is None else [self.best[1]]
            self.saved = checkpoint.save(
                self.out,
                step,
                self._tensors(),
                self._meta(),
                keep=self.config.keep,
                protect=protect,
            )
        self.seconds["save"] += time.perf_counter() - start
        self._mark()

    def _gather_skipped(self) -> None:
        for found in self.processes.gather(dict(self.feed.skipped)):
            for row, skipped in found.items():
                self.feed.skipped.setdefault(row, skipped)

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        tensors = {
            "projector": self.model.projector.state_dict(),
            "optimizer": checkpoint.optimizer_tensors(self.optimizer, self.trained),
            "rng": checkpoint.rng_tensors(self.device),
            "progress": {"losses": torch.tensor(self.losses, dtype=torch.float64)},
        }
        if self.config.stage != "weak-align":
            tensors["model"] = self.model.gpt.state_dict()
        return tensors

    def _meta(self) -> dict[str, Any]:
        return {
            "identity": self._identity,
            "whisper": self.modules.encoder.name,
            "lm": self.config.lm,
            "tokenizer": self.modules.tokenizer_name,
            "model_config": asdict(self.model.gpt.config),
            "projector_config": projector_config(self.model.projector),
            "evaluations": self.evaluations,
            "best": self.best,
            "skipped": [[row, astuple(skipped)] for row, skipped in self.feed.skipped.items()],
        }

    def _resume(self) -> None:
        assert self.out is not None
        path = checkpoint.latest(self.out)
        if path is None:
            return
        saved = checkpoint.load(path)
        self._check_identity(saved)
        if "model" in saved.tensors:
            self.model.gpt.load_state_dict(saved.tensors["model"])
        self.model.projector.load_state_dict(saved.tensors["projector"])
        checkpoint.restore_optimizer(self.optimizer, self.trained, saved.tensors["optimizer"])
        checkpoint.restore_rng(saved.tensors["rng"], self.device)
        self.losses = saved.tensors["progress"]["losses"].tolist()
        self.evaluations = saved.meta["evaluations"]
        self.best = None if saved.meta["best"] is None else tuple(saved.meta["best"])
        self.feed.skipped.update((row, Skipped(*fields)) for row, fields in saved.meta["skipped"])
        self.saved = path

    def _check_identity(self, saved: checkpoint.Checkpoint) -> None:
        ours, theirs = self._identity, saved.meta["identity"]
        differ = [name for name in ours if ours[name] != theirs.get(name)]
        if differ:
            pairs = "; ".join(f"{n} was {theirs.get(n)}, is {ours[n]}" for n in differ)
            raise CheckpointError(f"{saved.path} is of another run: {pairs}")
        if saved.step > self.config.steps:
            raise CheckpointError(
                f"{saved.path} is at step {saved.step}, past the {self.config.steps} asked for"
            )

    def _finish(self, start_step: int) -> TrainResult:
        self._gather_skipped()
        skipped = [*self.source.skipped, *self.feed.skipped.values()]
        log_mel = None if self.feed.log_mel is None else self.feed.log_mel.numpy()
        result = TrainResult(
            losses=self.losses,
            start_step=start_step,
            seconds=time.perf_counter() - self.start,
            stage_seconds=self.seconds,
            clips=len(self.source),
            audio_seconds=self.total.audio_seconds,
            soft_tokens=self._soft_tokens,
            parameters=sum(p.numel() for p in self.trained.values()),
            device=str(self.device),
            feed_seconds=self.feed.seconds,
            skipped=len(skipped),
            processes=self.processes.count,
            evaluations=self.evaluations,
            log_mel=log_mel,
            checkpoint=self.saved,
            best=self._best_folder(),
            **finish.summary(self.total, self.processes.count, self.peak),
        )
        if self.out is not None and self.processes.is_first:
            return finish.write(self.out, result, self.config.stage, skipped)
        return result

    def _best_folder(self) -> Path | None:
        if self.out is None or self.best is None:
            return None
        return checkpoint.folder_of(self.out, self.best[1])


def projector_config(projector: Projector) -> Mapping[str, Any]:
    """The sizes of a projector, as a checkpoint has them."""
    inner, fan_in = projector.fc1.weight.shape
    outer = projector.fc2.weight.shape[0]
    return {
        "in_dim": fan_in // projector.stack,
        "out_dim": outer,
        "hidden_dim": inner,
        "stack": projector.stack,
        "layers": projector.layers,
        "start": projector.start,
    }

"""The training loop: frozen Whisper encoder, projector, soft tokens before the text, a GPT.

A step is a set of clips that depends on the seed and its number alone. Each process of the run
takes its share of the step's parts, and gradients are weighed such that their sum is that of the
mean over all graded tokens of the step: its loss does not depend on how many processes there are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import astuple, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ossicle.faults import reasons_of
from ossicle.outputs import refuse_same_file
from ossicle.train import checkpoint, resume, run_files
from ossicle.train.checkpoint import CheckpointError
from ossicle.train.config import TrainConfig
from ossicle.train.config_file import write_config
from ossicle.train.distributed import Processes, join
from ossicle.train.feed import MicroBatch
from ossicle.train.heldout import Evaluate
from ossicle.train.lock import only_run
from ossicle.train.logs import RunLog, check_packages
from ossicle.train.meter import StepCounts, figures
from ossicle.train.optim import scale_lr
from ossicle.train.result import LossDidNotFallError, TrainingError, TrainProgress, TrainResult
from ossicle.train.schedule import lr_factor
from ossicle.train.setup import Setup
from ossicle.train.stopping import Stop

__all__ = ["run"]

_Arguments = tuple[Tensor, Tensor | None, Tensor, Tensor]


def run(
    config: TrainConfig,
    *,
    progress: Callable[[TrainProgress], object] | None = None,
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
        TrainingInterrupted: At Ctrl-C, when the step is finished and, with ``out``, its checkpoint
            written, from which ``resume`` continues. A second one is a KeyboardInterrupt at once.
        TrainingTerminated: Likewise at SIGTERM.
        InvalidArgumentError: If a file that would be written in ``out`` is the data.
    """
    processes = join(config.device)
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
        progress: Callable[[TrainProgress], object],
        evaluate: Evaluate | None,
    ) -> None:
        self.start = time.perf_counter()
        self.config, self.processes, self.device = config, processes, processes.device
        self._progress = progress if processes.is_first else lambda _: None
        self.out = None if config.out is None else Path(config.out)
        self.history = resume.History()
        self.saved: Path | None = None
        self.figures: dict[str, float] = {}
        self.total, self.counts = StepCounts(), StepCounts()
        self.seconds = dict.fromkeys(("load", "wait", "encode", "train", "evaluate", "save"), 0.0)
        self.stop = Stop(lambda: self._report("stop"), is_patient=processes.count > 1)
        self._pending: list[Tensor] = []
        self._soft_tokens, self._counts = 0, ""
        self._check_out()
        check_packages(config)
        self._report("load")
        self.setup = Setup.of(config, processes, evaluate)
        self.model = self.setup.modules.model
        self._counts = self.setup.counts()
        self.identity = resume.identity(self.setup) if self.out is not None else {}

    def _check_out(self) -> None:
        """Before anything slow: a run must not mix its checkpoints with those of another."""
        if self.out is None:
            return
        inputs = [one for one in (self.config.data, self.config.eval_data) if one is not None]
        refuse_same_file([self.out / name for name in run_files.FILES], inputs)
        if self.processes.is_first and self.out.is_dir():
            with only_run(self.out):  # known now, not after all is loaded
                pass
        if self.config.resume or self.config.overwrite:
            return
        if checkpoint.any_in(self.out):
            raise CheckpointError(
                f"{self.out} has checkpoints: pass resume to continue from them, or overwrite "
                "to remove them"
            )

    def run(self) -> TrainResult:
        with only_run(self.out if self.processes.is_first else None):
            return self._run()

    def _run(self) -> TrainResult:
        if self.out is not None:
            self._open(self.out)
        start_step = len(self.history.losses)
        log = RunLog(self.config, start_step, is_first=self.processes.is_first)
        self.replica = self._replica()
        self.seconds["load"] = time.perf_counter() - self.start
        try:
            with self.stop.watching():
                self._train(start_step, log)
        finally:
            log.close()
            self.replica = self.model  # the other holds the group of the processes
        return self._finish(start_step)

    def _open(self, out: Path) -> None:
        """Resumes from what is in the folder, or prepares it."""
        found = resume.restore(self.setup, out, self.identity) if self.config.resume else None
        if found is not None:
            self.history, self.saved = found
        self.processes.wait()  # nobody removes or writes what another one still reads
        if not self.processes.is_first:
            return
        if self.config.overwrite:
            checkpoint.remove_all(out)  # not earlier: until here a run may fail to start
        out.mkdir(parents=True, exist_ok=True)
        write_config(out / "config.yaml", self._written_config())

    def _written_config(self) -> TrainConfig:
        """The configuration with what was left to this machine, so that another goes on alike."""
        parts = self.config.accumulate if self.setup.budget is None else self.setup.parts
        return replace(self.config, stack=self.model.projector.stack, accumulate=parts)

    def _replica(self) -> nn.Module:
        """What the forward pass goes through: compiled, and joined with the other processes'."""
        if self.config.compile == "aot_eager":
            self.model.compile(backend="aot_eager")
        elif self.config.compile != "off":
            self.model.compile(mode=self.config.compile)
        if self.processes.count == 1:
            return self.model
        ids = [self.device.index] if self.device.type == "cuda" else None
        replica = DistributedDataParallel(self.model, device_ids=ids)
        # No step changes them. The argument of this name is deprecated, and its successor unknown
        # to older versions; the attribute is in all.
        replica.broadcast_buffers = False
        return replica

    def _train(self, start_step: int, log: RunLog) -> None:
        self._report("encode")
        # Closing it ends its thread, also where an error ends the run.
        with closing(self.setup.feed.steps(start_step, self.config.steps)) as steps:
            self._mark()
            for step in range(start_step, self.config.steps):
                start = time.perf_counter()
                parts = next(steps)
                self.counts.wait += time.perf_counter() - start
                norm = self._step(step, parts)
                self._after(step + 1, norm, log)

    def _after(self, step: int, norm: Tensor, log: RunLog) -> None:
        is_last = step == self.config.steps
        is_eval = self._is_due(step, self.config.eval_every) and self.setup.held_out is not None
        is_stop = not is_last and self._is_to_stop()
        is_save = is_stop or self._is_due(step, self.config.save_every)
        is_save = is_save and self.out is not None
        if step % self.config.log_every == 0 or is_last or is_eval or is_save:
            self._log(step, norm, log)
        self._report("train")
        if is_eval:
            self._evaluate(step, log)
        if is_save or (is_eval and self.out is not None and self._is_best(step)):
            self._save(step)
        if is_stop:
            raise self.stop.exception(self._stop_message(step))

    def _is_to_stop(self) -> bool:
        """Whether any process has been asked to end: all do so after the same step."""
        if self.processes.count == 1:
            return self.stop.number is not None
        asked = torch.tensor(float(self.stop.number is not None), device=self.device)
        return bool(self.processes.sum(asked).item())

    def _stop_message(self, step: int) -> str:
        stop = f"stopped after step {step} of {self.config.steps}"
        if self.out is None:
            return f"{stop}; without out there is no checkpoint"
        return f"{stop}: {checkpoint.folder_of(self.out, step)} is the checkpoint to resume from"

    def _is_due(self, step: int, every: int) -> bool:
        return step == self.config.steps or (every > 0 and step % every == 0)

    def _is_best(self, step: int) -> bool:
        return self.history.best is not None and self.history.best[1] == step

    def _report(self, stage: str) -> None:
        loss = self.history.losses[-1] if self.history.losses else None
        done = len(self.history.losses) + len(self._pending)
        self._progress(
            TrainProgress(stage, done, self.config.steps, loss, self.figures, self._counts)
        )

    def _mark(self) -> None:
        """From here on time is the steps'."""
        self._marked = time.perf_counter()

    def _step(self, step: int, parts: list[MicroBatch]) -> Tensor:
        """One optimizer step; the norm of its gradient."""
        tokens = sum(int((part.targets >= 0).sum()) for part in parts)
        graded = torch.tensor(float(tokens), device=self.device)
        self.processes.sum(graded)
        # Processes' gradients are averaged; what is wanted is the sum over all tokens by their
        # number.
        scale = self.processes.count / graded.clamp(min=1)
        self.setup.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for number, arguments in enumerate(self._arguments(parts), start=1):
            with self._sync_context(number >= len(parts)):
                loss = self.replica(*arguments)
                (loss * scale).backward()
            total += loss.detach()
        norm = self._update(step)
        self.processes.sum(total)
        self._pending.append(torch.stack([total / graded, graded]))
        return norm

    def _arguments(
        self, parts: list[MicroBatch]
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor, Tensor]]:
        """What the model takes of each part, one after the other."""
        for part in parts:
            frames, lengths = self.setup.frames.take(part)
            idx, targets = (t.to(self.device, non_blocking=True) for t in (part.idx, part.targets))
            self._count(part, lengths)
            # Clips of one length need no mask.
            is_even = bool((lengths == frames.shape[-2]).all())
            yield frames, None if is_even else lengths.to(self.device), idx, targets
        if not parts:  # the other processes wait for this one's gradient, which is zero
            encoder = self.setup.modules.encoder
            layers = () if encoder.layers is None else (encoder.layers,)
            frames = torch.zeros(1, *layers, 1, encoder.d_model, device=self.device)
            idx = torch.zeros(1, 1, dtype=torch.int64, device=self.device)
            dtype = self.setup.dtype
            yield frames.to(dtype), None, idx, torch.full_like(idx, -1)

    def _sync_context(self, is_last: bool) -> AbstractContextManager[None]:
        """Processes exchange gradients once a step."""
        if is_last or not isinstance(self.replica, DistributedDataParallel):
            return nullcontext()
        return cast("AbstractContextManager[None]", self.replica.no_sync())

    def _update(self, step: int) -> Tensor:
        config = self.config
        norm = torch.nn.utils.clip_grad_norm_(self.setup.trained.values(), config.clip or math.inf)
        scale_lr(self.setup.optimizer, self._lr_factor(step))
        self.setup.optimizer.step()
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

    def _count(self, part: MicroBatch, lengths: Tensor) -> None:
        text = part.text_lengths.tolist()
        soft = self.model.projector.output_lengths(lengths).tolist()
        self._soft_tokens = max(soft)
        counts, new = self.counts, [int(lengths[n]) for n in part.new]
        counts.clips += len(text)
        counts.audio_seconds += part.seconds
        counts.text_tokens += sum(text)
        counts.soft_tokens += sum(soft)
        counts.positions += len(text) * (max(soft) + part.idx.shape[1])
        counts.flops += sum(map(self.setup.flops.train, soft, text))
        if self.setup.source.is_encoded or not new:
            return
        counts.encoded += sum(new)
        counts.encoder_positions += len(new) * (max(new) if self.device.type != "cpu" else 0)
        counts.encoder_positions += sum(new) if self.device.type == "cpu" else 0
        counts.flops += sum(map(self.setup.flops.encode, new))

    def _log(self, step: int, norm: Tensor, log: RunLog) -> None:
        """Waits for the device; then losses and figures since the last time are known."""
        found = torch.stack(self._pending).tolist()
        self._pending.clear()
        self._check_losses([loss for loss, _ in found], [int(tokens) for _, tokens in found])
        self.history.losses += [loss for loss, _ in found]
        counts = self._take_counts(len(found))
        self.figures = figures(counts, self.processes.count, self.setup.peak)
        self.total.add(counts)
        rate = self.setup.optimizer.param_groups[0]["lr"]
        values = {
            "loss": math.fsum(loss for loss, _ in found) / len(found),
            "lr": rate,
            "grad_norm": float(norm),
            "epoch": self.setup.order.epochs(step),
        }
        log.write(step, values | self.figures)

    def _check_losses(self, losses: list[float], tokens: list[int]) -> None:
        first = len(self.history.losses) + 1
        for number, (loss, graded) in enumerate(zip(losses, tokens, strict=True), first):
            if not graded:
                last = list(self.setup.skipped.values())[-3:]
                reasons = "; ".join(f"{one.file}: {one.reason}" for one in last)
                raise TrainingError(f"step {number} has no clip that can be used: {reasons}")
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss of step {number} is {loss}: try a lower learning rate or a warmup"
                )

    def _take_counts(self, steps: int) -> StepCounts:
        """The counts since the last time, over all processes; the stages' seconds go along."""
        counts, self.counts = self.counts, StepCounts()
        counts.steps, counts.seconds = steps, time.perf_counter() - self._marked
        counts.encode = self.setup.frames.watch.settle() - self.seconds["encode"]
        self.seconds["encode"] += counts.encode
        self.seconds["wait"] += counts.wait
        self.seconds["train"] += max(counts.seconds - counts.encode - counts.wait, 0.0)
        self._mark()
        summed = torch.tensor(astuple(counts), dtype=torch.float64, device=self.device)
        return StepCounts(*self.processes.sum(summed).tolist())

    def _evaluate(self, step: int, log: RunLog) -> None:
        assert self.setup.held_out is not None
        self._report("evaluate")
        start = time.perf_counter()
        own = self.setup.held_out() if self.processes.is_first else {}
        found = self.processes.gather(own)[0]
        self.history.add_evaluation(step, found)
        log.write(step, {f"eval_{name}": value for name, value in found.items()})
        self.seconds["evaluate"] += time.perf_counter() - start
        self._mark()

    def _save(self, step: int) -> None:
        assert self.out is not None
        self._report("save")
        start = time.perf_counter()
        self._gather_skipped()
        if self.processes.is_first:
            self.saved = resume.save(self.setup, self.history, self.out, self.identity)
        self.seconds["save"] += time.perf_counter() - start
        self._mark()

    def _gather_skipped(self) -> None:
        own = dict(self.setup.skipped), set(self.setup.feed.cut)
        for found, cut in self.processes.gather(own):
            self.setup.feed.cut |= cut
            for row, skipped in found.items():
                self.setup.skipped.setdefault(row, skipped)

    def _finish(self, start_step: int) -> TrainResult:
        self._gather_skipped()
        feed, source = self.setup.feed, self.setup.source
        skipped = [*source.skipped, *self.setup.skipped.values()]
        result = TrainResult(
            losses=self.history.losses,
            start_step=start_step,
            seconds=time.perf_counter() - self.start,
            stage_seconds=self.seconds,
            rows=len(source) + len(source.skipped),
            clips=len(source) - len(self.setup.skipped),
            audio_seconds=self.total.audio_seconds,
            soft_tokens=self._soft_tokens,
            parameters=sum(p.numel() for p in self.setup.trained.values()),
            device=str(self.device),
            feed_seconds=feed.seconds,
            skipped=len(skipped),
            faults=reasons_of(skipped),
            cut=len(feed.cut),
            remarks=source.remarks,
            processes=self.processes.count,
            is_first=self.processes.is_first,
            evaluations=self.history.evaluations,
            log_mel=None if feed.log_mel is None else feed.log_mel.numpy(),
            checkpoint=self.saved,
            best=self._best_folder(),
            **run_files.summary(self.total, self.processes.count, self.setup.peak),
        )
        if self.out is not None and self.processes.is_first:
            run_files.draw_layers(self.out, self.model.projector)
            return run_files.write(self.out, result, self.config.stage, skipped)
        return result

    def _best_folder(self) -> Path | None:
        if self.out is None or self.history.best is None:
            return None
        return checkpoint.folder_of(self.out, self.history.best[1])

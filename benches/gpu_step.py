"""Steps of a whisper-base-shaped encoder and a d12 GPT: MFU, data wait, where the time goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_feed import Feed, write_clips
from gpu_models import Size, random_encoder, random_gpt
from gpu_smoke import synchronize
from torch import Tensor, nn

from ossicle.model import GPT, Projector, WhisperEncoder
from ossicle.train.flops import StepFlops, peak_flops
from ossicle.train.optim import build_optimizer

MEMORY_SHARE = 0.6  # of the card that a step may fill
PROBE = 8  # clips of the step whose memory is measured
ROWS = 30  # of the profiler's table


@dataclass
class Training:
    """The models, and a step of them.

    Attributes:
        encoder: Frozen.
        projector: Trained.
        gpt: Trained.
        device: Where they are.
        loss_of: (features, idx, targets) to the loss; compiled or not.
    """

    encoder: WhisperEncoder
    projector: Projector
    gpt: GPT
    device: torch.device
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer

    @classmethod
    def build(cls, folder: Path, device: torch.device, size: Size, kind: Any) -> Training:
        encoder = random_encoder(folder / "whisper", device, size)
        gpt = random_gpt(device, size)
        projector = Projector(encoder.d_model, gpt.config.n_embd).to(device)

        def loss_of(features: Tensor, idx: Tensor, targets: Tensor) -> Tensor:
            return gpt(idx, targets, audio_features=projector(encoder(features)))

        optimizer = build_optimizer(projector, gpt, kind, lr=3e-4)
        return cls(encoder, projector, gpt, device, loss_of, optimizer)

    def step(self, features: Tensor, text: Tensor) -> Tensor:
        """One step; nothing waits for the device."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(features, text[:, :-1], text[:, 1:])
        loss.backward()
        parameters = [*self.projector.parameters(), *self.gpt.parameters()]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        return loss.detach()

    def flops(self, size: Size, batch: int) -> float:
        """Of a step by the models' formulas; `ossicle.train.flops` says what counts."""
        frames = round(50 * size.clip_seconds)
        counted = StepFlops(self.encoder, self.projector, self.gpt)
        return batch * (counted.encode(frames) + counted.train(frames, size.text))

    def data(self, size: Size, batch: int) -> tuple[Tensor, Tensor]:
        """Features and text that stay on the device."""
        features = torch.randn(batch, 80, round(100 * size.clip_seconds), device=self.device)
        text = torch.randint(0, size.vocab, (batch, size.text + 1), device=self.device)
        return features, text


def fitting_batch(training: Training, size: Size) -> int:
    """So many clips that a step fills a good part of the card, a multiple of 16."""
    if training.device.type != "cuda":
        return size.max_batch
    training.step(*training.data(size, PROBE))  # the optimizer's state is there from now on
    synchronize(training.device)
    held = torch.cuda.memory_allocated(training.device)
    torch.cuda.reset_peak_memory_stats(training.device)
    training.step(*training.data(size, PROBE))
    synchronize(training.device)
    clip = (torch.cuda.max_memory_allocated(training.device) - held) / PROBE
    total = torch.cuda.get_device_properties(training.device).total_memory
    fits = int((MEMORY_SHARE * total - held) / clip)
    return max(PROBE, min(size.max_batch, fits // 16 * 16))


def seconds_a_step(
    training: Training, steps: int, features_of: Callable[[], Tensor], text: Tensor
) -> float:
    """By the wall, the device at most two steps behind."""
    behind: list[Tensor] = []
    synchronize(training.device)
    start = time.perf_counter()
    for _ in range(steps):
        behind.append(training.step(features_of(), text))
        if len(behind) > 2:
            behind.pop(0).item()
    synchronize(training.device)
    return (time.perf_counter() - start) / steps


def fed(
    training: Training, paths: list[Path], size: Size, batch: int, text: Tensor
) -> dict[str, float]:
    """Steps on clips that are decoded meanwhile."""
    feed = Feed(paths, batch, size.clip_seconds, training.device)
    try:
        for _ in range(2):
            training.step(feed.next(), text)
        synchronize(training.device)
        feed.waited = 0.0
        seconds = seconds_a_step(training, size.steps, feed.next, text)
        waited = feed.waited / size.steps
    finally:
        feed.close()
    decoding = feed.decode_seconds / feed.batches
    return {"seconds": seconds, "waited": waited, "decode_seconds_a_batch": decoding}


def profile(training: Training, features: Tensor, text: Tensor) -> str:
    """Where three steps spend their time, by kernel."""
    cuda = training.device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if cuda else []
    with torch.profiler.profile(activities=kinds) as seen:
        for _ in range(3):
            training.step(features, text)
        synchronize(training.device)
    by = "self_device_time_total" if cuda else "self_cpu_time_total"
    averages = seen.key_averages()
    return str(averages.table(sort_by=by, row_limit=ROWS, max_name_column_width=70))


def measure(
    folder: Path,
    device: torch.device,
    size: Size,
    *,
    compiled: bool,
    kind: str,
    peak: float | None,
) -> dict[str, Any]:
    """Everything about the large steps.

    Args:
        folder: For models and clips.
        device: Where to run.
        size: How large.
        compiled: Whether the forward pass is compiled.
        kind: Of the optimizer.
        peak: Operations that the device could do in a second; None looks its name up.
    """
    training = Training.build(folder, device, size, kind)
    batch = fitting_batch(training, size)
    if compiled:
        training.loss_of = torch.compile(training.loss_of, dynamic=False)
    features, text = training.data(size, batch)
    start = time.perf_counter()
    for _ in range(4):
        training.step(features, text)
    synchronize(device)
    warm = time.perf_counter() - start
    resident = seconds_a_step(training, size.steps, lambda: features, text)
    paths = write_clips(folder / "clips", size.files, size.clip_seconds)
    flowing = fed(training, paths, size, batch, text)
    flops, peak = training.flops(size, batch), peak_flops(device, peak)
    seconds = flowing["seconds"]
    positions = batch * (round(50 * size.clip_seconds) + size.text)
    return {
        "batch": batch,
        "warm_up_seconds": warm,
        "step_ms_resident": 1e3 * resident,
        "step_ms_fed": 1e3 * seconds,
        "decode_ms_a_batch": 1e3 * flowing["decode_seconds_a_batch"],
        "data_wait": flowing["waited"] / seconds,
        "slower_than_resident": seconds / resident - 1,
        "tflop_a_step": flops / 1e12,
        "tflops": flops / seconds / 1e12,
        "mfu": None if peak is None else flops / seconds / peak,
        "mfu_resident": None if peak is None else flops / resident / peak,
        "audio_seconds_a_second": batch * size.clip_seconds / seconds,
        "positions_a_second": positions / seconds,
        "memory_gib": torch.cuda.max_memory_allocated(device) / 2**30
        if device.type == "cuda"
        else None,
        "table": profile(training, features, text),
    }

"""The alignment smoke on one device: five sines, frozen encoder, projector and d6 GPT, 50 steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_models import Size, random_encoder
from torch import Tensor, nn

import ossicle
from ossicle.experiment.corpus import make_sines
from ossicle.model import GPT, ByteTokenizer, GPTConfig, Projector
from ossicle.train.optim import build_optimizer

LR, MAX_GRAD_NORM = 3e-3, 1.0
MODES = ("eager", "reduce-overhead", "graph")


@dataclass
class Smoke:
    """Everything that the steps look at, on the device.

    Attributes:
        frames: Encoder output, (5, 1500, d_model) of 30 s as the seed has it.
        idx: Token ids (5, T).
        targets: The tokens that follow.
        projector: Trained.
        gpt: Trained.
    """

    frames: Tensor
    idx: Tensor
    targets: Tensor
    projector: Projector
    gpt: GPT

    def loss(self) -> Tensor:
        """Cross entropy of the words."""
        soft = self.projector(self.frames)
        return self.gpt(self.idx, self.targets, audio_features=soft)

    def restart(self) -> None:
        """The weights of the beginning again, in place."""
        torch.manual_seed(0)
        self.gpt.init_weights()
        self.projector.init_weights()

    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [*self.projector.parameters(), *self.gpt.parameters()]


def build(folder: Path, device: torch.device, size: Size) -> Smoke:
    manifest = make_sines(folder / "sines")
    clips = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    paths = [manifest.parent / clip["wav"] for clip in clips]
    encoder = random_encoder(folder / "whisper", device, size)
    batch = ossicle.load_features(paths, n_mels=encoder.n_mels, pad_to_seconds=size.smoke_seconds)
    frames = encoder(torch.from_numpy(batch.input_features))
    ids = [torch.tensor(ByteTokenizer().encode(clip["text"])) for clip in clips]
    pad = nn.utils.rnn.pad_sequence
    idx = pad([row[:-1] for row in ids], batch_first=True)
    targets = pad([row[1:] for row in ids], batch_first=True, padding_value=-1)
    width = 64 * size.smoke_depth
    heads = width // 64
    config = GPTConfig(2048, 257, size.smoke_depth, heads, heads, width, "L")
    gpt = GPT.empty(config, device=device)
    projector = Projector(encoder.d_model, width).to(device)
    smoke = Smoke(frames, idx.to(device), targets.to(device), projector, gpt)
    smoke.restart()
    return smoke


def eager_step(smoke: Smoke, loss_of: Callable[[], Tensor]) -> tuple[Any, Callable[[], Tensor]]:
    optimizer = build_optimizer(smoke.projector, smoke.gpt, lr=LR)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        nn.utils.clip_grad_norm_(smoke.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        return loss.detach()

    return optimizer, step


def compiled_step(smoke: Smoke) -> tuple[Any, Callable[[], Tensor]]:
    compiled = torch.compile(smoke.loss, mode="reduce-overhead", dynamic=False)

    def loss_of() -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled()

    return eager_step(smoke, loss_of)


def graph_step(smoke: Smoke) -> tuple[Any, Callable[[], Tensor]]:
    """The whole step, optimizer and all, as one CUDA graph."""
    optimizer, step = eager_step(smoke, smoke.loss)
    for group in optimizer.param_groups:
        group["capturable"] = True
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # as capture wants it, warm and with its state made
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()

    def replay() -> Tensor:
        graph.replay()
        return loss

    return optimizer, replay


@torch.no_grad()
def forget(optimizer: Any) -> None:
    """The optimizer as before its first step, in place, since a graph has its addresses."""
    for state in optimizer.state.values():
        for value in state.values():
            value.zero_()


def run(smoke: Smoke, mode: str, steps: int) -> dict[str, Any]:
    """Warms up, starts again and times ``steps`` steps.

    Returns:
        Seconds of the steps, of the warm-up, and the first and last loss; or why it failed.
    """
    device = smoke.idx.device
    smoke.restart()
    start = time.perf_counter()
    if mode == "eager":
        optimizer, step = eager_step(smoke, smoke.loss)
    else:
        optimizer, step = (compiled_step if mode == "reduce-overhead" else graph_step)(smoke)
    for _ in range(4):
        step()
    synchronize(device)
    warm = time.perf_counter() - start
    smoke.restart()
    forget(optimizer)
    synchronize(device)
    start = time.perf_counter()
    losses = [step().clone() for _ in range(steps)]
    synchronize(device)
    seconds = time.perf_counter() - start
    return {
        "mode": mode,
        "seconds": seconds,
        "warm_up_seconds": warm,
        "first_loss": float(losses[0]),
        "last_loss": float(losses[-1]),
    }


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(folder: Path, device: torch.device, size: Size) -> list[dict[str, Any]]:
    """A result for each mode; one that fails says why instead."""
    smoke = build(folder, device, size)
    found: list[dict[str, Any]] = []
    for mode in MODES if device.type == "cuda" else MODES[:1]:
        try:
            found.append(run(smoke, mode, size.smoke_steps))
        except Exception as error:  # one mode's failure is a finding, not the end of the others
            found.append({"mode": mode, "error": f"{type(error).__name__}: {error}"[:500]})
    return found

"""The align smoke with 30 s of padding, against the same steps in naive blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import naive_training as naive
import numpy as np
import pytest
import torch

import ossicle
from ossicle.experiment.corpus import SINES, make_sines
from ossicle.model import GPT, GPTConfig, Projector, WhisperEncoder
from ossicle.train import TrainConfig, run

STEPS, LR = 3, 3e-3
# The seed's size, 1,500 soft tokens a clip in six blocks, takes minutes of a processor.
DEPTH, STACK = (6, 1) if os.environ.get("OSSICLE_SEED_SIZE") else (3, 16)
# How far from the naive blocks we may be, in what a rounding of the starting weights changes there.
ROUNDINGS = 8


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def whisper() -> str:
    """``tiny-random``, or a folder with an encoder of one's own."""
    return os.environ.get("OSSICLE_WHISPER", "tiny-random")


class NaiveSteps:
    """The smoke's steps in which nothing of ours computes, but for the starting weights."""

    def __init__(self, folder: Path) -> None:
        encoder = WhisperEncoder(whisper())
        torch.manual_seed(0)
        width = 64 * DEPTH
        gpt = GPT.empty(GPTConfig(2048, 257, DEPTH, DEPTH, DEPTH, width, "L"))
        gpt.init_weights()
        bridge = Projector(encoder.d_model, width, stack=STACK)
        frames, ids = [], []
        for pitch, text in SINES.items():
            wave, _ = ossicle.load(folder / f"wavs/sine_{pitch:04d}.wav", 16_000)
            found = encoder.feature_extractor(wave, sampling_rate=16_000, return_tensors="pt")
            with torch.no_grad():
                frames.append(encoder.encoder(found["input_features"]).last_hidden_state[0])
            ids.append([256, *text.encode()])
        longest = max(map(len, ids)) - 1
        self.idx = torch.tensor([row[:-1] + [0] * (longest + 1 - len(row)) for row in ids])
        self.targets = torch.tensor([row[1:] + [-1] * (longest + 1 - len(row)) for row in ids])
        self.frames = torch.stack(frames)
        self.start = [module.state_dict() for module in (bridge, gpt)]

    def losses(self, rounding: int = 0) -> np.ndarray:
        """Of three steps; with a ``rounding``, from weights that are off in their last place."""
        random = torch.Generator().manual_seed(rounding)

        def starting(weight: torch.Tensor) -> torch.Tensor:
            off = torch.rand(weight.shape, generator=random) * 2 - 1
            off *= torch.finfo(weight.dtype).eps if rounding else 0.0
            return (weight.detach() * (1 + off)).requires_grad_()

        bridge, gpt = ({k: starting(v) for k, v in part.items()} for part in self.start)
        weights = [*bridge.values(), *gpt.values()]
        optimizer = torch.optim.AdamW(weights, lr=LR, betas=(0.9, 0.95), weight_decay=0.0)
        losses = []
        for _ in range(STEPS):
            soft = naive.project(bridge, self.frames, STACK)
            loss = naive.gpt_loss(gpt, DEPTH, DEPTH, soft, self.idx, self.targets)
            optimizer.zero_grad()
            loss.backward()
            naive.clip([w.grad for w in weights if w.grad is not None], 1.0)
            optimizer.step()
            losses.append(loss.item())
        return np.array(losses)


def test_the_smoke_takes_the_steps_of_naive_blocks(tmp_path: Path) -> None:
    manifest = make_sines(tmp_path)
    config = TrainConfig(
        manifest,
        whisper(),
        steps=STEPS,
        lr=LR,
        depth=DEPTH,
        stack=STACK,
        pad_to_seconds=30.0,
        device="cpu",
        loss_drop_min=None,
    )
    ours = run(config)
    assert ours.soft_tokens == -(-1500 // STACK)
    # AdamW's first step divides each gradient by its own size: where the gradient is nothing but
    # rounding, and the zero start has many of those, its sign is chance and the weight moves by the
    # whole rate all the same. Orders of addition, which processors choose, so come out hundreds of
    # times larger in the later losses. By how much, this processor tells itself: the same steps in
    # the same blocks, from weights that differ in their last place.
    steps = NaiveSteps(tmp_path)
    plain = steps.losses()
    spread = np.max([abs(steps.losses(rounding) - plain) for rounding in (1, 2, 3)], axis=0)
    allowed = ROUNDINGS * np.maximum(spread, np.finfo(np.float32).eps * plain)
    assert (abs(ours.losses - plain) <= allowed).all(), (ours.losses - plain, allowed)
    assert ours.losses[0] - ours.losses[-1] > 0.5

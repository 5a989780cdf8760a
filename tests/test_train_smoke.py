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
from ossicle.corpus import SINES, make_sines
from ossicle.model import GPT, GPTConfig, Projector, WhisperEncoder
from ossicle.train import TrainConfig, run

DEPTH, STEPS, LR = 6, 3, 3e-3
# The seed's stack is 1, 1,500 soft tokens a clip, which takes two minutes of a processor.
STACK = 1 if os.environ.get("OSSICLE_SEED_SIZE") else 16


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def whisper() -> str:
    """``tiny-random``, or a folder with an encoder of one's own."""
    return os.environ.get("OSSICLE_WHISPER", "tiny-random")


def naive_losses(folder: Path) -> list[float]:
    """Three steps in which nothing of ours computes, but for the starting weights."""
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
    idx = torch.tensor([row[:-1] + [0] * (longest + 1 - len(row)) for row in ids])
    targets = torch.tensor([row[1:] + [-1] * (longest + 1 - len(row)) for row in ids])
    parts = [
        {k: v.detach().clone().requires_grad_() for k, v in module.state_dict().items()}
        for module in (bridge, gpt)
    ]
    weights = [w for part in parts for w in part.values()]
    optimizer = torch.optim.AdamW(weights, lr=LR, betas=(0.9, 0.95), weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        soft = naive.project(parts[0], torch.stack(frames), STACK)
        loss = naive.gpt_loss(parts[1], DEPTH, DEPTH, soft, idx, targets)
        optimizer.zero_grad()
        loss.backward()
        naive.clip([w.grad for w in weights if w.grad is not None], 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


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
    np.testing.assert_allclose(ours.losses, naive_losses(tmp_path), rtol=0, atol=1e-4)
    assert ours.losses[0] - ours.losses[-1] > 0.5

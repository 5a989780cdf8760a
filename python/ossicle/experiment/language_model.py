"""A small language model of our own, trained on text alone, as the frozen half of an experiment.

Its documents come once, or twice with the first time in a hurry: letters held too long, left out
or parted by pauses. So it learns what large models have from their text, to take up what stands
before, also where that is spoilt; it never meets audio.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ossicle.experiment.ctc_encoder import warmup_cosine
from ossicle.model import GPT, ByteTokenizer, GPTConfig
from ossicle.model.gpt import IGNORED
from ossicle.progress import LossReport
from ossicle.train.optim import build_optimizer, scale_lr
from ossicle.train.order import epoch_rows

__all__ = ["LanguageConfig", "LanguageResult", "train_language_model"]

CALM = 0.5  # share of the steps in which hurry grows from none to all
PAUSE = 0  # the byte of a pause, which no text holds


@dataclass(frozen=True)
class LanguageConfig:
    """The sizes of the language model and how it is trained.

    Attributes:
        width: Channels.
        layers: Blocks.
        heads: Heads of the attention.
        sequence_len: Window; positions reach ten times as far.
        steps: Optimizer steps.
        batch_size: Documents of a step.
        lr: The highest learning rate of Muon, beside nanochat's rates of AdamW; all rise for a
            tenth of the steps, then fall as a cosine.
        repeats: Share of the documents that come twice, hurried first.
        seed: Of weights, order and hurry.
    """

    width: int = 96
    layers: int = 3
    heads: int = 4
    sequence_len: int = 512
    steps: int = 1_200
    batch_size: int = 16
    lr: float = 0.02
    repeats: float = 0.75
    seed: int = 0


@dataclass(frozen=True)
class LanguageResult:
    """What the training gave.

    Attributes:
        losses: Nats a token of every step, over all documents.
        alone: Nats a token on held-out documents that come once.
        repeated: Nats a token on the second time of held-out documents that come twice.
        folder: Where weights and config are.
    """

    losses: list[float]
    alone: float
    repeated: float
    folder: Path


def train_language_model(
    texts: Sequence[str],
    held_out: Sequence[str],
    folder: Path | str,
    config: LanguageConfig | None = None,
    *,
    progress: LossReport | None = None,
) -> LanguageResult:
    """Trains a GPT over bytes on texts and writes it in nanochat's layout.

    Args:
        texts: A document each.
        held_out: Documents to measure on.
        folder: Where ``model_*.pt`` and ``meta_*.json`` go.
        config: Sizes, steps and seed.
        progress: Told of every step.

    Returns:
        Losses and the folder.
    """
    config, folder = config or LanguageConfig(), Path(folder)
    random = np.random.default_rng(config.seed)
    model = _new_model(config)
    losses = _train(model, texts, config, random, progress or (lambda *_: None))
    alone = _mean_loss(model, [_document(text, None) for text in held_out])
    repeated = _mean_loss(model, [_document(text, random) for text in held_out], second=True)
    _save(model, folder, config.steps)
    return LanguageResult(losses, alone, repeated, folder)


def _new_model(config: LanguageConfig) -> GPT:
    sizes = GPTConfig(
        sequence_len=config.sequence_len,
        vocab_size=ByteTokenizer.vocab_size,
        n_layer=config.layers,
        n_head=config.heads,
        n_kv_head=config.heads,
        n_embd=config.width,
        window_pattern="L",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return GPT(sizes)


def _document(
    text: str, random: np.random.Generator | None, hurry: float = 1.0
) -> tuple[list[int], int]:
    """Token ids of a text, once or, with ``random``, twice; and where the last time begins."""
    tokenizer = ByteTokenizer()
    once = [*tokenizer.encode(text), tokenizer.bos_token_id]
    if random is None:
        return once, 0
    first = [tokenizer.bos_token_id, *_hurry_text(text.encode(), random, hurry)]
    return first + once, len(first)


def _hurry_text(text: bytes, random: np.random.Generator, hurry: float = 1.0) -> list[int]:
    """Bytes held, left out or parted by pauses, as often as the whole text's haste has it."""
    held, left_out, pause = hurry * random.uniform((0, 0, 0), (0.5, 0.15, 0.5))
    out: list[int] = []
    for letter in text:
        chance = random.random(3)
        if chance[0] >= left_out:
            out += [letter] * (1 + int(chance[1] < held))
        if chance[2] < pause:
            out.append(PAUSE)
    return out


def _pack(documents: Sequence[tuple[list[int], int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (B, T), targets with -1 in the padding, and where each last time begins (B,)."""
    ids = [torch.tensor(document) for document, _ in documents]
    inputs = pad_sequence([i[:-1] for i in ids], batch_first=True, padding_value=0)
    targets = pad_sequence([i[1:] for i in ids], batch_first=True, padding_value=IGNORED)
    return inputs, targets, torch.tensor([start for _, start in documents])


def _train(
    model: GPT,
    texts: Sequence[str],
    config: LanguageConfig,
    random: np.random.Generator,
    progress: LossReport,
) -> list[float]:
    optimizer = build_optimizer(None, model, "muon", muon_lr=config.lr)
    losses: list[float] = []
    for step in range(config.steps):
        scale_lr(optimizer, warmup_cosine(step, config.steps))
        rows = epoch_rows(len(texts), config.batch_size, config.seed, step)
        twice = random.random(len(rows)) < config.repeats
        documents = [
            _document(texts[r], random if t else None) for r, t in zip(rows, twice, strict=True)
        ]
        inputs, targets, _ = _pack(documents)
        loss = model(inputs, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.item()))
        progress(step + 1, config.steps, losses[-1])
    return losses


@torch.no_grad()
def _mean_loss(
    model: GPT, documents: Sequence[tuple[list[int], int]], *, second: bool = False
) -> float:
    inputs, targets, starts = _pack(documents)
    if second:
        first = torch.arange(targets.shape[1]) < starts[:, None]
        targets = targets.masked_fill(first, IGNORED)
    return float(model(inputs, targets))


def _save(model: GPT, folder: Path, step: int) -> None:
    """Writes nanochat's two files, the weights last."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = {"step": step, "model_config": asdict(model.config)}
    (folder / f"meta_{step:06}.json").write_text(json.dumps(meta), encoding="utf-8")
    torch.save(model.state_dict(), folder / f"model_{step:06}.pt")

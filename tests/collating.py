"""What the tests of the collator share: clips, rows, tiny families."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

import numpy as np
import pytest
import torch

from ossicle.collator import AudioLmCollator
from ossicle.experiment.tiny_families import PLACEHOLDERS, tiny_family

RATE = 16_000


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Features of a few clips are slower on several threads where other work is going on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def samples(count: int, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Noise over a tone: ``(count,)`` float32."""
    noise = np.random.default_rng(seed * 1_000_003 + count).normal(0, 0.05, count)
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(count) / rate) + noise).astype(np.float32)


def array(count: int, seed: int = 0, rate: int = RATE) -> dict[str, Any]:
    """A clip as Hugging Face `datasets` gives it decoded."""
    return {"array": samples(count, seed, rate), "sampling_rate": rate}


@functools.cache
def family(name: str, chat: str | None = None) -> tuple[Any, Any]:
    """Processor and model, built once: not to be changed."""
    return tiny_family(name, chat=chat)


def collator_of(processor: Any, /, **changes: Any) -> AudioLmCollator:
    arguments = {"processor": processor, "sample_rate": RATE, "max_length_seconds": 30.0, **changes}
    return AudioLmCollator(**arguments)


def row_of(name: str, count: int = RATE, words: str = "one two", seed: int = 0) -> dict[str, Any]:
    return {"audio": array(count, seed), "text": f"{PLACEHOLDERS[name]} {words}".strip()}


def chat_row(*turns: str, audios: int = 1, count: int = RATE) -> dict[str, Any]:
    """A conversation of user and assistant in turns, with the recordings in the first."""
    parts: list[dict[str, Any]] = [{"type": "audio"} for _ in range(audios)]
    first = {"role": "user", "content": [*parts, {"type": "text", "text": turns[0]}]}
    roles = ("user", "assistant")
    rest = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns[1:], 1)]
    return {"audio": [array(count, i) for i in range(audios)], "messages": [first, *rest]}


def learned(processor: Any, labels: torch.Tensor) -> list[str]:
    """The tokens that a row learns."""
    tokens: list[str] = processor.tokenizer.convert_ids_to_tokens(labels[labels != -100].tolist())
    return tokens

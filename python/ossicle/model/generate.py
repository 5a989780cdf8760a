"""Token by token from a `GPT` that has heard audio and read a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ossicle.model.blocks import GPTConfig
from ossicle.model.kv_cache import KVCache

__all__ = ["generate"]


class CachedModel(Protocol):
    """What generation needs of a `GPT`."""

    config: GPTConfig

    @property
    def compute_dtype(self) -> torch.dtype:
        """Of the activations."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    def prefill(
        self,
        idx: Tensor,
        cache: KVCache,
        *,
        audio_features: Tensor | None = None,
        audio_lengths: Tensor | None = None,
        text_lengths: Tensor | None = None,
    ) -> Tensor:
        """The logits (B, V) after the last token of each row, whose states go into the cache."""
        ...

    def decode(self, idx: Tensor, cache: KVCache) -> Tensor:
        """The logits (B, T, V) of tokens that follow what the cache holds."""
        ...


@torch.no_grad()
def generate(
    model: CachedModel,
    idx: Tensor,
    *,
    audio_features: Tensor | None = None,
    audio_lengths: Tensor | None = None,
    prompt_lengths: Tensor | None = None,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int | Sequence[int] = 0,
    stop_tokens: Sequence[int] = (),
) -> Tensor:
    """Tokens that follow the audio and the prompt of each row; `GPT.generate` is this.

    A row's tokens do not depend on the rows beside it, but for rounding in the last bits of the
    logits.

    Args:
        model: The model, on any device.
        idx: Prompts, int64 (B, T); padding belongs on the right.
        audio_features: Soft tokens in front of the prompts, (B, T_audio, n_embd).
        audio_lengths: How many of each row's soft tokens are real, int64 (B,); all if None.
        prompt_lengths: How many of each row's tokens are real, int64 (B,); all if None. A row may
            have none if it has audio.
        max_new_tokens: The most tokens a row gets.
        temperature: Divides the logits; 0 takes the likeliest token each time.
        top_k: Draws among so many of the likeliest tokens; None among all.
        seed: One for each row, on which alone its draws depend; a single number is that of the
            first row, and each further row has the next one.
        stop_tokens: A row ends with the first of these that it says.

    Returns:
        The new tokens alone, int64 (B, n), n up to ``max_new_tokens``; after a row's stop token
        that token again, to the length of the longest row.

    Raises:
        ValueError: If an argument makes no sense, a row has neither audio nor prompt, shapes do not
            fit, or all together is longer than the rotary table.
    """
    batch = idx.shape[0]
    draws = _draws(seed, batch, max_new_tokens, temperature, top_k)
    soft_tokens = 0 if audio_features is None else audio_features.shape[1]
    size = soft_tokens + idx.shape[1] + max_new_tokens
    cache = KVCache(model.config, batch, size, device=model.device, dtype=model.compute_dtype)
    logits = model.prefill(
        idx,
        cache,
        audio_features=audio_features,
        audio_lengths=audio_lengths,
        text_lengths=prompt_lengths,
    )
    stops = torch.tensor(list(stop_tokens), dtype=torch.int64, device=model.device)
    tokens: list[Tensor] = []
    over = torch.zeros(batch, dtype=torch.bool, device=model.device)
    for step in range(max_new_tokens):
        if step:
            logits = model.decode(tokens[-1][:, None], cache)[:, 0]
        token = _pick(logits, draws[:, step].to(model.device), temperature, top_k)
        tokens.append(torch.where(over, tokens[-1], token) if step else token)
        if len(stops):
            over = over | torch.isin(tokens[-1], stops)
            if over.all():
                break
    return torch.stack(tokens, dim=1) if tokens else idx.new_zeros(batch, 0)


def _draws(
    seed: int | Sequence[int], batch: int, steps: int, temperature: float, top_k: int | None
) -> Tensor:
    """Uniform numbers, float64 (B, steps), after a check of the arguments."""
    if steps < 0:
        raise ValueError(f"max_new_tokens {steps} is below 0")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature {temperature} is not a finite number from 0 on")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k {top_k} is below 1")
    seeds = [seed + row for row in range(batch)] if isinstance(seed, int) else list(seed)
    if len(seeds) != batch:
        raise ValueError(f"{len(seeds)} seeds for {batch} rows")
    # On the CPU, where a seed draws the same numbers for every device.
    generators = [torch.Generator().manual_seed(number) for number in seeds]
    rows = [torch.rand(steps, dtype=torch.float64, generator=g) for g in generators]
    return torch.stack(rows) if rows else torch.zeros(0, steps, dtype=torch.float64)


def _pick(logits: Tensor, draw: Tensor, temperature: float, top_k: int | None) -> Tensor:
    """A token for each row, (B,): where the sums of the probabilities of (B, V) pass ``draw``."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    count = logits.shape[-1] if top_k is None else min(top_k, logits.shape[-1])
    likeliest, ids = logits.topk(count, dim=-1)
    # From the likeliest on, whose difference from itself stays 0 at any temperature.
    scaled = (likeliest - likeliest[:, :1]).double() / temperature
    sums = torch.softmax(scaled, dim=-1).cumsum(dim=-1)
    passed = torch.searchsorted(sums, (draw * sums[:, -1])[:, None], right=True)
    return ids.gather(1, passed.clamp(max=count - 1))[:, 0]

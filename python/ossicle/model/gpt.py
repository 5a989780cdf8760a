"""A GPT with nanochat's features and state dict, which takes audio as soft tokens before the text.

The architecture is nanochat's (https://github.com/karpathy/nanochat), so that its checkpoints load:
RMS norms without parameters, rotary positions, normalised queries and keys, squared ReLU, sliding
windows, value embeddings, smear and backout. `GPT.forward` says what audio adds to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ossicle.model.blocks import (
    SMEAR_CHANNELS,
    GPTConfig,
    Linear,
    Trunk,
    compute_dtype,
    norm,
    table,
    window_mask,
)
from ossicle.model.generate import generate
from ossicle.model.kv_cache import KVCache
from ossicle.model.layout import Layout, check_lengths, lay_out, take

__all__ = ["GPT", "GPTConfig"]

ROTARY_BASE = 100_000.0
LOGIT_CAP = 15.0
IGNORED = -1  # a target that is not graded

LossReduction = Literal["mean", "sum", "none"]


class GPT(nn.Module):
    """A decoder-only language model in nanochat's layout, with audio soft tokens in front.

    Master weights are float32 and are cast in each linear to the compute dtype; the embedding
    tables are held in it. Built under ``torch.device("meta")`` it has no data: then call
    ``to_empty(device=...)`` and `init_weights`.

    Args:
        config: The sizes.
        compute_dtype: The dtype of activations; by default what the device is good at
            (`compute_dtype`).

    Attributes:
        gradient_checkpointing: Whether blocks keep only their inputs for the backward pass and
            compute the rest again: a third more work, a fraction of the memory.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: GPTConfig, *, compute_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.config = config
        self._compute_dtype = compute_dtype
        self.gradient_checkpointing = False
        padded, kv_dim = config.padded_vocab_size, config.n_kv_head * config.head_dim
        layers = range(config.n_layer)
        self.transformer = Trunk(config)
        self.lm_head = Linear(config.n_embd, padded)
        self.value_embeds = nn.ModuleDict(
            {str(i): table(padded, kv_dim) for i in layers if config.has_value_embedding(i)}
        )
        self.resid_lambdas = nn.Parameter(torch.ones(config.n_layer))
        self.x0_lambdas = nn.Parameter(torch.zeros(config.n_layer))
        self.smear_gate = Linear(SMEAR_CHANNELS, 1)
        self.smear_lambda = nn.Parameter(torch.zeros(1))
        self.backout_lambda = nn.Parameter(torch.zeros(1))
        rotary = torch.empty(config.rotary_len, config.head_dim // 2)
        self.register_buffer("cos", rotary, persistent=False)
        self.register_buffer("sin", rotary.clone(), persistent=False)
        if not rotary.is_meta:
            self.init_weights()

    @classmethod
    def empty(
        cls,
        config: GPTConfig,
        *,
        device: torch.device | str = "cpu",
        compute_dtype: torch.dtype | None = None,
    ) -> GPT:
        """A model on ``device`` whose weights are whatever lay there, yet to be loaded.

        Args:
            config: The sizes.
            device: Where it is made.
            compute_dtype: The dtype of activations; by default what the device is good at.

        Returns:
            The model, with its rotary table.
        """
        with torch.device("meta"):
            model = cls(config, compute_dtype=compute_dtype)
        model.to_empty(device=device)
        model._init_rotary()
        model._cast_tables()
        return model

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.lm_head.weight.device

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of the activations."""
        return self._compute_dtype or compute_dtype(self.device)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Sets every parameter and the rotary table anew, from torch's global random state.

        Uniform bounds are ``sqrt(3 / n_embd)``, which give a standard deviation of
        ``1 / sqrt(n_embd)``.
        """
        bound = (3.0 / self.config.n_embd) ** 0.5
        nn.init.normal_(self.transformer.wte.weight, std=0.8)
        nn.init.normal_(self.lm_head.weight, std=0.001)
        for block in self.transformer.blocks():
            block.init_weights(bound)
        self._init_scalars()
        for values in self._value_tables():
            nn.init.uniform_(values.weight, -bound, bound)
        self._init_rotary()
        self._cast_tables()

    def _cast_tables(self) -> None:
        for embedding in (self.transformer.wte, *self._value_tables()):
            embedding.to(dtype=self.compute_dtype)

    def _value_tables(self) -> list[nn.Embedding]:
        return cast("list[nn.Embedding]", list(self.value_embeds.values()))

    def _init_scalars(self) -> None:
        depth = torch.linspace(0, 1, self.config.n_layer, device=self.device)
        self.resid_lambdas.copy_(1.15 - 0.10 * depth)
        self.x0_lambdas.copy_(0.20 - 0.15 * depth)
        nn.init.uniform_(self.smear_gate.weight, 0.0, 0.02)
        nn.init.zeros_(self.smear_lambda)
        nn.init.constant_(self.backout_lambda, 0.2)

    @torch.no_grad()
    def _init_rotary(self) -> None:
        # In float64, since float32 loses digits of the angle far into the table.
        half = self.config.head_dim // 2
        channel = torch.arange(half, dtype=torch.float64, device="cpu") / half
        position = torch.arange(self.config.rotary_len, dtype=torch.float64, device="cpu")
        angle = torch.outer(position, ROTARY_BASE**-channel)
        self.cos.copy_(angle.cos())
        self.sin.copy_(angle.sin())

    def forward(
        self,
        idx: Tensor,
        targets: Tensor | None = None,
        *,
        audio_features: Tensor | None = None,
        audio_lengths: Tensor | None = None,
        loss_reduction: LossReduction = "mean",
    ) -> Tensor:
        """Logits, or the loss where there are targets.

        Audio stands in front of the text: normed, untouched by smear, with rotary positions of its
        own, value-embedding id 0 and no targets. With ``audio_lengths`` each row is its own audio,
        the text straight after it, then filler: position ``audio_lengths[i] + t`` holds text token
        ``t``, and everything before the filler equals what the row gives alone.

        Args:
            idx: Token ids, int64 (B, T); padding belongs on the right.
            targets: Next tokens, int64 (B, T), -1 where nothing is graded.
            audio_features: Soft tokens, (B, T_audio, n_embd), as `Projector` gives them.
            audio_lengths: How many of each row's soft tokens are real, int64 (B,); all if None.
            loss_reduction: Over the graded tokens; ``"none"`` gives one loss a position, 0 where
                none is graded, ``(B * (T_audio + T),)``.

        Returns:
            Logits, float32 (B, T_audio + T, vocab_size), or the float32 loss.

        Raises:
            ValueError: If the sequence is longer than the rotary table, if the shapes do not fit
                each other, or if lengths without features, or (on the CPU) impossible ones, came.
        """
        layout = lay_out(idx, audio_features, audio_lengths, self.config)
        x, _ = self._embed(idx, None)
        x = self._trunk(*_join(x, idx, audio_features, layout))
        if targets is None:
            return self._logits(x)
        return self._loss(x, targets, layout, loss_reduction)

    @torch.no_grad()
    def prefill(
        self,
        idx: Tensor,
        cache: KVCache,
        *,
        audio_features: Tensor | None = None,
        audio_lengths: Tensor | None = None,
        text_lengths: Tensor | None = None,
    ) -> Tensor:
        """Reads audio and prompts into an empty cache, laid out as in `forward`.

        Args:
            idx: Token ids, int64 (B, T); padding belongs on the right.
            cache: One that has read nothing.
            audio_features: Soft tokens, (B, T_audio, n_embd).
            audio_lengths: How many of each row's soft tokens are real, int64 (B,); all if None.
            text_lengths: How many of each row's tokens are real, int64 (B,); all if None.

        Returns:
            The logits after each row's last real position, float32 (B, vocab_size).

        Raises:
            ValueError: As `forward`; or if the cache is not empty or too small, or a row is empty.
        """
        layout = lay_out(idx, audio_features, audio_lengths, self.config)
        if cache.used:
            raise ValueError("the cache is not empty: pass audio and prompt to the first call")
        audio, text = _real_lengths(idx, layout, text_lengths)
        cache.check_room(idx.shape[0], layout.audio + layout.text)
        x, embedded = self._embed(idx, cache)
        x = self._trunk(*_join(x, idx, audio_features, layout), cache)
        if layout.text:
            last = take(embedded, (text - 1).clamp(min=0)[:, None])
            cache.previous = torch.where((text > 0)[:, None, None], last, 0)
        cache.advance(audio + text, layout.audio + layout.text)
        return self._logits(take(x, (cache.lengths - 1)[:, None]))[:, 0]

    @torch.no_grad()
    def decode(self, idx: Tensor, cache: KVCache) -> Tensor:
        """Reads further tokens of each row after what the cache has.

        Args:
            idx: Token ids, int64 (B, n), all of them real; one each when generating.
            cache: One that `prefill` has filled.

        Returns:
            Logits, float32 (B, n, vocab_size).

        Raises:
            ValueError: If the cache is of another batch or full.
        """
        cache.check_room(*idx.shape)
        x, embedded = self._embed(idx, cache)
        x = self._trunk(x, idx, cache)
        cache.previous = embedded[:, -1:]
        cache.advance(idx.new_full(idx.shape[:1], idx.shape[1]), idx.shape[1])
        return self._logits(x)

    def generate(
        self,
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
        """The new tokens, int64 (B, n); see `ossicle.model.generate.generate`."""
        return generate(
            self,
            idx,
            audio_features=audio_features,
            audio_lengths=audio_lengths,
            prompt_lengths=prompt_lengths,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            stop_tokens=stop_tokens,
        )

    def _embed(self, idx: Tensor, cache: KVCache | None) -> tuple[Tensor, Tensor]:
        """Embedded tokens, (B, T, n_embd), with smear and before it.

        Smear adds to each token a gated copy of its predecessor, which is itself not smeared.
        """
        x = norm(self.transformer.wte(idx).to(self.compute_dtype))
        before = torch.zeros_like(x[:, :1]) if cache is None else cache.previous
        gate = self.smear_lambda.to(x.dtype) * torch.sigmoid(
            self.smear_gate(x[..., :SMEAR_CHANNELS])
        )
        return x + gate * torch.cat([before, x], dim=1)[:, :-1], x

    def _trunk(self, x: Tensor, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        count, layers = x.shape[1], range(self.config.n_layer)
        windows = [self.config.window(i) for i in layers]
        if cache is None:
            masks = {w: window_mask(count, w, x.device) for w in set(windows)}
        else:
            masks = {w: cache.mask(count, w) for w in set(windows)}
        rotary = self._rotary(count, x.dtype, cache)
        x0 = midway = x
        for i, block in enumerate(self.transformer.blocks()):
            x = self.resid_lambdas[i] * x + self.x0_lambdas[i] * x0
            store = None if cache is None else partial(cache.append, i)
            arguments = (x, self._values(i, ids, x.dtype), rotary, masks[windows[i]], store)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, *arguments, use_reentrant=False)
            else:
                x = block(*arguments)
            if i == self.config.n_layer // 2:
                midway = x
        return norm(x - self.backout_lambda.to(x.dtype) * midway)

    def _rotary(
        self, count: int, dtype: torch.dtype, cache: KVCache | None
    ) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the next positions, (B or 1, count, 1, head_dim / 2)."""
        at = slice(count) if cache is None else cache.positions(count).clamp(max=len(self.cos) - 1)
        cos, sin = self.cos[at].to(dtype), self.sin[at].to(dtype)
        return cos.unsqueeze(-2), sin.unsqueeze(-2)

    def _values(self, layer: int, ids: Tensor, dtype: torch.dtype) -> Tensor | None:
        if not self.config.has_value_embedding(layer):
            return None
        return cast(Tensor, self.value_embeds[str(layer)](ids).to(dtype))

    def _logits(self, x: Tensor) -> Tensor:
        logits = self.lm_head(x)[..., : self.config.vocab_size].float()
        return LOGIT_CAP * torch.tanh(logits / LOGIT_CAP)

    def _loss(self, x: Tensor, targets: Tensor, layout: Layout, reduction: LossReduction) -> Tensor:
        # Only text is graded, so only text pays for the output matrix.
        logits = self._logits(layout.text_of(x))
        loss = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction=reduction
        )
        if reduction != "none":
            return loss
        every, at = loss.new_zeros(x.shape[:2]), layout.text_positions(x.device)
        return every.scatter(1, at.expand_as(targets), loss.view_as(targets)).flatten()


def _join(x: Tensor, idx: Tensor, audio: Tensor | None, layout: Layout) -> tuple[Tensor, Tensor]:
    """The stream that enters the first block, and the ids that value embeddings look up."""
    if audio is None:
        return x, idx
    audio = norm(layout.silence_padding(audio).to(x.dtype))
    return layout.join(audio, x), layout.join(idx.new_zeros(audio.shape[:2]), idx)


def _real_lengths(idx: Tensor, layout: Layout, text: Tensor | None) -> tuple[Tensor, Tensor]:
    """How much of each row is real: audio and text, each int64 (B,)."""
    if text is None:
        text = idx.new_full(idx.shape[:1], layout.text)
    else:
        check_lengths("text_lengths", text, idx.shape[0], layout.text)
    audio = text.new_full(text.shape, layout.audio) if layout.lengths is None else layout.lengths
    if bool((audio.to(idx.device) + text.to(idx.device) < 1).any()):
        raise ValueError("a row has neither audio nor prompt: pass at least one of them")
    return audio.to(idx.device), text.to(idx.device)

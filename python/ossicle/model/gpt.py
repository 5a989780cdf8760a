"""A GPT with nanochat's features and state dict, which takes audio as soft tokens before the text.

The architecture is nanochat's (https://github.com/karpathy/nanochat), so that its checkpoints load:
RMS norms without parameters, rotary positions, normalised queries and keys, squared ReLU, sliding
windows, value embeddings, smear and backout. `GPT.forward` says what audio adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from torch import Tensor, nn

from ossicle.model.blocks import (
    SMEAR_CHANNELS,
    GPTConfig,
    Linear,
    Trunk,
    compute_dtype,
    norm,
    window_mask,
)

__all__ = ["GPT", "GPTConfig"]

ROTARY_BASE = 100_000.0
LOGIT_CAP = 15.0
IGNORED = -1  # a target that is not graded

LossReduction = Literal["mean", "sum", "none"]


@dataclass(frozen=True)
class _Layout:
    """Where audio and text stand in the joined sequence of each row.

    A row is its audio, its text straight after it, then the audio's padding. So all padding lies
    behind everything real, and the causal mask, which the fast kernels have built in, keeps it
    out; positions and windows are those of the clip alone, whatever else is in the batch.

    Attributes:
        audio: Audio positions, padding included.
        text: Text positions.
        lengths: Audio positions of each row that are real, int64 (B,); None if all are.
    """

    audio: int
    text: int
    lengths: Tensor | None

    def join(self, audio: Tensor, text: Tensor) -> Tensor:
        """(B, audio, ...) and (B, text, ...) to (B, audio + text, ...)."""
        joined = torch.cat([audio, text], dim=1)
        if self.lengths is None:
            return joined
        position = torch.arange(self.audio + self.text, device=joined.device)[None]
        length = self.lengths[:, None]
        source = torch.where(position < length, position, position - length + self.audio)
        source = torch.where(position < length + self.text, source, position - self.text)
        return _take(joined, source)

    def text_positions(self, device: torch.device) -> Tensor:
        """Where each row's text stands, int64 (B or 1, text)."""
        position = torch.arange(self.text, device=device)[None]
        return position + (self.audio if self.lengths is None else self.lengths[:, None])


def _take(x: Tensor, positions: Tensor) -> Tensor:
    """Rows of ``x`` (B, T, ...) at ``positions`` (B or 1, n) along its second axis."""
    index = positions.reshape(*positions.shape, *[1] * (x.dim() - 2))
    return torch.take_along_dim(x, index, dim=1)


class GPT(nn.Module):
    """A decoder-only language model in nanochat's layout, with audio soft tokens in front.

    Master weights are float32 and are cast in each linear to the compute dtype; the embedding
    tables are held in it. Built under ``torch.device("meta")`` it has no data: then call
    ``to_empty(device=...)`` and `init_weights`.

    Args:
        config: The sizes.
        compute_dtype: The dtype of activations; by default what the device is good at
            (`compute_dtype`).
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: GPTConfig, *, compute_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.config = config
        self._compute_dtype = compute_dtype
        padded, kv_dim = config.padded_vocab_size, config.n_kv_head * config.head_dim
        layers = range(config.n_layer)
        self.transformer = Trunk(config)
        self.lm_head = Linear(config.n_embd, padded)
        self.value_embeds = nn.ModuleDict(
            {str(i): nn.Embedding(padded, kv_dim) for i in layers if config.has_value_embedding(i)}
        )
        self.resid_lambdas = nn.Parameter(torch.ones(config.n_layer))
        self.x0_lambdas = nn.Parameter(torch.zeros(config.n_layer))
        self.smear_gate = Linear(SMEAR_CHANNELS, 1)
        self.smear_lambda = nn.Parameter(torch.zeros(1))
        self.backout_lambda = nn.Parameter(torch.zeros(1))
        table = torch.empty(config.rotary_len, config.head_dim // 2)
        self.register_buffer("cos", table, persistent=False)
        self.register_buffer("sin", table.clone(), persistent=False)
        if not table.is_meta:
            self.init_weights()

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
        for table in self._value_tables():
            nn.init.uniform_(table.weight, -bound, bound)
        self._init_rotary()
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
        layout = _layout(idx, audio_features, audio_lengths, self.config)
        x = self._trunk(*self._embed(idx, audio_features, layout))
        if targets is None:
            return self._logits(x)
        return self._loss(x, targets, layout, loss_reduction)

    def _embed(self, idx: Tensor, audio: Tensor | None, layout: _Layout) -> tuple[Tensor, Tensor]:
        """The stream that enters the first block, and the ids that value embeddings look up."""
        x = self._smear(norm(self.transformer.wte(idx).to(self.compute_dtype)))
        if audio is None:
            return x, idx
        if layout.lengths is not None:
            # Zeros, whatever the padding held: a NaN behind the causal mask still spreads, since
            # attention multiplies it by a weight of 0.
            position = torch.arange(layout.audio, device=audio.device)
            audio = audio.masked_fill((position >= layout.lengths[:, None])[..., None], 0)
        ids = layout.join(idx.new_zeros(idx.shape[0], layout.audio), idx)
        return layout.join(norm(audio.to(x.dtype)), x), ids

    def _smear(self, x: Tensor) -> Tensor:
        """Adds a gated copy of each token's predecessor (before smearing) to it."""
        gate = torch.sigmoid(self.smear_gate(x[:, 1:, :SMEAR_CHANNELS]))
        smeared = x[:, 1:] + self.smear_lambda.to(x.dtype) * gate * x[:, :-1]
        return torch.cat([x[:, :1], smeared], dim=1)

    def _trunk(self, x: Tensor, ids: Tensor) -> Tensor:
        length = x.shape[1]
        rotary = tuple(t[:length, None].to(x.dtype) for t in (self.cos, self.sin))
        windows = [self.config.window(i) for i in range(self.config.n_layer)]
        masks = {w: window_mask(length, w, x.device) for w in set(windows)}
        x0 = midway = x
        for i, block in enumerate(self.transformer.blocks()):
            x = self.resid_lambdas[i] * x + self.x0_lambdas[i] * x0
            values = self._values(i, ids, x.dtype)
            x = block(x, values, rotary, masks[windows[i]])
            if i == self.config.n_layer // 2:
                midway = x
        return norm(x - self.backout_lambda.to(x.dtype) * midway)

    def _values(self, layer: int, ids: Tensor, dtype: torch.dtype) -> Tensor | None:
        if not self.config.has_value_embedding(layer):
            return None
        return cast(Tensor, self.value_embeds[str(layer)](ids).to(dtype))

    def _logits(self, x: Tensor) -> Tensor:
        logits = self.lm_head(x)[..., : self.config.vocab_size].float()
        return LOGIT_CAP * torch.tanh(logits / LOGIT_CAP)

    def _loss(
        self, x: Tensor, targets: Tensor, layout: _Layout, reduction: LossReduction
    ) -> Tensor:
        # Only text is graded, so only text pays for the output matrix.
        at = layout.text_positions(x.device)
        logits = self._logits(_take(x, at))
        loss = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction=reduction
        )
        if reduction != "none":
            return loss
        every = loss.new_zeros(x.shape[:2])
        return every.scatter(1, at.expand_as(targets), loss.view_as(targets)).flatten()


def _layout(
    idx: Tensor, audio: Tensor | None, lengths: Tensor | None, config: GPTConfig
) -> _Layout:
    """Where audio and text will stand, after every check of what the caller gave."""
    if audio is None:
        if lengths is not None:
            raise ValueError("audio_lengths came without audio_features")
        layout = _Layout(0, idx.shape[1], None)
    else:
        _check_audio(idx, audio, lengths, config)
        lengths = lengths if lengths is None else lengths.to(idx.device)
        layout = _Layout(audio.shape[1], idx.shape[1], lengths)
    total = layout.audio + layout.text
    if total > config.rotary_len:
        raise ValueError(
            f"{total} positions ({layout.audio} of audio, {layout.text} of text) are more than the "
            f"rotary table's {config.rotary_len}: shorten the clips or raise sequence_len"
        )
    return layout


def _check_audio(idx: Tensor, audio: Tensor, lengths: Tensor | None, config: GPTConfig) -> None:
    batch = idx.shape[0]
    if audio.dim() != 3 or audio.shape[0] != batch or audio.shape[2] != config.n_embd:
        raise ValueError(
            f"audio_features {tuple(audio.shape)} are not (B, T_audio, n_embd) with B = {batch} "
            f"and n_embd = {config.n_embd}"
        )
    if lengths is None:
        return
    if lengths.shape != (batch,):
        raise ValueError(f"audio_lengths {tuple(lengths.shape)} are not ({batch},)")
    # On a GPU the look at the values would stall the queue; compiled, it would split the graph.
    if lengths.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > audio.shape[1]:
            raise ValueError(f"audio_lengths {low} to {high} leave 0 to {audio.shape[1]}")

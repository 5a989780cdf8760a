"""The parts of nanochat's GPT: its sizes, its linear layers, attention, MLP and blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from torch import Tensor, nn

__all__ = ["Block", "GPTConfig", "Linear", "Trunk", "compute_dtype", "norm", "table", "window_mask"]

ROTARY_HEADROOM = 10  # the table reaches this many times sequence_len
QK_SCALE = 1.2  # sharpens attention after the norms of queries and keys
VOCAB_MULTIPLE = 64  # matrices whose sides are multiples of 64 fill the tensor cores
SHORT_WINDOW_MULTIPLE = 128  # the tile of the flash attention kernels
SMEAR_CHANNELS = 24
VALUE_GATE_CHANNELS = 12

Rotary: TypeAlias = tuple[Tensor, Tensor]
Store: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a `GPT`; the names are those of nanochat's ``model_config``.

    Attributes:
        sequence_len: Tokens of the longest window; the rotary table reaches ten times as far.
        vocab_size: Tokens that the logits cover (the tables are padded to a multiple of 64).
        n_layer: Blocks.
        n_head: Heads of the queries.
        n_kv_head: Heads of keys and values; divides ``n_head``.
        n_embd: Width of the residual stream; a multiple of ``n_head``, 24 at least.
        window_pattern: ``S`` (a quarter of ``sequence_len``, rounded up to 128) and ``L``
            (``sequence_len``), tiled over the layers; the last layer is always ``L``.

    Raises:
        ValueError: If the sizes do not fit each other; the message gives them.
    """

    sequence_len: int = 2048
    vocab_size: int = 32768
    n_layer: int = 12
    n_head: int = 6
    n_kv_head: int = 6
    n_embd: int = 768
    window_pattern: str = "SSSL"

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head or self.head_dim % 2:
            raise ValueError(f"n_embd {self.n_embd} does not give n_head {self.n_head} even heads")
        if self.n_head % self.n_kv_head:
            raise ValueError(f"n_kv_head {self.n_kv_head} does not divide n_head {self.n_head}")
        if self.n_embd < SMEAR_CHANNELS:
            raise ValueError(f"n_embd {self.n_embd} is below {SMEAR_CHANNELS}, which smear needs")
        if not self.window_pattern or set(self.window_pattern.upper()) - set("SL"):
            raise ValueError(f"window_pattern {self.window_pattern!r} is not made of S and L")

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.n_embd // self.n_head

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding tables and of the output matrix."""
        return -(-self.vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE

    @property
    def rotary_len(self) -> int:
        """Positions in the rotary table."""
        return self.sequence_len * ROTARY_HEADROOM

    def window(self, layer: int) -> int:
        """How far back ``layer`` looks: a key is seen at a distance of at most this many tokens."""
        pattern = self.window_pattern.upper()
        if layer == self.n_layer - 1 or pattern[layer % len(pattern)] == "L":
            return self.sequence_len
        quarter = -(-self.sequence_len // 4)
        return -(-quarter // SHORT_WINDOW_MULTIPLE) * SHORT_WINDOW_MULTIPLE

    def has_value_embedding(self, layer: int) -> bool:
        """Whether ``layer`` adds a value embedding: every other one, the last among them."""
        return layer % 2 == (self.n_layer - 1) % 2


def compute_dtype(device: torch.device) -> torch.dtype:
    """The dtype of activations on ``device``: bfloat16 on CUDA of SM80 and later, else float32."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.bfloat16
    return torch.float32


class Linear(nn.Linear):
    """A linear layer without bias whose float32 master weight is cast to its input's dtype."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (nn.Linear's name for it)
        """``(..., in_features)`` to ``(..., out_features)``, in the input's dtype."""
        return F.linear(input, self.weight.to(input.dtype))


def table(rows: int, width: int) -> nn.Embedding:
    """An embedding table yet to be filled: nn.Embedding's own filling, on meta, takes seconds."""
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))


def norm(x: Tensor) -> Tensor:
    """RMS norm over the last axis, without parameters."""
    return F.rms_norm(x, (x.shape[-1],))


def _split(x: Tensor, heads: int) -> Tensor:
    """(B, T, channels) to (B, T, heads, channels / heads)."""
    return x.view(*x.shape[:2], heads, x.shape[2] // heads)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the halves of each head, (B, T, heads, head_dim), by its position's angles."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)


def window_mask(length: int, window: int, device: torch.device) -> Tensor | None:
    """True where a query (row) sees a key (column); None where the causal mask says it all."""
    if window >= length - 1:
        return None
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance <= window)


class Attention(nn.Module):
    """Causal self-attention with rotary positions, normalised q and k, and value embeddings."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.n_head, self.n_kv_head = config.n_head, config.n_kv_head
        kv_dim = config.n_kv_head * config.head_dim
        self.c_q = Linear(config.n_embd, config.n_embd)
        self.c_k = Linear(config.n_embd, kv_dim)
        self.c_v = Linear(config.n_embd, kv_dim)
        self.c_proj = Linear(config.n_embd, config.n_embd)
        gated = config.has_value_embedding(layer)
        self.ve_gate = Linear(VALUE_GATE_CHANNELS, config.n_kv_head) if gated else None

    def forward(
        self,
        x: Tensor,
        values: Tensor | None,
        rotary: Rotary,
        mask: Tensor | None,
        store: Store | None = None,
    ) -> Tensor:
        """Attends within (B, T, n_embd), and to what was read before it.

        Args:
            x: The normed stream.
            values: This layer's value embeddings (B, T, n_kv_head * head_dim), if it has any.
            rotary: Cosines and sines, (B or 1, T, 1, head_dim / 2).
            mask: True where a query sees a key, (T, keys) or (B, 1, T, keys); None for causal.
            store: Takes keys and values to those read before, and gives all of them.

        Returns:
            (B, T, n_embd).
        """
        q = _split(self.c_q(x), self.n_head)
        k = _split(self.c_k(x), self.n_kv_head)
        v = self._mix_values(x, values)
        q = norm(_rotate(q, *rotary)) * QK_SCALE
        k = norm(_rotate(k, *rotary)) * QK_SCALE
        if store is not None:
            k, v = store(k, v)
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=mask,
            is_causal=mask is None,
            enable_gqa=self.n_head != self.n_kv_head,
        )
        return cast(Tensor, self.c_proj(y.transpose(1, 2).flatten(2)))

    def _mix_values(self, x: Tensor, values: Tensor | None) -> Tensor:
        v = _split(self.c_v(x), self.n_kv_head)
        if self.ve_gate is None or values is None:
            return v
        gate = 3 * torch.sigmoid(self.ve_gate(x[..., :VALUE_GATE_CHANNELS]))
        return v + gate.unsqueeze(-1) * _split(values, self.n_kv_head)


class MLP(nn.Module):
    """Two linears, four times as wide between them, with a squared ReLU."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, n_embd) to the same shape."""
        return cast(Tensor, self.c_proj(F.relu(self.c_fc(x)).square()))


class Block(nn.Module):
    """One layer: attention, then the MLP, each on the normed stream and added to it."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.attn = Attention(config, layer)
        self.mlp = MLP(config)

    def init_weights(self, bound: float) -> None:
        """Sets the weights anew; with both output projections at zero the block does nothing."""
        for linear in (self.attn.c_q, self.attn.c_k, self.attn.c_v):
            nn.init.uniform_(linear.weight, -bound, bound)
        nn.init.uniform_(self.mlp.c_fc.weight, -0.4 * bound, 0.4 * bound)
        nn.init.zeros_(self.attn.c_proj.weight)
        nn.init.zeros_(self.mlp.c_proj.weight)
        if self.attn.ve_gate is not None:
            nn.init.uniform_(self.attn.ve_gate.weight, 0.0, 0.02)

    def forward(
        self,
        x: Tensor,
        values: Tensor | None,
        rotary: Rotary,
        mask: Tensor | None,
        store: Store | None = None,
    ) -> Tensor:
        """(B, T, n_embd) to the same shape; the other arguments are those of `Attention`."""
        x = x + self.attn(norm(x), values, rotary, mask, store)
        return cast(Tensor, x + self.mlp(norm(x)))


class Trunk(nn.Module):
    """The token table and the blocks, under nanochat's names ``wte`` and ``h``."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.wte = table(config.padded_vocab_size, config.n_embd)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))

    def blocks(self) -> Iterator[Block]:
        """The blocks from first to last."""
        return iter(cast("list[Block]", self.h))

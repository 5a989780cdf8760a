"""Keys and values of what a `GPT` has read, so that each further token costs one position."""

from __future__ import annotations

import torch
from torch import Tensor

from ossicle.model.blocks import GPTConfig, window_mask

__all__ = ["KVCache"]


class KVCache:
    """What each row of a batch has read so far, audio and text alike.

    Rows start at position 0 and are as long as they are: a clip's positions, windows and hence
    results are those that it has alone. What lies after a row's end is never looked at.

    Args:
        config: The model's sizes.
        batch: Rows.
        size: Positions that a row can hold; audio, prompt and all tokens to come.
        device: Where the model is.
        dtype: The model's compute dtype.

    Attributes:
        keys: After rotation, norm and scale, (n_layer, batch, size, n_kv_head, head_dim).
        values: With value embeddings, in the same shape.
        lengths: Positions that each row has filled, int64 (batch,).
        previous: The embedding of each row's last token before smearing, (batch, 1, n_embd); zeros
            before the first one, whose smear they leave out.
        used: Positions up to which any row may be filled.

    Raises:
        ValueError: If ``size`` is more than the rotary table has.
    """

    def __init__(
        self,
        config: GPTConfig,
        batch: int,
        size: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if size > config.rotary_len:
            raise ValueError(
                f"{size} positions are more than the rotary table's {config.rotary_len}: shorten "
                "clips, prompt or answer, or raise sequence_len"
            )
        shape = (config.n_layer, batch, size, config.n_kv_head, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros_like(self.keys)
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.previous = torch.zeros(batch, 1, config.n_embd, device=device, dtype=dtype)
        self.used = 0
        self._rows = torch.arange(batch, device=device)[:, None]

    @property
    def size(self) -> int:
        """Positions that a row can hold."""
        return self.keys.shape[2]

    def check_room(self, batch: int, count: int) -> None:
        """Refuses a chunk that is of another batch or does not fit.

        Args:
            batch: Rows of the chunk.
            count: Positions of the chunk.

        Raises:
            ValueError: With the numbers.
        """
        if batch != self.lengths.shape[0]:
            raise ValueError(f"{batch} rows do not match a cache of {self.lengths.shape[0]}")
        if self.used + count > self.size:
            raise ValueError(
                f"{count} positions after {self.used} do not fit a cache of {self.size}"
            )

    def positions(self, count: int) -> Tensor:
        """Where the next ``count`` positions of each row will stand, int64 (batch, count)."""
        return self.lengths[:, None] + torch.arange(count, device=self.lengths.device)

    def mask(self, count: int, window: int) -> Tensor | None:
        """Which keys the next ``count`` queries of each row see.

        Args:
            count: Queries.
            window: The distance up to which the layer looks back.

        Returns:
            Boolean (batch, 1, count, used + count); before anything was read that of
            `window_mask`, which is None where the causal mask says it all.
        """
        device = self.lengths.device
        if not self.used:
            return window_mask(count, window, device)
        seen = torch.arange(self.used + count, device=device)
        distance = self.positions(count)[:, None, :, None] - seen
        return (distance >= 0) & (distance <= window)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores a chunk after each row's end, and gives what its queries may look at.

        Args:
            layer: Which block.
            keys: (batch, count, n_kv_head, head_dim).
            values: Likewise.

        Returns:
            Keys and values, (batch, used + count, n_kv_head, head_dim).
        """
        count = keys.shape[1]
        if not self.used:  # the chunk is all there is
            self.keys[layer, :, :count] = keys
            self.values[layer, :, :count] = values
            return keys, values
        at = self.positions(count)
        self.keys[layer].index_put_((self._rows, at), keys)
        self.values[layer].index_put_((self._rows, at), values)
        total = self.used + count
        return self.keys[layer, :, :total], self.values[layer, :, :total]

    def advance(self, counts: Tensor, count: int) -> None:
        """Counts a chunk as read.

        Args:
            counts: How much of it each row keeps, int64 (batch,).
            count: Its positions.
        """
        self.lengths = self.lengths + counts
        self.used += count

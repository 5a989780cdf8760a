"""Where audio and text stand in the sequence of each row of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ossicle.model.blocks import GPTConfig

__all__ = ["Layout", "check_lengths", "lay_out", "take"]


@dataclass(frozen=True)
class Layout:
    """Where audio and text stand in the joined sequence of each row.

    A row is its audio, its text straight after it, then filler: copies of the last token, as many
    as its audio is short of the longest. So filler lies after everything real, and the causal
    mask, which the fast kernels have built in, keeps it out; positions and windows are those of
    the clip alone, whatever else is in the batch.

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
        return take(joined, source.clamp(max=joined.shape[1] - 1))

    def text_positions(self, device: torch.device) -> Tensor:
        """Where each row's text stands, int64 (B or 1, text)."""
        position = torch.arange(self.text, device=device)[None]
        return position + (self.audio if self.lengths is None else self.lengths[:, None])

    def text_of(self, x: Tensor) -> Tensor:
        """Of ``x`` (B, audio + text, ...) what belongs to the text, (B, text, ...)."""
        if self.lengths is None:  # in one place in all rows: no copy
            return x[:, self.audio :]
        return take(x, self.text_positions(x.device))

    def silence_padding(self, audio: Tensor) -> Tensor:
        """``audio`` with zeros for padding: it is never read, but 0 times a NaN in it is NaN."""
        if self.lengths is None:
            return audio
        position = torch.arange(self.audio, device=audio.device)
        return audio.masked_fill((position >= self.lengths[:, None])[..., None], 0)


def take(x: Tensor, positions: Tensor) -> Tensor:
    """Rows of ``x`` (B, T, ...) at ``positions`` (B or 1, n) along its second axis."""
    index = positions.reshape(*positions.shape, *[1] * (x.dim() - 2))
    # Not take_along_dim: compiled, it is compiled anew for every length.
    return x.gather(1, index.expand(x.shape[0], -1, *x.shape[2:]))


def lay_out(idx: Tensor, audio: Tensor | None, lengths: Tensor | None, config: GPTConfig) -> Layout:
    """Where audio and text will stand, after every check of what the caller gave.

    Args:
        idx: Token ids (B, T).
        audio: Soft tokens (B, T_audio, n_embd), or None.
        lengths: How many of them are real, int64 (B,); all if None.
        config: The model's sizes.

    Returns:
        The layout, its lengths on the device of ``idx``.

    Raises:
        ValueError: If shapes or lengths do not fit each other or the rotary table.
    """
    if audio is None:
        if lengths is not None:
            raise ValueError("audio_lengths needs audio_features")
        layout = Layout(0, idx.shape[1], None)
    else:
        _check_audio(idx, audio, config)
        if lengths is not None:
            check_lengths("audio_lengths", lengths, idx.shape[0], audio.shape[1])
            lengths = lengths.to(idx.device)
        layout = Layout(audio.shape[1], idx.shape[1], lengths)
    total = layout.audio + layout.text
    if total > config.rotary_len:
        raise ValueError(
            f"{total} positions ({layout.audio} of audio, {layout.text} of text) are more than the "
            f"rotary table's {config.rotary_len}: shorten the clips or raise sequence_len"
        )
    return layout


def _check_audio(idx: Tensor, audio: Tensor, config: GPTConfig) -> None:
    batch = idx.shape[0]
    if audio.dim() != 3 or audio.shape[0] != batch or audio.shape[2] != config.n_embd:
        raise ValueError(
            f"audio_features {tuple(audio.shape)} are not (B, T_audio, n_embd) with B = {batch} "
            f"and n_embd = {config.n_embd}"
        )


def check_lengths(name: str, lengths: Tensor, batch: int, longest: int) -> None:
    """Refuses ``lengths`` that are not (batch,) or, where a look is free, not 0 to ``longest``."""
    if lengths.shape != (batch,):
        raise ValueError(f"{name} {tuple(lengths.shape)} are not ({batch},)")
    # On a GPU the look at the values would stall the queue; compiled, it would split the graph.
    if batch and lengths.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > longest:
            raise ValueError(f"{name} {low} to {high} leave 0 to {longest}")

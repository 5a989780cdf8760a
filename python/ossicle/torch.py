"""Our resampler and log-mel features as modules of PyTorch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ossicle.audio import Quality, resample
from ossicle.audio.resampling import check_quality, check_rate
from ossicle.errors import InvalidArgumentError
from ossicle.features import log_mel_batch

__all__ = ["LogMel", "Resample"]


class Resample(nn.Module):
    """`ossicle.resample` of tensors, to the bit; computed on the CPU, without gradients.

    The result has the device of the input, and its type where that is floating; integers mean
    their full scale, and give float32.

    Args:
        orig_rate: Of the input in Hz.
        target_rate: Of the result in Hz.
        quality: As for `ossicle.resample`.
    """

    def __init__(self, orig_rate: int, target_rate: int, *, quality: Quality = "high") -> None:
        super().__init__()
        self.orig_rate = check_rate(orig_rate, "orig_rate")
        self.target_rate = check_rate(target_rate, "target_rate")
        self.quality: Quality = check_quality(quality)

    def forward(self, waveform: Tensor) -> Tensor:
        """``(..., samples)`` at the other rate.

        Raises:
            InvalidArgumentError: A gradient is wanted, or a type that samples do not have.
        """
        rows = _rows(waveform)
        rates = (self.orig_rate, self.target_rate)
        # Row by row: none is taken for a waveform whose axes are swapped, however many there are.
        made = [torch.from_numpy(resample(row, *rates, quality=self.quality)) for row in rows]
        length = -(-waveform.shape[-1] * self.target_rate // self.orig_rate)
        whole = torch.stack(made) if made else torch.empty(0, length)
        return _like(whole.reshape(*waveform.shape[:-1], length), waveform)

    def extra_repr(self) -> str:
        """What its printed form tells."""
        return f"{self.orig_rate} -> {self.target_rate} Hz, quality={self.quality!r}"


class LogMel(nn.Module):
    """`ossicle.log_mel_spectrogram` of tensors, to the bit; computed on the CPU, without gradients.

    Args:
        n_mels: As for `ossicle.log_mel_spectrogram`.
        pad_to_seconds: Likewise; None gives all as many frames as the longest row has.
    """

    def __init__(self, n_mels: int = 80, *, pad_to_seconds: float | None = 30.0) -> None:
        super().__init__()
        self.n_mels, self.pad_to_seconds = n_mels, pad_to_seconds
        log_mel_batch([], n_mels=n_mels, pad_to_seconds=pad_to_seconds)  # checks both

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``(..., n_mels, frames)`` of ``(..., samples)`` at 16 kHz.

        Args:
            waveform: Rows of samples.
            lengths: ``(...)``, samples of each row that are no padding.

        Raises:
            InvalidArgumentError: A gradient is wanted, a type that samples do not have, or a
                length beyond its row.
        """
        rows = _rows(waveform)
        own = None if lengths is None else lengths.reshape(-1).tolist()
        options: dict[str, Any] = {"n_mels": self.n_mels, "pad_to_seconds": self.pad_to_seconds}
        made = torch.from_numpy(log_mel_batch(rows, own, **options))
        return _like(made.reshape(*waveform.shape[:-1], *made.shape[1:]), waveform)

    def extra_repr(self) -> str:
        """What its printed form tells."""
        return f"n_mels={self.n_mels}, pad_to_seconds={self.pad_to_seconds}"


def _rows(waveform: Tensor) -> list[Tensor]:
    if waveform.ndim == 0:
        raise InvalidArgumentError("a waveform has at least one axis, that of samples")
    if waveform.requires_grad and torch.is_grad_enabled():
        text = "the waveform wants a gradient, and there is none through this module"
        raise InvalidArgumentError(f"{text}: detach it, or use torch.no_grad()")
    count = math.prod(waveform.shape[:-1])
    return list(waveform.detach().cpu().reshape(count, waveform.shape[-1]).unbind())


def _like(made: Tensor, waveform: Tensor) -> Tensor:
    dtype = waveform.dtype if waveform.is_floating_point() else torch.float32
    return made.to(device=waveform.device, dtype=dtype)

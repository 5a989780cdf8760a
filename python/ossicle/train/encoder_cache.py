"""Encoder output for the clips of a step, computed once where there is room to keep it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from ossicle.model.encoder import Encoder
from ossicle.train.feed import MicroBatch, pad_frames

__all__ = ["EncoderCache", "Stopwatch"]


class Stopwatch:
    """Time between `start` and `stop`, by the clock of the device that does the work.

    Attributes:
        seconds: Added up so far; on CUDA as of the last `settle`.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._begun = 0.0
        self.seconds = 0.0

    def __enter__(self) -> Stopwatch:
        if self._is_cuda:
            self._pairs.append((_event(), _event()))
            self._pairs[-1][0].record()
        self._begun = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_cuda:
            self._pairs[-1][1].record()
        else:
            self.seconds += time.perf_counter() - self._begun

    def settle(self) -> float:
        """All seconds so far; on CUDA the device must have been waited for."""
        self.seconds += sum(start.elapsed_time(end) * 1e-3 for start, end in self._pairs)
        self._pairs.clear()
        return self.seconds


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


class EncoderCache:
    """Gives each batch its encoder frames, on the device; those of some clips are kept.

    Args:
        encoder: Of log-mel features; parts of encoder frames pass by it.
        is_encoded: Whether the parts' features are an encoder's frames already.
        is_padded: Whether the clips are padded to one length that counts as their own.
        device: Where the frames go.
        dtype: What they become.

    Attributes:
        watch: Times the encoder.
    """

    def __init__(
        self,
        encoder: Encoder,
        device: torch.device,
        dtype: torch.dtype,
        *,
        is_encoded: bool,
        is_padded: bool,
    ) -> None:
        self.encoder, self.device, self.dtype = encoder, device, dtype
        self._is_encoded, self._is_padded = is_encoded, is_padded
        self._kept: dict[int, Tensor] = {}
        layers = () if encoder.layers is None else (encoder.layers,)
        self._silence = torch.zeros(*layers, 0, encoder.d_model, dtype=dtype, device=device)
        self.watch = Stopwatch(device)

    def take(self, part: MicroBatch) -> tuple[Tensor, Tensor]:
        """The encoder frames of a part.

        Returns:
            Frames (B, T, d), or (B, n, T, d) of several layers, zeros after each clip's own, and
            their numbers, int64 (B,), on the CPU.
        """
        features = part.features.to(self.device, non_blocking=True)
        if self._is_encoded:
            return features.to(self.dtype), part.lengths
        if len(part.new) == len(part.rows) and not part.keep and self.device.type == "cuda":
            with self.watch:
                return self._forward(features, part.lengths), self._counts(part.lengths)
        with self.watch:
            new = dict(zip(part.new, self._each(features, part.lengths), strict=True))
        rows = [
            new[n] if n in new else self._kept.get(row, self._silence)
            for n, row in enumerate(part.rows)
        ]
        # Copies, since a view would keep all of its part in memory.
        self._kept |= {part.rows[n]: new[n].clone() for n in new if part.rows[n] in part.keep}
        return pad_frames(rows, axis=-2)

    def _each(self, features: Tensor, lengths: Tensor) -> Sequence[Tensor]:
        if not len(lengths):
            return []
        counts = self._counts(lengths).tolist()
        if self.device.type != "cpu":
            encoded = self._forward(features, lengths)
            return [row[..., :count, :] for row, count in zip(encoded, counts, strict=True)]
        # One at a time on the CPU, where batches save nothing, so that a clip's frames do not
        # depend on its neighbours by a rounding: a resumed run meets it among other ones.
        sizes = lengths.tolist()
        clips = (row[None, :, :size] for row, size in zip(features, sizes, strict=True))
        return [self.encoder(clip)[0].to(self.dtype) for clip in clips]

    def _forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        is_even = self._is_padded or bool((lengths == features.shape[-1]).all())
        own = None if is_even else lengths.to(self.device, non_blocking=True)
        found: Tensor = self.encoder(features, own)
        return found.to(self.dtype)

    def _counts(self, lengths: Tensor) -> Tensor:
        return self.encoder.output_lengths(lengths)

"""A Whisper encoder fed bit by bit: log-mel, convolutions and attention that remember.

Every number is what one pass over the whole clip would give, with one exception, which
`StreamingLogMel` names.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from numpy.typing import NDArray
from torch import Tensor

from ossicle.audio.waveforms import as_float32
from ossicle.features.mel import HOP_LENGTH
from ossicle.model.whisper_layers import run_layers

__all__ = ["StreamingLogMel", "WhisperStream"]

N_FFT = 400  # samples of a mel frame's window
DYNAMIC_RANGE = 8.0  # decades that Whisper keeps below the loudest


class StreamableEncoder(Protocol):
    """What a stream needs of a `WhisperEncoder`; the attributes mean the same."""

    encoder: Any
    feature_extractor: Any
    d_model: int
    n_mels: int
    max_frames: int
    layer: int | None
    layers: int | None


class WhisperStream:
    """The frames of an endless clip, as its sound arrives.

    Encoder frames, 20 ms each, form chunks of ``chunk_frames``. A frame attends to its own chunk
    and to the ``left_context`` frames before it, in every layer: the result is that of one pass
    over the whole clip with this block mask, within rounding. A chunk's frames come as soon as the
    one mel frame after it is there, which its convolutions read.

    Positions count up to the encoder's, 1500 or 30 s; then they begin anew and the context is
    empty, as if a clip of its own began. A chunk ends there at the latest.

    One stream is one clip: for the next call `WhisperEncoder.stream` again.

    Args:
        encoder: Whose weights, layer choice, device and dtype are used.
        chunk_frames: Of a chunk.
        left_context: Frames before the chunk that it sees.
        log_max: As for `StreamingLogMel`.

    Raises:
        ValueError: If ``chunk_frames`` is below 1 or above the encoder's positions, or
            ``left_context`` below 0.
    """

    def __init__(
        self,
        encoder: StreamableEncoder,
        chunk_frames: int,
        left_context: int,
        log_max: float | None = None,
    ) -> None:
        self._positions = encoder.max_frames // 2
        if not 1 <= chunk_frames <= self._positions:
            raise ValueError(f"chunk_frames {chunk_frames} is not 1 to {self._positions}")
        if left_context < 0:
            raise ValueError(f"left_context {left_context} is below 0")
        self.chunk_frames, self.left_context = chunk_frames, left_context
        self.log_mel = StreamingLogMel(encoder.feature_extractor, log_max)
        self._encoder = encoder
        self._convs = [
            _StreamingConv(conv) for conv in (encoder.encoder.conv1, encoder.encoder.conv2)
        ]
        weight = encoder.encoder.conv1.weight
        self._waiting = weight.new_zeros(1, 0, encoder.d_model)  # frames of the chunk to come
        self._axes = () if encoder.layers is None else (encoder.layers,)
        self._position = 0
        self._context: dict[int, tuple[Tensor, Tensor]] = {}  # keys and values of each layer
        self._is_open = True

    def push(self, waveform: NDArray[np.float32]) -> Tensor:
        """Takes the next samples, and gives the frames of the chunks that are whole now.

        Args:
            waveform: Mono, float32 (samples,), any number of them, at the encoder's rate.

        Returns:
            (T, d_model), or (layers, T, d_model) with ``layer="all"``; T is often 0.

        Raises:
            ValueError: If the stream is finished or the waveform has more than one axis.
        """
        self._check_open()
        return self.push_features(torch.from_numpy(self.log_mel.push(waveform)))

    def push_features(self, input_features: Tensor) -> Tensor:
        """The same with log-mel features, (n_mels, T_mel), instead of samples.

        Raises:
            ValueError: If the stream is finished or the features have another shape.
        """
        self._check_open()
        return self._advance(input_features, is_last=False)

    def finish(self) -> Tensor:
        """Ends the clip and gives its last frames; the stream takes no more.

        Raises:
            ValueError: If the stream is finished.
        """
        self._check_open()
        self._is_open = False
        return self._advance(torch.from_numpy(self.log_mel.finish()), is_last=True)

    def _check_open(self) -> None:
        if not self._is_open:
            raise ValueError("the stream is finished: start a new one")

    @torch.no_grad()
    def _advance(self, features: Tensor, *, is_last: bool) -> Tensor:
        if features.dim() != 2 or features.shape[0] != self._encoder.n_mels:
            raise ValueError(
                f"features {tuple(features.shape)} are not ({self._encoder.n_mels}, T_mel)"
            )
        x = features[None].to(self._waiting.device, self._waiting.dtype)
        for conv in self._convs:
            x = conv(x, is_last=is_last)
        self._waiting = torch.cat([self._waiting, x.transpose(1, 2)], dim=1)
        done = [self._waiting.new_zeros(*self._axes, 0, self._encoder.d_model)]
        while self._waiting.shape[1] >= (1 if is_last else self._chunk_size()):
            size = min(self._chunk_size(), self._waiting.shape[1])
            chunk, self._waiting = self._waiting[:, :size], self._waiting[:, size:]
            done.append(self._run(chunk))
        return torch.cat(done, dim=-2)

    def _chunk_size(self) -> int:
        return min(self.chunk_frames, self._positions - self._position)

    def _run(self, chunk: Tensor) -> Tensor:
        """The hidden states of a chunk, (size, d) or (layers, size, d)."""
        end = self._position + chunk.shape[1]
        x = chunk + self._encoder.encoder.embed_positions.weight[self._position : end]
        x = run_layers(self._encoder.encoder, x, self._attend, self._encoder.layer)[0]
        self._position = end
        if end == self._positions:
            self._position, self._context = 0, {}
        return x

    def _attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if layer in self._context:
            before_k, before_v = self._context[layer]
            k, v = torch.cat([before_k, k], dim=2), torch.cat([before_v, v], dim=2)
        first = max(0, k.shape[2] - self.left_context)
        # Copies, since views would keep all of the chunk's keys and values in memory.
        self._context[layer] = k[:, :, first:].clone(), v[:, :, first:].clone()
        return F.scaled_dot_product_attention(q, k, v, scale=1.0)


class _StreamingConv:
    """A convolution of kernel 3, padded by 1, and the GELU after it, fed bit by bit."""

    def __init__(self, conv: Any) -> None:
        self._conv = conv
        self._stride = int(conv.stride[0])
        weight = conv.weight
        self._inputs = weight.new_zeros(1, weight.shape[1], 1)  # the padding in front

    def __call__(self, x: Tensor, *, is_last: bool) -> Tensor:
        """(1, channels, T) to as many outputs as have all their inputs."""
        self._inputs = torch.cat([self._inputs, x], dim=2)
        if is_last:
            self._inputs = F.pad(self._inputs, (0, 1))
        count = max(0, (self._inputs.shape[2] - 3) // self._stride + 1)
        if not count:
            return x.new_zeros(1, self._conv.out_channels, 0)
        conv = self._conv
        y = F.conv1d(self._inputs, conv.weight, conv.bias, stride=self._stride)
        self._inputs = self._inputs[:, :, count * self._stride :]
        return F.gelu(y)


class StreamingLogMel:
    """Whisper's log-mel features of a clip that arrives bit by bit.

    Frames are those of the whole clip before they are normed. Whisper norms by the clip's loudest
    bin, which nobody knows before its end: what lies more than 8 decades below it is raised to
    there. Here it is the loudest bin so far. So a frame differs from the whole clip's only in bins
    that lie more than 8 decades below the loudest bin to come, and by no more than a quarter of the
    decades by which that surpasses the loudest so far; after the loudest frame nothing differs.
    With ``log_max`` given, nothing differs at all if it is the clip's own.

    Args:
        extractor: transformers' ``WhisperFeatureExtractor``.
        log_max: The decimal logarithm of the loudest bin's power; None takes the loudest so far.

    Attributes:
        log_max: The largest so far, or the one given.
    """

    def __init__(self, extractor: Any, log_max: float | None = None) -> None:
        self._filters = np.asarray(extractor.mel_filters)  # (bins, n_mels)
        self._window = np.hanning(N_FFT + 1)[:-1]
        self._is_fixed = log_max is not None
        self.log_max = -np.inf if log_max is None else log_max
        self._samples = np.zeros(0, np.float32)
        self._received = self._emitted = 0
        self._is_mirrored = False

    def push(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes samples, and gives the frames that they complete, float32 (n_mels, T_mel).

        Raises:
            ValueError: If the waveform has more than one axis, or a type that samples do not have.
        """
        clip = as_float32(waveform)
        if clip.ndim != 1:
            raise ValueError(f"a waveform must be (samples,), not {clip.shape}")
        self._received += len(clip)
        self._samples = np.concatenate([self._samples, clip])
        return self._frames()

    def finish(self) -> NDArray[np.float32]:
        """The last frames: ``ceil(samples / 160)`` in all, with silence after the clip."""
        missing = -(-self._received // HOP_LENGTH) - self._emitted
        self._samples = np.concatenate([self._samples, np.zeros(2 * N_FFT, np.float32)])
        return self._frames(missing)

    def _frames(self, most: int | None = None) -> NDArray[np.float32]:
        # The first window is centred at the first sample, with the clip mirrored in front of it.
        if not self._is_mirrored and len(self._samples) > N_FFT // 2:
            self._samples = np.concatenate([self._samples[N_FFT // 2 : 0 : -1], self._samples])
            self._is_mirrored = True
        count = max(0, (len(self._samples) - N_FFT) // HOP_LENGTH + 1) if self._is_mirrored else 0
        count = count if most is None else min(count, most)
        self._emitted += count
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(self._samples, (0, N_FFT)), N_FFT
        )[: count * HOP_LENGTH : HOP_LENGTH]
        power = np.abs(np.fft.rfft(windows * self._window, axis=1)) ** 2
        self._samples = self._samples[count * HOP_LENGTH :]
        return self._normalise(np.log10(np.maximum(power @ self._filters, 1e-10)).T)

    def _normalise(self, log_mel: NDArray[np.float64]) -> NDArray[np.float32]:
        if not self._is_fixed and log_mel.size:
            self.log_max = max(self.log_max, float(log_mel.max()))
        return ((np.maximum(log_mel, self.log_max - DYNAMIC_RANGE) + 4) / 4).astype(np.float32)

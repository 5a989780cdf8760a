"""A frozen Whisper encoder for clips of any length, and the projector behind it.

Hugging Face's ``WhisperEncoder`` refuses anything but 30 s of mel frames. The forward here runs
over the same weights with as many frames as the clips have, and agrees with it on 30 s.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from numpy.typing import NDArray
from torch import Tensor, nn

from ossicle.model.blocks import Linear
from ossicle.model.loading import WhisperLoadError, load_whisper

__all__ = ["Projector", "WhisperEncoder", "WhisperLoadError"]

HOP_LENGTH = 160  # samples from one mel frame to the next


class WhisperEncoder(nn.Module):
    """A Whisper encoder that never trains: no gradients, always in eval mode.

    Args:
        source: A Hugging Face id, a local folder (config.json, preprocessor_config.json and
            safetensors), or ``"tiny-random"``: small, random, always the same, made without a hub.
        ms_id: A ModelScope id, tried before Hugging Face; default the variable WHISPER_MS_ID. The
            variable WHISPER_HF_ID overrides a Hugging Face id in ``source``. Neither variable
            touches a folder or ``"tiny-random"``.
        device: Where the weights go.
        dtype: The dtype of weights and activations; float32 by default.

    Attributes:
        name: The source that the weights came from.
        d_model: Channels of the output.
        n_mels: Mel bins of the input.
        sampling_rate: Of the waveforms that `preprocess` takes, in Hz.
        max_frames: The most mel frames that `forward` takes: 3000, which are 30 s.

    Raises:
        WhisperLoadError: If no source gave an encoder; it names each one tried and why it failed.
    """

    def __init__(
        self,
        source: str = "openai/whisper-base",
        *,
        ms_id: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.name, self.encoder, self.feature_extractor = load_whisper(source, ms_id)
        config = self.encoder.config
        self.d_model = int(config.d_model)
        self.n_mels = int(config.num_mel_bins)
        self.max_frames = 2 * int(config.max_source_positions)
        self.sampling_rate = int(self.feature_extractor.sampling_rate)
        self.requires_grad_(False)
        self.to(device=device, dtype=dtype)
        self.train(False)

    def train(self, mode: bool = True) -> WhisperEncoder:  # noqa: ARG002, RUF100
        """Stays in eval mode whatever ``mode`` says: the encoder is frozen."""
        return super().train(False)

    @property
    def fingerprint(self) -> str:
        """64 hex digits over everything that changes the output: weights, dtype, heads, features.

        Features stored under one fingerprint can be refused by a model that has another.
        """
        digest = hashlib.sha256()
        extractor = self.feature_extractor.to_dict()
        config = {k: v for k, v in self.encoder.config.to_dict().items() if k in _SHAPING_KEYS}
        digest.update(json.dumps([config, extractor], sort_keys=True, default=repr).encode())
        for name, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def preprocess(
        self,
        audio_arrays: Sequence[NDArray[np.float32]],
        *,
        pad_to_seconds: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The log-mel features of clips, only as many frames as the longest of them has.

        Args:
            audio_arrays: Mono waveforms, float32 ``(samples,)``, at `sampling_rate`.
            pad_to_seconds: Pads or cuts every clip to this, with what Hugging Face's extractor puts
                there; 30.0 gives its own output.

        Returns:
            ``input_features``, float32 (B, n_mels, T_mel), and each clip's frames, ``ceil(samples /
            160)``, int64 (B,). A clip's frames are, bit for bit, the first of what
            ``WhisperFeatureExtractor`` gives for it alone; without ``pad_to_seconds`` the frames
            behind them are zeros.

        Raises:
            ValueError: If a waveform has more than one axis, or is longer than the encoder can take
                while nothing says that it may be cut.
        """
        if pad_to_seconds is None:
            kept = self.max_frames
            self._check_lengths(audio_arrays)
        else:
            kept = math.ceil(pad_to_seconds * self.sampling_rate / HOP_LENGTH)
        frames = [min(math.ceil(len(clip) / HOP_LENGTH), kept) for clip in audio_arrays]
        longest = max(frames, default=0) if pad_to_seconds is None else kept
        features = torch.zeros(len(audio_arrays), self.n_mels, longest)
        for row, (clip, count) in enumerate(zip(audio_arrays, frames, strict=True)):
            width = count if pad_to_seconds is None else kept
            features[row, :, :width] = self._log_mel(clip, pad_to_seconds)[:, :width]
        return features, torch.tensor(frames, dtype=torch.int64)

    def _check_lengths(self, clips: Sequence[NDArray[np.float32]]) -> None:
        limit = self.max_frames * HOP_LENGTH
        for row, clip in enumerate(clips):
            if len(clip) > limit:
                raise ValueError(
                    f"clip {row} has {len(clip) / self.sampling_rate:.2f} s, the encoder takes "
                    f"{limit / self.sampling_rate:.2f} s: cut it, or pass pad_to_seconds"
                )

    def _log_mel(self, clip: NDArray[np.float32], pad_to_seconds: float | None) -> Tensor:
        # One clip a call, since a batched matrix product may round otherwise than a single one.
        if np.ndim(clip) != 1:
            raise ValueError(f"a waveform must be (samples,), not {np.shape(clip)}")
        seconds = self.max_frames * HOP_LENGTH / self.sampling_rate
        samples = round((pad_to_seconds or seconds) * self.sampling_rate)
        out = self.feature_extractor(
            np.asarray(clip, dtype=np.float32),
            sampling_rate=self.sampling_rate,
            max_length=samples,
            return_tensors="np",
        )
        return torch.from_numpy(out["input_features"][0])

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Encoder frames for clips of ``lengths`` mel frames: half as many, rounded up."""
        return (lengths + 1) // 2

    @torch.no_grad()
    def forward(self, input_features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The encoder's last hidden states, only as many as the features have frames for.

        Args:
            input_features: Log-mel features (B, n_mels, T_mel), up to `max_frames` frames.
            lengths: Mel frames of each clip, int64 (B,). What lies behind them does not touch the
                result: a clip gives in any batch what it gives alone.

        Returns:
            (B, ceil(T_mel / 2), d_model) in the weights' dtype; zeros behind each clip's
            `output_lengths`.

        Raises:
            ValueError: If the features have another shape or more frames than positions exist.
        """
        self._check_features(input_features)
        weight = self.encoder.conv1.weight
        if not input_features.numel():  # a convolution refuses what is empty
            return torch.zeros(len(input_features), 0, self.d_model).to(weight)
        x = input_features.to(weight.device, weight.dtype)
        keep = None
        if lengths is not None:
            lengths = lengths.to(weight.device)
            keep = _within(self.output_lengths(lengths), (x.shape[-1] + 1) // 2)
        x = self._convolve(x, lengths)
        x = x + self.encoder.embed_positions.weight[: x.shape[1]]
        # A clip without frames would attend to nothing, which is NaN: it sees its padding instead.
        mask = None if keep is None else (keep | ~keep.any(1, keepdim=True))[:, None, None]
        for layer in self.encoder.layers:
            x = _encode_layer(layer, x, mask)
        x = self.encoder.layer_norm(x)
        return cast(Tensor, x) if keep is None else x.masked_fill(~keep[..., None], 0)

    def _check_features(self, features: Tensor) -> None:
        if features.dim() != 3 or features.shape[1] != self.n_mels:
            raise ValueError(
                f"input_features {tuple(features.shape)} are not (B, {self.n_mels}, T_mel)"
            )
        if features.shape[-1] > self.max_frames:
            raise ValueError(
                f"{features.shape[-1]} mel frames are more than the encoder's {self.max_frames}"
            )

    def _convolve(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, n_mels, T_mel) to (B, ceil(T_mel / 2), d_model).

        Each convolution reads one frame past a clip's end, where it must find the zeros that it
        finds when the clip is alone.
        """
        keep = None if lengths is None else _within(lengths, x.shape[-1])[:, None]
        for conv in (self.encoder.conv1, self.encoder.conv2):
            x = x if keep is None else x.masked_fill(~keep, 0)
            x = F.gelu(conv(x))
        return x.transpose(1, 2)


_SHAPING_KEYS = {"activation_function", "encoder_attention_heads"}  # the weights do not show them


def _within(lengths: Tensor, size: int) -> Tensor:
    """True at the first ``lengths[i]`` of ``size`` positions, (B, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def _encode_layer(layer: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    """One pre-norm encoder layer over (B, T, d_model), with Hugging Face's modules."""
    x = x + _self_attention(layer.self_attn, layer.self_attn_layer_norm(x), mask)
    hidden = layer.activation_fn(layer.fc1(layer.final_layer_norm(x)))
    x = x + layer.fc2(hidden)
    if x.dtype == torch.float16:  # the large models overflow it, and Hugging Face clamps here too
        limit = torch.finfo(x.dtype).max - 1000
        x = x.clamp(-limit, limit)
    return x


def _self_attention(attention: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    heads = (attention.num_heads, attention.head_dim)
    # The scale goes to the queries first, as in OpenAI's code: half precision rounds otherwise.
    q = (attention.q_proj(x) * attention.scaling).unflatten(-1, heads).transpose(1, 2)
    k = attention.k_proj(x).unflatten(-1, heads).transpose(1, 2)
    v = attention.v_proj(x).unflatten(-1, heads).transpose(1, 2)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    return cast(Tensor, attention.out_proj(y.transpose(1, 2).flatten(2)))


class Projector(nn.Module):
    """Maps encoder frames to soft tokens: stack ``stack`` frames, linear, GELU, linear, no bias.

    The second layer starts at zero, so that the audio starts as zero vectors. Master weights are
    float32, cast to the dtype of the activations.

    Args:
        in_dim: Channels of an encoder frame.
        out_dim: Width of the language model.
        hidden_dim: Width between the layers; ``out_dim`` by default.
        stack: Consecutive frames that make one token.

    Raises:
        ValueError: If ``stack`` is below 1.
    """

    def __init__(
        self, in_dim: int, out_dim: int, hidden_dim: int | None = None, *, stack: int = 1
    ) -> None:
        super().__init__()
        if stack < 1:
            raise ValueError(f"stack {stack} is below 1")
        self.stack = stack
        hidden_dim = out_dim if hidden_dim is None else hidden_dim
        self.fc1 = Linear(in_dim * stack, hidden_dim)
        self.fc2 = Linear(hidden_dim, out_dim)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Sets both layers anew: the first uniform with a variance of 1 / inputs, the second 0."""
        bound = (3.0 / self.fc1.in_features) ** 0.5
        nn.init.uniform_(self.fc1.weight, -bound, bound)
        nn.init.zeros_(self.fc2.weight)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Soft tokens for clips of ``lengths`` encoder frames."""
        return (lengths + self.stack - 1) // self.stack

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Soft tokens of encoder frames.

        Args:
            x: Encoder frames (B, T, in_dim).
            lengths: Frames of each clip, int64 (B,): a token that reaches past them sees zeros.

        Returns:
            (B, ceil(T / stack), out_dim) in the dtype of ``x``; each clip's share is
            `output_lengths`.
        """
        if lengths is not None and self.stack > 1:
            x = x.masked_fill(~_within(lengths.to(x.device), x.shape[1])[..., None], 0)
        if self.stack > 1:
            x = F.pad(x, (0, 0, 0, -x.shape[1] % self.stack))
            x = x.reshape(x.shape[0], -1, self.stack * x.shape[2])
        return cast(Tensor, self.fc2(F.gelu(self.fc1(x))))

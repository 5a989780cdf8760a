"""A frozen Whisper encoder for clips of any length, any of its layers, whole or streamed.

Hugging Face's ``WhisperEncoder`` refuses anything but 30 s of mel frames. The forward here runs
over the same weights with as many frames as the clips have, and agrees with it on 30 s.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from numpy.typing import NDArray
from torch import Tensor, nn

from ossicle.audio.waveforms import as_float32
from ossicle.features.mel import HOP_LENGTH
from ossicle.model.loading import WhisperLoadError, load_whisper
from ossicle.model.projector import Projector, within
from ossicle.model.whisper_layers import (
    attend_packed,
    attend_padded,
    has_varlen_kernel,
    run_layers,
)
from ossicle.model.whisper_stream import WhisperStream

__all__ = ["Layer", "Projector", "WhisperEncoder", "WhisperLoadError"]

Layer: TypeAlias = int | Literal["last", "all"]
Length = TypeVar("Length", int, Tensor)


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
        layer: Which hidden states `forward` gives, as transformers' ``output_hidden_states`` counts
            them: 0 is what enters the first layer, i what leaves layer i; ``"last"``, the default,
            is normed; ``"all"`` gives each of them. What is above is not computed.

    Attributes:
        name: The source that the weights came from.
        d_model: Channels of the output.
        n_mels: Mel bins of the input.
        sampling_rate: Of the waveforms that `preprocess` takes, in Hz.
        max_frames: The most mel frames that `forward` takes: 3000, which are 30 s.
        frames_per_second: Frames of the output for a second of sound.
        layer: The hidden state that `forward` gives, by its number; None for all.
        layers: How many layers' states `forward` gives with ``layer="all"``: one more than the
            encoder has layers. None where it gives one alone, without an axis for it.

    Raises:
        WhisperLoadError: If no source gave an encoder; it names each one tried and why it failed.
        ValueError: If there is no such ``layer``.
    """

    frames_per_second = 50

    def __init__(
        self,
        source: str = "openai/whisper-base",
        *,
        ms_id: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        layer: Layer = "last",
    ) -> None:
        super().__init__()
        self.name, self.encoder, self.feature_extractor = load_whisper(source, ms_id)
        config = self.encoder.config
        self.d_model = int(config.d_model)
        self.n_mels = int(config.num_mel_bins)
        self.max_frames = 2 * int(config.max_source_positions)
        depth = len(self.encoder.layers)
        self.layer = _layer_number(layer, depth)
        self.layers = depth + 1 if self.layer is None else None
        self.sampling_rate = int(self.feature_extractor.sampling_rate)
        self.requires_grad_(False)
        self.to(device=device, dtype=dtype)
        self.train(False)

    def train(self, mode: bool = True) -> WhisperEncoder:  # noqa: ARG002, RUF100
        """Stays in eval mode whatever ``mode`` says: the encoder is frozen."""
        return super().train(False)

    @property
    def fingerprint(self) -> str:
        """64 hex digits over all that changes the output: weights, dtype, heads, features, layer.

        Features stored under one fingerprint can be refused by a model that has another.
        """
        digest = hashlib.sha256()
        extractor = self.feature_extractor.to_dict()
        config = {k: v for k, v in self.encoder.config.to_dict().items() if k in _SHAPING_KEYS}
        facts = [config, extractor]
        if self.layer != len(self.encoder.layers):  # the last goes without saying
            facts.append({"layer": "all" if self.layer is None else self.layer})
        digest.update(json.dumps(facts, sort_keys=True, default=repr).encode())
        for name, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return cast(torch.device, self.encoder.device)

    @property
    def feature_settings(self) -> Mapping[str, Any]:
        """The settings of its feature extractor, by name."""
        return cast("Mapping[str, Any]", vars(self.feature_extractor))

    def preprocess(
        self,
        audio_arrays: Sequence[NDArray[np.float32]],
        *,
        pad_to_seconds: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The log-mel features of clips, only as many frames as the longest of them has.

        Args:
            audio_arrays: Mono waveforms ``(samples,)`` at `sampling_rate`: floats, or int8, int16,
                int32 or uint8 at their full scale.
            pad_to_seconds: Pads or cuts every clip to this, with what Hugging Face's extractor puts
                there; 30.0 gives its own output.

        Returns:
            ``input_features``, float32 (B, n_mels, T_mel), and each clip's frames, ``ceil(samples /
            160)``, int64 (B,). A clip's frames are, bit for bit, the first of what
            ``WhisperFeatureExtractor`` gives for it alone; without ``pad_to_seconds`` the frames
            after them are zeros.

        Raises:
            ValueError: If a waveform has more than one axis or a type that samples do not have, or
                is longer than the encoder can take while nothing says that it may be cut.
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
            as_float32(clip),
            sampling_rate=self.sampling_rate,
            max_length=samples,
            return_tensors="np",
        )
        return torch.from_numpy(out["input_features"][0])

    def output_lengths(self, lengths: Length) -> Length:
        """Encoder frames for clips of ``lengths`` mel frames: half as many, rounded up."""
        return (lengths + 1) // 2

    def flops(self, frames: int) -> float:
        """The arithmetic of a forward pass that gives so many frames, of one clip."""
        depth, width = len(self.encoder.layers), self.d_model
        layers = depth if self.layer is None else self.layer
        inner = int(self.encoder.config.encoder_ffn_dim)
        # The first convolution runs at twice the rate of the second; both look at three frames.
        convolutions = 2 * 3 * width * (2 * self.n_mels + width)
        linear = 2 * layers * (4 * width**2 + 2 * width * inner)
        return frames * (convolutions + linear + 4 * layers * width * frames)

    @torch.no_grad()
    def forward(self, input_features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The encoder's hidden states, only as many as the features have frames for.

        Clips of several lengths are packed, so that padding costs next to nothing, wherever that
        is fast: on the CPU, and on CUDA where PyTorch has a kernel for it and ``lengths`` lie on
        the CPU. Elsewhere, and under ``torch.compile``, they are padded and masked.

        Args:
            input_features: Log-mel features (B, n_mels, T_mel), up to `max_frames` frames.
            lengths: Mel frames of each clip, int64 (B,). What lies after them does not touch the
                result: a clip gives in any batch what it gives alone.

        Returns:
            (B, ceil(T_mel / 2), d_model), or (B, layers, ceil(T_mel / 2), d_model) with
            ``layer="all"``, in the weights' dtype; zeros after each clip's `output_lengths`.

        Raises:
            ValueError: If the features have another shape or more frames than positions exist.
        """
        self._check_features(input_features)
        weight = self.encoder.conv1.weight
        if not input_features.numel():  # a convolution refuses what is empty
            return self._layout(torch.zeros(len(input_features), 0, self.d_model)).to(weight)
        x = input_features.to(weight.device, weight.dtype)
        packed = self._lengths_to_pack(lengths, x)
        lengths = None if lengths is None else lengths.to(x.device)
        x = self._convolve(x, lengths)
        x = x + self.encoder.embed_positions.weight[: x.shape[1]]
        if packed is not None:
            return self._run_packed(x, packed)
        return self._run_padded(x, lengths)

    def _lengths_to_pack(self, lengths: Tensor | None, x: Tensor) -> list[int] | None:
        """Encoder frames of each clip, where the clips are to be packed."""
        if lengths is None or torch.compiler.is_compiling() or lengths.device.type != "cpu":
            return None
        if x.device.type != "cpu" and not has_varlen_kernel(x.device, x.dtype):
            return None
        counts = cast("list[int]", self.output_lengths(lengths).tolist())
        return counts if any(counts) else None

    def _run_padded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return run_layers(self.encoder, x, attend_padded(None), self.layer)
        keep = within(self.output_lengths(lengths), x.shape[1])
        # A clip without frames would attend to nothing, which is NaN: it sees its padding instead.
        mask = (keep | ~keep.any(1, keepdim=True))[:, None, None]
        x = run_layers(self.encoder, x, attend_padded(mask), self.layer)
        keep = keep[..., None]
        return x.masked_fill(~(keep if self.layers is None else keep[:, None]), 0)

    def _run_packed(self, x: Tensor, counts: list[int]) -> Tensor:
        full = [count for count in counts if count]
        attend = attend_packed(full, x.device, x.dtype)
        rows = torch.cat([row[:count] for row, count in zip(x, counts, strict=True)])[None]
        packed = run_layers(self.encoder, rows, attend, self.layer)[0]
        out = self._layout(torch.zeros_like(x))
        for row, clip in zip(out, torch.split(packed, counts, dim=-2), strict=True):
            row[..., : clip.shape[-2], :] = clip
        return out

    def _layout(self, x: Tensor) -> Tensor:
        """(B, T, d), with the axis of layers if there is one."""
        return x if self.layers is None else x[:, None].repeat(1, self.layers, 1, 1)

    def stream(
        self,
        *,
        chunk_frames: int = 50,
        left_context: int = 250,
        log_max: float | None = None,
    ) -> WhisperStream:
        """An encoder of one endless clip, chunk by chunk; see `WhisperStream`.

        Args:
            chunk_frames: Encoder frames of a chunk, 20 ms each.
            left_context: How many frames before its chunk a frame sees.
            log_max: The largest decimal logarithm of the mel power, to which features are normed;
                None takes the largest so far.

        Raises:
            ValueError: If ``chunk_frames`` is below 1 or above the encoder's positions, or
                ``left_context`` below 0.
        """
        return WhisperStream(self, chunk_frames, left_context, log_max)

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
        keep = None if lengths is None else within(lengths, x.shape[-1])[:, None]
        for conv in (self.encoder.conv1, self.encoder.conv2):
            x = x if keep is None else x.masked_fill(~keep, 0)
            x = F.gelu(conv(x))
        return x.transpose(1, 2)

    # The weights come from the source, whatever a checkpoint says: a module that holds an encoder
    # saves and loads itself as if it held none.

    def state_dict(self, *args: Any, destination: Any = None, **kwargs: Any) -> Any:  # noqa: ARG002, RUF100
        """Nothing: a frozen encoder is in no checkpoint. ``encoder.encoder`` has its weights."""
        return OrderedDict() if destination is None else destination

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        own = self.encoder.state_dict(prefix=f"{prefix}encoder.")
        for name in [name for name in state_dict if name.startswith(prefix)]:
            del state_dict[name]
        state_dict.update(own)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _layer_number(layer: Layer, depth: int) -> int | None:
    """Which hidden state is wanted; None for all."""
    if layer == "all":
        return None
    if layer == "last":
        return depth
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer <= depth:
        raise ValueError(f'layer is "last", "all" or 0 to {depth}, not {layer!r}')
    return layer


_SHAPING_KEYS = {"activation_function", "encoder_attention_heads"}  # the weights do not show them

"""What the package needs of an audio encoder, whichever it is.

Another encoder is a class with these members and a line in `load_encoder`; training, extraction and
the projector take whatever fulfils `Encoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

__all__ = ["Encoder", "load_encoder"]

Length = TypeVar("Length", int, Tensor)


class Encoder(Protocol):
    """A frozen encoder from log-mel features to frames.

    Attributes:
        name: The source that the weights came from.
        d_model: Channels of a frame.
        n_mels: Mel bins of the input.
        max_frames: The most mel frames of a clip.
        frames_per_second: Frames of the output for a second of sound.
        layer: The hidden state that it gives, as transformers counts them; None for all of them.
        layers: How many hidden states it gives with all of them; None where it gives one, without
            an axis for it.
    """

    name: str
    d_model: int
    n_mels: int
    max_frames: int
    frames_per_second: int
    layer: int | None
    layers: int | None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    @property
    def fingerprint(self) -> str:
        """64 hex digits over all that changes the output."""
        ...

    @property
    def feature_settings(self) -> Mapping[str, Any]:
        """What its features depend on, by the names of Hugging Face's feature extractors."""
        ...

    def output_lengths(self, lengths: Length) -> Length:
        """The frames of clips of so many mel frames."""
        ...

    def flops(self, frames: int) -> float:
        """The arithmetic of a forward pass that gives so many frames, of one clip."""
        ...

    def __call__(self, input_features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Frames (B, T, d_model), or (B, layers, T, d_model), zeros after each clip's own.

        Args:
            input_features: Log-mel features (B, n_mels, T_mel).
            lengths: Mel frames of each clip, int64 (B,); all of them if None.
        """
        ...


def load_encoder(
    source: str,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    layer: str = "last",
) -> Encoder:
    """The encoder of a model id, a local folder or ``tiny-random``.

    Args:
        source: As `WhisperEncoder` takes it.
        device: Where the weights go.
        dtype: Of weights and activations; float32 by default.
        layer: ``last``, ``all`` or a number.

    Raises:
        WhisperLoadError: If no source gave an encoder.
        ValueError: If there is no such layer.
    """
    from ossicle.model.whisper import WhisperEncoder

    number = int(layer) if layer.removeprefix("-").isdecimal() else layer
    return WhisperEncoder(
        source,
        device=device,
        dtype=dtype,
        layer=number,  # type: ignore[arg-type]  # it checks
    )

"""What stands for Granite's feature extractor where torchaudio is not installed."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature

from ossicle.features.mel import HOP_LENGTH, log_mel_batch

__all__ = ["GraniteSpeechFeatures"]


class GraniteSpeechFeatures(SequenceFeatureExtractor):
    """Granite's feature extractor where torchaudio, which the real one needs, is not installed.

    It is called alike (recordings and ``device``, no sampling rate) and gives the same keys, shapes
    and numbers of tokens: two frames of 80 log-mels stacked, 3 tokens for each 15 of those begun.
    The mels are Whisper's.
    """

    model_input_names: ClassVar[list[str]] = ["input_features"]

    def __init__(self, sampling_rate: int = 16_000, **more: Any) -> None:
        more.setdefault("feature_size", 80)
        super().__init__(sampling_rate=sampling_rate, padding_value=0.0, **more)

    def __call__(self, audios: Any, device: str | None = "cpu") -> BatchFeature:
        """Features of recordings ``(samples,)``: ``input_features`` ``(B, frames // 2, 160)``."""
        del device
        import torch

        clips = [np.asarray(clip) for clip in audios]
        frames = [len(clip) // HOP_LENGTH + 1 for clip in clips]
        longest = max(frames) // 2 * 2
        mels = log_mel_batch(clips, pad_to_seconds=(longest + 1) * HOP_LENGTH / 16_000)
        mels = mels[:, :, :longest].transpose(0, 2, 1).reshape(len(clips), longest // 2, 160)
        sizes = [-(-(count // 2) // 15) * 3 for count in frames]
        mask = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        found = {
            "input_features": torch.from_numpy(mels.copy()),
            "audio_embed_sizes": sizes,
            "input_features_mask": mask,
        }
        return BatchFeature(found)

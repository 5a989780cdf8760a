"""Masks over frames: which ones are there, and which ones a model has to predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ossicle.dataloader.transform.base import DataProcessor, bits_of, check_waveform, sample_bits
from ossicle.dataloader.types import MetadataDict, Sample, SampleRate
from ossicle.errors import InvalidArgumentError

if TYPE_CHECKING:
    from ossicle.dataloader.types import Waveform

__all__ = ["MaskGenerator"]

Bools = npt.NDArray[np.bool_]


class MaskGenerator(DataProcessor):
    """Spans of frames for a model to predict, as wav2vec 2.0 masks them.

    Of a sample's frames, the share ``mask_prob`` begin a span, drawn without replacement, rounded
    up or down at random so that the mean is right. Spans may overlap, so that of many frames about
    ``1 - (1 - mask_prob) ** mask_length`` are masked: 49 % by default (Baevski et al. 2020,
    section 3.1 and appendix). Libraries that ask for the share to be masked before overlaps, as
    fairseq and transformers do, call this 0.65.

    As a transform it adds, both ``(frames,)`` bool, ``metadata["prediction_mask"]``, True where a
    frame is masked, and ``metadata["frame_attention_mask"]``, all True; `SpeechCollator` pads both
    with False. It comes after everything that changes time.

    Args:
        mask_prob: 0 to 1, the share of frames that begin a span.
        mask_length: Frames of a span.
        min_masks: Spans of a sample at least, where it has the frames for them.
        seed: See `base.sample_bits`.
        window_seconds: What one frame hears.
        hop_seconds: From one frame to the next; as its default and that of ``window_seconds`` it is
            in wav2vec 2.0, HuBERT and WavLM.

    Raises:
        InvalidArgumentError: An argument is invalid.
    """

    def __init__(
        self,
        mask_prob: float = 0.065,
        mask_length: int = 10,
        min_masks: int = 2,
        seed: int = 0,
        *,
        window_seconds: float = 0.025,
        hop_seconds: float = 0.02,
    ) -> None:
        if not 0 <= mask_prob <= 1:
            raise InvalidArgumentError(f"mask_prob must be from 0 to 1, not {mask_prob}")
        if mask_length < 1 or min_masks < 0:
            what = f"mask_length is {mask_length} and min_masks {min_masks}"
            raise InvalidArgumentError(f"{what}, not at least 1 and 0")
        if not (0 < hop_seconds < np.inf and 0 < window_seconds < np.inf):
            what = f"window_seconds is {window_seconds} and hop_seconds {hop_seconds}"
            raise InvalidArgumentError(f"{what}, not above 0")
        self.mask_prob, self.mask_length, self.min_masks = mask_prob, mask_length, min_masks
        self.seed, self.window_seconds, self.hop_seconds = seed, window_seconds, hop_seconds

    def __call__(
        self, waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict
    ) -> Sample:
        """The sample with its masks.

        Raises:
            SampleError: There is nothing to take a seed from.
        """
        check_waveform(waveform, metadata)
        frames = self.frames(waveform.shape[-1], sample_rate)
        mask = self._mask(frames, sample_bits(metadata, "MaskGenerator", self.seed))
        masks = {"frame_attention_mask": np.ones(frames, bool), "prediction_mask": mask}
        return waveform, sample_rate, {**metadata, **masks}

    def frames(self, samples: int, sample_rate: SampleRate) -> int:
        """Frames that a model makes of so many samples: whole windows alone."""
        window = max(round(self.window_seconds * sample_rate), 1)
        hop = max(round(self.hop_seconds * sample_rate), 1)
        return (samples - window) // hop + 1 if samples >= window else 0

    def batch_masks(self, lengths: npt.ArrayLike, seed: int) -> tuple[Bools, Bools]:
        """Masks of a batch that is padded already, for training loops that mask on their own.

        Args:
            lengths: ``(B,)`` frames of each row.
            seed: Of this batch, such as the step; each row has its own stream of it.

        Returns:
            ``(B, max(lengths))`` both: the frames that are there, and of these those to predict.
        """
        sizes = np.asarray(lengths, np.int64)
        predicted = np.zeros((len(sizes), sizes.max(initial=0)), bool)
        for row, frames in enumerate(sizes.tolist()):
            bits = bits_of("MaskGenerator.batch_masks", int(self.seed), int(seed), row)
            predicted[row, :frames] = self._mask(frames, bits)
        return np.arange(predicted.shape[1]) < sizes[:, None], predicted

    def _mask(self, frames: int, bits: np.random.PCG64) -> Bools:
        mask = np.zeros(frames, bool)
        places = max(frames - self.mask_length + 1, 0)
        rounding = float(bits.random_raw() >> 11) * 2.0**-53
        spans = min(max(int(self.mask_prob * frames + rounding), self.min_masks), places)
        starts = np.argsort(bits.random_raw(places), kind="stable")[:spans]
        mask[starts[:, None] + np.arange(self.mask_length)] = True
        return mask

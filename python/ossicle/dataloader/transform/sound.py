"""Transforms of the sound itself: its rate and its level."""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from ossicle.audio.resampling import Quality, check_quality, check_rate, resample
from ossicle.data.errors import SampleError
from ossicle.dataloader.transform.base import DataProcessor, check_waveform
from ossicle.dataloader.transform.segments import refuse_outdated
from ossicle.dataloader.types import MetadataDict, Sample, SampleRate
from ossicle.errors import AudioError, InvalidArgumentError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ossicle.dataloader.types import Waveform

__all__ = ["Normalizer", "Resampler"]

Level: TypeAlias = Literal["peak", "rms", "loudness"]

_TARGETS: dict[str, float] = {"peak": -1.0, "rms": -25.0, "loudness": -23.0}
_BLOCK_SECONDS = 0.4  # of BS.1770's gating
_LFE = 3  # of six channels in WAV order


class Resampler(DataProcessor):
    """Converts samples to one rate with `ossicle.resample`; those that have it pass as they are.

    Args:
        sample_rate: Of the result, in Hz.
        quality: As for `ossicle.resample`.

    Raises:
        InvalidArgumentError: A rate or a quality that makes no sense.
    """

    def __init__(self, sample_rate: SampleRate, quality: Quality = "high") -> None:
        self.sample_rate = check_rate(sample_rate, "sample_rate")
        self.quality = check_quality(quality)

    def __call__(
        self, waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict
    ) -> Sample:
        """The sample at the new rate; its segments stay where they are in seconds.

        Raises:
            SampleError: The waveform cannot be converted, or its masks were made before.
        """
        if sample_rate == self.sample_rate:
            return waveform, sample_rate, metadata
        import torch

        check_waveform(waveform, metadata)
        refuse_outdated(metadata)
        try:
            planes = waveform.detach().numpy()
            result = resample(planes, sample_rate, self.sample_rate, quality=self.quality)
        except AudioError as error:
            raise SampleError(str(error), wav_id=metadata.get("wav_id")) from error
        duration = {"duration": result.shape[-1] / self.sample_rate}
        return torch.from_numpy(result), self.sample_rate, {**metadata, **duration}


class Normalizer(DataProcessor):
    """Multiplies a sample so that its level is ``target``, and says so in ``metadata["gain_db"]``.

    The level is that of all channels together. Silence has none and passes as it is, with a gain of
    0 dB. Where several transforms change the level, ``gain_db`` is what they add up to.

    Args:
        kind: ``"peak"``: the largest sample. ``"rms"``: the root of the mean square.
            ``"loudness"``: integrated loudness by ITU-R BS.1770-4, gated, which needs
            ``pip install 'ossicle[loudness]'``; clips shorter than its block of 0.4 s are measured
            as one block. Channels count as L R C Ls Rs there, six of them as 5.1 in WAV order.
        target: In dB of full scale, for loudness in LUFS; by default -1, -25 and -23.
        max_gain_db: No sample becomes louder by more, so that the noise of an empty recording does
            not become speech.
        peak_limit_db: The gain is made smaller where a sample would exceed this peak, in dB of full
            scale; None leaves peaks alone, as float32 holds them.

    Raises:
        InvalidArgumentError: An argument is invalid.
        ModuleNotFoundError: pyloudnorm, which ``"loudness"`` needs, is not installed.
    """

    def __init__(
        self,
        kind: Level = "peak",
        target: float | None = None,
        *,
        max_gain_db: float = 40.0,
        peak_limit_db: float | None = None,
    ) -> None:
        if kind not in get_args(Level):
            raise InvalidArgumentError(f'kind must be "peak", "rms" or "loudness", not {kind!r}')
        if kind == "loudness" and importlib.util.find_spec("pyloudnorm") is None:
            raise ModuleNotFoundError(
                "loudness is measured by pyloudnorm: pip install 'ossicle[loudness]'"
            )
        self.kind = kind
        self.target = _TARGETS[kind] if target is None else float(target)
        self.max_gain_db, self.peak_limit_db = max_gain_db, peak_limit_db
        limits = (self.target, max_gain_db, peak_limit_db or 0.0)
        if not math.isfinite(self.target) or any(map(math.isnan, limits)):
            raise InvalidArgumentError(
                f"target is {self.target}, the limits {limits[1:]}: "
                "both must be finite numbers of dB"
            )

    def __call__(
        self, waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict
    ) -> Sample:
        """The sample at its new level.

        Raises:
            SampleError: It has samples that are not finite, or for loudness too many channels.
        """
        check_waveform(waveform, metadata)
        planes = waveform.detach().numpy().astype(np.float64)
        if not np.isfinite(planes).all():
            raise SampleError("has samples that are not finite", wav_id=metadata.get("wav_id"))
        gain = self._gain(planes, sample_rate, metadata)
        changed = {**metadata, "gain_db": metadata.get("gain_db", 0.0) + gain}
        return (waveform * 10 ** (gain / 20) if gain else waveform), sample_rate, changed

    def _gain(
        self, planes: npt.NDArray[np.float64], sample_rate: int, metadata: MetadataDict
    ) -> float:
        peak = _decibels(float(np.abs(planes).max(initial=0.0)))
        if self.kind == "peak":
            level = peak
        elif self.kind == "rms":
            level = _decibels(math.sqrt(float(np.square(planes).mean()))) if planes.size else peak
        else:
            level = _loudness(planes, sample_rate, metadata)
        if level == -math.inf:
            return 0.0
        gain = min(self.target - level, self.max_gain_db)
        return gain if self.peak_limit_db is None else min(gain, self.peak_limit_db - peak)


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


def _loudness(planes: npt.NDArray[np.float64], sample_rate: int, metadata: MetadataDict) -> float:
    from pyloudnorm import Meter

    channels, samples = planes.shape
    if not 1 <= channels <= 6:
        why = f"loudness is defined for 1 to 5 channels and for 5.1, not for {channels}"
        raise SampleError(why, wav_id=metadata.get("wav_id"))
    if channels == 6:
        planes = np.delete(planes, _LFE, axis=0)
    if not planes.any():
        return -math.inf
    # A hair less than the clip, as a product with the rate may be rounded up.
    block = min(_BLOCK_SECONDS, samples / sample_rate * (1 - 1e-9))
    meter = Meter(sample_rate, block_size=block)
    return float(meter.integrated_loudness(np.ascontiguousarray(planes.T)))

"""`WhisperFeatures`: ossicle's log-mel with the interface of Hugging Face's extractor."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from transformers.audio_utils import mel_filter_bank
from transformers.feature_extraction_utils import BatchFeature
from transformers.models.whisper.feature_extraction_whisper import WhisperFeatureExtractor, logger
from transformers.utils.generic import PaddingStrategy

from ossicle.audio.waveforms import as_float32
from ossicle.features.mel import HOP_LENGTH, MAX_MELS, SAMPLE_RATE, FloatArray, compute_features

__all__ = ["N_FFT", "WhisperFeatures", "slaney_filters"]

N_FFT: Final = 400
"""Samples of one frame."""

# Mono clips, and the samples that all of them are padded to.
_PaddedClips: TypeAlias = tuple[list[FloatArray], int]


class WhisperFeatures(WhisperFeatureExtractor):
    """A drop-in for ``transformers.WhisperFeatureExtractor`` that computes by the native module.

    The same constructor, call, outputs, errors and configuration files. Features are those of the
    extractor's NumPy path within 1e-6; its PyTorch path, which it takes where PyTorch is installed,
    is 4e-5 away from that. A batch is one call that releases the GIL and uses the processors of
    this process, or one inside a worker of a PyTorch data loader; what is padded costs next to
    nothing. PyTorch is not needed::

        extractor = WhisperFeatures.from_pretrained("openai/whisper-large-v3")
        theirs = processor.feature_extractor
        processor.feature_extractor = WhisperFeatures.from_dict(theirs.to_dict())

    What is not Whisper's own (``n_fft``, ``hop_length``, ``sampling_rate``, ``mel_filters``), and
    dither, are left to the extractor's NumPy path; a ``device`` other than the CPU to PyTorch.

    It saves itself as a ``WhisperFeatureExtractor``, which everybody can load. `processor_sha256`
    tells the two apart: features that are equal within 1e-6 are not equal to the bit, and a cache
    must not mix them.
    """

    def __call__(
        self,
        raw_speech: Any,
        truncation: bool = True,
        pad_to_multiple_of: int | None = None,
        return_tensors: Any = None,
        return_attention_mask: bool | None = None,
        padding: Any = "max_length",
        max_length: int | None = None,
        sampling_rate: int | None = None,
        do_normalize: bool | None = None,
        device: Any = "cpu",
        **kwargs: Any,
    ) -> BatchFeature:
        """Features of one clip or of several, as ``WhisperFeatureExtractor`` gives them.

        Integers mean their full scale, as everywhere in ossicle and unlike in the extractor that
        this stands for, which takes their values as they are.

        Args:
            raw_speech: A mono clip, or several: arrays ``(samples,)`` or lists of floats, or one
                array ``(B, samples)``; floats, or int8, int16, int32 or uint8 at their full scale.
            truncation: Cut what is longer than ``max_length``.
            pad_to_multiple_of: Pad to a multiple of so many samples.
            return_tensors: ``"np"`` or ``"pt"``; None gives arrays too.
            return_attention_mask: Give ``attention_mask``, int32 ``(B, frames)``, too.
            padding: ``"max_length"``, ``"longest"`` (or True), or ``"do_not_pad"`` (or False).
            max_length: In samples; None takes ``chunk_length`` seconds.
            sampling_rate: Of ``raw_speech`` in Hz, to be checked; without it there is a warning.
            do_normalize: Bring each clip to zero mean and unit variance first.
            device: Anything but ``"cpu"`` is handed to PyTorch.
            kwargs: What other versions of the extractor know, such as ``return_token_timestamps``.

        Returns:
            ``input_features``, float32 ``(B, n_mels, frames)``, and what else was asked for.

        Raises:
            ValueError: Another sampling rate, or what is not mono.
            InvalidArgumentError: A ValueError, for samples of another type.
        """
        raw_speech = _as_floats(raw_speech)
        is_plain = (
            sampling_rate in (None, self.sampling_rate)
            and not do_normalize
            and str(device) == "cpu"
            # Without a word in the call, the extractor gives the mask of samples that `pad` makes.
            and (return_attention_mask or not self.return_attention_mask)
            and (self.padding_value, self.padding_side) == (0.0, "right")
            and not any(kwargs.get(name) is not None for name in _MORE_ARGUMENTS)
            and self._is_whispers()
        )
        clips = _mono(raw_speech) if is_plain else None
        length = max_length or self.n_samples
        plan = self._plan(clips, length, padding, truncation, pad_to_multiple_of) if clips else None
        if plan is None:
            # An error, or slower, since the padding is made: `_np_extract_fbank_features` below.
            return super().__call__(
                raw_speech,
                truncation=truncation,
                pad_to_multiple_of=pad_to_multiple_of,
                return_tensors=return_tensors,
                return_attention_mask=return_attention_mask,
                padding=padding,
                max_length=max_length,
                sampling_rate=sampling_rate,
                do_normalize=do_normalize,
                device=device,
                **kwargs,
            )
        if sampling_rate is None:
            logger.warning(
                f"No sampling_rate was passed to {type(self).__name__}: a clip at another rate "
                f"than {self.sampling_rate} Hz gives wrong features without an error."
            )
        features = compute_features(*plan, self.mel_filters.shape[1])
        outputs = BatchFeature({"input_features": features})
        if return_attention_mask:
            outputs["attention_mask"] = _mask(*plan)
        return outputs if return_tensors is None else outputs.convert_to_tensors(return_tensors)

    def to_dict(self) -> dict[str, Any]:
        """What rebuilds it, as a ``WhisperFeatureExtractor`` too."""
        found: dict[str, Any] = super().to_dict()
        return found | {"feature_extractor_type": WhisperFeatureExtractor.__name__}

    def _is_whispers(self) -> bool:
        """Whether the native module computes what the settings say."""
        settings = (self.n_fft, self.hop_length, self.sampling_rate, self.dither)
        if settings != (N_FFT, HOP_LENGTH, SAMPLE_RATE, 0.0):
            return False
        bands = self.mel_filters.shape[-1]
        if not 1 < bands <= MAX_MELS:
            return False
        known = slaney_filters(bands)
        if self.mel_filters is not known and not np.array_equal(self.mel_filters, known):
            return False
        # Recognised at a glance from now on.
        self.mel_filters = known
        return True

    def _plan(
        self,
        clips: list[FloatArray],
        length: int,
        padding: Any,
        truncation: bool,
        multiple: int | None,
    ) -> _PaddedClips | None:
        """What the extractor's `pad` would make of ``clips``; None where their ends differ."""
        strategy = self._get_padding_strategies(padding, length)  # type: ignore[no-untyped-call]
        length = _whole(length, multiple)
        if truncation:
            clips = [clip[:length] for clip in clips]
        longest = max(map(len, clips))
        if strategy == PaddingStrategy.LONGEST:
            length = _whole(longest, multiple)
        if strategy == PaddingStrategy.DO_NOT_PAD:
            length = 0
        ends = {max(len(clip), length) for clip in clips}
        end = ends.pop()
        return None if ends or end < HOP_LENGTH else (clips, end)

    def _np_extract_fbank_features(self, waveform_batch: Any, device: Any) -> FloatArray:
        waveforms = np.asarray(waveform_batch)
        is_batch = waveforms.ndim == 2 and waveforms.shape[1] >= HOP_LENGTH
        if not (
            is_batch
            and waveforms.dtype.kind == "f"
            and str(device) == "cpu"
            and self._is_whispers()
        ):
            found: FloatArray = super()._np_extract_fbank_features(waveform_batch, device)
            return found
        clips = list(np.ascontiguousarray(waveforms, np.float32))
        return compute_features(clips, waveforms.shape[1], self.mel_filters.shape[1])

    def _torch_extract_fbank_features(self, waveform: Any, device: Any = "cpu") -> FloatArray:
        if str(device) == "cpu":
            return self._np_extract_fbank_features(waveform, device)
        found: FloatArray = super()._torch_extract_fbank_features(waveform, device)
        return found


# What other versions of the extractor take.
_MORE_ARGUMENTS: Final = tuple(
    inspect.signature(WhisperFeatureExtractor.__call__).parameters.keys()
    - inspect.signature(WhisperFeatures.__call__).parameters.keys()
)


@lru_cache
def slaney_filters(bands: int) -> npt.NDArray[np.float64]:
    """Slaney's mel filters, (201, bands); read-only."""
    filters: npt.NDArray[np.float64] = mel_filter_bank(
        1 + N_FFT // 2, bands, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    filters.setflags(write=False)
    return filters


def _as_floats(raw_speech: Any) -> Any:
    """Clips whose samples are floats, with full scale at 1; floats of any kind as they came."""
    if isinstance(raw_speech, str):
        return raw_speech  # no samples: the extractor says so
    if isinstance(raw_speech, list | tuple) and (not raw_speech or np.ndim(raw_speech[0])):
        return [_as_floats(one) for one in raw_speech]
    kind = str(getattr(raw_speech, "dtype", "")).removeprefix("torch.")
    is_float = kind in ("float16", "float32", "float64")
    return raw_speech if is_float else as_float32(raw_speech, "raw_speech")


def _mono(raw_speech: Any) -> list[FloatArray] | None:
    """Clips as float32; None for what the extractor refuses or understands in a way of its own."""
    if isinstance(raw_speech, np.ndarray):
        rows = list(raw_speech) if raw_speech.ndim == 2 else [raw_speech]
    elif isinstance(raw_speech, list | tuple):
        if not raw_speech:
            return None
        is_batch = isinstance(raw_speech[0], np.ndarray | list | tuple)
        rows = list(raw_speech) if is_batch else [raw_speech]
    else:
        rows = [raw_speech]
    clips = [np.asarray(row) for row in rows]
    if not clips or any(clip.ndim != 1 for clip in clips):
        return None
    return [np.ascontiguousarray(clip, np.float32) for clip in clips]


def _whole(length: int, multiple: int | None) -> int:
    if multiple is None or length % multiple == 0:
        return length
    return (length // multiple + 1) * multiple


def _mask(clips: list[FloatArray], padded: int) -> npt.NDArray[np.int32]:
    """1 for each frame whose middle lies in its clip."""
    middles = HOP_LENGTH * np.arange(padded // HOP_LENGTH)
    lengths = np.array([[len(clip)] for clip in clips])
    return (middles < lengths).astype(np.int32)

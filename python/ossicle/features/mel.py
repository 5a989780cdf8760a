"""Whisper's log-mel features, of waveforms and straight from files.

The arithmetic is that of ``transformers.WhisperFeatureExtractor`` without PyTorch, within 1e-6:
frames of 400 samples every 160 under a periodic Hann window, power, Slaney's mel filters, the
decimal logarithm of at least 1e-10, at most 8 below the clip's largest, plus 4, over 4. Everything
is computed by the native module with the GIL released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle import _native
from ossicle.audio import Gap
from ossicle.audio.arguments import clip_segments, raise_first, thread_count
from ossicle.audio.keywords import names_keywords
from ossicle.audio.raw import RawFormat, raw_arguments
from ossicle.audio.resampling import Quality, check_quality
from ossicle.audio.sources import Opened
from ossicle.audio.waveforms import as_float32
from ossicle.errors import InvalidArgumentError, check_on_error

if TYPE_CHECKING:
    from ossicle.audio import AudioSource
    from ossicle.errors import AudioError

__all__ = [
    "HOP_LENGTH",
    "MAX_MELS",
    "SAMPLE_RATE",
    "WHISPER_SETTINGS",
    "FeatureBatch",
    "compute_features",
    "load_features",
    "log_mel_batch",
    "log_mel_spectrogram",
]

SAMPLE_RATE: Final = 16_000
"""Hz, of every waveform that features are made of."""
HOP_LENGTH: Final = 160
"""Samples from one frame to the next: 100 frames are a second."""

WHISPER_SETTINGS: Final[dict[str, float]] = {
    "sampling_rate": SAMPLE_RATE,
    "n_fft": 400,
    "hop_length": HOP_LENGTH,
    "dither": 0.0,
}
"""What the features depend on beside the bands, by the names of Hugging Face's extractors."""

MAX_MELS: Final = 512
"""More bands would be narrower than the bins of the transform."""

FloatArray: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Features of clips side by side.

    Attributes:
        input_features: ``(B, n_mels, frames)`` float32; zeros where a clip failed.
        lengths: ``(B,)`` int64, samples at 16 kHz that each clip's features were made of; 0 where
            it failed.
        sample_rates: ``(B,)`` int64, the rate in Hz that each source has itself; 0 where it failed.
        errors: For each clip None, or the error that it ended in.
        gaps: For each clip what damage has cost it, in samples at 16 kHz; empty lists unless
            ``on_error="conceal"``.
    """

    input_features: FloatArray
    lengths: IntArray
    sample_rates: IntArray
    errors: list[AudioError | None]
    gaps: list[list[Gap]]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def frames(self) -> IntArray:
        """``(B,)`` int64, the clip's own: ``ceil(length / 160)``; what follows is padding."""
        own = -(-self.lengths // HOP_LENGTH)
        return np.minimum(own, self.input_features.shape[2])

    @property
    def attention_mask(self) -> npt.NDArray[np.int32]:
        """``(B, frames)`` int32, 1 for each clip's own frames, as Hugging Face has it."""
        columns = np.arange(self.input_features.shape[2])
        return (columns < self.frames[:, None]).astype(np.int32)


@names_keywords
def log_mel_spectrogram(
    waveform: npt.ArrayLike, *, n_mels: int = 80, pad_to_seconds: float | None = 30.0
) -> FloatArray:
    """The log-mel spectrogram of one clip, as Whisper takes it.

    Args:
        waveform: ``(samples,)`` at 16 kHz: floats, or int8, int16, int32 or uint8 at their full
            scale, which becomes 1.
        n_mels: Mel bands: 80, or 128 from Whisper large-v3 on; 1 to 512.
        pad_to_seconds: Fill up with zeros, or cut, to this length; what is filled up costs next to
            nothing. None gives the clip's own frames: the first ``ceil(samples / 160)`` of those
            that 30 s give, to the bit, and all of a longer clip.

    Returns:
        ``(n_mels, frames)`` float32, lowest band first: 3000 frames for 30 s. All NaN if a sample
        is NaN or infinite, as Hugging Face's extractor gives it.

    Raises:
        InvalidArgumentError: A type, a shape, a number of bands or a length that is invalid.
    """
    padded, bands = _samples_to_pad_to(pad_to_seconds), _bands(n_mels)
    features: FloatArray = compute_features([_waveform(waveform)], padded, bands, threads=1)[0]
    return features


@names_keywords
def log_mel_batch(
    waveforms: Sequence[npt.ArrayLike] | FloatArray,
    lengths: Sequence[int] | IntArray | None = None,
    *,
    n_mels: int = 80,
    pad_to_seconds: float | None = 30.0,
    threads: int | None = None,
    out: FloatArray | None = None,
) -> FloatArray:
    """The log-mel spectrograms of many clips in one array, in one call that releases the GIL.

    Each row equals `log_mel_spectrogram` of its clip to the bit, on any number of threads.

    Args:
        waveforms: Clips ``(samples,)`` at 16 kHz, of any lengths, or ``(B, samples)``, of the types
            that `log_mel_spectrogram` takes.
        lengths: Samples of each clip, where the rows of ``waveforms`` are padded; as
            `ossicle.AudioBatch` has them.
        n_mels: As for `log_mel_spectrogram`.
        pad_to_seconds: As for `log_mel_spectrogram`. None gives all as many frames as the longest
            clip has; those after a shorter clip's own are what silence would give there.
        threads: Threads to use; None takes one for each processor that this process may use, and
            one inside a worker of a PyTorch data loader.
        out: Where to write, instead of into a new array: ``(B, n_mels, frames)`` float32,
            C-contiguous, apart from ``waveforms``.

    Returns:
        ``(B, n_mels, frames)`` float32; ``out`` if it was given.

    Raises:
        InvalidArgumentError: A type, a shape, a number of bands or threads or a length that is
            invalid; nothing was computed.
    """
    clips = [_waveform(waveform) for waveform in waveforms]
    if lengths is not None:
        clips = _cut(clips, lengths)
    return compute_features(clips, _samples_to_pad_to(pad_to_seconds), _bands(n_mels), threads, out)


@names_keywords
def load_features(
    sources: Sequence[AudioSource],
    *,
    n_mels: int = 80,
    pad_to_seconds: float | None = 30.0,
    offsets: Sequence[float] | None = None,
    duration: float | Sequence[float | None] | None = None,
    channel: int | Sequence[int | None] | None = None,
    threads: int | None = None,
    verify: bool = False,
    on_error: Literal["raise", "collect", "conceal"] = "raise",
    quality: Quality = "high",
    out: FloatArray | None = None,
    strict: bool = False,
    raw: RawFormat | None = None,
) -> FeatureBatch:
    """Decodes many clips and makes their features, in one call that releases the GIL.

    Decoding, mixing, resampling to 16 kHz and the log-mel spectrogram follow each other clip by
    clip, without copies in between. Each row equals, to the bit, `log_mel_spectrogram` of what
    `ossicle.load` gives for the clip at 16 kHz, on any number of threads.

    Args:
        sources: Paths, bytes or file objects, as for `ossicle.load`.
        n_mels: As for `log_mel_spectrogram`.
        pad_to_seconds: As for `log_mel_batch`; no more of a clip is decoded.
        offsets: Where to begin in each clip, in seconds; None begins at 0.
        duration: How much to take, in seconds, of all or of each clip; None takes all.
        channel: As for `ossicle.load_batch`.
        threads: As for `log_mel_batch`.
        verify: As for `ossicle.load`.
        on_error: ``"raise"`` the first clip's error, in order of the sources; ``"collect"`` it
            beside a row of zeros and go on; or ``"conceal"`` damage as `ossicle.load_concealed`
            does, list the gaps, and collect the errors of clips that give no samples at all.
        quality: How well to resample, as for `ossicle.resample`.
        out: Where to write, instead of into a new array: ``(B, n_mels, frames)`` float32,
            C-contiguous; only with ``pad_to_seconds``, since nothing else tells the frames before.
        strict: As for `ossicle.load`.
        raw: As for `ossicle.load_batch`.

    Raises:
        AudioError: With ``on_error="raise"``, when a clip cannot be decoded.
        InvalidArgumentError: An argument is invalid; nothing was decoded.
    """
    check_on_error(on_error, "raise", "collect", "conceal")
    conceal = on_error == "conceal"
    sources = list(sources)
    segments = clip_segments(offsets, duration, channel, len(sources))
    count = thread_count(threads)
    bands, padded, grade = (
        _bands(n_mels),
        _samples_to_pad_to(pad_to_seconds),
        check_quality(quality),
    )
    if padded is not None:
        out = _array((len(sources), bands, padded // HOP_LENGTH), out)
    elif out is not None:
        raise InvalidArgumentError("out needs pad_to_seconds")
    where = (bands, padded, segments, count, verify, conceal, grade, out)
    with Opened(sources, is_raw=raw is not None) as plain:
        found = _native.load_features(plain, *where, strict, raw_arguments(raw))
    features, lengths, rates, errors, clips = found
    gaps = [[Gap(*gap) for gap in clip] for clip in clips]
    batch = FeatureBatch(features, lengths, rates, errors, gaps)
    if on_error == "raise":
        raise_first(batch.errors)
    return batch


def compute_features(
    clips: list[FloatArray],
    padded: int | None,
    n_mels: int,
    threads: int | None = None,
    out: FloatArray | None = None,
) -> FloatArray:
    """Features of contiguous clips, padded or cut to ``padded`` samples; None does neither."""
    longest = max((len(clip) for clip in clips), default=0)
    frames = -(-longest // HOP_LENGTH) if padded is None else padded // HOP_LENGTH
    out = _array((len(clips), n_mels, frames), out)
    count = thread_count(threads)
    _native.log_mel(clips, n_mels, padded, count, out)
    return out


def _waveform(waveform: npt.ArrayLike) -> FloatArray:
    clip = as_float32(waveform, "the clip")
    if clip.ndim != 1:
        raise InvalidArgumentError(f"a clip must be (samples,), mono, not {clip.shape}")
    return clip


def _cut(clips: list[FloatArray], lengths: Sequence[int] | IntArray) -> list[FloatArray]:
    if len(lengths) != len(clips):
        raise InvalidArgumentError(f"{len(lengths)} lengths for {len(clips)} clips")
    for row, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
        if not 0 <= length <= len(clip):
            raise InvalidArgumentError(f"clip {row} has {len(clip)} samples, not {length}")
    return [clip[:length] for clip, length in zip(clips, lengths, strict=True)]


def _bands(n_mels: int) -> int:
    # Checked here too: the size of the array depends on it.
    if isinstance(n_mels, bool) or not 1 <= n_mels <= MAX_MELS or int(n_mels) != n_mels:
        raise InvalidArgumentError(
            f"n_mels must be a whole number from 1 to {MAX_MELS}, not {n_mels!r}"
        )
    return int(n_mels)


def _samples_to_pad_to(seconds: float | None) -> int | None:
    """Samples to pad or cut to."""
    if seconds is None:
        return None
    if not HOP_LENGTH / SAMPLE_RATE <= seconds <= 86_400:
        text = "which must be from 0.01 s (one frame) to 86,400 s (a day)"
        raise InvalidArgumentError(f"pad_to_seconds is {seconds!r}, {text}")
    return round(seconds * SAMPLE_RATE)


def _array(shape: tuple[int, int, int], out: FloatArray | None) -> FloatArray:
    if out is None:
        return np.empty(shape, np.float32)
    fits = isinstance(out, np.ndarray) and out.shape == shape and out.dtype == np.float32
    if not (fits and out.flags.c_contiguous and out.flags.writeable):
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        kind = "a writable C-contiguous float32 array"
        raise InvalidArgumentError(f"out is {found}, not {kind} of shape {shape}")
    return out

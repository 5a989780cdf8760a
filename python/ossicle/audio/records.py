"""What reading gives: facts of a clip, gaps in it, clips side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle.audio import notebook

if TYPE_CHECKING:
    from ossicle.errors import AudioError

__all__ = ["AudioBatch", "AudioInfo", "ConcealedClip", "FloatArray", "Gap"]

FloatArray: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What is known of a clip without decoding it.

    Attributes:
        sample_rate: Frames per second, in Hz.
        channels: Channels of the first audio track.
        frames: Samples per channel that `load` returns at the native rate, exactly.
        container: Container by FFmpeg's short name: ``wav``, ``flac``, ``ogg``, ``mp4`` ...
        codec: Codec by FFmpeg's short name: ``pcm_s16le``, ``flac``, ``vorbis``, ``aac`` ...
        bits_per_sample: Bits of one sample before it became a float; None for lossy codecs.
        remarks: Wrong headers, flags and timestamps of a file whose bytes are whole: a short
            sentence each, with the byte. ``load(..., strict=True)`` makes each of them an error.
    """

    sample_rate: int
    channels: int
    frames: int
    container: str
    codec: str
    bits_per_sample: int | None
    remarks: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Length in seconds; by the first rate where the stream changes it, which is a remark."""
        return self.frames / self.sample_rate

    @property
    def num_frames(self) -> int:
        """`frames`, by torchaudio's name."""
        return self.frames

    @property
    def num_channels(self) -> int:
        """`channels`, by torchaudio's name."""
        return self.channels

    def _repr_html_(self) -> str:
        return notebook.table_of_info(self)


class Gap(NamedTuple):
    """A part of a recording that damage has cost.

    Attributes:
        start: Its first sample, counted in the result.
        end: One after its last. Up to the end of the result it is silence; samples after that are
            missing. ``end == start`` is bytes that belong to no packet and may hide a loss.
        error: What was met, with the byte and the reason.
    """

    start: int
    end: int
    error: AudioError


class ConcealedClip(NamedTuple):
    """What `load_concealed` gives.

    Attributes:
        waveform: ``(samples,)`` or ``(channels, samples)`` float32.
        sample_rate: In Hz.
        gaps: What damage has cost, in the order of time.
    """

    waveform: FloatArray
    sample_rate: int
    gaps: list[Gap]


@dataclass(frozen=True, slots=True)
class AudioBatch:
    """Clips side by side.

    Attributes:
        waveforms: ``(B, T)``, mono, padded with zeros to the longest clip; ``(B, C, T)`` with all
            channels, with silent ones after those of a clip that has fewer.
        lengths: ``(B,)`` int64, samples of each clip; 0 where it failed.
        sample_rates: ``(B,)`` int64, the rate in Hz that each source has itself; 0 where it failed.
        errors: For each clip None, or the error that it ended in.
        gaps: For each clip what damage has cost it; empty lists unless ``on_error="conceal"``.
        sample_rate: Of the waveforms, in Hz; None where each has the rate of its source.
        channels: ``(B,)`` int64, channels of each clip, 0 where it failed; None where they are
            mono.

    ``batch[i]`` is the waveform of one clip without its padding, empty where the clip failed, and
    iterating gives each of them.
    """

    waveforms: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    sample_rates: npt.NDArray[np.int64]
    errors: list[AudioError | None]
    gaps: list[list[Gap]]
    sample_rate: int | None = None
    channels: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, number: int) -> npt.NDArray[Any]:
        clip: npt.NDArray[Any] = self.waveforms[number][..., : self.lengths[number]]
        return clip if self.channels is None else clip[: self.channels[number]]

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return (self[number] for number in range(len(self)))

    def rate_of(self, number: int) -> int:
        """The rate of ``batch[number]`` in Hz."""
        return self.sample_rate or int(self.sample_rates[number])

    def _repr_html_(self) -> str:
        return notebook.page_of_batch(self)

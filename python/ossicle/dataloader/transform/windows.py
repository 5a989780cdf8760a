"""Windows for a model: which stretches of a recording become samples."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ossicle.data.errors import MetadataError, SampleError
from ossicle.dataloader.transform.base import DataProcessor, sample_bits
from ossicle.dataloader.transform.segments import (
    SAME_SECONDS,
    Span,
    cut,
    merge_spans,
    pad_spans,
    segments_of,
    spans_of,
    split_span,
)
from ossicle.dataloader.types import MetadataDict, Sample, SampleRate
from ossicle.errors import InvalidArgumentError

if TYPE_CHECKING:
    from ossicle.dataloader.types import Waveform

__all__ = ["OnlineWindower", "Window", "WindowCutter"]

Mode: TypeAlias = Literal["fixed", "vad", "label"]
Tail: TypeAlias = Literal["keep", "shift", "drop"]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a recording that becomes a sample.

    Attributes:
        onset: Its beginning in seconds.
        end: Its end in seconds.
        label: That of the segment it was laid around, where it was.
    """

    onset: float
    end: float
    label: str | None = None

    @property
    def offset(self) -> float:
        """Deprecated: `end`."""
        text = "Window.offset is deprecated, since an offset is a start elsewhere: use Window.end"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return self.end

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.onset


class WindowCutter(DataProcessor):
    """Cuts stretches out of recordings, and knows them from metadata alone."""

    seed: int

    @abstractmethod
    def windows(self, metadata: MetadataDict) -> list[Window]:
        """The stretches, from what is known of the recording."""

    def split(
        self, waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict
    ) -> list[Sample]:
        """A sample for each of `windows`, maybe none; waveforms are views of the one given."""
        return [
            cut(waveform, sample_rate, metadata, [(window.onset, window.end)])
            for window in self._windows_of(waveform, sample_rate, metadata)
        ]

    def _windows_of(
        self, waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict
    ) -> list[Window]:
        # Of the waveform itself: a duration in metadata may be that of a container's header.
        return self.windows({**metadata, "duration": waveform.shape[-1] / sample_rate})

    def _pick(self, waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict) -> Sample:
        windows = self._windows_of(waveform, sample_rate, metadata)
        if not windows:
            raise SampleError("the recording has no window", wav_id=metadata.get("wav_id"))
        bits = sample_bits(metadata, type(self).__name__, self.seed)
        window = windows[int(bits.random_raw()) % len(windows)]
        return cut(waveform, sample_rate, metadata, [(window.onset, window.end)])


class OnlineWindower(WindowCutter):
    """Windows as a model wants them, chosen from labels before anything is decoded.

    `windows` needs no waveform: a dataset decodes the range of one window. As a transform it cuts
    one window out of the waveform, picked by the sample's seed; `split` gives all.

    The modes:

    - ``"fixed"``: windows of ``length`` seconds, one every ``hop`` seconds from 0 on. What is left
      behind the last whole one is kept as a shorter window (``tail="keep"``), made whole by moving
      it back to the recording's end (``"shift"``; a recording that is shorter than one window
      stays one shorter window) or left out (``"drop"``).
    - ``"vad"``: as many segments of speech as fit into ``length`` seconds, with the silence between
      them. Cuts are in silence, but where speech goes on for more than ``length``: that becomes
      equal parts. Every second of speech is in exactly one window; the silence around is left out.
    - ``"label"``: a window for each segment that has one of ``labels``. With ``length`` it is just
      so long, the segment in its middle, moved as the ends of the recording require; a segment
      that is longer gets several, evenly laid over it. Without, it is the segment and ``padding``.

    Args:
        mode: ``"fixed"``, ``"vad"`` or ``"label"``.
        length: Seconds of a window; in mode ``"vad"`` the most, in mode ``"label"`` maybe None.
        hop: Mode ``"fixed"``: seconds from one window's onset to the next one's, ``length`` by
            default.
        tail: Mode ``"fixed"``: what becomes of the rest.
        key: The segments that are meant, by default ``"vad_merged"`` in mode ``"vad"`` and
            ``"vtc_merged"`` in mode ``"label"``.
        labels: Mode ``"label"``: whose windows are wanted; None for every segment's.
        padding: Modes ``"vad"`` and ``"label"``: seconds around each segment that belong to it.
        max_gap: Mode ``"vad"``: a longer silence, in seconds, is in no window.
        min_length: Windows that are shorter, in seconds, are left out.
        seed: Of the choice of one window, see `base.sample_bits`.

    Raises:
        InvalidArgumentError: An argument makes no sense, or has no meaning in this mode.
    """

    def __init__(
        self,
        mode: Mode = "fixed",
        *,
        length: float | None = None,
        hop: float | None = None,
        tail: Tail = "keep",
        key: str | None = None,
        labels: list[str] | None = None,
        padding: float = 0.0,
        max_gap: float = math.inf,
        min_length: float = 0.0,
        seed: int = 0,
    ) -> None:
        check_choice("mode", mode, get_args(Mode))
        check_choice("tail", tail, get_args(Tail))
        check_positive(length=length, hop=hop)
        check_not_negative(padding=padding, max_gap=max_gap, min_length=min_length)
        if length is None and mode != "label":
            raise InvalidArgumentError(f'mode "{mode}" needs a length in seconds')
        for name, value, modes in (
            ("hop", hop, ("fixed",)),
            ("key", key, ("vad", "label")),
            ("labels", labels, ("label",)),
        ):
            if value is not None and mode not in modes:
                raise InvalidArgumentError(f'{name} has no meaning in mode "{mode}"')
        self.mode, self.length, self.hop, self.tail = mode, length, hop, tail
        self.key = key or ("vad_merged" if mode == "vad" else "vtc_merged")
        self.labels = None if labels is None else frozenset(labels)
        self.padding, self.max_gap, self.min_length = padding, max_gap, min_length
        self.seed = seed

    def windows(self, metadata: MetadataDict) -> list[Window]:
        """The windows of a recording, in order of their onsets.

        Args:
            metadata: Needs ``duration`` in seconds, and in the modes ``"vad"`` and ``"label"`` the
                segments.

        Raises:
            MetadataError: What is needed is not there, or makes no sense.
        """
        make = {"fixed": self._fixed, "vad": self._along_speech, "label": self._around_labels}[
            self.mode
        ]
        windows = make(metadata, duration_of(metadata))
        return [item for item in windows if item.duration >= self.min_length - SAME_SECONDS]

    def __call__(
        self, waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict
    ) -> Sample:
        """One window, picked by the sample's seed.

        Raises:
            SampleError: There is no window, or nothing to take a seed from.
            MetadataError: As of `windows`.
        """
        return self._pick(waveform, sample_rate, metadata)

    def _fixed(self, metadata: MetadataDict, duration: float) -> list[Window]:
        length = self.length or duration
        hop = self.hop or length
        whole = max(math.floor((duration - length + SAME_SECONDS) / hop) + 1, 0)
        windows = [Window(at * hop, min(at * hop + length, duration)) for at in range(whole)]
        covered = windows[-1].end if windows else 0.0
        rest = duration - max(covered, whole * hop if hop > length else 0.0)
        if rest <= SAME_SECONDS or self.tail == "drop":
            return windows
        onset = whole * hop if self.tail == "keep" else max(duration - length, 0.0)
        return [*windows, Window(onset, duration)]

    def _along_speech(self, metadata: MetadataDict, duration: float) -> list[Window]:
        spans = spans_of(segments_of(metadata, self.key), metadata, self.key)
        spans = merge_spans(pad_spans(spans, self.padding, duration))
        return [Window(*span) for span in _pack(spans, self.length or math.inf, self.max_gap)]

    def _around_labels(self, metadata: MetadataDict, duration: float) -> list[Window]:
        windows = []
        for segment in segments_of(metadata, self.key):
            label = self._label(segment, metadata)
            if self.labels is None or label in self.labels:
                spans = spans_of([segment], metadata, self.key)
                for span in pad_spans(spans, self.padding, duration):
                    windows += [Window(*part, label) for part in self._lay(span, duration)]
        return sorted(windows, key=lambda window: (window.onset, window.end))

    def _label(self, segment: dict[str, Any], metadata: MetadataDict) -> str | None:
        label = segment.get("label")
        if label is None and self.labels is not None:
            raise MetadataError(
                f"the segment at {segment['onset']} s has no label",
                wav_id=metadata.get("wav_id"),
                column=self.key,
            )
        return None if label is None else str(label)

    def _lay(self, span: Span, duration: float) -> list[Span]:
        """Windows of the length that is asked for, over the whole of ``span``."""
        if self.length is None:
            return [span]
        length = min(self.length, duration)
        parts = split_span(span, length)
        middles = [(onset + offset) / 2 for onset, offset in parts]
        if len(parts) > 1:  # the first and the last end with the segment
            first, last = span[0] + length / 2, span[1] - length / 2
            steps = len(parts) - 1
            middles = [first + (last - first) * step / steps for step in range(len(parts))]
        onsets = [min(max(middle - length / 2, 0.0), duration - length) for middle in middles]
        return [(onset, min(onset + length, duration)) for onset in onsets]


def _pack(spans: list[Span], length: float, max_gap: float) -> list[Span]:
    """As many spans as fit, one after the other, into each window."""
    packed: list[Span] = []
    for onset, offset in spans:
        fits = packed and offset - packed[-1][0] <= length + SAME_SECONDS
        if fits and onset - packed[-1][1] <= max_gap + SAME_SECONDS:
            packed[-1] = packed[-1][0], offset
        else:
            packed += split_span((onset, offset), length)
    return packed


def duration_of(metadata: MetadataDict) -> float:
    """``metadata["duration"]``.

    Raises:
        MetadataError: It is missing, or no number of seconds.
    """
    duration = metadata.get("duration")
    is_number = isinstance(duration, Real) and not isinstance(duration, bool)
    if duration is None or not is_number or not 0 <= duration < math.inf:
        raise MetadataError(
            f"is {duration!r}, not a number of seconds",
            wav_id=metadata.get("wav_id"),
            column="duration",
        )
    return float(duration)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Nothing, if ``value`` is one of ``choices``."""
    if value not in choices:
        known = ", ".join(f'"{choice}"' for choice in choices)
        raise InvalidArgumentError(f"{name} must be one of {known}, not {value!r}")


def check_positive(**values: float | None) -> None:
    """Nothing, if those that are not None are positive and finite."""
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise InvalidArgumentError(f"{name} must be a positive number of seconds, not {value}")


def check_not_negative(**values: float) -> None:
    """Nothing, if all are at least 0."""
    for name, value in values.items():
        if not value >= 0:
            raise InvalidArgumentError(f"{name} must be at least 0 seconds, not {value}")

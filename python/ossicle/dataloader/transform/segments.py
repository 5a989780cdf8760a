"""Segments of a waveform: which ones metadata has, and where they are after a cut.

Times are seconds; a span is ``(onset, offset)``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from ossicle.data.errors import MetadataError, SampleError
from ossicle.dataloader.transform.base import check_waveform
from ossicle.dataloader.types import MetadataDict, Sample, SampleRate, SegmentList

if TYPE_CHECKING:
    from ossicle.dataloader.types import Waveform

__all__ = [
    "SAME_SECONDS",
    "Span",
    "cut",
    "cut_metadata",
    "merge_spans",
    "pad_spans",
    "refuse_outdated",
    "segment_lists",
    "segments_of",
    "spans_of",
    "split_span",
]

Span: TypeAlias = tuple[float, float]

SAME_SECONDS = 1e-6
"""Less than half a sample at 192 kHz: times that differ by less are the same."""

# What other transforms have made for the waveform as it was: a cut cannot carry it along.
_OF_LABELS = ("label_ids",)
_OF_FRAMES = ("frame_attention_mask", "prediction_mask")


def segment_lists(metadata: MetadataDict) -> dict[str, SegmentList]:
    """The values of ``metadata`` that are segments; an empty list is none."""
    return {name: value for name, value in metadata.items() if _is_segments(value)}


def segments_of(metadata: MetadataDict, key: str) -> SegmentList:
    """The segments under ``key``, in their order; an empty list where there are none.

    Raises:
        MetadataError: There is no such key, or its value is no list of segments.
    """
    value = metadata.get(key)
    if isinstance(value, list) and (not value or _is_segments(value)):
        return value
    there = ", ".join(map(repr, segment_lists(metadata))) or "none"
    why = "unknown segments" if value is None else "not a list of dicts with onset and offset"
    raise MetadataError(f"{why}; there are {there}", wav_id=metadata.get("wav_id"), column=key)


def spans_of(
    segments: Iterable[dict[str, Any]], metadata: MetadataDict, key: str | None = None
) -> list[Span]:
    """Onset and offset of each segment.

    Raises:
        MetadataError: One is not finite, or ends before it begins.
    """
    spans = []
    for row, segment in enumerate(segments):
        onset, offset = segment["onset"], segment["offset"]
        if onset is None or offset is None or not -math.inf < onset <= offset < math.inf:
            why = f"segment {row} goes from {onset} to {offset} s"
            raise MetadataError(why, wav_id=metadata.get("wav_id"), column=key)
        spans.append((float(onset), float(offset)))
    return spans


def merge_spans(spans: Iterable[Span], max_gap: float = 0.0) -> list[Span]:
    """In order, with those joined that overlap or lie no further apart than ``max_gap``."""
    merged: list[Span] = []
    for onset, offset in sorted(spans):
        if merged and onset - merged[-1][1] <= max_gap + SAME_SECONDS:
            merged[-1] = merged[-1][0], max(merged[-1][1], offset)
        else:
            merged.append((onset, offset))
    return merged


def pad_spans(spans: Iterable[Span], padding: float, duration: float) -> list[Span]:
    """Longer by ``padding`` on both sides, inside of 0 to ``duration``; those outside left out."""
    padded = ((max(on - padding, 0.0), min(off + padding, duration)) for on, off in spans)
    return [(onset, offset) for onset, offset in padded if onset < offset]


def split_span(span: Span, length: float) -> list[Span]:
    """The fewest equal parts that are no longer than ``length``."""
    onset, offset = span
    # A part that is longer by a rounding is not cut.
    parts = max(math.ceil((offset - onset) / length - 1e-9), 1)
    edges = [onset + (offset - onset) * part / parts for part in range(parts)] + [offset]
    return list(pairwise(edges))


def cut(
    waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict, spans: Sequence[Span]
) -> Sample:
    """The sample that is left when only ``spans`` are kept, end to end.

    An onset is the sample nearest to it, a duration the nearest number of samples, so that windows
    of equal seconds are equally long. One span is a view of the waveform.

    Args:
        waveform: ``(channels, samples)``.
        sample_rate: In Hz.
        metadata: Its segments follow, see `cut_metadata`.
        spans: In order, none overlapping another; what lies outside of the waveform is left out.

    Raises:
        SampleError, MetadataError: As of `cut_metadata`, or the waveform has another shape.
    """
    check_waveform(waveform, metadata)
    ranges = _sample_ranges(spans, sample_rate, waveform.shape[-1])
    pieces = [(start / sample_rate, end / sample_rate) for start, end in ranges]
    parts = [waveform[:, start:end] for start, end in ranges]
    joined = _join(parts)
    # Without the roundings that add up over pieces.
    duration = {"duration": joined.shape[-1] / sample_rate}
    return joined, sample_rate, {**cut_metadata(metadata, pieces), **duration}


def cut_metadata(metadata: MetadataDict, pieces: Sequence[Span]) -> MetadataDict:
    """What is known of a waveform of which only ``pieces`` are kept, end to end.

    Segments are moved with what they mark and clipped to it, and dropped where nothing of it is
    left; their ``duration`` follows where they have one. A segment over several pieces stays one.
    ``duration`` is that of the pieces, and ``pieces`` says where in the recording they were, also
    after several cuts. Everything else is handed on.

    Args:
        metadata: Left as it is.
        pieces: In order, none overlapping another, inside of the waveform.

    Raises:
        SampleError: Labels were encoded or masks made before: those have to come after the cut.
        MetadataError: A segment's times make no sense.
    """
    refuse_outdated(metadata, _OF_LABELS + _OF_FRAMES)
    clock = _Timeline(pieces)
    lists = {
        key: clock.follow(value, spans_of(value, metadata, key))
        for key, value in segment_lists(metadata).items()
    }
    source = _sources(metadata["pieces"], pieces) if "pieces" in metadata else list(pieces)
    return {**metadata, **lists, "duration": clock.duration, "pieces": source}


def refuse_outdated(metadata: MetadataDict, names: Sequence[str] = _OF_FRAMES) -> None:
    """Nothing, if none of ``names`` is there, which would be wrong after a change of time.

    Raises:
        SampleError: One is.
    """
    for name in names:
        if name in metadata:
            raise SampleError(
                "was made for the waveform before the cut: put cuts before it",
                wav_id=metadata.get("wav_id"),
                column=name,
            )


class _Timeline:
    """Where a time of the waveform is in its pieces joined."""

    def __init__(self, pieces: Sequence[Span]) -> None:
        self._pieces = list(pieces)
        self._onsets = [onset for onset, _ in pieces]
        self._starts = list(accumulate((off - on for on, off in pieces), initial=0.0))

    @property
    def duration(self) -> float:
        return self._starts[-1]

    def follow(self, segments: SegmentList, spans: Sequence[Span]) -> SegmentList:
        first, last = self._pieces[0][0], self._pieces[-1][1]
        near = [
            (segment, span)
            for segment, span in zip(segments, spans, strict=True)
            if span[0] <= last and span[1] >= first
        ]
        return [_at(segment, *new) for segment, span in near if (new := self._span(span))]

    def _span(self, span: Span) -> Span | None:
        onset, offset = self._time(span[0]), self._time(span[1])
        is_point = span[0] == span[1] and any(on <= span[0] < off for on, off in self._pieces)
        return (onset, offset) if onset < offset or is_point else None

    def _time(self, time: float) -> float:
        piece = bisect_right(self._onsets, time) - 1
        if piece < 0:
            return 0.0
        onset, offset = self._pieces[piece]
        return self._starts[piece] + min(time, offset) - onset


def _sources(outer: Sequence[Span], pieces: Sequence[Span]) -> list[Span]:
    """Where ``pieces`` of a waveform are in the recording that itself was cut into ``outer``."""
    starts = list(accumulate((off - on for on, off in outer), initial=0.0))
    found = []
    for onset, offset in pieces:
        for index in range(max(bisect_right(starts, onset) - 1, 0), len(outer)):
            shift = outer[index][0] - starts[index]
            begin, end = max(onset, starts[index]), min(offset, starts[index + 1])
            if begin < end:
                found.append((begin + shift, end + shift))
            elif starts[index] >= offset:
                break
    return found


def _at(segment: dict[str, Any], onset: float, offset: float) -> dict[str, Any]:
    times = {"onset": onset, "offset": offset, "duration": offset - onset}
    return {name: times.get(name, value) for name, value in segment.items()}


def _is_segments(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and "onset" in item and "offset" in item for item in value)
    )


def _sample_ranges(spans: Sequence[Span], rate: int, samples: int) -> list[tuple[int, int]]:
    ranges, done = [], 0
    for onset, offset in spans:
        start = max(round(onset * rate), done)
        end = min(round(onset * rate) + round((offset - onset) * rate), samples)
        if start < end:
            ranges.append((start, end))
            done = end
    return ranges or [(0, 0)]


def _join(parts: Sequence[Waveform]) -> Waveform:
    if len(parts) == 1:
        return parts[0]
    import torch

    return torch.cat(list(parts), dim=-1)

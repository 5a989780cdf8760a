"""Speech out of recordings, by the times at which somebody speaks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from ossicle.data.errors import SampleError
from ossicle.dataloader.transform.segments import (
    SAME_SECONDS,
    cut,
    merge_spans,
    pad_spans,
    segments_of,
    spans_of,
    split_span,
)
from ossicle.dataloader.transform.windows import (
    Window,
    WindowCutter,
    check_choice,
    check_not_negative,
    check_positive,
    duration_of,
)
from ossicle.dataloader.types import MetadataDict, Sample, SampleRate

if TYPE_CHECKING:
    from ossicle.dataloader.types import Waveform

__all__ = ["VADSegmenter"]


class VADSegmenter(WindowCutter):
    """Cuts a recording by the times at which somebody speaks.

    Segments that are no further apart than ``merge_gap`` are joined, those shorter than
    ``min_duration`` left out, the others made longer by ``padding`` on both sides (joined again
    where they then meet) and cut into equal parts where they are longer than ``max_duration``. As
    a transform it gives what ``give`` says; `split` gives one sample for each segment, and
    `windows` their times without a waveform.

    Args:
        key: The segments that are meant.
        min_duration: In seconds, before the padding.
        max_duration: In seconds, after it; None leaves them as long as they are.
        merge_gap: In seconds.
        padding: In seconds.
        give: ``"all"``: the speech end to end, without the silence. ``"one"``: one segment, picked
            by the sample's seed.
        seed: Of that choice, see `base.sample_bits`.

    Raises:
        InvalidArgumentError: An argument is invalid.
    """

    def __init__(
        self,
        key: str = "vad_merged",
        *,
        min_duration: float = 0.0,
        max_duration: float | None = None,
        merge_gap: float = 0.0,
        padding: float = 0.0,
        give: Literal["all", "one"] = "all",
        seed: int = 0,
    ) -> None:
        check_positive(max_duration=max_duration)
        check_not_negative(min_duration=min_duration, merge_gap=merge_gap, padding=padding)
        check_choice("give", give, ("all", "one"))
        self.key, self.give, self.seed = key, give, seed
        self.min_duration, self.max_duration = min_duration, max_duration
        self.merge_gap, self.padding = merge_gap, padding

    def windows(self, metadata: MetadataDict) -> list[Window]:
        """The segments of speech, in order, none overlapping another.

        Args:
            metadata: Needs ``duration`` in seconds and the segments.

        Raises:
            MetadataError: What is needed is not there, or makes no sense.
        """
        duration = duration_of(metadata)
        spans = spans_of(segments_of(metadata, self.key), metadata, self.key)
        spans = merge_spans(pad_spans(spans, 0.0, duration), self.merge_gap)
        spans = [span for span in spans if span[1] - span[0] >= self.min_duration - SAME_SECONDS]
        spans = merge_spans(pad_spans(spans, self.padding, duration))
        parts = [part for span in spans for part in split_span(span, self.max_duration or math.inf)]
        return [Window(*part) for part in parts]

    def __call__(
        self, waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict
    ) -> Sample:
        """The speech of the sample.

        Raises:
            SampleError: There is none, or nothing to take a seed from.
            MetadataError: As of `windows`.
        """
        if self.give == "one":
            return self._pick(waveform, sample_rate, metadata)
        windows = self._windows_of(waveform, sample_rate, metadata)
        if not windows:
            raise SampleError(
                "the recording has no speech", wav_id=metadata.get("wav_id"), column=self.key
            )
        return cut(waveform, sample_rate, metadata, [(item.onset, item.end) for item in windows])

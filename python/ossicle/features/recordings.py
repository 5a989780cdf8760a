"""Log-mel features of the recordings that rows name, and of their segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ossicle.audio.arguments import raise_first
from ossicle.data.recordings import Recording, Samples, header_of, segments
from ossicle.errors import AudioError, InvalidArgumentError
from ossicle.features.mel import FeatureBatch, load_features

__all__ = ["recording_features"]


def recording_features(
    recordings: Sequence[Recording],
    *,
    n_mels: int = 80,
    pad_to_seconds: float | None = None,
    max_seconds: float | None = None,
    threads: int | None = None,
    on_error: Literal["raise", "collect"] = "raise",
) -> FeatureBatch:
    """The features of recordings, each of its segment, in one call that releases the GIL.

    Args:
        recordings: What rows name.
        n_mels: As for `ossicle.load_features`, like what is not told here.
        pad_to_seconds: See there.
        max_seconds: Where longer ones are cut.
        threads: See there.
        on_error: ``"raise"`` the first error, or ``"collect"`` it beside a row of zeros.

    Raises:
        AudioError: With ``on_error="raise"``, when a clip cannot be decoded, or its segment begins
            at or past the end of its recording or ends more than half a second past it.
    """
    parts, errors = [], {}
    for place, recording in enumerate(recordings):
        try:
            parts.append(_exact(recording))
        except AudioError as error:
            errors[place] = error
            parts.append(Recording(b"", recording.name))
    parts = [replace(one, segment=one.segment.at_most(max_seconds)) for one in parts]
    batch = load_features(
        [one.source for one in parts],
        n_mels=n_mels,
        pad_to_seconds=pad_to_seconds,
        threads=threads,
        on_error="collect",
        **segments(parts),
    )
    for place, refused in errors.items():
        batch.errors[place] = refused
    if on_error == "raise":
        raise_first(batch.errors)
    return batch


def _exact(recording: Recording) -> Recording:
    """The same with a segment that is to be read as it stands; its header tells what is the whole.

    Raises:
        AudioError: The segment is not in the recording, or its header cannot be read.
    """
    if isinstance(recording.source, Samples):
        why = "it is an array in memory, which is no file to read features from"
        raise InvalidArgumentError(why, source=recording.name)
    segment = recording.segment
    if not segment.offset and segment.duration is None:
        return recording
    header = header_of(recording)
    return replace(recording, segment=segment.of(header.frames, header.sample_rate))

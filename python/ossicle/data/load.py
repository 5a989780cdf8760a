"""Recordings of rows, and the segments that are meant, as mono waveforms at one rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ossicle.audio import FloatArray, load_batch
from ossicle.audio.decoders import DecoderName
from ossicle.audio.raw import RawFormat
from ossicle.audio.resampling import resample
from ossicle.audio.waveforms import as_planes
from ossicle.data.recordings import Recording, Samples, header_of
from ossicle.data.segments import Segment
from ossicle.errors import AudioError, DecodeError, InvalidArgumentError, NonFiniteSampleError

__all__ = ["Sound", "load_recordings"]


class Sound(NamedTuple):
    """What was loaded.

    Attributes:
        waveform: ``(samples,)`` float32.
        native_rate: Of the recording in Hz, or the one that was asked for with it.
    """

    waveform: FloatArray
    native_rate: int


LoadedSound: TypeAlias = "Sound | AudioError"


def load_recordings(
    recordings: Sequence[Recording],
    sample_rate: int,
    *,
    max_seconds: float | None = None,
    strict: bool = False,
    decoder: DecoderName = "native",
    raw: RawFormat | None = None,
    threads: int | None = None,
) -> list[LoadedSound]:
    """The waveform of each recording, or of its segment, or the error that it ended in.

    All files are decoded in one native call. Channels are averaged, unless one is meant, and then
    resampled. A segment that begins at or past the end of its recording, or ends more than half a
    second past it, is an error.

    Args:
        recordings: What rows name.
        sample_rate: Of the waveforms, in Hz.
        max_seconds: Where longer ones are cut.
        strict: As for `ossicle.load_batch`, like the rest.
        decoder: See there.
        raw: See there.
        threads: See there.
    """
    loader = _Loader(sample_rate, max_seconds, strict, decoder, raw, threads)
    found: list[LoadedSound | None] = [None] * len(recordings)
    by_rate: dict[int, list[int]] = {}
    for place, recording in enumerate(recordings):
        if isinstance(recording.source, Samples):
            found[place] = loader.array(recording)
        else:
            by_rate.setdefault(recording.wanted_rate or sample_rate, []).append(place)
    for rate, places in by_rate.items():
        sounds = loader.files([recordings[place] for place in places], rate)
        for place, sound in zip(places, sounds, strict=True):
            found[place] = sound
    return [one for one in found if one is not None]


class _Loader(NamedTuple):
    """The arguments of `load_recordings`."""

    sample_rate: int
    max_seconds: float | None
    strict: bool
    decoder: DecoderName
    raw: RawFormat | None
    threads: int | None

    def files(self, recordings: list[Recording], rate: int) -> list[LoadedSound]:
        """All that must be decoded, in one call, at the rate that was asked for with them."""
        asked = [one.segment.to_read(self.max_seconds) for one in recordings]
        # Errors are collected so that the one raised can say which row of the batch it was.
        batch = load_batch(
            [one.source for one in recordings],
            rate,
            **_ranges(asked),
            threads=self.threads,
            on_error="collect",
            strict=self.strict,
            decoder=self.decoder,
            raw=self.raw,
        )
        sounds: list[LoadedSound] = []
        for place, recording in enumerate(recordings):
            error = batch.errors[place]
            waveform = batch.waveforms[place, : batch.lengths[place]]
            native = int(batch.sample_rates[place])
            if error is not None:
                sounds.append(_named(error, recording))
            else:
                sounds.append(self._cut(recording, asked[place], waveform, rate, native))
        return sounds

    def _cut(
        self, recording: Recording, asked: Segment, waveform: FloatArray, rate: int, native: int
    ) -> LoadedSound:
        """A segment as it was read, checked: what is shorter reaches past the recording's end."""
        segment = recording.segment
        try:
            if not segment.is_whole and len(waveform) < asked.samples(rate):
                header_of(recording, self.raw)
        except AudioError as error:
            return _named(error, recording)
        native = native if recording.wanted_rate is None else rate
        waveform = segment.kept(waveform, rate)
        if rate != self.sample_rate:
            waveform = resample(waveform, rate, self.sample_rate)
        return Sound(waveform[: self._most], native)

    def array(self, recording: Recording) -> LoadedSound:
        """A waveform that came as samples."""
        samples: Samples = recording.source
        segment, rate = recording.segment, samples.sample_rate
        try:
            plane = _plane(samples.array, segment.channel)
            segment.check(len(plane) / rate)
            if rate != self.sample_rate:
                plane = resample(plane, rate, self.sample_rate)
        except AudioError as error:
            return _named(error, recording)
        begin = round(segment.offset * self.sample_rate)
        plane = segment.kept(plane[begin:], self.sample_rate)
        return Sound(np.ascontiguousarray(plane[: self._most]), rate)

    @property
    def _most(self) -> int | None:
        return None if self.max_seconds is None else round(self.max_seconds * self.sample_rate)


def _ranges(asked: list[Segment]) -> dict[str, Any]:
    """The arguments of `load_batch` that say which parts; none of whole recordings."""
    durations = {one.duration for one in asked}
    found: dict[str, Any] = {"duration": [one.duration for one in asked]}
    if len(durations) == 1:
        found["duration"] = durations.pop()
    if any(one.offset for one in asked):
        found["offsets"] = [one.offset for one in asked]
    if any(one.channel is not None for one in asked):
        found["channel"] = [one.channel for one in asked]
    return found


def _plane(array: Any, channel: int | None) -> FloatArray:
    """One channel, or the mean of all, ``(samples,)``."""
    try:
        planes, _ = as_planes(array)
    except InvalidArgumentError as error:
        raise DecodeError(error.reason) from error
    if channel is not None and channel >= len(planes):
        raise InvalidArgumentError(f"channel {channel} of a recording of {len(planes)} channels")
    mono = planes.mean(axis=0) if channel is None else planes[channel]
    wrong = np.flatnonzero(~np.isfinite(mono))
    if len(wrong):
        raise NonFiniteSampleError("a sample is NaN or infinite", sample_index=int(wrong[0]))
    return np.asarray(mono, np.float32)


def _named(error: AudioError, recording: Recording) -> AudioError:
    if error.source in (None, "<bytes>"):
        error.source, error.member = recording.file, recording.member
    return error

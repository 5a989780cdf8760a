"""Ranges that are told in samples of the recording, as most tools tell them."""

from __future__ import annotations

from ossicle.audio import AudioInfo, AudioSource, FloatArray, info, load

__all__ = ["facts_of", "read_frames"]


def facts_of(source: AudioSource) -> AudioInfo:
    """What `ossicle.info` says; a file object stays where it stands."""
    tell = getattr(source, "tell", None)
    if tell is None:
        return info(source)
    place = tell()
    facts = info(source)
    source.seek(place, 0)  # type: ignore[union-attr]
    return facts


def read_frames(
    source: AudioSource, start: int = 0, stop: int | None = None, *, facts: AudioInfo | None = None
) -> tuple[FloatArray, int]:
    """Samples ``start`` to ``stop`` of all channels, ``(channels, samples)``, and their rate.

    Args:
        source: As for `ossicle.load`.
        start: The first sample, from 0.
        stop: One after the last; None: to the end. Fewer are given where the recording ends.
        facts: Those of the recording, where they are known already.
    """
    if start == 0 and stop is None:
        return load(source, mono=False)
    rate = (facts or facts_of(source)).sample_rate
    duration = None if stop is None else max(0, stop - start) / rate
    return load(source, mono=False, offset=start / rate, duration=duration)

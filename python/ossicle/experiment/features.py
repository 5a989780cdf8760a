"""Log-mel features of utterances, for what trains on them without ``ossicle.train``."""

from __future__ import annotations

from collections.abc import Sequence

from ossicle.data.recordings import segments
from ossicle.data.utterances import Utterance
from ossicle.features.mel import FeatureBatch, load_features

__all__ = ["features_of"]


def features_of(clips: Sequence[Utterance], n_mels: int) -> FeatureBatch:
    """The features of clips without padding to 30 s, each of its segment.

    Raises:
        AudioError: If a recording cannot be decoded.
    """
    recordings = [one.recording for one in clips if one.recording is not None]
    sources = [one.source for one in recordings]
    return load_features(sources, n_mels=n_mels, pad_to_seconds=None, **segments(recordings))

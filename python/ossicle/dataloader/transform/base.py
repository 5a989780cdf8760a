"""What a transform of samples is, chains of them, and where their randomness comes from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ossicle.data.errors import SampleError
from ossicle.dataloader.types import MetadataDict, Sample, SampleRate

if TYPE_CHECKING:
    from ossicle.dataloader.types import Waveform

__all__ = ["Compose", "DataProcessor", "bits_of", "check_waveform", "sample_bits"]


class DataProcessor(ABC):
    """A transform of one sample while training runs: its waveform and what is known of it.

    Transforms leave what they are given as it is, and give new objects where something changes.
    Values of ``metadata`` that are lists of dicts with ``onset`` and ``offset`` are segments, in
    seconds from the waveform's beginning; they follow every change of time.
    """

    @abstractmethod
    def __call__(
        self, waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict
    ) -> Sample:
        """The sample after the transform.

        Args:
            waveform: ``(channels, samples)`` float32.
            sample_rate: In Hz.
            metadata: What is known of it, by name.

        Raises:
            SampleError: The sample does not fit the transform.
        """


class Compose(DataProcessor):
    """Transforms one after the other.

    Args:
        processors: In the order in which a sample passes them; none leaves it as it is.
    """

    def __init__(self, processors: Sequence[DataProcessor]) -> None:
        self.processors = list(processors)

    def __call__(
        self, waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict
    ) -> Sample:
        """The sample after all of them."""
        for processor in self.processors:
            waveform, sample_rate, metadata = processor(waveform, sample_rate, metadata)
        return waveform, sample_rate, metadata


def sample_bits(metadata: MetadataDict, purpose: str, seed: int) -> np.random.PCG64:
    """Random bits of one sample, the same in any process and at any place in the order.

    They depend on the pieces that the sample was cut of, and on ``metadata["seed"]``, which a
    dataset changes from epoch to epoch, or where that is missing on ``wav_id``, the same in all
    epochs.

    Args:
        metadata: Of the sample.
        purpose: Keeps apart transforms that have the same seed.
        seed: Of the transform.

    Raises:
        SampleError: The sample has neither.
    """
    pieces = metadata.get("pieces")
    if "seed" in metadata:
        return bits_of(purpose, int(seed), int(metadata["seed"]), pieces)
    if "wav_id" in metadata:
        return bits_of(purpose, int(seed), str(metadata["wav_id"]), pieces)
    raise SampleError('randomness needs metadata["seed"] or metadata["wav_id"]: both are missing')


def bits_of(*facts: object) -> np.random.PCG64:
    """Random bits that depend on ``facts`` alone: numbers, text, tuples and lists of them."""
    digest = hashlib.sha256(repr(facts).encode()).digest()
    # Raw bits, whose stream NumPy promises to keep; it does not promise that of its choices.
    return np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "little")))


def check_waveform(waveform: Waveform, metadata: MetadataDict) -> None:
    """Nothing, if ``waveform`` is ``(channels, samples)`` of floats.

    Raises:
        SampleError: It is not.
    """
    if waveform.ndim == 2 and waveform.is_floating_point():
        return
    why = f"a waveform is (channels, samples) of floats, not {tuple(waveform.shape)} of "
    raise SampleError(f"{why}{waveform.dtype}", wav_id=metadata.get("wav_id"))

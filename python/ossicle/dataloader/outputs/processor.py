"""What extracts metadata from recordings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from ossicle.data.errors import DataError
from ossicle.dataloader.types import MetadataDict, WavID

__all__ = ["FeatureProcessor", "ProcessorError"]


class ProcessorError(DataError, KeyError):
    """There is no processor of that name, there would be two, or it cannot be imported."""


class FeatureProcessor(ABC):
    """A model or tool that reads a recording and tells something about it, offline.

    How it spreads its work over processes and devices is its own affair.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is registered as; a class attribute will do."""

    @abstractmethod
    def process(self, wav_id: WavID, audio_path: Path) -> MetadataDict:
        """Extracts the metadata of one recording."""

    @abstractmethod
    def save(self, wav_id: WavID, metadata: MetadataDict, output_dir: Path) -> Path:
        """Writes what `process` gave under `output_dir`, and tells where."""

    @abstractmethod
    def load(self, wav_id: WavID, output_dir: Path) -> MetadataDict:
        """Reads what `save` wrote."""

    @abstractmethod
    def exists(self, wav_id: WavID, output_dir: Path) -> bool:
        """Whether there is something to `load`."""

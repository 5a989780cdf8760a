"""Labels of segments and recordings to numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ossicle.atomic import write_text
from ossicle.data.arrays import Ints
from ossicle.data.errors import MetadataError, SampleError
from ossicle.dataloader.transform.base import DataProcessor
from ossicle.dataloader.types import MetadataDict, Sample, SampleRate
from ossicle.errors import InvalidArgumentError

if TYPE_CHECKING:
    from ossicle.dataloader.types import Waveform

__all__ = ["LabelEncoder"]


class LabelEncoder(DataProcessor):
    """Numbers the labels 0, 1, 2, ... in their sorted order, whatever the order of the data.

    As a transform it adds ``metadata["label_ids"]``, ``(n,)`` int64, one for each segment under
    ``key``, which `SpeechCollator` makes the batch's labels of. It comes after everything that
    cuts the waveform, since the segments change there.

    Args:
        unknown: What becomes of a label that was not fitted. ``"error"``; ``"ignore"``: its segment
            is left out, of the segments in ``metadata`` as well; or the number that it gets, such
            as -100, which PyTorch's cross entropy passes over.
        key: What is encoded: segments, a list of labels, or the one label of a recording.
        field: Where a segment has its label.
        labels: Fitted from the start.

    Attributes:
        labels: The fitted labels; a label's number is its place.

    Raises:
        InvalidArgumentError: An argument is invalid.
    """

    def __init__(
        self,
        unknown: Literal["error", "ignore"] | int = "error",
        *,
        key: str = "vtc_merged",
        field: str = "label",
        labels: Iterable[str] = (),
    ) -> None:
        is_index = isinstance(unknown, int) and not isinstance(unknown, bool)
        if not is_index and unknown not in ("error", "ignore"):
            raise InvalidArgumentError(
                f'unknown must be "error", "ignore" or a number, not {unknown!r}'
            )
        self.unknown, self.key, self.field = unknown, key, field
        self.labels: tuple[str, ...] = ()
        self.fit(labels)

    def __len__(self) -> int:
        """How many labels are fitted."""
        return len(self.labels)

    def fit(self, labels: Iterable[str]) -> LabelEncoder:
        """Numbers ``labels``, any of them any number of times; what was fitted before is forgotten.

        Raises:
            InvalidArgumentError: They are no text, or one text instead of several.
        """
        if isinstance(labels, str):
            raise InvalidArgumentError(f"fit needs a list of labels, not the text {labels!r}")
        found = set(labels)
        wrong = [label for label in found if not isinstance(label, str)]
        if wrong:
            raise InvalidArgumentError(f"a label must be text, not {wrong[0]!r}")
        self.labels = tuple(sorted(found))
        self._numbers = {label: number for number, label in enumerate(self.labels)}
        return self

    def fit_metadata(self, samples: Iterable[MetadataDict]) -> LabelEncoder:
        """Numbers the labels that ``samples`` have under ``key``.

        Raises:
            MetadataError: One has nothing there, or segments without a label.
        """
        return self.fit(label for metadata in samples for label in self._labels_of(metadata))

    def encode(self, labels: Iterable[str]) -> Ints:
        """``(n,)`` int64 numbers; with ``unknown="ignore"`` of the known labels alone.

        Raises:
            SampleError: A label is unknown, and ``unknown`` is ``"error"``.
        """
        numbers = [self._number(label) for label in labels]
        return np.array([number for number in numbers if number is not None], np.int64)

    def decode(self, numbers: npt.ArrayLike) -> list[str]:
        """The labels of ``numbers``.

        Raises:
            InvalidArgumentError: A number is none of a label.
        """
        found = np.asarray(numbers, np.int64).ravel().tolist()
        wrong = [number for number in found if not 0 <= number < len(self.labels)]
        if wrong:
            raise InvalidArgumentError(f"{wrong[0]} is not the id of one of the {len(self)} labels")
        return [self.labels[number] for number in found]

    def __call__(
        self, waveform: Waveform, sample_rate: SampleRate, metadata: MetadataDict
    ) -> Sample:
        """The sample with ``label_ids``.

        Raises:
            SampleError: A label is unknown, and ``unknown`` is ``"error"``.
            MetadataError: There is nothing under ``key``, or a segment without a label.
        """
        labels = self._labels_of(metadata)
        try:
            added: MetadataDict = {"label_ids": self.encode(labels)}
        except SampleError as error:
            wav_id = metadata.get("wav_id")
            raise SampleError(error.reason, wav_id=wav_id, column=self.key) from None
        if self.unknown == "ignore" and len(added["label_ids"]) < len(labels):
            pairs = zip(metadata[self.key], labels, strict=True)
            added[self.key] = [item for item, label in pairs if label in self._numbers]
        return waveform, sample_rate, {**metadata, **added}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes labels and settings as JSON, whole or not at all; `load` restores them equal."""
        settings = {"unknown": self.unknown, "key": self.key, "field": self.field}
        text = json.dumps({**settings, "labels": self.labels}, indent=2)
        write_text(path, text + "\n")
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LabelEncoder:
        """What `save` has written.

        Raises:
            MetadataError: The file holds something else.
        """
        try:
            settings = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(settings.pop("unknown"), **settings)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MetadataError(f"not a file of labels: {error}", source=os.fspath(path)) from error

    def _number(self, label: str) -> int | None:
        number = self._numbers.get(label)
        if number is None and self.unknown == "error":
            known = ", ".join(map(repr, self.labels[:10])) or "none: call fit"
            more = ", ..." if len(self) > 10 else ""
            raise SampleError(f"the label {label!r} was not fitted: {known}{more}")
        return self.unknown if number is None and isinstance(self.unknown, int) else number

    def _labels_of(self, metadata: MetadataDict) -> Sequence[str]:
        value = metadata.get(self.key)
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            raise self._error(metadata, "there are no labels to encode")
        labels = [self._label_of(item) for item in value]
        if None in labels:
            raise self._error(metadata, f"item {labels.index(None)} has no {self.field!r}")
        return [label for label in labels if label is not None]

    def _label_of(self, item: Any) -> str | None:
        label = item.get(self.field) if isinstance(item, dict) else item
        return label if isinstance(label, str) else None

    def _error(self, metadata: MetadataDict, reason: str) -> MetadataError:
        return MetadataError(reason, wav_id=metadata.get("wav_id"), column=self.key)

"""Batches: samples side by side, padded, and what made them."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, overload

import numpy as np
import torch

from ossicle.data.errors import SampleError
from ossicle.dataloader.types import MetadataDict, Sample, SegmentList, Waveform
from ossicle.errors import InvalidArgumentError

__all__ = ["Collator", "DataBatch", "SpeechCollator"]

RowIndex: TypeAlias = "slice | Sequence[int] | torch.Tensor"

# What `LabelEncoder` and `MaskGenerator` have written, and what becomes of it.
_LABELS = "label_ids"
_FRAME_MASKS = ("prediction_mask", "frame_attention_mask")


@dataclass(eq=False)
class DataBatch:
    """Samples of one rate and one number of channels, side by side.

    All tensors have the samples as their first dimension; what is shorter than the longest is
    padded, and its mask says where. ``batch[0]`` is a sample without its padding, and iteration
    gives all of them; ``batch[2:5]``, ``batch[[4, 0]]`` and ``batch[mask]`` are batches of these.

    Attributes:
        waveforms: ``(B, C, T)`` float32.
        waveform_lengths: ``(B,)`` int64, samples before the padding.
        sample_rate: In Hz.
        metadata: What is known of each sample.
        attention_mask: ``(B, T)`` bool, True where a waveform is and no padding.
        labels: ``(B, max_segments)`` int64.
        label_mask: ``(B, max_segments)`` bool, True where a label is.
        segments: The segments of each sample, as they were.
        prediction_mask: ``(B, F)`` bool, True for frames that a model has to predict.
        frame_attention_mask: ``(B, F)`` bool, True where a frame is and no padding.

    Raises:
        SampleError: The fields are not of one number of samples.
    """

    waveforms: torch.Tensor
    waveform_lengths: torch.Tensor
    sample_rate: int
    metadata: list[MetadataDict]
    attention_mask: torch.Tensor
    labels: torch.Tensor | None = None
    label_mask: torch.Tensor | None = None
    segments: list[SegmentList] | None = None
    prediction_mask: torch.Tensor | None = None
    frame_attention_mask: torch.Tensor | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, (torch.Tensor, list)) and len(value) != len(self):
                raise SampleError(f"{len(value)} rows for {len(self)} waveforms", column=name)

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.waveforms)

    @overload
    def __getitem__(self, rows: int) -> Sample: ...
    @overload
    def __getitem__(self, rows: RowIndex) -> DataBatch: ...
    def __getitem__(self, rows: int | RowIndex) -> Sample | DataBatch:
        """One sample for a number, a batch for a slice, numbers of rows, or a mask ``(B,)``."""
        if isinstance(rows, (int, np.integer)):
            length = int(self.waveform_lengths[rows])
            return self.waveforms[rows, :, :length], self.sample_rate, self.metadata[rows]
        if isinstance(rows, slice) and (rows.step or 1) > 0:
            return self._take(range(len(self))[rows], lambda tensor: tensor[rows])
        order = np.arange(len(self))
        if isinstance(rows, slice):  # backwards, which PyTorch does not do
            chosen = torch.from_numpy(order[rows].copy())
        else:
            index = torch.as_tensor(rows, device="cpu")
            chosen = torch.from_numpy(order)[index if index.numel() else index.long()]
        return self._take(chosen.tolist(), lambda tensor: tensor[chosen.to(tensor.device)])

    def __iter__(self) -> Iterator[Sample]:
        """The samples without their padding."""
        return (self[row] for row in range(len(self)))

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> DataBatch:
        """The batch with its tensors on ``device``.

        Args:
            device: As for `torch.Tensor.to`.
            non_blocking: Whether copies out of pinned memory may run beside what the device does.
        """
        return self._with(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> DataBatch:
        """The batch in page-locked memory; ``DataLoader(pin_memory=True)`` calls this."""
        return self._with(torch.Tensor.pin_memory)

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> DataBatch:
        tensors = {name: value for name, value in vars(self).items() if torch.is_tensor(value)}
        changed: dict[str, Any] = {name: change(value) for name, value in tensors.items()}
        return dataclasses.replace(self, **changed)

    def _take(self, rows: Sequence[int], take: Callable[[torch.Tensor], torch.Tensor]) -> DataBatch:
        changed: dict[str, Any] = {}
        for name, value in vars(self).items():
            if torch.is_tensor(value):
                changed[name] = take(value)
            elif isinstance(value, list):
                changed[name] = [value[row] for row in rows]
        return dataclasses.replace(self, **changed)


class Collator(ABC):
    """Makes a batch of samples, for ``DataLoader(collate_fn=...)``."""

    takes_samples: ClassVar[bool] = True
    """Tells `ossicle.stream.AudioStream` what to call it with."""

    @abstractmethod
    def __call__(self, samples: list[Sample]) -> DataBatch:
        """The batch of ``samples``, each ``(waveform, sample_rate, metadata)``."""


class SpeechCollator(Collator):
    """Pads waveforms with zeros at their ends, and labels and masks with them.

    Labels come from ``metadata["label_ids"]``, as `LabelEncoder` writes them, masks of frames from
    ``"prediction_mask"`` and ``"frame_attention_mask"``, as `MaskGenerator` does. Each of them is
    there for all samples of a batch or for none.

    Args:
        pad_to_multiple: The batch's T is rounded up to a multiple of so many samples.
        segments: The segments in metadata that become the batch's.
        label_padding: The label where there is none; -100 is passed over by PyTorch's cross
            entropy.

    Raises:
        InvalidArgumentError: An argument is invalid.
    """

    def __init__(
        self, *, pad_to_multiple: int = 1, segments: str = "segments", label_padding: int = -100
    ) -> None:
        if pad_to_multiple < 1:
            raise InvalidArgumentError(f"pad_to_multiple must be at least 1, not {pad_to_multiple}")
        self.pad_to_multiple = pad_to_multiple
        self.segments, self.label_padding = segments, label_padding

    def __call__(self, samples: list[Sample]) -> DataBatch:
        """The batch of ``samples``.

        Raises:
            SampleError: There is none; or one has other channels or another rate than the first,
                no samples, no labels where others have some. It names the sample.
        """
        if not samples:
            raise SampleError("a batch needs at least one sample")
        _check_alike(samples)
        metadata = [sample[2] for sample in samples]
        lengths = [sample[0].shape[1] for sample in samples]
        waveforms = self._pad([sample[0] for sample in samples], lengths)
        labels, label_mask = _pad_rows(metadata, _LABELS, torch.int64, self.label_padding)
        masks = {name: _pad_rows(metadata, name, torch.bool, False)[0] for name in _FRAME_MASKS}
        return DataBatch(
            waveforms=waveforms,
            waveform_lengths=torch.tensor(lengths),
            sample_rate=samples[0][1],
            metadata=metadata,
            attention_mask=_up_to(lengths, waveforms.shape[-1]),
            labels=labels,
            label_mask=label_mask,
            segments=_values(metadata, self.segments),
            **masks,
        )

    def _pad(self, waveforms: list[Waveform], lengths: list[int]) -> torch.Tensor:
        """``(B, C, T)`` in one allocation, each place written once."""
        longest = -(-max(lengths) // self.pad_to_multiple) * self.pad_to_multiple
        padded = torch.empty(len(waveforms), waveforms[0].shape[0], longest)
        for row, waveform, length in zip(padded, waveforms, lengths, strict=True):
            row[:, :length] = waveform
            row[:, length:] = 0
        return padded


def _check_alike(samples: list[Sample]) -> None:
    first, rate, _ = samples[0]
    for index, (waveform, sample_rate, metadata) in enumerate(samples):
        if waveform.ndim != 2 or not waveform.is_floating_point():
            why = f"of {tuple(waveform.shape)} {waveform.dtype}, not (channels, samples) of floats"
        elif not waveform.shape[1]:
            why = "empty"
        elif sample_rate != rate:
            why = (
                f"at {sample_rate} Hz, the first at {rate} Hz: add a Resampler before the collator"
            )
        elif waveform.shape[0] != first.shape[0]:
            why = f"of {waveform.shape[0]} channels, the first of {first.shape[0]}"
        else:
            continue
        raise SampleError(f"sample {index} of the batch is {why}", wav_id=metadata.get("wav_id"))


def _values(metadata: list[MetadataDict], name: str) -> list[Any] | None:
    """What each sample has under ``name``; None where none has."""
    without = [index for index, item in enumerate(metadata) if item.get(name) is None]
    if len(without) == len(metadata):
        return None
    if without:
        why = f"sample {without[0]} of the batch has none, unlike others"
        raise SampleError(why, wav_id=metadata[without[0]].get("wav_id"), column=name)
    return [item[name] for item in metadata]


def _pad_rows(
    metadata: list[MetadataDict], name: str, dtype: torch.dtype, padding: int
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """``(B, N)`` of rows of any length, and the mask of what is no padding."""
    values = _values(metadata, name)
    if values is None:
        return None, None
    rows = [torch.from_numpy(np.atleast_1d(np.asarray(value))) for value in values]
    lengths = [len(row) for row in rows]
    padded = torch.full((len(rows), max(lengths)), padding, dtype=dtype)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded, _up_to(lengths, max(lengths))


def _up_to(lengths: Sequence[int], longest: int) -> torch.Tensor:
    """``(B, longest)``, True for the first ``lengths`` of each row.

    Filled row by row, which is several times as fast as comparing all places with the lengths.
    """
    mask = torch.zeros(len(lengths), longest, dtype=torch.bool)
    for row, length in zip(mask, lengths, strict=True):
        row[:length] = True
    return mask

"""Batches and samples as the plain dicts that fairseq-like trainers pass around, and back.

The names are those of fairseq's raw-audio data sets (``id``, ``net_input`` with ``source`` and
``padding_mask``, ``target``, ``target_lengths``, ``ntokens``, ``nsentences``), and of the arguments
of its wav2vec 2.0 (``mask_indices``). What fairseq has no name for goes under our own names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ossicle.data.errors import SampleError
from ossicle.dataloader.batch import DataBatch
from ossicle.dataloader.types import Sample

__all__ = ["from_upstream", "to_upstream"]

# Fields of a batch that go over as they are, where there are some.
_SAME = {
    "labels": "target",
    "label_mask": "target_mask",
    "segments": "segments",
    "frame_attention_mask": "frame_attention_mask",
}


def to_upstream(data: DataBatch | Sample) -> dict[str, Any]:
    """A batch or a sample as a dict of tensors, lists and numbers; nothing is copied but masks.

    A batch becomes ``id`` (list of ``wav_id``), ``nsentences``, ``ntokens`` (labels, or samples
    where there are none), ``sample_rate``, ``source_lengths`` ``(B,)``, ``metadata``, and
    ``net_input``: ``source``, ``(B, T)`` for one channel and ``(B, C, T)`` for more,
    ``padding_mask``, ``(B, T)`` bool that is True in the padding, and ``mask_indices``, ``(B, F)``
    bool. With labels come ``target``, ``target_lengths`` and ``target_mask``; ``segments`` and
    ``frame_attention_mask`` go over as they are. What the batch does not have is not there.

    A sample becomes ``id``, ``source``, ``(T,)`` or ``(C, T)``, ``sample_rate`` and ``metadata``.
    """
    if isinstance(data, DataBatch):
        return _batch_to_upstream(data)
    waveform, sample_rate, metadata = data
    source = waveform[0] if len(waveform) == 1 else waveform
    facts = {"id": metadata.get("wav_id"), "sample_rate": sample_rate, "metadata": metadata}
    return {"source": source, **facts}


def from_upstream(data: Mapping[str, Any], sample_rate: int | None = None) -> DataBatch | Sample:
    """What `to_upstream` was given: a batch where there is ``net_input``, else a sample.

    Dicts that upstream itself has made do as well: where lengths, masks or metadata are missing,
    they are those of what is there, and ``id`` becomes ``wav_id``.

    Args:
        data: The dict.
        sample_rate: For dicts that do not say theirs, in Hz.

    Raises:
        SampleError: There is no sound, or no sample rate.
    """
    rate = data.get("sample_rate", sample_rate)
    source = data.get("net_input", data).get("source")
    if source is None or rate is None:
        missing = "source" if source is None else "sample_rate"
        raise SampleError("is missing", column=missing)
    if "net_input" in data:
        return _batch_from_upstream(data, source, int(rate))
    metadata = data.get("metadata", {"wav_id": str(data.get("id"))})
    return source if source.ndim == 2 else source[None], int(rate), metadata


def _batch_to_upstream(batch: DataBatch) -> dict[str, Any]:
    mono = batch.waveforms.shape[1] == 1
    net_input = {
        "source": batch.waveforms[:, 0] if mono else batch.waveforms,
        "padding_mask": ~batch.attention_mask,
    }
    if batch.prediction_mask is not None:
        net_input["mask_indices"] = batch.prediction_mask
    counted = batch.waveform_lengths if batch.label_mask is None else batch.label_mask
    fields = {ours: getattr(batch, ours) for ours in _SAME}
    found = {_SAME[ours]: value for ours, value in fields.items() if value is not None}
    if batch.label_mask is not None:
        found["target_lengths"] = batch.label_mask.sum(1)
    return {
        "id": [metadata.get("wav_id") for metadata in batch.metadata],
        "nsentences": len(batch),
        "ntokens": int(counted.sum()),
        "net_input": net_input,
        "source_lengths": batch.waveform_lengths,
        "sample_rate": batch.sample_rate,
        "metadata": batch.metadata,
        **found,
    }


def _batch_from_upstream(data: Mapping[str, Any], source: torch.Tensor, rate: int) -> DataBatch:
    net_input = data["net_input"]
    waveforms = source[:, None] if source.ndim == 2 else source
    padding = net_input.get("padding_mask")
    if padding is None:  # as fairseq leaves it out where nothing is padded
        padding = torch.zeros(len(source), source.shape[-1], dtype=torch.bool, device=source.device)
    names = data.get("id", range(len(source)))
    # Of a tensor, and of a list of them, the numbers.
    ids = [str(name.item() if isinstance(name, torch.Tensor) else name) for name in names]
    return DataBatch(
        waveforms=waveforms,
        waveform_lengths=data.get("source_lengths", (~padding).sum(1)),
        sample_rate=rate,
        metadata=data.get("metadata", [{"wav_id": one} for one in ids]),
        attention_mask=~padding,
        prediction_mask=net_input.get("mask_indices"),
        **{ours: data.get(theirs) for ours, theirs in _SAME.items()},
    )

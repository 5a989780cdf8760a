"""Batches hold what their samples held, and nothing else; upstream's dicts lead there and back."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from ossicle.dataloader import (
    DataBatch,
    LabelEncoder,
    MaskGenerator,
    SampleError,
    SpeechCollator,
    from_upstream,
    to_upstream,
)
from ossicle.errors import InvalidArgumentError

RATE = 16_000
FEW = settings(max_examples=60, deadline=None)


def make(index: int, channels: int, frames: int, **metadata: Any) -> Any:
    rows = np.random.default_rng(index).normal(size=(channels, frames)).astype(np.float32)
    return torch.from_numpy(rows), RATE, {"wav_id": f"w{index}", **metadata}


@st.composite
def sample_lists(draw: Any) -> list[Any]:
    """With labels, masks and segments, or without any of them."""
    channels = draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(1, 200), min_size=1, max_size=6))
    samples = [make(index, channels, frames) for index, frames in enumerate(lengths)]
    if draw(st.booleans()):
        encoder = LabelEncoder(key="segments", labels=["CHI", "FEM"])
        labels = st.lists(st.sampled_from(["CHI", "FEM"]), max_size=4)
        for _, _, metadata in samples:
            names = draw(labels)
            rows = [{"onset": row, "offset": 1, "label": name} for row, name in enumerate(names)]
            metadata["segments"] = rows
        samples = [encoder(*sample) for sample in samples]
    if draw(st.booleans()):
        masker = MaskGenerator(0.1, 3, window_seconds=1e-3, hop_seconds=1e-3)
        samples = [masker(*sample) for sample in samples]
    return samples


def assert_same(found: DataBatch, expected: DataBatch) -> None:
    for field in dataclasses.fields(DataBatch):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, torch.Tensor):
            assert one.dtype == other.dtype, field.name
            assert one.shape == other.shape, field.name
            assert torch.equal(one, other), field.name
        elif field.name == "metadata":
            assert [repr(item) for item in one] == [repr(item) for item in other]
        else:
            assert one == other, field.name


@FEW
@given(sample_lists(), st.integers(1, 50))
def test_padding_is_that_of_pad_sequence(samples: list[Any], multiple: int) -> None:
    batch = SpeechCollator(pad_to_multiple=multiple)(samples)
    lengths = [waveform.shape[1] for waveform, _, _ in samples]
    padded = pad_sequence([waveform.T for waveform, _, _ in samples], batch_first=True).mT
    longest = padded.shape[2]
    assert torch.equal(batch.waveforms[:, :, :longest], padded)
    assert batch.waveforms.shape[2] == -(-longest // multiple) * multiple
    assert not batch.waveforms[:, :, longest:].any()
    assert batch.waveforms.dtype == torch.float32
    assert batch.waveforms.is_contiguous()
    assert batch.waveform_lengths.tolist() == lengths
    assert batch.waveform_lengths.dtype == torch.int64
    assert batch.attention_mask.shape == (len(samples), batch.waveforms.shape[2])
    assert batch.attention_mask.sum(1).tolist() == lengths
    assert (batch.attention_mask.int().diff() <= 0).all()
    assert batch.metadata == [metadata for _, _, metadata in samples]
    assert batch.metadata[0] is samples[0][2]
    assert batch.sample_rate == RATE


@FEW
@given(sample_lists())
def test_labels_masks_and_segments(samples: list[Any]) -> None:
    batch = SpeechCollator(label_padding=-7)(samples)
    metadata = [item for _, _, item in samples]
    if "label_ids" in metadata[0]:
        rows = [torch.from_numpy(item["label_ids"]) for item in metadata]
        expected = pad_sequence(rows, batch_first=True, padding_value=-7)
        assert torch.equal(batch.labels, expected)
        assert batch.labels.dtype == torch.int64
        assert batch.label_mask.sum(1).tolist() == [len(row) for row in rows]
        assert (batch.labels[~batch.label_mask] == -7).all()
        assert batch.segments == [item["segments"] for item in metadata]
    else:
        assert batch.labels is batch.label_mask is batch.segments is None
    if "prediction_mask" in metadata[0]:
        for name in ("prediction_mask", "frame_attention_mask"):
            rows = [torch.from_numpy(item[name]) for item in metadata]
            assert torch.equal(getattr(batch, name), pad_sequence(rows, batch_first=True))
        assert not (batch.prediction_mask & ~batch.frame_attention_mask).any()
    else:
        assert batch.prediction_mask is batch.frame_attention_mask is None


@FEW
@given(sample_lists(), st.data())
def test_parts_of_a_batch(samples: list[Any], data: Any) -> None:
    batch = SpeechCollator()(samples)
    assert len(batch) == len(samples)
    for found, expected in zip(batch, samples, strict=True):
        assert torch.equal(found[0], expected[0])
        assert found[1:] == expected[1:]
    assert torch.equal(batch[-1][0], samples[-1][0])
    with pytest.raises(IndexError):
        batch[len(samples)]
    part = data.draw(st.slices(len(samples)))
    rows = data.draw(st.lists(st.integers(-len(samples), len(samples) - 1)))
    mask = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch)))
    )
    order = list(range(len(samples)))
    every = [
        (batch[part], order[part]),
        (batch[rows], [order[row] for row in rows]),
        (batch[np.array(rows, int)], [order[row] for row in rows]),
        (batch[torch.tensor(rows, dtype=torch.long)], [order[row] for row in rows]),
        (batch[mask], [row for row in order if mask[row]]),
    ]
    for found, chosen in every:
        assert [metadata["wav_id"] for metadata in found.metadata] == [f"w{row}" for row in chosen]
        assert found.waveform_lengths.tolist() == [samples[row][0].shape[1] for row in chosen]
        assert torch.equal(found.waveforms, batch.waveforms[torch.tensor(chosen, dtype=torch.long)])
        if batch.segments is not None:
            assert found.segments == [batch.segments[row] for row in chosen]


@FEW
@given(sample_lists())
def test_upstream_and_back(samples: list[Any]) -> None:
    batch = SpeechCollator()(samples)
    there = to_upstream(batch)
    assert type(there) is dict
    assert_same(from_upstream(there), batch)
    assert_same(from_upstream(pickle.loads(pickle.dumps(there))), batch)
    for sample in samples:
        found = from_upstream(to_upstream(sample))
        assert torch.equal(found[0], sample[0])
        assert found[1:] == sample[1:]


def test_names_of_fairseq() -> None:
    """Its collaters give these, its models take what is in `net_input` as arguments."""
    metadata = {"label_ids": np.array([4]), "prediction_mask": np.array([True, False])}
    samples = [make(0, 1, 5, **metadata), make(1, 1, 3, **metadata)]
    there = to_upstream(SpeechCollator()(samples))
    assert there["id"] == ["w0", "w1"]
    assert (there["nsentences"], there["ntokens"]) == (2, 2)
    assert set(there["net_input"]) == {"source", "padding_mask", "mask_indices"}
    assert there["net_input"]["source"].shape == (2, 5)
    assert there["net_input"]["padding_mask"].tolist() == [[False] * 5, [False] * 3 + [True] * 2]
    assert there["target"].tolist() == [[4], [4]]
    assert there["target_lengths"].tolist() == [1, 1]
    stereo = to_upstream(SpeechCollator()([make(0, 2, 5), make(1, 2, 3)]))
    assert stereo["net_input"]["source"].shape == (2, 2, 5)
    assert stereo["ntokens"] == 8
    assert "target" not in stereo


def test_dicts_that_fairseq_has_made() -> None:
    source = torch.randn(2, 6)
    made = {"id": torch.tensor([7, 9]), "net_input": {"source": source}}
    batch = from_upstream(made, sample_rate=RATE)
    assert torch.equal(batch.waveforms, source[:, None])
    assert batch.waveform_lengths.tolist() == [6, 6]
    assert batch.attention_mask.all()
    assert [metadata["wav_id"] for metadata in batch.metadata] == ["7", "9"]
    padding = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    made["net_input"]["padding_mask"] = padding
    assert from_upstream(made, sample_rate=RATE).waveform_lengths.tolist() == [6, 4]
    assert from_upstream({"id": 3, "source": source[0]}, RATE)[2] == {"wav_id": "3"}
    with pytest.raises(SampleError, match="column 'sample_rate': is missing"):
        from_upstream(made)
    with pytest.raises(SampleError, match="column 'source': is missing"):
        from_upstream({"id": 3}, RATE)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda s: (s[0], 8_000, s[2]), "at 8000 Hz, the first at 16000 Hz"),
        (lambda s: (torch.zeros(2, 9), *s[1:]), "of 2 channels, the first of 1"),
        (lambda s: (torch.zeros(1, 0), *s[1:]), "empty"),
        (lambda s: (torch.zeros(9), *s[1:]), r"of \(9,\) torch.float32, not"),
        (lambda s: (s[0].short(), *s[1:]), r"of \(1, 4\) torch.int16, not"),
    ],
)
def test_samples_that_do_not_fit_are_named(bad: Any, reason: str) -> None:
    samples = [make(0, 1, 4), make(1, 1, 4), bad(make(2, 1, 4))]
    with pytest.raises(SampleError, match=f"wav_id 'w2': sample 2 of the batch is {reason}"):
        SpeechCollator()(samples)


@pytest.mark.parametrize("name", ["label_ids", "prediction_mask", "segments"])
def test_what_only_some_samples_have(name: str) -> None:
    samples = [make(0, 1, 4, **{name: []}), make(1, 1, 4)]
    with pytest.raises(SampleError, match=f"wav_id 'w1', column '{name}': sample 1 of the batch"):
        SpeechCollator()(samples)


def test_batches_that_make_no_sense() -> None:
    with pytest.raises(SampleError, match="a batch needs at least one sample"):
        SpeechCollator()([])
    with pytest.raises(InvalidArgumentError, match="pad_to_multiple must be at least 1, not 0"):
        SpeechCollator(pad_to_multiple=0)
    batch = SpeechCollator()([make(0, 1, 4)])
    with pytest.raises(SampleError, match="column 'metadata': 2 rows for 1 waveforms"):
        dataclasses.replace(batch, metadata=[{}, {}])


def labelled_batch() -> DataBatch:
    rows = [{"onset": 0, "offset": 1}]
    marks = {"label_ids": np.array([1, 2]), "segments": rows}
    masks = {name: np.array([True]) for name in ("prediction_mask", "frame_attention_mask")}
    return SpeechCollator()([make(0, 1, 9, **marks, **masks), make(1, 1, 4, **marks, **masks)])


def tensors(batch: DataBatch) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(batch).items() if torch.is_tensor(value)}


def test_every_tensor_moves() -> None:
    batch = labelled_batch()
    moved = batch.to("meta", non_blocking=True)
    assert len(tensors(moved)) == 7
    assert all(tensor.device.type == "meta" for tensor in tensors(moved).values())
    assert all(tensor.device.type == "cpu" for tensor in tensors(batch).values())
    assert moved.metadata is batch.metadata
    assert_same(batch.to("cpu"), batch)


def test_a_data_loader_pins_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    batch = labelled_batch()
    found = pin_memory(batch)  # what its thread calls
    assert type(found) is DataBatch
    assert len(pinned) == 7
    assert_same(found, batch)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pinned_batches_reach_a_gpu() -> None:
    batch = labelled_batch()
    pinned = batch.pin_memory()
    assert all(tensor.is_pinned() for tensor in tensors(pinned).values())
    moved = pinned.to("cuda", non_blocking=True)
    torch.cuda.synchronize()
    assert all(tensor.is_cuda for tensor in tensors(moved).values())
    assert_same(moved.to("cpu"), batch)
    assert_same(moved[[1, 0]].to("cpu"), batch[[1, 0]])
    assert_same(from_upstream(to_upstream(moved)).to("cpu"), batch)


def test_workers_of_a_data_loader() -> None:
    samples = [make(index, 1, 50 + index, label_ids=np.arange(index % 3)) for index in range(8)]
    collator = pickle.loads(pickle.dumps(SpeechCollator(pad_to_multiple=7)))
    loader = DataLoader(samples, batch_size=4, collate_fn=collator, num_workers=1)
    expected = [collator(samples[:4]), collator(samples[4:])]
    for found, batch in zip(loader, expected, strict=True):
        assert_same(found, batch)


def test_what_imports_neither_torch_nor_polars() -> None:
    code = """
import sys
from ossicle.dataloader import Window, OnlineWindower, VADSegmenter, LabelEncoder, MaskGenerator
windows = OnlineWindower("vad", length=3.0).windows(
    {"duration": 9.0, "vad_merged": [{"onset": 1, "offset": 2}]}
)
assert windows == [Window(1, 2)]
assert not {"torch", "polars", "transformers", "scipy", "pyloudnorm"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)

"""Labels to numbers: an order that no data changes, files that restore it, unknown labels."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossicle.dataloader import LabelEncoder, MetadataError, SampleError
from ossicle.errors import InvalidArgumentError

FEW = settings(max_examples=60, deadline=None)
# NumPy's own text ends at a null and holds no lone surrogates: the oracle, not the encoder, minds.
LABELS = st.lists(st.text(st.characters(exclude_characters="\0"), max_size=6), min_size=1)
SILENCE = torch.zeros(1, 10)


def encoded(encoder: LabelEncoder, metadata: dict[str, Any]) -> dict[str, Any]:
    waveform, rate, result = encoder(SILENCE, 16_000, metadata)
    assert waveform is SILENCE
    assert rate == 16_000
    return result


def segments(labels: list[str]) -> list[dict[str, Any]]:
    rows = enumerate(labels)
    return [{"onset": row, "offset": row + 1, "label": label} for row, label in rows]


@FEW
@given(LABELS, st.randoms())
def test_numbers_are_those_of_numpy_in_any_order(labels: list[str], random: Any) -> None:
    names, numbers = np.unique(np.array(labels), return_inverse=True)
    shuffled = random.sample(labels, len(labels)) * 2
    encoder = LabelEncoder().fit(shuffled)
    assert encoder.labels == tuple(names.tolist())
    assert len(encoder) == len(names)
    found = encoder.encode(labels)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, numbers)
    assert encoder.decode(found) == labels


@FEW
@given(
    st.lists(st.text(st.characters(exclude_categories=[]))),
    st.sampled_from(["error", "ignore"]) | st.integers(),
    st.text(),
    st.text(),
)
def test_save_and_load_and_pickle_restore_it(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str], unknown: Any, key: str, field: str
) -> None:
    encoder = LabelEncoder(unknown, key=key, field=field, labels=labels)
    folder = tmp_path_factory.mktemp("labels")
    path = encoder.save(folder / "labels.json")
    assert path == folder / "labels.json"
    assert vars(LabelEncoder.load(path)) == vars(encoder)
    assert vars(pickle.loads(pickle.dumps(encoder))) == vars(encoder)
    assert list(folder.iterdir()) == [path]


@FEW
@given(LABELS, LABELS)
def test_unknown_labels(known: list[str], labels: list[str]) -> None:
    metadata = {"wav_id": "a", "vtc_merged": segments(labels)}
    strict, ignoring = LabelEncoder(labels=known), LabelEncoder("ignore", labels=known)
    result = encoded(ignoring, metadata)
    kept = [segment for segment in metadata["vtc_merged"] if segment["label"] in known]
    assert result["vtc_merged"] == kept
    assert ignoring.decode(result["label_ids"]) == [segment["label"] for segment in kept]
    marked = encoded(LabelEncoder(-100, labels=known), metadata)
    assert marked["vtc_merged"] is metadata["vtc_merged"]
    assert [number >= 0 for number in marked["label_ids"]] == [label in known for label in labels]
    strange = [label for label in labels if label not in known]
    if not strange:
        np.testing.assert_array_equal(encoded(strict, metadata)["label_ids"], marked["label_ids"])
        return
    with pytest.raises(SampleError) as caught:
        strict(SILENCE, 16_000, metadata)
    assert (caught.value.wav_id, caught.value.column) == ("a", "vtc_merged")
    assert repr(strange[0]) in str(caught.value)


def test_what_can_be_encoded() -> None:
    samples = [
        {"vtc_merged": segments(["CHI", "FEM"])},
        {"vtc_merged": []},
        {"vtc_merged": ["MAL", "CHI"]},
        {"vtc_merged": "OCH"},
    ]
    encoder = LabelEncoder().fit_metadata(samples)
    assert encoder.labels == ("CHI", "FEM", "MAL", "OCH")
    found = [encoded(encoder, sample)["label_ids"].tolist() for sample in samples]
    assert found == [[0, 1], [], [2, 0], [3]]
    assert all(encoded(encoder, sample)["label_ids"].dtype == np.int64 for sample in samples)
    by_speaker = LabelEncoder(key="turns", field="speaker", labels=["b", "a"])
    turns = [{"onset": 0, "offset": 1, "speaker": "b"}]
    assert encoded(by_speaker, {"turns": turns})["label_ids"].tolist() == [1]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "there are no labels to encode"),
        (3, "there are no labels to encode"),
        ([{"onset": 0}], "item 0 has no 'label'"),
        (["CHI", 3], "item 1 has no 'label'"),
    ],
)
def test_metadata_that_does_not_do(value: Any, reason: str) -> None:
    with pytest.raises(MetadataError, match=f"wav_id 'a', column 'vtc_merged': {reason}"):
        encoded(LabelEncoder(labels=["CHI"]), {"wav_id": "a", "vtc_merged": value})


def test_arguments_that_make_no_sense() -> None:
    for unknown in ("skip", True, 1.5):
        with pytest.raises(InvalidArgumentError, match="unknown must be"):
            LabelEncoder(unknown)
    with pytest.raises(InvalidArgumentError, match="not the text 'CHI'"):
        LabelEncoder().fit("CHI")
    with pytest.raises(InvalidArgumentError, match="a label must be text, not 3"):
        LabelEncoder().fit([3])
    with pytest.raises(SampleError, match="none: call fit"):
        LabelEncoder().encode(["CHI"])
    for number in (-1, 2):
        with pytest.raises(InvalidArgumentError, match=f"{number} is not the id of one of the 2"):
            LabelEncoder(labels=["a", "b"]).decode([number])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"unknown": "error", "more": 1}', '"a"'])
def test_files_that_hold_something_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(MetadataError, match=r"labels\.json: not a file of labels"):
        LabelEncoder.load(path)


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = LabelEncoder(labels=["a"]).save(tmp_path / "labels.json")

    def fail(*_: Any) -> None:
        raise OSError("full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="full"):
        LabelEncoder(labels=["a", "b"]).save(path)
    assert json.loads(path.read_text())["labels"] == ["a"]
    assert list(tmp_path.iterdir()) == [path]

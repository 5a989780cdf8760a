"""What changes the features changes the digest, and nothing else does."""

from __future__ import annotations

import copy
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ossicle.features.fingerprint import processor_sha256

transformers = pytest.importorskip("transformers")


def whisper(**changes: Any) -> Any:
    return transformers.WhisperFeatureExtractor(**changes)


def processor(extractor: Any, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(feature_extractor=extractor, tokenizer=SimpleNamespace(), **more)


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if value is None:
        return 1.0
    if isinstance(value, dict | list):
        return {"another": value}
    array = value.copy()
    array.flat[array.size // 2] = np.nextafter(array.flat[array.size // 2], 9)
    return array


@pytest.mark.thorough
def test_it_is_a_digest_that_other_processes_find_too() -> None:
    digest = processor_sha256(whisper())
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")
    assert processor_sha256(whisper()) == processor_sha256(copy.deepcopy(whisper())) == digest
    script = "import transformers, ossicle.features.fingerprint as f; "
    script += "print(f.processor_sha256(transformers.WhisperFeatureExtractor()))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == digest


@pytest.mark.parametrize("name", sorted(vars(whisper())))
def test_every_attribute_counts_even_after_a_first_call(name: str) -> None:
    extractor = whisper()
    wrapped = processor(extractor)
    before = processor_sha256(extractor), processor_sha256(wrapped)
    original = getattr(extractor, name)
    setattr(extractor, name, changed(original))
    assert processor_sha256(extractor) != before[0]
    assert processor_sha256(wrapped) != before[1]
    setattr(extractor, name, original)
    assert (processor_sha256(extractor), processor_sha256(wrapped)) == before


# Windows, bands and their limits, dither, floors, normalisation, padding: all attributes there are.
OTHERS = {
    "Gemma3nAudioFeatureExtractor": {"per_bin_mean": [0.5] * 128, "per_bin_stddev": [2.0] * 128},
    "Phi4MultimodalFeatureExtractor": {},
    "WhisperFeatureExtractor": {"return_attention_mask": True},
}


def other(kind: str, **changes: Any) -> Any:
    return getattr(transformers, kind)(**{**OTHERS[kind], **changes})


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in OTHERS for name in sorted(vars(other(kind)))]
)
def test_every_attribute_of_other_extractors_counts(kind: str, name: str) -> None:
    extractor = other(kind)
    before = processor_sha256(extractor)
    original = getattr(extractor, name)
    if name in ("_processor_class", "processor_class"):
        return
    setattr(extractor, name, changed(original))
    assert processor_sha256(extractor) != before
    setattr(extractor, name, original)
    assert processor_sha256(extractor) == before


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Gemma3nAudioFeatureExtractor", {"min_frequency": 100.0}),
        ("Gemma3nAudioFeatureExtractor", {"max_frequency": 7000.0}),
        ("Gemma3nAudioFeatureExtractor", {"frame_length_ms": 25.0}),
        ("Gemma3nAudioFeatureExtractor", {"dither": 0.1}),
        ("Phi4MultimodalFeatureExtractor", {"mel_min_frequency": 20.0}),
        ("Phi4MultimodalFeatureExtractor", {"mel_max_frequency": 7600.0}),
        ("Phi4MultimodalFeatureExtractor", {"win_length": 320}),
        ("WhisperFeatureExtractor", {"chunk_length": 15}),
        ("WhisperFeatureExtractor", {"feature_size": 128}),
        ("WhisperFeatureExtractor", {"do_normalize": True}),
        ("WhisperFeatureExtractor", {"padding_side": "left"}),
    ],
)
def test_every_argument_that_changes_features_counts(kind: str, change: dict[str, Any]) -> None:
    assert processor_sha256(other(kind, **change)) != processor_sha256(other(kind))


@pytest.mark.parametrize(
    "change", [{"padding": "longest"}, {"truncation": False}, {"max_length": 99}]
)
def test_how_the_processor_calls_its_extractor_counts(change: dict[str, Any]) -> None:
    extractor = whisper()
    before = processor_sha256(processor(extractor, audio_kwargs={"padding": "max_length"}))
    after = processor(extractor, audio_kwargs={"padding": "max_length", **change})
    assert processor_sha256(after) != before
    same = processor(extractor, audio_kwargs={"padding": "max_length"}, text_kwargs={"a": 1})
    assert processor_sha256(same) == before


def test_an_array_changed_in_place_counts() -> None:
    extractor = whisper()
    before = processor_sha256(extractor)
    extractor.mel_filters[100, 40] += 1e-12
    assert processor_sha256(extractor) != before


@pytest.mark.parametrize(
    "name",
    [
        "processor_class",
        "_processor_class",
        "name_or_path",
        "_name_or_path",
        "_commit_hash",
        "auto_map",
    ],
)
def test_where_an_extractor_came_from_does_not_count(name: str) -> None:
    extractor = whisper()
    before = processor_sha256(extractor)
    setattr(extractor, name, "somewhere/else")
    assert processor_sha256(extractor) == before


def test_the_tokenizer_does_not_count() -> None:
    extractor = whisper()
    before = processor_sha256(processor(extractor))
    other = processor(extractor, chat_template="{{ text }}")
    other.tokenizer = SimpleNamespace(vocab_size=9, pad_token="!")
    assert processor_sha256(other) == before


def test_class_names_and_versions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(transformers.WhisperFeatureExtractor):  # type: ignore[misc, name-defined]
        pass

    class Wrapper:
        feature_extractor = whisper()

    digests = {
        processor_sha256(each) for each in (whisper(), Other(), Wrapper(), processor(whisper()))
    }
    assert len(digests) == 4
    monkeypatch.setattr(transformers, "__version__", "0.0.0")
    assert processor_sha256(whisper()) not in digests


def test_a_saved_extractor_keeps_its_digest(tmp_path: Any) -> None:
    extractor = whisper(feature_size=128, dither=0.1)
    extractor.save_pretrained(tmp_path)
    again = transformers.WhisperFeatureExtractor.from_pretrained(tmp_path)
    assert processor_sha256(again) == processor_sha256(extractor) != processor_sha256(whisper())


def test_objects_that_refuse_attributes() -> None:
    class Slots:
        __slots__ = ("hop_length", "sampling_rate")

        def __init__(self, rate: int) -> None:
            self.sampling_rate = rate

    assert processor_sha256(Slots(8000)) == processor_sha256(Slots(8000))
    assert processor_sha256(Slots(8000)) != processor_sha256(Slots(16000))


def test_plain_classes_and_odd_values() -> None:
    class Plain:
        sampling_rate = 16_000

        def __init__(self, value: Any) -> None:
            self.value = value

    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    loop: list[Any] = []
    loop.append(loop)
    torch = pytest.importorskip("torch")
    values = [
        None, 1, 1.5, "1.5", float("nan"), [1, 2], [2, 1], {"a": 1}, {"a": {"a": 1}}, {1, 2}, b"1",
        np.ones(2), np.ones(2, np.float32), np.ones((2, 1)), np.zeros(2), np.array([{}, 1], object),
        torch.full((2,), 3.0), torch.float32, torch.nn.Linear(1, 1), Point(1), Point(2), Point, len,
        lambda: 0, (n for n in ()), loop,
    ]  # fmt: skip
    digests = [processor_sha256(Plain(value)) for value in values]
    assert len(set(digests)) == len(digests)
    assert digests == [processor_sha256(Plain(value)) for value in values]
    assert processor_sha256(Plain(Point(1))) == digests[19]
    assert processor_sha256(Plain(np.float64(1.5))) == digests[2]
    before = processor_sha256(Plain(1))
    Plain.sampling_rate = 8_000
    assert processor_sha256(Plain(1)) != before

"""`WhisperFeatures` beside the extractor that it stands in for: the same call gives the same."""

from __future__ import annotations

import copy
import logging
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor

import ossicle
from ossicle import WhisperFeatures
from ossicle.experiment.tiny import tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # logarithms of NaN

LOUDNESS = {"silent": 0.0, "quiet": 1e-7, "usual": 0.1, "full": 1.0, "int16": 2e4, "nan": np.nan}


class NumpyPath(WhisperFeatureExtractor):
    """The truth: Hugging Face's extractor as it is where there is no PyTorch."""

    def _torch_extract_fbank_features(self, waveform: Any, device: str = "cpu") -> Any:
        return self._np_extract_fbank_features(waveform, device)


def clip(samples: int, loudness: str = "usual", seed: int = 0) -> NDArray[np.float32]:
    """Noise whose colour and loudness change, as speech does."""
    noise = np.random.default_rng(seed).standard_normal(samples)
    time = np.arange(samples) / 16_000
    voice = np.sin(2 * np.pi * 200 * time) + 0.3 * np.sin(2 * np.pi * 3_000 * time)
    level = LOUDNESS["usual" if loudness == "nan" else loudness]
    found = level * (np.sin(3 * time) ** 2 * voice + 0.1 * noise)
    if loudness == "nan" and samples:
        found[samples // 2] = np.nan
    return found.astype(np.float32)


def outcome(extractor: WhisperFeatureExtractor, raw: Any, arguments: dict[str, Any]) -> Any:
    try:
        found = extractor(raw, **arguments)
    except Exception as error:
        return error
    assert type(found) is transformers.BatchFeature
    return found


def check_same(ours: Any, theirs: Any, tolerance: float = 1e-6) -> None:
    if isinstance(theirs, Exception):
        assert type(ours) is type(theirs), (ours, theirs)
        names = [
            re.sub("WhisperFeature(s|Extractor)|NumpyPath", "", str(e)) for e in (ours, theirs)
        ]
        assert names[0] == names[1]
        return
    if isinstance(ours, Exception):
        raise ours
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        found = ours[name]
        assert type(found) is type(expected)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        if name == "input_features":
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
        else:
            np.testing.assert_array_equal(found, expected)


EDGES = (0, 1, 159, 160, 161, 200, 201, 399, 400, 479_800, 479_999, 480_000, 480_001, 560_000)
SAMPLES = st.sampled_from(EDGES) | st.integers(0, 80_000) | st.integers(0, 560_000)
CLIPS = st.lists(SAMPLES, min_size=1, max_size=3)
FORMS = ("array", "double", "list", "arrays", "tuple", "lists", "rows", "tensor", "stereo")
ARGUMENTS = st.fixed_dictionaries(
    {"sampling_rate": st.just(16_000)},
    optional={
        "truncation": st.booleans(),
        "pad_to_multiple_of": st.sampled_from([None, 1, 128, 160, 4_001]),
        "return_tensors": st.sampled_from([None, "np", "pt"]),
        "return_attention_mask": st.sampled_from([None, False, True]),
        "padding": st.sampled_from(
            ["max_length", "longest", "do_not_pad", True, False, "max_length", "no such"]
        ),
        "max_length": st.sampled_from([None, 1, 159, 170, 1_000, 16_000, 47_999, 500_000]),
        "do_normalize": st.sampled_from([None, False, True]),
        "device": st.just("cpu"),
        "return_token_timestamps": st.sampled_from([None, True]),
    },
)


def in_form(form: str, clips: list[NDArray[np.float32]]) -> Any:
    if form == "list":
        return clips[0][:20_000].tolist()
    if form == "lists":
        return [one[:20_000].tolist() for one in clips]
    if form == "rows":
        shortest = min(map(len, clips))
        return np.stack([one[:shortest] for one in clips])
    if form == "stereo":
        return [np.stack([one, one]) for one in clips]
    forms = {
        "array": clips[0],
        "double": clips[0].astype(np.float64),
        "arrays": clips,
        "tuple": tuple(clips),
        "tensor": torch.from_numpy(clips[0]),
    }
    return forms[form]


@settings(max_examples=60, deadline=None)
@given(
    lengths=CLIPS,
    loudness=st.sampled_from(list(LOUDNESS)),
    form=st.sampled_from(FORMS),
    n_mels=st.sampled_from([80, 128]),
    masked=st.sampled_from([False, False, True]),
    arguments=ARGUMENTS,
)
@example([0], "usual", "array", 80, False, {"sampling_rate": 16_000})
@example([400, 0], "usual", "arrays", 80, False, {"padding": "longest", "sampling_rate": 16_000})
def test_every_call_gives_what_the_extractor_gives(
    lengths: list[int],
    loudness: str,
    form: str,
    n_mels: int,
    masked: bool,
    arguments: dict[str, Any],
) -> None:
    clips = [clip(length, loudness, seed) for seed, length in enumerate(lengths)]
    raw = in_form(form, clips)
    ours = outcome(WhisperFeatures(n_mels, return_attention_mask=masked), raw, arguments)
    theirs = outcome(NumpyPath(n_mels, return_attention_mask=masked), raw, arguments)
    check_same(ours, theirs)


@pytest.mark.sampled(one_in=2)
@pytest.mark.parametrize("n_mels", [80, 128])
def test_chunks_of_five_minutes(n_mels: int) -> None:
    extractors = [kind(n_mels, chunk_length=300) for kind in (WhisperFeatures, NumpyPath)]
    raw = [clip(100_000), clip(3_000_000)]
    arguments = {"sampling_rate": 16_000, "return_attention_mask": True, "return_tensors": "np"}
    ours, theirs = (outcome(extractor, raw, arguments) for extractor in extractors)
    check_same(ours, theirs)
    assert ours["input_features"].shape == (2, n_mels, 30_000)


@pytest.mark.parametrize("loudness", ["silent", "quiet", "usual", "full", "int16"])
def test_the_path_through_pytorch_is_as_near_as_it_promises(loudness: str) -> None:
    raw = clip(480_000, loudness)
    ours = WhisperFeatures()(raw, sampling_rate=16_000)["input_features"]
    theirs = WhisperFeatureExtractor()(raw, sampling_rate=16_000)["input_features"]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_fft": 512},
        {"hop_length": 200},
        {"sampling_rate": 8_000},
        {"padding_value": 0.25},
        {"padding_side": "left"},
        {"feature_size": 40},
        {"feature_size": 1},
        {"chunk_length": 2},
        {"dither": 1e-3},
    ],
)
def test_other_settings(settings: dict[str, Any]) -> None:
    ours, theirs = WhisperFeatures(**settings), NumpyPath(**settings)
    arguments = {"sampling_rate": ours.sampling_rate, "return_attention_mask": True}
    results = []
    for extractor in (ours, theirs):
        np.random.seed(0)  # noqa: NPY002 - what the extractor dithers with
        results.append(outcome(extractor, [clip(30_000), clip(3_001)], arguments))
    check_same(*results)


def test_filters_of_ones_own_are_heeded() -> None:
    ours, theirs = WhisperFeatures(), NumpyPath()
    before = ours(clip(16_000), sampling_rate=16_000)["input_features"]
    for extractor in (ours, theirs):
        extractor.mel_filters = extractor.mel_filters * 0.5
    arguments = {"sampling_rate": 16_000}
    results = [outcome(extractor, clip(16_000), arguments) for extractor in (ours, theirs)]
    check_same(*results)
    assert not np.allclose(results[0]["input_features"], before, atol=1e-3)


def test_errors_are_the_extractors() -> None:
    for raw, arguments in [
        (clip(1_000), {"sampling_rate": 44_100}),
        (np.zeros((2, 1_000, 1), np.float32), {"sampling_rate": 16_000}),
        (np.zeros((1, 2, 1_000), np.float32), {"sampling_rate": 16_000}),
        ([], {"sampling_rate": 16_000}),
        ("a path", {"sampling_rate": 16_000}),
        (clip(1_000), {"sampling_rate": 16_000, "pad_to_multiple_of": 0}),
        (clip(1_000), {"sampling_rate": 16_000, "return_tensors": "tf"}),
        ([clip(1_000), clip(999)], {"sampling_rate": 16_000, "padding": False}),
    ]:
        theirs = outcome(NumpyPath(), raw, arguments)
        assert isinstance(theirs, Exception)
        check_same(outcome(WhisperFeatures(), raw, arguments), theirs)


class Kept(logging.Handler):
    """The records of one logger, once each: whether they go on to the root is others' to set."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.mark.parametrize("propagates", [False, True])
def test_a_rate_that_is_not_told_is_a_warning(
    propagates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, kept = logging.getLogger("transformers"), Kept()
    monkeypatch.setattr(logger, "propagate", propagates)
    logger.addHandler(kept)
    try:
        texts = []
        for extractor in (WhisperFeatures(), NumpyPath()):
            kept.records.clear()
            extractor(clip(1_000))
            [record] = kept.records
            texts.append((record.name, record.levelname, "sampling_rate" in record.getMessage()))
        assert texts[0] == texts[1]
        kept.records.clear()
        WhisperFeatures()(clip(1_000), sampling_rate=16_000)
        assert not kept.records
    finally:
        logger.removeHandler(kept)


@pytest.mark.parametrize("settings", [{}, {"feature_size": 128, "chunk_length": 300, "x": 1}])
def test_files_are_the_extractors(settings: dict[str, Any], tmp_path: Path) -> None:
    ours, theirs = WhisperFeatures(**settings), WhisperFeatureExtractor(**settings)
    assert ours.to_dict() == theirs.to_dict()
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    files = [tmp_path / name / "preprocessor_config.json" for name in ("ours", "theirs")]
    assert files[0].read_text() == files[1].read_text()
    loaded = WhisperFeatures.from_pretrained(tmp_path / "theirs")
    assert type(loaded) is WhisperFeatures
    assert loaded.to_dict() == theirs.to_dict()
    assert WhisperFeatures.from_dict(theirs.to_dict()).to_dict() == theirs.to_dict()
    plain = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "ours")
    assert type(plain) is WhisperFeatureExtractor


def whisper(extractor: WhisperFeatureExtractor) -> transformers.ProcessorMixin:
    # Its class asks for no more of a tokenizer than this.
    return transformers.WhisperProcessor(extractor, tiny_tokenizer())


def qwen2_audio(extractor: WhisperFeatureExtractor) -> transformers.ProcessorMixin:
    return transformers.Qwen2AudioProcessor(extractor, tiny_tokenizer())


def qwen2_5_omni(extractor: WhisperFeatureExtractor) -> transformers.ProcessorMixin:
    # Without torchvision its part for videos cannot be made, nor therefore the whole.
    kind = transformers.Qwen2_5OmniProcessor
    processor = kind.__new__(kind)
    parts = {"tokenizer": tiny_tokenizer(), "feature_extractor": extractor, "chat_template": None}
    tokens = {"audio_token": "<|AUDIO|>", "image_token": "<|unk|>", "video_token": "<|unk|>"}
    ends = {"audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
    vars(processor).update(parts | tokens | ends)
    return processor


@pytest.mark.parametrize("make", [whisper, qwen2_audio, qwen2_5_omni])
def test_in_a_processor(make: Callable[[Any], Any], tmp_path: Path) -> None:
    raw = [clip(16_000), clip(23_456)]
    text = ["<|AUDIO|> one", "two <|AUDIO|>"]
    arguments: dict[str, Any] = {"sampling_rate": 16_000, "return_tensors": "pt", "padding": True}
    if make is whisper:
        text, arguments = None, arguments | {"padding": "max_length", "return_attention_mask": True}
    results = []
    for kind in (WhisperFeatures, NumpyPath):
        processor = make(kind(128, return_attention_mask=True))
        results.append(processor(text=text, audio=raw, **arguments))
    check_same(*results)
    if make is qwen2_audio:
        # What is saved loads where ossicle is not installed.
        make(WhisperFeatures(128)).save_pretrained(tmp_path)
        loaded = transformers.Qwen2AudioProcessor.from_pretrained(tmp_path)
        assert type(loaded.feature_extractor) is WhisperFeatureExtractor
        loaded.feature_extractor = WhisperFeatures.from_dict(loaded.feature_extractor.to_dict())
        check_same(loaded(text=text, audio=raw, **arguments), results[1])


def test_copies_give_the_same_bits() -> None:
    ours = WhisperFeatures(128)
    expected = ours(clip(20_000), sampling_rate=16_000)["input_features"]
    for other in (pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)):
        assert type(other) is WhisperFeatures
        found = other(clip(20_000), sampling_rate=16_000)["input_features"]
        assert np.array_equal(found, expected)
        assert ossicle.processor_sha256(other) == ossicle.processor_sha256(ours)


def test_a_cache_tells_it_from_the_extractor() -> None:
    """Equal within 1e-6 is not equal to the bit."""
    ours, theirs = WhisperFeatures(), WhisperFeatureExtractor()
    digest = ossicle.processor_sha256(ours)
    assert digest != ossicle.processor_sha256(theirs)
    ours(clip(1_000), sampling_rate=16_000)
    assert ossicle.processor_sha256(ours) == digest
    assert ossicle.processor_sha256(WhisperFeatures(128)) != digest


def test_neither_transformers_nor_pytorch_is_imported_before_it_is_asked_for() -> None:
    script = """
import sys, ossicle, ossicle.features.mel, numpy
ossicle.log_mel_spectrogram(numpy.zeros(1000))
assert not {"torch", "transformers", "polars"} & set(sys.modules)
assert "WhisperFeatures" in dir(ossicle)
sys.modules["torch"] = None  # as if it were not installed
found = ossicle.WhisperFeatures()(numpy.zeros(1000, "float32"), sampling_rate=16_000)
assert found["input_features"].shape == (1, 80, 3000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]

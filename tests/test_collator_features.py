"""Features from the cache: the processor's own batch, without a decoder."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from collating import RATE, collator_of, family, one_thread, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ossicle.data.load
from ossicle.cache import AudioCache, WaveformCache
from ossicle.collator import ClipTooShortError, SampleRateMismatchError
from ossicle.experiment.tiny_families import PLACEHOLDERS, tiny_family

__all__ = ["one_thread"]

NAMES = ["Qwen2Audio", "Qwen2.5-Omni", "Whisper"]


def written(folder: Path, name: str, waveform: np.ndarray, words: str = "one") -> dict[str, Any]:
    path = folder / f"{hashlib.sha256(waveform.tobytes()).hexdigest()[:16]}.wav"
    soundfile.write(path, waveform, RATE, subtype="FLOAT")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    text = f"{PLACEHOLDERS[name]} {words}".strip()
    return {"audio_path": str(path), "audio_blob_sha": digest, "text": text}


def assert_close(got: dict[str, Any], wanted: dict[str, Any], tolerance: float = 1e-5) -> None:
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        assert got[key].dtype == value.dtype, key
        if key == "input_features":
            torch.testing.assert_close(got[key], value, rtol=0, atol=tolerance)
        else:
            assert torch.equal(got[key], value), key


@pytest.fixture
def numpy_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extractor's way without PyTorch, which agrees with float64.

    Its way with PyTorch is up to 4e-5 away from both where frames are quiet.
    """
    module = "transformers.models.whisper.feature_extraction_whisper.is_torch_available"
    monkeypatch.setattr(module, lambda: False)


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_the_same_by_the_way_of_pytorch(name: str, tmp_path: Path) -> None:
    processor, _ = family(name)
    noise = np.random.default_rng(1).normal(0, 0.1, 20_001).astype(np.float32)
    rows = [written(tmp_path, name, noise)]
    collator = collator_of(processor, feature_cache=AudioCache(tmp_path / "cache"))
    assert_close(collator(rows), collator_of(processor)(rows))


@pytest.mark.usefixtures("numpy_way")
@pytest.mark.parametrize("name", NAMES)
def test_batch_is_the_processors_own_and_warm_ones_touch_no_decoder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor, model = family(name)
    rows = [
        written(tmp_path, name, samples(count, count), words)
        for count, words in ((16_000, "one two"), (9_003, "three"), (64_000, "four"))
    ]
    wanted = collator_of(processor)(rows)
    collator = collator_of(processor, feature_cache=AudioCache(tmp_path / "cache"))
    cold = collator(rows)
    assert_close(cold, wanted)
    for row in rows:
        Path(row["audio_path"]).unlink()
    monkeypatch.setattr(ossicle.data.load, "load_batch", None)
    warm = pickle.loads(pickle.dumps(collator))(rows)
    assert_close(warm, cold, 0)
    assert torch.isfinite(model(**warm).loss)


# Around frames, around the end of the window and beyond it.
EDGES = [321, 479, 480, 481, 639, 640, 641, 479_359, 479_520, 479_681, 479_840, 480_000, 480_001]


@pytest.mark.usefixtures("numpy_way")
@pytest.mark.parametrize("count", EDGES)
def test_every_frame_at_the_edges(count: int, tmp_path: Path) -> None:
    processor, _ = family("Qwen2Audio")
    row = written(tmp_path, "Qwen2Audio", samples(count, 5))
    wanted = collator_of(processor, max_length_seconds=31.0)([row])
    cache = AudioCache(tmp_path / "cache")
    collator = collator_of(processor, max_length_seconds=31.0, feature_cache=cache)
    assert_close(collator([row]), wanted)
    assert_close(collator([row]), wanted)


@pytest.mark.usefixtures("numpy_way")
@given(
    counts=st.lists(st.integers(321, 20_000), min_size=1, max_size=3),
    scale=st.sampled_from([0.0, 1e-6, 1e-3, 1.0]),
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_length_and_any_loudness(tmp_path: Path, counts: list[int], scale: float) -> None:
    processor, _ = family("Whisper")
    rows = [
        written(tmp_path, "Whisper", samples(n, i) * np.float32(scale))
        for i, n in enumerate(counts)
    ]
    collator = collator_of(processor, feature_cache=AudioCache(tmp_path / "cache"))
    assert_close(collator(rows), collator_of(processor)(rows))


@pytest.mark.usefixtures("numpy_way")
def test_the_digest_of_rows_without_one_is_computed(tmp_path: Path) -> None:
    processor, _ = family("Qwen2Audio")
    told, untold = (written(tmp_path, "Qwen2Audio", samples(9_000, i)) for i in range(2))
    digest = untold.pop("audio_blob_sha")
    collator = collator_of(processor, feature_cache=AudioCache(tmp_path / "cache"))
    collator([untold, told])
    kept = {path.name[:64] for path in (tmp_path / "cache").rglob("*.npz")}
    assert kept == {digest, told["audio_blob_sha"]}
    assert_close(collator([untold, told]), collator_of(processor)([untold, told]))


@pytest.mark.usefixtures("numpy_way")
def test_both_caches_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor, _ = family("Qwen2Audio")
    row = written(tmp_path, "Qwen2Audio", samples(9_000))
    waveforms = WaveformCache(tmp_path / "waveforms")
    wanted = collator_of(processor, waveform_cache=waveforms)([row])
    Path(row["audio_path"]).unlink()
    collator = collator_of(
        processor, waveform_cache=waveforms, feature_cache=AudioCache(tmp_path / "features")
    )
    assert_close(collator([row]), wanted)


def test_errors_are_those_of_the_recordings(tmp_path: Path) -> None:
    processor, _ = family("Qwen2Audio")
    cache = AudioCache(tmp_path / "cache")
    short = written(tmp_path, "Qwen2Audio", samples(320))
    collator = collator_of(processor, feature_cache=cache)
    for _ in range(2):
        with pytest.raises(ClipTooShortError, match="too short for one audio token"):
            collator([short])
    path = tmp_path / "other.wav"
    soundfile.write(path, samples(8_000), 8_000)
    row = {**short, "audio_path": str(path), "audio_blob_sha": "0" * 64}
    with pytest.raises(SampleRateMismatchError):
        collator([row])
    left = collator_of(processor, feature_cache=cache, on_error="skip")
    with pytest.warns(RuntimeWarning, match="a bad row"):
        batch = left([row, written(tmp_path, "Qwen2Audio", samples(9_000))])
    assert len(batch["labels"]) == 1


@pytest.mark.usefixtures("numpy_way")
def test_another_extractor_has_other_entries(tmp_path: Path) -> None:
    row = written(tmp_path, "Whisper", samples(9_000))
    cache = AudioCache(tmp_path / "cache")
    for name in ("Whisper", "Qwen2Audio", "Qwen2.5-Omni"):
        processor, _ = family(name)
        mine = {**row, "text": f"{PLACEHOLDERS[name]} one"}
        collator = collator_of(processor, feature_cache=cache)
        assert_close(collator([mine]), collator_of(processor)([mine]))
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 3


@pytest.mark.parametrize("name", ["Gemma3n", "Phi4-multimodal", "AudioFlamingo3", "GraniteSpeech"])
def test_other_features_are_refused(name: str, tmp_path: Path) -> None:
    processor, _ = family(name)
    with pytest.raises(ValueError, match=r"features of .* differ"):
        collator_of(processor, feature_cache=AudioCache(tmp_path))


@pytest.mark.parametrize(
    "change", [{"dither": 0.1}, {"n_fft": 512}, {"hop_length": 320}, {"padding_value": 1.0}]
)
def test_other_settings_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    processor, _ = tiny_family("Whisper")
    vars(processor.feature_extractor).update(change)
    with pytest.raises(ValueError, match="features of WhisperProcessor differ"):
        collator_of(processor, feature_cache=AudioCache(tmp_path))

"""WhisperEncoder against Hugging Face's on 30 s, and against itself in any batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperModel,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder as TheirEncoder

from ossicle.model import WhisperEncoder, WhisperLoadError

CONFIG = WhisperConfig(
    d_model=32,
    encoder_layers=2,
    encoder_attention_heads=2,
    encoder_ffn_dim=64,
    decoder_layers=1,
    decoder_attention_heads=2,
    decoder_ffn_dim=32,
    num_mel_bins=128,
    vocab_size=100,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=3,
)


TINY = WhisperEncoder("tiny-random")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small matrices gain nothing from more, and waiting threads crawl on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def encoder() -> WhisperEncoder:
    return TINY


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WHISPER_MS_ID", "WHISPER_HF_ID"):
        monkeypatch.delenv(name, raising=False)


def clips(seed: int, *samples: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=0.1, size=n).astype(np.float32) for n in samples]


def save(model: torch.nn.Module, folder: Path) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=CONFIG.num_mel_bins).save_pretrained(folder)


def test_features_are_the_first_frames_of_hugging_face_bit_for_bit(encoder: WhisperEncoder) -> None:
    audio = clips(0, 1, 159, 160, 161, 400, 16_000, 55_555, 479_840, 479_999, 480_000)
    features, lengths = encoder.preprocess(audio)
    assert features.shape == (10, 80, 3000)
    assert lengths.dtype == torch.int64
    extractor = WhisperFeatureExtractor(feature_size=80)
    for clip, row, length in zip(audio, features, lengths.tolist(), strict=True):
        padded = extractor(clip, sampling_rate=16_000, return_tensors="np").input_features[0]
        assert length == math.ceil(len(clip) / 160)
        assert np.array_equal(row[:, :length].numpy(), padded[:, :length])
        assert not row[:, length:].any()


def test_features_padded_to_30_s_are_those_of_hugging_face(encoder: WhisperEncoder) -> None:
    audio = clips(1, 0, 5_000, 500_000)
    features, lengths = encoder.preprocess(audio, pad_to_seconds=30.0)
    extractor = WhisperFeatureExtractor(feature_size=80)
    for clip, row in zip(audio, features, strict=True):
        padded = extractor(clip, sampling_rate=16_000, return_tensors="np").input_features[0]
        assert np.array_equal(row.numpy(), padded)
    assert lengths.tolist() == [0, 32, 3000]
    shorter, _ = encoder.preprocess(audio[1:2], pad_to_seconds=1.0)
    assert shorter.shape == (1, 80, 100)


def test_preprocess_takes_no_batch_at_all(encoder: WhisperEncoder) -> None:
    features, lengths = encoder.preprocess([])
    assert features.shape == (0, 80, 0)
    assert lengths.shape == (0,)


def test_a_clip_that_is_too_long_is_never_cut_in_silence(encoder: WhisperEncoder) -> None:
    with pytest.raises(ValueError, match=r"clip 1 has 30\.00 s"):
        encoder.preprocess(clips(0, 10, 480_001))
    with pytest.raises(ValueError, match="3001 mel frames are more than the encoder's 3000"):
        encoder(torch.zeros(1, 80, 3001))
    with pytest.raises(ValueError, match=r"not \(B, 80, T_mel\)"):
        encoder(torch.zeros(1, 128, 100))
    with pytest.raises(ValueError, match=r"must be \(samples,\)"):
        encoder.preprocess([np.zeros((2, 100), np.float32)])


@pytest.mark.parametrize("model", [TheirEncoder, WhisperModel, WhisperForConditionalGeneration])
def test_a_folder_gives_the_output_of_hugging_face(model: type, tmp_path: Path) -> None:
    """Over 30 s, from each of the three classes that such a folder may have been saved by."""
    theirs = model(CONFIG).eval()
    save(theirs, tmp_path)
    ours = WhisperEncoder(str(tmp_path))
    features, _ = ours.preprocess(clips(2, 70_000, 480_000), pad_to_seconds=30.0)
    with torch.no_grad():
        reference = theirs if model is TheirEncoder else theirs.get_encoder()
        expected = reference(features).last_hidden_state
    assert ours(features).shape == (2, 1500, 32)
    torch.testing.assert_close(ours(features), expected, rtol=0, atol=1e-5)
    assert (ours.d_model, ours.n_mels, ours.sampling_rate) == (32, 128, 16_000)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 70), min_size=1, max_size=5), seed=st.integers(0, 2**16))
def test_a_clip_gives_in_a_batch_what_it_gives_alone(lengths: list[int], seed: int) -> None:
    """The padding is NaN: whatever touches it shows."""
    encoder = TINY
    generator = torch.Generator().manual_seed(seed)
    features = torch.full((len(lengths), 80, max(lengths)), float("nan"))
    for row, length in enumerate(lengths):
        features[row, :, :length] = torch.randn(80, length, generator=generator)
    batch = encoder(features, torch.tensor(lengths))
    kept = encoder.output_lengths(torch.tensor(lengths)).tolist()
    assert batch.shape == (len(lengths), math.ceil(max(lengths) / 2), 64)
    for row, length in enumerate(lengths):
        assert kept[row] == math.ceil(length / 2)
        if length:
            alone = encoder(features[row : row + 1, :, :length])[0]
            assert len(alone) == kept[row]
            torch.testing.assert_close(batch[row, : kept[row]], alone, rtol=0, atol=1e-5)
        assert not batch[row, kept[row] :].any()


def test_it_never_trains(encoder: WhisperEncoder) -> None:
    holder = torch.nn.ModuleList([encoder]).train()
    assert not any(module.training for module in encoder.modules())
    assert holder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder(torch.zeros(1, 80, 10)).requires_grad


def test_tiny_random_is_always_the_same_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = WhisperEncoder("tiny-random")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(12)
    second = WhisperEncoder("tiny-random")
    assert first.fingerprint == second.fingerprint
    assert len(bytes.fromhex(first.fingerprint)) == 32
    assert first.fingerprint != WhisperEncoder("tiny-random", dtype=torch.bfloat16).fingerprint
    with torch.no_grad():
        second.encoder.conv1.bias[0] += 1
    assert first.fingerprint != second.fingerprint


def test_tiny_random_hears(encoder: WhisperEncoder) -> None:
    """Two tones differ by more than two neighbouring frames of one of them."""
    t = np.arange(16_000) / 16_000
    features, _ = encoder.preprocess([np.sin(2 * np.pi * f * t) for f in (220, 880)])
    low, high = encoder(features)
    assert (low - high).std() > (low[1:] - low[:-1]).std()
    assert (low - high).std() > 0.3


def test_bfloat16_weights_take_float32_features() -> None:
    half = WhisperEncoder("tiny-random", dtype=torch.bfloat16)
    out = half(torch.randn(2, 80, 31), torch.tensor([31, 12]))
    assert (out.dtype, out.shape) == (torch.bfloat16, (2, 16, 64))
    assert out.isfinite().all()


def test_without_a_hub_one_error_names_all_that_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WhisperLoadError) as caught:
        WhisperEncoder("openai/no-such-whisper")
    assert [name for name, _ in caught.value.attempts] == ["Hugging Face openai/no-such-whisper"]
    monkeypatch.setenv("WHISPER_HF_ID", "someone/no-such-other")
    monkeypatch.setenv("WHISPER_MS_ID", "iic/no-such-whisper")
    with pytest.raises(WhisperLoadError) as caught:
        WhisperEncoder()
    names = ["ModelScope iic/no-such-whisper", "Hugging Face someone/no-such-other"]
    assert [name for name, _ in caught.value.attempts] == names
    for part in (*names, "--whisper tiny-random", "--whisper FOLDER"):
        assert part in str(caught.value)
    assert all(reason for _, reason in caught.value.attempts)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository in the cache of Hugging Face's hub, which is out of reach."""
    repository = tmp_path / "models--someone--small"
    save(TheirEncoder(CONFIG), repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return "someone/small"


def test_a_repository_of_hugging_face_loads(cached: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_id = WhisperEncoder(cached)
    monkeypatch.setenv("WHISPER_HF_ID", cached)
    by_variable = WhisperEncoder()
    assert by_id.name == by_variable.name == f"Hugging Face {cached}"
    assert by_id.fingerprint == by_variable.fingerprint
    assert by_id.d_model == CONFIG.d_model


def test_hugging_face_in_the_place_of_modelscope_is_a_warning(
    cached: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPER_MS_ID", "iic/no-such-whisper")
    with pytest.warns(
        UserWarning, match=f"ModelScope iic/no-such-whisper failed .*using.*{cached}"
    ):
        assert WhisperEncoder(cached).name == f"Hugging Face {cached}"


def test_the_variables_leave_tiny_random_and_folders_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WHISPER_HF_ID", "someone/no-such-other")
    monkeypatch.setenv("WHISPER_MS_ID", "iic/no-such-whisper")
    save(TheirEncoder(CONFIG), tmp_path)
    assert WhisperEncoder("tiny-random").name == "tiny-random"
    assert WhisperEncoder(str(tmp_path)).name == str(tmp_path)
    with pytest.raises(ValueError, match="ms_id"):
        WhisperEncoder("tiny-random", ms_id="iic/some")


def break_by_removing(name: str, folder: Path) -> None:
    (folder / name).unlink()


def break_by_cutting(name: str, folder: Path) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [break_by_removing, break_by_cutting])
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_damaged_folder_is_a_load_error_that_names_the_file(
    damage, name: str, tmp_path: Path
) -> None:
    save(TheirEncoder(CONFIG), tmp_path)
    damage(name, tmp_path)
    with pytest.raises(WhisperLoadError, match=str(tmp_path)):
        WhisperEncoder(str(tmp_path))


def test_a_folder_without_the_encoder_is_a_load_error(tmp_path: Path) -> None:
    save(TheirEncoder(CONFIG), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop("conv2.bias")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WhisperLoadError, match=r"conv2\.bias \(1 missing\)"):
        WhisperEncoder(str(tmp_path))


def test_a_path_that_is_no_folder_asks_no_hub(tmp_path: Path) -> None:
    with pytest.raises(WhisperLoadError, match="is missing") as caught:
        WhisperEncoder(str(tmp_path / "absent"))
    assert len(caught.value.attempts) == 1

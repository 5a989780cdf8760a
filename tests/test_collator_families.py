"""Each family of processors: its batch, and one step of a tiny model on it."""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from collating import RATE, array, collator_of, family, one_thread, row_of, samples
from hypothesis import given, settings
from hypothesis import strategies as st

import ossicle
from ossicle.collator import FAMILIES, ClipTooShortError, RowError
from ossicle.collator.families import family_of
from ossicle.experiment import tiny_families
from ossicle.experiment.tiny_families import PLACEHOLDERS, tiny_voxtral_model
from ossicle.experiment.tiny_granite import GraniteSpeechFeatures

__all__ = ["one_thread"]

# What carries sound over to the text's width.
PROJECTORS = {
    "Qwen2Audio": "multi_modal_projector",
    "Qwen2.5-Omni": "audio_tower.proj",
    "Whisper": "encoder.layer_norm",
    "GraniteSpeech": "projector.linear",
    "Gemma3n": "embed_audio.embedding_projection",
    "Phi4-multimodal": "up_proj_for_speech",
    "AudioFlamingo3": "multi_modal_projector",
    "MusicFlamingo": "multi_modal_projector",
    "GLM-ASR": "multi_modal_projector",
    "Qwen3-Omni": "audio_tower.proj2",
    "Qwen3-ASR": "multi_modal_projector",
    "Gemma4": "embed_audio.embedding_projection",
}
NAMES = sorted(PROJECTORS)


def naive_batch(name: str, processor: Any, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """What the processor's own documentation says to do."""
    texts, audio = [row["text"] for row in rows], [row["audio"]["array"] for row in rows]
    if name == "Whisper":
        batch = dict(processor(audio=audio, sampling_rate=RATE, return_tensors="pt"))
        ids = [processor.tokenizer(text).input_ids[1:] for text in texts]
        length = max(map(len, ids))
        batch["labels"] = torch.tensor([each + [-100] * (length - len(each)) for each in ids])
        return batch
    batch = dict(
        processor(
            text=texts,
            audio=audio,
            sampling_rate=RATE,
            return_tensors="pt",
            text_kwargs={"padding": True},
        )
    )
    labels = batch["input_ids"].clone()
    labels[labels == processor.tokenizer.pad_token_id] = -100
    return {**batch, "labels": labels}


@pytest.mark.parametrize("name", NAMES)
def test_batch_equals_the_processors_own(name: str) -> None:
    processor, _ = family(name)
    rows = [row_of(name, 16_000, "one two three"), row_of(name, 9_003, "four", seed=1)]
    got = collator_of(processor, loss_on="all")(rows)
    wanted = naive_batch(name, processor, rows)
    assert set(got) == set(wanted)
    for key, value in wanted.items():
        assert got[key].dtype == value.dtype, key
        assert torch.equal(got[key], value), key


@pytest.mark.parametrize("loss_on", ["all", "response"])
@pytest.mark.parametrize("name", NAMES)
def test_one_step(name: str, loss_on: str) -> None:
    processor, model = family(name)
    rows = [row_of(name, 16_000, "one two"), row_of(name, 30_003, "three", seed=1)]
    model.zero_grad()
    loss = model(**collator_of(processor, loss_on=loss_on)(rows)).loss
    loss.backward()
    assert torch.isfinite(loss)
    reached = [
        key
        for key, value in model.named_parameters()
        if value.grad is not None and bool(value.grad.abs().sum() > 0)
    ]
    assert any(PROJECTORS[name] in key for key in reached), reached


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("name", sorted(PROJECTORS.keys() - {"Whisper"}))
@given(counts=st.lists(st.integers(700, 70_000), min_size=1, max_size=3))
@settings(max_examples=10, deadline=None)
def test_tokens_of_each_clip_are_counted_as_the_processor_expands(
    name: str, counts: list[int]
) -> None:
    processor, _ = family(name)
    if name == "GLM-ASR":  # a token is made of eight mel frames
        counts = [max(count, 1_500) for count in counts]
    rows = [row_of(name, count, seed=i) for i, count in enumerate(counts)]
    batch = collator_of(processor)(rows)
    audio = processor.tokenizer.convert_tokens_to_ids(processor.audio_token)
    expanded = (batch["input_ids"] == audio).sum(dim=1).tolist()
    counted = family_of(processor).counts
    assert counted is not None
    lengths = [min(count, 30 * RATE) for count in counts]
    sizes = {"audio_embed_sizes": batch.get("audio_embed_sizes")}
    assert counted(processor, {**batch, **sizes}, lengths) == expanded


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("name", sorted(PROJECTORS.keys() - {"Whisper"}))
@pytest.mark.parametrize("count", [1, 250, 320])
def test_clips_too_short_for_the_extractor_are_named(name: str, count: int) -> None:
    processor, _ = family(name)
    rows = [row_of(name), {**row_of(name), "audio": array(count)}]
    takes_short = name in ("GraniteSpeech", "Qwen3-ASR", "Qwen3-Omni", "Gemma4")
    if count >= family_of(processor).min_samples and takes_short:
        collator_of(processor)(rows)
        return
    with pytest.raises(ClipTooShortError, match="too short for one audio token") as caught:
        collator_of(processor)(rows)
    assert caught.value.__notes__ == ["in row 1 of the batch"]


def test_recordings_of_several_windows() -> None:
    processor, model = family("AudioFlamingo3")
    rows = [row_of("AudioFlamingo3", 31 * RATE), row_of("AudioFlamingo3", RATE)]
    batch = collator_of(processor, max_length_seconds=60.0)(rows)
    assert batch["input_features"].shape == (3, 128, 3000)
    assert torch.isfinite(model(**batch).loss)


def test_several_recordings_a_row() -> None:
    for name in ("Qwen2Audio", "Qwen2.5-Omni", "Gemma3n", "Phi4-multimodal"):
        processor, model = family(name)
        mark = PLACEHOLDERS[name]
        two = {"audio": [array(9_000), array(20_000, 1)], "text": f"{mark} one {mark} two"}
        batch = collator_of(processor)([two, row_of(name)])
        assert len(batch[family_of(processor).features]) == 3
        assert torch.isfinite(model(**batch).loss)
        with pytest.raises(RowError, match=r"1 times; it must hold it 2 times"):
            collator_of(processor)([{**two, "text": f"{mark} one"}])


@pytest.mark.parametrize("name", ["Whisper", "AudioFlamingo3"])
def test_one_recording_a_row_where_a_processor_takes_no_more(name: str) -> None:
    processor, _ = family(name)
    mark = PLACEHOLDERS[name]
    row = {"audio": [array(9_000), array(9_000)], "text": f"{mark} {mark} one"}
    with pytest.raises(RowError, match=r"row 0 .* takes 1 recording a row, not 2"):
        collator_of(processor)([row])


def test_whisper_learns_the_text_and_its_end() -> None:
    processor, _ = family("Whisper")
    rows = [row_of("Whisper", words="one two"), row_of("Whisper", words="six")]
    everything = collator_of(processor)(rows)["labels"]
    tokens = processor.tokenizer.convert_ids_to_tokens(everything[1][everything[1] >= 0])
    marks = ["<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    assert tokens == [*marks, "s", "i", "x", "<|endoftext|>"]
    response = collator_of(processor, loss_on="response")(rows)["labels"]
    assert (response[:, :3] == -100).all()
    assert torch.equal(response[:, 3:], everything[:, 3:])
    short = collator_of(processor, max_length=6)(rows)["labels"]
    assert short.shape == (2, 6)
    assert (short[:, 5] == processor.tokenizer.eos_token_id).all()
    messages = [{"role": "user", "content": [{"type": "audio"}]}]
    with pytest.raises(RowError, match="does not support conversations"):
        collator_of(processor)([{"audio": array(RATE), "messages": messages}])


def test_the_table_names_classes_of_transformers() -> None:
    for name in FAMILIES:
        assert hasattr(transformers, name), name


def test_a_processor_of_no_known_family_works() -> None:
    known, _ = family("Qwen2Audio")

    class Other:
        tokenizer, audio_token = known.tokenizer, known.audio_token

        def __call__(self, *, text: Any, audio: Any, **more: Any) -> Any:
            return known(text=text, audio=audio, **more)

    rows = [row_of("Qwen2Audio"), row_of("Qwen2Audio", 9_000, "three")]
    got, wanted = (collator_of(one, loss_on="all")(rows) for one in (Other(), known))
    assert all(torch.equal(got[key], wanted[key]) for key in wanted)
    audio = known.tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    assert not (collator_of(Other())(rows)["labels"] == audio).any()
    with pytest.raises(ClipTooShortError):
        collator_of(Other())([row_of("Qwen2Audio", 320)])


def test_granites_stand_in_has_the_contract_of_the_real_extractor() -> None:
    """torchaudio, which the real one needs, has no build for every release of PyTorch."""
    real = transformers.GraniteSpeechFeatureExtractor.__call__
    assert list(inspect.signature(real).parameters) == ["self", "audios", "device"]
    parameters = list(inspect.signature(GraniteSpeechFeatures.__call__).parameters)
    assert parameters == ["self", "audios", "device"]
    # Its arithmetic of lengths needs no torchaudio.
    source = SimpleNamespace(
        melspec_kwargs={"hop_length": 160}, projector_window_size=15, projector_downsample_rate=5
    )
    lengths = [*range(257, 6_000, 37), 159_999, 160_000, 480_000]
    theirs = transformers.GraniteSpeechFeatureExtractor._get_num_audio_features(source, lengths)
    for first in range(0, len(lengths), 40):
        some = lengths[first : first + 40]
        ours = GraniteSpeechFeatures()([samples(count) for count in some])
        assert ours["audio_embed_sizes"] == theirs[first : first + 40]
        assert ours["input_features_mask"].sum(-1).tolist() == theirs[first : first + 40]
        assert ours["input_features"].shape == (len(some), (max(some) // 160 + 1) // 2, 160)


# Voxtral: its tokenizer is mistral-common's, which the tests do not install. What is recorded here
# are the calls that mistral-common 1.8 answered, and the tokens that it gave.

BOS, EOS, INST, END_INST, AUDIO, BEGIN_AUDIO, TRANSCRIBE = 1, 2, 3, 4, 24, 25, 34


class RecordedTokenizer:
    """What `MistralCommonBackend` does, over single letters."""

    pad_token_id, eos_token_id, padding_side, truncation_side = 11, EOS, "left", "right"
    all_special_ids = range(100)
    unk_token_id = 0

    def __init__(self) -> None:
        self.tokenizer = self

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [100 + ord(letter) % 100 for letter in text]}

    def apply_chat_template(
        self, messages: Any, *, tokenize: bool, return_dict: bool, return_tensors: None
    ) -> dict[str, list[int]]:
        assert tokenize
        assert return_dict
        ids = [BOS]
        for message in messages:
            if message["role"] == "assistant":
                ids += [*self(message["content"], add_special_tokens=False)["input_ids"], EOS]
                continue
            ids.append(INST)
            content = message["content"]
            for part in (
                [{"type": "text", "text": content}] if isinstance(content, str) else content
            ):
                if part["type"] == "audio":
                    ids += self._sound(base64.b64decode(part["base64"]))
                else:
                    ids += self(part["text"], add_special_tokens=False)["input_ids"]
            ids.append(END_INST)
        return {"input_ids": ids}

    def encode_transcription(self, request: Any) -> Any:
        language = [] if request["language"] is None else [150, 151]
        sound = self._sound(request["file"].read())
        ids = [BOS, INST, *sound, END_INST, *language, TRANSCRIBE]
        return SimpleNamespace(tokens=ids)

    def _sound(self, wav: bytes) -> list[int]:
        windows = -(-ossicle.info(wav).frames // (30 * RATE))
        return [BEGIN_AUDIO] + [AUDIO] * 375 * windows


class VoxtralProcessor:
    """Known by its name, as the real one."""

    def __init__(self) -> None:
        self.tokenizer = RecordedTokenizer()
        self.feature_extractor = transformers.WhisperFeatureExtractor(feature_size=128)


@pytest.fixture
def voxtral(monkeypatch: pytest.MonkeyPatch) -> VoxtralProcessor:
    module = ModuleType("mistral_common.protocol.transcription.request")
    module.TranscriptionRequest = SimpleNamespace(from_openai=lambda asked: asked)  # type: ignore[attr-defined]
    names = module.__name__.split(".")
    for end in range(1, len(names)):
        monkeypatch.setitem(sys.modules, ".".join(names[:end]), ModuleType("package"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return VoxtralProcessor()


def voxtral_rows() -> list[dict[str, Any]]:
    asked = {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "what"}]}
    return [
        {"audio": array(31 * RATE), "messages": [asked, {"role": "assistant", "content": "this"}]},
        {"audio": array(9_000), "text": "words", "language": "en"},
    ]


def test_voxtrals_processor_is_what_was_recorded() -> None:
    known = transformers.VoxtralProcessor
    assert list(inspect.signature(known.__call__).parameters)[:2] == ["self", "text"]
    assert "audio" not in inspect.signature(known.__call__).parameters
    assert known.audio_kwargs["pad_to_multiple_of"] == 480_000
    assert known.audio_kwargs["max_source_positions"] == 3_000
    parameters = inspect.signature(known.apply_transcription_request).parameters
    assert {"audio", "language", "model_id"} <= parameters.keys()
    backend = importlib.import_module("transformers.tokenization_mistral_common")
    parameters = inspect.signature(backend.MistralCommonBackend.apply_chat_template).parameters
    assert {"conversation", "tokenize", "return_dict", "return_tensors"} <= parameters.keys()


def test_voxtral_takes_conversations_and_transcriptions(voxtral: VoxtralProcessor) -> None:
    batch = collator_of(voxtral, max_length_seconds=60.0)(voxtral_rows())
    counts = (batch["input_ids"] == AUDIO).sum(dim=1).tolist()
    assert counts == [750, 375]
    assert batch["input_features"].shape == (3, 128, 3000)
    ids = batch["input_ids"][1][batch["attention_mask"][1] == 1].tolist()
    words = voxtral.tokenizer("words", add_special_tokens=False)["input_ids"]
    assert ids[-len(words) - 4 :] == [150, 151, TRANSCRIBE, *words, EOS]
    wanted = voxtral.feature_extractor(
        voxtral_rows()[1]["audio"]["array"], sampling_rate=RATE, return_tensors="pt"
    )
    assert torch.equal(batch["input_features"][2:], wanted["input_features"])


def test_voxtral_learns_responses_and_trains(voxtral: VoxtralProcessor) -> None:
    batch = collator_of(voxtral, max_length_seconds=60.0, loss_on="response")(voxtral_rows())
    for row, word in enumerate(("this", "words")):
        labels = batch["labels"][row]
        ids = voxtral.tokenizer(word, add_special_tokens=False)["input_ids"]
        assert labels[labels != -100].tolist() == [*ids, EOS]
    model = tiny_voxtral_model(200)
    loss = model(**batch).loss
    loss.backward()
    assert torch.isfinite(loss)
    reached = [n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()]
    assert any("multi_modal_projector" in name for name in reached)


def test_voxtral_shortens_words_alone(voxtral: VoxtralProcessor) -> None:
    batch = collator_of(voxtral, max_length=385, loss_on="response")(voxtral_rows()[1:])
    ids = batch["input_ids"][0].tolist()
    assert len(ids) == 385
    assert ids.count(AUDIO) == 375
    assert ids[-1] == EOS


def tekken(folder: Path) -> Path:
    """A small vocabulary of mistral-common's own with the tokens and settings of Voxtral."""
    common = pytest.importorskip(
        "mistral_common",
        reason="mistral-common 1.11, which transformers asks for, wants NumPy below 2.4",
    )
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    found = json.loads((Path(common.__file__).parent / "data/tekken_240911.json").read_text())
    found["vocab"] = found["vocab"][:1200]
    sizes = {"default_vocab_size": 2200, "num_vocab_tokens": 1200}
    found["config"] |= {"version": "v7", "default_num_special_tokens": 1000, **sizes}
    names = {rank: f"<SPECIAL_{rank}>" for rank in range(40)}
    known = Tekkenizer.DEPRECATED_SPECIAL_TOKENS
    names |= {token["rank"]: getattr(token["token_str"], "value", "") for token in known}
    names |= {AUDIO: "[AUDIO]", BEGIN_AUDIO: "[BEGIN_AUDIO]", TRANSCRIBE: "[TRANSCRIBE]"}
    found["special_tokens"] = [
        {"rank": rank, "token_str": name, "is_control": True} for rank, name in names.items()
    ]
    found.pop("image", None)
    mel = {"num_mel_bins": 128, "hop_length": 160, "window_size": 400}
    rates = {"sampling_rate": RATE, "frame_rate": 12.5, "chunk_length_s": 30.0}
    found["audio"] = {**rates, "audio_encoding_config": mel}
    path = folder / "tekken.json"
    path.write_text(json.dumps(found))
    return path


def test_voxtral_by_mistral_common_itself(tmp_path: Path) -> None:
    path = tekken(tmp_path)
    backend = importlib.import_module("transformers.tokenization_mistral_common")
    tokenizer = backend.MistralCommonBackend(str(path), mode="finetuning")
    extractor = transformers.WhisperFeatureExtractor(feature_size=128)
    processor = transformers.VoxtralProcessor(extractor, tokenizer)
    rows = voxtral_rows()
    batch = collator_of(processor, max_length_seconds=60.0, loss_on="response")(rows)
    assert (batch["input_ids"] == AUDIO).sum(dim=1).tolist() == [750, 375]
    learned = [labels[labels != -100].tolist() for labels in batch["labels"]]
    assert [tokenizer.decode(ids) for ids in learned] == ["this</s>", "words</s>"]
    own = processor.apply_transcription_request(
        audio=[rows[1]["audio"]["array"]],
        sampling_rate=RATE,
        model_id="voxtral",
        language="en",
        format=["wav"],
    )
    ids = batch["input_ids"][1][batch["attention_mask"][1] == 1]
    asked = own["input_ids"].shape[1]
    assert torch.equal(ids[:asked], own["input_ids"][0])
    # It takes the sound through 16 bits.
    torch.testing.assert_close(
        batch["input_features"][2], own["input_features"][0], rtol=0, atol=1e-2
    )
    assert torch.isfinite(tiny_voxtral_model(len(tokenizer))(**batch).loss)
    for_serving = backend.MistralCommonBackend(str(path))
    serving = transformers.VoxtralProcessor(extractor, for_serving)
    with pytest.raises(RowError, match=r'row 0 .*mode="finetuning"'):
        collator_of(serving, max_length_seconds=60.0)(rows)


def test_every_tiny_family_is_tested() -> None:
    assert tiny_families.FAMILIES.keys() == PROJECTORS.keys()

"""Random models and processors of every family that the collator knows, built without any hub.

As in `ossicle.experiment.tiny`, contracts are those of the real checkpoints and widths are small.
What a processor needs for pictures is left out, and what only packages for pictures can build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from transformers import PreTrainedTokenizerFast, set_seed
from transformers.models.whisper.tokenization_whisper import LANGUAGES
from transformers.utils.import_utils import is_torchaudio_available

from ossicle.experiment.tiny import (
    WORDS,
    tiny_qwen2_audio_model,
    tiny_qwen2_audio_processor,
    tiny_tokenizer,
)
from ossicle.experiment.tiny_granite import GraniteSpeechFeatures
from ossicle.experiment.tiny_parts import (
    CHAT,
    TEXT,
    blind,
    flamingo_audio,
    hf,
    id_of,
    ids_of,
    tokenizer_of,
    whisper_extractor,
    without_pictures,
)
from ossicle.experiment.tiny_recent import (
    tiny_gemma4,
    tiny_glm_asr,
    tiny_music_flamingo,
    tiny_qwen3_asr,
    tiny_qwen3_omni,
)

__all__ = ["CHATML", "CHATML_MARKED", "FAMILIES", "PLACEHOLDERS", "tiny_family"]

CHATML = (
    "{% for message in messages %}<|im_start|> {{ message['role'] }} "
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}PLACEHOLDER{% else %}{{ part['text'] }}{% endif %} "
    "{% endfor %}{% endif %} <|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)
"""A chat template in the form of ChatML; ``PLACEHOLDER`` stands for the family's own."""

CHATML_MARKED = (
    "{% for message in messages %}<|im_start|> {{ message['role'] }} "
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }} <|im_end|>{% endgeneration %}"
    "{% elif message['content'] is string %}{{ message['content'] }} <|im_end|>"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}PLACEHOLDER{% else %}{{ part['text'] }}{% endif %} "
    "{% endfor %} <|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)
"""The same, with the turns of the assistant marked."""

PLACEHOLDERS = {
    "Qwen2Audio": "<|audio_bos|><|AUDIO|><|audio_eos|>",
    "Qwen2.5-Omni": "<|audio_bos|><|AUDIO|><|audio_eos|>",
    "Whisper": "",
    "GraniteSpeech": "<|audio|>",
    "Gemma3n": "<audio_soft_token>",
    "Phi4-multimodal": "<|audio|>",
    "AudioFlamingo3": "<sound>",
    "MusicFlamingo": "<sound>",
    "GLM-ASR": "<|begin_of_audio|><|pad|><|end_of_audio|>",
    "Qwen3-Omni": "<|audio_start|><|audio_pad|><|audio_end|>",
    "Qwen3-ASR": "<|audio_start|><|audio_pad|><|audio_end|>",
    "Gemma4": "<|audio|>",
}
"""What a text holds for each recording."""


def tiny_family(
    name: str, words: Iterable[str] = WORDS, *, chat: str | None = None, seed: int = 0
) -> tuple[Any, Any]:
    """A processor and a model that fits it.

    Args:
        name: One of `FAMILIES`.
        words: What texts are made of; anything else becomes ``<|unk|>``.
        chat: A chat template, such as `CHATML`.
        seed: Of the random weights.
    """
    set_seed(seed)
    processor, model = FAMILIES[name]([*words, "system", "user", "assistant"])
    if chat is not None:
        processor.chat_template = chat.replace("PLACEHOLDER", PLACEHOLDERS[name])
    return processor, model


def _qwen2_audio(words: list[str]) -> tuple[Any, Any]:
    tokenizer = tiny_tokenizer([*CHAT, *words])
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [*CHAT]}, replace_extra_special_tokens=False
    )
    return tiny_qwen2_audio_processor(tokenizer), tiny_qwen2_audio_model(tokenizer)


def _qwen25_omni(words: list[str]) -> tuple[Any, Any]:
    named = {
        "image_token": "<|IMAGE|>",
        "audio_token": "<|AUDIO|>",
        "video_token": "<|VIDEO|>",
        "vision_bos_token": "<|vision_bos|>",
        "vision_eos_token": "<|vision_eos|>",
        "audio_bos_token": "<|audio_bos|>",
        "audio_eos_token": "<|audio_eos|>",
    }
    tokenizer = tokenizer_of(words, named)
    extractor = whisper_extractor(seconds=300)
    processor = without_pictures(hf.Qwen2_5OmniProcessor, None, None, extractor, tokenizer)
    audio = {
        "num_mel_bins": 128,
        "d_model": 32,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "output_dim": 32,
    }
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [0],
    }
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
    config = hf.Qwen2_5OmniThinkerConfig(
        audio_config=audio,
        vision_config=vision,
        text_config={**TEXT, **ids_of(tokenizer), "rope_parameters": rope},
        audio_token_index=id_of(tokenizer, "<|AUDIO|>"),
        image_token_index=id_of(tokenizer, "<|IMAGE|>"),
        video_token_index=id_of(tokenizer, "<|VIDEO|>"),
        audio_start_token_id=id_of(tokenizer, "<|audio_bos|>"),
        audio_end_token_id=id_of(tokenizer, "<|audio_eos|>"),
    )
    config.vision_start_token_id = id_of(tokenizer, "<|vision_bos|>")
    return processor, hf.Qwen2_5OmniThinkerForConditionalGeneration(config)


def _whisper(words: list[str]) -> tuple[Any, Any]:
    languages = [f"<|{code}|>" for code in LANGUAGES]
    marks = ["<|startoftranscript|>", *languages, "<|translate|>", "<|transcribe|>"]
    letters = sorted({letter for word in words for letter in word} | set("Ġ"))
    # Whisper's own tokenizer, over letters instead of 50,000 pieces.
    vocabulary = {token: number for number, token in enumerate(("<|endoftext|>", *letters))}
    tokenizer = hf.WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": [*marks, "<|notimestamps|>"]})
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.set_prefix_tokens(language="english", task="transcribe", predict_timestamps=False)
    processor = hf.WhisperProcessor(whisper_extractor(80), tokenizer)
    config = hf.WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=id_of(tokenizer, "<|startoftranscript|>"),
    )
    return processor, hf.WhisperForConditionalGeneration(config)


def _granite_extractor() -> Any:
    real = is_torchaudio_available()
    return hf.GraniteSpeechFeatureExtractor() if real else GraniteSpeechFeatures()


def _granite_speech(words: list[str]) -> tuple[Any, Any]:
    tokenizer = tokenizer_of(words, {"audio_token": "<|audio|>"})
    processor = hf.GraniteSpeechProcessor(_granite_extractor(), tokenizer)
    return processor, tiny_granite_speech_model(tokenizer)


def tiny_granite_speech_model(tokenizer: PreTrainedTokenizerFast) -> Any:
    """The model alone, which needs no torchaudio."""
    encoder = {"num_layers": 1, "hidden_dim": 32, "num_heads": 2, "output_dim": 42}
    projector = {
        "model_type": "blip_2_qformer",
        "hidden_size": 32,
        "encoder_hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    config = hf.GraniteSpeechConfig(
        encoder_config=encoder,
        projector_config=projector,
        text_config={"model_type": "granite", **TEXT, **ids_of(tokenizer)},
        audio_token_index=id_of(tokenizer, "<|audio|>"),
        has_lora_adapter=False,
    )
    return hf.GraniteSpeechForConditionalGeneration(config)


def _gemma3n(words: list[str]) -> tuple[Any, Any]:
    named = {
        "image_token": "<image_soft_token>",
        "audio_token": "<audio_soft_token>",
        "boa_token": "<start_of_audio>",
        "eoa_token": "<end_of_audio>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    tokenizer = tokenizer_of(words, named)
    extractor = hf.Gemma3nAudioFeatureExtractor()
    processor = without_pictures(hf.Gemma3nProcessor, extractor, None, tokenizer)
    size = len(tokenizer)
    vision = {"hidden_size": 16, "vocab_size": 1, "vocab_offset": size}
    audio = {
        "vocab_size": 1,
        "vocab_offset": size + 1,
        "hidden_size": 32,
        "conf_num_attention_heads": 2,
        "conf_num_hidden_layers": 1,
        "sscp_conv_channel_size": [8, 4],
    }
    text = {
        **TEXT,
        **ids_of(tokenizer),
        # The last id is what pads a clip to 188 tokens, and lies in the audio's part.
        "vocab_size": size + 2,
        "head_dim": 16,
        "vocab_size_per_layer_input": size,
        "hidden_size_per_layer_input": 8,
        "num_hidden_layers": 2,
        "num_kv_shared_layers": 0,
        "intermediate_size": [64, 64],
        "laurel_rank": 4,
        "layer_types": ["full_attention", "full_attention"],
        "activation_sparsity_pattern": [0.0, 0.0],
    }
    config = hf.Gemma3nConfig(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        audio_token_id=id_of(tokenizer, "<audio_soft_token>"),
        image_token_id=id_of(tokenizer, "<image_soft_token>"),
        boa_token_id=id_of(tokenizer, "<start_of_audio>"),
        eoa_token_id=id_of(tokenizer, "<end_of_audio>"),
        boi_token_id=id_of(tokenizer, "<start_of_image>"),
        eoi_token_id=id_of(tokenizer, "<end_of_image>"),
    )
    with blind(hf.Gemma3nVisionConfig):
        return processor, hf.Gemma3nForConditionalGeneration(config)


def _phi4(words: list[str]) -> tuple[Any, Any]:
    tokenizer = tokenizer_of(words, {"image_token": "<|image|>", "audio_token": "<|audio|>"})
    extractor = hf.Phi4MultimodalFeatureExtractor()
    processor = without_pictures(hf.Phi4MultimodalProcessor, None, extractor, tokenizer)
    audio = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_blocks": 1,
        "num_attention_heads": 2,
        "ext_pw_out_channel": 32,
        "depthwise_separable_out_channel": 32,
        "nemo_conv_channels": 8,
        "audio_token_id": id_of(tokenizer, "<|audio|>"),
        "feature_layer": -1,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "crop_size": 28,
        "image_token_id": id_of(tokenizer, "<|image|>"),
        "feature_layer": -1,
    }
    config = hf.Phi4MultimodalConfig(
        **TEXT,
        **ids_of(tokenizer),
        original_max_position_embeddings=1024,
        audio_config=audio,
        vision_config=vision,
    )
    return processor, hf.Phi4MultimodalForCausalLM(config)


def _audio_flamingo3(words: list[str]) -> tuple[Any, Any]:
    tokenizer = tokenizer_of(words, {"audio_token": "<sound>"})
    processor = hf.AudioFlamingo3Processor(whisper_extractor(), tokenizer)
    config = hf.AudioFlamingo3Config(
        audio_config=flamingo_audio(),
        text_config={"model_type": "qwen2", **TEXT, **ids_of(tokenizer)},
        audio_token_id=id_of(tokenizer, "<sound>"),
    )
    return processor, hf.AudioFlamingo3ForConditionalGeneration(config)


def tiny_voxtral_model(vocab_size: int, *, audio_token_id: int = 24) -> Any:
    """The model alone: its processor's tokens are mistral-common's."""
    config = hf.VoxtralConfig(
        audio_config={**flamingo_audio(), "intermediate_size": 128},
        text_config={
            **TEXT,
            "model_type": "llama",
            "vocab_size": vocab_size,
            "head_dim": 16,
            "max_position_embeddings": 4096,
        },
        audio_token_id=audio_token_id,
    )
    return hf.VoxtralForConditionalGeneration(config)


FAMILIES: dict[str, Callable[[list[str]], tuple[Any, Any]]] = {
    "Qwen2Audio": _qwen2_audio,
    "Qwen2.5-Omni": _qwen25_omni,
    "Whisper": _whisper,
    "GraniteSpeech": _granite_speech,
    "Gemma3n": _gemma3n,
    "Phi4-multimodal": _phi4,
    "AudioFlamingo3": _audio_flamingo3,
    "MusicFlamingo": tiny_music_flamingo,
    "GLM-ASR": tiny_glm_asr,
    "Qwen3-Omni": tiny_qwen3_omni,
    "Qwen3-ASR": tiny_qwen3_asr,
    "Gemma4": tiny_gemma4,
}
"""What builds each."""

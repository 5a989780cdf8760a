"""Tiny models of families that came to transformers in version 5."""

from __future__ import annotations

from typing import Any

from ossicle.experiment.tiny_parts import (
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

__all__ = [
    "tiny_gemma4",
    "tiny_glm_asr",
    "tiny_music_flamingo",
    "tiny_qwen3_asr",
    "tiny_qwen3_omni",
]

_QWEN_MARKS = {
    "audio_token": "<|audio_pad|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}
_QWEN_AUDIO = {
    "num_mel_bins": 128,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "d_model": 32,
    "output_dim": 32,
    "downsample_hidden_size": 8,
}


def tiny_music_flamingo(words: list[str]) -> tuple[Any, Any]:
    """Audio Flamingo's encoder; its processor writes the marks around the placeholders."""
    marks = {"audio_bos_token": "<|sound_bos|>", "audio_eos_token": "<|sound_eos|>"}
    tokenizer = tokenizer_of(words, {"audio_token": "<sound>", **marks})
    config = hf.MusicFlamingoConfig(
        audio_config={"model_type": "audioflamingo3_encoder", **flamingo_audio()},
        text_config={"model_type": "qwen2", **TEXT, **ids_of(tokenizer)},
        audio_token_id=id_of(tokenizer, "<sound>"),
        audio_bos_token_id=id_of(tokenizer, marks["audio_bos_token"]),
        audio_eos_token_id=id_of(tokenizer, marks["audio_eos_token"]),
    )
    processor = hf.MusicFlamingoProcessor(whisper_extractor(), tokenizer)
    return processor, hf.MusicFlamingoForConditionalGeneration(config)


def tiny_glm_asr(words: list[str]) -> tuple[Any, Any]:
    """Its placeholder is the token ``<|pad|>``, which pads nothing."""
    marks = {"boa": "<|begin_of_audio|>", "eoa": "<|end_of_audio|>"}
    tokenizer = tokenizer_of(words, {"audio_token": "<|pad|>", **marks}, pad="<|endoftext|>")
    audio = {**flamingo_audio(), "intermediate_size": 128}
    config = hf.GlmAsrConfig(
        audio_config=audio,
        text_config={"model_type": "llama", **TEXT, **ids_of(tokenizer)},
        audio_token_id=id_of(tokenizer, "<|pad|>"),
    )
    processor = hf.GlmAsrProcessor(whisper_extractor(), tokenizer)
    return processor, hf.GlmAsrForConditionalGeneration(config)


def tiny_qwen3_asr(words: list[str]) -> tuple[Any, Any]:
    """Clips of less than half a second are filled up with silence."""
    tokenizer = tokenizer_of([*words, "language", "English", "German"], _QWEN_MARKS)
    tokenizer.add_tokens(["<asr_text>"])
    config = hf.Qwen3ASRConfig(
        audio_config={"model_type": "qwen3_asr_encoder", **_QWEN_AUDIO},
        text_config={"model_type": "qwen3", **TEXT, **ids_of(tokenizer), "head_dim": 16},
        audio_token_id=id_of(tokenizer, "<|audio_pad|>"),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    processor = hf.Qwen3ASRProcessor(hf.Qwen3ASRFeatureExtractor(), tokenizer)
    return processor, hf.Qwen3ASRForConditionalGeneration(config)


def tiny_qwen3_omni(words: list[str]) -> tuple[Any, Any]:
    """The thinker alone, as for Qwen2.5-Omni; features are padded to the longest clip."""
    pictures = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
    }
    tokenizer = tokenizer_of(words, {**pictures, **_QWEN_MARKS})
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 32,
        "deepstack_visual_indexes": [0],
    }
    experts = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32}
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]}
    config = hf.Qwen3OmniMoeThinkerConfig(
        audio_config={**_QWEN_AUDIO, "n_window": 50, "n_window_infer": 800},
        vision_config=vision,
        text_config={
            **TEXT,
            **ids_of(tokenizer),
            **experts,
            "head_dim": 16,
            "rope_parameters": rope,
        },
        audio_token_id=id_of(tokenizer, "<|audio_pad|>"),
        image_token_id=id_of(tokenizer, "<|image_pad|>"),
        video_token_id=id_of(tokenizer, "<|video_pad|>"),
        audio_start_token_id=id_of(tokenizer, "<|audio_start|>"),
        vision_start_token_id=id_of(tokenizer, "<|vision_start|>"),
    )
    extractor = whisper_extractor()
    processor = without_pictures(hf.Qwen3OmniMoeProcessor, None, None, extractor, tokenizer)
    return processor, hf.Qwen3OmniMoeThinkerForConditionalGeneration(config)


def tiny_gemma4(words: list[str]) -> tuple[Any, Any]:
    """Without its tower for pictures."""
    named = {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
    }
    tokenizer = tokenizer_of([*words, "<|video|>"], named)
    for name in ("image", "audio"):
        setattr(tokenizer, f"{name}_token_id", id_of(tokenizer, named[f"{name}_token"]))
    extractor = hf.Gemma4AudioFeatureExtractor()
    processor = without_pictures(hf.Gemma4Processor, extractor, None, tokenizer, None)
    audio = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "subsampling_conv_channels": [128, 4],
        "output_proj_dims": 32,
    }
    text = {
        **TEXT,
        **ids_of(tokenizer),
        "num_hidden_layers": 2,
        "head_dim": 16,
        "global_head_dim": 16,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": len(tokenizer),
        "layer_types": ["sliding_attention", "full_attention"],
    }
    config = hf.Gemma4Config(
        text_config=text,
        audio_config=audio,
        vision_config=None,
        audio_token_id=id_of(tokenizer, "<|audio|>"),
        image_token_id=id_of(tokenizer, "<|image|>"),
        video_token_id=id_of(tokenizer, "<|video|>"),
    )
    with blind(hf.Gemma4VisionConfig):
        return processor, hf.Gemma4ForConditionalGeneration(config)

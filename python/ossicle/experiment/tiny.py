"""Random models of about 100,000 parameters, and their processors, built without any hub.

The contract is that of the real checkpoint (128 mel bins, 30 s windows, two placeholders for each
four frames); only the widths are small, so that a training step takes a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
    set_seed,
)

AUDIO = "<|audio_bos|><|AUDIO|><|audio_eos|>"
"""What a row's text holds where its audio goes."""

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SPECIAL = ("<|pad|>", "<|unk|>", "<|endoftext|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")


def tiny_tokenizer(
    words: Iterable[str] = WORDS, *, pad_is_eos: bool = False, appends_eos: bool = False
) -> PreTrainedTokenizerFast:
    """A tokenizer with one id for each word.

    Args:
        words: The vocabulary beside the special tokens; anything else becomes ``<|unk|>``.
        pad_is_eos: Pad with ``<|endoftext|>``, as many recipes for GPT-like models do.
        appends_eos: End each text with ``<|endoftext|>`` by the tokenizer's own template.
    """
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys((*_SPECIAL, *words)))}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="<|unk|>"))
    backend.pre_tokenizer = WhitespaceSplit()
    if appends_eos:
        end = ("<|endoftext|>", vocabulary["<|endoftext|>"])
        backend.post_processor = TemplateProcessing("$A <|endoftext|>", special_tokens=[end])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        pad_token="<|endoftext|>" if pad_is_eos else "<|pad|>",
        eos_token="<|endoftext|>",
        unk_token="<|unk|>",
        additional_special_tokens=["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"],
    )


def tiny_qwen2_audio_processor(
    tokenizer: PreTrainedTokenizerFast | None = None, *, sample_rate: int = 16_000
) -> Qwen2AudioProcessor:
    """Qwen2Audio's processor over a tiny tokenizer: features are ``(B, 128, 3000)``."""
    extractor = WhisperFeatureExtractor(  # type: ignore[no-untyped-call]
        feature_size=128, sampling_rate=sample_rate
    )
    return Qwen2AudioProcessor(  # type: ignore[no-untyped-call]
        extractor, tokenizer or tiny_tokenizer()
    )


def tiny_qwen2_audio_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2AudioConfig:
    """One layer of width 32 for sound and one of width 32 for text."""
    audio = {
        "model_type": "qwen2_audio_encoder",
        "num_mel_bins": 128,
        "d_model": 32,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
    }
    text = {
        "model_type": "qwen2",
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    audio_id = tokenizer.get_vocab()["<|AUDIO|>"]
    return Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=audio_id)


def tiny_qwen2_audio_model(
    tokenizer: PreTrainedTokenizerFast, *, seed: int = 0
) -> Qwen2AudioForConditionalGeneration:
    """A Qwen2Audio with random weights that fits ``tokenizer``; equal seeds give equal weights."""
    set_seed(seed)
    return Qwen2AudioForConditionalGeneration(tiny_qwen2_audio_config(tokenizer))

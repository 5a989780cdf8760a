"""What tiny models of all families are made of: tokenizers, extractors, widths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch.nn import Identity
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

__all__ = [
    "CHAT",
    "TEXT",
    "blind",
    "flamingo_audio",
    "hf",
    "id_of",
    "ids_of",
    "tokenizer_of",
    "whisper_extractor",
    "without_pictures",
]

hf: Any = transformers
"""Its classes are partly typed, and configurations take more than they declare."""

CHAT = ("<|im_start|>", "<|im_end|>")
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}


def tokenizer_of(
    words: Iterable[str],
    named: dict[str, str],
    *,
    eos: str = "<|endoftext|>",
    pad: str = "<|pad|>",
) -> PreTrainedTokenizerFast:
    """One id a word; the tokens in ``named`` can be asked for as attributes."""
    special = ("<|pad|>", "<|unk|>", eos, *CHAT, *named.values())
    ids = {token: number for number, token in enumerate(dict.fromkeys((*special, *words)))}
    backend = Tokenizer(WordLevel(ids, unk_token="<|unk|>"))
    backend.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        pad_token=pad,
        eos_token=eos,
        unk_token="<|unk|>",
        extra_special_tokens=named,
    )
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [*CHAT]}, replace_extra_special_tokens=False
    )
    return tokenizer


def ids_of(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Of a configuration of a language model."""
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def id_of(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """The id of a token that there is."""
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int)
    return found


def whisper_extractor(mels: int = 128, seconds: int = 30) -> WhisperFeatureExtractor:
    """Whisper's, with windows of so many seconds."""
    return WhisperFeatureExtractor(  # type: ignore[no-untyped-call]
        feature_size=mels, chunk_length=seconds
    )


def without_pictures(kind: Any, *parts: Any) -> Any:
    """A processor with None for what it does with pictures and films."""
    check = kind.check_argument_for_proper_class

    def checked(self: Any, name: str, part: Any) -> Any:
        return None if part is None else check(self, name, part)

    with patch.object(kind, "check_argument_for_proper_class", checked):
        return kind(*parts)


@contextmanager
def blind(kind: type) -> Iterator[None]:
    """Models of a vision configuration become nothing: Gemma's needs the package timm."""
    build = hf.AutoModel.from_config

    def from_config(config: Any, **options: Any) -> Any:
        return Identity() if isinstance(config, kind) else build(config, **options)

    with patch.object(hf.AutoModel, "from_config", from_config):
        yield


def flamingo_audio() -> dict[str, Any]:
    """Of a configuration of an encoder like Audio Flamingo's."""
    return {
        "num_mel_bins": 128,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }

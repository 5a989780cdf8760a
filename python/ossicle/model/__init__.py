"""The Whisper-projector-GPT model: a frozen ear, a small bridge, and a language model.

Needs PyTorch and transformers: ``pip install 'ossicle[torch]'``.
"""

from __future__ import annotations

from ossicle.model.encoder import Encoder, load_encoder
from ossicle.model.gpt import GPT, GPTConfig
from ossicle.model.kv_cache import KVCache
from ossicle.model.nanochat import NanochatLoadError, load_nanochat_checkpoint
from ossicle.model.projector import Projector
from ossicle.model.tokenizer import ByteTokenizer
from ossicle.model.whisper import WhisperEncoder, WhisperLoadError

__all__ = [
    "GPT",
    "ByteTokenizer",
    "Encoder",
    "GPTConfig",
    "KVCache",
    "NanochatLoadError",
    "Projector",
    "WhisperEncoder",
    "WhisperLoadError",
    "load_encoder",
    "load_nanochat_checkpoint",
]

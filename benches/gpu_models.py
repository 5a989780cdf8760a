"""Sizes and random models of the GPU benches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder as HfEncoder

from ossicle.model import GPT, GPTConfig, WhisperEncoder


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes:
        encoder: Layers, width and heads of the encoder; whisper-base has 6, 512 and 8.
        depth: Layers of the language model; its width is 64 times as much.
        head_dim: Of its heads.
        vocab: Of its vocabulary.
        clip_seconds: Of each clip.
        text: Tokens of each clip's text.
        max_batch: The most clips of a step.
        steps: Steps that are timed.
        files: Clips on the disk.
        smoke_depth: Layers of the smoke's model.
        smoke_steps: Its steps.
        smoke_seconds: What its clips are padded to.
    """

    encoder: tuple[int, int, int] = (6, 512, 8)
    depth: int = 12
    head_dim: int = 128
    vocab: int = 32_768
    clip_seconds: float = 10.0
    text: int = 40
    max_batch: int = 256
    steps: int = 30
    files: int = 512
    smoke_depth: int = 6
    smoke_steps: int = 50
    smoke_seconds: float = 30.0


FULL = Size()
TINY = Size((1, 32, 2), 2, 64, 512, 1.0, 5, 4, 3, 8, 1, 3, 5.0)


def random_encoder(folder: Path, device: torch.device, size: Size) -> WhisperEncoder:
    """An encoder of Whisper's shape with random weights, in the dtype that ``device`` likes."""
    if not folder.exists():
        layers, width, heads = size.encoder
        config = WhisperConfig(
            encoder_layers=layers,
            d_model=width,
            encoder_attention_heads=heads,
            encoder_ffn_dim=4 * width,
        )
        torch.manual_seed(0)
        HfEncoder(config).save_pretrained(folder)
        config.save_pretrained(folder)
        WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    return WhisperEncoder(str(folder), device=device, dtype=dtype)


def random_gpt(device: torch.device, size: Size) -> GPT:
    """A GPT of nanochat's shape, in which every layer sees everything."""
    width = -(-64 * size.depth // size.head_dim) * size.head_dim
    heads = width // size.head_dim
    model = GPT.empty(
        GPTConfig(2048, size.vocab, size.depth, heads, heads, width, "L"), device=device
    )
    torch.manual_seed(0)
    model.init_weights()
    return model

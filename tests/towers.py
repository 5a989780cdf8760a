"""Tiny random audio towers of Qwen2.5-Omni and Qwen3-Omni, and the thinkers around them."""

from __future__ import annotations

import math
import os
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

import torch
import transformers
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoderConfig,
)
from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import (
    Qwen3OmniMoeAudioEncoderConfig,
)

KINDS = ("qwen2_5_omni", "qwen3_omni_moe")

_AUDIO: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "output_dim": 24,
    "num_mel_bins": 128,
}
_TEXT: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "pad_token_id": 0,
    "rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 1e4},
}
_VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}


def config(kind: str, **changes: Any) -> Any:
    """Of a tower with 128 bands and 24 features, chunks as in the real one."""
    if kind == "qwen2_5_omni":
        return Qwen2_5OmniAudioEncoderConfig(**{**_AUDIO, "n_window": 100, **changes})
    more = {"n_window": 50, "n_window_infer": 800, "downsample_hidden_size": 4}
    return Qwen3OmniMoeAudioEncoderConfig(**{**_AUDIO, **more, **changes})


@torch.no_grad()
def loud(model: Any) -> Any:
    """The model with weights that keep the variance of their input, so that it hears it.

    Transformers' own standard deviation of 0.02 leaves the output to biases and positions.
    """
    generator = torch.Generator().manual_seed(0)
    for name, weight in sorted(model.named_parameters()):
        if weight.dim() > 1:
            weight.normal_(0.0, 1 / math.sqrt(weight[0].numel()), generator=generator)
        elif name.endswith("bias"):
            weight.normal_(0.0, 0.1, generator=generator)
    return model.eval()


def thinker(kind: str) -> Any:
    """The part of the whole model that hears, sees and writes."""
    audio = config(kind).to_dict()
    if kind == "qwen2_5_omni":
        vision = {**_VISION, "out_hidden_size": 24}
        whole = transformers.Qwen2_5OmniThinkerConfig(
            audio_config=audio, text_config=_TEXT, vision_config=vision
        )
        return loud(transformers.Qwen2_5OmniThinkerForConditionalGeneration(whole))
    experts = {"moe_intermediate_size": 8, "num_experts": 2, "num_experts_per_tok": 1}
    vision = {**_VISION, "out_hidden_size": 24, "num_position_embeddings": 4}
    whole = transformers.Qwen3OmniMoeThinkerConfig(
        audio_config=audio, text_config={**_TEXT, **experts}, vision_config=vision
    )
    return loud(transformers.Qwen3OmniMoeThinkerForConditionalGeneration(whole))


def audio_tower(model: Any) -> Any:
    """A thinker's own; it moved inside between versions of transformers."""
    return model.audio_tower if hasattr(model, "audio_tower") else model.model.audio_tower

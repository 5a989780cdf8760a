"""Whisper's encoder layers, run over Hugging Face's modules with attention of our own.

What a frame may see differs: the whole clip, the clip's share of a padded or packed batch, or a
chunk and what came before it. So the layers take attention as a function of (layer, q, k, v), each
(B, heads, T, head_dim), q scaled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from torch import Tensor

__all__ = ["Attend", "attend_packed", "attend_padded", "has_varlen_kernel", "run_layers"]

Attend: TypeAlias = Callable[[int, Tensor, Tensor, Tensor], Tensor]


def run_layers(encoder: Any, x: Tensor, attend: Attend, wanted: int | None) -> Tensor:
    """Runs an encoder's layers, no more of them than are wanted.

    Args:
        encoder: transformers' ``WhisperEncoder``.
        x: What enters the first layer, (B, T, d).
        attend: The attention.
        wanted: Which hidden state, as transformers counts them: 0 is ``x``, i what leaves layer i,
            and the last is normed. None takes all.

    Returns:
        (B, T, d), or (B, layers + 1, T, d) of all.
    """
    depth = len(encoder.layers) if wanted is None else wanted
    states = [x]
    for number, layer in enumerate(encoder.layers[:depth]):
        x = _run_layer(layer, number, x, attend)
        if number + 1 == len(encoder.layers):
            x = encoder.layer_norm(x)
        if wanted is None:
            states.append(x)
    return torch.stack(states, dim=1) if wanted is None else x


def _run_layer(layer: Any, number: int, x: Tensor, attend: Attend) -> Tensor:
    """One pre-norm encoder layer over (B, T, d)."""
    x = x + _self_attention(layer.self_attn, number, layer.self_attn_layer_norm(x), attend)
    hidden = layer.activation_fn(layer.fc1(layer.final_layer_norm(x)))
    x = x + layer.fc2(hidden)
    if x.dtype == torch.float16:  # the large models overflow it, and Hugging Face clamps here too
        limit = torch.finfo(x.dtype).max - 1000
        x = x.clamp(-limit, limit)
    return x


def _self_attention(attention: Any, number: int, x: Tensor, attend: Attend) -> Tensor:
    heads = (attention.num_heads, attention.head_dim)
    # The scale goes to the queries first, as in OpenAI's code: half precision rounds otherwise.
    q = (attention.q_proj(x) * attention.scaling).unflatten(-1, heads).transpose(1, 2)
    k = attention.k_proj(x).unflatten(-1, heads).transpose(1, 2)
    v = attention.v_proj(x).unflatten(-1, heads).transpose(1, 2)
    y = attend(number, q, k, v)
    return cast(Tensor, attention.out_proj(y.transpose(1, 2).flatten(2)))


def attend_padded(mask: Tensor | None) -> Attend:
    """Every frame sees those at which ``mask``, boolean and of a shape like (B, 1, 1, T), is True.

    Without a mask it sees all.
    """

    def attend(_: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)

    return attend


def attend_packed(lengths: Sequence[int], device: torch.device, dtype: torch.dtype) -> Attend:
    """Every frame sees its own clip; the clips lie end to end in a batch of one.

    Args:
        lengths: Frames of each clip; none of them 0.
        device: Of the frames.
        dtype: Of the frames.
    """
    kernel = _varlen_kernel()
    if kernel is not None and has_varlen_kernel(device, dtype):
        return _attend_varlen(kernel, lengths, device)

    def attend(_: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        clips = zip(*(torch.split(x, list(lengths), dim=2) for x in (q, k, v)), strict=True)
        seen = [F.scaled_dot_product_attention(q, k, v, scale=1.0) for q, k, v in clips]
        return torch.cat(seen, dim=2)

    return attend


def has_varlen_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether PyTorch has a kernel for packed clips: the latest, in half precision on CUDA."""
    is_half = dtype in (torch.float16, torch.bfloat16)
    return device.type == "cuda" and is_half and _varlen_kernel() is not None


@cache
def _varlen_kernel() -> Callable[..., Tensor] | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    # The first versions have no scale of their own.
    has_scale = "scale" in inspect.signature(varlen_attn).parameters
    return cast("Callable[..., Tensor]", varlen_attn) if has_scale else None


def _attend_varlen(
    kernel: Callable[..., Tensor], lengths: Sequence[int], device: torch.device
) -> Attend:
    longest = max(lengths)
    ends = torch.tensor(list(accumulate(lengths, initial=0)), dtype=torch.int32)
    ends = ends.to(device, non_blocking=True)

    def attend(_: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = [x[0].transpose(0, 1) for x in (q, k, v)]  # (T, heads, head_dim)
        y = kernel(*rows, ends, ends, longest, longest, scale=1.0)
        return y.transpose(0, 1)[None]

    return attend

"""The smoke by formulas written out: Hugging Face's encoder, a naive projector, a naive GPT, AdamW.

Batched but otherwise plain: no fused attention, no masks but the causal one, no lengths. The GPT is
nanochat's, from its formulas.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def rms(x: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + torch.finfo(torch.float32).eps)


def rotate(x: Tensor) -> Tensor:
    """(B, T, heads, dim) by position, the halves of a head together."""
    half = x.shape[-1] // 2
    position = torch.arange(x.shape[1], dtype=torch.float64)
    angle = position[:, None] / 100_000 ** (torch.arange(half, dtype=torch.float64) / half)
    cos, sin = angle.cos()[:, None].float(), angle.sin()[:, None].float()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos + b * sin, -a * sin + b * cos], dim=-1)


def attention(w: Weights, prefix: str, h: Tensor, ve: Tensor | None, heads: int) -> Tensor:
    b, t, width = h.shape
    q, k, v = ((h @ w[f"{prefix}c_{n}.weight"].T).reshape(b, t, heads, -1) for n in "qkv")
    if ve is not None:
        gate = 3 * torch.sigmoid(h[..., :12] @ w[prefix + "ve_gate.weight"].T)
        v = v + gate[..., None] * ve.reshape(b, t, heads, -1)
    q, k = 1.2 * rms(rotate(q)), 1.2 * rms(rotate(k))
    score = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    score = score.masked_fill(torch.ones(t, t).triu(1).bool(), -math.inf)
    mixed = torch.einsum("bhqk,bkhd->bqhd", score.softmax(-1), v).reshape(b, t, width)
    return mixed @ w[prefix + "c_proj.weight"].T


def gpt_loss(w: Weights, layers: int, heads: int, audio: Tensor, idx: Tensor, targets: Tensor):
    """Mean cross entropy of the text behind ``audio``, windows as long as the sequence."""
    text = rms(w["transformer.wte.weight"][idx])
    gate = torch.sigmoid(text[:, 1:, :24] @ w["smear_gate.weight"].T)
    smeared = text[:, 1:] + w["smear_lambda"] * gate * text[:, :-1]
    x = x0 = torch.cat([rms(audio), text[:, :1], smeared], dim=1)
    ids = torch.cat([torch.zeros(audio.shape[:2], dtype=torch.int64), idx], dim=1)
    midway = x
    for i in range(layers):
        x = w["resid_lambdas"][i] * x + w["x0_lambdas"][i] * x0
        ve = w[f"value_embeds.{i}.weight"][ids] if i % 2 == (layers - 1) % 2 else None
        prefix = f"transformer.h.{i}."
        x = x + attention(w, prefix + "attn.", rms(x), ve, heads)
        hidden = torch.relu(rms(x) @ w[prefix + "mlp.c_fc.weight"].T) ** 2
        x = x + hidden @ w[prefix + "mlp.c_proj.weight"].T
        midway = x if i == layers // 2 else midway
    x = rms(x - w["backout_lambda"] * midway)[:, audio.shape[1] :]
    logits = 15 * torch.tanh((x @ w["lm_head.weight"].T)[..., :257] / 15)
    graded = targets >= 0
    chosen = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -(chosen * graded).sum() / graded.sum()


def project(w: Weights, frames: Tensor, stack: int) -> Tensor:
    missing = -frames.shape[1] % stack
    frames = torch.cat([frames, frames.new_zeros(len(frames), missing, frames.shape[2])], dim=1)
    grouped = frames.reshape(len(frames), -1, stack * frames.shape[2])
    hidden = grouped @ w["fc1.weight"].T
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
    return hidden @ w["fc2.weight"].T


def clip(gradients: list[Tensor], most: float) -> None:
    norm = torch.sqrt(sum(g.double().square().sum() for g in gradients)).float()
    for g in gradients:
        g.mul_(torch.clamp(most / (norm + 1e-6), max=1.0))

"""nanochat's GPT from its formulas, in float64 and in loops; models with every feature on."""

from __future__ import annotations

import numpy as np
import torch

from ossicle.model import GPT, GPTConfig

# Short windows are 128 at least, so a sequence must be longer than that to feel one.
SMALL = GPTConfig(
    sequence_len=256,
    vocab_size=257,
    n_layer=4,
    n_head=4,
    n_kv_head=2,
    n_embd=32,
    window_pattern="SSSL",
)


def randomised(config: GPTConfig, seed: int = 0) -> GPT:
    """A model in which no feature is switched off by its starting value."""
    model = GPT(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            scale = 1.0 if weight.dim() == 1 or "embed" in name or "wte" in name else 0.3
            weight.normal_(0.0, scale, generator=generator)
    return model


# The reference: straight from nanochat's formulas, in float64, one position at a time.


def rms(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x) + np.finfo(np.float32).eps)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rotate(x: np.ndarray, position: int) -> np.ndarray:
    half = len(x) // 2
    out = np.empty_like(x)
    for j in range(half):
        angle = position / 100_000 ** (2 * j / len(x))
        c, s = np.cos(angle), np.sin(angle)
        out[j] = x[j] * c + x[half + j] * s
        out[half + j] = -x[j] * s + x[half + j] * c
    return out


def reference_attention(
    w: dict[str, np.ndarray], prefix: str, h: list, ids: list, ve: np.ndarray | None,
    c: GPTConfig, window: int,
) -> list:  # fmt: skip
    dim = c.n_embd // c.n_head
    queries, keys, values = [], [], []
    for t, x in enumerate(h):
        q = (w[prefix + "c_q.weight"] @ x).reshape(c.n_head, dim)
        k = (w[prefix + "c_k.weight"] @ x).reshape(c.n_kv_head, dim)
        v = (w[prefix + "c_v.weight"] @ x).reshape(c.n_kv_head, dim)
        if ve is not None:
            gate = 3 * sigmoid(w[prefix + "ve_gate.weight"] @ x[:12])
            v = v + gate[:, None] * ve[ids[t]].reshape(c.n_kv_head, dim)
        queries.append([1.2 * rms(rotate(head, t)) for head in q])
        keys.append([1.2 * rms(rotate(head, t)) for head in k])
        values.append(v)
    out = []
    for t in range(len(h)):
        seen = range(max(0, t - window), t + 1)
        heads = []
        for n in range(c.n_head):
            kv = n // (c.n_head // c.n_kv_head)
            score = np.array([queries[t][n] @ keys[s][kv] for s in seen]) / np.sqrt(dim)
            weight = np.exp(score - score.max())
            weight /= weight.sum()
            heads.append(sum(weight[j] * values[s][kv] for j, s in enumerate(seen)))
        out.append(w[prefix + "c_proj.weight"] @ np.concatenate(heads))
    return out


def reference_logits(model: GPT, idx: list[int], audio: np.ndarray | None = None) -> np.ndarray:
    c = model.config
    w = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    embedded = [rms(w["transformer.wte.weight"][i]) for i in idx]
    stream = [embedded[0]]
    for t in range(1, len(idx)):
        gate = sigmoid(w["smear_gate.weight"] @ embedded[t][:24])
        stream.append(embedded[t] + w["smear_lambda"] * gate * embedded[t - 1])
    ids = list(idx)
    if audio is not None:
        stream = [rms(a) for a in audio.astype(np.float64)] + stream
        ids = [0] * len(audio) + ids
    x, x0, midway = stream, stream, stream
    short = int(np.ceil(c.sequence_len / 4 / 128) * 128)
    for i in range(c.n_layer):
        long = c.window_pattern[i % len(c.window_pattern)] == "L" or i == c.n_layer - 1
        x = [w["resid_lambdas"][i] * a + w["x0_lambdas"][i] * b for a, b in zip(x, x0, strict=True)]
        ve = w[f"value_embeds.{i}.weight"] if i % 2 == (c.n_layer - 1) % 2 else None
        prefix = f"transformer.h.{i}."
        window = c.sequence_len if long else short
        y = reference_attention(w, prefix + "attn.", [rms(a) for a in x], ids, ve, c, window)
        x = [a + b for a, b in zip(x, y, strict=True)]
        for t, a in enumerate(x):
            hidden = np.maximum(w[prefix + "mlp.c_fc.weight"] @ rms(a), 0) ** 2
            x[t] = a + w[prefix + "mlp.c_proj.weight"] @ hidden
        if i == c.n_layer // 2:
            midway = x
    x = [rms(a - w["backout_lambda"] * b) for a, b in zip(x, midway, strict=True)]
    logits = np.stack([w["lm_head.weight"][: c.vocab_size] @ a for a in x])
    return 15 * np.tanh(logits / 15)


def tokens(rng: np.random.Generator, n: int, config: GPTConfig = SMALL) -> list[int]:
    return rng.integers(0, config.vocab_size, n).tolist()

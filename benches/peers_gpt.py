"""A training step of our GPT beside nanochat's formulas written down in eager PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import harness
import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from torch import Tensor

from ossicle.model import GPT, GPTConfig

PEERS = ("softmax", "SDPA")
METHOD = """\
gpt: forward and backward of one batch in float32, weights, text and soft tokens alike for all; d4
and d6 are nanochat's sizes (width 64 x depth in steps of 128, heads of 128). softmax: nanochat's
formulas line by line, attention written out; SDPA: the same with torch's attention and a mask where
a window asks for one. Both make logits of all positions, as nanochat does. Losses and gradients are
compared before anyone is timed.""".replace("\n", " ")
_TOLERANCE = 2e-4

Weights = dict[str, Tensor]
Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]


@dataclass(frozen=True)
class Work:
    """A batch for a model.

    Attributes:
        name: Of the row.
        depth: Layers; the width follows.
        vocab: Tokens of the vocabulary.
        batch: Rows.
        text: Tokens of a row.
        audio: Soft tokens in front of them.
        sequence_len: Of the model; short windows are a quarter of it, 128 at least.
    """

    name: str
    depth: int
    vocab: int
    batch: int
    text: int
    audio: int = 0
    sequence_len: int = 512

    @property
    def tokens(self) -> int:
        """Positions of the batch."""
        return self.batch * (self.text + self.audio)

    def model(self) -> GPT:
        """Random weights with no feature off."""
        width = -(-64 * self.depth // 128) * 128
        heads = width // 128
        torch.manual_seed(0)
        sizes = (self.sequence_len, self.vocab, self.depth, heads, heads, width, "SSSL")
        model = GPT(GPTConfig(*sizes))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        return model

    def inputs(self, width: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Tokens, targets and soft tokens."""
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(0, self.vocab, (self.batch, self.text + 1), generator=generator)
        audio = torch.randn(self.batch, self.audio, width, generator=generator)
        return ids[:, :-1], ids[:, 1:], audio if self.audio else None


WORKS = (
    Work("d4, 4 x 256 tokens of 257", 4, 257, 4, 256),
    Work("d4, 2 x 512 tokens of 257, windows of 128", 4, 257, 2, 512),
    Work("d4, 4 x 256 tokens of 8192", 4, 8192, 4, 256),
    Work("d4, 4 x (250 of audio, 40 of 257)", 4, 257, 4, 40, 250),
    Work("d6, 2 x 256 tokens of 257", 6, 257, 2, 256),
    Work("d6, 2 x 256 tokens of 8192", 6, 8192, 2, 256),
)
QUICK = (Work("d2, 2 x (20 of audio, 30 of 257)", 2, 257, 2, 30, 20, 16),)


def norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.size(-1),))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    x1, x2 = x[..., :half], x[..., half:]
    return torch.cat([x1 * cos + x2 * sin, -x1 * sin + x2 * cos], dim=-1)


def see(length: int, window: int) -> Tensor:
    at = torch.arange(length)
    distance = at[:, None] - at[None, :]
    return (distance >= 0) & (distance <= window)


def attend_softmax(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    hidden = ~see(q.shape[-2], window)
    return torch.softmax(scores.masked_fill(hidden, -float("inf")), dim=-1) @ v


def attend_sdpa(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    if window >= q.shape[-2] - 1:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=see(q.shape[-2], window))


def naive_loss(
    w: Weights, c: GPTConfig, attend: Attend, idx: Tensor, targets: Tensor, audio: Tensor | None
) -> Tensor:
    """nanochat's formulas, line by line."""
    heads, dim = c.n_head, c.n_embd // c.n_head
    x = norm(F.embedding(idx, w["transformer.wte.weight"]))
    gate = w["smear_lambda"] * torch.sigmoid(F.linear(x[:, 1:, :24], w["smear_gate.weight"]))
    x = torch.cat([x[:, :1], x[:, 1:] + gate * x[:, :-1]], dim=1)
    if audio is not None:
        x = torch.cat([norm(audio), x], dim=1)
        idx = F.pad(idx, (audio.shape[1], 0), value=0)
        targets = F.pad(targets, (audio.shape[1], 0), value=-1)
    batch, length, _ = x.shape
    angle = torch.outer(
        torch.arange(length, dtype=torch.float32),
        100_000 ** -(torch.arange(0, dim, 2, dtype=torch.float32) / dim),
    )
    cos, sin = angle.cos()[None, :, None], angle.sin()[None, :, None]
    x0 = midway = x
    for i in range(c.n_layer):
        x = w["resid_lambdas"][i] * x + w["x0_lambdas"][i] * x0
        block, h = f"transformer.h.{i}.", norm(x)
        q, k, v = (
            F.linear(h, w[f"{block}attn.c_{name}.weight"]).view(batch, length, heads, dim)
            for name in "qkv"
        )
        if i % 2 == (c.n_layer - 1) % 2:
            ve = F.embedding(idx, w[f"value_embeds.{i}.weight"]).view(batch, length, heads, dim)
            opened = 3 * torch.sigmoid(F.linear(h[..., :12], w[f"{block}attn.ve_gate.weight"]))
            v = v + opened.unsqueeze(-1) * ve
        q, k = (1.2 * norm(rotate(part, cos, sin)) for part in (q, k))
        y = attend(*(part.transpose(1, 2) for part in (q, k, v)), c.window(i))
        y = y.transpose(1, 2).contiguous().view(batch, length, -1)
        x = x + F.linear(y, w[f"{block}attn.c_proj.weight"])
        hidden = F.relu(F.linear(norm(x), w[f"{block}mlp.c_fc.weight"])).square()
        x = x + F.linear(hidden, w[f"{block}mlp.c_proj.weight"])
        if i == c.n_layer // 2:
            midway = x
    x = norm(x - w["backout_lambda"] * midway)
    logits = F.linear(x, w["lm_head.weight"])[..., : c.vocab_size].float()
    logits = 15 * torch.tanh(logits / 15)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


def step(loss_of: Callable[[], Tensor], weights: Weights) -> Tensor:
    """The loss, and gradients in the weights."""
    for weight in weights.values():
        weight.grad = None
    loss = loss_of()
    loss.backward()
    return loss.detach()


def contestants(work: Work) -> dict[str, tuple[Callable[[], Tensor], Weights]]:
    """A step of each, and the weights that it leaves gradients in."""
    model = work.model()
    idx, targets, audio = work.inputs(model.config.n_embd)
    own: Weights = dict(model.named_parameters())
    found = {harness.OURS: (partial(model, idx, targets, audio_features=audio), own)}
    for name, attend in zip(PEERS, (attend_softmax, attend_sdpa), strict=True):
        copy = {n: p.detach().clone().requires_grad_(True) for n, p in own.items()}
        loss_of = partial(naive_loss, copy, model.config, attend, idx, targets, audio)
        found[name] = (loss_of, copy)
    return {name: (partial(step, *pair), pair[1]) for name, pair in found.items()}


def objection(ours: tuple[Tensor, Weights], theirs: tuple[Tensor, Weights]) -> str | None:
    """Why a peer does something else."""
    if abs(ours[0] - theirs[0]) > _TOLERANCE:
        return f"its loss is {theirs[0]:.5f}, not {ours[0]:.5f}"
    for name, weight in ours[1].items():
        one, other = weight.grad, theirs[1][name].grad
        if one is None or other is None:
            return f"{name} has no gradient"
        if (one - other).norm() > _TOLERANCE * (1 + one.norm()):
            return f"its gradient of {name} is another"
    return None


def rows(rounds: int, quick: bool) -> Iterator[harness.Row]:
    """A row for each piece of work, as it is done."""
    for work in QUICK if quick else WORKS:
        found = contestants(work)
        losses = {name: run() for name, (run, _) in found.items()}
        row, racing = harness.Row(f"{work.name}"), {}
        for name, (run, weights) in found.items():
            ours = (losses[harness.OURS], found[harness.OURS][1])
            why = objection(ours, (losses[name], weights))
            if why is None:
                racing[name] = run
            else:
                row.missing[name] = why
        yield harness.race(row, racing, rounds)


def facts(done: list[harness.Row]) -> dict[str, dict[str, str]]:
    """Tokens a second, audio counted as tokens."""
    tokens = {work.name: work.tokens for work in (*WORKS, *QUICK)}
    speeds = {
        row.name: ", ".join(
            f"{name} {tokens[row.name] / took:,.0f}" for name, took in row.seconds.items()
        )
        for row in done
    }
    return {"tokens a second": speeds}

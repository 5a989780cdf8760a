"""The bridge from a frozen encoder's frames to a language model's soft tokens."""

from __future__ import annotations

from typing import Literal, TypeAlias, cast, get_args

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from torch import Tensor, nn

from ossicle.model.blocks import Linear, norm

__all__ = ["Projector", "Start", "within"]

Start: TypeAlias = Literal["zero", "ignore"]

# AdamW moves the gate by its rate a step, whatever the gradient: at 3e-3 the audio would need 300
# steps to become as loud as the base. Of 1, 10 and 30, 10 opens in time and still starts quiet.
GATE_SPEED = 10.0


class Projector(nn.Module):
    """Maps encoder frames to soft tokens: stack ``stack`` frames, linear, GELU, linear, no bias.

    With ``layers`` the frames are first mixed over the encoder's layers, with weights that are
    learned and made positive, with a sum of 1, by a softmax; they start equal. Master weights are
    float32, cast to the dtype of the activations.

    How it starts is what ``start`` says:

    - ``"zero"``: the second layer is 0, so the soft tokens are zero vectors. `GPT` norms them, and
      a norm's gradient at 0 is about 2,900: the first step takes the audio from nothing to full
      loudness.
    - ``"ignore"``: the soft token is ``base + 10 gate * norm(mlp(x))``, with a ``base`` of the
      loudness of a text token, the same for every frame, and a ``gate`` that starts at 0. The audio
      has no influence at first, and after a step of size lr one of 10 lr: the norms after cannot
      amplify what stands beside ``base``.

    Args:
        in_dim: Channels of an encoder frame.
        out_dim: Width of the language model.
        hidden_dim: Width between the layers; ``out_dim`` by default.
        stack: Consecutive frames that make one token.
        layers: Layers that the frames have: `WhisperEncoder.layers`, `FeatureShards.layers`; None
            where they have one alone.
        start: ``"zero"`` or ``"ignore"``.

    Raises:
        ValueError: If ``stack`` or ``layers`` is below 1, or ``start`` is unknown.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        hidden_dim: int | None = None,
        *,
        stack: int = 1,
        layers: int | None = None,
        start: Start = "zero",
    ) -> None:
        super().__init__()
        if stack < 1:
            raise ValueError(f"stack {stack} is below 1")
        if layers is not None and layers < 1:
            raise ValueError(f"layers {layers} is below 1")
        if start not in get_args(Start):
            raise ValueError(f'start must be "zero" or "ignore", not {start!r}')
        self.stack, self.layers, self.start = stack, layers, start
        hidden_dim = out_dim if hidden_dim is None else hidden_dim
        self.fc1 = Linear(in_dim * stack, hidden_dim)
        self.fc2 = Linear(hidden_dim, out_dim)
        self.layer_logits = None if layers is None else nn.Parameter(torch.empty(layers))
        ignores = start == "ignore"
        self.base = nn.Parameter(torch.empty(out_dim)) if ignores else None
        self.gate = nn.Parameter(torch.empty(1)) if ignores else None
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Sets all parameters anew, those that are random from torch's global state.

        Linear layers are uniform with a variance of 1 / inputs; with ``start="zero"`` the second is
        0. The base is normal, of unit RMS.
        """
        _uniform(self.fc1)
        nn.init.zeros_(self.fc2.weight)
        if self.layer_logits is not None:
            nn.init.zeros_(self.layer_logits)
        if self.base is not None and self.gate is not None:
            _uniform(self.fc2)
            self.base.copy_(norm(torch.randn_like(self.base)))
            nn.init.zeros_(self.gate)

    def layer_weights(self) -> Tensor | None:
        """The share of each layer, float32 (layers,) with a sum of 1; None with one layer."""
        return None if self.layer_logits is None else self.layer_logits.softmax(0)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Soft tokens for clips of ``lengths`` encoder frames."""
        return (lengths + self.stack - 1) // self.stack

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Soft tokens of encoder frames.

        Args:
            x: Encoder frames (B, T, in_dim), or (B, layers, T, in_dim).
            lengths: Frames of each clip, int64 (B,): a token that reaches past them sees zeros.

        Returns:
            (B, ceil(T / stack), out_dim) in the dtype of ``x``; each clip's share is
            `output_lengths`.

        Raises:
            ValueError: If ``x`` has another number of layers.
        """
        x = self._mix(x)
        if lengths is not None and self.stack > 1:
            x = x.masked_fill(~within(lengths.to(x.device), x.shape[1])[..., None], 0)
        if self.stack > 1:
            x = F.pad(x, (0, 0, 0, -x.shape[1] % self.stack))
            x = x.reshape(x.shape[0], -1, self.stack * x.shape[2])
        y = cast(Tensor, self.fc2(F.gelu(self.fc1(x))))
        if self.base is None or self.gate is None:
            return y
        return self.base.to(y.dtype) + (GATE_SPEED * self.gate).to(y.dtype) * norm(y)

    def _mix(self, x: Tensor) -> Tensor:
        """(B, layers, T, d) to (B, T, d); without layers as it is."""
        weights = self.layer_weights()
        expected = 3 if weights is None else 4
        if x.dim() != expected or (weights is not None and x.shape[1] != len(weights)):
            axes = "(B, T, d)" if weights is None else f"(B, {len(weights)}, T, d)"
            raise ValueError(f"encoder frames {tuple(x.shape)} are not {axes}")
        return x if weights is None else torch.einsum("bntd,n->btd", x, weights.to(x.dtype))


def _uniform(layer: Linear) -> None:
    bound = (3.0 / layer.in_features) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound)


def within(lengths: Tensor, size: int) -> Tensor:
    """True at the first ``lengths[i]`` of ``size`` positions, (B, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]

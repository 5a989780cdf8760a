"""How much a step computes, and how much a device could: the two sides of MFU.

Model FLOPs utilisation (PaLM, https://arxiv.org/abs/2204.02311, appendix B) is the arithmetic that
the model's own formulas ask for, by what the device could do in the same time. A multiplication
with an addition counts as two. Padding, recomputed activations and the optimizer do not count.

Per position of a language model with N weights in matrices the forward pass takes 2 N, and in each
layer ``4 * width * (keys that it sees)`` for attention, half the sequence on average. The backward
pass takes as much again for the inputs' gradients, and as much once more for the weights', which a
frozen model does not need (its attention does, having no weights). The encoder has a forward pass
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from ossicle.model import GPT, Projector
from ossicle.model.encoder import Encoder

__all__ = ["PEAK_FLOPS", "StepFlops", "peak_flops"]

PEAK_FLOPS = {
    "GB200": 2.5e15,
    "B200": 2.25e15,
    "B100": 1.8e15,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H800": 989e12,
    "H20": 148e12,
    "GH200": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "A40": 149.7e12,
    "A30": 165e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 5090": 209.5e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
    "RTX 6000 Ada": 364e12,
}
"""Dense bfloat16 operations a second by a part of the device's name, as the makers' sheets say."""


def peak_flops(device: torch.device, given: float | None) -> float | None:
    """What ``device`` could do in a second in bfloat16; None where nobody has said."""
    if given is not None or device.type != "cuda":
        return given
    name = torch.cuda.get_device_name(device)
    known = [part for part in PEAK_FLOPS if part in name]
    return PEAK_FLOPS[max(known, key=len)] if known else None


@dataclass(frozen=True)
class StepFlops:
    """The arithmetic of steps, by what goes into them.

    Args:
        encoder: Frozen; forward alone.
        projector: Trained.
        gpt: Trained or frozen.
    """

    encoder: Encoder
    projector: Projector
    gpt: GPT

    def encode(self, frames: int) -> float:
        """Of the encoder on a clip of ``frames`` output frames, 20 ms each."""
        return self.encoder.flops(frames)

    def train(self, soft: int, text: int) -> float:
        """Of projector and language model, forward and backward, on a clip.

        Args:
            soft: Its soft tokens.
            text: Its graded tokens.
        """
        positions = soft + text
        forward = 2.0 * (positions * self._block_weights + text * self._head_weights)
        passes = 3 if self.gpt.lm_head.weight.requires_grad else 2
        layers = range(self.gpt.config.n_layer)
        attention = 3 * sum(self._attention(layer, positions) for layer in layers)
        # Nothing in front of the projector wants its first layer's gradient.
        bridge = soft * (6 * self._bridge_weights - 2 * self.projector.fc1.weight.numel())
        return passes * forward + attention + bridge

    @cached_property
    def _block_weights(self) -> int:
        return sum(_weights(block) for block in self.gpt.transformer.blocks())

    @cached_property
    def _head_weights(self) -> int:
        return self.gpt.lm_head.weight.numel()

    @cached_property
    def _bridge_weights(self) -> int:
        return _weights(self.projector)

    def _attention(self, layer: int, positions: int) -> float:
        """The forward pass of a layer's attention over a causal window."""
        window = min(self.gpt.config.window(layer) + 1, positions)
        seen = window * (window + 1) / 2 + (positions - window) * window
        return 4.0 * self.gpt.config.n_embd * seen


def _weights(module: nn.Module) -> int:
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))

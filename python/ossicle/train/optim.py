"""Optimizers of projector and GPT: AdamW, or nanochat's mix of Muon and AdamW.

Muon (https://kellerjordan.github.io/posts/muon/) steps a matrix along the orthogonal factor of its
momentum. ``torch.optim.Muon`` knows one polynomial for all steps of the orthogonalisation and
bfloat16 alone; nanochat takes the five of Polar Express (https://arxiv.org/abs/2505.16932), which
get closer in as many steps. Hence `MuonAdamW`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from ossicle.model.blocks import compute_dtype

__all__ = ["MuonAdamW", "build_optimizer", "muon_momentum", "orthogonalise", "scale_lr"]

OptimizerKind = Literal["adamw", "muon"]

# The best odd polynomials ax + bx^3 + cx^5 of five steps, as published, with the paper's safety
# factor of 2 % against rounding, which the norm below allows for.
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
SAFETY = 1.02
MOMENTUM_FROM, MOMENTUM_TO, MOMENTUM_STEPS = 0.85, 0.97, 400
EPS = 1e-10  # of AdamW beside Muon; torch's 1e-8 would drown the small gradients of rare tokens
REFERENCE_WIDTH = 768  # the n_embd that nanochat's rates of the vocabulary's matrices were tuned at
_MUON_FIELDS, _ADAMW_FIELDS = ("momentum_buffer",), ("exp_avg", "exp_avg_sq")
# Name prefix, group, learning rate, betas and weight decay of each AdamW group; True where the rate
# falls with the root of the width.
_ADAMW_GROUPS: tuple[tuple[str, str, float, tuple[float, float], float, bool], ...] = (
    ("lm_head.", "lm_head", 0.008, (0.8, 0.96), 0.01, True),
    ("transformer.wte.", "wte", 0.3, (0.8, 0.995), 0.001, True),
    ("value_embeds.", "value_embeds", 0.15, (0.8, 0.995), 0.01, True),
    ("resid_lambdas", "resid_lambdas", 0.005, (0.8, 0.95), 0.05, False),
    ("x0_lambdas", "x0_lambdas", 0.5, (0.96, 0.95), 0.0, False),
    ("smear_", "smear_backout", 0.2, (0.8, 0.95), 0.0, False),
    ("backout_", "smear_backout", 0.2, (0.8, 0.95), 0.0, False),
)


def build_optimizer(
    projector: nn.Module | None,
    gpt: nn.Module | None,
    kind: OptimizerKind = "adamw",
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    muon_lr: float = 0.02,
    muon_weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """An optimizer over what trains: parameters without ``requires_grad`` stay out of it.

    Each group has a ``name`` and, for schedules, its ``initial_lr`` (`scale_lr`). With
    ``kind="muon"`` matrices in the GPT's blocks go to Muon and the rest of the GPT to AdamW groups
    with nanochat's own rates; the rates of the vocabulary's matrices hold at a width of 768 and
    fall with its root. The projector, which nanochat has not, goes to AdamW at ``lr``.

    Args:
        projector: Any module in front of the GPT; None if there is none.
        gpt: A `GPT`, compiled or not; None if it is not to be trained.
        kind: ``"adamw"`` for one AdamW over all, ``"muon"`` for nanochat's mix.
        lr: Of AdamW; under ``"muon"`` that of the projector alone.
        betas: Likewise.
        eps: Likewise.
        weight_decay: Likewise, decoupled.
        muon_lr: Of the matrices, before ``sqrt(max(1, rows / columns))``.
        muon_weight_decay: Of the matrices, decoupled.

    Returns:
        A ``torch.optim.AdamW`` or a `MuonAdamW`, whose state is tensors alone.

    Raises:
        ValueError: If ``kind`` is unknown or nothing trains.
    """
    if kind not in ("adamw", "muon"):
        raise ValueError(f"optimizer {kind!r} is neither 'adamw' nor 'muon'")
    own = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
    groups = [{"name": "projector", "params": _trainable(projector), **own}]
    if kind == "adamw":
        groups.append({"name": "gpt", "params": _trainable(gpt), **own})
    elif gpt is not None:
        groups += _nanochat_groups(gpt, muon_lr, muon_weight_decay)
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("nothing to train: no parameter of projector or GPT requires a gradient")
    fused = all(p.is_cuda for group in groups for p in cast("list[Tensor]", group["params"]))
    for group in groups:
        group["initial_lr"] = group["lr"]
    if kind == "adamw":
        return torch.optim.AdamW(groups, fused=fused or None)
    return MuonAdamW(groups, fused=fused)


def scale_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets each group's rate to ``factor`` times its ``initial_lr``."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def muon_momentum(step: int) -> float:
    """Momentum of the step that ``step`` others went before: 0.85 to 0.97 over 400 steps."""
    done = min(step / MOMENTUM_STEPS, 1.0)
    return MOMENTUM_FROM + (MOMENTUM_TO - MOMENTUM_FROM) * done


def _trainable(module: nn.Module | None) -> list[Tensor]:
    return [] if module is None else [p for p in module.parameters() if p.requires_grad]


def _nanochat_groups(gpt: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    gpt = getattr(gpt, "_orig_mod", gpt)  # what torch.compile has wrapped
    width = int(cast(Any, gpt).config.n_embd)
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in gpt.named_parameters():
        if parameter.requires_grad:
            options = _nanochat_options(name, width, lr, weight_decay)
            group = groups.setdefault(options["name"], {"params": [], **options})
            group["params"].append(parameter)
    return list(groups.values())


def _nanochat_options(name: str, width: int, lr: float, weight_decay: float) -> dict[str, Any]:
    if name.startswith("transformer.h."):
        return {"name": "matrices", "muon": True, "lr": lr, "weight_decay": weight_decay}
    for prefix, group, rate, betas, decay, falls in _ADAMW_GROUPS:
        if name.startswith(prefix):
            rate *= (REFERENCE_WIDTH / width) ** 0.5 if falls else 1.0
            return {"name": group, "lr": rate, "betas": betas, "eps": EPS, "weight_decay": decay}
    raise ValueError(f"{name} is no parameter of nanochat's GPT")


def orthogonalise(matrices: Tensor) -> Tensor:
    """The orthogonal factor of each matrix, nearly: singular values go to about 1.

    Five steps of Polar Express, in bfloat16 on CUDA of SM80 and later, where the iteration is at
    home, else in the matrices' dtype.

    Args:
        matrices: (..., rows, columns).

    Returns:
        The same shape and dtype; zeros stay zeros.
    """
    half = compute_dtype(matrices.device) == torch.bfloat16
    x = matrices.bfloat16() if half else matrices
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x  # the smaller of the two Gram matrices
    # The Frobenius norm is never below the largest singular value, which must not exceed 1.
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * SAFETY + 1e-7)
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    x = x.mT if tall else x
    return cast(Tensor, x.to(matrices.dtype))


class MuonAdamW(torch.optim.Optimizer):
    """Muon for groups with ``muon=True``, AdamW for the others.

    Muon's momentum follows `muon_momentum` of each parameter's own count of steps, which is part of
    the state: a run that resumes from a checkpoint resumes with it.

    Args:
        groups: Parameter groups; those of Muon have ``lr``, ``weight_decay`` and matrices alone.
        fused: Whether AdamW's steps are torch's fused ones.

    Raises:
        ValueError: If a parameter of Muon is no matrix.
    """

    def __init__(self, groups: list[dict[str, Any]], *, fused: bool = False) -> None:
        defaults = {"betas": (0.9, 0.95), "eps": EPS, "weight_decay": 0.0, "muon": False}
        super().__init__(groups, {"lr": 1e-3, "fused": fused, **defaults})
        for group in self.param_groups:
            group["fused"] = group["fused"] and not group["muon"]
            for parameter in group["params"] if group["muon"] else ():
                if parameter.dim() != 2:
                    raise ValueError(f"Muon takes matrices, not {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter that has a gradient.

        Args:
            closure: Called first, with gradients on.

        Returns:
            What ``closure`` returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["muon"]:
                for alike in self._alike(parameters):
                    self._step_muon(group, alike)
            elif parameters:
                self._step_adamw(group, parameters)
        return loss

    def _step_muon(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """A step of matrices of one shape and one count of steps."""
        states = [self._state(p, _MUON_FIELDS) for p in parameters]
        momentum = muon_momentum(int(states[0]["step"]))
        gradients = [cast(Tensor, p.grad) for p in parameters]
        buffers = [state["momentum_buffer"] for state in states]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, buffers, momentum)  # as Nesterov looks ahead
        updates = orthogonalise(torch.stack(list(ahead))).unbind()
        rows, columns = parameters[0].shape
        lr = group["lr"]
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        torch._foreach_add_(parameters, updates, alpha=-lr * max(1.0, rows / columns) ** 0.5)
        torch._foreach_add_([state["step"] for state in states], 1)

    def _step_adamw(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        states = [self._state(p, _ADAMW_FIELDS, group["fused"]) for p in parameters]
        adamw(
            parameters,
            [cast(Tensor, p.grad) for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            max_exp_avg_sqs=[],
            state_steps=[state["step"] for state in states],
            fused=group["fused"] or None,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _alike(self, parameters: list[Tensor]) -> Iterator[list[Tensor]]:
        """Matrices of one shape, which are orthogonalised in one product, and one step count."""
        found: dict[tuple[torch.Size, float], list[Tensor]] = {}
        for parameter in parameters:
            steps = float(self._state(parameter, _MUON_FIELDS)["step"])
            found.setdefault((parameter.shape, steps), []).append(parameter)
        yield from found.values()

    def _state(
        self, parameter: Tensor, fields: tuple[str, ...], on_device: bool = False
    ) -> dict[str, Tensor]:
        state = cast("dict[str, Tensor]", self.state[parameter])
        if not state:
            state["step"] = torch.zeros((), device=parameter.device if on_device else "cpu")
            state.update({field: torch.zeros_like(parameter) for field in fields})
        return state

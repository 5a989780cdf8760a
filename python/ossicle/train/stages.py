"""The stages of training: what learns in each, how it is described, and its defaults.

A stage is an entry of `STAGES`, and nothing else knows their names: the command, its help and its
options, the checks of a configuration, what is saved and the title of the picture are made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["STAGES", "Stage", "StageName"]

StageName: TypeAlias = Literal["align", "weak-align", "full"]


@dataclass(frozen=True)
class Stage:
    """What a stage of training is.

    Attributes:
        trains_lm: Whether the language model learns, beside the projector, which always does. If it
            does not, it must be one that has learned, and no checkpoint holds it.
        title: Of the picture of a run.
        help: Of the command.
        examples: Below the command's help.
        defaults: Where they differ from those of `TrainConfig`, which are the smoke's.
    """

    trains_lm: bool
    title: str
    help: str
    examples: str
    defaults: Mapping[str, Any] = field(default_factory=dict)


_AT_SCALE = {
    "lr": 1e-3,
    "warmup": 50,
    "warmdown": 0.4,
    "max_batch_seconds": 240.0,
    "save_every": 500,
    "loss_drop_min": None,
    "on_error": "skip",
    "too_long": "drop",
}

STAGES: dict[StageName, Stage] = {
    "align": Stage(
        trains_lm=True,
        title="Alignment: loss on the words of the clips",
        help="""Align a frozen Whisper encoder with a small GPT: both it and the projector learn.

    A smoke test: the loss must fall by 0.5 nats a token.""",
        examples="Examples:  [bold]ossicle train align --data data/manifest.jsonl --out run[/]   ·"
        "   offline: [bold]ossicle train align --data data/manifest.jsonl --whisper tiny-random[/]",
    ),
    "weak-align": Stage(
        trains_lm=False,
        title="Weak alignment: only the projector is trained",
        help="""Train the projector alone, between a frozen encoder and a frozen LM.

    The loss can only fall by what the projector passes on of the audio.""",
        examples="Examples:  [bold]ossicle train weak-align --data 'features/*.tar' --lm lm "
        "--out run[/]   ·   [bold]torchrun --nproc-per-node 8 -m ossicle train weak-align "
        "--config run.yaml[/]",
        defaults={"steps": 2000, **_AT_SCALE},
    ),
    "full": Stage(
        trains_lm=True,
        title="Training of projector and language model",
        help="Train projector and language model at scale, after a frozen encoder.",
        examples="Example:  [bold]ossicle train full --config run.yaml --depth 12 --out run[/]",
        defaults={"steps": 5000, "optimizer": "muon", "depth": 12, **_AT_SCALE},
    ),
}

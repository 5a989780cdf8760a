"""Training: the stages of Whisper-projector-GPT, checkpoints and the pictures of a run.

Needs PyTorch and transformers, and matplotlib for pictures: ``pip install 'ossicle[train]'``. They
are imported with the first name that needs them; the configuration needs none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ossicle import moved

if TYPE_CHECKING:
    from ossicle.data.errors import ManifestError
    from ossicle.train.checkpoint import CheckpointError
    from ossicle.train.config import TrainConfig
    from ossicle.train.config_file import ConfigError, config_from
    from ossicle.train.result import (
        LossDidNotFallError,
        TrainingError,
        TrainingInterrupted,
        TrainingTerminated,
        TrainProgress,
        TrainResult,
    )
    from ossicle.train.trainer import run

__all__ = [
    "CheckpointError",
    "ConfigError",
    "LossDidNotFallError",
    "ManifestError",
    "TrainConfig",
    "TrainProgress",
    "TrainResult",
    "TrainingError",
    "TrainingInterrupted",
    "TrainingTerminated",
    "config_from",
    "run",
]

_HOMES = {
    "checkpoint": ("CheckpointError",),
    "ossicle.data.errors": ("ManifestError",),
    "config": ("TrainConfig",),
    "config_file": ("ConfigError", "config_from"),
    "result": (
        "LossDidNotFallError",
        "TrainProgress",
        "TrainResult",
        "TrainingError",
        "TrainingInterrupted",
        "TrainingTerminated",
    ),
    "trainer": ("run",),
}
_LAZY = {name: module for module, names in _HOMES.items() for name in names}
_RENAMED = {
    "AlignConfig": "TrainConfig",
    "AlignProgress": "TrainProgress",
    "AlignResult": "TrainResult",
}


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        moved.warn_renamed(f"{__name__}.{name}", f"{__name__}.{_RENAMED[name]}")
        name = _RENAMED[name]
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _LAZY[name]
    home = home if home.startswith("ossicle.") else f"{__name__}.{home}"
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__

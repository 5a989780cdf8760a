"""Training: the stages of Whisper-projector-GPT, checkpoints and the pictures of a run.

Needs PyTorch and transformers, and matplotlib for pictures: ``pip install 'ossicle[train]'``.
"""

from __future__ import annotations

from ossicle.train.align import AlignConfig, AlignProgress, AlignResult
from ossicle.train.checkpoint import CheckpointError
from ossicle.train.clips import ManifestError
from ossicle.train.config import TrainConfig
from ossicle.train.config_file import ConfigError, config_from
from ossicle.train.result import (
    LossDidNotFallError,
    TrainingError,
    TrainProgress,
    TrainResult,
)
from ossicle.train.trainer import run

__all__ = [
    "AlignConfig",
    "AlignProgress",
    "AlignResult",
    "CheckpointError",
    "ConfigError",
    "LossDidNotFallError",
    "ManifestError",
    "TrainConfig",
    "TrainProgress",
    "TrainResult",
    "TrainingError",
    "config_from",
    "run",
]

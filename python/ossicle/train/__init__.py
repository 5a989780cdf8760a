"""Training: the alignment smoke, checkpoints and the pictures of a run.

Needs PyTorch and transformers, and matplotlib for pictures: ``pip install 'ossicle[train]'``.
"""

from __future__ import annotations

from ossicle.train.align import (
    AlignConfig,
    AlignProgress,
    AlignResult,
    LossDidNotFallError,
    run,
)
from ossicle.train.checkpoint import CheckpointError
from ossicle.train.clips import ManifestError

__all__ = [
    "AlignConfig",
    "AlignProgress",
    "AlignResult",
    "CheckpointError",
    "LossDidNotFallError",
    "ManifestError",
    "run",
]

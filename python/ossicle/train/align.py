"""The alignment run: frozen Whisper encoder, projector, soft tokens before the text, a small GPT.

It proves that a gradient gets from the loss through the language model and the projector to the
audio: the loss on the words of a few clips must fall. The model starts at random and may learn
the words by heart, so a falling loss does not say that it listens. It is the stage ``align`` of
`ossicle.train.run`, whose configuration has that stage's values by default.
"""

from __future__ import annotations

from ossicle.train.config import TrainConfig as AlignConfig
from ossicle.train.result import LossDidNotFallError
from ossicle.train.result import TrainProgress as AlignProgress
from ossicle.train.result import TrainResult as AlignResult
from ossicle.train.trainer import run

__all__ = ["AlignConfig", "AlignProgress", "AlignResult", "LossDidNotFallError", "run"]

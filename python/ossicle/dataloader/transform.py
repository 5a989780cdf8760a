"""Transforms of samples while training runs; labels, masks, windows and speech are neighbours."""

from __future__ import annotations

from ossicle.dataloader.compose import Compose, DataProcessor
from ossicle.dataloader.windows import OnlineWindower, VADSegmenter, Window

__all__ = ["Compose", "DataProcessor", "OnlineWindower", "VADSegmenter", "Window"]

"""Transforms of samples while training runs.

`base` has what a transform is, `sound` those of the sound itself, `windows` and `speech` what cuts
a recording by its `segments`, `labels` and `masks` what a model is to learn.
"""

from __future__ import annotations

from ossicle.dataloader.transform.base import Compose, DataProcessor
from ossicle.dataloader.transform.labels import LabelEncoder
from ossicle.dataloader.transform.masks import MaskGenerator
from ossicle.dataloader.transform.sound import Normalizer, Resampler
from ossicle.dataloader.transform.speech import VADSegmenter
from ossicle.dataloader.transform.windows import OnlineWindower, Window

__all__ = [
    "Compose",
    "DataProcessor",
    "LabelEncoder",
    "MaskGenerator",
    "Normalizer",
    "OnlineWindower",
    "Resampler",
    "VADSegmenter",
    "Window",
]

"""The order of samples: how long they are, which of them share a batch, whose turn it is."""

from ossicle.stream.batches import Seconds, Tokens
from ossicle.stream.lengths import AudioLengths, audio_lengths
from ossicle.stream.plan import Plan, PlannedBatch
from ossicle.stream.sampler import DurationBatchSampler, trainer_dataloader
from ossicle.stream.sources import Source
from ossicle.stream.state import StreamState

__all__ = [
    "AudioLengths",
    "DurationBatchSampler",
    "Plan",
    "PlannedBatch",
    "Seconds",
    "Source",
    "StreamState",
    "Tokens",
    "audio_lengths",
    "trainer_dataloader",
]

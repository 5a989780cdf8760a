"""The order of samples: how long they are, which of them share a batch, whose turn it is."""

from ossicle.stream.lengths import AudioLengths, audio_lengths
from ossicle.stream.sampler import DurationBatchSampler, trainer_dataloader

__all__ = ["AudioLengths", "DurationBatchSampler", "audio_lengths", "trainer_dataloader"]

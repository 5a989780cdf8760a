"""One plan, one stream: ready batches, in an order that is a function of seed, epoch and step."""

from ossicle.stream.audio_stream import AudioStream
from ossicle.stream.batches import Seconds, Tokens
from ossicle.stream.decoding import LogMel, Waveforms
from ossicle.stream.errors import StreamError
from ossicle.stream.lengths import AudioLengths, audio_lengths
from ossicle.stream.plan import Plan, PlannedBatch
from ossicle.stream.sampler import DurationBatchSampler, trainer_dataloader
from ossicle.stream.sources import Source
from ossicle.stream.state import StreamState

__all__ = [
    "AudioLengths",
    "AudioStream",
    "DurationBatchSampler",
    "LogMel",
    "Plan",
    "PlannedBatch",
    "Seconds",
    "Source",
    "StreamError",
    "StreamState",
    "Tokens",
    "Waveforms",
    "audio_lengths",
    "trainer_dataloader",
]

"""Audio: read, written and resampled. Nothing here needs FFmpeg."""

from ossicle.audio.pieces import AudioDecoder, blocks
from ossicle.audio.raw import RawFormat
from ossicle.audio.reading import (
    AudioSource,
    ShardMember,
    info,
    load,
    load_batch,
    load_concealed,
)
from ossicle.audio.records import AudioBatch, AudioInfo, ConcealedClip, FloatArray, Gap
from ossicle.audio.remarks import count_reasons, reason_of
from ossicle.audio.resampling import Quality, StreamResampler, resample
from ossicle.audio.waveforms import as_float32
from ossicle.audio.writing import encode, save

__all__ = [
    "AudioBatch",
    "AudioDecoder",
    "AudioInfo",
    "AudioSource",
    "ConcealedClip",
    "FloatArray",
    "Gap",
    "Quality",
    "RawFormat",
    "ShardMember",
    "StreamResampler",
    "as_float32",
    "blocks",
    "count_reasons",
    "encode",
    "info",
    "load",
    "load_batch",
    "load_concealed",
    "reason_of",
    "resample",
    "save",
]

"""Decoded waveforms and processor features on disk, under keys made of digests.

An entry is an uncompressed ``.npz``: ``numpy.load(path)["waveform"]`` (or ``["input_features"]``)
reads it, and beside the array a member ``meta.json`` echoes the whole key, the version of the code
that made the waveform, and a checksum. ``get`` checks every byte on every read. Whatever is off is
a miss and is removed: entries of another version too, and files of other programs, which echo
nothing. ``put`` writes under a name of its own and renames: any number of processes share a root,
without locks.

Keys may ask for float16, which is stored in half the room. `verify` checks a root without any key,
`prune` keeps it small. docs/cache.md says what is promised.

The disk never stops a run: ``get`` answers with a miss and ``put`` with a single warning.
"""

from ossicle.cache.keys import AudioCacheKey, Dtype, WaveformCacheKey
from ossicle.cache.store import (
    AudioCache,
    CacheEntry,
    CacheFault,
    CachePruned,
    CacheReport,
    CacheStats,
    FaultKind,
    WaveformCache,
)

__all__ = [
    "AudioCache",
    "AudioCacheKey",
    "CacheEntry",
    "CacheFault",
    "CachePruned",
    "CacheReport",
    "CacheStats",
    "Dtype",
    "FaultKind",
    "WaveformCache",
    "WaveformCacheKey",
]

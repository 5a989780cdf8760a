"""Decode recordings once: the second time they come from a cache, checked to the last bit.

python examples/cache.py FILE [FILE ...]
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

import numpy as np

import ossicle
from ossicle.cache import WaveformCache, WaveformCacheKey

RATE, SECONDS = 16_000, 30


def main() -> None:
    """Fill a cache, read it in three ways, damage it, and check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    files = parser.parse_args().files
    with tempfile.TemporaryDirectory() as root:
        cache = WaveformCache(root, max_bytes=1_000_000_000)
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        keys = [
            WaveformCacheKey(digest, RATE, 1000 * SECONDS, auto_resample=True) for digest in digests
        ]
        start = time.perf_counter()
        batch = ossicle.load_batch(files, RATE, duration=SECONDS)
        print(f"decoded {len(files)} files in {1e3 * (time.perf_counter() - start):.1f} ms")
        clips = [row[:n] for row, n in zip(batch.waveforms, batch.lengths, strict=True)]
        cache.put_batch(zip(keys, clips, strict=True))

        # Into memory that is there already, one row each, as a training loop would.
        rows = np.empty((len(keys), RATE * SECONDS), np.float32)
        start = time.perf_counter()
        lengths = cache.get_batch(keys, out=rows)
        print(f"read {lengths.tolist()} samples in {1e3 * (time.perf_counter() - start):.1f} ms")

        # Half the room, rounded.
        half = WaveformCacheKey(digests[0], RATE, 1000 * SECONDS, True, dtype="float16")
        cache.put(half, clips[0])
        print(f"float16 is off by {np.abs(cache.get(half) - clips[0]).max():.1e} at most")

        # One flipped bit is a miss, never another waveform.
        path = cache.path_for(keys[0])
        content = bytearray(path.read_bytes())
        content[-1000] ^= 1
        path.write_bytes(content)
        for fault in cache.verify().faults:
            print(f"{fault.kind}: {fault.reason}")
        print("get:", cache.get(keys[0]))
        stats = cache.stats()
        print(f"{stats.hits} hits, {stats.misses} misses, {stats.corrupt} corrupt")


if __name__ == "__main__":
    main()

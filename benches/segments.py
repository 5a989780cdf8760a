"""Segments cut out of their recordings against recordings kept once: sizes, and reading at random.

    python benches/segments.py [--seconds 300] [--rounds 5]

For each kind of recording a shard of each is packed, and all segments are decoded to 16 kHz in one
random order, in turns; the figure of each is its fastest turn.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from clips import Clip

from ossicle.shard import Shard, pack

KINDS = [
    Clip("wav", "wav", 0, 16_000, 1, ()),
    Clip("flac", "flac", 0, 16_000, 1, ()),
    Clip("mp3", "mp3", 0, 44_100, 2, ("-b:a", "128k")),
    Clip("opus", "opus", 0, 48_000, 1, ("-b:a", "32k")),
]
WAYS = {
    "cut": {"segments": "cut"},
    "keep": {"segments": "keep"},
    "cut, --flac": {"segments": "cut", "transcode": "flac"},
    "keep, --flac": {"segments": "keep", "transcode": "flac"},
}
SEGMENT, STEP = 8.0, 10.0


def main() -> None:
    """Packs, reads and prints a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", help="One kind: wav, flac, mp3 or opus.")
    chosen = options.parse_args()
    print("| recordings | way | shard, MB | of the recording | a segment, ms |")
    print("|---|---|---:|---:|---:|")
    for kind in (one for one in KINDS if chosen.only in (None, one.format)):
        measure(kind, chosen.seconds, chosen.rounds)


def measure(kind: Clip, seconds: float, rounds: int) -> None:
    """One kind of recording, packed in each way."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clip = Clip(
            kind.format, kind.extension, seconds, kind.sample_rate, kind.channels, kind.encoder
        )
        path = clip.write(folder)
        rows = [
            {"id": f"u{n}", "audio": str(path), "offset": float(start), "duration": SEGMENT}
            for n, start in enumerate(np.arange(0, seconds - SEGMENT, STEP))
        ]
        order = np.random.default_rng(0).permutation(len(rows)).tolist()
        shards = {}
        for way, how in WAYS.items():
            out = folder / f"{way.replace(', --', '-')}.tar"
            assert not pack(rows, out, **how).errors  # type: ignore[arg-type]
            shards[way] = Shard(out)
        times = dict.fromkeys(shards, float("inf"))
        for _ in range(rounds):
            for way, shard in shards.items():
                start = time.process_time()
                for number in order:
                    shard.load(number, 16_000)
                times[way] = min(times[way], (time.process_time() - start) / len(order))
        whole = path.stat().st_size
        for way, shard in shards.items():
            size = Path(shard.path).stat().st_size
            cells = f"{size / 1e6:.2f} | {size / whole:.2f} | {times[way] * 1e3:.2f}"
            print(f"| {clip.name} | {way} | {cells} |", flush=True)


if __name__ == "__main__":
    main()

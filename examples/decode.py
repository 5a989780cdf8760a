"""Describe and decode recordings: facts, a batch in which one is bad, and what is left of that one.

python examples/decode.py FILE [FILE ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ossicle


def main() -> None:
    """Print what the files hold, then decode two seconds of each at 16 kHz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    files = parser.parse_args().files
    for file in files:
        try:
            fact = ossicle.info(file)
        except ossicle.AudioError as error:
            print(f"{type(error).__name__}: {error}")
            continue
        print(f"{file.name}: {fact.codec}, {fact.channels} x {fact.sample_rate} Hz", end=", ")
        print(f"{fact.frames} frames, {fact.duration:.2f} s")

    # One call, no GIL: bad files do not stop the others.
    batch = ossicle.load_batch(files, 16_000, duration=2.0, on_error="collect")
    for file, samples, error in zip(files, batch.lengths, batch.errors, strict=True):
        print(f"{file.name}: {samples} samples{f' ({error.reason})' if error else ''}")
    print("batch:", batch.waveforms.shape, batch.waveforms.dtype)

    # What damage has left: silence in its place, and a list of it.
    for file in (file for file, error in zip(files, batch.errors, strict=True) if error):
        try:
            waveform, rate, gaps = ossicle.load_concealed(file)
        except ossicle.AudioError:
            continue  # nothing at all
        print(f"{file.name}: {len(waveform) / rate:.2f} s could be decoded")
        for gap in gaps:
            start, end = gap.start / rate, gap.end / rate
            print(f"  {start:.2f} to {end:.2f} s are missing: {gap.error.reason}")


if __name__ == "__main__":
    main()

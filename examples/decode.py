"""Describe and decode recordings: facts from headers, a range, a batch in which one file is bad.

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


if __name__ == "__main__":
    main()

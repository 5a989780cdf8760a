"""Train Whisper-projector-GPT on five tones, from Python: what `ossicle train align` does.

python examples/align.py FOLDER [--steps 50]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ossicle.experiment.corpus import make_sines
from ossicle.train import TrainConfig, run


def main() -> None:
    """Make the corpus, train, and print how the loss fell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    manifest = make_sines(options.folder / "corpus")
    config = TrainConfig(
        manifest, whisper="tiny-random", steps=options.steps, out=options.folder, depth=2
    )
    result = run(config)
    print(f"loss {result.losses[0]:.2f} -> {result.losses[-1]:.2f}, picture in {result.report}")


if __name__ == "__main__":
    main()

"""Two builds of Ossicle side by side: has a change made decoding slower, or its samples others?

    git worktree add /tmp/before v0.1.0        # and build there, or unpack a wheel
    python benches/before_after.py /tmp/before/python python --record name

Each build runs in a process of its own, on one thread; the two take turns clip by clip, in an order
that is shuffled for each round. Samples are compared by SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
from clips import Clip

ROUNDS = 15
METHOD = (
    "Whole files in the page cache to mono float32, from a path. The two builds take turns, in an "
    "order shuffled for each round; the ratio is the median of the rounds' own ratios of processor "
    "time, above 1 the build of after is faster. Samples are compared by SHA-256."
)
_SONG, _LINE, _WORD = (60.0, 44_100, 2), (15.0, 16_000, 1), (1.0, 16_000, 1)
_WIDE = (30.0, 48_000, 2)
CLIPS = [
    Clip(name, suffix, *shape, tuple(options.split()))
    for name, suffix, shapes, options in (
        ("wav", "wav", (_SONG, _LINE, _WORD), "-c:a pcm_s16le"),
        ("wav24", "wav", (_SONG,), "-c:a pcm_s24le"),
        ("aiff", "aiff", (_SONG,), "-c:a pcm_s16be"),
        ("flac", "flac", (_SONG, _LINE, _WORD), "-c:a flac"),
        ("mp3", "mp3", (_SONG, _LINE, _WORD), "-c:a libmp3lame -b:a 128k"),
        ("vorbis", "ogg", (_SONG, _LINE, _WORD), "-c:a libvorbis -q:a 4"),
        ("aac", "m4a", (_SONG, _LINE, _WORD), "-c:a aac -b:a 128k"),
        ("adts", "aac", (_SONG,), "-c:a aac -b:a 128k"),
        ("opus", "opus", (_WIDE,), "-c:a libopus -b:a 64k"),
        ("opus in webm", "webm", (_WIDE,), "-c:a libopus -b:a 64k"),
        ("alac", "m4a", (_SONG,), "-c:a alac"),
    )
    for shape in shapes
]


def serve() -> None:
    """Answers each ``[path, rate]`` with the seconds of one decode and a digest of its samples."""
    import ossicle

    for line in sys.stdin:
        path, rate = json.loads(line)
        ossicle.load(path, rate)
        begin = time.process_time()
        repeats = 0
        while repeats == 0 or time.process_time() - begin < 0.02:
            waveform, _ = ossicle.load(path, rate)
            repeats += 1
        seconds = (time.process_time() - begin) / repeats
        print(json.dumps([seconds, hashlib.sha256(waveform.tobytes()).hexdigest()]), flush=True)


class Build:
    """A process that decodes with the package in one folder."""

    def __init__(self, folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(folder.resolve()), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--serve"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment
        )

    def decode(self, path: Path, rate: int | None) -> tuple[float, str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(path), rate]) + "\n")
        self.process.stdin.flush()
        seconds, digest = json.loads(self.process.stdout.readline())
        return seconds, digest


def compare(
    builds: list[Build], path: Path, rate: int | None, rounds: int
) -> tuple[float, float, bool]:
    """Median of before / after, the fastest call after in ms, and whether the bits agree."""
    ratios, fastest, digests = [], float("inf"), set()
    for _ in range(rounds):
        seconds = [0.0, 0.0]
        for index in random.sample(range(2), 2):
            seconds[index], digest = builds[index].decode(path, rate)
            digests.add(digest)
        ratios.append(seconds[0] / seconds[1])
        fastest = min(fastest, seconds[1])
    return statistics.median(ratios), 1e3 * fastest, len(digests) == 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "before", type=Path, help="the folder that has the package `ossicle` of before"
    )
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--record", help="writes benches/record/<record>.md")
    options = parser.parse_args()
    builds = [Build(options.before), Build(options.after)]
    lines = [
        "| clip | after, ms | before / after | samples |",
        "|---|---:|---:|---|",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for clip in CLIPS:
            path = clip.write(Path(folder))
            for rate in (None, 16_000):
                if rate == clip.sample_rate:
                    continue
                ratio, ms, same = compare(builds, path, rate, options.rounds)
                row = (clip.name, rate or "native", ms, ratio, "the same" if same else "others")
                lines.append("| {} -> {} | {:.3g} | {:.2f} | {} |".format(*row))
                print(lines[-1], flush=True)
    if options.record:
        machine = "\n".join(f"- {name}: {value}" for name, value in harness.machine().items())
        text = f"# {options.record}\n\n{METHOD}\n\n" + "\n".join(lines) + f"\n\n{machine}\n"
        (Path(__file__).parent / "record" / f"{options.record}.md").write_text(text)


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()

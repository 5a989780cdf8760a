"""Packs a manifest into shards, reads them back, and writes some of the samples anew.

    python examples/shards.py manifest.jsonl FOLDER

A manifest is JSON lines of {"wav": "a.flac", "text": "what is said"}; `ossicle corpus` makes one.
"""

import json
import sys
from pathlib import Path

import ossicle
from ossicle.shard import pack


def main(manifest: Path, folder: Path) -> None:
    """Packs, reads and writes again."""
    folder.mkdir(parents=True, exist_ok=True)

    # Decoded, 16 kHz, mono, FLAC; the row of the manifest as JSON beside it.
    packed = pack(
        manifest,
        folder / "train-%06d.tar",
        max_bytes=500_000,
        transcode="flac",
        overwrite=True,
    )
    minutes = packed.seconds / 60
    print(f"packed {packed.samples} samples, {minutes:.2f} minutes, {len(packed.shards)} shards")
    for failed in packed.errors:
        print(f"left out: row {failed.row}: {failed.error}")

    # Only those of a second and more, with a member of our own.
    with ossicle.ShardWriter(folder / "long.tar", overwrite=True) as writer:
        for shard in packed.shards:
            for sample in ossicle.Shard(shard.path):
                seconds = ossicle.info(sample["flac"]).duration
                if seconds >= 1.0:
                    text = json.loads(bytes(sample["json"])).get("text", "")
                    writer.write({**sample, "txt": text, "cls": len(text.split())})

    for written in writer.shards:
        shard = ossicle.Shard(written.path)
        waveform, rate = shard.load(0)
        words = bytes(shard[0]["txt"]).decode()
        print(f"{written.path.name}: {len(shard)} samples of a second and more")
        print(f"first: {shard.keys()[0]}: {len(waveform)} samples at {rate} Hz: {words!r}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

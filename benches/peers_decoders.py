"""The native decoders, symphonia's on the same packets, and both of them compared."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import harness
import numpy as np
import typer
from clips import Clip
from rich.console import Console
from rich.progress import Progress

import ossicle

PEERS = ["symphonia", "both", "torchcodec"]
PACKAGES = ("ossicle", "numpy", "torch", "torchcodec")
METHOD = """\
Whole files in the page cache to mono float32 at the native rate, from a path. One thread,
contestants interleaved in an order shuffled for each round. Ratio: processor time of the
contestant / of `decoder="native"`, the median of the rounds' own ratios; above 1 native is
faster. `both` decodes with each and compares all samples. FLAC by symphonia includes our search
for its frames, which decodes them. torchcodec (FFmpeg) is there for scale.""".replace("\n", " ")
_SONG, _LINE = (60.0, 44_100, 2), (15.0, 16_000, 1)
ENCODERS = {
    "wav": ("wav", "-c:a pcm_s16le"),
    "wav24": ("wav", "-c:a pcm_s24le"),
    "mu-law": ("wav", "-c:a pcm_mulaw"),
    "adpcm": ("wav", "-c:a adpcm_ima_wav"),
    "flac": ("flac", "-c:a flac"),
    "flac in ogg": ("oga", "-c:a flac"),
    "alac": ("m4a", "-c:a alac"),
    "mp2": ("mp2", "-c:a mp2 -b:a 128k"),
    "mp3": ("mp3", "-c:a libmp3lame -b:a 128k"),
    "aac": ("m4a", "-c:a aac -aac_pns 0 -b:a 128k"),
    "vorbis": ("ogg", "-c:a libvorbis -q:a 4"),
}


def clips() -> list[Clip]:
    return [
        Clip(name, suffix, *shape, tuple(options.split()))
        for name, (suffix, options) in ENCODERS.items()
        for shape in (_SONG, _LINE)
    ]


def with_torchcodec(path: str) -> np.ndarray:
    from torchcodec.decoders import AudioDecoder

    return AudioDecoder(path, num_channels=1).get_all_samples().data[0].numpy()


def measure(clip: Clip, path: Path, rounds: int) -> harness.Row:
    """Races the decoders on one file; who cannot read it is noted."""
    row = harness.Row(clip.name)
    racing = {harness.OURS: partial(ossicle.load, path)}
    racing |= {name: partial(ossicle.load, path, decoder=name) for name in PEERS[:2]}
    racing["torchcodec"] = partial(with_torchcodec, str(path))
    for name in PEERS:
        try:
            racing[name]()
        except Exception as error:  # a peer may fail with anything: that is its note
            row.missing[name] = harness.reason(error)
            del racing[name]
    return harness.race(row, racing, rounds)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 15,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """The native decoders against symphonia's: `decoder="symphonia"` and `"both"`."""
    console, rows = Console(), []
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        for clip in progress.track(clips(), description="decoders"):
            rows.append(measure(clip, clip.write(Path(folder)), rounds))
    harness.show("decoders", rows, PEERS, console)
    if write:
        facts = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
        for file in harness.record("decoders", rows, PEERS, facts, METHOD):
            console.print(f"wrote {file}", highlight=False)

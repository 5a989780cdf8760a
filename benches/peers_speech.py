"""Files of speech corpora and of telephony to mono float32, against the peers."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import harness
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import soundfile
import typer
from clips import voices
from rich.console import Console
from torchcodec.decoders import AudioDecoder

import ossicle

# No program of today writes Shorten: the tests' own writers do.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import shorten_streams as streams
import test_gsm as gsm
from test_shorten import wav_header

Waveform = npt.NDArray[np.float32]
PACKAGES = ("ossicle", "numpy", "soundfile", "torch", "torchcodec")
METHOD = """\
Whole files in the page cache to mono float32 in a NumPy array, from a path, at the native rate.
One thread on one processor, contestants interleaved. Ratio: processor time of the peer / ours,
the median of the rounds' own ratios; above 1 we are faster. No one is timed whose samples differ
from ours (in AMR FFmpeg's decoders work in floats, ours is the reference's to the bit). HE-AAC is
the tests' clips of fdk-aac put together, AMR-WB the tests' clip of vo-amrwbenc. Shorten is
written by the tests' encoder with the best difference for each block of 256, GSM of frames by
chance.""".replace("\n", " ")


def files(seconds: float) -> dict[str, tuple[str, Callable[[], bytes]]]:
    """What each row is called, its suffix, and what writes it."""
    mono = voices(seconds, 16_000, 1).T.astype(np.int64)
    both = voices(seconds, 8_000, 2).T.astype(np.int64)
    codes = np.random.default_rng(0).bytes(both.size)
    frames = gsm.frames(0, round(seconds * 50) // 2 * 2)
    big = mono.astype(">i2").tobytes()
    pcm: dict[str, str | int] = {"sample_n_bytes": 2, "sample_byte_format": "10"}
    mu_law: dict[str, str | int] = {"sample_n_bytes": 1, "sample_coding": "ulaw"}
    packed = {**pcm, "sample_coding": "pcm,embedded-shorten-v2.00"}
    return {
        "SPHERE, 16k mono": ("sph", lambda: _sphere(big, mono, 16_000, pcm)),
        "SPHERE mu-law, 8k stereo": ("sph", lambda: _sphere(codes, both, 8_000, mu_law)),
        "SPHERE Shorten, 16k mono": ("sph", lambda: _sphere(_shorten(mono), mono, 16_000, packed)),
        "SHN, 16k mono": ("shn", lambda: _shorten(mono, wav_header(mono, 16, 16_000))),
        "SHN, 8k stereo": ("shn", lambda: _shorten(both, wav_header(both, 16, 8_000))),
        "WAV GSM, 8k mono": ("wav", lambda: gsm.wav(gsm.microsoft(frames))),
        "CAF GSM, 8k mono": ("caf", lambda: gsm.caf(gsm.plain(frames))),
        "AMR-NB 12.2k": ("amr", lambda: _amr(mono)),
        "AMR-WB 23.85k": ("awb", lambda: _repeated("amr/wide-8.awb", seconds, b"#!AMR-WB\n")),
        "HE-AAC v1, 44.1k stereo": ("aac", lambda: _repeated("he_aac/v1-44k-stereo.aac", seconds)),
        "HE-AAC v2, 48k": ("aac", lambda: _repeated("he_aac/v2-48k.aac", seconds)),
    }


def _sphere(data: bytes, numbers: streams.Ints, rate: int, fields: dict[str, str | int]) -> bytes:
    own = {"channel_count": len(numbers), "sample_count": numbers.shape[1], "sample_rate": rate}
    return streams.sphere(data, **own, **fields)


def _shorten(numbers: streams.Ints, header: bytes = b"") -> bytes:
    settings = streams.Settings(best=True, header=header)
    return streams.encode(numbers, settings, shifts=False)


def _amr(mono: streams.Ints) -> bytes:
    raw = ("-f", "s16le", "-ar", "16000", "-ac", "1", "-i", "-")
    options = ["-c:a", "libopencore_amrnb", "-ar", "8000", "-b:a", "12.2k", "-f", "amr", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *raw, *options]
    samples = mono.astype("<i2").tobytes()
    return subprocess.run(command, input=samples, capture_output=True, check=True).stdout


def _repeated(name: str, seconds: float, mark: bytes = b"") -> bytes:
    """A file of the tests again and again, about `seconds` long; `mark` is there once."""
    path = Path(__file__).resolve().parents[1] / "tests" / "data" / name
    times = math.ceil(seconds / ossicle.info(path).duration)
    return mark + path.read_bytes().removeprefix(mark) * times


def ours(path: str) -> Waveform:
    return ossicle.load(path)[0]


def with_soundfile(path: str) -> Waveform:
    waveform, _ = soundfile.read(path, dtype="float32", always_2d=True)
    return waveform[:, 0] if waveform.shape[1] == 1 else waveform.mean(axis=1)


def with_torchcodec(path: str) -> Waveform:
    waveform = AudioDecoder(path).get_all_samples().data
    return np.asarray(waveform[0] if len(waveform) == 1 else waveform.mean(dim=0))


PEERS = {"soundfile": with_soundfile, "torchcodec": with_torchcodec}


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 15,
    seconds: Annotated[float, typer.Option(help="Length of each file.")] = 60.0,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """SPHERE, Shorten, GSM, AMR and HE-AAC to mono float32: ours, soundfile and torchcodec."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            _race(name, suffix, make(), Path(folder), rounds)
            for name, (suffix, make) in files(seconds).items()
        ]
    harness.show("speech", rows, list(PEERS), console)
    if write:
        facts = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
        for file in harness.record("speech", rows, list(PEERS), facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")


def _race(name: str, suffix: str, data: bytes, folder: Path, rounds: int) -> harness.Row:
    path = folder / f"clip.{suffix}"
    path.write_bytes(data)
    row, reference = harness.Row(name), ours(str(path))
    racing: dict[str, Callable[[], object]] = {harness.OURS: partial(ours, str(path))}
    for peer, work in PEERS.items():
        try:
            theirs = work(str(path))
            assert theirs.shape == reference.shape, "another length"
            # Up to the square root of 2 by which FFmpeg's mono mix is louder.
            gain = max(float(np.abs(theirs).max() / np.abs(reference).max()), 1e-9)
            most = 0.1 if suffix in ("amr", "awb") else 1e-3
            assert np.abs(theirs / gain - reference).max() < most, "other samples"
        except Exception as error:  # a peer may fail with anything: that is its note
            row.missing[peer] = harness.reason(error)
        else:
            racing[peer] = partial(work, str(path))
    return harness.race(row, racing, rounds)

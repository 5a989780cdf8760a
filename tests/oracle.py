"""What the audio tests compare with: FFmpeg, and signals that show what went wrong.

Two FFmpegs are asked where both are there, the system's and the one in imageio-ffmpeg's wheel: they
differ in what they trim, and neither is always right.
"""

from __future__ import annotations

import functools
import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@functools.cache
def bundled() -> str:
    """The FFmpeg of the development dependencies: always there, and it does the encoding."""
    return imageio_ffmpeg.get_ffmpeg_exe()


@functools.cache
def decoders() -> dict[str, str]:
    """Every FFmpeg at hand, by name."""
    system = shutil.which("ffmpeg")
    return {"bundled": bundled()} | ({"system": system} if system else {})


@functools.cache
def major_version(ffmpeg: str) -> int:
    """5 for 5.1.9, 9 for n9.0.2; builds named by commit count as the newest."""
    text = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout
    number = text.split()[2].lstrip("n").split(".")[0]
    return int(number) if number.isdigit() and len(number) < 3 else 99


def ffmpeg(executable: str, arguments: Iterable[str | Path]) -> None:
    """Runs FFmpeg and fails with what it said."""
    command = [executable, "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def encode(source: Path, outputs: Sequence[tuple[Path, Sequence[str]]]) -> None:
    """Encodes one file many ways in one process."""
    arguments: list[str | Path] = ["-i", source]
    for path, options in outputs:
        arguments += ["-map", "0:a:0", *options, path]
    ffmpeg(bundled(), arguments)


def decode(executable: str, paths: Sequence[Path], channels: int) -> list[Array]:
    """Decodes each file to ``(channels, frames)`` at its own rate, all in one process."""
    outputs = [path.with_name(f"{path.name}.f32") for path in paths]
    arguments: list[str | Path] = []
    for path in paths:
        arguments += ["-i", path]
    for index, output in enumerate(outputs):
        arguments += ["-map", f"{index}:a:0", "-c:a", "pcm_f32le", "-f", "f32le", output]
    ffmpeg(executable, arguments)
    clips = [np.fromfile(output, "<f4").reshape(-1, channels).T for output in outputs]
    for output in outputs:
        output.unlink()
    return clips


def decode_to(executable: str, path: Path, channels: int, decoder: str = "") -> Array:
    """`path` as ``(channels, frames)``, mixed where it has others; no file is written beside it."""
    options = ["-c:a", decoder] if decoder else []
    command = [executable, "-nostdin", "-v", "error", *options, "-i", str(path)]
    command += ["-ac", str(channels), "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, "<f4").reshape(-1, channels).T


def signal(rate: int, channels: int, frames: int, seed: int = 0) -> Array:
    """``(channels, frames)``: tones of its own and a little noise in each channel."""
    random = np.random.default_rng(seed)
    time = np.arange(frames) / rate
    rows = []
    for channel in range(channels):
        # Below the 120 Hz that encoders leave in an LFE, and above it.
        tones = np.sin(2 * np.pi * (40 + 11 * channel) * time)
        tones += np.sin(2 * np.pi * (300 + 170 * channel) * time + channel)
        rows.append(0.2 * tones + 0.02 * random.standard_normal(frames))
    return np.stack(rows).astype(np.float32)


ENCODINGS = {
    "u8": (1, 8, lambda x: np.clip(np.rint(x * 128) + 128, 0, 255).astype("u1")),
    "s16": (1, 16, lambda x: np.clip(np.rint(x * 32768), -32768, 32767).astype("<i2")),
    "f32": (3, 32, lambda x: x.astype("<f4")),
    "f64": (3, 64, lambda x: x.astype("<f8")),
}


def wav_bytes(
    waveform: npt.ArrayLike,
    rate: int,
    encoding: str = "s16",
    *,
    extensible: bool = False,
    data_size: int | None = None,
) -> bytes:
    """A WAV file of ``(frames,)`` or ``(channels, frames)``; `data_size` lies about the length."""
    samples = np.atleast_2d(np.asarray(waveform))
    channels = samples.shape[0]
    tag, bits, convert = ENCODINGS[encoding]
    data = convert(samples.T).tobytes()
    block = channels * bits // 8
    body = struct.pack(
        "<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * block, block, bits
    )
    if extensible:
        mask = {1: 0x4, 2: 0x3, 3: 0x7, 5: 0x37, 6: 0x3F}[channels]
        guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
        body += struct.pack("<HHI", 22, bits, mask) + guid
    chunks = b"fmt " + struct.pack("<I", len(body)) + body
    chunks += b"data" + struct.pack("<I", len(data) if data_size is None else data_size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def rms(difference: Array) -> float:
    return (
        float(np.sqrt(np.mean(np.square(difference, dtype=np.float64)))) if difference.size else 0.0
    )

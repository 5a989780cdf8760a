"""Files to measure with: made by FFmpeg from a signal of NumPy's, in a folder that goes away."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Clip:
    """One file: what it is called in the tables, and how FFmpeg is to write it."""

    format: str
    extension: str
    seconds: float
    sample_rate: int
    channels: int
    encoder: tuple[str, ...]

    @property
    def name(self) -> str:
        kind = "stereo" if self.channels == 2 else "mono"
        return f"{self.format} {self.seconds:g} s {self.sample_rate / 1000:g}k {kind}"

    def write(self, folder: Path) -> Path:
        """Encodes the clip into `folder`."""
        path = folder / f"{self.name.replace(' ', '-')}.{self.extension}"
        signal = voices(self.seconds, self.sample_rate, self.channels)
        raw = ("-f", "s16le", "-ar", str(self.sample_rate), "-ac", str(self.channels), "-i", "-")
        quiet = ("-hide_banner", "-loglevel", "error", "-y")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *quiet, *raw, *self.encoder, str(path)]
        subprocess.run(command, input=signal.tobytes(), check=True)
        return path


@cache
def voices(seconds: float, sample_rate: int, channels: int) -> npt.NDArray[np.int16]:
    """A gliding, vibrating voice with breath and pauses, another one on each channel.

    Codecs work hard on white noise and hardly at all on a sine: this has a falling spectrum, tones
    and silence, as speech and music do. `(samples, channels)`.
    """
    noise = np.random.default_rng(20)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    planes = [_voice(time, sample_rate, 110.0 * 1.5**channel, noise) for channel in range(channels)]
    mixed = np.stack(planes, axis=1) @ (0.7 * np.eye(channels) + 0.3 / channels)
    return np.round(mixed / np.abs(mixed).max() * 26_000).astype(np.int16)


def _voice(
    time: npt.NDArray[np.float64], sample_rate: int, pitch: float, noise: np.random.Generator
) -> npt.NDArray[np.float64]:
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.2 * np.sin(0.7 * time) + 0.01 * np.sin(31 * time)))
    phase /= sample_rate
    partials = range(1, int(min(30, 0.35 * sample_rate / pitch)))
    tone = sum(np.sin(n * phase + n * n) / n for n in partials)
    loudness = np.clip(np.sin(2.3 * time) + 0.6, 0, None) * (1 + 0.5 * np.sin(13 * time))
    return loudness * (tone + 0.5 * _breath(len(time), noise))


def _breath(length: int, noise: np.random.Generator) -> npt.NDArray[np.float64]:
    """Noise that falls by 6 dB an octave from a hundredth of the band on."""
    spectrum = np.fft.rfft(noise.standard_normal(length))
    position = np.linspace(0, 1, len(spectrum))
    return np.fft.irfft(spectrum / (1 + 100 * position), length) * 10

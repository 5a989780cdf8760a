"""Small corpora made from nothing: tones with words, for smokes, demonstrations and tests."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ossicle.audio import save
from ossicle.outputs import claim_folder

if TYPE_CHECKING:
    from ossicle.audio import FloatArray

__all__ = ["claim", "make_demo", "make_sines", "mp3_encoder"]

# Names, frequencies and words of nanochat-omni's smoke, so that runs compare.
SINES = {
    220: "low tone",
    330: "mid low tone",
    440: "middle tone",
    660: "mid high tone",
    880: "high tone",
}
SINE_RATE = 16_000
SINE_SECONDS = 5.0

DEMO_RATES = (8_000, 16_000, 22_050, 44_100, 48_000)
PITCHES = {"low": 180.0, "middle": 420.0, "high": 1_100.0}
# Octaves that the pitch moves by from the first sample to the last.
MOVES = {"steady": 0.0, "rising": 1.0, "falling": -1.0}


class Tone(NamedTuple):
    """One clip to make; the waveform is ``(channels, samples)`` float32."""

    name: str
    text: str
    sample_rate: int
    waveform: FloatArray


def claim(folder: Path | str) -> Path:
    """The folder of a corpus, which is made, or was made by an earlier call.

    Raises:
        InvalidArgumentError: It holds other things.
    """
    return claim_folder(folder, ".ossicle-corpus", "ossicle corpus")


def make_sines(folder: Path | str) -> Path:
    """Makes five sines of five seconds, 16 kHz mono WAV, and their ``manifest.jsonl``.

    The same bytes every time; files that exist are written anew.

    Returns:
        The manifest: rows of ``{"wav", "text", "sr"}``, paths relative to it.
    """
    clips = (
        Tone(f"wavs/sine_{pitch:04d}.wav", text, SINE_RATE, _sine(pitch))
        for pitch, text in SINES.items()
    )
    return _write(Path(folder), clips, save_clip=_save)


def make_demo(
    folder: Path | str,
    *,
    clips: int = 24,
    seed: int = 0,
    on_clip: Callable[[int], object] | None = None,
) -> Path:
    """Makes tones that rise, fall or stay, in several formats, at five rates, mono and stereo.

    WAV and FLAC are always among them; MP3 where `mp3_encoder` finds one.

    Args:
        folder: Where to; made if it is missing.
        clips: How many.
        seed: Of lengths, phases and noise.
        on_clip: Called with the number of clips that are done, after each.

    Returns:
        The manifest: rows of ``{"wav", "text", "sr"}``, paths relative to it.
    """
    mp3 = mp3_encoder()
    suffixes = ("wav", "flac", "mp3") if mp3 else ("wav", "flac")

    def save_clip(path: Path, clip: Tone) -> None:
        if path.suffix == ".mp3" and mp3:
            _save_mp3(path, clip, mp3)
        else:
            _save(path, clip)

    return _write(Path(folder), _demo_clips(clips, suffixes, seed), save_clip, on_clip)


def mp3_encoder() -> list[str] | None:
    """The start of a command line that encodes ``IN OUT.mp3``: ffmpeg's or lame's, if at hand."""
    if ffmpeg := shutil.which("ffmpeg") or _bundled_ffmpeg():
        return [ffmpeg, "-loglevel", "error", "-y", "-i"]
    lame = shutil.which("lame")
    return [lame, "--quiet"] if lame else None


def _bundled_ffmpeg() -> str | None:
    try:
        path: str = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None
    return path


def _sine(pitch: int) -> FloatArray:
    time = np.arange(round(SINE_RATE * SINE_SECONDS)) / SINE_RATE
    tone = 0.5 * np.sin(2 * np.pi * pitch * time) + 0.25 * np.sin(4 * np.pi * pitch * time)
    # Noise: the log-mel of a pure tone is all but constant.
    noise = np.random.default_rng(pitch).standard_normal(len(time))
    return (tone + 0.01 * noise).astype(np.float32)[np.newaxis]


def _demo_clips(count: int, suffixes: tuple[str, ...], seed: int) -> Iterator[Tone]:
    kinds = [(pitch, move) for pitch in PITCHES for move in MOVES]
    for index in range(count):
        # Numbers without a common factor, so that formats, rates and words mix in every way.
        pitch, move = kinds[index % len(kinds)]
        rate = DEMO_RATES[index % len(DEMO_RATES)]
        suffix = suffixes[index // 2 % len(suffixes)]
        channels = 1 + index % 2
        name = f"clips/{index:03d}-{pitch}-{move}-{rate}-{channels}ch.{suffix}"
        waveform = _glide(PITCHES[pitch], MOVES[move], rate, channels, [seed, index])
        yield Tone(name, f"a {pitch} tone, {move}", rate, waveform)


def _glide(pitch: float, octaves: float, rate: int, channels: int, seed: list[int]) -> FloatArray:
    random = np.random.default_rng(seed)
    samples = round(random.uniform(1.0, 3.0) * rate)
    moment = np.linspace(0.0, 1.0, samples)
    phase = 2 * np.pi * np.cumsum(pitch * 2.0 ** (octaves * moment)) / rate
    fade = np.minimum(1.0, 20 * np.minimum(moment, 1 - moment))
    shifts = random.uniform(0, 2 * np.pi, (channels, 1))
    noise = random.standard_normal((channels, samples))
    tone = 0.4 * np.sin(phase + shifts) + 0.2 * np.sin(2 * phase)
    waveform: FloatArray = (fade * tone + 0.01 * noise).astype(np.float32)
    return waveform


def _write(
    folder: Path,
    clips: Iterable[Tone],
    save_clip: Callable[[Path, Tone], None],
    on_clip: Callable[[int], object] | None = None,
) -> Path:
    rows = []
    for clip in clips:
        path = folder / clip.name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_clip(path, clip)
        rows.append(json.dumps({"wav": clip.name, "text": clip.text, "sr": clip.sample_rate}))
        if on_clip:
            on_clip(len(rows))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return manifest


def _save(path: Path, clip: Tone) -> None:
    save(path, clip.waveform, clip.sample_rate)


def _save_mp3(path: Path, clip: Tone, encoder: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        wav = save(Path(scratch) / "clip.wav", clip.waveform, clip.sample_rate)
        subprocess.run([*encoder, str(wav), str(path)], check=True, stdin=subprocess.DEVNULL)

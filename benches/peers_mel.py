"""Whisper's log-mel features, of waveforms and straight from files, against the peers."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Annotated, TypeAlias

import harness
import librosa
import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import torch
import typer
from clips import Clip
from rich.console import Console
from rich.progress import track
from torchcodec.decoders import AudioDecoder
from transformers import WhisperFeatureExtractor

import ossicle
from ossicle import WhisperFeatures

FloatArray: TypeAlias = npt.NDArray[np.float32]
# (clips, n_mels, seconds to pad to) -> (B, n_mels, frames)
Extract: TypeAlias = Callable[[list[FloatArray], int, float], FloatArray]
# (paths, n_mels) -> (B, n_mels, 3000)
LoadAll: TypeAlias = Callable[[list[str], int], FloatArray]

RATE = 16_000
PACKAGES = (
    "ossicle", "numpy", "transformers", "torch", "librosa", "soundfile", "soxr", "torchcodec",
)  # fmt: skip
METHOD = """\
Log-mel features as Whisper takes them, float32 in a NumPy array, of mono clips at 16 kHz in memory
(noise with the loudness of speech), padded or cut to the length that is named. One thread on one
processor, garbage collector off, contestants interleaved in an order shuffled for each round.
Ratio: processor time of the peer / ours, the median of the rounds' own ratios; above 1 we are
faster. Milliseconds: our fastest call. ours: log_mel_batch; WhisperFeatures: the drop-in, with what
its interface costs; HF-torch and HF-numpy: WhisperFeatureExtractor with and without PyTorch;
torch.stft: openai-whisper's few lines; librosa: its melspectrogram. fused: load_features of files
against files decoded by torchcodec, or soundfile and soxr HQ, and HF-torch. No one is timed whose
features differ from HF-numpy's by more than 1e-4, or of files, where resamplers differ, by more
than 0.05 RMS.""".replace("\n", " ")
# Of what is timed: HF's own path through PyTorch is 4e-5 off.
_TOLERANCE, _RESAMPLED_TOLERANCE_RMS = 1e-4, 0.05
# Seconds of each clip, seconds to pad to.
SHAPES = (
    ("30 s", [30.0], 30.0),
    ("5 s padded to 30 s", [5.0], 30.0),
    ("10 s", [10.0], 10.0),
    ("8 of 2 to 30 s, padded", [2.0, 4.0, 6.0, 8.0, 12.0, 18.0, 24.0, 30.0], 30.0),
)
FILES = 16


@cache
def _extractor(kind: type[WhisperFeatureExtractor], n_mels: int) -> WhisperFeatureExtractor:
    return kind(n_mels)


class WithoutTorch(WhisperFeatureExtractor):
    """Hugging Face's extractor as it is where PyTorch is not installed."""

    def _torch_extract_fbank_features(self, waveform, device="cpu"):
        return self._np_extract_fbank_features(waveform, device)


def ours(clips: list[FloatArray], n_mels: int, seconds: float) -> FloatArray:
    return ossicle.log_mel_batch(clips, n_mels=n_mels, pad_to_seconds=seconds)


def _extract(
    kind: type[WhisperFeatureExtractor], clips: list[FloatArray], n_mels: int, seconds: float
) -> FloatArray:
    extractor, length = _extractor(kind, n_mels), round(seconds * RATE)
    found = extractor(clips, sampling_rate=RATE, max_length=length, return_tensors="np")
    return found["input_features"]


@cache
def _whispers_tables(n_mels: int) -> tuple[torch.Tensor, torch.Tensor]:
    filters = torch.from_numpy(librosa.filters.mel(sr=RATE, n_fft=400, n_mels=n_mels))
    return filters, torch.hann_window(400)


def with_torch_stft(clips: list[FloatArray], n_mels: int, seconds: float) -> FloatArray:
    filters, window = _whispers_tables(n_mels)
    waveforms = torch.zeros(len(clips), round(seconds * RATE))
    for row, clip in zip(waveforms, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)[: len(row)]
    spectrum = torch.stft(waveforms, 400, 160, window=window, return_complex=True)
    logs = (filters @ spectrum[..., :-1].abs().square()).clamp_(min=1e-10).log10_()
    floor = logs.amax(dim=(1, 2), keepdim=True) - 8
    return logs.maximum(floor).add_(4).div_(4).numpy()


def with_librosa(clips: list[FloatArray], n_mels: int, seconds: float) -> FloatArray:
    length = round(seconds * RATE)
    rows = []
    for clip in clips:
        waveform = librosa.util.fix_length(clip, size=length)
        power = librosa.feature.melspectrogram(
            y=waveform, sr=RATE, n_fft=400, hop_length=160, n_mels=n_mels, pad_mode="reflect"
        )
        logs = np.log10(np.maximum(power[:, :-1], 1e-10))
        rows.append((np.maximum(logs, logs.max() - 8) + 4) / 4)
    return np.stack(rows)


PEERS: dict[str, Extract] = {
    "WhisperFeatures": partial(_extract, WhisperFeatures),
    "HF-torch": partial(_extract, WhisperFeatureExtractor),
    "HF-numpy": partial(_extract, WithoutTorch),
    "torch.stft": with_torch_stft,
    "librosa": with_librosa,
}


def load_with_ours(paths: list[str], n_mels: int) -> FloatArray:
    return ossicle.load_features(paths, n_mels=n_mels).input_features


def load_with_torchcodec(paths: list[str], n_mels: int) -> FloatArray:
    decoders = [AudioDecoder(path, num_channels=1, sample_rate=RATE) for path in paths]
    clips = [decoder.get_all_samples().data[0].numpy() for decoder in decoders]
    return _extract(WhisperFeatureExtractor, clips, n_mels, 30.0)


def load_with_soundfile(paths: list[str], n_mels: int) -> FloatArray:
    clips = []
    for path in paths:
        waveform, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = waveform[:, 0] if waveform.shape[1] == 1 else waveform.mean(axis=1)
        clips.append(mono if rate == RATE else soxr.resample(mono, rate, RATE))
    return _extract(WhisperFeatureExtractor, clips, n_mels, 30.0)


FILE_PEERS: dict[str, LoadAll] = {
    "torchcodec+HF": load_with_torchcodec,
    "soundfile+HF": load_with_soundfile,
}
ENCODERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "wav": ("wav", ("-c:a", "pcm_s16le")),
    "flac": ("flac", ("-c:a", "flac")),
    "mp3": ("mp3", ("-c:a", "libmp3lame", "-b:a", "128k")),
}


def objection(theirs: FloatArray, reference: FloatArray) -> str | None:
    """Why a peer's features are not the same work; None when they are."""
    if theirs.shape != reference.shape or theirs.dtype != np.float32:
        return f"gives {theirs.dtype} {theirs.shape} instead of {reference.shape}"
    error = float(np.abs(theirs - reference).max())
    return None if error <= _TOLERANCE else f"differs by {error:.1e} from HF-numpy"


def objection_to_files(theirs: FloatArray, reference: FloatArray) -> str | None:
    if theirs.shape != reference.shape or theirs.dtype != np.float32:
        return f"gives {theirs.dtype} {theirs.shape} instead of {reference.shape}"
    error = float(np.sqrt(np.mean(np.square(theirs - reference, dtype=np.float64))))
    return None if error <= _RESAMPLED_TOLERANCE_RMS else f"differs by {error:.2f} RMS"


def measure(
    name: str, contestants: dict[str, Callable[[], FloatArray]], against: str, rounds: int
) -> harness.Row:
    """Races everyone whose features are those of the contestant ``against``."""
    row = harness.Row(name)
    check = objection if against in PEERS else objection_to_files
    reference = contestants[against]()
    racing = {}
    for peer, work in contestants.items():
        try:
            reason = check(work(), reference)
        except Exception as error:  # a peer may fail with anything: that is its note
            reason = harness.reason(error)
        if reason is None:
            racing[peer] = work
        elif peer == harness.OURS:
            raise RuntimeError(f"{name}: ours {reason}")
        else:
            row.missing[peer] = reason
    return harness.race(row, racing, rounds)


def speech(seconds: float, seed: int) -> FloatArray:
    """Noise whose loudness changes as that of speech does."""
    samples = round(seconds * RATE)
    loudness = np.clip(np.sin(np.arange(samples) * 2.3 / RATE) + 0.6, 0.01, None)
    noise = np.random.default_rng(seed).standard_normal(samples)
    return (0.1 * loudness * noise).astype(np.float32)


def waveform_rows(rounds: int, bands: tuple[int, ...]) -> list[harness.Row]:
    rows = []
    jobs = [(shape, n_mels) for shape in SHAPES for n_mels in bands]
    for (name, lengths, seconds), n_mels in track(jobs, "waveforms", transient=True):
        clips = [speech(length, seed) for seed, length in enumerate(lengths)]
        everyone = {harness.OURS: ours, **PEERS}
        contestants = {
            peer: partial(extract, clips, n_mels, seconds) for peer, extract in everyone.items()
        }
        rows.append(measure(f"{name}, {n_mels} mels", contestants, "HF-numpy", rounds))
    return rows


def file_rows(rounds: int, n_mels: int = 80) -> list[harness.Row]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        jobs = [(kind, rate) for kind in ENCODERS for rate in (RATE, 44_100)]
        for kind, rate in track(jobs, "files", transient=True):
            suffix, encoder = ENCODERS[kind]
            lengths = [1.0 + seconds for seconds in range(FILES)]
            clips = [Clip(kind, suffix, length, rate, 1, encoder) for length in lengths]
            paths = [str(clip.write(Path(folder))) for clip in clips]
            everyone = {harness.OURS: load_with_ours, **FILE_PEERS}
            contestants = {peer: partial(load, paths, n_mels) for peer, load in everyone.items()}
            name = f"fused, {FILES} {kind} of 1 to {FILES} s, {rate} Hz"
            rows.append(measure(name, contestants, "soundfile+HF", rounds))
    return rows


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 15,
    quick: Annotated[
        bool, typer.Option("--quick", help="3 rounds, 80 mels, no record: does it work?")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """Log-mel features: ours against Hugging Face, torch.stft and librosa; and from files.

    For example: `peers.py mel` (with a record), `peers.py mel --rounds 31 --no-record`,
    `peers.py mel --quick`.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
    rounds = 3 if quick else rounds
    rows = waveform_rows(rounds, (80,) if quick else (80, 128)) + file_rows(rounds)
    peers = [*PEERS, *FILE_PEERS]
    harness.show("mel", rows, peers, console)
    if write and not quick:
        for file in harness.record("mel", rows, peers, facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")

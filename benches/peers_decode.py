"""Whole files to mono float32, at their own rate and at 16 kHz, against the peers."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import harness
import librosa
import miniaudio
import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import spdl.io
import sphn
import typer
from clips import Clip
from rich.console import Console
from rich.progress import Progress
from torchcodec.decoders import AudioDecoder, WavDecoder

import ossicle

Waveform: TypeAlias = npt.NDArray[np.float32]
# (path, the file's rate, the rate that is wanted) -> (samples,)
Contestant: TypeAlias = Callable[[str, int, int], Waveform]

PACKAGES = (
    "ossicle", "numpy", "soundfile", "soxr", "torch", "torchcodec", "librosa", "miniaudio", "sphn",
    "spdl-io", "imageio-ffmpeg",
)  # fmt: skip
METHOD = """\
Whole files in the page cache to mono float32 in a NumPy array, from a path, at the native rate and
at 16 kHz. One thread on one processor, garbage collector off, contestants interleaved in an order
shuffled for each round. Ratio: processor time of the peer and its child processes / ours, the
median of the rounds' own ratios; above 1 we are faster. Milliseconds: our fastest call. soundfile,
miniaudio, torchcodec-wav (its WavDecoder) and SPDL-wav (its load_wav) resample with soxr HQ, as
librosa does. No one is timed whose samples differ from ours in number or content: compared up to a
gain (FFmpeg's mono mix is louder by the root of 2), up to the encoder delay and padding that some
leave in, and after resampling up to 0.9 of the Nyquist frequency. Each file is decoded again and
again: kept plans and Vorbis code books are warm, ours and the peers'.""".replace("\n", " ")
# RMS of the difference / RMS of the signal: lossy decoders round and dither in their own ways, and
# resamplers are not all flat.
_TOLERANCE = {"native": 2e-3, "resampled": 1e-2}
# FFmpeg's own decoder of Opus rounds angles otherwise than libopus, which ours follows.
_OPUS_TOLERANCE = 3e-2
# Its decoder of AMR computes with floats, where the reference has 16 bits.
_AMR_TOLERANCE = 1e-1
# Frames that some peers leave in at either end.
_SLACK_FRAMES = {"mp3": 3 * 1152, "aac": 3 * 1024, "vorbis": 1024, "opus": 960} | {
    "ts-aac": 3 * 1024, "ts-mp3": 3 * 1152, "avi-mp3": 3 * 1152
}  # fmt: skip


def ours(path: str, rate: int, wanted: int) -> Waveform:
    return ossicle.load(path, None if rate == wanted else wanted)[0]


def with_soundfile(path: str, rate: int, wanted: int) -> Waveform:
    waveform, _ = soundfile.read(path, dtype="float32", always_2d=True)
    mono = waveform[:, 0] if waveform.shape[1] == 1 else waveform.mean(axis=1)
    return mono if rate == wanted else soxr.resample(mono, rate, wanted)


def with_torchcodec(path: str, rate: int, wanted: int) -> Waveform:
    decoder = AudioDecoder(path, num_channels=1, sample_rate=None if rate == wanted else wanted)
    return decoder.get_all_samples().data[0].numpy()


def with_torchcodec_wav(path: str, rate: int, wanted: int) -> Waveform:
    only_if(path.endswith(".wav"), "WAV only")
    waveform = WavDecoder(path).get_all_samples().data
    mono = waveform[0] if len(waveform) == 1 else waveform.mean(dim=0)
    return mono.numpy() if rate == wanted else soxr.resample(mono.numpy(), rate, wanted)


def with_librosa(path: str, rate: int, wanted: int) -> Waveform:
    return librosa.load(path, sr=None if rate == wanted else wanted, mono=True)[0]


def with_miniaudio(path: str, rate: int, wanted: int) -> Waveform:
    # Its own resampler is linear interpolation: soxr, as one would have to.
    decoded = miniaudio.decode_file(path, miniaudio.SampleFormat.FLOAT32, 1, rate)
    mono = np.frombuffer(decoded.samples, np.float32)
    return mono if rate == wanted else soxr.resample(mono, rate, wanted)


def with_sphn(path: str, rate: int, wanted: int) -> Waveform:
    waveform, _ = sphn.read(path)
    mono = waveform[0] if len(waveform) == 1 else waveform.mean(axis=0)
    return mono if rate == wanted else sphn.resample(mono, rate, wanted)


def with_spdl(path: str, rate: int, wanted: int) -> Waveform:
    rate_filter = None if rate == wanted else wanted
    filters = spdl.io.get_audio_filter_desc(
        sample_rate=rate_filter, num_channels=1, sample_fmt="flt"
    )
    return spdl.io.to_numpy(spdl.io.load_audio(path, filter_desc=filters))[:, 0]


def with_spdl_wav(path: str, rate: int, wanted: int) -> Waveform:
    only_if(path.endswith(".wav"), "16-bit WAV only")
    waveform = np.asarray(spdl.io.load_wav(Path(path).read_bytes()))
    scale = np.float32(1 / 32_768 / waveform.shape[1])
    mono = waveform[:, 0] if waveform.shape[1] == 1 else waveform.sum(axis=1, dtype=np.int32)
    floats = mono.astype(np.float32) * scale
    return floats if rate == wanted else soxr.resample(floats, rate, wanted)


PEERS: dict[str, Contestant] = {
    "soundfile": with_soundfile,
    "torchcodec": with_torchcodec,
    "torchcodec-wav": with_torchcodec_wav,
    "librosa": with_librosa,
    "miniaudio": with_miniaudio,
    "sphn": with_sphn,
    "SPDL": with_spdl,
    "SPDL-wav": with_spdl_wav,
}

_PCM, _FLAC = ("-c:a", "pcm_s16le"), ("-c:a", "flac")
_MP3, _AAC = ("-c:a", "libmp3lame", "-b:a", "128k"), ("-c:a", "aac", "-b:a", "128k")
ENCODERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "wav": ("wav", _PCM),
    "flac": ("flac", _FLAC),
    "mp3": ("mp3", _MP3),
    "vorbis": ("ogg", ("-c:a", "libvorbis", "-q:a", "4")),
    "aac": ("m4a", _AAC),
    "opus": ("opus", ("-c:a", "libopus", "-b:a", "64k")),
    "alac": ("m4a", ("-c:a", "alac")),
    "aiff": ("aiff", ("-c:a", "pcm_s16be")),
    "amr": ("amr", ("-c:a", "libopencore_amrnb", "-b:a", "12.2k")),
    "ts-aac": ("ts", _AAC),
    "ts-mp3": ("ts", _MP3),
    "avi": ("avi", _PCM),
    "avi-mp3": ("avi", _MP3),
}
# Seconds, rate and channels: a song, and what speech corpora hold.
SHAPES = ((120.0, 44_100, 2), (15.0, 16_000, 1), (3.0, 16_000, 1), (1.0, 16_000, 1))
# Opus knows one rate.
_OPUS_SHAPES = ((120.0, 48_000, 2), (15.0, 48_000, 1), (3.0, 48_000, 1))
# Nor does AMR-NB.
_AMR_SHAPES = ((120.0, 8_000, 1), (15.0, 8_000, 1), (3.0, 8_000, 1))
_MORE_SHAPES = ((15.0, 44_100, 2), (3.0, 48_000, 1), (15.0, 22_050, 1), (15.0, 8_000, 1))


def only_if(possible: bool, reason: str) -> None:
    """A contestant that cannot read the file is not timed, and the record says why."""
    if not possible:
        raise NotImplementedError(reason)


def clips(formats: list[str], quick: bool) -> list[Clip]:
    """Every format in every shape; other rates in WAV and FLAC, where resampling weighs most."""
    found = []
    for name in formats:
        shapes = SHAPES + (_MORE_SHAPES if name in ("wav", "flac") else ())
        shapes = {"opus": _OPUS_SHAPES, "amr": _AMR_SHAPES}.get(name, shapes)
        for seconds, rate, channels in shapes:
            length = min(seconds, 10.0) if quick else seconds
            found.append(Clip(name, ENCODERS[name][0], length, rate, channels, ENCODERS[name][1]))
    return list(dict.fromkeys(found))


def objection(clip: Clip, wanted: int, theirs: Waveform, reference: Waveform) -> str | None:
    """Why a peer's output is not the same work as ours; None when it is."""
    if theirs.ndim != 1 or theirs.dtype != np.float32:
        return f"gives {theirs.dtype} of {theirs.ndim} dimensions"
    resampled = wanted != clip.sample_rate
    slack = 2 + _SLACK_FRAMES.get(clip.format, 0) * wanted // clip.sample_rate
    slack += len(reference) // 50 if resampled else 0  # sphn pads to whole blocks
    if abs(len(theirs) - len(reference)) > slack:
        return f"gives {len(theirs)} samples instead of {len(reference)}"
    error = _distance(theirs, reference, slack, pass_band=0.9 if resampled else 1.0)
    within = _TOLERANCE["resampled" if resampled else "native"]
    within = {"opus": _OPUS_TOLERANCE, "amr": _AMR_TOLERANCE}.get(clip.format, within)
    return None if error < within else f"differs by {error:.1%} of the signal's RMS"


def _distance(theirs: Waveform, reference: Waveform, slack: int, pass_band: float) -> float:
    """RMS of the difference / RMS of ours, at the gain and shift at which they agree best."""
    margin = min(slack, len(reference) // 4)
    middle = _below(reference[margin : len(reference) - margin][:200_000], pass_band)
    searched = _below(theirs[: len(middle) + 2 * margin], pass_band)
    size = 1 << (len(searched) + len(middle)).bit_length()
    product = np.fft.rfft(searched, size) * np.fft.rfft(middle, size).conj()
    shifts = len(searched) - len(middle) + 1
    shift = int(np.argmax(np.fft.irfft(product, size)[:shifts]))
    part = searched[shift : shift + len(middle)]
    gain = float(part @ middle / max(part @ part, 1e-9))
    inner = slice(64, -64)  # the ends ring where the pass band was cut
    return _rms((gain * part - middle)[inner]) / max(_rms(middle[inner]), 1e-9)


def _below(samples: Waveform, pass_band: float) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft(samples.astype(np.float64))
    spectrum[round(pass_band * len(spectrum)) :] = 0
    return np.fft.irfft(spectrum, len(samples))


def _rms(samples: npt.NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def measure(clip: Clip, path: Path, wanted: int, rounds: int) -> harness.Row:
    """Races everyone who does the whole work on one file."""
    row = harness.Row(f"{clip.name} -> {'native' if wanted == clip.sample_rate else '16k'}")
    call = partial(partial, path=str(path), rate=clip.sample_rate, wanted=wanted)
    reference = call(ours)()
    racing = {harness.OURS: call(ours)}
    for name, contestant in PEERS.items():
        if reason := _refusal(call(contestant), clip, wanted, reference):
            row.missing[name] = reason
        else:
            racing[name] = call(contestant)
    return harness.race(row, racing, rounds)


def _refusal(
    work: Callable[[], Waveform], clip: Clip, wanted: int, reference: Waveform
) -> str | None:
    try:
        return objection(clip, wanted, work(), reference)
    except Exception as error:  # a peer may fail with anything: that is its note
        return harness.reason(error)


def rates(clip: Clip) -> list[int]:
    return [clip.sample_rate] if clip.sample_rate == 16_000 else [clip.sample_rate, 16_000]


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"A format: {', '.join(ENCODERS)}. May be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 15,
    quick: Annotated[
        bool, typer.Option("--quick", help="10 s at most, 3 rounds, no record: does it work?")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """Whole files to mono float32: ours against soundfile, torchcodec, librosa, miniaudio, ...

    For example: `peers.py decode` (every format, with a record), `peers.py decode --only mp3
    --only aac --rounds 31 --no-record`, `peers.py decode --quick`.
    """
    unknown = set(only or []) - ENCODERS.keys()
    if unknown:
        raise typer.BadParameter(f"no such format: {', '.join(sorted(unknown))}")
    warnings.simplefilter("ignore")  # librosa's fallbacks
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts = {"machine": harness.machine(), "versions": _versions()}
    rows = _race_all(clips(only or list(ENCODERS), quick), 3 if quick else rounds, console)
    harness.show("decode", rows, list(PEERS), console)
    if write and not quick:
        for file in harness.record("decode", rows, list(PEERS), facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")


def _race_all(chosen: list[Clip], rounds: int, console: Console) -> list[harness.Row]:
    rows = []
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as bar:
        task = bar.add_task("decode", total=sum(len(rates(clip)) for clip in chosen))
        for clip in chosen:
            path = clip.write(Path(folder))
            for wanted in rates(clip):
                bar.update(task, description=clip.name)
                rows.append(measure(clip, path, wanted, rounds))
                bar.advance(task)
    return rows


def _versions() -> dict[str, str]:
    ffmpeg = spdl.io.utils.get_ffmpeg_versions()
    libraries = ", ".join(f"{name} {'.'.join(map(str, ffmpeg[name]))}" for name in sorted(ffmpeg))
    return harness.versions(PACKAGES) | {"FFmpeg libraries of the peers": libraries}

"""Five seconds of ten minutes: at the start, at random places and at the end, against the peers."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import harness
import librosa
import miniaudio
import numpy as np
import peers_decode
import soundfile
import spdl.io
import sphn
import typer
from clips import Clip
from peers_decode import PACKAGES, Waveform, objection, only_if
from rich.console import Console
from rich.progress import Progress
from torchcodec.decoders import AudioDecoder, WavDecoder

import ossicle

# (path, the file's rate, where it begins in seconds) -> (samples,)
Contestant: TypeAlias = Callable[[str, int, float], Waveform]

SECONDS, FILE_SECONDS, QUICK_SECONDS = 5.0, 600.0, 30.0
# The same places for everyone, never at a round sample.
RANDOM_PLACES = 4
SHAPES = ((44_100, 2), (16_000, 1))
METHOD = """\
5 s of files of 10 minutes in the page cache to mono float32 in a NumPy array at the native rate,
from a path: at the start, at four random places (the same for everyone, one after the other), and
at the end. One thread on one processor, contestants interleaved. Ratio: processor time of the
peer / ours, the median of the rounds' own ratios; above 1 we are faster. Milliseconds: our
fastest call, divided by the number of places: the same at each place is a cost that does not
depend on the offset. No one is timed whose samples differ from ours in number or content, as in
`decode`.""".replace("\n", " ")


def ours(path: str, rate: int, offset: float) -> Waveform:
    return ossicle.load(path, offset=offset, duration=SECONDS)[0]


def with_soundfile(path: str, rate: int, offset: float) -> Waveform:
    frames, start = round(SECONDS * rate), round(offset * rate)
    waveform, _ = soundfile.read(path, frames, start, dtype="float32", always_2d=True)
    return waveform[:, 0] if waveform.shape[1] == 1 else waveform.mean(axis=1)


def with_torchcodec(path: str, rate: int, offset: float) -> Waveform:
    decoder = AudioDecoder(path, num_channels=1)
    return decoder.get_samples_played_in_range(offset, offset + SECONDS).data[0].numpy()


def with_torchcodec_wav(path: str, rate: int, offset: float) -> Waveform:
    only_if(path.endswith(".wav"), "WAV only")
    waveform = WavDecoder(path).get_samples_played_in_range(offset, offset + SECONDS).data
    return (waveform[0] if len(waveform) == 1 else waveform.mean(dim=0)).numpy()


def with_librosa(path: str, rate: int, offset: float) -> Waveform:
    return librosa.load(path, sr=None, mono=True, offset=offset, duration=SECONDS)[0]


def with_miniaudio(path: str, rate: int, offset: float) -> Waveform:
    kind, start = miniaudio.SampleFormat.FLOAT32, round(offset * rate)
    frames = round(SECONDS * rate)
    stream = miniaudio.stream_file(path, kind, 1, rate, frames, seek_frame=start)
    try:
        return np.frombuffer(next(stream), np.float32)
    finally:
        stream.close()


def with_sphn(path: str, rate: int, offset: float) -> Waveform:
    waveform, _ = sphn.read(path, offset, SECONDS)
    return waveform[0] if len(waveform) == 1 else waveform.mean(axis=0)


def with_spdl(path: str, rate: int, offset: float) -> Waveform:
    filters = spdl.io.get_audio_filter_desc(num_channels=1, sample_fmt="flt")
    window = (offset, offset + SECONDS)
    return spdl.io.to_numpy(spdl.io.load_audio(path, window, filter_desc=filters))[:, 0]


def with_spdl_wav(path: str, rate: int, offset: float) -> Waveform:
    only_if(path.endswith(".wav"), "16-bit WAV only")
    waveform = np.asarray(spdl.io.load_wav(Path(path).read_bytes(), offset, SECONDS))
    scale = np.float32(1 / 32_768 / waveform.shape[1])
    mono = waveform[:, 0] if waveform.shape[1] == 1 else waveform.sum(axis=1, dtype=np.int32)
    return mono.astype(np.float32) * scale


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


def places(seconds: float) -> dict[str, list[float]]:
    """Where ranges of a file of `seconds` begin."""
    room = seconds - SECONDS - 1
    anywhere = np.random.default_rng(5).uniform(1, room, RANDOM_PLACES)
    return {"start": [0.0], "anywhere": [round(float(at), 6) for at in anywhere], "end": [room]}


def clips(formats: Sequence[str], seconds: float) -> list[Clip]:
    found = []
    for name in formats:
        extension, encoder = peers_decode.ENCODERS[name]
        rates = [(48_000, channels) for _, channels in SHAPES] if name == "opus" else SHAPES
        found += [
            Clip(name, extension, seconds, rate, channels, encoder) for rate, channels in rates
        ]
    return found


def _all(contestant: Contestant, path: str, rate: int, offsets: Sequence[float]) -> Waveform:
    for offset in offsets:
        waveform = contestant(path, rate, offset)
    return waveform


def measure(clip: Clip, path: Path, place: str, offsets: list[float], rounds: int) -> harness.Row:
    """Races everyone who gives the samples of each range."""
    row = harness.Row(f"{clip.name}, {place}")
    racing = {harness.OURS: partial(_all, ours, str(path), clip.sample_rate, offsets)}
    for name, contestant in PEERS.items():
        if reason := _refusal(contestant, clip, path, offsets):
            row.missing[name] = reason
        else:
            racing[name] = partial(_all, contestant, str(path), clip.sample_rate, offsets)
    harness.race(row, racing, rounds)
    row.seconds = {name: seconds / len(offsets) for name, seconds in row.seconds.items()}
    return row


def _refusal(contestant: Contestant, clip: Clip, path: Path, offsets: list[float]) -> str | None:
    try:
        for offset in offsets:
            call = (str(path), clip.sample_rate, offset)
            theirs, reference = contestant(*call), ours(*call)
            if reason := objection(clip, clip.sample_rate, theirs, reference):
                return reason
    except Exception as error:  # a peer may fail with anything: that is its note
        return harness.reason(error)
    return None


def main(
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"A format: {', '.join(peers_decode.ENCODERS)}. May be repeated."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 15,
    quick: Annotated[
        bool, typer.Option("--quick", help="30 s instead of 10 minutes, 3 rounds, no record.")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """Five seconds of ten minutes to mono float32: ours against soundfile, torchcodec, ...

    For example: `peers.py range`, `peers.py range --only flac --rounds 31 --no-record`.
    """
    unknown = set(only or []) - peers_decode.ENCODERS.keys()
    if unknown:
        raise typer.BadParameter(f"no such format: {', '.join(sorted(unknown))}")
    warnings.simplefilter("ignore")  # librosa's fallbacks
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
    chosen = clips(only or list(peers_decode.ENCODERS), QUICK_SECONDS if quick else FILE_SECONDS)
    rows = _race_all(chosen, 3 if quick else rounds, console)
    harness.show("range", rows, list(PEERS), console)
    if write and not quick:
        for file in harness.record("range", rows, list(PEERS), facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")


def _race_all(chosen: list[Clip], rounds: int, console: Console) -> list[harness.Row]:
    rows = []
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as bar:
        task = bar.add_task("range", total=len(chosen))
        for clip in chosen:
            path = clip.write(Path(folder))
            bar.update(task, description=clip.name)
            for place, offsets in places(clip.seconds).items():
                rows.append(measure(clip, path, place, offsets, rounds))
            path.unlink()
            bar.advance(task)
    return rows

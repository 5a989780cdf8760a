"""Thirty seconds of a recording of two hours: time by place in the file, memory, and `info`."""

from __future__ import annotations

import datetime
import importlib
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import harness
import imageio_ffmpeg
import numpy as np
import typer
from rich.console import Console
from rich.progress import track

SECONDS, WANTED_RATE = 30.0, 16_000
LENGTHS_SECONDS = {"short": 60, "long": 7_200}
FAR_SECONDS = 5_000.0
MIB = 1 << 20
METHOD = """\
Files of one minute and of two hours of pink noise at 16 kHz mono, in the page cache.
Milliseconds: processor time of reading 30 s at the native rate, one thread on one processor, the
fastest of several calls; the three places take turns. start and far: the time at second 0 and at
second 5,000 of the long file / that at second 0 of the short one: 1 is a cost that does not
depend on the length. info: headers of the long file. Memory: the most that a process held (VmHWM)
which read 30 s of the long file from second 0, resampled to 16 kHz where the contestant can, less
that of one that only imported the library. The bound is 64 MiB + 2 x file + 3 x samples x 4 B.
"-": not read, or not so many samples.""".replace("\n", " ")

# Options of FFmpeg by suffix, and the file that it is made from.
FORMATS: dict[str, tuple[str, str]] = {
    "wav": ("", "-c:a pcm_s16le"),
    "mp3": ("wav", "-c:a libmp3lame -b:a 32k -write_xing 0 -id3v2_version 0"),
    "xing.mp3": ("wav", "-c:a libmp3lame -q:a 6"),
    "ogg": ("wav", "-c:a libvorbis -q:a 0"),
    "opus": ("wav", "-c:a libopus -b:a 16k -application audio"),
    "flac": ("wav", "-c:a flac"),
    "m4a": ("wav", "-c:a aac -b:a 32k"),
    "aac": ("m4a", "-c copy"),
    "frag.m4a": (
        "m4a",
        "-c copy -movflags frag_keyframe+empty_moov+default_base_moof -frag_duration 1000000",
    ),
    "mkv": ("m4a", "-c copy"),
    "webm": ("opus", "-c copy"),
    "alac.m4a": ("wav", "-c:a alac"),
    "aiff": ("wav", "-c:a pcm_s16be"),
    "caf": ("wav", "-c:a alac"),
    "oga": ("flac", "-c copy"),
}


@dataclass
class Contestant:
    """A library: the modules that a user would import, and what is asked of it.

    `read(path, offset, resampled)` gives 30 s as mono float32, at the native rate or at 16 kHz;
    `info(path)` reads the headers. The modules are imported only where they are used, so that
    another library's memory is not counted.
    """

    modules: tuple[str, ...]
    read: Callable[[str, float, bool], Any]
    info: Callable[[str], Any]


def _ours(path: str, offset: float, resampled: bool) -> Any:
    import ossicle

    return ossicle.load(path, WANTED_RATE if resampled else None, offset=offset, duration=SECONDS)[
        0
    ]


def _our_info(path: str) -> Any:
    import ossicle

    return ossicle.info(path)


def _soundfile(path: str, offset: float, resampled: bool) -> Any:
    import soundfile
    import soxr

    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        file.seek(round(offset * rate))
        waveform = file.read(round(SECONDS * rate), dtype="float32")
    return soxr.resample(waveform, rate, WANTED_RATE) if resampled else waveform


def _soundfile_info(path: str) -> Any:
    import soundfile

    return soundfile.info(path)


def _torchcodec(path: str, offset: float, resampled: bool) -> Any:
    from torchcodec.decoders import AudioDecoder

    decoder = AudioDecoder(path, num_channels=1, sample_rate=WANTED_RATE if resampled else None)
    return decoder.get_samples_played_in_range(offset, offset + SECONDS).data[0].numpy()


def _torchcodec_info(path: str) -> Any:
    from torchcodec.decoders import AudioDecoder

    return AudioDecoder(path).metadata


def _miniaudio(path: str, offset: float, resampled: bool) -> Any:
    import miniaudio

    # What it reads of these files has the rate that is wanted.
    frames, start = round(SECONDS * WANTED_RATE), round(offset * WANTED_RATE)
    kind = miniaudio.SampleFormat.FLOAT32
    stream = miniaudio.stream_file(path, kind, 1, WANTED_RATE, frames, seek_frame=start)
    try:
        return np.frombuffer(next(stream), np.float32)
    finally:
        stream.close()


def _miniaudio_info(path: str) -> Any:
    import miniaudio

    return miniaudio.get_file_info(path)


CONTESTANTS = {
    harness.OURS: Contestant(("ossicle",), _ours, _our_info),
    "soundfile": Contestant(("soundfile", "soxr"), _soundfile, _soundfile_info),
    "torchcodec": Contestant(("torch", "torchcodec.decoders"), _torchcodec, _torchcodec_info),
    "miniaudio": Contestant(("miniaudio",), _miniaudio, _miniaudio_info),
}


@dataclass
class Figures:
    """What one contestant took for one format.

    Attributes:
        milliseconds: Processor time of each call, by its name.
        memory_mib: The most memory held, above that of the library alone.
        missing: Why the contestant was not measured.
    """

    milliseconds: dict[str, float] = field(default_factory=dict)
    memory_mib: float = math.nan
    missing: str | None = None

    def ratio(self, place: str) -> float:
        return self.milliseconds[place] / self.milliseconds["short"]


def write_clips(folder: Path, formats: list[str]) -> None:
    """Encodes what is not there yet; two hours of all formats take minutes and 1.4 GB."""
    folder.mkdir(parents=True, exist_ok=True)
    for length in LENGTHS_SECONDS:
        for name in formats:
            _write_clip(folder, length, name)


def clip(folder: Path, length: str, name: str) -> Path:
    return folder / f"{length[0]}.{name}"


def _write_clip(folder: Path, length: str, name: str) -> None:
    path = clip(folder, length, name)
    if path.exists():
        return
    base, options = FORMATS[name]
    noise = f"anoisesrc=d={LENGTHS_SECONDS[length]}:c=pink:r={WANTED_RATE}:a=0.3:s=1"
    source = ["-f", "lavfi", "-i", noise, "-ac", "1"]
    if base:
        _write_clip(folder, length, base)
        source = ["-i", str(clip(folder, length, base))]
    whole = path.with_name(f"part.{path.name}")  # a run that is stopped leaves no half file
    ffmpeg = shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
    command = [ffmpeg, "-nostdin", "-v", "error", "-y", *source, *options.split(), str(whole)]
    subprocess.run(command, check=True)
    whole.rename(path)


def fastest(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds of the fastest call of each, taking turns; two rounds, more in a second each."""
    best = dict.fromkeys(works, math.inf)
    for work in works.values():
        work()  # warm: plans, page cache, lazy imports
    end = time.monotonic() + rounds
    for turn in range(rounds):
        if turn >= 2 and time.monotonic() > end:
            break
        for name, work in works.items():
            start = time.process_time()
            work()
            best[name] = min(best[name], 1e3 * (time.process_time() - start))
    return best


def measure(name: str, folder: Path, form: str, rounds: int) -> Figures:
    """Everything about one contestant and one format."""
    contestant = CONTESTANTS[name]
    short, long = (str(clip(folder, length, form)) for length in LENGTHS_SECONDS)
    works: dict[str, Callable[[], object]] = {
        "short": lambda: contestant.read(short, 0.0, False),
        "start": lambda: contestant.read(long, 0.0, False),
        "far": lambda: contestant.read(long, FAR_SECONDS, False),
        "info": lambda: contestant.info(long),
    }
    try:
        _check_lengths(contestant, short, long)
        return Figures(fastest(works, rounds), memory_mib(name, long))
    except Exception as error:
        return Figures(missing=harness.reason(error))


def _check_lengths(contestant: Contestant, short: str, long: str) -> None:
    """No one is timed for giving less; all give 30 s at the file's rate, 48 kHz for Opus."""
    for path, offset in ((short, 0.0), (long, 0.0), (long, FAR_SECONDS)):
        count = len(contestant.read(path, offset, False))
        wanted = {round(SECONDS * rate) for rate in (WANTED_RATE, 48_000)}
        if count not in wanted:
            raise ValueError(f"gives {count} samples at second {offset:.0f}")


def memory_mib(name: str, path: str) -> float:
    """Peak of a process that reads 30 s of `path`, above that of one that only imports."""
    return (_peak_bytes(name, path) - _peak_bytes(name, "")) / MIB


def _peak_bytes(name: str, path: str) -> int:
    # Here, not there: ru_maxrss of a child counts what its parent held when it was forked.
    script = f"import peers_long; peers_long.print_peak({name!r}, {path!r})"
    command = [sys.executable, "-c", script]
    here = Path(__file__).resolve().parent
    return int(subprocess.run(command, cwd=here, capture_output=True, check=True).stdout)


def print_peak(name: str, path: str) -> None:
    """Run in a process of its own: the most memory that it held, in bytes."""
    for module in CONTESTANTS[name].modules:
        importlib.import_module(module)
    if path:
        CONTESTANTS[name].read(path, 0.0, True)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    [peak] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    print(1024 * int(peak))


def bound_mib(path: Path) -> float:
    """What our memory is promised to stay within."""
    samples = SECONDS * WANTED_RATE * 4
    return 64 + (2 * path.stat().st_size + 3 * samples) / MIB


def table(figures: dict[str, dict[str, Figures]], folder: Path) -> list[list[str]]:
    """One row for each format and contestant, headings first."""
    rows = [["format", "", "30 s, ms", "start", "far", "info, ms", "memory, MiB", "bound, MiB"]]
    for form, by_name in figures.items():
        bound = f"{bound_mib(clip(folder, 'long', form)):.0f}"
        for name, one in by_name.items():
            cells = ["-"] * 5
            if one.missing is None:
                times = one.milliseconds
                cells = [
                    f"{times['short']:.3g}",
                    f"{one.ratio('start'):.2f}",
                    f"{one.ratio('far'):.2f}",
                ]
                cells += [f"{times['info']:.3g}", f"{one.memory_mib:.1f}"]
            rows.append([form, name, *cells, bound if name == harness.OURS else ""])
    return rows


def notes(figures: dict[str, dict[str, Figures]]) -> list[str]:
    """Why contestants are missing, each reason once."""
    found: dict[str, list[str]] = {}
    for form, by_name in figures.items():
        for name, one in by_name.items():
            if one.missing is not None:
                found.setdefault(f"{name}: {one.missing}", []).append(form)
    return [f"{reason} ({', '.join(forms)})" for reason, forms in found.items()]


def record(figures: dict[str, dict[str, Figures]], folder: Path, facts: dict[str, Any]) -> None:
    """Writes `record/<date>-long.md` and `.json`; a later run of the day replaces them."""
    stem = f"{datetime.date.today().isoformat()}-long"
    head, *rows = [f"| {' | '.join(cells)} |" for cells in table(figures, folder)]
    lines = [f"# {stem}", "", METHOD, "", head, "|---|---|" + "---:|" * 6, *rows, ""]
    missing = notes(figures)
    lines += ["Not measured:", "", *[f"- {note}" for note in missing], ""] if missing else []
    lines += ["Machine and versions:", ""]
    lines += [f"- {key}: {fact}" for part in facts.values() for key, fact in part.items()]
    (harness.RECORD / f"{stem}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plain = {
        form: {name: asdict(one) for name, one in by_name.items()}
        for form, by_name in figures.items()
    }
    document = {"subject": "long", "method": METHOD, **facts, "formats": plain}
    text = json.dumps(document, indent=1)
    (harness.RECORD / f"{stem}.json").write_text(text + "\n", encoding="utf-8")


def main(
    only: Annotated[list[str] | None, typer.Option(help="Formats; all by default.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where the files are kept.")] = None,
    rounds: Annotated[int, typer.Option(help="Calls of each, at most so many seconds.")] = 7,
    write: Annotated[bool, typer.Option("--record/--no-record", help="Write record/.")] = True,
) -> None:
    """Thirty seconds of two hours, at the start and far in; memory; headers.

    The first run encodes 1.4 GB into FOLDER (`long` among the temporary files), later ones use it.
    """
    unknown = set(only or []) - FORMATS.keys()
    if unknown:
        raise typer.BadParameter(f"no such format: {', '.join(sorted(unknown))}")
    chosen = only or list(FORMATS)
    folder = folder or Path(tempfile.gettempdir()) / "long"
    write_clips(folder, chosen)
    console = Console(width=None if sys.stdout.isatty() else 150)
    versions = harness.versions(
        ("ossicle", "soundfile", "soxr", "torch", "torchcodec", "miniaudio")
    )
    facts = {"machine": harness.machine(), "versions": versions}
    pairs = [(form, name) for form in chosen for name in CONTESTANTS]
    figures: dict[str, dict[str, Figures]] = {form: {} for form in chosen}
    for form, name in track(pairs, "long", console=console, transient=True):
        figures[form][name] = measure(name, folder, form, rounds)
    for cells in table(figures, folder):
        console.print("".join(f"{cell:>12}" for cell in cells), highlight=False)
    for note in notes(figures):
        console.print(f"- {note}", style="dim", markup=False, highlight=False)
    if write:
        record(figures, folder, facts)

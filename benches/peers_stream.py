"""Batches from shards: our stream beside data loaders, with two threads or two workers each.

    python benches/peers_stream.py [--only flac] [--rounds 5] [--quick] [--no-record]

Each contestant runs in a process of its own, in turns. Peers that are not installed are left out.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

RATE, BATCH, THREADS, SHARDS = 16_000, 16, 2, 2
# Extension, format of libsndfile, its subtype, rate in Hz.
FORMATS = {
    "flac": ("flac", "FLAC", "PCM_16", 44_100),
    "wav": ("wav", "WAV", "PCM_16", 48_000),
    "mp3": ("mp3", "MP3", "MPEG_LAYER_III", 44_100),
    "opus": ("opus", "OGG", "OPUS", 48_000),
}
PACKAGES = (
    "ossicle", "torch", "soundfile", "soxr", "webdataset", "datasets", "lhotse", "torchcodec",
    "spdl-io", "spdl-core", "numpy",
)  # fmt: skip
METHOD = """\
Two shards of clips of 5 to 15 s in stereo, in the page cache, to padded batches of 16 at 16 kHz
mono, two threads or two worker processes each, shuffled where the peer shuffles. Each contestant is
a process of its own, and all take turns in an order shuffled for each round; one pass before those
that are timed. ms a clip: processor time of all its processes, the median over rounds; wall: by the
clock, which other processes spoil; first: seconds from making the loader to the first batch,
imports done; MiB: the proportional set sizes of all its processes in the middle of a pass. Ratio:
theirs / ours (threads), the median of the rounds' own; above 1 we are ahead.""".replace("\n", " ")


def write_shards(folder: Path, formats: list[str], clips: int) -> list[Path]:
    """Shards of clips; the formats take turns."""
    import soundfile

    import ossicle

    noise = np.random.default_rng(0)
    paths = [folder / f"clips-{number}.tar" for number in range(SHARDS)]
    for path in paths:
        with ossicle.ShardWriter(path, overwrite=True) as writer:
            for number in range(clips):
                extension, container, subtype, rate = FORMATS[formats[number % len(formats)]]
                steps = noise.normal(0, 1, (int(noise.uniform(5, 15) * rate), 2)).astype("float32")
                samples = np.cumsum(steps, axis=0)
                samples -= np.linspace(samples[0], samples[-1], len(samples))
                file = io.BytesIO()
                soundfile.write(
                    file, 0.5 * samples / np.abs(samples).max(), rate, subtype, format=container
                )
                key = f"{path.stem}-{number:04}"
                writer.write({"__key__": key, extension: file.getvalue()})
                (folder / f"{key}.{extension}").write_bytes(file.getvalue())
    return paths


def with_soundfile(source: Any) -> npt.NDArray[np.float32]:
    """Mono at `RATE`, by libsndfile and libsoxr."""
    import soundfile
    import soxr

    samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    mono: npt.NDArray[np.float32] = samples.mean(axis=1)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE)


def with_torchcodec(source: Any) -> npt.NDArray[np.float32]:
    """The same by torchcodec."""
    from torchcodec.decoders import AudioDecoder

    decoder = AudioDecoder(source, num_channels=1, sample_rate=RATE)
    waveform: npt.NDArray[np.float32] = decoder.get_all_samples().data[0].numpy()
    return waveform


def padded(clips: list[npt.NDArray[np.float32]]) -> Any:
    """``(B, T)`` as a tensor."""
    import torch

    rows = np.zeros((len(clips), max(map(len, clips))), np.float32)
    for row, clip in zip(rows, clips, strict=True):
        row[: len(clip)] = clip
    return torch.from_numpy(rows)


def _ours(folder: Path, isolation: Any) -> Callable[[], Iterable[Any]]:
    from ossicle.stream import AudioStream, Plan

    plan = Plan(str(folder / "clips-*.tar"), BATCH)
    stream = AudioStream(plan, threads=THREADS, isolation=isolation)
    return lambda: (batch["waveforms"] for batch in stream)


class _Files:
    """A data set of files."""

    def __init__(self, folder: Path, decode: Callable[[str], Any]) -> None:
        self.files = sorted(str(one) for one in folder.iterdir() if one.suffix != ".tar")
        self.files = [one for one in self.files if not one.endswith(".parquet")]
        self.decode = decode

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = self.decode(self.files[index])
        return found


def _loader(folder: Path, decode: Callable[[str], Any]) -> Callable[[], Iterable[Any]]:
    from torch.utils.data import DataLoader

    data: Any = _Files(folder, decode)
    loader = DataLoader(
        data, BATCH, shuffle=True, num_workers=THREADS, collate_fn=padded, persistent_workers=True
    )
    return lambda: loader


def _member(sample: dict[str, Any]) -> npt.NDArray[np.float32]:
    return with_soundfile(io.BytesIO(next(sample[key] for key in FORMATS if key in sample)))


def _webdataset(folder: Path) -> Callable[[], Iterable[Any]]:
    import webdataset
    from torch.utils.data import DataLoader

    paths = sorted(map(str, folder.glob("clips-*.tar")))
    data = webdataset.WebDataset(paths, shardshuffle=False).map(_member)
    data = data.batched(BATCH, collation_fn=padded)
    loader = DataLoader(data, batch_size=None, num_workers=THREADS, persistent_workers=True)
    return lambda: loader


def _huggingface_row(row: dict[str, Any]) -> npt.NDArray[np.float32]:
    audio = next(row[key] for key in FORMATS if row.get(key) is not None)
    data = audio["bytes"] if isinstance(audio, dict) else audio
    return with_soundfile(io.BytesIO(data))


def _huggingface_batch(rows: list[dict[str, Any]]) -> Any:
    return padded([_huggingface_row(row) for row in rows])


def _datasets(folder: Path) -> Callable[[], Iterable[Any]]:
    from datasets import Audio, load_dataset
    from torch.utils.data import DataLoader

    paths = sorted(map(str, folder.glob("clips-*.tar")))
    data: Any = load_dataset("webdataset", data_files=paths, split="train", streaming=True)
    for name in FORMATS:
        if name in (data.features or {}):
            data = data.cast_column(name, Audio(decode=False))
    loader = DataLoader(
        data, BATCH, num_workers=THREADS, collate_fn=_huggingface_batch, persistent_workers=True
    )
    return lambda: loader


def _lhotse(folder: Path) -> Callable[[], Iterable[Any]]:
    from lhotse import CutSet, Recording
    from torch.utils.data import DataLoader

    shar = folder / "shar"
    if not shar.exists():
        files = _Files(folder, str).files
        cuts = CutSet.from_cuts(Recording.from_file(one).to_cut() for one in files)
        half = -(-len(files) // SHARDS)
        cuts.to_shar(shar, fields={"recording": "original"}, shard_size=half)
    cuts = CutSet.from_shar(in_dir=shar, split_for_dataloading=True)

    class Waveforms:
        def __getitem__(self, cut: Any) -> Any:
            return cut.resample(RATE).to_mono(mono_downmix=True).load_audio()[0]

    lazy = cuts.map(lambda cut: cut)

    class Stream:
        def __iter__(self) -> Iterator[Any]:
            return (Waveforms()[cut] for cut in lazy)

    from torch.utils.data import IterableDataset

    class Data(Stream, IterableDataset):  # type: ignore[misc]
        pass

    loader = DataLoader(Data(), BATCH, num_workers=THREADS, collate_fn=padded)
    return lambda: loader


def _spdl(folder: Path) -> Callable[[], Iterable[Any]]:
    import spdl.io
    from spdl.pipeline import PipelineBuilder

    filters = spdl.io.get_audio_filter_desc(sample_rate=RATE, num_channels=1, sample_fmt="flt")

    def decode(payload: bytes) -> Any:
        return spdl.io.to_numpy(spdl.io.load_audio(payload, filter_desc=filters))[:, 0]

    def payloads() -> Iterator[bytes]:
        for path in sorted(folder.glob("clips-*.tar")):
            with path.open("rb") as stream:
                for _, payload in spdl.io.iter_tarfile(stream):
                    yield payload

    def batches() -> Iterator[Any]:
        builder = PipelineBuilder().add_source(payloads())
        builder = builder.pipe(decode, concurrency=THREADS, output_order="input")
        pipeline = builder.aggregate(BATCH).pipe(padded).add_sink().build(num_threads=THREADS)
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()

    return batches


OURS = "ours, threads"
# Name, what must be installed, and what makes a loader: a function of no arguments for a pass.
CONTESTANTS: dict[str, tuple[tuple[str, ...], Callable[[Path], Callable[[], Iterable[Any]]]]] = {
    OURS: ((), partial(_ours, isolation="thread")),
    "ours, process": ((), partial(_ours, isolation="process")),
    "DataLoader + soundfile + soxr": (
        ("torch", "soundfile", "soxr"),
        partial(_loader, decode=with_soundfile),
    ),
    "DataLoader + torchcodec": (("torchcodec",), partial(_loader, decode=with_torchcodec)),
    "webdataset": (("webdataset", "soundfile", "soxr"), _webdataset),
    # Without torchcodec its builder for shards refuses sound, even if nothing is to be decoded.
    "datasets": (("datasets", "torchcodec", "soundfile", "soxr"), _datasets),
    "lhotse shar": (("lhotse",), _lhotse),
    "SPDL": (("spdl",), _spdl),
}


def installed(name: str) -> bool:
    """Whether all that a contestant needs is there."""
    return all(importlib.util.find_spec(one) is not None for one in CONTESTANTS[name][0])


def measure(name: str, folder: Path, passes: int) -> dict[str, float]:
    """In this process: a pass to warm up, and some that are timed."""
    import torch

    # Imports are no matter of a loader: workers are forks, which have these too.
    for package in (*CONTESTANTS[name][0], "ossicle.stream", "polars"):
        importlib.import_module(package)
    torch.set_num_threads(1)
    made = time.perf_counter()
    run = CONTESTANTS[name][1](folder)
    first, clips, mib = 0.0, 0, 0.0
    for batch in run():
        first = first or time.perf_counter() - made
        clips += len(batch)
    before, start = _processor(os.getpid()), time.perf_counter()
    taken = 0
    for _ in range(passes):
        for batch in run():
            taken += len(batch)
            mib = max(mib, _mib(os.getpid())) if 2 * taken > passes * clips and not mib else mib
    wall = (time.perf_counter() - start) / taken
    used = (_processor(os.getpid()) - before) / taken
    return {"first": first, "wall": wall, "processor": used, "mib": mib, "clips": taken}


def _tree(process: int) -> list[int]:
    children = []
    for task in Path(f"/proc/{process}/task").iterdir():
        children += [int(one) for one in (task / "children").read_text().split()]
    return [process, *(one for child in children for one in _tree(child))]


def _processor(process: int) -> float:
    """Seconds of a process and of those under it that live."""
    ticks = 0
    for one in _tree(process):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ticks / os.sysconf("SC_CLK_TCK") + ended.ru_utime + ended.ru_stime


def _mib(process: int) -> float:
    kib = 0
    for one in _tree(process):
        rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        kib += int(rollup.partition("\nPss:")[2].split()[0])
    return kib / 1024


def main(
    only: Annotated[list[str] | None, typer.Option(help="flac, wav, mp3, opus or mix.")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    clips: Annotated[int, typer.Option(min=BATCH, help="Of each shard.")] = 96,
    quick: Annotated[bool, typer.Option("--quick", help="Does it work? No record.")] = False,
    record: bool = True,
) -> None:
    """Batches of 16 from shards, beside data loaders."""
    wanted = {**{name: [name] for name in FORMATS}, "mix": list(FORMATS)}
    if hasattr(os, "sched_setaffinity"):  # `peers.py` has left this process one processor
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    names = [name for name in CONTESTANTS if installed(name)]
    rounds, clips = (1, 16) if quick else (rounds, clips)
    tables = {}
    for subject in only or list(wanted):
        with tempfile.TemporaryDirectory() as folder:
            write_shards(Path(folder), wanted[subject], clips)
            tables[subject] = _race(names, Path(folder), rounds)
        print(_table(subject, tables[subject]), flush=True)
    if record and not quick:
        _record(tables)


def _race(names: list[str], folder: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    order, shuffle = list(names), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            command = [sys.executable, __file__, "--measure", name, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    return found


def _table(subject: str, found: dict[str, list[dict[str, float]]]) -> str:
    def median(name: str, fact: str) -> float:
        return statistics.median(one[fact] for one in found[name])

    def ratio(name: str, fact: str) -> float:
        pairs = zip(found[name], found[OURS], strict=True)
        return statistics.median(peer[fact] / ours[fact] for peer, ours in pairs)

    heads = "| | ms a clip | ratio | wall ms | ratio | first s | ratio | MiB | ratio |"
    lines = [f"## {subject}", "", heads, "|---|" + "---:|" * 8]
    for name in found:
        cells = []
        for fact, scale in (("processor", 1e3), ("wall", 1e3), ("first", 1.0), ("mib", 1.0)):
            cells += [f"{scale * median(name, fact):.3g}", f"{ratio(name, fact):.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _record(tables: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    import datetime

    import harness

    facts = {**harness.machine(), **harness.versions(PACKAGES)}
    body = "\n".join(_table(subject, found) for subject, found in tables.items())
    listed = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    stem = harness.RECORD / f"{datetime.date.today().isoformat()}-stream"
    text = f"# {stem.name}\n\n{METHOD}\n\n{body}\nMachine and versions:\n\n{listed}\n"
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    document = {"subject": "stream", "method": METHOD, **facts, "rounds": tables}
    stem.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]), passes=2)))
    else:
        typer.run(main)

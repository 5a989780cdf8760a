"""From shards to decoded batches: two threads of ours against two threads or workers of others."""

from __future__ import annotations

import io
import multiprocessing
import random
import statistics
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

import harness
import numpy as np
import numpy.typing as npt
import peers_decode
import soundfile
import soxr
import spdl.io
import torch
import webdataset
from clips import Clip
from peers_batch import all_processors
from rich.progress import track
from spdl.pipeline import PipelineBuilder
from torch.utils.data import DataLoader
from torchcodec.decoders import AudioDecoder, WavDecoder

import ossicle

Waveform: TypeAlias = npt.NDArray[np.float32]
# payload -> (samples,) at RATE
Decode: TypeAlias = Callable[[bytes], Waveform]
# A pass over the shards, as arrays (BATCH, T)
Loader: TypeAlias = Callable[[], Iterable[Waveform]]

RATE, BATCH, THREADS, SHARDS, SUFFIX = 16_000, 16, 2, 2, "audio"
# Clips of a shard; they repeat themselves, the files are another for each.
CLIPS, DIFFERENT = 32, 16
MOST_ROUNDS = 9
FORMATS = (
    ("wav", 44_100, 2),
    ("wav", 16_000, 1),
    ("flac", 44_100, 2),
    ("flac", 16_000, 1),
    ("mp3", 44_100, 2),
)


def with_soundfile(payload: bytes) -> Waveform:
    waveform, rate = soundfile.read(io.BytesIO(payload), dtype="float32", always_2d=True)
    mono = waveform[:, 0] if waveform.shape[1] == 1 else waveform.mean(axis=1)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE)


def with_torchcodec(payload: bytes) -> Waveform:
    decoder = AudioDecoder(payload, num_channels=1, sample_rate=RATE)
    return decoder.get_all_samples().data[0].numpy()


def with_torchcodec_wav(payload: bytes) -> Waveform:
    samples = WavDecoder(payload).get_all_samples()
    mono = samples.data[0] if len(samples.data) == 1 else samples.data.mean(dim=0)
    rate = samples.sample_rate
    return mono.numpy() if rate == RATE else soxr.resample(mono.numpy(), rate, RATE)


def with_spdl(payload: bytes) -> Waveform:
    filters = spdl.io.get_audio_filter_desc(sample_rate=RATE, num_channels=1, sample_fmt="flt")
    return spdl.io.to_numpy(spdl.io.load_audio(payload, filter_desc=filters))[:, 0]


def with_spdl_wav(payload: bytes) -> Waveform:
    rate = spdl.io.parse_wav(payload).sample_rate
    waveform = np.asarray(spdl.io.load_wav(payload))
    scale = np.float32(1 / 32_768 / waveform.shape[1])
    mono = waveform[:, 0] if waveform.shape[1] == 1 else waveform.sum(axis=1, dtype=np.int32)
    floats = mono.astype(np.float32) * scale
    return floats if rate == RATE else soxr.resample(floats, rate, RATE)


def padded(waveforms: Sequence[Waveform]) -> Waveform:
    rows = np.zeros((len(waveforms), max(map(len, waveforms))), np.float32)
    for row, waveform in zip(rows, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return rows


def ours(paths: Sequence[str]) -> Iterator[Waveform]:
    for path in paths:
        with ossicle.Shard(path) as shard:
            for start in range(0, len(shard), BATCH):
                numbers = range(start, min(start + BATCH, len(shard)))
                members = [shard.member(number, SUFFIX) for number in numbers]
                yield ossicle.load_batch(members, RATE, threads=THREADS).waveforms


class InThreads:
    """webdataset in this thread, a pool that decodes; the next batch is at work already."""

    def __init__(self, decode: Decode, paths: Sequence[str]) -> None:
        self.decode, self.paths, self.pool = decode, list(paths), ThreadPoolExecutor(THREADS)

    def __call__(self) -> Iterator[Waveform]:
        samples = iter(webdataset.WebDataset(self.paths, shardshuffle=False))
        ahead = self._start(samples)
        while ahead:
            futures, ahead = ahead, self._start(samples)
            yield padded([future.result() for future in futures])

    def _start(self, samples: Iterator[dict[str, Any]]) -> list[Future[Waveform]]:
        payloads = map(itemgetter(SUFFIX), islice(samples, BATCH))
        return [self.pool.submit(self.decode, payload) for payload in payloads]


def _decoded(decode: Decode, sample: dict[str, Any]) -> Waveform:
    return decode(sample[SUFFIX])


def _collated(waveforms: Sequence[Waveform]) -> torch.Tensor:
    return torch.from_numpy(padded(waveforms))


class InWorkers:
    """webdataset in the workers of a DataLoader, which live on from pass to pass."""

    def __init__(self, decode: Decode, paths: Sequence[str]) -> None:
        self.decode = decode
        data = webdataset.WebDataset(list(paths), shardshuffle=False)
        data = data.map(partial(_decoded, decode)).batched(BATCH, collation_fn=_collated)
        self.loader = DataLoader(
            data, batch_size=None, num_workers=THREADS, persistent_workers=True
        )

    def __call__(self) -> Iterator[Waveform]:
        for batch in self.loader:
            yield batch.numpy()


class InPipeline:
    """SPDL's reader of tars and its pipeline."""

    def __init__(self, decode: Decode, paths: Sequence[str]) -> None:
        self.decode, self.paths = decode, paths

    def __call__(self) -> Iterator[Waveform]:
        builder = PipelineBuilder().add_source(self._payloads())
        builder = builder.pipe(self.decode, concurrency=THREADS, output_order="input")
        builder = builder.aggregate(BATCH).pipe(padded).add_sink()
        pipeline = builder.build(num_threads=THREADS)
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()

    def _payloads(self) -> Iterator[bytes]:
        for path in self.paths:
            with Path(path).open("rb") as stream:
                yield from map(itemgetter(1), spdl.io.iter_tarfile(stream))


PEERS = ("wds + soundfile", "wds + torchcodec", "SPDL pipeline")
# How a peer may do it; the fastest of its ways counts. Workers come first: they are forks of this
# process, from before it has threads.
WAYS: dict[tuple[str, str], tuple[type[InWorkers | InThreads | InPipeline], Decode]] = {
    ("wds + soundfile", "workers"): (InWorkers, with_soundfile),
    ("wds + torchcodec", "workers"): (InWorkers, with_torchcodec),
    ("wds + torchcodec", "workers, WavDecoder"): (InWorkers, with_torchcodec_wav),
    ("wds + soundfile", "threads"): (InThreads, with_soundfile),
    ("wds + torchcodec", "threads"): (InThreads, with_torchcodec),
    ("wds + torchcodec", "threads, WavDecoder"): (InThreads, with_torchcodec_wav),
    ("SPDL pipeline", "threads"): (InPipeline, with_spdl),
    ("SPDL pipeline", "threads, load_wav"): (InPipeline, with_spdl_wav),
}


def write_shards(folder: Path, clips: Sequence[Clip]) -> list[str]:
    """Two shards, always at the same paths, of the clips' files under ever new names."""
    files = [clip.write(folder) for clip in clips]
    paths = []
    for number in range(SHARDS):
        path = folder / f"decode-{number}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for index in range(CLIPS):
                file = files[(index + number) % len(files)]
                tar.add(file, f"{number}-{index:04}.{SUFFIX}")
        paths.append(str(path))
    return paths


def clips_of(name: str, rate: int, channels: int, count: int) -> list[Clip]:
    """Of 5 to 15 s."""
    extension, encoder = peers_decode.ENCODERS[name]
    lengths = np.linspace(5, 15, count).round(1)
    return [Clip(name, extension, float(one), rate, channels, encoder) for one in lengths]


def objection(clip: Clip, file: Path, decode: Decode) -> str | None:
    reference = ossicle.load(str(file), RATE)[0]
    theirs = decode(file.read_bytes())
    return peers_decode.objection(clip, RATE, theirs, reference)


def _processor_seconds() -> float:
    """Of this process and of its children that live, in all of their threads."""
    # The clock of another process: clock_getcpuclockid(3) makes its number thus.
    children = [(~child.pid << 3) | 2 for child in multiprocessing.active_children() if child.pid]
    return time.process_time() + sum(time.clock_gettime(clock) for clock in children)


def _pass(loader: Loader) -> tuple[float, float]:
    """`(wall, CPU)` seconds from shards to the last batch; each is freed by the next one."""
    wall, processor = time.perf_counter(), _processor_seconds()
    count = sum(len(batch) for batch in loader())
    took = time.perf_counter() - wall, _processor_seconds() - processor
    if count != SHARDS * CLIPS:
        raise RuntimeError(f"{count} clips instead of {SHARDS * CLIPS}")
    return took


def race(
    loaders: dict[tuple[str, str], Loader], rounds: int
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in loaders}
    order, shuffle = list(loaders), random.Random(0).shuffle
    for turn in range(rounds + 1):
        shuffle(order)
        for key in order:
            took = _pass(loaders[key])
            if turn:  # the first one warms up
                taken[key].append(took)
    return taken


def objections(clip: Clip, file: Path) -> dict[tuple[str, str], str]:
    """Who does not do the whole work, and why."""
    found = {}
    for key, (_, decode) in WAYS.items():
        try:
            reason = objection(clip, file, decode)
        except Exception as error:  # a peer may fail with anything: that is its note
            reason = harness.reason(error)
        if reason is not None:
            found[key] = reason
    return found


def rows_of(
    name: str, taken: dict[tuple[str, str], list[tuple[float, float]]], facts: dict[str, str]
) -> list[harness.Row]:
    """By the wall and by the processor; of each peer its best way."""
    rows = []
    for clock, kind in enumerate(("wall", "CPU")):
        own = [times[clock] for times in taken[harness.OURS, ""]]
        row = harness.Row(f"{name}, {kind}", rounds=len(own))
        row.seconds[harness.OURS] = statistics.median(own)
        for (peer, way), rounds in taken.items():
            theirs = [times[clock] for times in rounds]
            ratio = statistics.median(one / mine for one, mine in zip(theirs, own, strict=True))
            if peer != harness.OURS and ratio < row.ratios.get(peer, np.inf):
                row.ratios[peer], row.seconds[peer] = ratio, statistics.median(theirs)
                facts[f"{row.name}, best way of {peer}"] = way
        rows.append(row)
    return rows


def rows(folder: Path, rounds: int, *, quick: bool, facts: dict[str, Any]) -> list[harness.Row]:
    """Each format from two shards to the last batch; what is to be told beside goes to `facts`."""
    made, ways = [], {}
    with all_processors():
        shapes = [clips_of(*shape, 2 if quick else DIFFERENT) for shape in FORMATS]
        paths = write_shards(folder, shapes[0])
        everyone: dict[tuple[str, str], Loader] = {}
        for key, (kind, decode) in WAYS.items():
            everyone[key] = kind(decode, paths)
            if kind is InWorkers:
                _pass(everyone[key])
        everyone[harness.OURS, ""] = partial(ours, paths)
        for clips in track(shapes, "decoded batches", transient=True):
            write_shards(folder, clips)
            missing = objections(clips[0], clips[0].write(folder))
            racing = {key: loader for key, loader in everyone.items() if key not in missing}
            taken = race(racing, min(rounds, MOST_ROUNDS))
            found = rows_of(f"{_name(clips[0])} to batches of {BATCH}", taken, ways)
            for row in found:
                row.missing = {f"{peer}, {way}": why for (peer, way), why in missing.items()}
            made += found
    facts["decoded batches"] = ways
    return made


def _name(clip: Clip) -> str:
    return clip.name.replace(f"{clip.seconds:g} s ", "")

"""Where the time of a stream goes: stages of clips, threads, waits; and what would help."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ossicle import audio
from ossicle.audio import ShardMember
from ossicle.audio.arguments import default_threads
from ossicle.audio.resampling import resample
from ossicle.data.recordings import Recording, Samples
from ossicle.errors import AudioError
from ossicle.features.mel import log_mel_spectrogram
from ossicle.stream.decoding import Clip, LogMel, Waveforms
from ossicle.stream.engine import Engine, Work
from ossicle.stream.reading import ReadBatch, Run
from ossicle.stream.trace import Trace

if TYPE_CHECKING:
    from ossicle.faults import Fault
    from ossicle.stream.reading import Reader

__all__ = ["FileFacts", "FormatTimes", "Profile", "profile_stream"]

# Shares of the time: stages of clips, the run that is traced, runs with other numbers of threads.
_STAGES, _RUN, _SCALING = 0.3, 0.35, 0.35
_CLIPS, _SHOWN = 64, 4
_SILENCE = 1e-10


class _Stream(Protocol):
    """What is asked of an `AudioStream`."""

    reader: Reader
    epoch: int
    threads: int
    prefetch_bytes: int

    @property
    def rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...


@dataclass(frozen=True)
class FileFacts:
    """One clip of the sample.

    Attributes:
        id: Of its row.
        file: Of its recording.
        format: Its codec.
        sample_rate: Its own, in Hz.
        channels: Its own.
        seconds: Its length.
        level: The root of its mean square, in dB of full scale.
    """

    id: str
    file: str
    format: str
    sample_rate: int
    channels: int
    seconds: float
    level: float


@dataclass
class FormatTimes:
    """Milliseconds that one thread takes for a clip of a format, by stage; means of the sample.

    Attributes:
        clips: How many were timed.
        read_cold: Its bytes, after the system was asked to forget them.
        read_warm: Its bytes, from memory.
        decode: Samples of all channels, from memory.
        mix: Their mean.
        resample: To the rate that was asked for.
        features: Log-mel, where the stream makes them.
        copy: Into the batch.
    """

    clips: int = 0
    read_cold: float = 0.0
    read_warm: float = 0.0
    decode: float = 0.0
    mix: float = 0.0
    resample: float = 0.0
    features: float = 0.0
    copy: float = 0.0

    def work(self) -> dict[str, float]:
        """What a thread computes for a clip."""
        names = ("read_warm", "decode", "mix", "resample", "features", "copy")
        return {name: getattr(self, name) for name in names}


@dataclass
class Profile:
    """What was measured.

    Attributes:
        source: What the plan calls its sources.
        threads: Of the stream.
        seconds: That the traced run took.
        clips: That it gave.
        batches: That it gave.
        audio_seconds: Of audio in them.
        padding: The share of padding in them, 0 to 1.
        processor_seconds: Of all threads of this process, meanwhile.
        stages: By stage, the seconds of all threads in it.
        busy: By thread, the share of the time that it did not wait.
        first_batch: Seconds until the first batch.
        ready: How many batches were ready whenever one was asked for.
        formats: By codec, the times of a clip.
        scaling: By threads, clips a second.
        step_seconds: What a training step was said to take.
        wait: Seconds that such a step would wait for its batch.
        verdict: One line.
        files: The sample.
        faults: Clips that could not be decoded.
    """

    source: str
    threads: int
    seconds: float = 0.0
    clips: int = 0
    batches: int = 0
    audio_seconds: float = 0.0
    padding: float = 0.0
    processor_seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    first_batch: float = 0.0
    ready: list[int] = field(default_factory=list)
    formats: dict[str, FormatTimes] = field(default_factory=dict)
    scaling: dict[int, float] = field(default_factory=dict)
    step_seconds: float = 0.0
    wait: float = 0.0
    verdict: str = ""
    files: list[FileFacts] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    # For the page alone: waveforms at the stream's rate.
    trace: Trace = field(default_factory=Trace, repr=False)
    waveforms: list[tuple[str, npt.NDArray[np.float32], int]] = field(
        default_factory=list, repr=False
    )

    @property
    def clips_per_second(self) -> float:
        """Of the traced run."""
        return self.clips / self.seconds if self.seconds else 0.0

    @property
    def times(self) -> dict[str, float]:
        """Milliseconds of one thread for a clip by stage, over all formats of the sample."""
        sums: dict[str, float] = defaultdict(float)
        total = sum(one.clips for one in self.formats.values())
        for one in self.formats.values():
            for name, value in one.work().items():
                sums[name] += value * one.clips / total
        return dict(sums)

    def as_dict(self) -> dict[str, Any]:
        """Plain values: all but the spans and the sound."""
        hidden = ("trace", "waveforms")
        facts = {name: value for name, value in vars(self).items() if name not in hidden}
        for name in ("formats", "files", "faults"):
            facts[name] = (
                {key: asdict(one) for key, one in facts[name].items()}
                if isinstance(facts[name], dict)
                else [asdict(one) for one in facts[name]]
            )
        return {**facts, "clips_per_second": self.clips_per_second}

    def write_json(self, path: Path) -> None:
        """Writes `as_dict`."""
        path.write_text(json.dumps(self.as_dict(), indent=1), encoding="utf-8")


def profile_stream(
    stream: _Stream,
    *,
    seconds: float = 20.0,
    step_seconds: float = 0.0,
    progress: Callable[[str, int, int], object] | None = None,
) -> Profile:
    """Measures a stream; see `AudioStream.profile`."""
    reader, tell = replace(stream.reader, pins=False), progress or _ignore
    found = Profile(
        source=", ".join(source.name for source in reader.plan.sources), threads=stream.threads
    )
    tell("stages of clips", 0, 3)
    _time_clips(found, reader, stream.epoch, _STAGES * seconds)
    tell("a run", 1, 3)
    _run(found, reader, stream, _RUN * seconds)
    tell("other numbers of threads", 2, 3)
    _scale(found, reader, stream, _SCALING * seconds)
    tell("other numbers of threads", 3, 3)
    found.step_seconds = step_seconds
    found.wait = max(0.0, found.seconds / max(found.batches, 1) - step_seconds)
    found.verdict = _verdict(found)
    found.faults = list(reader.faults.ledger)
    return found


def _time_clips(found: Profile, reader: Reader, epoch: int, seconds: float) -> None:
    """Each stage by itself, clip by clip, on this thread."""
    sums: dict[str, FormatTimes] = {}
    end = time.perf_counter() + seconds
    for name, recording in islice(_sample(reader, epoch), _CLIPS):
        if time.perf_counter() > end and found.files:
            break
        try:
            facts, times, waveform = _time_clip(reader, name, recording)
        except AudioError:
            continue  # the run enters it
        found.files.append(facts)
        if len(found.waveforms) < _SHOWN:
            rate = reader.decoding.sample_rate
            found.waveforms.append((f"{name}: {facts.format}", waveform, rate))
        kept = sums.setdefault(facts.format, FormatTimes())
        kept.clips += 1
        for stage, value in times.items():
            setattr(kept, stage, getattr(kept, stage) + 1e3 * value)
    for kept in sums.values():
        for stage in ("read_cold", *kept.work()):
            setattr(kept, stage, getattr(kept, stage) / kept.clips)
    found.formats = sums


def _sample(reader: Reader, epoch: int) -> Iterator[tuple[str, Recording]]:
    """Clips in the order of the plan."""
    for number in range(reader.plan.batches(epoch)):
        batch = reader.plan.batch(epoch, number)
        for source, row in zip(batch.source.tolist(), batch.row.tolist(), strict=True):
            own = reader.plan.sources[source]
            yield own.ids([row])[0], own.recordings([row])[0]


def _time_clip(
    reader: Reader, name: str, recording: Recording
) -> tuple[FileFacts, dict[str, float], npt.NDArray[np.float32]]:
    times = dict(_time_reading(recording.source))
    source, rate = _plain(recording.source), reader.decoding.sample_rate
    info = audio.info(source)
    times["decode"], (planes, native) = _timed(lambda: audio.load(source, mono=False))
    both, (mono, _) = _timed(lambda: audio.load(source))
    times["mix"] = max(0.0, both - times["decode"]) if len(planes) > 1 else 0.0
    waveform = mono
    if native != rate:
        times["resample"], waveform = _timed(lambda: resample(mono, native, rate))
    if isinstance(reader.decoding, LogMel):
        bands = reader.decoding.n_mels
        seconds = reader.decoding.pad_to_seconds
        times["features"], _ = _timed(
            lambda: log_mel_spectrogram(waveform, n_mels=bands, pad_to_seconds=seconds)
        )
    times["copy"], _ = _timed(lambda: Waveforms().join([Clip(waveform, len(waveform))]))
    level = 10 * np.log10(float(np.mean(np.square(mono), dtype=np.float64)) + _SILENCE)
    facts = FileFacts(
        name, recording.name, info.codec, native, info.channels, info.duration, float(level)
    )
    return facts, times, waveform


def _time_reading(source: Any) -> Iterator[tuple[str, float]]:
    """The bytes of a file, or of a member of a shard, cold and warm."""
    place = _place_of(source)
    if place is None:
        return
    path, offset, size = place
    file = os.open(path, os.O_RDONLY)
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file, offset, size, os.POSIX_FADV_DONTNEED)
        yield "read_cold", _timed(lambda: os.pread(file, size, offset), 1)[0]
        yield "read_warm", _timed(lambda: os.pread(file, size, offset))[0]
    finally:
        os.close(file)


def _place_of(source: Any) -> tuple[str, int, int] | None:
    if isinstance(source, ShardMember):
        return source.shard, source.offset, source.size
    if isinstance(source, str | os.PathLike):
        return os.fspath(source), 0, Path(source).stat().st_size
    return None


def _plain(source: Any) -> Any:
    if isinstance(source, Samples):
        return {"array": source.array, "sampling_rate": source.sample_rate}
    return source


def _timed(work: Callable[[], Any], times: int = 2) -> tuple[float, Any]:
    """The least of some times, and what the work gives."""
    least, result = float("inf"), None
    for _ in range(times):
        start = time.perf_counter()
        result = work()
        least = min(least, time.perf_counter() - start)
    return least, result


class _Counted(Work):
    """A batch, with what is counted of it."""

    def __init__(self, work: ReadBatch) -> None:
        self._work = work

    def parts(self, number: int) -> Any:
        """Those of the batch."""
        return self._work.parts(number)

    def finish(self) -> None:
        """That of the batch."""
        self._work.finish()
        self.nbytes = self._work.nbytes
        self.lengths = self._work.lengths()

    def give(self) -> npt.NDArray[np.int64]:
        """The batch is made, and its lengths are kept."""
        self._work.give()
        return self.lengths


def _engine(reader: Reader, stream: _Stream, threads: int, trace: Trace | None) -> Engine:
    run = Run(reader, stream.epoch, 0, None, stream.rank, stream.world_size)

    def begin(stop: Any) -> Iterator[Work]:
        return (_Counted(work) for work in run(stop))

    return Engine(begin, threads, stream.prefetch_bytes, trace)


def _run(found: Profile, reader: Reader, stream: _Stream, seconds: float) -> None:
    warm = _engine(reader, stream, stream.threads, None)
    next(warm, None)  # what is imported and opened first is no matter of the data
    warm.close()
    processor, start = time.process_time(), time.perf_counter()
    engine = _engine(reader, stream, stream.threads, found.trace)
    computed = own = 0
    try:
        for lengths in engine:
            now = time.perf_counter() - start
            found.first_batch = found.first_batch or now
            found.batches += 1
            found.clips += len(lengths)
            own += int(lengths.sum())
            computed += int(lengths.max(initial=0)) * len(lengths)
            if now > seconds:
                break
        # Before the threads end: what they have begun is not counted.
        found.seconds = time.perf_counter() - start
        found.processor_seconds = time.process_time() - processor
        found.stages = found.trace.seconds()
        busy = found.trace.busy().items()
        found.busy = {name: took / found.seconds for name, took in busy}
    finally:
        engine.close()
    found.audio_seconds = own / reader.decoding.lengths_per_second
    found.padding = 1 - own / computed if computed else 0.0
    found.ready = [depth for _, depth in found.trace.depths]


def _scale(found: Profile, reader: Reader, stream: _Stream, seconds: float) -> None:
    most = default_threads()
    numbers = sorted({1 << power for power in range(most.bit_length())} | {most, stream.threads})
    numbers = [number for number in numbers if number <= max(most, stream.threads)]
    for threads in numbers:
        found.scaling[threads] = _clips_per_second(reader, stream, threads, seconds / len(numbers))


def _clips_per_second(reader: Reader, stream: _Stream, threads: int, seconds: float) -> float:
    engine = _engine(reader, stream, threads, None)
    start, clips = time.perf_counter(), 0
    try:
        for lengths in engine:
            clips += len(lengths)
            if time.perf_counter() - start > seconds:
                break
        return clips / (time.perf_counter() - start)
    finally:
        engine.close()


def _verdict(found: Profile) -> str:
    times = found.times
    total = sum(times.values())
    if not total or not found.batches:
        return "nothing could be measured: no clip of the sample can be decoded"
    stage = max(times, key=lambda name: times[name])
    share = times[stage] / total
    head = f"{stage}-bound: {share:.0%} of {total:.2f} ms a clip on one thread is {stage}"
    if found.step_seconds and found.wait == 0:
        return f"a step of {1e3 * found.step_seconds:.0f} ms never waits; {head}"
    cached = total - times["decode"] - times["mix"] - times["resample"]
    factor = total / max(cached, 0.02 * total)
    cache = f"a waveform cache, up to {factor:.0f} x as fast"
    if found.step_seconds:
        need = found.threads * (found.wait + found.step_seconds) / found.step_seconds
        more = max(1, int(np.ceil(need)) - found.threads)
        cache = f"{more} more {'thread' if more == 1 else 'threads'}, or {cache}"
        head += f", and a step waits {1e3 * found.wait:.0f} ms"
    return f"{head}; what helps: {cache}{_on_cold_files(found, total)}"


def _on_cold_files(found: Profile, total: float) -> str:
    cold = sum(one.read_cold * one.clips for one in found.formats.values())
    cold /= sum(one.clips for one in found.formats.values())
    if cold <= total:
        return ""
    return f"; files that are not in memory take {cold:.2f} ms to read: more threads"


def _ignore(stage: str, done: int, total: int) -> None:
    pass

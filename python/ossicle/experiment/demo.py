"""The main job, end to end: a corpus is decoded, cached, sharded, collated and trained on.

Each stage is timed, so that one sees where a run's time would go.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ossicle import __build__, __version__
from ossicle.audio import info, load_batch
from ossicle.cache import WaveformCache, WaveformCacheKey
from ossicle.data.clips import Clip, read_manifest
from ossicle.experiment.corpus import make_demo
from ossicle.outputs import claim_folder
from ossicle.progress import StageReport
from ossicle.shard import Shard, ShardWriter

if TYPE_CHECKING:
    from ossicle.audio import AudioInfo
    from ossicle.train.result import TrainResult

__all__ = ["DemoResult", "StageTime", "claim", "run"]

MARKER = ".ossicle-demo"
"""Is in the folders that a demonstration made; in no other does it write or clear anything."""

SAMPLE_RATE = 16_000
MAX_SECONDS = 30.0
BATCH = 8


@dataclass(frozen=True)
class StageTime:
    """How long a stage took over how much.

    Attributes:
        name: What was done.
        seconds: Wall time.
        clips: Clips that went through it.
        audio_seconds: Their length together.
    """

    name: str
    seconds: float
    clips: int
    audio_seconds: float

    @property
    def clips_per_second(self) -> float:
        """Throughput in clips."""
        return self.clips / max(self.seconds, 1e-9)

    @property
    def speed(self) -> float:
        """Seconds of audio a second of wall time."""
        return self.audio_seconds / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class DemoResult:
    """What a demonstration gave.

    Attributes:
        stages: In the order of the path.
        facts: What `ossicle.info` says of each clip.
        training: The alignment run.
        report: The picture; None without matplotlib.
        numbers: The same in JSON.
    """

    stages: list[StageTime]
    facts: list[AudioInfo]
    training: TrainResult
    report: Path | None
    numbers: Path


@dataclass
class _Clock:
    stages: list[StageTime] = field(default_factory=list)

    @contextmanager
    def time(self, name: str, clips: int, audio_seconds: float) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.stages.append(StageTime(name, time.perf_counter() - start, clips, audio_seconds))


def run(
    out: Path | str = "demo",
    *,
    data: Path | str | None = None,
    clips: int = 24,
    steps: int = 50,
    seed: int = 0,
    progress: StageReport | None = None,
) -> DemoResult:
    """Goes the whole path over ``data``, or over a corpus of tones that it makes.

    Args:
        out: Folder of the corpus, the cache, the shard, ``report.png`` and ``report.json``: a new
            or an empty one, or one that an earlier call made.
        data: Your own manifest: JSON lines with ``wav`` or ``audio_path``, and ``text``.
        clips: Size of the corpus that is made without ``data``.
        steps: Optimizer steps.
        seed: Of the corpus and of the training.
        progress: Told of every step forward.

    Raises:
        InvalidArgumentError: ``out`` holds other things; nothing was touched.
        AudioError: A clip cannot be decoded; nothing is left out silently.
        LossDidNotFallError: The training did not learn.
    """
    out, report = claim(out), progress or (lambda *_: None)
    if data is None:
        data = make_demo(
            out / "corpus", clips=clips, seed=seed, on_clip=lambda n: report("corpus", n, clips)
        )
    rows = read_manifest(data)
    facts = [info(row.path) for row in rows]
    lengths = [min(fact.duration, MAX_SECONDS) for fact in facts]
    clock = _Clock()
    keys = _decode_and_cache(rows, lengths, out / "cache", clock, report)
    _shard(rows, lengths, out / "corpus.tar", clock, report)
    _collate(rows, keys, lengths, out / "cache", clock, report)
    training = _train(Path(data), out, lengths, steps, seed, clock, report)
    picture = _picture(out, training, clock.stages)
    numbers = _numbers(out, training, clock.stages, facts)
    return DemoResult(clock.stages, facts, training, picture, numbers)


def claim(out: Path | str) -> Path:
    """The folder ``out``, which is made, or was made by an earlier demonstration.

    Raises:
        InvalidArgumentError: It holds other things.
    """
    return claim_folder(out, MARKER, "ossicle demo")


def _decode_and_cache(
    rows: list[Clip],
    lengths: list[float],
    folder: Path,
    clock: _Clock,
    report: StageReport,
) -> list[WaveformCacheKey]:
    """Decodes all files, keeps them in a cache, and reads them back from it."""
    cache = WaveformCache(folder)
    cache.clear()
    keys = [_key(row.path) for row in rows]
    waveforms = []
    with clock.time("decode", len(rows), sum(lengths)):
        for start in range(0, len(rows), BATCH):
            paths = [row.path for row in rows[start : start + BATCH]]
            batch = load_batch(paths, SAMPLE_RATE, duration=MAX_SECONDS)
            waveforms += [w[:n] for w, n in zip(batch.waveforms, batch.lengths, strict=True)]
            report("decode", len(waveforms), len(rows))
    for key, waveform in zip(keys, waveforms, strict=True):
        cache.put(key, waveform)
    with clock.time("cache", len(rows), sum(lengths)):
        for done, key in enumerate(keys, 1):
            cache.get(key)
            report("cache", done, len(rows))
    return keys


def _shard(
    rows: list[Clip], lengths: list[float], path: Path, clock: _Clock, report: StageReport
) -> None:
    """Packs the files into a shard as they are, and decodes them where they lie in it."""
    extensions = [row.path.suffix[1:].lower() or "audio" for row in rows]
    writer = ShardWriter(path, overwrite=True)
    with clock.time("pack", len(rows), sum(lengths)), writer:
        for number, (row, extension) in enumerate(zip(rows, extensions, strict=True)):
            audio = row.path.read_bytes()
            writer.write({"__key__": f"{number:06}", extension: audio, "text": row.text})
            report("pack", number + 1, len(rows))
    with clock.time("shard", len(rows), sum(lengths)), Shard(path) as shard:
        for start in range(0, len(rows), BATCH):
            part = enumerate(extensions[start : start + BATCH], start)
            members = [shard.member(number, extension) for number, extension in part]
            load_batch(members, SAMPLE_RATE, duration=MAX_SECONDS)
            report("shard", start + len(members), len(rows))


def _key(path: Path) -> WaveformCacheKey:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return WaveformCacheKey(digest, SAMPLE_RATE, round(MAX_SECONDS * 1000), auto_resample=True)


def _collate(
    rows: list[Clip],
    keys: list[WaveformCacheKey],
    lengths: list[float],
    folder: Path,
    clock: _Clock,
    report: StageReport,
) -> None:
    """Batches for a Qwen2Audio model, waveforms from the cache, features by its processor."""
    from ossicle.collator import AudioLmCollator
    from ossicle.experiment.tiny import AUDIO, tiny_qwen2_audio_processor, tiny_tokenizer

    words = {word for row in rows for word in row.text.split()}
    collate = AudioLmCollator(
        processor=tiny_qwen2_audio_processor(tiny_tokenizer(sorted(words))),
        sample_rate=SAMPLE_RATE,
        max_length_seconds=MAX_SECONDS,
        waveform_cache=WaveformCache(folder),
        auto_resample=True,
    )
    items = [
        {"audio_path": row.path, "text": f"{AUDIO} {row.text}", "audio_blob_sha": key.blob_sha}
        for row, key in zip(rows, keys, strict=True)
    ]
    with clock.time("collate", len(rows), sum(lengths)):
        for start in range(0, len(items), BATCH):
            collate(items[start : start + BATCH])
            report("collate", min(start + BATCH, len(items)), len(items))


def _train(
    data: Path,
    out: Path,
    lengths: list[float],
    steps: int,
    seed: int,
    clock: _Clock,
    report: StageReport,
) -> TrainResult:
    from ossicle.train import TrainConfig
    from ossicle.train import run as train

    config = TrainConfig(
        data,
        whisper="tiny-random",
        steps=steps,
        seed=seed,
        out=out / "align",
        overwrite=True,
        batch_size=BATCH,
    )
    training = train(config, progress=lambda at: report("train", at.step, at.steps))
    # Loading the modules and the weights is no throughput: count what the steps took.
    seconds = training.stage_seconds["train"] + training.stage_seconds["encode"]
    mean = sum(lengths) / len(lengths)
    seen = round(training.audio_seconds / mean)
    clock.stages.append(StageTime("train", seconds, seen, training.audio_seconds))
    return training


def _picture(out: Path, training: TrainResult, stages: list[StageTime]) -> Path | None:
    try:
        from ossicle.train.report import write_report
    except ImportError:
        return None
    return write_report(
        out / "report.png",
        training.losses,
        log_mel=training.log_mel,
        stages={stage.name: stage.seconds for stage in stages},
        title="Ossicle: from audio files to a falling loss",
        subtitle=f"{training.clips} clips, {len(training.losses)} steps on {training.device}",
    )


def _numbers(
    out: Path, training: TrainResult, stages: list[StageTime], facts: list[AudioInfo]
) -> Path:
    total = math.fsum(stage.seconds for stage in stages)
    rows: list[dict[str, Any]] = [
        asdict(stage)
        | {
            "clips_per_second": stage.clips_per_second,
            "audio_seconds_per_second": stage.speed,
            "share": stage.seconds / total,
        }
        for stage in stages
    ]
    content = {
        "ossicle": __version__,
        "build": __build__,
        "machine": {"processor": platform.machine(), "system": platform.system()},
        "clips": len(facts),
        "stages": rows,
        "losses": list(training.losses),
    }
    path = out / "report.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path

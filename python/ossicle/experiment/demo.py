"""The main job, end to end: a corpus is decoded, cached, sharded, collated and trained on.

Each stage is timed, so that one sees where a run's time would go.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ossicle import __build__, __version__
from ossicle.audio import info
from ossicle.cache import WaveformCache, WaveformCacheKey
from ossicle.data.errors import ManifestError
from ossicle.data.formats.clip import contents
from ossicle.data.load import Sound, load_recordings
from ossicle.data.read import read
from ossicle.data.recordings import Recording
from ossicle.data.utterances import Utterance, Utterances
from ossicle.errors import AudioError
from ossicle.experiment.corpus import make_demo
from ossicle.faults import Fault, RowName, count_line, reasons_of, write_ledger
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
        counts: Rows, clips and faults, in words.
        facts: What `ossicle.info` says of each clip's recording.
        training: The alignment run.
        report: The picture; None without matplotlib.
        numbers: The same in JSON.
    """

    stages: list[StageTime]
    counts: str
    facts: list[AudioInfo]
    training: TrainResult
    report: Path | None
    numbers: Path


@dataclass
class _Clock:
    stages: list[StageTime] = field(default_factory=list)

    @contextmanager
    def time(self, name: str, lengths: Sequence[float]) -> Iterator[None]:
        """Adds the time that a stage takes over clips of some lengths."""
        start = time.perf_counter()
        yield
        seconds, audio_seconds = time.perf_counter() - start, sum(lengths)
        if self.stages and self.stages[-1].name == name:
            before = self.stages.pop()
            seconds, audio_seconds = seconds + before.seconds, audio_seconds + before.audio_seconds
            self.stages.append(StageTime(name, seconds, before.clips + len(lengths), audio_seconds))
        else:
            self.stages.append(StageTime(name, seconds, len(lengths), audio_seconds))


@dataclass(frozen=True)
class _Clips:
    """The clips of a demonstration: no more than a batch of them is in memory.

    Attributes:
        said: What is said in which part of which recording.
        facts: What `ossicle.info` says of the recordings.
    """

    said: Utterances
    facts: list[AudioInfo]

    @classmethod
    def of(cls, said: Utterances) -> _Clips:
        recordings = [cls._found(said, place).recording for place in range(len(said))]
        return cls(said, [info(one.source) for one in recordings if one is not None])

    @staticmethod
    def _found(said: Utterances, place: int) -> Utterance:
        found = said[place]
        if isinstance(found, ManifestError):
            raise found
        return found

    @property
    def lengths(self) -> list[float]:
        """Seconds of each, as it is cut."""
        return [
            min(one.segment.frames(fact.frames, fact.sample_rate) / fact.sample_rate, MAX_SECONDS)
            for one, fact in zip(self.recordings(range(len(self.facts))), self.facts, strict=True)
        ]

    def recordings(self, places: Iterable[int]) -> list[Recording]:
        """Some of them."""
        found = [self._found(self.said, place).recording for place in places]
        return [one for one in found if one is not None]

    def batches(self) -> Iterator[range]:
        """Places of clips, some at a time."""
        for start in range(0, len(self.facts), BATCH):
            yield range(start, min(start + BATCH, len(self.facts)))


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
        data: Your own: whatever `ossicle.data.read` reads, with texts. Rows that are no clips are
            counted, and listed in ``skipped.jsonl``.
        clips: Size of the corpus that is made without ``data``.
        steps: Optimizer steps.
        seed: Of the corpus and of the training.
        progress: Told of every step forward.

    Raises:
        InvalidArgumentError: ``out`` holds other things; nothing was touched.
        AudioError: A clip cannot be decoded; nothing is left out silently.
        ManifestError: No row is a clip.
        LossDidNotFallError: The training did not learn.
    """
    out, report = claim(out), progress or (lambda *_: None)
    if data is None:
        data = make_demo(
            out / "corpus", clips=clips, seed=seed, on_clip=lambda n: report("corpus", n, clips)
        )
    said = Utterances(read(data))
    write_ledger(out / "skipped.jsonl", [_fault(one) for one in said.faults])
    clips_at_hand = _Clips.of(said)
    clock = _Clock()
    keys = _decode_and_cache(clips_at_hand, out / "cache", clock, report)
    _shard(clips_at_hand, out / "corpus.tar", clock, report)
    _collate(clips_at_hand, keys, out / "cache", clock, report)
    training = _train(Path(data), out, clips_at_hand.lengths, steps, seed, clock, report)
    picture = _picture(out, training, clock.stages)
    numbers = _numbers(out, training, clock.stages, clips_at_hand.facts)
    counts = count_line(len(said.rows) + len(said.rows.faults), reasons_of(said.faults))
    return DemoResult(clock.stages, counts, clips_at_hand.facts, training, picture, numbers)


def _fault(error: ManifestError) -> Fault:
    return Fault.of(error, RowName(error.row or 0))


def claim(out: Path | str) -> Path:
    """The folder ``out``, which is made, or was made by an earlier demonstration.

    Raises:
        InvalidArgumentError: It holds other things.
    """
    return claim_folder(out, MARKER, "ossicle demo")


def _decode_and_cache(
    clips: _Clips, folder: Path, clock: _Clock, report: StageReport
) -> list[WaveformCacheKey]:
    """Decodes all files, keeps them in a cache, and reads them back from it."""
    cache, lengths = WaveformCache(folder), clips.lengths
    cache.clear()
    keys = [_key(clips, place) for place in range(len(lengths))]
    for places in clips.batches():
        recordings = clips.recordings(places)
        with clock.time("decode", [lengths[place] for place in places]):
            sounds = _load(recordings)
        for place, sound in zip(places, sounds, strict=True):
            cache.put(keys[place], sound.waveform)
        report("decode", places.stop, len(lengths))
    with clock.time("cache", lengths):
        for done, key in enumerate(keys, 1):
            cache.get(key)
            report("cache", done, len(lengths))
    return keys


def _shard(clips: _Clips, path: Path, clock: _Clock, report: StageReport) -> None:
    """Packs the files into a shard as they are, and decodes them where they lie in it."""
    lengths, extensions = clips.lengths, []
    writer = ShardWriter(path, overwrite=True)
    with clock.time("pack", lengths), writer:
        for place in range(len(lengths)):
            row = clips.said.row(place)
            name, audio = contents(row)
            extensions.append(Path(name).suffix[1:].lower() or "audio")
            writer.write({"__key__": f"{place:06}", extensions[-1]: audio, "text": row["text"]})
            report("pack", place + 1, len(lengths))
    with clock.time("shard", lengths), Shard(path) as shard:
        for places in clips.batches():
            recordings = zip(places, clips.recordings(places), strict=True)
            _load([replace(r, source=shard.member(n, extensions[n])) for n, r in recordings])
            report("shard", places.stop, len(lengths))


def _load(recordings: Sequence[Recording]) -> list[Sound]:
    found = load_recordings(recordings, SAMPLE_RATE, max_seconds=MAX_SECONDS)
    for one in found:
        if isinstance(one, AudioError):
            raise one
    return [one for one in found if isinstance(one, Sound)]


def _key(clips: _Clips, place: int) -> WaveformCacheKey:
    (recording,) = clips.recordings([place])
    digest = hashlib.sha256(contents(clips.said.row(place))[1])
    if not recording.segment.is_whole:
        digest.update(repr(recording.segment).encode())
    length = round(MAX_SECONDS * 1000)
    return WaveformCacheKey(digest.hexdigest(), SAMPLE_RATE, length, auto_resample=True)


def _collate(
    clips: _Clips,
    keys: list[WaveformCacheKey],
    folder: Path,
    clock: _Clock,
    report: StageReport,
) -> None:
    """Batches for a Qwen2Audio model, waveforms from the cache, features by its processor."""
    from ossicle.collator import AudioLmCollator
    from ossicle.experiment.tiny import tiny_qwen2_audio_processor, tiny_tokenizer

    texts, lengths = clips.said.texts(), clips.lengths
    words = {word for text in texts for word in text.split()}
    collate = AudioLmCollator(
        processor=tiny_qwen2_audio_processor(tiny_tokenizer(sorted(words))),
        sample_rate=SAMPLE_RATE,
        max_length_seconds=MAX_SECONDS,
        waveform_cache=WaveformCache(folder),
        auto_resample=True,
    )
    with clock.time("collate", lengths):
        for places in clips.batches():
            pairs = zip(places, clips.recordings(places), strict=True)
            collate([_item(one, texts[place], keys[place]) for place, one in pairs])
            report("collate", places.stop, len(lengths))


def _item(recording: Recording, text: str, key: WaveformCacheKey) -> dict[str, Any]:
    """A row as the collator takes it."""
    from ossicle.experiment.tiny import AUDIO

    audio = {"audio": recording.source, "text": f"{AUDIO} {text}"}
    return audio | recording.segment.said | {"audio_blob_sha": key.blob_sha}


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
        on_error="skip",
        too_long="cut",
        # Of clips without number it would be as large as they are.
        cache_bytes=1 << 26,
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

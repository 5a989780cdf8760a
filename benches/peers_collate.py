"""Rows to batches of Qwen2Audio: `AudioLmCollator` against the same by hand, cold and warm."""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from unittest import mock

import harness
import numpy as np
import numpy.typing as npt
import peers_decode
import soundfile
import soxr
import torch
import typer
from clips import Clip
from rich.console import Console
from rich.progress import track
from rich.table import Table

import ossicle.collator.features
import ossicle.collator.sound
from ossicle.cache import AudioCache, WaveformCache
from ossicle.collator import AudioLmCollator
from ossicle.experiment.tiny import AUDIO, tiny_qwen2_audio_processor, tiny_tokenizer

Rows: TypeAlias = Sequence[dict[str, Any]]
Waveform: TypeAlias = npt.NDArray[np.float32]
Collate: TypeAlias = Callable[[Rows], dict[str, Any]]

RATE, BATCH, CLIPS, SECONDS = 16_000, 8, 64, (5.0, 30.0)
FORMATS = (("flac", 44_100, 2), ("mp3", 44_100, 2), ("wav", 16_000, 1))
WORDS = [f"word{number}" for number in range(60)]
PEER = "by hand"
PACKAGES = ("ossicle", "numpy", "soundfile", "soxr", "torch", "transformers")
METHOD = """\
64 recordings of 5 to 30 s in batches of 8 rows to what Qwen2Audio takes: input_ids, labels and
features (8, 128, 3000). By hand: soundfile, the mean of the channels by NumPy, soxr HQ, np.savez of
the waveform under its SHA-256 (written to a temporary file and renamed, read by np.load), then the
processor, whose feature extractor is transformers' own. Ours: AudioLmCollator with waveform_cache
and feature_cache, which checks every byte it reads. Cold: both caches empty at the first of the 64,
files in the page cache, all entries written. Warm: all entries there. One thread on one processor,
garbage collector off, interleaved in an order shuffled for each round; the ratio is processor time
of the peer / ours, the median of the rounds' own ratios. Tokens are compared for identity, features
of files at 16 kHz within 1e-4, resampled ones by their mean difference (soxr and ours are different
filters).""".replace("\n", " ")


class ByHand:
    """What people write around a processor: the way of the collator that ours descends from."""

    def __init__(self, processor: Any, cache: Path) -> None:
        self.processor, self.cache = processor, cache

    def __call__(self, rows: Rows) -> dict[str, Any]:
        batch = dict(
            self.encode([row["text"] for row in rows], [self.waveform(row) for row in rows])
        )
        labels = batch["input_ids"].clone()
        labels[labels == self.processor.tokenizer.pad_token_id] = -100
        return {**batch, "labels": labels}

    def encode(self, texts: list[str], waveforms: list[Waveform]) -> Any:
        return self.processor(
            text=texts,
            audio=waveforms,
            sampling_rate=RATE,
            return_tensors="pt",
            text_kwargs={"padding": True},
        )

    def waveform(self, row: dict[str, Any]) -> Waveform:
        path = self.cache / f"{row['audio_blob_sha']}.{RATE}.30000.npz"
        found = self.cached(path)
        if found is None:
            found = self.decoded(row["audio_path"])
            self.keep(path, found)
        return found

    def decoded(self, path: str) -> Waveform:
        waveform, rate = self.read(path)
        mono = waveform if waveform.ndim == 1 else self.mix(waveform)
        return (mono if rate == RATE else self.resample(mono, rate))[: 30 * RATE]

    def read(self, path: str) -> tuple[Waveform, int]:
        return soundfile.read(path, dtype="float32")

    def mix(self, waveform: Waveform) -> Waveform:
        return waveform.mean(axis=1)

    def resample(self, mono: Waveform, rate: int) -> Waveform:
        return soxr.resample(mono, rate, RATE)

    def cached(self, path: Path) -> Waveform | None:
        if not path.exists():
            return None
        with np.load(path) as archive:
            return archive["waveform"]

    def keep(self, path: Path, waveform: Waveform) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, waveform=waveform)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_suffix(".partial")
        partial_path.write_bytes(buffer.getvalue())
        partial_path.replace(path)


def ours(processor: Any, cache: Path) -> AudioLmCollator:
    return AudioLmCollator(
        processor=processor,
        sample_rate=RATE,
        max_length_seconds=30.0,
        waveform_cache=WaveformCache(cache / "waveforms"),
        feature_cache=AudioCache(cache / "features"),
        auto_resample=True,
    )


WAYS: dict[str, Callable[[Any, Path], Collate]] = {harness.OURS: ours, PEER: ByHand}


def write_rows(folder: Path, formats: Sequence[tuple[str, int, int]], count: int) -> Rows:
    """Clips of the formats in turn, from the shortest to the longest, a text of 5 to 25 words."""
    rows = []
    for number, seconds in enumerate(track(np.linspace(*SECONDS, count), "clips", transient=True)):
        name, rate, channels = formats[number % len(formats)]
        extension, encoder = peers_decode.ENCODERS[name]
        clip = Clip(name, extension, round(float(seconds), 1), rate, channels, encoder)
        path = clip.write(folder)
        text = " ".join([AUDIO, *WORDS[number % 20 : number % 20 + 5 + number % 21]])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append({"audio_path": str(path), "audio_blob_sha": digest, "text": text})
    return [rows[place] for place in np.random.default_rng(0).permutation(count)]


def all_batches(collate: Collate, rows: Rows) -> int:
    return sum(len(collate(rows[at : at + BATCH])["labels"]) for at in range(0, len(rows), BATCH))


def cold(way: str, processor: Any, rows: Rows) -> int:
    with tempfile.TemporaryDirectory() as name:
        return all_batches(WAYS[way](processor, Path(name)), rows)


def check(processor: Any, rows: Rows, folder: Path) -> None:
    """Both ways give the same batches, cold and warm."""
    for _ in ("cold", "warm"):
        collators = [WAYS[way](processor, folder / way) for way in WAYS]
        for at in range(0, len(rows), BATCH):
            mine, theirs = (collate(rows[at : at + BATCH]) for collate in collators)
            for name in ("input_ids", "attention_mask", "labels", "feature_attention_mask"):
                if not torch.equal(mine[name], theirs[name]):
                    raise RuntimeError(f"{name} differ in the batch at row {at}")
            off = (mine["input_features"] - theirs["input_features"]).abs().mean(dim=(1, 2))
            for row, difference in zip(rows[at : at + BATCH], off.tolist(), strict=True):
                if difference > (1e-4 if row["audio_path"].endswith("wav") else 2e-2):
                    raise RuntimeError(f"features of {row['audio_path']} differ by {difference}")


class Stages:
    """Seconds of the processor by stage, each without the stages inside of it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._inner.append(0.0)
        start = time.process_time()
        try:
            yield
        finally:
            took = time.process_time() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + took - self._inner.pop()
            if self._inner:
                self._inner[-1] += took

    def patched(self, owner: Any, attribute: str, name: str) -> Any:
        original = getattr(owner, attribute)

        def timed(*given: Any, **options: Any) -> Any:
            with self.stage(name):
                return original(*given, **options)

        return mock.patch.object(owner, attribute, timed)


def _stages_of(way: str, processor: Any) -> list[tuple[Any, str, str]]:
    extractor = type(processor.feature_extractor)
    shared = [
        (type(processor), "__call__", "processor: tokens and the rest"),
        (extractor, "__call__", "log-mel"),
    ]
    if way == PEER:
        return [
            *shared,
            (ByHand, "read", "decode"),
            (ByHand, "mix", "mix"),
            (ByHand, "resample", "resample"),
            (ByHand, "cached", "read the caches"),
            (ByHand, "keep", "write the caches"),
        ]
    return [
        *shared,
        (ossicle.collator.sound, "load_batch", "decode, mix and resample"),
        (ossicle.collator.features, "log_mel_batch", "log-mel"),
        (ossicle.collator.features, "_pad", "features into the batch"),
        (WaveformCache, "get", "read the caches"),
        (WaveformCache, "put", "write the caches"),
        (AudioCache, "get_batch", "read the caches"),
        (AudioCache, "put_batch", "write the caches"),
    ]


def shares(way: str, processor: Any, rows: Rows, folder: Path) -> dict[str, dict[str, float]]:
    """For a cold and a warm pass, milliseconds a batch by stage."""
    found = {}
    for state in ("cold", "warm"):
        stages = Stages()
        with ExitStack() as stack:
            for owner, attribute, name in _stages_of(way, processor):
                stack.enter_context(stages.patched(owner, attribute, name))
            with stages.stage("the rest"):
                all_batches(WAYS[way](processor, folder), rows)
        per_batch = 1e3 / (len(rows) / BATCH)
        found[state] = {name: took * per_batch for name, took in stages.seconds.items()}
    return found


def rows_of(title: str, processor: Any, rows: Rows, rounds: int) -> list[harness.Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check(processor, rows, folder)
        empty = {way: partial(cold, way, processor, rows) for way in WAYS}
        full = {
            way: partial(all_batches, make(processor, folder / way), rows)
            for way, make in WAYS.items()
        }
        states = {f"{title}, cold": empty, f"{title}, warm": full}
        return [harness.race(harness.Row(row), state, rounds) for row, state in states.items()]


def _stage_facts(processor: Any, rows: Rows) -> dict[str, str]:
    facts = {}
    for way in WAYS:
        with tempfile.TemporaryDirectory() as name:
            for state, stages in shares(way, processor, rows, Path(name)).items():
                whole = sum(stages.values())
                falling = sorted(stages.items(), key=lambda pair: -pair[1])
                parts = [f"{stage} {took:.1f} ms ({took / whole:.0%})" for stage, took in falling]
                facts[f"a batch of 8, all formats, {way}, {state}"] = "; ".join(parts)
    return facts


def show_stages(facts: dict[str, str], console: Console) -> None:
    table = Table(title="where the processor time of a batch goes")
    table.add_column("")
    table.add_column("stages")
    for name, parts in facts.items():
        table.add_row(name, parts.replace("; ", "\n"))
    console.print(table)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 7,
    quick: Annotated[
        bool, typer.Option("--quick", help="16 clips, 2 rounds, no record: does it work?")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """Rows to batches of Qwen2Audio: AudioLmCollator against soundfile, soxr, np.savez, processor.

    For example: `peers.py collate` (with a record), `peers.py collate --quick`.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts: dict[str, Any] = {
        "machine": harness.machine(),
        "versions": harness.versions(PACKAGES),
    }
    processor = tiny_qwen2_audio_processor(tiny_tokenizer(WORDS))
    count, rounds = (16, 2) if quick else (CLIPS, rounds)
    made: list[harness.Row] = []
    with tempfile.TemporaryDirectory() as name:
        mixed = write_rows(Path(name), FORMATS, count)
        made += rows_of(f"{count} clips, all formats", processor, mixed, rounds)
        for shape in () if quick else FORMATS:
            rows = write_rows(Path(name), (shape,), count // 4)
            title = f"{count // 4} clips, {shape[0]} {shape[1] / 1000:g}k"
            made += rows_of(title, processor, rows, rounds)
        facts["stages"] = _stage_facts(processor, mixed)
    harness.show("collate", made, (PEER,), console)
    show_stages(facts["stages"], console)
    if write and not quick:
        for file in harness.record("collate", made, (PEER,), facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")

"""Runs a frozen Whisper encoder over a manifest once, and keeps its frames in shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ossicle.data.clips import Clip, manifest_sha256, read_manifest
from ossicle.errors import AudioError, InvalidArgumentError
from ossicle.extract.output import ExtractOutput, ExtractPlan, ShardRoll
from ossicle.faults import Fault, RowName, read_ledger
from ossicle.features.mel import (
    HOP_LENGTH,
    SAMPLE_RATE,
    WHISPER_SETTINGS,
    FeatureBatch,
    load_features,
)
from ossicle.model.encoder import Encoder
from ossicle.outputs import refuse_same_file
from ossicle.progress import Report
from ossicle.shard import Shard
from ossicle.shard.encoder_features import bf16_array
from ossicle.shard.writer import json_bytes

__all__ = ["ExtractResult", "extract_whisper"]

Item = TypeVar("Item")
Result = TypeVar("Result")

# Clips that are decoded together and sorted by length, fewer where their frames are large.
_WINDOW, _WINDOW_BYTES = 128, 1 << 31
# A processor is busy with one long clip; a GPU wants as much as fits.
_BATCH_SECONDS = {"cpu": 30.0, "cuda": 960.0}
_CUT_SECONDS = HOP_LENGTH / SAMPLE_RATE  # read beyond the limit, to know who surpasses it


@dataclass(frozen=True)
class ExtractResult:
    """What has become of a manifest: ``clips + len(faults) == rows``.

    Attributes:
        shards: Those written, by this call and by calls before it.
        rows: Of the manifest.
        clips: Rows that are in the shards.
        new: Those of them that this call extracted.
        new_seconds: Of sound in those.
        faults: Rows that could not be used.
        ledger: The file that lists them.
        fingerprint: Of the encoder.
    """

    shards: list[Path]
    rows: int
    clips: int
    new: int
    new_seconds: float
    faults: list[Fault]
    ledger: Path
    fingerprint: str


@dataclass(frozen=True)
class _EncodedClip:
    clip: Clip
    frames: NDArray[np.uint16]
    seconds: float


def extract_whisper(
    manifest: str | os.PathLike[str],
    out: str | os.PathLike[str],
    encoder: Encoder,
    *,
    max_bytes: int = 1_000_000_000,
    max_seconds: float = 30.0,
    batch_seconds: float | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Report | None = None,
) -> ExtractResult:
    """Encodes the clips of a manifest and writes their frames to shards, in its order.

    The format is that of `ossicle.shard.encoder_features`; `FeatureShards` reads it. Clips are
    decoded while others are encoded, and encoded with others of about their length. One machine
    gives the same bytes for the same input, however often it is stopped: who calls again after a
    stop or a kill goes on after the last whole shard.

    A clip that cannot be decoded, has no samples or is longer than ``max_seconds`` is left out and
    listed in ``<out>.faults.jsonl`` (`read_ledger` reads it).

    Args:
        manifest: As for `read_manifest`: JSON lines with ``wav`` or ``audio_path``, and ``text``.
        out: The shards, with a field for their number: ``feats-%06d.tar``. Their folder exists.
        encoder: What encodes, with the layer that is wanted.
        max_bytes: Begin another shard before this size.
        max_seconds: Of a clip, 30 at most.
        batch_seconds: Of sound in one forward pass, padding counted in; None takes 30 on the CPU
            and 960 elsewhere.
        threads: That decode; None takes one for each processor.
        overwrite: Remove the shards of an earlier extraction that are there and begin anew.
        progress: Called with the rows that are done and their number.

    Raises:
        ManifestError: If a row of the manifest is no row.
        FingerprintError: If the shards that are there were made by another encoder.
        ExtractError: If they are of another extraction.
        InvalidArgumentError: If an argument makes no sense, a file that would be written is the
            manifest or a clip, or the encoder's features are not Whisper's.
        AudioError: If not one row can be used: that of the first.
    """
    clips = read_manifest(os.fspath(manifest))
    if batch_seconds is None:
        batch_seconds = _BATCH_SECONDS.get(encoder.device.type, _BATCH_SECONDS["cuda"])
    _check(encoder, max_bytes, max_seconds, batch_seconds)
    plan = ExtractPlan(
        fingerprint=encoder.fingerprint,
        layer=encoder.layer,
        manifest_sha256=manifest_sha256(clips),
        rows=len(clips),
        max_bytes=max_bytes,
        max_seconds=max_seconds,
        batch_seconds=batch_seconds,
    )
    output = ExtractOutput(out)
    refuse_same_file(output.files(), [manifest, *(clip.path for clip in clips)])
    last = output.begin(plan, overwrite=overwrite)
    new, new_seconds = 0, 0.0
    first = sum(_line(clip) <= last for clip in clips)
    output.keep_faults(first)
    with ShardRoll(output, len(output.shards()), max_bytes) as roll:
        outcomes = _encode_clips(clips, first, encoder, plan, threads)
        for place, one in enumerate(outcomes, start=first):
            if isinstance(one, Fault):
                output.enter(one)
            else:
                roll.write(f"{_line(one.clip):09d}", one.frames, _facts(one, manifest, plan))
                new, new_seconds = new + 1, new_seconds + one.seconds
            if progress is not None:
                progress(place + 1, len(clips))
    return _finish(output, plan, new, new_seconds)


def _check(encoder: Encoder, max_bytes: int, max_seconds: float, batch_seconds: float) -> None:
    settings = {name: encoder.feature_settings.get(name) for name in WHISPER_SETTINGS}
    if settings != WHISPER_SETTINGS:
        raise InvalidArgumentError(
            f"the encoder's features have {settings}, Whisper's {WHISPER_SETTINGS}"
        )
    longest = encoder.max_frames * HOP_LENGTH / SAMPLE_RATE
    if not 0 < max_seconds <= longest:
        raise InvalidArgumentError(f"max_seconds {max_seconds} is not above 0 and up to {longest}")
    if max_bytes < 1 or batch_seconds <= 0:
        raise InvalidArgumentError(f"max_bytes {max_bytes} or batch_seconds {batch_seconds} is 0")


def _finish(
    output: ExtractOutput, plan: ExtractPlan, new: int, new_seconds: float
) -> ExtractResult:
    shards, faults = output.shards(), read_ledger(output.ledger_path)
    written = sum(len(Shard(path)) for path in shards)
    if written + len(faults) != plan.rows:
        raise RuntimeError(
            f"{written} clips and {len(faults)} faults are not the manifest's {plan.rows} rows: "
            f"another program has written to {output.pattern.parent}"
        )
    if not written:
        first = faults[0]
        raise AudioError(
            f"none of the {plan.rows} clips can be used: {first.reason}", source=first.file
        )
    output.save(plan, {"shards": len(shards), "clips": written, "faults": len(faults)})
    return ExtractResult(
        shards, plan.rows, written, new, new_seconds, faults, output.ledger_path, plan.fingerprint
    )


def _line(clip: Clip) -> int:
    """What a clip is called in the shards: its line of the manifest, or its row from 1."""
    return clip.row + 1 if clip.line is None else clip.line


def _facts(one: _EncodedClip, manifest: str | os.PathLike[str], plan: ExtractPlan) -> bytes:
    folder = Path(manifest) if Path(manifest).is_dir() else Path(manifest).parent
    is_inside = one.clip.path.is_relative_to(folder)
    audio = one.clip.path.relative_to(folder) if is_inside else one.clip.path
    return json_bytes(
        {
            "text": one.clip.text,
            "seconds": one.seconds,
            "row": _line(one.clip),
            "audio": audio.as_posix(),
            "fingerprint": plan.fingerprint,
        }
    )


def _encode_clips(
    clips: Sequence[Clip], first: int, encoder: Encoder, plan: ExtractPlan, threads: int | None
) -> Generator[_EncodedClip | Fault]:
    """What becomes of each clip from a place on, in order.

    Windows and batches are those of all clips, wherever the work begins: who a clip's neighbours
    are must not depend on it.
    """
    size = _window(encoder)
    starts = range(first // size * size, len(clips), size)

    def load(start: int) -> FeatureBatch:
        return load_features(
            [clip.path for clip in clips[start : start + size]],
            n_mels=encoder.n_mels,
            pad_to_seconds=None,
            duration=plan.max_seconds + _CUT_SECONDS,
            threads=threads,
            on_error="collect",
        )

    for start, batch in zip(starts, _prefetch(load, starts), strict=True):
        window, skipped = clips[start : start + size], max(0, first - start)
        found: dict[int, _EncodedClip | Fault] = {}
        for place, clip in enumerate(window):
            fault = _fault(clip, batch, place, plan.max_seconds)
            if fault is not None:
                found[place] = fault
        good = [place for place in range(len(window)) if place not in found]
        for rows in _batches(good, batch.frames, plan.batch_seconds):
            if max(rows) >= skipped:
                found |= _encode(window, rows, batch, encoder)
        yield from (found[place] for place in range(skipped, len(window)))


def _window(encoder: Encoder) -> int:
    """Clips of a window: their frames are in memory together."""
    frames = (encoder.layers or 1) * encoder.output_lengths(encoder.max_frames)
    return max(1, min(_WINDOW, _WINDOW_BYTES // (2 * frames * encoder.d_model)))


def _fault(clip: Clip, batch: FeatureBatch, place: int, max_seconds: float) -> Fault | None:
    """Why a clip cannot be used, or None."""
    error: AudioError | None = batch.errors[place]
    samples = int(batch.lengths[place])
    if error is None and not samples:
        error = AudioError("the clip has no samples")
    if error is None and samples > round(max_seconds * SAMPLE_RATE):
        error = InvalidArgumentError(f"the clip is longer than max_seconds, {max_seconds} s")
    if error is None:
        return None
    return Fault.of(error, RowName(clip.row, clip.id, str(clip.path)))


def _batches(
    places: Sequence[int], frames: NDArray[np.int64], batch_seconds: float
) -> Generator[list[int]]:
    """Places sorted by length, as many together as ``batch_seconds`` hold, with their padding."""
    budget = batch_seconds * SAMPLE_RATE / HOP_LENGTH
    batch: list[int] = []
    for place in sorted(places, key=lambda place: (frames[place], place)):
        if batch and (len(batch) + 1) * frames[place] > budget:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _encode(
    window: Sequence[Clip], rows: list[int], batch: FeatureBatch, encoder: Encoder
) -> dict[int, _EncodedClip]:
    lengths = torch.from_numpy(batch.frames[rows])
    features = torch.from_numpy(batch.input_features[rows, :, : int(lengths.max())])
    states = encoder(features, lengths).to(torch.bfloat16).cpu()
    counts = encoder.output_lengths(lengths).tolist()
    return {
        row: _EncodedClip(
            clip=window[row],
            frames=bf16_array(clip[..., :count, :]),
            seconds=int(batch.lengths[row]) / SAMPLE_RATE,
        )
        for row, clip, count in zip(rows, states, counts, strict=True)
    }


def _prefetch(work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
    """The results of ``work``, which is one item ahead in a thread of its own."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="ossicle-extract")
    try:
        waiting = None
        for item in items:
            following = pool.submit(work, item)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
    finally:
        pool.shutdown(cancel_futures=True)

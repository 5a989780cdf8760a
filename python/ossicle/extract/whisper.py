"""Runs a frozen Whisper encoder over a manifest once, and keeps its frames in shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ossicle.data.errors import ManifestError
from ossicle.data.read import read
from ossicle.data.recordings import Recording, header_of, samples_at
from ossicle.data.utterances import Utterance, Utterances
from ossicle.errors import AudioError, InvalidArgumentError
from ossicle.extract.output import ExtractOutput, ExtractPlan, ShardRoll
from ossicle.faults import Fault, RowName, count_line, read_ledger, reasons_of
from ossicle.features.mel import (
    HOP_LENGTH,
    SAMPLE_RATE,
    WHISPER_SETTINGS,
    FeatureBatch,
)
from ossicle.features.recordings import recording_features
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
    """What has become of rows: ``clips + len(faults) == rows``.

    Attributes:
        shards: Those written, by this call and by calls before it.
        rows: Of the data.
        clips: Rows that are in the shards.
        new: Those of them that this call extracted.
        new_seconds: Of sound in those.
        faults: Rows that could not be used.
        ledger: The file that lists them.
        fingerprint: Of the encoder.
        cut: Of the new ones those that were cut; their texts are whole.
    """

    shards: list[Path]
    rows: int
    clips: int
    new: int
    new_seconds: float
    faults: list[Fault]
    ledger: Path
    fingerprint: str
    cut: int = 0

    @property
    def counts(self) -> str:
        """Rows, clips and faults with their reasons, in words."""
        return count_line(self.rows, reasons_of(self.faults))


@dataclass(frozen=True)
class _EncodedClip:
    clip: Utterance
    frames: NDArray[np.uint16]
    seconds: float
    is_cut: bool


def extract_whisper(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    encoder: Encoder,
    *,
    max_bytes: int = 1_000_000_000,
    max_seconds: float = 30.0,
    batch_seconds: float | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    too_long: Literal["cut", "drop", "error"] = "drop",
    format: str | None = None,  # noqa: A002  (as of `ossicle.data.read`)
    root: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Report | None = None,
) -> ExtractResult:
    """Encodes the clips of any data and writes their frames to shards, in its order.

    The format is that of `ossicle.shard.encoder_features`; `FeatureShards` reads it. Clips are
    decoded while others are encoded, and encoded with others of about their length. One machine
    gives the same bytes for the same input, however often it is stopped: who calls again after a
    stop or a kill goes on after the last whole shard.

    A row that is no clip with a text, cannot be decoded, has no samples or is too long is left out
    and listed in ``<out>.faults.jsonl`` (`read_ledger` reads it).

    Args:
        data: Whatever `ossicle.data.read` reads; segments of recordings are clips of their own.
        out: The shards, with a field for their number: ``feats-%06d.tar``. Their folder exists.
        encoder: What encodes, with the layer that is wanted.
        max_bytes: Begin another shard before this size.
        max_seconds: Of a clip, 30 at most.
        batch_seconds: Of sound in one forward pass, padding counted in; None takes 30 on the CPU
            and 960 elsewhere.
        threads: That decode; None takes one for each processor.
        overwrite: Remove the shards of an earlier extraction that are there and begin anew.
        too_long: Leave a clip of more than ``max_seconds`` out (``"drop"``), cut it and keep its
            whole text (``"cut"``), or raise (``"error"``).
        format: As for `ossicle.data.read`.
        root: As for `ossicle.data.read`.
        columns: As for `ossicle.data.read`.
        progress: Called with the rows that are done and their number.

    Raises:
        ManifestError: If no row is a clip with a text, or the format of the data is unknown.
        FingerprintError: If the shards that are there were made by another encoder.
        ExtractError: If they are of another extraction.
        InvalidArgumentError: If an argument makes no sense, a file that would be written is the
            manifest or a clip, or the encoder's features are not Whisper's; with
            ``too_long="error"``, if a clip is too long.
        AudioError: If not one row can be used: that of the first.
    """
    found = Utterances(read(os.fspath(data), format, root=root, columns=columns))
    clips = found.in_order()
    numbers = _numbers(clips)
    if batch_seconds is None:
        batch_seconds = _BATCH_SECONDS.get(encoder.device.type, _BATCH_SECONDS["cuda"])
    _check(encoder, max_bytes, max_seconds, batch_seconds, too_long)
    plan = ExtractPlan(
        fingerprint=encoder.fingerprint,
        layer=encoder.layer,
        manifest_sha256=found.sha256,
        rows=len(clips),
        max_bytes=max_bytes,
        max_seconds=max_seconds,
        batch_seconds=batch_seconds,
        too_long=too_long,
    )
    output = ExtractOutput(out)
    inputs = [data, *{one.file for one in clips if isinstance(one, Utterance) and one.file}]
    refuse_same_file(output.files(), inputs)
    last = output.begin(plan, overwrite=overwrite)
    new, new_seconds, cut = 0, 0.0, 0
    first = sum(number <= last for number in numbers)
    output.keep_faults(first)
    with ShardRoll(output, len(output.shards()), max_bytes) as roll:
        outcomes = _encode_clips(clips, first, encoder, plan, threads)
        for place, one in enumerate(outcomes, start=first):
            if isinstance(one, Fault):
                output.enter(one)
            else:
                number = numbers[place]
                roll.write(f"{number:09d}", one.frames, _facts(one, number, data, plan))
                new, new_seconds, cut = new + 1, new_seconds + one.seconds, cut + one.is_cut
            if progress is not None:
                progress(place + 1, len(clips))
    return replace(_finish(output, plan, new, new_seconds), cut=cut)


def _numbers(rows: Sequence[Utterance | ManifestError]) -> list[int]:
    """What rows are called in the shards: lines of the manifest, or rows counted from 1.

    Lines of several files do not tell rows apart.
    """
    lines = [one.line or 0 for one in rows]
    if lines and lines[0] and all(line < following for line, following in pairwise(lines)):
        return lines
    return [(one.row or 0) + 1 for one in rows]


def _check(
    encoder: Encoder, max_bytes: int, max_seconds: float, batch_seconds: float, too_long: str
) -> None:
    settings = {name: encoder.feature_settings.get(name) for name in WHISPER_SETTINGS}
    if settings != WHISPER_SETTINGS:
        raise InvalidArgumentError(
            f"the encoder's features have {settings}, Whisper's {WHISPER_SETTINGS}"
        )
    longest = encoder.max_frames * HOP_LENGTH / SAMPLE_RATE
    if not 0 < max_seconds <= longest:
        raise InvalidArgumentError(f"max_seconds {max_seconds} is not above 0 and up to {longest}")
    if too_long not in ("cut", "drop", "error"):
        raise InvalidArgumentError(f"too_long must be cut, drop or error, not {too_long!r}")
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


def _facts(
    one: _EncodedClip, number: int, data: str | os.PathLike[str], plan: ExtractPlan
) -> bytes:
    assert one.clip.recording is not None
    folder = Path(data) if Path(data).is_dir() else Path(data).parent
    audio, segment = Path(one.clip.recording.name), one.clip.recording.segment
    audio = audio.relative_to(folder) if audio.is_relative_to(folder) else audio
    facts = {
        "text": one.clip.text,
        "seconds": one.seconds,
        "row": number,
        "audio": audio.as_posix(),
        "fingerprint": plan.fingerprint,
    }
    part = {} if segment.is_whole else segment.said
    return json_bytes(facts | part | ({"cut": True} if one.is_cut else {}))


def _encode_clips(
    clips: Sequence[Utterance | ManifestError],
    first: int,
    encoder: Encoder,
    plan: ExtractPlan,
    threads: int | None,
) -> Generator[_EncodedClip | Fault]:
    """What becomes of each row from a place on, in order.

    Windows and batches are those of all rows, wherever the work begins: who a clip's neighbours
    are must not depend on it.
    """
    size = _window(encoder)
    starts = range(first // size * size, len(clips), size)

    def load(start: int) -> FeatureBatch:
        window = clips[start : start + size]
        most = plan.max_seconds + (0 if plan.too_long == "cut" else _CUT_SECONDS)
        return recording_features(
            [_recording(one) for one in window],
            n_mels=encoder.n_mels,
            max_seconds=most,
            threads=threads,
            on_error="collect",
        )

    for start, batch in zip(starts, _prefetch(load, starts), strict=True):
        window, skipped = clips[start : start + size], max(0, first - start)
        found: dict[int, _EncodedClip | Fault] = {}
        for place, clip in enumerate(window):
            fault = _fault(clip, batch, place, plan)
            if fault is not None:
                found[place] = fault
        good = [place for place in range(len(window)) if place not in found]
        for rows in _batches(good, batch.frames, plan.batch_seconds):
            if max(rows) >= skipped:
                found |= _encode(window, rows, batch, encoder, plan)
        yield from (found[place] for place in range(skipped, len(window)))


def _recording(row: Utterance | ManifestError) -> Recording:
    """What is decoded of a row: nothing of one that is no clip."""
    if isinstance(row, ManifestError) or row.recording is None:
        return Recording(b"", "<none>")
    return row.recording


def _window(encoder: Encoder) -> int:
    """Clips of a window: their frames are in memory together."""
    frames = (encoder.layers or 1) * encoder.output_lengths(encoder.max_frames)
    return max(1, min(_WINDOW, _WINDOW_BYTES // (2 * frames * encoder.d_model)))


def _fault(
    clip: Utterance | ManifestError, batch: FeatureBatch, place: int, plan: ExtractPlan
) -> Fault | None:
    """Why a row cannot be used, or None."""
    if isinstance(clip, ManifestError):
        return Fault.of(clip, RowName(clip.row or 0))
    error: AudioError | None = batch.errors[place]
    samples = int(batch.lengths[place])
    if error is None and not samples:
        error = AudioError("the clip has no samples")
    if error is None and samples > round(plan.max_seconds * SAMPLE_RATE):
        reason = f"the clip is longer than max_seconds, {plan.max_seconds} s"
        error = InvalidArgumentError(reason, source=clip.file)
        if plan.too_long == "error":
            raise error
    return None if error is None else Fault.of(error, RowName(clip.row, clip.id, clip.file))


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
    window: Sequence[Utterance | ManifestError],
    rows: list[int],
    batch: FeatureBatch,
    encoder: Encoder,
    plan: ExtractPlan,
) -> dict[int, _EncodedClip]:
    lengths = torch.from_numpy(batch.frames[rows])
    features = torch.from_numpy(batch.input_features[rows, :, : int(lengths.max())])
    states = encoder(features, lengths).to(torch.bfloat16).cpu()
    counts = encoder.output_lengths(lengths).tolist()
    found = {}
    for row, states_of_clip, count in zip(rows, states, counts, strict=True):
        clip, samples = window[row], int(batch.lengths[row])
        assert isinstance(clip, Utterance)
        frames = bf16_array(states_of_clip[..., :count, :])
        is_cut = _is_cut(clip, samples, plan)
        found[row] = _EncodedClip(clip, frames, samples / SAMPLE_RATE, is_cut)
    return found


def _is_cut(clip: Utterance, samples: int, plan: ExtractPlan) -> bool:
    """Whether the recording goes on; only of a clip that fills the limit its header is read."""
    most = round(plan.max_seconds * SAMPLE_RATE)
    if samples < most or clip.recording is None:
        return False
    return samples_at(clip.recording, header_of(clip.recording), SAMPLE_RATE) > most


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

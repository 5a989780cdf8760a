"""The clips of a manifest, decoded a batch at a time and encoded once each."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ossicle.audio import load_batch
from ossicle.model import WhisperEncoder

__all__ = ["Clip", "EncodedClips", "ManifestError", "manifest_sha256", "read_manifest"]

AUDIO_KEYS = ("wav", "audio_path")
SAMPLE_RATE = 16_000


class ManifestError(ValueError):
    """A manifest, or one row of it, cannot be used.

    Attributes:
        path: The manifest.
        row: The line, from 1; None where the whole file is meant.
        reason: What is wrong with it.
    """

    def __init__(self, path: Path, row: int | None, reason: str) -> None:
        super().__init__(f"{path}, row {row}: {reason}" if row else f"{path}: {reason}")
        self.path, self.row, self.reason = path, row, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.row, self.reason)


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of a manifest.

    Attributes:
        path: The audio file.
        text: What is said in it.
        row: The line of the manifest, from 1.
    """

    path: Path
    text: str
    row: int


def read_manifest(path: Path | str) -> list[Clip]:
    """Reads JSON lines with ``wav`` or ``audio_path``, ``text`` and optionally ``sr``.

    Args:
        path: The manifest, or a folder with a ``manifest.jsonl``; audio paths are relative to its
            folder. Empty lines do not count.

    Returns:
        The rows in order.

    Raises:
        ManifestError: If a row is no JSON object, lacks its audio or its text, or has an ``sr``
            that is no rate, or if there are no rows; it names the file and the row.
        FileNotFoundError: If there is no such manifest.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "manifest.jsonl"
    with path.open("rb") as file:
        lines = enumerate(file, start=1)
        clips = [_read_row(path, row, line) for row, line in lines if line.strip()]
    if not clips:
        raise ManifestError(path, None, "the manifest has no rows")
    return clips


def _read_row(path: Path, row: int, line: bytes) -> Clip:
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except ValueError as error:  # of JSON, and of UTF-8
        raise ManifestError(path, row, f"no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ManifestError(path, row, f"no JSON object but {type(fields).__name__}")
    audio = next((fields[key] for key in AUDIO_KEYS if key in fields), None)
    if not isinstance(audio, str) or not audio:
        raise ManifestError(path, row, "no audio: it needs `wav` or `audio_path`")
    text = fields.get("text")
    if not isinstance(text, str) or not text:
        raise ManifestError(path, row, "no `text`")
    rate = fields.get("sr", SAMPLE_RATE)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0:
        raise ManifestError(path, row, f"`sr` {rate!r} is no sample rate")
    return Clip(path.parent / audio, text, row)


def manifest_sha256(clips: Sequence[Clip]) -> str:
    """64 hex digits over the rows: file names (their folders may move) and texts, in order."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(json.dumps([clip.path.name, clip.text]).encode() + b"\n")
    return digest.hexdigest()


class EncodedClips:
    """Encoder frames of clips: each is decoded and encoded when it is first asked for.

    The encoder is frozen, so its output never changes; it is kept, the latest used first, within
    ``cache_bytes``, whatever the size of the manifest.

    Args:
        clips: The rows.
        encoder: What turns them into frames.
        max_seconds: Where clips are cut.
        cache_bytes: The most that stays in memory, on the encoder's device.

    Attributes:
        stage_seconds: Seconds spent so far in ``decode``, ``log-mel`` and ``encode``.
        log_mel: The first clip's features, float32 (n_mels, frames); None before it was decoded.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        encoder: WhisperEncoder,
        *,
        max_seconds: float = 30.0,
        cache_bytes: int = 1 << 30,
    ) -> None:
        self.clips, self.encoder = clips, encoder
        self.max_seconds, self.cache_bytes = max_seconds, cache_bytes
        self.stage_seconds = {"decode": 0.0, "log-mel": 0.0, "encode": 0.0}
        self.log_mel: NDArray[np.float32] | None = None
        self._frames: OrderedDict[int, Tensor] = OrderedDict()
        self._bytes = 0
        self._seconds: dict[int, float] = {}

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The encoder frames of some rows.

        Args:
            rows: Indices into ``clips``.

        Returns:
            Frames (B, T, d_model), zeros behind each clip's own, and their numbers, int64 (B,), on
            the CPU.

        Raises:
            AudioError: If a file cannot be decoded; it names the file.
            ManifestError: If a clip has no samples.
        """
        new = self._encode([row for row in dict.fromkeys(rows) if row not in self._frames])
        frames = [new[row] if row in new else self._frames[row] for row in rows]
        self._keep(rows, new)
        return pad_sequence(frames, batch_first=True), torch.tensor([len(f) for f in frames])

    def seconds(self, rows: Sequence[int]) -> float:
        """Seconds of audio in some rows, each of them encoded before."""
        return sum(self._seconds[row] for row in rows)

    def _encode(self, rows: list[int]) -> dict[int, Tensor]:
        if not rows:
            return {}
        waveforms = self._decode(rows)
        # One at a time on the CPU, where batches save nothing, so that a clip's frames do not
        # depend on its neighbours by a rounding: a resumed run meets it among other ones.
        size = 1 if self.encoder.encoder.device.type == "cpu" else len(rows)
        out: dict[int, Tensor] = {}
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            out |= zip(rows[part], self._forward(waveforms[part]), strict=True)
        return out

    def _decode(self, rows: list[int]) -> list[NDArray[np.float32]]:
        paths = [self.clips[row].path for row in rows]
        with self._timed("decode"):
            batch = load_batch(paths, SAMPLE_RATE, duration=self.max_seconds)
        lengths = [int(length) for length in batch.lengths]
        for row, length in zip(rows, lengths, strict=True):
            self._seconds[row] = length / SAMPLE_RATE
            if not length:
                clip = self.clips[row]
                raise ManifestError(clip.path, None, f"row {clip.row}: the clip has no samples")
        return [wave[:length] for wave, length in zip(batch.waveforms, lengths, strict=True)]

    def _forward(self, waveforms: list[NDArray[np.float32]]) -> list[Tensor]:
        with self._timed("log-mel"):
            features, lengths = self.encoder.preprocess(waveforms)
        if self.log_mel is None:
            self.log_mel = features[0, :, : int(lengths[0])].numpy()
        with self._timed("encode"):
            encoded = self.encoder(features, lengths if len(waveforms) > 1 else None)
            counts = self.encoder.output_lengths(lengths).tolist()
            # Copies, since a view would keep the whole batch in memory.
            return [row[:count].clone() for row, count in zip(encoded, counts, strict=True)]

    def _keep(self, rows: Sequence[int], new: dict[int, Tensor]) -> None:
        for row in rows:
            if row in self._frames:
                self._frames.move_to_end(row)
        self._frames |= new
        self._bytes += sum(frames.nbytes for frames in new.values())
        while self._bytes > self.cache_bytes:
            _, dropped = self._frames.popitem(last=False)
            self._bytes -= dropped.nbytes

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.stage_seconds[stage] += time.perf_counter() - start


def epoch_rows(count: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The rows of one step: a function of the seed and the step alone, so any step can be redone.

    Args:
        count: Rows of the manifest.
        batch_size: Rows of a step; ``count`` and more takes every row, in order, in every step.
        seed: Of the order.
        step: From 0. Each epoch is a permutation of its own; batches run across their borders.

    Returns:
        ``min(batch_size, count)`` row indices.
    """
    if batch_size >= count:
        return list(range(count))
    places = range(step * batch_size, (step + 1) * batch_size)
    first, last = places[0] // count, places[-1] // count
    orders = {e: np.random.default_rng([seed, e]).permutation(count) for e in {first, last}}
    return [int(orders[place // count][place % count]) for place in places]

"""Where clips and their texts come from: rows of any format, shards of features."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ossicle.audio.remarks import count_reasons
from ossicle.data.errors import ManifestError
from ossicle.data.paths import paths_of
from ossicle.data.read import read
from ossicle.data.recordings import Recording, header_of, samples_at
from ossicle.data.utterances import Utterance, Utterances
from ossicle.errors import AudioError, AudioFileNotFoundError
from ossicle.faults import Fault, RowName
from ossicle.features.mel import SAMPLE_RATE, WHISPER_SETTINGS, FeatureBatch
from ossicle.features.recordings import recording_features
from ossicle.model.encoder import Encoder
from ossicle.shard import Shard
from ossicle.shard.encoder_features import FRAMES, FeatureShards
from ossicle.stream.lengths import audio_lengths
from ossicle.train.config import TrainConfig
from ossicle.train.result import TooLongError

__all__ = [
    "AudioClips",
    "ClipSource",
    "ExtractedClips",
    "LoadedClip",
    "check_exists",
    "open_source",
    "shard_paths",
]

FRAME_SECONDS = 0.02  # of an encoder's frame
# A length is rounded to a sample, at the rate of the file and at that of the features.
_ROUNDING_SECONDS = 4 / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class LoadedClip:
    """One clip, ready for the encoder or for the projector.

    Attributes:
        frames: Log-mel features, float32 (n_mels, T), or an encoder's frames, (T, d) or (n, T, d).
        text: What is said in it.
        seconds: Its length.
        is_cut: Whether the recording goes on after it, and its text may.
    """

    frames: Tensor
    text: str
    seconds: float
    is_cut: bool = False


class ClipSource(Protocol):
    """Clips by number.

    Attributes:
        is_encoded: Whether examples hold an encoder's frames, rather than log-mel features.
        skipped: Rows of the data that are no clips, where they may be left out.
        remarks: How many clips have each reason for a remark, once `seconds` has read headers.
    """

    @property
    def is_encoded(self) -> bool: ...  # noqa: D102
    @property
    def skipped(self) -> list[Fault]: ...  # noqa: D102
    @property
    def remarks(self) -> dict[str, int]: ...  # noqa: D102

    def __len__(self) -> int: ...

    @property
    def sha256(self) -> str:
        """64 hex digits over names and texts in their order."""
        ...

    def row_name(self, row: int) -> RowName:
        """How the ledger calls a clip."""
        ...

    def texts(self) -> list[str]:
        """The text of every clip."""
        ...

    def seconds(self) -> NDArray[np.float64]:
        """The length of every clip, (N,), NaN where it has none that can be used."""
        ...

    def load(self, rows: Sequence[int]) -> list[LoadedClip | Exception]:
        """Some clips, or for each that cannot be used the error that says why."""
        ...


@dataclass
class AudioClips:
    """Clips whose log-mel features are computed when they are asked for.

    Attributes:
        utterances: What is said where. A text without sound is a clip of no frames.
        n_mels: Mel bins.
        max_seconds: What a clip may take.
        pad_to_seconds: What they are padded to with silence; None pads none.
        threads: To decode on; None takes one a processor.
        too_long: What becomes of longer clips: ``"cut"``, or a `TooLongError` of each.
        skipped: See `ClipSource`.
        remarks: See `ClipSource`.
    """

    utterances: Utterances
    n_mels: int = 80
    max_seconds: float = 30.0
    pad_to_seconds: float | None = None
    threads: int | None = None
    too_long: str = "error"
    skipped: list[Fault] = field(init=False)
    is_encoded: bool = field(default=False, init=False)
    remarks: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        faults = self.utterances.faults
        self.skipped = [Fault.of(one, RowName(one.row or 0)) for one in faults]
        # What is padded is cut there, too.
        self._most = min(self.max_seconds, self.pad_to_seconds or self.max_seconds)

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def sha256(self) -> str:
        """64 hex digits over names, segments and texts in their order."""
        return self.utterances.sha256

    def row_name(self, row: int) -> RowName:
        """How the ledger calls a clip."""
        found = self.utterances[row]
        if isinstance(found, ManifestError):
            return RowName(found.row or 0, file=found.source)
        return RowName(found.row, found.name, found.file)

    def texts(self) -> list[str]:
        """The text of every clip."""
        return self.utterances.texts()

    def seconds(self) -> NDArray[np.float64]:
        """The length of every clip, (N,), from headers; NaN where that fails or is too long."""
        rows = (self.utterances.row(row) for row in range(len(self)))
        lengths = audio_lengths(rows, threads=self.threads, on_error="collect")
        self.remarks, found = count_reasons(lengths.remarks), lengths.seconds
        if self.too_long != "cut":
            found = np.where(found > self._most + _ROUNDING_SECONDS, np.nan, found)
        if self.pad_to_seconds is not None:
            return np.where(np.isnan(found) | (found == 0), found, self.pad_to_seconds)
        return np.minimum(found, self.max_seconds)

    def load(self, rows: Sequence[int]) -> list[LoadedClip | Exception]:
        """Decodes some clips, all of them in one call that releases the GIL."""
        told = [self.utterances[row] for row in rows]
        decoded = iter(self._decode([one for one in told if _has_sound(one)]))
        silence = torch.zeros(self.n_mels, 0)
        return [
            one
            if isinstance(one, Exception)
            else next(decoded)
            if _has_sound(one)
            else LoadedClip(silence, one.text, 0.0)
            for one in told
        ]

    def _decode(self, heard: list[Any]) -> list[LoadedClip | Exception]:
        if not heard:
            return []
        found = recording_features(
            [one.recording for one in heard],
            n_mels=self.n_mels,
            pad_to_seconds=self.pad_to_seconds,
            max_seconds=self._most,
            threads=self.threads,
            on_error="collect",
        )
        return [self._clip(one, found, at) for at, one in enumerate(heard)]

    def _clip(self, one: Any, found: FeatureBatch, at: int) -> LoadedClip | Exception:
        error, samples = found.errors[at], int(found.lengths[at])
        if error is not None:
            return error
        if not samples:
            return ManifestError("the clip has no samples", source=one.file, row=one.row)
        # Only what fills the limit can be longer: its header is read again.
        most = round(self._most * SAMPLE_RATE)
        whole = samples if samples < most else _samples(one.recording)
        if whole > most and self.too_long != "cut":
            length = f"{whole / SAMPLE_RATE:g} s, at most {self._most:g} s are taken"
            why = f"the clip is too long: {length} (too_long=cut or drop)"
            return TooLongError(f"{one.name} (row {one.row})", why)
        features = torch.from_numpy(found.input_features[at])
        own = int(found.frames[at]) if self.pad_to_seconds is None else features.shape[1]
        seconds = samples / SAMPLE_RATE
        return LoadedClip(features[:, :own], one.text, seconds, is_cut=whole > most)


def _has_sound(one: Utterance | Exception) -> bool:
    return isinstance(one, Utterance) and one.recording is not None


def _samples(recording: Recording) -> int:
    return samples_at(recording, header_of(recording), SAMPLE_RATE)


@dataclass
class ExtractedClips:
    """Clips whose encoder output was extracted before.

    Attributes:
        shards: Where it lies.
        skipped: See `ClipSource`.
        remarks: See `ClipSource`.
    """

    shards: FeatureShards
    skipped: list[Fault] = field(default_factory=list)
    is_encoded: bool = field(default=True, init=False)
    remarks: dict[str, int] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def sha256(self) -> str:
        """64 hex digits over keys and lengths in their order."""
        facts = [self.shards.keys(), self.shards.lengths().tolist(), self.shards.fingerprint]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def row_name(self, row: int) -> RowName:
        """How the ledger calls a clip."""
        return RowName(row, self.shards.keys()[row])

    def texts(self) -> list[str]:
        """The text of every clip."""
        return [self.shards[row].text for row in range(len(self))]

    def seconds(self) -> NDArray[np.float64]:
        """The length of every clip, (N,), by its frames."""
        return self.shards.lengths().astype(np.float64) * FRAME_SECONDS

    def load(self, rows: Sequence[int]) -> list[LoadedClip | Exception]:
        """Reads some clips."""
        out: list[LoadedClip | Exception] = []
        for row in rows:
            try:
                clip = self.shards[row]
                out.append(LoadedClip(clip.frames, clip.text, clip.seconds))
            except (AudioError, ValueError) as error:
                out.append(error)
        return out


def open_source(
    data: Path | str,
    config: TrainConfig,
    encoder: Encoder,
    *,
    on_error: str | None = None,
    with_texts: bool = False,
) -> ClipSource:
    """The clips of ``data``, in whichever form it has.

    Args:
        data: Whatever `ossicle.data.read` reads, or shards of features.
        config: How they are read.
        encoder: Whose features they become, or must be.
        on_error: By default as ``config`` says.
        with_texts: Whether texts without sound are clips.

    Raises:
        ManifestError: If a row is no clip and none may be left out, or none is one; or the format
            is unknown.
        FingerprintError: If the features are another encoder's.
        AudioError: If a shard cannot be read.
        FileNotFoundError: If there is no such data.
    """
    paths = shard_paths(data)
    if paths and _holds_features(paths):
        return ExtractedClips(FeatureShards(paths, encoder.fingerprint))
    _check_extractor(encoder)
    rows = read(data, config.format, root=config.root, columns=config.column_names)
    utterances = Utterances(rows, with_texts=with_texts)
    if utterances.faults and (on_error or config.on_error) == "raise":
        raise utterances.faults[0]
    return AudioClips(
        utterances,
        encoder.n_mels,
        config.max_seconds,
        config.pad_to_seconds,
        config.threads,
        config.too_long,
    )


def shard_paths(data: Path | str) -> list[Path]:
    """The shards that ``data`` means: one, a folder of them or a pattern; none of other formats."""
    paths = paths_of(data) or []
    if len(paths) == 1 and paths[0].is_dir() and not (paths[0] / "manifest.jsonl").exists():
        return sorted(paths[0].glob("*.tar"))
    return paths if all(path.suffix == ".tar" for path in paths) else []


def check_exists(data: Path | str) -> None:
    """Before anything slow: that there is such data.

    Raises:
        FileNotFoundError: If there is not.
    """
    for path in paths_of(data) or []:
        if not path.exists():
            raise AudioFileNotFoundError("no such file or folder", source=str(path))


def _holds_features(paths: Sequence[Path]) -> bool:
    with Shard(paths[0]) as shard:
        return len(shard) > 0 and FRAMES in shard.extensions(0)


def _check_extractor(encoder: Encoder) -> None:
    for name, expected in WHISPER_SETTINGS.items():
        found = encoder.feature_settings.get(name, expected)
        if found != expected:
            raise ValueError(
                f"the features of {encoder.name} are not Whisper's own: {name} is {found}, not "
                f"{expected}; extract them first (ossicle extract whisper) and train on those"
            )

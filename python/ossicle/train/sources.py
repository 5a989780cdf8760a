"""Where clips and their texts come from: manifests, shards of recordings, shards of features."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ossicle.audio import AudioSource
from ossicle.audio.remarks import count_reasons
from ossicle.data.clips import Clip, clips_of, manifest_sha256
from ossicle.data.errors import ManifestError
from ossicle.errors import AudioError, InvalidArgumentError
from ossicle.faults import Fault, RowName
from ossicle.features.mel import SAMPLE_RATE, WHISPER_SETTINGS, load_features
from ossicle.model.encoder import Encoder
from ossicle.shard import AUDIO_EXTENSIONS, Shard
from ossicle.shard.encoder_features import FRAMES, FeatureShards
from ossicle.stream.lengths import audio_lengths
from ossicle.train.config import TrainConfig

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


@dataclass(frozen=True, slots=True)
class LoadedClip:
    """One clip, ready for the encoder or for the projector.

    Attributes:
        frames: Log-mel features, float32 (n_mels, T), or an encoder's frames, (T, d) or (n, T, d).
        text: What is said in it.
        seconds: Its length.
    """

    frames: Tensor
    text: str
    seconds: float


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
        """The length of every clip, (N,), NaN where its header cannot be read."""
        ...

    def load(self, rows: Sequence[int]) -> list[LoadedClip | Exception]:
        """Some clips, or for each that cannot be used the error that says why."""
        ...


@dataclass
class AudioClips:
    """Clips whose log-mel features are computed when they are asked for.

    Attributes:
        clips: What is said where; of shards the path is that of the shard.
        recordings: Where each is decoded from; by default its path.
        n_mels: Mel bins.
        max_seconds: Where clips are cut.
        pad_to_seconds: What they are padded to with silence; None pads none.
        threads: To decode on; None takes one a processor.
        skipped: See `ClipSource`.
        remarks: See `ClipSource`.
    """

    clips: list[Clip]
    recordings: Sequence[AudioSource] | None = None
    n_mels: int = 80
    max_seconds: float = 30.0
    pad_to_seconds: float | None = None
    threads: int | None = None
    skipped: list[Fault] = field(default_factory=list)
    is_encoded: bool = field(default=False, init=False)
    remarks: dict[str, int] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def sha256(self) -> str:
        """64 hex digits over names and texts in their order."""
        return manifest_sha256(self.clips)

    def row_name(self, row: int) -> RowName:
        """How the ledger calls a clip."""
        clip = self.clips[row]
        return RowName(clip.row, clip.name, str(clip.path))

    def texts(self) -> list[str]:
        """The text of every clip."""
        return [clip.text for clip in self.clips]

    def seconds(self) -> NDArray[np.float64]:
        """The length of every clip as it is cut, (N,), from headers; NaN where that fails."""
        rows = [self._recording(row) for row in range(len(self))]
        lengths = audio_lengths(rows, threads=self.threads, on_error="collect")
        self.remarks, found = count_reasons(lengths.remarks), lengths.seconds
        if self.pad_to_seconds is not None:
            return np.where(np.isnan(found), np.nan, self.pad_to_seconds)
        return np.minimum(found, self.max_seconds)

    def load(self, rows: Sequence[int]) -> list[LoadedClip | Exception]:
        """Decodes some clips, all of them in one call that releases the GIL."""
        found = load_features(
            [self._recording(row) for row in rows],
            n_mels=self.n_mels,
            pad_to_seconds=self.pad_to_seconds,
            duration=self.max_seconds,
            threads=self.threads,
            on_error="collect",
        )
        features = torch.from_numpy(found.input_features)
        out: list[LoadedClip | Exception] = []
        for at, (row, error) in enumerate(zip(rows, found.errors, strict=True)):
            if error is not None:
                out.append(error)
                continue
            if not found.lengths[at]:
                clip = self.clips[row]
                reason = "the clip has no samples"
                out.append(ManifestError(reason, source=str(clip.path), row=clip.row))
                continue
            own = int(found.frames[at]) if self.pad_to_seconds is None else features.shape[2]
            seconds = int(found.lengths[at]) / SAMPLE_RATE
            out.append(LoadedClip(features[at, :, :own], self.clips[row].text, seconds))
        return out

    def _recording(self, row: int) -> AudioSource:
        return self.clips[row].path if self.recordings is None else self.recordings[row]


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
    data: Path | str, config: TrainConfig, encoder: Encoder, *, on_error: str | None = None
) -> ClipSource:
    """The clips of ``data``, in whichever form it has.

    Args:
        data: A manifest, shards of recordings or shards of features, as `TrainConfig.data` says.
        config: How they are read.
        encoder: Whose features they become, or must be.
        on_error: By default as ``config`` says.

    Raises:
        ManifestError: If a row is no clip and none may be left out, or none is one.
        FingerprintError: If the features are another encoder's.
        AudioError: If a shard cannot be read.
        FileNotFoundError: If there is no such data.
    """
    paths = shard_paths(data)
    if paths and _holds_features(paths):
        return ExtractedClips(FeatureShards(paths, encoder.fingerprint))
    _check_extractor(encoder)
    rows, recordings = _shard_rows(paths, config.text_column) if paths else (None, None)
    if rows is None:
        rows = list(clips_of(data, audio=config.audio_column, text=config.text_column))
    kept = [n for n, row in enumerate(rows) if isinstance(row, Clip)]
    errors = [row for row in rows if isinstance(row, ManifestError)]
    if errors and ((on_error or config.on_error) == "raise" or not kept):
        raise errors[0]
    return AudioClips(
        [row for row in rows if isinstance(row, Clip)],
        None if recordings is None else [recordings[n] for n in kept],
        encoder.n_mels,
        config.max_seconds,
        config.pad_to_seconds,
        config.threads,
        [Fault.of(error, RowName(error.row or 0)) for error in errors],
    )


def shard_paths(data: Path | str) -> list[Path]:
    """The shards that ``data`` means: one, a folder of them or a pattern; none for a manifest."""
    path = Path(data)
    if "*" in path.name:
        return sorted(one for one in path.parent.glob(path.name) if one.suffix == ".tar")
    if path.is_dir() and not (path / "manifest.jsonl").exists():
        return sorted(path.glob("*.tar"))
    return [path] if path.suffix == ".tar" else []


def check_exists(data: Path | str) -> None:
    """Before anything slow: that there is such data.

    Raises:
        FileNotFoundError: If there is not.
    """
    if not shard_paths(data):
        path = Path(data)
        (path / "manifest.jsonl" if path.is_dir() else path).open("rb").close()


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


def _shard_rows(
    paths: Iterable[Path], text: str | None
) -> tuple[list[Clip | ManifestError], list[Any]]:
    rows: list[Clip | ManifestError] = []
    recordings = []
    for path in paths:
        shard = Shard(path)
        for number, key in enumerate(shard.keys()):
            recording, row = None, len(rows)
            try:
                recording = shard.member(number, _audio_member(shard, number))
                rows.append(Clip(path, _text_of(shard, number, text), row, key))
            except (ValueError, TypeError) as error:
                reason = getattr(error, "reason", error)
                why = f"sample {key!r}: {reason}"
                rows.append(ManifestError(why, source=str(path), row=row))
            recordings.append(recording)
    if not rows:
        raise InvalidArgumentError("the shards have no samples")
    return rows, recordings


def _audio_member(shard: Shard, number: int) -> str:
    names = shard.extensions(number)
    found = [name for name in names if name.rpartition(".")[2] in AUDIO_EXTENSIONS]
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} recordings: {', '.join(names)}")
    return found[0]


def _text_of(shard: Shard, number: int, name: str | None) -> str:
    """The text of a sample: a member of its own, or a field of its JSON."""
    names = shard.extensions(number)
    for member in (name,) if name else ("text", "txt"):
        if member in names:
            return _check_text(shard.read(number, member).decode("utf-8").strip())
    fields = json.loads(shard.read(number, "json")) if "json" in names else {}
    return _check_text(fields.get(name or "text"))


def _check_text(text: Any) -> str:
    if not isinstance(text, str) or not text:
        raise ValueError("it has no text")
    return text

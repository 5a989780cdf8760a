"""Loaders: the waveform and the metadata of a recording, by its ``wav_id``.

What they know of ids and places is kept in plain arrays, made when they are: workers, forked or
spawned, read those and share their pages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from ossicle.audio.resampling import check_rate
from ossicle.data.arrays import Lookup, Strings
from ossicle.data.errors import MetadataError, SampleError
from ossicle.data.frames import Table
from ossicle.data.recordings import header_of, samples_at
from ossicle.data.segments import Segment
from ossicle.dataloader.samples.shard_set import ShardSet, decode, only_channel, sample_error
from ossicle.dataloader.samples.sources import (
    ManifestRows,
    MetadataSource,
    SideCars,
    folder_of,
    recordings,
)
from ossicle.errors import AudioError, InvalidArgumentError
from ossicle.outputs import PathLike
from ossicle.shard.index import Shards

if TYPE_CHECKING:
    from ossicle.dataloader.types import ClipID, MetadataDict, Sample, SampleRate, Waveform, WavID

__all__ = [
    "FeatureLoader",
    "MetadataLoader",
    "RawFileLoader",
    "WaveformLoader",
    "WebDatasetLoader",
]


class FeatureLoader(ABC):
    """Loads single samples: the waveform of a recording and its metadata, by ``wav_id``."""

    @abstractmethod
    def load_waveform(self, wav_id: WavID) -> tuple[Waveform, SampleRate]:
        """The whole recording.

        Returns:
            A float32 tensor ``(channels, samples)`` in [-1, 1], and its rate in Hz.

        Raises:
            MetadataError: There is no such recording.
            SampleError: It cannot be decoded.
        """

    @abstractmethod
    def load_metadata(self, wav_id: WavID) -> MetadataDict:
        """The metadata of a recording.

        Raises:
            MetadataError: It has no metadata, or they cannot be read.
        """

    def load(self, wav_id: WavID) -> Sample:
        """Both."""
        waveform, sample_rate = self.load_waveform(wav_id)
        return waveform, sample_rate, self.load_metadata(wav_id)

    @abstractmethod
    def available_ids(self) -> list[WavID]:
        """All that can be loaded."""

    def segment(self, wav_id: WavID) -> Segment:
        """The part of a recording that the loader's own source says an id means, which it loads.

        Here all of it.
        """
        return Segment()

    def load_range(
        self, wav_id: WavID, offset: float = 0.0, duration: float | None = None
    ) -> tuple[Waveform, SampleRate]:
        """A part of a recording; here it is cut out of the whole, loaders do better.

        Args:
            wav_id: The recording.
            offset: Where to begin, in seconds: at sample ``round(offset * rate)``.
            duration: How much to take, in seconds: ``round(duration * rate)`` samples, or fewer
                where the recording ends; None takes all.
        """
        _check_range(offset, duration)
        waveform, rate = self.load_waveform(wav_id)
        start = round(offset * rate)
        end = None if duration is None else start + round(duration * rate)
        return waveform[:, start:end], rate

    def load_channel(
        self, wav_id: WavID, channel: int, offset: float = 0.0, duration: float | None = None
    ) -> tuple[Waveform, SampleRate]:
        """One channel of a recording, ``(1, samples)``; here of what `load_range` gives.

        Args:
            wav_id: The recording.
            channel: From 0.
            offset: As for `load_range`.
            duration: See there.

        Raises:
            SampleError: The recording has no such channel.
        """
        waveform, rate = self.load_range(wav_id, offset, duration)
        if channel >= len(waveform):
            why = f"channel {channel} of a recording of {len(waveform)} channels"
            raise SampleError(why, wav_id=wav_id)
        return waveform[channel : channel + 1], rate

    def duration(self, wav_id: WavID) -> float:
        """Length of a recording in seconds; here of the decoded one, loaders read headers."""
        waveform, rate = self.load_waveform(wav_id)
        return waveform.shape[-1] / rate


class WaveformLoader(FeatureLoader):
    """Audio files by ``wav_id``.

    Args:
        source: Where they are: a folder, in which ``a/b.flac`` is the recording ``a/b``; a mapping
            of ids to paths; or a manifest (`MetadataManifest`, Polars frame, Parquet, CSV or JSON
            lines file) with ``wav_id`` and a column of paths; rows that say an ``offset``,
            ``duration`` or ``end``, or ``channel`` are those segments of their files.
        column: That column; None takes the first of ``wav``, ``audio_path``, ``audio``, ``path``
            and ``audio_filepath`` that is there.
        root: The folder that relative paths begin at; None: the manifest file's own, else the
            working directory.
        sample_rate: In Hz, what to resample to; None keeps each file's own.
        mono: Take the mean of the channels, before resampling, in place of all of them.

    Raises:
        ManifestError: There is no such column or folder, an id comes twice, a path is missing.
    """

    def __init__(
        self,
        source: PathLike | Mapping[WavID, PathLike] | Table,
        *,
        column: str | None = None,
        root: PathLike | None = None,
        sample_rate: SampleRate | None = None,
        mono: bool = False,
    ) -> None:
        self.sample_rate = None if sample_rate is None else check_rate(sample_rate, "sample_rate")
        self.mono = mono
        self._files = recordings(source, column, root)

    def load_waveform(self, wav_id: WavID) -> tuple[Waveform, SampleRate]:
        """The whole recording, see `FeatureLoader.load_waveform`."""
        return self.load_range(wav_id)

    def load_range(
        self, wav_id: WavID, offset: float = 0.0, duration: float | None = None
    ) -> tuple[Waveform, SampleRate]:
        """A part of it; no more is decoded than that needs."""
        return self._decode(wav_id, offset, duration)

    def load_channel(
        self, wav_id: WavID, channel: int, offset: float = 0.0, duration: float | None = None
    ) -> tuple[Waveform, SampleRate]:
        """One channel of it, whether or not the mean is taken otherwise."""
        return self._decode(wav_id, offset, duration, channel)

    def _decode(
        self, wav_id: WavID, offset: float, duration: float | None, channel: int | None = None
    ) -> tuple[Waveform, SampleRate]:
        _check_range(offset, duration)
        recording = only_channel(self._files.recording(wav_id), channel, wav_id)
        return decode(recording, wav_id, self.sample_rate, self.mono, offset, duration)

    def load_metadata(self, wav_id: WavID) -> MetadataDict:
        """``wav_id`` and ``path``."""
        return {"wav_id": wav_id, "path": self._files.path(wav_id)}

    def available_ids(self) -> list[WavID]:
        """All files, in the order of the source; of a folder sorted."""
        return list(self._files.ids.strings)

    def segment(self, wav_id: WavID) -> Segment:
        """The segment of its file that the manifest says."""
        return self._files.segment(wav_id)

    def duration(self, wav_id: WavID) -> float:
        """Seconds, from the headers; of a segment its own."""
        recording = self._files.recording(wav_id)
        try:
            header = header_of(recording)
            return samples_at(recording, header) / header.sample_rate
        except AudioError as error:
            raise sample_error(error, wav_id) from error


class MetadataLoader:
    """Metadata by ``wav_id``, without waveforms.

    Args:
        source: A `MetadataStore` or an adapter; a manifest (`MetadataManifest`, Polars frame,
            Parquet, CSV or JSON lines file) with ``wav_id``, whose rows are kept as plain arrays;
            or a folder of side-cars, ``a/b.json`` (an object), ``a/b.npz`` (arrays) or both for the
            recording ``a/b``.

    Raises:
        ManifestError: It is nothing of that, or an id comes twice.
    """

    def __init__(self, source: PathLike | Table | MetadataSource) -> None:
        folder = folder_of(source)
        self._store: MetadataSource
        if folder is not None:
            self._store = SideCars(folder)
        else:
            self._store = source if isinstance(source, MetadataSource) else ManifestRows(source)

    def load_metadata(self, wav_id: WavID) -> MetadataDict:
        """The metadata of a recording, with its ``wav_id``.

        Raises:
            MetadataError: It has no metadata, or they cannot be read.
        """
        return {**self._store.load(wav_id), "wav_id": wav_id}

    def available_ids(self) -> list[WavID]:
        """All recordings that have metadata."""
        return self._store.list_ids()


class RawFileLoader(FeatureLoader):
    """Audio files and their metadata, in side-cars or anywhere else.

    Args:
        waveforms: A `WaveformLoader`, or what makes one: a folder, a mapping, a manifest.
        metadata: A `MetadataLoader`, or what makes one: a folder, a store, an adapter, a manifest;
            None looks for side-cars in the folder of the waveforms.
        sample_rate: As for `WaveformLoader`, like ``mono``; of one that is given its own counts.
        mono: See there.
        missing: What to do where nothing is known of a recording: ``"raise"`` a `MetadataError`, or
            give ``"empty"`` metadata (``wav_id`` and ``path`` alone).

    Raises:
        ManifestError: As of the two loaders.
        InvalidArgumentError: No ``metadata`` where ``waveforms`` is no folder.
    """

    def __init__(
        self,
        waveforms: WaveformLoader | PathLike | Mapping[WavID, PathLike] | Table,
        metadata: MetadataLoader | PathLike | Table | MetadataSource | None = None,
        *,
        sample_rate: SampleRate | None = None,
        mono: bool = False,
        missing: Literal["raise", "empty"] = "raise",
    ) -> None:
        if missing not in ("raise", "empty"):
            raise InvalidArgumentError(f'missing must be "raise" or "empty", not {missing!r}')
        metadata = folder_of(waveforms) if metadata is None else metadata
        if metadata is None:
            why = "pass metadata: side-cars are looked for only beside a folder of waveforms"
            raise InvalidArgumentError(why)
        self.missing = missing
        self.waveforms = (
            waveforms
            if isinstance(waveforms, WaveformLoader)
            else WaveformLoader(waveforms, sample_rate=sample_rate, mono=mono)
        )
        self.metadata: MetadataLoader = (
            metadata if isinstance(metadata, MetadataLoader) else MetadataLoader(metadata)
        )
        self._known = Lookup(Strings.of(self.metadata.available_ids()), "the metadata")

    def load_waveform(self, wav_id: WavID) -> tuple[Waveform, SampleRate]:
        """The whole recording, see `FeatureLoader.load_waveform`."""
        return self.waveforms.load_waveform(wav_id)

    def load_range(
        self, wav_id: WavID, offset: float = 0.0, duration: float | None = None
    ) -> tuple[Waveform, SampleRate]:
        """A part of it; no more is decoded than that needs."""
        return self.waveforms.load_range(wav_id, offset, duration)

    def load_channel(
        self, wav_id: WavID, channel: int, offset: float = 0.0, duration: float | None = None
    ) -> tuple[Waveform, SampleRate]:
        """One channel of it, whether or not the mean is taken otherwise."""
        return self.waveforms.load_channel(wav_id, channel, offset, duration)

    def load_metadata(self, wav_id: WavID) -> MetadataDict:
        """Its metadata, with its ``wav_id`` and its ``path``."""
        own = self.waveforms.load_metadata(wav_id)
        if self.missing == "empty" and self._known.find(wav_id) is None:
            return own
        try:
            return own | self.metadata.load_metadata(wav_id)
        except MetadataError as error:
            error.add_note('missing="empty" loads recordings that have no metadata, too')
            raise

    def segment(self, wav_id: WavID) -> Segment:
        """The segment of its file that the manifest of the waveforms says."""
        return self.waveforms.segment(wav_id)

    def available_ids(self) -> list[WavID]:
        """All recordings, whether or not something is known of them."""
        return self.waveforms.available_ids()

    def duration(self, wav_id: WavID) -> float:
        """Seconds, from the headers."""
        return self.waveforms.duration(wav_id)


class WebDatasetLoader(FeatureLoader):
    """Samples of tar shards in webdataset's layout, by key: at random places, decoded in place.

    A sample's key is a ``wav_id``, or a clip's, ``{wav_id}_{clip_idx:04d}``. The ``wav_id`` of a
    recording that lies there only as clips gives them end to end, in the order of their numbers:
    all that was packed of it; its metadata has a list of theirs under ``clips``.

    Metadata comes from the members beside the audio: the fields of ``json``, the arrays of ``npz``,
    and ``npy``, ``txt`` and ``cls`` under their extensions; ``seg.json`` is under ``seg``. Members
    of other kinds are not read, pickles never.

    Args:
        shards: Their paths; with an index beside each (`ossicle.index_shards`), no tar header is
            read.
        sample_rate: In Hz, what to resample to; None keeps each clip's own.
        mono: Take the mean of the channels, before resampling, in place of all of them.
        max_open: How many shards a process keeps open.

    Raises:
        AudioError: A shard cannot be opened.
        ManifestError: Two samples have one key.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        sample_rate: SampleRate | None = None,
        mono: bool = False,
        max_open: int = 16,
    ) -> None:
        self._shards = ShardSet(shards, sample_rate, mono, max_open)
        paths = self._shards.paths
        source = paths[0] if len(paths) == 1 else f"{len(paths)} shards, {paths[0]} ..."
        self._keys = Lookup(Strings.of(self._shards.keys()), source)

    def load_waveform(self, wav_id: WavID | ClipID) -> tuple[Waveform, SampleRate]:
        """The whole sample, see `FeatureLoader.load_waveform`."""
        return self.load_range(wav_id)

    def load_range(
        self, wav_id: WavID | ClipID, offset: float = 0.0, duration: float | None = None
    ) -> tuple[Waveform, SampleRate]:
        """A part of it; no more is decoded than that needs."""
        return self._decode(wav_id, offset, duration)

    def load_channel(
        self,
        wav_id: WavID | ClipID,
        channel: int,
        offset: float = 0.0,
        duration: float | None = None,
    ) -> tuple[Waveform, SampleRate]:
        """One channel of it, whether or not the mean is taken otherwise."""
        return self._decode(wav_id, offset, duration, channel)

    def _decode(
        self,
        wav_id: WavID | ClipID,
        offset: float,
        duration: float | None,
        channel: int | None = None,
    ) -> tuple[Waveform, SampleRate]:
        _check_range(offset, duration)
        number = self._keys.find(wav_id)
        if number is not None:
            return self._shards.waveform(number, wav_id, offset, duration, channel)
        return self._join(wav_id, self._clips(wav_id), offset, duration, channel)

    def load_metadata(self, wav_id: WavID | ClipID) -> MetadataDict:
        """What the members beside the audio say, with ``wav_id``, and ``clip_id`` of a clip."""
        number = self._keys.find(wav_id)
        if number is not None:
            return self._shards.metadata(number)
        clips = self._clips(wav_id)
        return {"wav_id": wav_id, "clips": [self._shards.metadata(clip) for clip in clips]}

    def available_ids(self) -> list[WavID | ClipID]:
        """The keys of all samples, in the order of the shards."""
        return list(self._keys.strings)

    def clip_ids(self, wav_id: WavID) -> list[ClipID]:
        """The clips of a recording, in the order of their numbers; an empty list where it has none.

        They are known by their keys, ``{wav_id}_{clip_idx:04d}``.
        """
        return [self._keys.strings[number] for number in self._numbers(wav_id)]

    def duration(self, wav_id: WavID | ClipID) -> float:
        """Seconds, from the headers."""
        number = self._keys.find(wav_id)
        clips = self._clips(wav_id) if number is None else [number]
        return sum(self._shards.length(clip, self._keys.strings[clip]).seconds for clip in clips)

    def _clips(self, wav_id: WavID) -> list[int]:
        return self._numbers(wav_id) or [self._keys.number(wav_id)]

    def _numbers(self, wav_id: WavID) -> list[int]:
        start = len(wav_id) + 1
        keys = self._keys.strings
        tails = ((keys[n][start:], n) for n in self._keys.beginning(f"{wav_id}_"))
        clips = [(int(tail), n) for tail, n in tails if _is_clip_number(tail)]
        return [number for _, number in sorted(clips)]

    def _join(
        self,
        wav_id: WavID,
        clips: list[int],
        offset: float,
        duration: float | None,
        channel: int | None,
    ) -> tuple[Waveform, SampleRate]:
        """Of the clips end to end, the range; clips outside of it are not decoded."""
        import torch

        keys, shards = self._keys.strings, self._shards
        rate, channels, lengths = self._lengths(wav_id, clips)
        channels = channels if channel is None else 1
        start, parts, begin = round(offset * rate), [torch.zeros(channels, 0)], 0
        stop = sum(lengths) if duration is None else start + round(duration * rate)
        for clip, length in zip(clips, lengths, strict=True):
            first, end = max(start - begin, 0), min(stop - begin, length)
            if first < end:
                ends = first / rate, (end - first) / rate
                parts.append(shards.waveform(clip, keys[clip], *ends, channel)[0])
            begin += length
        return torch.cat(parts, dim=1), rate

    def _lengths(self, wav_id: WavID, clips: list[int]) -> tuple[int, int, list[int]]:
        """The clips' rate and channels, and their numbers of samples."""
        found = [self._shards.length(clip, self._keys.strings[clip]) for clip in clips]
        kinds = {(one.sample_rate, one.channels) for one in found}
        if len(kinds) > 1:
            differing = ", ".join(f"{channels} at {rate} Hz" for rate, channels in sorted(kinds))
            raise SampleError(
                f"the recording's clips differ in channels or rate: {differing}", wav_id=wav_id
            )
        ((rate, channels),) = kinds
        return rate, channels, [one.samples for one in found]


def _is_clip_number(text: str) -> bool:
    return len(text) >= 4 and text.isascii() and text.isdigit() and f"{int(text):04d}" == text


def _check_range(offset: float, duration: float | None) -> None:
    if not 0 <= offset < float("inf"):
        raise InvalidArgumentError(f"offset must be at least 0 seconds, not {offset}")
    if duration is not None and not 0 <= duration < float("inf"):
        raise InvalidArgumentError(f"duration must be at least 0 seconds, not {duration}")

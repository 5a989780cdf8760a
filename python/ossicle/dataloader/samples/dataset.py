"""A dataset of PyTorch: samples by number.

It gives ``(waveform, sample_rate, metadata)``. What it knows of a manifest is in plain arrays,
so that workers, however they are started, neither load Polars nor copy pages of objects.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch.utils.data import Dataset

from ossicle.data.arrays import Column, Columns, Lookup, Strings
from ossicle.data.errors import MetadataError, SampleError
from ossicle.data.frames import Table, frame_of, source_of
from ossicle.data.matching import difference
from ossicle.data.segments import Segment
from ossicle.dataloader.samples.epoch import SharedEpoch, sample_seed
from ossicle.dataloader.samples.fault_policy import BAD, FaultPolicy
from ossicle.dataloader.samples.loaders import FeatureLoader
from ossicle.dataloader.samples.sources import ids_of, part_of_row, parts_of
from ossicle.dataloader.transform.segments import cut_metadata
from ossicle.dataloader.types import Sample
from ossicle.errors import InvalidArgumentError
from ossicle.faults import Fault, OnError

if TYPE_CHECKING:
    from ossicle.data.arrays import Ints
    from ossicle.dataloader.transform.base import DataProcessor
    from ossicle.dataloader.transform.windows import Window
    from ossicle.dataloader.types import MetadataDict, WavID

__all__ = ["SpeechDataset"]

# Rows of a manifest whose ids are compared with the loader's at once.
_MOST_COMPARED = 10_000


_FLICKS = 705_600_000
"""Parts of a second of which each sample of the usual rates has a whole number."""


class Windower(Protocol):
    """What `OnlineWindower` and `VADSegmenter` have."""

    def windows(self, metadata: MetadataDict, /) -> Sequence[Window]:
        """The windows of a recording."""


class SpeechDataset(Dataset[Sample]):
    """Samples by number: what a loader finds under an id, and a transform makes of it.

    ``metadata`` has what the loader knows, then the columns of the manifest (which win), and

    - ``wav_id``; of a window also ``clip_id``, ``{wav_id}_{number:04d}``, and ``window_label``
      where the windower has one;
    - ``seed``: an int, a function of ``seed``, the epoch and the id alone, which transforms take
      their randomness from.

    Where the manifest says ``offset``, ``duration`` or ``end``, or ``channel`` of a recording, the
    sample is that segment of it, windows are windows of the segment, and segments in its metadata
    follow. A loader that was made of the same manifest knows that already.

    Subclasses may have a ``__len__`` and ``__getitem__`` of their own.

    Args:
        loader: Where samples come from.
        processor: A transform, or a `Compose` of several.
        manifest: What is known of the recordings, a row each: a `MetadataManifest`, a Polars
            frame, or a Parquet, CSV or JSON lines file. It is kept as plain arrays.
        ids: Which recordings, in this order; None takes those of the manifest, or else all that the
            loader has.
        windower: Makes the samples windows of the recordings, chosen here, before anything is
            decoded, from what is known of each; of a window, only its range is decoded. Where no
            ``duration`` is known it is read from the headers.
        seed: Of ``metadata["seed"]``.
        on_error: What to do about samples that cannot be loaded: ``"raise"``; ``"skip"``, which
            makes a batch smaller; or ``"replace"`` by the next good one of the batch. The latter
            two work where a `DataLoader` makes batches; ``dataset[number]`` raises always.
        max_bad_share: How many of the last 1,000 samples of a process may be bad, as a share.
        ledger_path: A file that every process adds its faults to, for
            `ossicle.collator.read_ledger`.
        progress: Called with ``(recordings done, all)`` while windows are chosen.

    Raises:
        ManifestError: The manifest has no ``wav_id``, repeats one, or has columns that plain
            arrays cannot hold.
        MetadataError: One of ``ids`` is not in the manifest; the loader has none of them, and its
            ids differ from them by case, spaces, an extension or a folder; windows cannot be
            chosen.
    """

    def __init__(
        self,
        loader: FeatureLoader,
        processor: DataProcessor | None = None,
        *,
        manifest: Table | None = None,
        ids: Sequence[WavID] | None = None,
        windower: Windower | None = None,
        seed: int = 0,
        on_error: OnError = "raise",
        max_bad_share: float = 0.01,
        ledger_path: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        if isinstance(ids, str):
            raise InvalidArgumentError(f"ids must be a list, not the text {ids!r}")
        # What is a number in a table is a text as the name of a file or a sample.
        wanted: Any = ids
        ids = wanted and [str(one) if isinstance(one, int) else one for one in wanted]
        self.loader, self.processor, self.seed = loader, processor, seed
        self._policy = FaultPolicy(on_error, max_bad_share, ledger_path)
        self._epoch = SharedEpoch()
        self._columns: Columns | None = None
        self._parts: Columns | None = None
        if manifest is None:
            self._ids = Strings.of(loader.available_ids() if ids is None else ids)
            self._rows: Ints = np.arange(len(self._ids))
        else:
            self._ids, self._rows, self._columns, self._parts = _chosen(manifest, ids)
            chosen = [str(self._ids[int(row)]) for row in self._rows]
            _check_match(loader, chosen, source_of(manifest))
        self._windows = None if windower is None else self._cut_up(windower, progress)

    def __len__(self) -> int:
        return len(self._rows) if self._windows is None else self._windows.length

    def __getitem__(self, index: int) -> Sample:
        """One sample.

        Raises:
            SampleError: It cannot be decoded, or does not fit the transform.
            MetadataError: There is no such recording, or nothing is known of it.
        """
        place = range(len(self))[index]
        with self._policy.name_errors(self.id_of(place)):
            waveform, rate, metadata = self._load(place)
            key = str(metadata.get("clip_id", metadata["wav_id"]))
            metadata["seed"] = sample_seed(self.seed, self.epoch, key)
            if self.processor is None:
                return waveform, rate, metadata
            return self.processor(waveform, rate, metadata)

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """A batch, for PyTorch's `DataLoader`, with bad samples treated as ``on_error`` says."""
        return self._policy.batch(indices, self.__getitem__, self.id_of)

    @property
    def epoch(self) -> int:
        """The epoch that is set."""
        return self._epoch.get()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, in this process and in workers that already run."""
        self._epoch.set(epoch)

    @property
    def faults(self) -> list[Fault]:
        """Bad samples that this process has met; those of workers are in the ledger's file."""
        return self._policy.faults

    def id_of(self, index: int) -> WavID:
        """The id under which a sample's recording is loaded."""
        row = index if self._windows is None else int(self._windows["row"][index])
        return str(self._ids[int(self._rows[row])])

    def known(self, index: int) -> MetadataDict:
        """What the manifest says of a sample's recording."""
        row = index if self._windows is None else int(self._windows["row"][index])
        return {} if self._columns is None else self._columns.row(int(self._rows[row]))

    def _load(self, index: int) -> Sample:
        wav_id = self.id_of(index)
        part = self._part(index)
        if self._windows is None and part is None:
            waveform, rate, own = self.loader.load(wav_id)
            return waveform, rate, {"wav_id": wav_id, **own, **self.known(index)}
        own = self.loader.load_metadata(wav_id)
        metadata = {"wav_id": wav_id, **own, **self.known(index)}
        if self._windows is None:
            return self._range(wav_id, Segment(), metadata, part)
        window = self._windows.row(index)
        label = window["label"]
        metadata |= {"clip_id": f"{wav_id}_{window['number']:04d}"}
        metadata |= {} if label is None else {"window_label": label}
        onset, offset = window["onset"], window["offset"]
        return self._range(wav_id, Segment(onset, offset - onset), metadata, part)

    def _part(self, index: int) -> Segment | None:
        """The segment that the manifest says of a sample, where the loader does not know it.

        Raises:
            MetadataError: It is no segment, or another one than the loader's.
        """
        if self._parts is None:
            return None
        row = index if self._windows is None else int(self._windows["row"][index])
        wav_id = self.id_of(index)
        part = part_of_row(self._parts.row(int(self._rows[row])), wav_id)
        own = self.loader.segment(wav_id)
        if part.is_whole or part == own:
            return None
        if not own.is_whole:
            why = f"the manifest says {part}, and that of the loader {own}: give one of them"
            raise MetadataError(why, wav_id=wav_id)
        if part.may_be_whole:
            whole = round(self.loader.duration(wav_id) * _FLICKS)
            if part.frames(whole, _FLICKS) == whole:
                return None
        return part

    def _range(
        self, wav_id: WavID, window: Segment, metadata: MetadataDict, part: Segment | None
    ) -> Sample:
        """What `segments.cut` would take of the whole, or of a segment of it."""
        inside = window if part is None else part.inside(window.offset, window.duration, _FLICKS)
        loader, ends = self.loader, (inside.offset, inside.duration)
        if inside.channel is None:
            waveform, rate = loader.load_range(wav_id, *ends)
        else:
            waveform, rate = loader.load_channel(wav_id, inside.channel, *ends)
        if waveform.shape[-1] == 0:
            end = "its end" if inside.duration is None else f"{inside.offset + inside.duration:g} s"
            why = f"the window from {inside.offset:g} to {end} holds no samples"
            raise SampleError(why, wav_id=wav_id)
        start = round(inside.offset * rate)
        piece = start / rate, (start + waveform.shape[-1]) / rate
        return waveform, rate, cut_metadata(metadata, [piece])

    def _cut_up(
        self,
        windower: Windower,
        progress: Callable[[int, int], object] | None,
    ) -> Columns:
        """All windows, as plain arrays."""
        self._windows = None
        rows, numbers, onsets, offsets, labels = [], [], [], [], []
        for row in range(len(self._rows)):
            for number, window in enumerate(self._windows_of(row, windower)):
                rows.append(row)
                numbers.append(number)
                onsets.append(window.onset)
                offsets.append(window.end)
                labels.append(window.label)
            if progress is not None:
                progress(row + 1, len(self._rows))
        valid = np.array([label is not None for label in labels], bool)
        columns = {
            "row": Column(np.array(rows, np.int64)),
            "number": Column(np.array(numbers, np.int64)),
            "onset": Column(np.array(onsets, np.float64)),
            "offset": Column(np.array(offsets, np.float64)),
            "label": Column(Strings.of(label or "" for label in labels), valid),
        }
        return Columns(columns, len(rows))

    def _windows_of(self, row: int, windower: Windower) -> Sequence[Window]:
        wav_id = self.id_of(row)
        try:
            with self._policy.name_errors(wav_id):
                known = {"wav_id": wav_id, **self.loader.load_metadata(wav_id), **self.known(row)}
                part = self._part(row)
                if part is not None:
                    rest = self.loader.duration(wav_id) - part.offset
                    end = part.offset + (rest if part.duration is None else part.duration)
                    known = cut_metadata(known, [(part.offset, end)])
                if known.get("duration") is None:
                    known["duration"] = self.loader.duration(wav_id)
                return windower.windows(known)
        except BAD as error:
            self._policy.enter(row, wav_id, error)
            return []


def _chosen(
    manifest: Table, ids: Sequence[WavID] | None
) -> tuple[Strings, Ints, Columns, Columns | None]:
    """The ids of a manifest, which of its rows are wanted, its columns, and those of segments."""
    frame, source = frame_of(manifest), source_of(manifest)
    names = ids_of(frame, source)
    lookup = Lookup(names, source)
    rows = range(len(names)) if ids is None else map(lookup.number, ids)
    columns = Columns.of(frame.drop("wav_id"), source)
    parts = parts_of(frame)
    segments = None if parts is None else Columns.of(parts, source)
    return names, np.fromiter(rows, np.int64), columns, segments


def _check_match(loader: FeatureLoader, ids: Sequence[WavID], source: str) -> None:
    """Raises where none of the ids is the loader's, and why is known.

    Of many rows the loader is not asked for its ids, which would be an object each: the error of a
    row says which ids are like its own.
    """
    if len(ids) > _MOST_COMPARED:
        return
    known = loader.available_ids()
    if not known or not set(ids).isdisjoint(known):
        return
    found = difference(ids, known)
    if found is not None:
        why = f"none of its {len(ids):,} ids is one of the {len(known):,} of the loader: {found}"
        raise MetadataError(why, source=source)

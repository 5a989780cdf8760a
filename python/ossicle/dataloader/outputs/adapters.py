"""What the stages of a pipeline left on disk, read as a `FeatureProcessor` and never written.

They are in `default_registry`. Their ids are called ``wav_id`` whatever the
pipeline called them, and a recording whose stage failed is nowhere in them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ossicle.data.errors import ManifestError, MetadataError, MissingStageError
from ossicle.dataloader.outputs.adapter_bases import (
    ArrayStageAdapter,
    ReadOnlyAdapter,
    StageAdapter,
)
from ossicle.dataloader.outputs.alignments import CtmRun, index_ctm, read_ctm, read_textgrid
from ossicle.dataloader.outputs.archive_summaries import summarize_categories, summarize_clarity
from ossicle.dataloader.outputs.stage_tables import ID, StageTable
from ossicle.dataloader.types import MetadataDict, SegmentList, WavID
from ossicle.progress import Progress, reporting

if TYPE_CHECKING:
    import os
    from typing import Self

    import polars as pl

__all__ = ["ADAPTERS", "ESCAdapter", "PhonemeAdapter", "SNRAdapter", "VADAdapter", "VTCAdapter"]

_SEGMENT = {"onset": "number", "offset": "number"}


class VADAdapter(StageAdapter):
    """Where there is speech: ``vad_meta/metadata.parquet``, ``vad_{raw,merged}/segments.parquet``.

    `load` gives segments as ``vad_raw`` and ``vad_merged``: lists of dicts with ``onset`` and
    ``offset`` in seconds.
    """

    name = "vad"
    _meta = StageTable(
        ("vad_meta",),
        "metadata.parquet",
        {"duration": "number", "speech_ratio": "number", "success": "flag"},
        {"n_segments": "count", "error": "text"},
        id_column="file_id",
    )
    _segments: ClassVar = {
        name: StageTable((name,), "segments.parquet", _SEGMENT, {"duration": "number"})
        for name in ("vad_raw", "vad_merged")
    }

    def _succeeded(self) -> pl.Expr:
        import polars as pl

        return pl.col("success")


class VTCAdapter(StageAdapter):
    """Who speaks when: ``vtc_meta/shard_*.parquet``, ``vtc_{raw,merged}/shard_*.parquet``.

    `load` gives segments as ``vtc_raw`` and ``vtc_merged``: lists of dicts with ``onset`` and
    ``offset`` in seconds and a ``label`` (``KCHI``, ``CHI``, ``OCHI``, ``FEM``, ``MAL``).
    """

    name = "vtc"
    _meta = StageTable(
        ("vtc_meta",),
        "shard_*.parquet",
        {"vtc_status": "text", "vtc_label_counts": "text"},
        {"vtc_n_segments": "count", "error": "text"},
    )
    _segments: ClassVar = {
        name: StageTable(
            (name,), "shard_*.parquet", _SEGMENT | {"label": "text"}, {"duration": "number"}
        )
        for name in ("vtc_raw", "vtc_merged")
    }


class SNRAdapter(ArrayStageAdapter):
    """How clear the speech is: ``snr_meta/shard_*.parquet``, ``snr/{wav_id}.npz``.

    `load` gives the arrays of the archive: ``snr``, ``c50`` (decibels), ``vad`` (probability) by
    frame, and ``step_s``, seconds from one frame to the next.
    """

    name = "snr"
    _folders = ("snr",)
    _meta = StageTable(
        ("snr_meta",),
        "shard_*.parquet",
        {"snr_status": "text", "snr_mean": "number"},
        {"c50_mean": "number"},
    )
    _summarize = staticmethod(summarize_clarity)


class ESCAdapter(ArrayStageAdapter):
    """What else is heard: ``esc_meta/shard_*.parquet``, ``esc/{wav_id}.npz``, or ``noise``.

    `load` gives the arrays of the archive: ``categories`` (bins, categories) and
    ``audioset_probs`` (bins, classes) of probabilities, ``category_names``, and ``pool_step_s``,
    seconds from one bin to the next.
    """

    name = "esc"
    _folders = ("esc", "noise")
    _meta = StageTable(
        ("esc_meta", "noise_meta"),
        "shard_*.parquet",
        {"esc_status": "text", "dominant_category": "text"},
        {"dominant_prob": "number"},
    )
    _summarize = staticmethod(summarize_categories)


class PhonemeAdapter(ReadOnlyAdapter):
    """What is said when: a forced aligner's ``*.TextGrid`` and ``*.ctm``, in any subfolder.

    A TextGrid is of the recording whose name it has; a CTM file names its recordings line by line,
    and its own name is their tier (``words.ctm``, ``phones.ctm``). `load` gives ``phonemes``: a
    list of dicts with ``onset`` and ``offset`` in seconds, ``label``, ``tier``, and ``channel`` and
    ``confidence``, which a TextGrid leaves None.

    Args:
        output_dir: The folder.
        tiers: Names of the tiers to read; None reads all.
        keep_empty: Whether intervals without a label, which are pauses, are segments, too.
    """

    name = "phoneme"

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        *,
        tiers: Collection[str] | None = None,
        keep_empty: bool = False,
    ) -> None:
        super().__init__(output_dir)
        if isinstance(tiers, str):
            raise TypeError(f"tiers must be a collection of names, not {tiers!r}")
        self.tiers = None if tiers is None else frozenset(tiers)
        self.keep_empty = keep_empty
        self._found: dict[WavID, Path | list[CtmRun]] | None = None

    def scan(self) -> pl.LazyFrame:
        """As `as_manifest`: alignments are read now."""
        return self.as_manifest().lazy()

    def as_manifest(self, progress: Progress = None) -> pl.DataFrame:
        """A row for each recording, for which its alignment is read.

        Args:
            progress: True shows a bar; a function is called with what is done and with all.

        Returns:
            ``wav_id``, ``phoneme_n_segments``, ``phoneme_label_counts`` (a JSON object as text) and
            ``phoneme_duration``, the end of the alignment in seconds.

        Raises:
            MissingStageError: There is no alignment.
            ManifestError: A recording has more than one.
            MetadataError: An alignment is damaged; the message has file and line.
        """
        import polars as pl

        ids, rows = self.list_ids(), []
        with reporting(progress, self.name) as report:
            for done, wav_id in enumerate(ids, 1):
                rows.append(_summary(wav_id, *self._read(wav_id)))
                report(done, len(ids))
        return pl.DataFrame(rows, infer_schema_length=None)

    def list_ids(self) -> list[WavID]:
        """The recordings that have an alignment, sorted."""
        return sorted(self._index())

    def prepare(self) -> Self:
        """Finds the alignments; `load`, `exists` and `list_ids` do so when they are first used."""
        files = sorted(path for path in self.output_dir.rglob("*") if path.is_file())
        found: dict[WavID, Path | list[CtmRun]] = {}
        for path in files:
            if path.suffix.lower() == ".textgrid":
                _add(found, path.stem, path)
            elif path.suffix.lower() == ".ctm":
                for wav_id, runs in index_ctm(path).items():
                    _add(found, wav_id, runs)
        if not found:
            why = "the folder has no alignments: no *.TextGrid, and no line of a *.ctm"
            raise MissingStageError(why, source=str(self.output_dir))
        self._found = found
        return self

    def prepare_once(self) -> Self:
        """`prepare`, where that has not been done."""
        return self.prepare() if self._found is None else self

    def exists(self, wav_id: WavID, output_dir: Path | None = None) -> bool:
        """Whether a recording has an alignment."""
        return wav_id in self._at(output_dir)._index()

    def load(self, wav_id: WavID, output_dir: Path | None = None) -> MetadataDict:
        """The row of a recording as in the manifest, with its segments as ``phonemes``.

        Raises:
            MetadataError: There is no alignment of it, or that is damaged; the message has file
                and line.
        """
        at = self._at(output_dir)
        segments, end = at._read(wav_id)
        return _summary(wav_id, segments, end) | {"phonemes": segments}

    def _for(self, output_dir: Path) -> Self:
        return type(self)(output_dir, tiers=self.tiers, keep_empty=self.keep_empty)

    def _index(self) -> dict[WavID, Path | list[CtmRun]]:
        found = self.prepare_once()._found
        assert found is not None
        return found

    def _read(self, wav_id: WavID) -> tuple[SegmentList, float]:
        source = self._index().get(wav_id)
        if source is None:
            raise MetadataError("has no alignment", source=str(self.output_dir), wav_id=wav_id)
        if isinstance(source, Path):
            segments, end = read_textgrid(source)
        else:
            segments = [segment for run in source for segment in read_ctm(run)]
            end = max((segment["offset"] for segment in segments), default=0.0)
        return [segment for segment in segments if self._is_wanted(segment)], end

    def _is_wanted(self, segment: dict[str, Any]) -> bool:
        has_label = self.keep_empty or bool(segment["label"].strip())
        return has_label and (self.tiers is None or segment["tier"] in self.tiers)


ADAPTERS = (VADAdapter, VTCAdapter, SNRAdapter, ESCAdapter, PhonemeAdapter)
"""Those of the stages that Ossicle knows."""


def _add(
    found: dict[WavID, Path | list[CtmRun]], wav_id: WavID, source: Path | list[CtmRun]
) -> None:
    """CTM files may share a recording, each with a tier of it; nothing else may."""
    known = found.setdefault(wav_id, source)
    if known is source:
        return
    if not isinstance(known, Path) and not isinstance(source, Path):
        tiers = {run.path.stem for run in known}
        if source[0].path.stem not in tiers:
            known += source
            return
    first, second = (at if isinstance(at, Path) else at[0].path for at in (known, source))
    why = f"has two alignments, this and {second}"
    raise ManifestError(why, source=str(first), wav_id=wav_id)


def _summary(wav_id: WavID, segments: SegmentList, end: float) -> MetadataDict:
    counts = Counter(segment["label"] for segment in segments)
    return {
        ID: wav_id,
        "phoneme_n_segments": len(segments),
        "phoneme_label_counts": json.dumps(dict(sorted(counts.items())), ensure_ascii=False),
        "phoneme_duration": end,
    }

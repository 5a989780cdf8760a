"""What the pipeline's stages left on disk, read through the interface of a `FeatureProcessor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn

from ossicle.dataloader.processor import FeatureProcessor, default_registry
from ossicle.dataloader.stages import ID, StageTable, check_rows, collect
from ossicle.dataloader.types import MetadataDict, WavID

if TYPE_CHECKING:
    import os

    import polars as pl

__all__ = ["ESCAdapter", "SNRAdapter", "VADAdapter", "VTCAdapter"]


class StageAdapter(FeatureProcessor):
    name = ""
    _meta: ClassVar[StageTable]

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = Path(output_dir)

    def scan(self) -> pl.LazyFrame:
        """A row for each recording whose stage succeeded, lazily."""
        return self._meta.scan(self.output_dir).filter(self._succeeded())

    def as_manifest(self) -> pl.DataFrame:
        return check_rows(collect(self.scan(), self.output_dir), self.output_dir)

    def list_ids(self) -> list[WavID]:
        lazy = self.scan().select(ID)
        return check_rows(collect(lazy, self.output_dir), self.output_dir)[ID].to_list()

    def _succeeded(self) -> pl.Expr:
        import polars as pl

        return pl.col(f"{self.name}_status") != "error"

    def process(self, wav_id: WavID, audio_path: Path) -> NoReturn:
        raise NotImplementedError

    def save(self, wav_id: WavID, metadata: MetadataDict, output_dir: Path) -> NoReturn:
        raise NotImplementedError

    def load(self, wav_id: WavID, output_dir: Path | None = None) -> MetadataDict:
        raise NotImplementedError

    def exists(self, wav_id: WavID, output_dir: Path | None = None) -> bool:
        raise NotImplementedError


_register = default_registry().register


@_register
class VADAdapter(StageAdapter):
    """Where there is speech: of the stage's tables ``vad_meta``, ``vad_raw`` and ``vad_merged``."""

    name = "vad"
    _meta = StageTable(
        ("vad_meta",),
        "metadata.parquet",
        {"duration": "number", "speech_ratio": "number", "success": "flag"},
        {"n_segments": "count", "error": "text"},
        id_column="file_id",
    )

    def _succeeded(self) -> pl.Expr:
        import polars as pl

        return pl.col("success")


@_register
class VTCAdapter(StageAdapter):
    """Who speaks."""

    name = "vtc"
    _meta = StageTable(
        ("vtc_meta",),
        "shard_*.parquet",
        {"vtc_status": "text", "vtc_label_counts": "text"},
        {"vtc_n_segments": "count", "error": "text"},
    )


@_register
class SNRAdapter(StageAdapter):
    """How clear it is."""

    name = "snr"
    _meta = StageTable(
        ("snr_meta",),
        "shard_*.parquet",
        {"snr_status": "text", "snr_mean": "number"},
        {"c50_mean": "number"},
    )


@_register
class ESCAdapter(StageAdapter):
    """What else sounds."""

    name = "esc"
    _meta = StageTable(
        ("esc_meta", "noise_meta"),
        "shard_*.parquet",
        {"esc_status": "text", "dominant_category": "text"},
        {"dominant_prob": "number"},
    )

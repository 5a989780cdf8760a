"""The manifest of a pipeline's output folder, in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ossicle.data.errors import ManifestError, MissingStageError
from ossicle.dataloader.outputs.config import FilterConfig
from ossicle.dataloader.outputs.filters import LABEL_COUNTS
from ossicle.dataloader.outputs.joiner import How, ManifestJoiner
from ossicle.dataloader.outputs.manifest import MetadataManifest
from ossicle.dataloader.outputs.registry import default_registry
from ossicle.dataloader.outputs.stage_tables import ID

if TYPE_CHECKING:
    import polars as pl

__all__ = ["STAGES", "build_manifest"]

STAGES = ("vad", "vtc", "snr", "esc")
"""The stages that a manifest is made of where none are named."""


def build_manifest(
    output_dir: str | os.PathLike[str],
    filters: FilterConfig | None = None,
    stages: Sequence[str] | None = None,
    *,
    how: How = "inner",
) -> MetadataManifest:
    """Joins what the stages of a pipeline say of each recording, and takes those that are wanted.

    Recordings on which a stage failed are not among that stage's rows. A column that several stages
    have gets the stage before its name (``vad_error``, ``vtc_error``), others keep theirs.

    Args:
        output_dir: Where the pipeline wrote.
        filters: Which recordings to take; all by default.
        stages: Which stages to read; by default ``vad``, ``vtc``, ``snr`` and ``esc``. Any
            processor of `default_registry` that can `scan` its outputs will do.
        how: Which recordings are kept: those of every stage, of the first one, or of any.

    Returns:
        Rows in the order of the first stage; lazy.

    Raises:
        MissingStageError: A stage has not run, and is not left out of `stages`; or `filters` ask
            for one that is.
        ManifestError: There is no such stage, a table is damaged, or it repeats a recording.
    """
    names = _check_stages(STAGES if stages is None else stages)
    scans = _scans(Path(output_dir), names)
    joiner = ManifestJoiner(how, conflict="prefix")
    for name, scan in scans.items():
        joiner.add(_manifest(scan, name, Path(output_dir)))
    manifest = joiner.join()
    if filters is None:
        return manifest
    predicate = filters.expression(manifest.schema, names)
    if filters.required_labels:
        _check_label_counts(scans["vtc"], Path(output_dir))
    return manifest.filter(predicate)


def _check_stages(stages: Sequence[str]) -> list[str]:
    known = default_registry()
    if isinstance(stages, str) or not stages:
        raise ManifestError(f"stages must be a list of names, not {stages!r}")
    for name in stages:
        if name not in known:
            raise ManifestError(f"unknown stage {name!r}: there are {', '.join(known.names())}")
        if list(stages).count(name) > 1:
            raise ManifestError(f"the stage {name!r} is listed twice")
    return list(stages)


def _scans(root: Path, names: Sequence[str]) -> dict[str, pl.LazyFrame]:
    """A lazy table of each stage, or one error that names all that have not run."""
    found, missing = dict[str, "pl.LazyFrame"](), dict[str, MissingStageError]()
    for name in names:
        adapter = default_registry().create(name, root)
        if not hasattr(adapter, "scan"):
            raise ManifestError(f"the processor {name!r} has no tables to scan", source=str(root))
        try:
            found[name] = adapter.scan()
        except MissingStageError as error:
            missing[name] = error
    if missing:
        raise _missing(root, list(missing.items()), list(found))
    return found


def _missing(
    root: Path, missing: list[tuple[str, MissingStageError]], found: list[str]
) -> MissingStageError:
    reasons = "; ".join(f"{name!r}: {error.reason}" for name, error in missing)
    there = f"leave it out with stages={found}" if found else "no stage has"
    return MissingStageError(f"has not run: {reasons}; {there}", source=str(root))


def _manifest(scan: pl.LazyFrame, name: str, root: Path) -> MetadataManifest:
    """A stage's manifest, whose errors say where it lies."""
    try:
        return MetadataManifest(scan, name)
    except ManifestError as error:
        error.source = f"{root}, stage {name!r}"
        raise


def _check_label_counts(scan: pl.LazyFrame, root: Path) -> None:
    """Raises where the text that labels are looked up in is damaged, instead of passing it over."""
    import polars as pl

    text = pl.col(LABEL_COUNTS)
    # A path to the whole finds nothing where there is no JSON.
    is_damaged = text.is_not_null() & ~text.str.json_path_match("$").str.starts_with("{").fill_null(
        False
    )
    first = scan.filter(is_damaged).select(ID, LABEL_COUNTS).head(1).collect()
    if first.height:
        wav_id, damaged = first.row(0)
        why = f"is not a JSON object: {damaged[:80]!r}"
        raise ManifestError(why, source=str(root), wav_id=wav_id, column=LABEL_COUNTS)

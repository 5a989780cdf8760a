"""Rows of data in all the forms that people have them: what everything else reads them with.

`COLUMNS` is the one table of the names that columns have. A manifest is read by `read_manifest`, a
recording in any form that a row may hold is a `Recording`. A row has one number everywhere: its
place among the rows, from 0.
"""

from __future__ import annotations

from ossicle.data.clips import Clip, clips_of, manifest_sha256, read_manifest
from ossicle.data.columns import COLUMNS
from ossicle.data.errors import (
    DataError,
    ManifestError,
    MetadataError,
    MissingStageError,
    SampleError,
)
from ossicle.data.manifests import ManifestRow, manifest_rows
from ossicle.data.recordings import Recording, Samples, recording_of

__all__ = [
    "COLUMNS",
    "Clip",
    "DataError",
    "ManifestError",
    "ManifestRow",
    "MetadataError",
    "MissingStageError",
    "Recording",
    "SampleError",
    "Samples",
    "clips_of",
    "manifest_rows",
    "manifest_sha256",
    "read_manifest",
    "recording_of",
]

"""Rows of data in all the forms that people have them: what everything else reads them with.

`COLUMNS` is the one table of the names that columns have. `read` takes files, folders, frames and
data sets, which become `Rows` of one schema; a recording in any form that a row may hold is a
`Recording`, a text with its recording an `Utterance`. A row has one number everywhere: its place
among the rows, from 0.
"""

from __future__ import annotations

from ossicle.data.check import CheckResult, check
from ossicle.data.columns import COLUMNS, SCHEMA
from ossicle.data.errors import (
    DataError,
    ManifestError,
    MetadataError,
    MissingStageError,
    SampleError,
)
from ossicle.data.read import read
from ossicle.data.recordings import Recording, Samples, recording_of, recordings_of
from ossicle.data.rows import Rows, SpeechRow, write_faults
from ossicle.data.segments import Segment
from ossicle.data.split import split
from ossicle.data.utterances import Utterance, Utterances

__all__ = [
    "COLUMNS",
    "SCHEMA",
    "CheckResult",
    "DataError",
    "ManifestError",
    "MetadataError",
    "MissingStageError",
    "Recording",
    "Rows",
    "SampleError",
    "Samples",
    "Segment",
    "SpeechRow",
    "Utterance",
    "Utterances",
    "check",
    "read",
    "recording_of",
    "recordings_of",
    "split",
    "write_faults",
]

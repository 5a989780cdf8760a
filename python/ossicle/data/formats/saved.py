"""Folders that `datasets` has saved: ``Dataset.save_to_disk``, ``DatasetDict.save_to_disk``.

Format: ``state.json`` beside ``data-*.arrow``, streams of Apache Arrow; ``dataset_dict.json`` above
the folders of splits.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from ossicle.data.errors import ManifestError
from ossicle.data.formats.memory import read_dataset
from ossicle.data.pieces import Found

__all__ = ["read_saved"]


def read_saved(folder: Path) -> Iterator[Found]:
    """The rows of a saved data set.

    Raises:
        ManifestError: It cannot be read, or `datasets` is not installed.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        reason = "a folder that datasets has saved is read with it: pip install datasets"
        raise ManifestError(reason, source=str(folder)) from error
    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise ManifestError(f"datasets cannot read it: {error}", source=str(folder)) from error
    return read_dataset(found)

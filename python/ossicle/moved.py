"""Modules under the paths that they had before: they import with a `DeprecationWarning`.

One table holds the old path and the new one of each. It is looked up only where Python finds no
module of that name, so that nothing is paid for it otherwise. An entry goes one version after its
move.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

__all__ = ["MOVED", "install", "warn_renamed"]

MOVED: Final[dict[str, str]] = {
    "ossicle.batch_plan": "ossicle.stream.budgets",
    "ossicle.collator.calls": "ossicle.collator.encode",
    "ossicle.collator.faults": "ossicle.faults",
    "ossicle.continuous_io": "ossicle.espnet",
    "ossicle.corpus": "ossicle.experiment.corpus",
    "ossicle.dataloader.adapter_bases": "ossicle.dataloader.outputs.adapter_bases",
    "ossicle.dataloader.adapters": "ossicle.dataloader.outputs.adapters",
    "ossicle.dataloader.alignments": "ossicle.dataloader.outputs.alignments",
    "ossicle.dataloader.build": "ossicle.dataloader.outputs.build",
    "ossicle.dataloader.columns": "ossicle.data.arrays",
    "ossicle.dataloader.compose": "ossicle.dataloader.transform.base",
    "ossicle.dataloader.conditions": "ossicle.dataloader.outputs.filters",
    "ossicle.dataloader.config": "ossicle.dataloader.outputs.config",
    "ossicle.dataloader.dataset": "ossicle.dataloader",
    "ossicle.dataloader.errors": "ossicle.data.errors",
    "ossicle.dataloader.files": "ossicle.dataloader.samples.sources",
    "ossicle.dataloader.joiner": "ossicle.dataloader.outputs.joiner",
    "ossicle.dataloader.judge": "ossicle.dataloader.samples.fault_policy",
    "ossicle.dataloader.labels": "ossicle.dataloader.transform.labels",
    "ossicle.dataloader.loader": "ossicle.dataloader.samples.loaders",
    "ossicle.dataloader.manifest": "ossicle.dataloader.outputs.manifest",
    "ossicle.dataloader.masks": "ossicle.dataloader.transform.masks",
    "ossicle.dataloader.npz": "ossicle.data.npz",
    "ossicle.dataloader.processor": "ossicle.dataloader",
    "ossicle.dataloader.progress": "ossicle.progress",
    "ossicle.dataloader.rows_by_id": "ossicle.data.rows_by_id",
    "ossicle.dataloader.sampler": "ossicle.dataloader.samples.sampler",
    "ossicle.dataloader.segments": "ossicle.dataloader.transform.segments",
    "ossicle.dataloader.shard_set": "ossicle.dataloader.samples.shard_set",
    "ossicle.dataloader.shard_stream": "ossicle.dataloader.samples.shard_stream",
    "ossicle.dataloader.speech": "ossicle.dataloader.transform.speech",
    "ossicle.dataloader.stages": "ossicle.dataloader.outputs.stage_tables",
    "ossicle.dataloader.store": "ossicle.dataloader.outputs.store",
    "ossicle.dataloader.strata": "ossicle.dataloader.samples.strata",
    "ossicle.dataloader.summaries": "ossicle.dataloader.outputs.archive_summaries",
    "ossicle.dataloader.summary": "ossicle.dataloader.outputs.column_summary",
    "ossicle.dataloader.upstream": "ossicle.dataloader.fairseq",
    "ossicle.dataloader.windows": "ossicle.dataloader.transform.windows",
    "ossicle.dataloader.windows_picture": "ossicle.dataloader.transform.windows_picture",
    "ossicle.data.clips": "ossicle.data",
    "ossicle.data.manifests": "ossicle.data",
    "ossicle.data.tables": "ossicle.data.frames",
    "ossicle.demo": "ossicle.experiment.demo",
    "ossicle.extract.features": "ossicle.shard.encoder_features",
    "ossicle.fingerprint": "ossicle.features.fingerprint",
    "ossicle.lengths": "ossicle.stream.lengths",
    "ossicle.mel": "ossicle.features.mel",
    "ossicle.model.tiny": "ossicle.experiment.tiny",
    "ossicle.model.tiny_families": "ossicle.experiment.tiny_families",
    "ossicle.model.tiny_granite": "ossicle.experiment.tiny_granite",
    "ossicle.picture": "ossicle.features.picture",
    "ossicle.polars_errors": "ossicle.data.polars_errors",
    "ossicle.recordings": "ossicle.data.recordings",
    "ossicle.remarks": "ossicle.audio.remarks",
    "ossicle.resampling": "ossicle.audio.resampling",
    "ossicle.sampler": "ossicle.stream.sampler",
    "ossicle.shard.manifest": "ossicle.data",
    "ossicle.spoken": "ossicle.experiment.spoken",
    "ossicle.train.align": "ossicle.train",
    "ossicle.train.ctc": "ossicle.experiment.ctc_encoder",
    "ossicle.train.experiment": "ossicle.experiment.weak_align",
    "ossicle.train.language": "ossicle.experiment.language_model",
    "ossicle.train.pictures": "ossicle.experiment.pictures",
    "ossicle.train.clips": "ossicle.data",
    "ossicle.turns": "ossicle.stream.turns",
    "ossicle.waveforms": "ossicle.audio.waveforms",
    "ossicle.whisper_features": "ossicle.features.whisper",
    "ossicle.whole_files": "ossicle.atomic",
}
"""The new path of each module by its old one."""


class _Finder(MetaPathFinder):
    """Finds the modules of `MOVED`; the last of all finders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        new = MOVED.get(fullname)
        return None if new is None else ModuleSpec(fullname, _Alias(new))


class _Alias(Loader):
    """Imports the module that another path stands for."""

    def __init__(self, new: str) -> None:
        self._new = new

    def exec_module(self, module: ModuleType) -> None:
        # Two levels: Python leaves its own frames of the import out of the count.
        warnings.warn(
            f"{module.__name__} is {self._new} now; the old path will be removed in the next "
            "version",
            DeprecationWarning,
            stacklevel=2,
        )
        # The module itself, not a copy: its classes stay one, and what is pickled is found.
        sys.modules[module.__name__] = importlib.import_module(self._new)


def install() -> None:
    """Makes the old paths importable; a second call changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def warn_renamed(old: str, new: str) -> None:
    """Warns that a name of a module is another one now; for a module's ``__getattr__``."""
    text = f"{old} is {new} now; the old path will be removed in the next version"
    warnings.warn(text, DeprecationWarning, stacklevel=3)

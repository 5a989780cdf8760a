"""Modules that have moved: their old paths go on working for one version, with a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["MODULES", "install", "warn"]

MODULES = {
    "ossicle.corpus": "ossicle.experiment.corpus",
    "ossicle.demo": "ossicle.experiment.demo",
    "ossicle.model.tiny": "ossicle.experiment.tiny",
    "ossicle.model.tiny_families": "ossicle.experiment.tiny_families",
    "ossicle.model.tiny_granite": "ossicle.experiment.tiny_granite",
    "ossicle.spoken": "ossicle.experiment.spoken",
    "ossicle.train.align": "ossicle.train",
    "ossicle.train.ctc": "ossicle.experiment.ctc_encoder",
    "ossicle.train.experiment": "ossicle.experiment.weak_align",
    "ossicle.train.language": "ossicle.experiment.language_model",
    "ossicle.train.pictures": "ossicle.experiment.pictures",
}
"""Where each module went, by its old path."""


def install() -> None:
    """Makes the old paths importable: each gives the very module that the new one gives."""
    if not any(isinstance(finder, _MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(_MovedFinder())


def warn(old: str, new: str, stacklevel: int = 2) -> None:
    """Warns that a name or a module has a new place; `stacklevel` as of `warnings.warn`."""
    text = f"{old} has moved to {new}; the old name goes with the next version"
    warnings.warn(text, DeprecationWarning, stacklevel=stacklevel + 1)


class _MovedFinder(MetaPathFinder):
    """Finds the old paths. It stands last, so that modules that exist come first."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        new = MODULES.get(fullname)
        if new is None:
            return None
        warn(fullname, new)  # frames of the import system do not count
        return ModuleSpec(fullname, _MovedLoader(new))


class _MovedLoader(Loader):
    """Gives the module of the new path, unchanged."""

    def __init__(self, new: str) -> None:
        self._new = new
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._new)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module has been executed under its new name. Of what the import system has put into it
        # since, the spec alone is not its own.
        module.__spec__ = self._spec

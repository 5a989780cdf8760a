"""What extracts metadata from recordings, and the register of everything that does."""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, overload

from ossicle.data.errors import DataError
from ossicle.dataloader.types import MetadataDict, WavID

__all__ = [
    "ENTRY_POINTS",
    "FeatureProcessor",
    "ProcessorError",
    "ProcessorRegistry",
    "default_registry",
]

ENTRY_POINTS = "ossicle.processors"
"""The group of entry points under which other packages announce their processors."""


class ProcessorError(DataError, KeyError):
    """There is no processor of that name, there would be two, or it cannot be imported."""


class FeatureProcessor(ABC):
    """A model or tool that reads a recording and tells something about it, offline.

    How it spreads its work over processes and devices is its own affair.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is registered as; a class attribute will do."""

    @abstractmethod
    def process(self, wav_id: WavID, audio_path: Path) -> MetadataDict:
        """Extracts the metadata of one recording."""

    @abstractmethod
    def save(self, wav_id: WavID, metadata: MetadataDict, output_dir: Path) -> Path:
        """Writes what `process` gave under `output_dir`, and tells where."""

    @abstractmethod
    def load(self, wav_id: WavID, output_dir: Path) -> MetadataDict:
        """Reads what `save` wrote."""

    @abstractmethod
    def exists(self, wav_id: WavID, output_dir: Path) -> bool:
        """Whether there is something to `load`."""


Kind = type[FeatureProcessor]
AnyKind = TypeVar("AnyKind", bound=Kind)


class ProcessorRegistry:
    """Classes of processors by name.

    Args:
        entry_points: A group of entry points, whose processors belong here too. Their names are
            known at once; a package is imported when its processor is asked for.
    """

    def __init__(self, entry_points: str | None = None) -> None:
        self._group = entry_points
        self._kinds: dict[str, Kind] = {}

    @overload
    def register(self, kind: AnyKind, *, name: str | None = None) -> AnyKind: ...
    @overload
    def register(self, *, name: str) -> Callable[[AnyKind], AnyKind]: ...

    def register(self, kind: AnyKind | None = None, *, name: str | None = None) -> Any:
        """Adds a class, under its own name or another; a decorator, too.

        Raises:
            ProcessorError: There is one of that name, or the class has none.
            TypeError: It is no class of processors.
        """
        if kind is None:
            return lambda decorated: self.register(decorated, name=name)
        _check(kind)
        name = name or _own_name(kind)
        # That a package announces the same name is found by `get`: looking takes milliseconds.
        if name in self._kinds:
            raise ProcessorError(f"there is a processor {name!r} already: {self._origin(name)}")
        self._kinds[name] = kind
        return kind

    def names(self) -> list[str]:
        """All names, sorted; nothing is imported for it."""
        return sorted({*self._kinds, *self._announced()})

    def get(self, name: str) -> Kind:
        """The class of that name.

        Raises:
            ProcessorError: There is none, there are two, or its package does not import; the
                message names the package.
        """
        own, announced = self._kinds.get(name), self._announced().get(name, [])
        if len(announced) + (own is not None) > 1:
            raise ProcessorError(
                f"more than one processor is called {name!r}: {self._origin(name)}"
            )
        if own is not None:
            return own
        if not announced:
            known = ", ".join(self.names()) or "none"
            raise ProcessorError(f"there is no processor {name!r}: there are {known}")
        return _imported(announced[0])

    def create(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """A processor of that name, made with the arguments.

        Raises:
            ProcessorError: As in `get`.
        """
        return self.get(name)(*args, **kwargs)

    def __contains__(self, name: object) -> bool:
        return name in self._kinds or name in self._announced()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.names())})"

    def _announced(self) -> dict[str, list[importlib.metadata.EntryPoint]]:
        """Entry points by name, each once: a folder may stand on the path twice."""
        found: dict[str, dict[str, importlib.metadata.EntryPoint]] = {}
        if self._group is not None:
            for point in importlib.metadata.entry_points(group=self._group):
                found.setdefault(point.name, {})[point.value] = point
        return {name: list(points.values()) for name, points in found.items()}

    def _origin(self, name: str) -> str:
        kind = self._kinds.get(name)
        own = [] if kind is None else [f"{kind.__module__}.{kind.__qualname__}"]
        return " and ".join(own + [_described(at) for at in self._announced().get(name, [])])


def _check(kind: Any) -> None:
    if not (isinstance(kind, type) and issubclass(kind, FeatureProcessor)):
        raise TypeError(f"a processor is a subclass of FeatureProcessor, not {kind!r}")


def _own_name(kind: Any) -> str:
    if not isinstance(kind.name, str) or not kind.name:
        why = "has no class attribute `name`: register(..., name=...)"
        raise ProcessorError(f"{kind.__module__}.{kind.__qualname__} {why}")
    return kind.name


def _described(point: importlib.metadata.EntryPoint) -> str:
    package = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    return f"{point.value!r}{package}"


def _imported(point: importlib.metadata.EntryPoint) -> Kind:
    try:
        kind = point.load()
    except Exception as error:
        # Whatever a package of others raises while it is imported.
        why = f"{type(error).__name__}: {error}"
        raise ProcessorError(
            f"the processor {point.name!r}, {_described(point)}, does not import: {why}"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, FeatureProcessor)):
        why = f"is no FeatureProcessor, but {kind!r}"
        raise ProcessorError(f"the processor {point.name!r}, {_described(point)}, {why}")
    return kind


_registry = ProcessorRegistry(ENTRY_POINTS)


def default_registry() -> ProcessorRegistry:
    """The registry of this process: Ossicle's own adapters, and what other packages announce."""
    # Imported for its effect: each adapter registers itself.
    from ossicle.dataloader import adapters  # noqa: F401

    return _registry

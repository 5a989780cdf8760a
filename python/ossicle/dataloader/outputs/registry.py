"""The register of everything that extracts metadata from recordings."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeVar, overload

from ossicle.dataloader.outputs.adapters import ADAPTERS
from ossicle.dataloader.outputs.processor import FeatureProcessor, ProcessorError

__all__ = ["ENTRY_POINTS", "ProcessorRegistry", "default_registry"]

ENTRY_POINTS = "ossicle.processors"
"""The group of entry points under which other packages announce their processors."""

ProcessorType: TypeAlias = type[FeatureProcessor]
AnyProcessorType = TypeVar("AnyProcessorType", bound=ProcessorType)


class ProcessorRegistry:
    """Classes of processors by name.

    Args:
        entry_points: A group of entry points, whose processors belong here too. Their names are
            known at once; a package is imported when its processor is asked for.
    """

    def __init__(self, entry_points: str | None = None) -> None:
        self._group = entry_points
        self._kinds: dict[str, ProcessorType] = {}

    @overload
    def register(self, kind: AnyProcessorType, *, name: str | None = None) -> AnyProcessorType: ...
    @overload
    def register(self, *, name: str) -> Callable[[AnyProcessorType], AnyProcessorType]: ...

    def register(self, kind: AnyProcessorType | None = None, *, name: str | None = None) -> Any:
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
            raise ProcessorError(
                f"a processor is registered as {name!r} already: {self._origin(name)}"
            )
        self._kinds[name] = kind
        return kind

    def names(self) -> list[str]:
        """All names, sorted; nothing is imported for it."""
        return sorted({*self._kinds, *self._entry_points()})

    def get(self, name: str) -> ProcessorType:
        """The class of that name.

        Raises:
            ProcessorError: There is none, there are two, or its package does not import; the
                message names the package.
        """
        own, announced = self._kinds.get(name), self._entry_points().get(name, [])
        if len(announced) + (own is not None) > 1:
            raise ProcessorError(
                f"more than one processor is called {name!r}: {self._origin(name)}"
            )
        if own is not None:
            return own
        if not announced:
            known = ", ".join(self.names()) or "none"
            raise ProcessorError(f"unknown processor {name!r}; the processors are {known}")
        return _load(announced[0])

    def create(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """A processor of that name, made with the arguments.

        Raises:
            ProcessorError: As in `get`.
        """
        return self.get(name)(*args, **kwargs)

    def __contains__(self, name: object) -> bool:
        return name in self._kinds or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.names())})"

    def _entry_points(self) -> dict[str, list[importlib.metadata.EntryPoint]]:
        """Entry points by name, each once: a folder may stand on the path twice."""
        found: dict[str, dict[str, importlib.metadata.EntryPoint]] = {}
        if self._group is not None:
            for point in importlib.metadata.entry_points(group=self._group):
                found.setdefault(point.name, {})[point.value] = point
        return {name: list(points.values()) for name, points in found.items()}

    def _origin(self, name: str) -> str:
        kind = self._kinds.get(name)
        own = [] if kind is None else [f"{kind.__module__}.{kind.__qualname__}"]
        return " and ".join(own + [_describe(at) for at in self._entry_points().get(name, [])])


def _check(kind: Any) -> None:
    if not (isinstance(kind, type) and issubclass(kind, FeatureProcessor)):
        raise TypeError(f"a processor must be a subclass of FeatureProcessor, not {kind!r}")


def _own_name(kind: Any) -> str:
    name = _constant(kind) if isinstance(kind.name, property) else kind.name
    if not isinstance(name, str) or not name:
        why = "has no `name` that its class alone tells: register(..., name=...)"
        raise ProcessorError(f"{kind.__module__}.{kind.__qualname__} {why}")
    return name


def _constant(kind: Any) -> Any:
    """What a property gives of a processor without its settings; None where it needs them."""
    try:
        return kind.name.fget(object.__new__(kind))
    except Exception:  # of whatever the property does
        return None


def _describe(point: importlib.metadata.EntryPoint) -> str:
    package = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    return f"{point.value!r}{package}"


def _load(point: importlib.metadata.EntryPoint) -> ProcessorType:
    try:
        kind = point.load()
    except Exception as error:
        # Whatever a package of others raises while it is imported.
        why = f"{type(error).__name__}: {error}"
        raise ProcessorError(
            f"the processor {point.name!r}, {_describe(point)}, does not import: {why}"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, FeatureProcessor)):
        why = f"is not a FeatureProcessor, but {kind!r}"
        raise ProcessorError(f"the processor {point.name!r}, {_describe(point)}, {why}")
    return kind


@functools.cache
def default_registry() -> ProcessorRegistry:
    """The registry of this process: Ossicle's own adapters, and what other packages announce."""
    registry = ProcessorRegistry(ENTRY_POINTS)
    for adapter in ADAPTERS:
        registry.register(adapter)
    return registry

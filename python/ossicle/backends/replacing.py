"""Putting a function of ours in the place of another one, wherever it was imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["replace_function"]


def replace_function(module: str, name: str, ours: Callable[..., Any]) -> Callable[[], None]:
    """Replaces ``module.name``, there and in all modules of its package that have imported it.

    Modules that import it later get ours too.

    Returns:
        What undoes it.

    Raises:
        AttributeError: The module has no such function: it is of another version.
    """
    theirs = getattr(importlib.import_module(module), name)
    package = module.partition(".")[0]
    _swap(package, name, theirs, ours)
    return lambda: _swap(package, name, ours, theirs)


def _swap(package: str, name: str, old: Any, new: Any) -> None:
    for path, module in list(sys.modules.items()):
        is_inside = path == package or path.startswith(f"{package}.")
        # By its dict: to ask a lazy module for a name would import what it stands for.
        if is_inside and getattr(module, "__dict__", {}).get(name) is old:
            setattr(module, name, new)

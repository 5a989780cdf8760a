"""What is installed beside ossicle only on demand, and how to install it."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Final

__all__ = ["EXTRAS", "import_with_extra"]

EXTRAS: Final[dict[str, str]] = {
    "jiwer": "train",
    "matplotlib": "train",
    "obstore": "cloud",
    "pyloudnorm": "loudness",
    "ray": "ray",
    "safetensors": "torch",
    "tensorboard": "train",
    "torch": "torch",
    "transformers": "torch",
}
"""The extra of ossicle that installs a package, by the package's name."""


def import_with_extra(module: str) -> ModuleType:
    """Imports a module of ossicle that needs packages of an extra.

    Raises:
        ModuleNotFoundError: A package is missing; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        text = f'{package} not installed: pip install "ossicle[{EXTRAS[package]}]"'
        raise ModuleNotFoundError(text, name=error.name, path=error.path) from error

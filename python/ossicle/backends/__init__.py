"""Our decoder in the shape of other people's tools, each imported when it is first used.

docs/backends.md shows each of them. None needs FFmpeg, torchcodec or libsndfile.
"""

from __future__ import annotations

from typing import Any, Final

from ossicle.extras import import_with_extra

__all__ = ["datasets", "lhotse", "librosa", "soundfile", "torchaudio", "transformers", "vllm"]

_NAMES: Final = frozenset(__all__)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_with_extra(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)

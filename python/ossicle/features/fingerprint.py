"""A digest of whatever in a Hugging Face audio processor changes its features."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

__all__ = ["processor_sha256"]

# Where a processor came from and what it belongs to, not what it does.
_ORIGIN: Final = frozenset(
    {
        "_auto_class",
        "_auto_map",
        "_commit_hash",
        "_name_or_path",
        "_processor_class",
        "auto_map",
        "feature_extractor_type",
        "name_or_path",
        "processor_class",
        "transformers_version",
    }
)


def processor_sha256(processor: Any) -> str:
    """Fingerprints everything in a processor's feature extractor that changes its output.

    That is: the class names of processor and extractor, the versions of the packages that the
    extractor's classes come from (transformers among them), all attributes of the extractor,
    whatever they are called, and the ``audio_kwargs`` that the processor calls it with (padding and
    truncation among them); arrays such as ``mel_filters`` count by dtype, shape and content. The
    tokenizer does not count, nor do names, paths and the commit that a processor was loaded from.

    Every call looks at the processor anew (0.1 to 0.2 ms for Whisper's): a digest pinned to the
    processor would outlive a changed attribute, and would be saved with it.

    Args:
        processor: A processor with a ``feature_extractor``, or a feature extractor itself.

    Returns:
        64 lowercase hex digits, the same in every process.
    """
    # transformers is about to rename the attribute.
    parts = (getattr(processor, name, None) for name in ("feature_extractor", "audio_processor"))
    extractor = next((part for part in parts if part is not None), processor)
    state = {
        "processor": type(processor).__name__,
        "extractor": type(extractor).__name__,
        "versions": _versions(type(extractor)),
        "attributes": _plain(_attributes(extractor), ()),
    }
    if (options := getattr(processor, "audio_kwargs", None)) is not None:
        state["options"] = _plain(options, ())
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _versions(kind: type) -> dict[str, str]:
    """The version of each package that has a part in a class, for those that tell one."""
    packages = {base.__module__.partition(".")[0] for base in kind.__mro__}
    found = {name: getattr(sys.modules.get(name), "__version__", None) for name in packages}
    return {name: str(version) for name, version in found.items() if version is not None}


def _attributes(thing: object) -> dict[str, Any]:
    """Data of the classes, overlaid by that of the instance, less what only tells the origin."""
    found: dict[str, Any] = {}
    for base in reversed(type(thing).__mro__[:-1]):
        # Private names of classes are the machinery of Python and transformers.
        data = {name: value for name, value in vars(base).items() if _is_data(value)}
        found |= {name: value for name, value in data.items() if not name.startswith("_")}
        slots = getattr(base, "__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        found |= {name: getattr(thing, name) for name in names if hasattr(thing, name)}
    # The private ones too: a property reads from them. Not to_dict(), which leaves out the arrays.
    found |= getattr(thing, "__dict__", {})
    return {name: value for name, value in found.items() if name not in _ORIGIN}


def _is_data(value: object) -> bool:
    return not callable(value) and not hasattr(value, "__get__") and not hasattr(value, "__set__")


def _plain(value: Any, above: tuple[int, ...]) -> Any:
    """Puts a value into JSON's terms, equal for equal values in every process.

    ``above`` holds the ids of the values around it: a cycle ends where it closes.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if id(value) in above:
        return ["cycle"]
    return _compound(value, (*above, id(value)))


def _compound(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, above) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, above) for item in value]
    if isinstance(value, set | frozenset):
        return ["set", sorted((_plain(item, above) for item in value), key=json.dumps)]
    if isinstance(value, bytes | bytearray):
        return ["bytes", value.hex()]
    if hasattr(value, "__qualname__"):
        return ["name", str(getattr(value, "__module__", "")), str(value.__qualname__)]
    return _array(value, above) if hasattr(value, "__array__") else _object(value, above)


def _array(value: Any, above: tuple[int, ...]) -> list[Any]:
    """By dtype, shape and content; a tensor of torch from wherever it lies."""
    found = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    form = [str(found.dtype), list(found.shape)]
    if found.dtype.hasobject:
        return [*form, [_plain(item, above) for item in found.flat]]
    return [*form, hashlib.sha256(found.tobytes()).hexdigest()]


def _object(value: Any, above: tuple[int, ...]) -> list[Any]:
    """By type and what would rebuild it. Never by repr: addresses differ between processes."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    try:
        parts = value.__reduce_ex__(2)
    except Exception:
        # A lock, a generator: nothing of it could be the same in another process.
        return ["opaque", kind]
    return [kind, _plain(parts, above)]

"""Rows in the shapes that data sets hand out: mappings, samples of shards, tuples, table rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from ossicle import _native
from ossicle.data.columns import COLUMNS, value_of
from ossicle.errors import InvalidArgumentError

__all__ = ["is_array", "row_of"]

_AUDIO: Final = frozenset(_native.AUDIO_EXTENSIONS)
_TEXTS: Final = ("txt", "text", "transcript")
_WAVEFORMS: Final = ("waveform", "speech", "array")
# What says which part of which file a sample is. Of sound that is there already, it is history.
_PLACES: Final = ("audio", "offset", "end", "duration", "channel", "sample_rate", "sha256")
_NAMES_OF_PLACES: Final = frozenset(name for one in _PLACES for name in COLUMNS[one])


def row_of(sample: Any) -> Mapping[str, Any]:
    """A sample as a mapping of columns, as far as it is not one already.

    Args:
        sample: A mapping; a sample of a shard, ``{"__key__", "flac", "json", "txt", ...}``, decoded
            by webdataset or not; ``(waveform, sample_rate, metadata)`` of `SpeechDataset`, or with
            a text in the third place, as torchaudio's data sets have it; a dict with a waveform and
            its rate; a row of pandas, or a named tuple.

    Raises:
        InvalidArgumentError: It is none of these, or a member of the sample cannot be read.
    """
    if hasattr(sample, "_asdict"):
        sample = sample._asdict()
    elif not isinstance(sample, Mapping) and hasattr(sample, "to_dict"):
        sample = sample.to_dict()
    if isinstance(sample, tuple | list):
        return _of_tuple(sample)
    if not isinstance(sample, Mapping):
        raise InvalidArgumentError(f"a {type(sample).__name__} is not a mapping of columns")
    if "__key__" in sample:
        return _of_members(sample)
    return _of_waveform(sample)


def is_array(found: Any) -> bool:
    """Whether it is decoded samples: an array of NumPy or PyTorch (bytes are of uint8)."""
    return hasattr(found, "shape") and hasattr(found, "dtype") and found.dtype != np.uint8


def _of_tuple(sample: tuple[Any, ...] | list[Any]) -> Mapping[str, Any]:
    if len(sample) < 3 or not is_array(sample[0]):
        what = f"a {type(sample).__name__} of {len(sample)} is not a mapping of columns"
        raise InvalidArgumentError(f"{what}, nor (waveform, sample_rate, metadata)")
    waveform, rate, known = sample[:3]
    facts = known if isinstance(known, Mapping) else {"text": known}
    return _with_sound(waveform, rate, facts)


def _of_waveform(sample: Mapping[str, Any]) -> Mapping[str, Any]:
    name = next((one for one in _WAVEFORMS if is_array(sample.get(one))), None)
    rate = value_of("sample_rate", sample)
    if name is None or rate is None or value_of("audio", sample) is not None:
        return sample
    facts = {key: value for key, value in sample.items() if key not in (name, "metadata")}
    return _with_sound(sample[name], rate, {**facts, **(sample.get("metadata") or {})})


def _with_sound(waveform: Any, rate: Any, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of sound that was loaded, cut and changed already: nothing of it is to be read."""
    known = {name: value for name, value in facts.items() if name not in _NAMES_OF_PLACES}
    return {**known, "audio": {"array": waveform, "sampling_rate": rate}}


def _of_members(sample: Mapping[str, Any]) -> Mapping[str, Any]:
    key = sample["__key__"]
    audio = [one for one in sample if one.rpartition(".")[2].lower() in _AUDIO]
    if not audio:
        return {**_facts(key, sample), "id": key}
    if len(audio) > 1:
        what = f"sample {key!r}: several members are audio: {', '.join(audio)}"
        raise InvalidArgumentError(what)
    facts = _facts(key, (item for item in sample.items() if item[0] != audio[0]))
    names = COLUMNS["audio"]
    known = {name: value for name, value in facts.items() if name not in names}
    sound = sample[audio[0]]
    if isinstance(sound, bytes | bytearray | memoryview):
        sound = {"bytes": sound, "path": f"{key}.{audio[0]}"}  # for messages
    return {"id": key, **known, "audio": sound}


def _facts(key: Any, members: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """What a sample says: the fields of its JSON, its text, the rest under its extensions."""
    facts: dict[str, Any] = {}
    for extension, data in dict(members).items():
        is_plain = isinstance(data, bytes | bytearray | memoryview)
        try:
            if extension == "json":
                data = json.loads(bytes(data)) if is_plain else data
                facts |= data if isinstance(data, Mapping) else {"json": data}
            elif extension in _TEXTS:
                facts["text"] = bytes(data).decode() if is_plain else data
            else:
                facts.setdefault(extension, data)
        except (ValueError, RecursionError) as error:
            what = f"sample {key!r}: its {extension} cannot be read: {error}"
            raise InvalidArgumentError(what) from error
    return facts

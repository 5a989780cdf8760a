"""Encoder features in tar shards: how they lie there, and a data source that reads them.

A sample of such a shard has two members:

- ``bf16.npy``: frames in bfloat16, (T, d) of one layer or (n, T, d) of several. NumPy knows no
  bfloat16, so the array is uint16 with the same bits: ``torch.from_numpy(a).view(torch.bfloat16)``.
- ``json``: ``text``, ``seconds``, ``row`` (the line of the manifest, from 1), ``audio`` (as the
  manifest says it) and ``fingerprint``, that of the encoder (`WhisperEncoder.fingerprint`).
"""

from __future__ import annotations

import glob
import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ossicle.data.npz import read_npy
from ossicle.errors import CorruptAudioError, InvalidArgumentError
from ossicle.shard import Shard

__all__ = [
    "FRAMES",
    "FeatureClip",
    "FeatureShards",
    "FingerprintError",
    "bf16_array",
    "bf16_tensor",
]

FRAMES = "bf16.npy"
"""The extension of the member that holds the frames."""

Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class ExtractError(ValueError):
    """What lies in the place of an extraction's shards is not the beginning of this one.

    Attributes:
        source: The file.
        reason: What is wrong with it.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}; pass overwrite, or choose another place")
        self.source, self.reason = source, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.reason)


class FingerprintError(ExtractError):
    """Features that another encoder made than the one that is asked for.

    Attributes:
        source: The shard.
        found: The fingerprint of the encoder that made its features.
        expected: The fingerprint that was asked for.
    """

    def __init__(self, source: str, found: str, expected: str) -> None:
        ValueError.__init__(
            self,
            f"{source}: its features were made by the encoder {found}, not by {expected}: extract "
            "them anew, or take the encoder (its weights, dtype and layer) that made them",
        )
        self.source, self.found, self.expected = source, found, expected

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.found, self.expected)


@dataclass(frozen=True, slots=True)
class FeatureClip:
    """One clip's features.

    Attributes:
        key: Of the sample in its shard.
        frames: (T, d) of one layer, (n, T, d) of several.
        text: What is said in it.
        seconds: Its length.
    """

    key: str
    frames: Tensor
    text: str
    seconds: float


def bf16_array(frames: Tensor) -> NDArray[np.uint16]:
    """Frames rounded to bfloat16, as the uint16 that has the same bits."""
    rounded = frames.detach().to("cpu", torch.bfloat16).contiguous()
    return cast("NDArray[np.uint16]", rounded.view(torch.uint16).numpy())


def bf16_tensor(array: NDArray[np.uint16]) -> Tensor:
    """The bfloat16 frames whose bits are those of ``array``; shares its memory."""
    return torch.from_numpy(array).view(torch.bfloat16)


class FeatureShards:
    """The clips of feature shards by number, in the order of the shards.

    Safe in data loader workers: it pickles, survives a fork, and several threads may share it.

    Args:
        paths: Shards, one of them, or a pattern with ``*``, whose matches are sorted.
        fingerprint: Of the encoder whose features these must be; None takes that of the first clip,
            and the others must have the same.
        dtype: Of the frames that are handed out.

    Attributes:
        fingerprint: Of the encoder that made the features.
        layers: How many layers a clip's frames have, or None where they are (T, d).
        dim: Channels of a frame.

    Raises:
        FingerprintError: Another encoder made a shard; the first clip of each is looked at here,
            every other one when it is read.
        InvalidArgumentError: There are no shards or no clips, or a sample holds no features.
        AudioError: A shard cannot be read.
    """

    def __init__(
        self,
        paths: Paths,
        fingerprint: str | None = None,
        *,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        # Read, not mapped: a shard that is cut short under a reader is an error then.
        self._shards = [Shard(path, access="pread") for path in _shard_files(paths)]
        self._starts = list(accumulate((len(shard) for shard in self._shards), initial=0))
        self.dtype = dtype
        if not len(self):
            raise InvalidArgumentError(f"no clips in {len(self._shards)} shards: {paths}")
        full = [shard for shard in self._shards if len(shard)]
        first = _json_of(full[0], full[0][0])
        self.fingerprint = first["fingerprint"] if fingerprint is None else fingerprint
        for shard in full:
            self._check(shard, _json_of(shard, shard[0]))
        shape = _array_of(full[0], full[0][0]).shape
        self.layers = shape[0] if len(shape) == 3 else None
        self.dim = shape[-1]

    def __len__(self) -> int:
        return self._starts[-1]

    def keys(self) -> list[str]:
        """The clips' keys, in their order."""
        return [key for shard in self._shards for key in shard.keys()]  # noqa: SIM118

    def lengths(self) -> NDArray[np.int64]:
        """Frames of each clip, int64 (clips,), by the sizes of the members: no payload is read."""
        row_bytes = 2 * (self.layers or 1) * self.dim
        found: list[int] = []
        for shard in self._shards:
            sizes = {
                member.name: member.size
                for member in shard.members()
                if member.name.endswith(FRAMES)
            }
            found += [
                (sizes[f"{key}.{FRAMES}"] - _NPY_HEADER_BYTES) // row_bytes
                for key in shard.keys()  # noqa: SIM118
            ]
        return np.array(found, dtype=np.int64)

    def __getitem__(self, index: int) -> FeatureClip:
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        place = bisect_right(self._starts, number) - 1
        shard = self._shards[place]
        sample = shard[number - self._starts[place]]
        facts = _json_of(shard, sample)
        self._check(shard, facts)
        frames = bf16_tensor(_array_of(shard, sample)).to(self.dtype)
        return FeatureClip(sample["__key__"], frames, facts["text"], facts["seconds"])

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The frames of some clips, padded to the longest.

        Args:
            rows: Numbers of clips.

        Returns:
            Frames (B, T, d) or (B, n, T, d), zeros after each clip's own, and their numbers, int64
            (B,).
        """
        clips = [self[row].frames for row in rows]
        # Time is the last axis but one: (T, n, d) pads along the first.
        padded = pad_sequence([clip.movedim(-2, 0) for clip in clips], batch_first=True)
        lengths = torch.tensor([clip.shape[-2] for clip in clips], dtype=torch.int64)
        return padded.movedim(1, -2).contiguous(), lengths

    def _check(self, shard: Shard, facts: Mapping[str, Any]) -> None:
        if facts["fingerprint"] != self.fingerprint:
            raise FingerprintError(shard.path, facts["fingerprint"], self.fingerprint)

    def __repr__(self) -> str:
        return f"<FeatureShards: {len(self)} clips in {len(self._shards)} shards>"


# Magic, version and a dictionary that fills two blocks of 64 bytes for any array of 2 or 3 axes.
_NPY_HEADER_BYTES = 128


def _shard_files(paths: Paths) -> list[str]:
    several = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found: list[str] = []
    for path in [os.fspath(one) for one in several]:
        found += sorted(glob.glob(path)) if "*" in path else [path]  # noqa: PTH207
    if not found:
        raise InvalidArgumentError(f"no shards: {several}")
    return found


def _json_of(shard: Shard, sample: Mapping[str, Any]) -> dict[str, Any]:
    text = bytes(_member(shard, sample, "json"))
    try:
        facts: dict[str, Any] = json.loads(text)
        if not isinstance(facts["text"], str) or not isinstance(facts["fingerprint"], str):
            raise TypeError("text and fingerprint must be text")
        return facts | {"seconds": float(facts["seconds"])}
    except (ValueError, KeyError, TypeError) as error:
        raise _corrupt(shard, sample, "json", error) from error


def _array_of(shard: Shard, sample: Mapping[str, Any]) -> NDArray[np.uint16]:
    content = bytes(_member(shard, sample, FRAMES))
    try:
        array = read_npy(content)
        if array.dtype != np.uint16 or array.ndim not in (2, 3):
            raise ValueError(f"{array.dtype} {array.shape} is not uint16 (T, d) or (n, T, d)")
        return cast("NDArray[np.uint16]", array)
    except ValueError as error:
        raise _corrupt(shard, sample, FRAMES, error) from error


def _member(shard: Shard, sample: Mapping[str, Any], extension: str) -> memoryview:
    if extension not in sample:
        key, known = sample["__key__"], ", ".join(name for name in sample if name != "__key__")
        reason = f"the sample {key!r} has no {extension} but {known}: these are not features"
        raise InvalidArgumentError(reason, source=shard.path)
    return cast(memoryview, sample[extension])


def _corrupt(
    shard: Shard, sample: Mapping[str, Any], extension: str, error: Exception
) -> CorruptAudioError:
    member = f"{sample['__key__']}.{extension}"
    return CorruptAudioError(f"no features: {error}", source=shard.path, member=member)

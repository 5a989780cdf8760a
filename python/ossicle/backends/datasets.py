"""A feature for Hugging Face ``datasets`` whose audio is decoded here, without torchcodec."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import datasets
import numpy as np
import numpy.typing as npt

from ossicle.audio import AudioInfo, FloatArray, encode, info, load
from ossicle.errors import InvalidArgumentError

if TYPE_CHECKING:
    import torch

__all__ = ["Audio", "Decoded", "Samples"]


class Samples(NamedTuple):
    """A range of a recording, as torchcodec's ``AudioSamples`` has it.

    Attributes:
        data: ``(channels, samples)`` float32.
        pts_seconds: Where it begins.
        duration_seconds: How long it is.
        sample_rate: In Hz.
    """

    data: torch.Tensor
    pts_seconds: float
    duration_seconds: float
    sample_rate: int


class Decoded:
    """One recording of a data set, decoded when its samples are asked for.

    ``decoded["array"]`` is mono float32, ``decoded["sampling_rate"]`` its rate; the methods are
    those of torchcodec's decoder that ``datasets`` gives otherwise.
    """

    def __init__(self, encoded: Mapping[str, Any], feature: Audio) -> None:
        self._hf_encoded = {"path": encoded.get("path"), "bytes": encoded.get("bytes")}
        self._feature = feature

    @property
    def metadata(self) -> AudioInfo:
        """Facts of the recording as it is stored."""
        return info(self._source)

    def __getitem__(self, key: str) -> Any:
        if key == "array":
            # The mean of all channels: `num_channels=2` of one channel has the same one.
            return load(self._source, self._feature.sampling_rate)[0]
        if key == "sampling_rate":
            return self._feature.sampling_rate or self.metadata.sample_rate
        if key == "path":
            return self._hf_encoded["path"]
        raise KeyError(key)

    def get_all_samples(self) -> Samples:
        """All samples, with the channels that the feature asks for."""
        return self.get_samples_played_in_range(0.0, None)

    def get_samples_played_in_range(
        self, start_seconds: float = 0.0, stop_seconds: float | None = None
    ) -> Samples:
        """The samples of a range, which is a slice of the whole."""
        import torch

        duration = None if stop_seconds is None else max(0.0, stop_seconds - start_seconds)
        rate = self._feature.sampling_rate
        found = load(self._source, rate, mono=False, offset=start_seconds, duration=duration)
        planes, rate = self._channels(found[0]), found[1]
        seconds = planes.shape[1] / rate
        return Samples(torch.from_numpy(planes), start_seconds, seconds, rate)

    @property
    def _source(self) -> Any:
        data, path = self._hf_encoded["bytes"], self._hf_encoded["path"]
        if data is None and "://" in str(path):
            from datasets.utils.file_utils import xopen

            return xopen(path, "rb")
        return path if data is None else data

    def _channels(self, planes: FloatArray) -> FloatArray:
        wanted = self._feature.num_channels
        if wanted is None or wanted == len(planes):
            return planes
        if wanted == 1:
            mean: FloatArray = planes.mean(axis=0, keepdims=True, dtype=np.float32)
            return mean
        if len(planes) == 1:
            return np.repeat(planes, wanted, axis=0)
        text = f"a recording of {len(planes)} channels cannot be given as {wanted}"
        raise InvalidArgumentError(f"{text}: take num_channels=None or 1")


class Audio(datasets.Audio):  # type: ignore[misc]
    """``datasets.Audio`` that decodes here.

    ::

        audio = ossicle.backends.datasets.Audio(sampling_rate=16_000)
        dataset = dataset.cast_column("audio", audio)
        dataset[0]["audio"]["array"]

    Args:
        sampling_rate: Of the samples in Hz; None keeps each recording's own.
        decode: False gives the bytes and the path.
        num_channels: Channels of ``get_all_samples``: None for the recording's own, 1 or 2.
    """

    def encode_example(self, value: Any) -> dict[str, Any]:
        """A recording for Arrow: a path, bytes, an audio dict, or samples, kept as float32 WAV.

        Raises:
            InvalidArgumentError: It is none of these.
        """
        if isinstance(value, str | Path):
            path = value if isinstance(value, str) else str(value.absolute())
            return {"bytes": None, "path": path}
        if isinstance(value, bytes | bytearray):
            return {"bytes": bytes(value), "path": None}
        encoded = getattr(value, "_hf_encoded", value)
        if isinstance(encoded, Mapping):
            if encoded.get("array") is not None:
                samples: npt.ArrayLike = np.asarray(encoded["array"], np.float32)
                data = encode(samples, encoded["sampling_rate"], bits_per_sample=32)
                return {"bytes": data, "path": None}
            if encoded.get("bytes") is not None or encoded.get("path") is not None:
                return {"bytes": encoded.get("bytes"), "path": encoded.get("path")}
        kind = type(value).__name__
        raise InvalidArgumentError(f"a recording is a path, bytes or an audio dict, not {kind}")

    def decode_example(self, value: Any, token_per_repo_id: Any = None) -> Any:
        """What gives the samples of a stored recording; nothing is read yet.

        Args:
            value: ``{"bytes", "path"}``.
            token_per_repo_id: Not used: what lies at a hub is opened by ``datasets``.

        Raises:
            RuntimeError: ``decode`` is False.
            InvalidArgumentError: There is neither a path nor bytes.
        """
        if not self.decode:
            raise RuntimeError("the feature was made with decode=False")
        if not isinstance(value, Mapping):
            return value
        if value.get("bytes") is None and value.get("path") is None:
            raise InvalidArgumentError("an audio dict has neither a path nor bytes")
        return Decoded(value, self)

"""What may be given as a recording, beyond what the native module reads itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final

from ossicle.audio.waveforms import as_float32, with_channels_first
from ossicle.audio.writing import encode
from ossicle.errors import InvalidArgumentError

__all__ = ["Opened"]

_LONGEST_PATH: Final = 4_096


class Opened:
    """``with Opened(sources) as sources:`` the same as the native module takes them.

    Paths, bytes, arrays of uint8, binary files and members of shards are handed on. Audio dicts of
    Hugging Face ``datasets`` and its decoders are read by their bytes, path or samples; an
    ``fsspec.OpenFile`` is opened when its turn comes, and closed at the end.

    Raises:
        InvalidArgumentError: A dict without a recording, bytes that are a path, a file in text
            mode.
    """

    def __init__(self, sources: Iterable[Any], *, is_raw: bool = False) -> None:
        self._sources = sources
        self._is_raw = is_raw
        self._files: list[Any] = []

    def __enter__(self) -> list[Any]:
        return [self._plain(source) for source in self._sources]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()

    def _plain(self, source: Any) -> Any:
        if isinstance(source, str | os.PathLike):
            return source
        if isinstance(source, bytes):
            if not self._is_raw and _is_path(source):
                # Read as a path, bytes that a stranger has sent could name any file.
                name = os.fsdecode(source)
                text = f"the bytes are a path and no recording: use os.fsdecode, {name!r}"
                raise InvalidArgumentError(text)
            return source
        if isinstance(source, Mapping):
            return self._plain(_of_dict(source))
        if (encoded := getattr(source, "_hf_encoded", None)) is not None:
            return self._plain(encoded)
        if hasattr(source, "fs") and hasattr(source, "open") and not hasattr(source, "read"):
            return self._open(source)
        if hasattr(source, "get_all_samples"):
            samples = source.get_all_samples()
            return _as_wav(samples.data, samples.sample_rate)
        return source

    def _open(self, source: Any) -> Any:
        if "b" not in getattr(source, "mode", "rb"):
            raise InvalidArgumentError(f"the file is open in mode {source.mode!r}, not in 'rb'")
        file = _LateFile(source)
        self._files.append(file)
        return file


class _LateFile:
    """An ``fsspec.OpenFile`` as a file that is opened when it is read.

    What fails then is an error of its own clip, not of a batch.
    """

    def __init__(self, source: Any) -> None:
        self.name = str(getattr(source, "path", "<file object>"))
        self._source = source
        self._file: Any = None

    def read(self, size: int, /) -> bytes:
        data: bytes = self._opened().read(size)
        return data

    def seek(self, offset: int, whence: int, /) -> int:
        place: int = self._opened().seek(offset, whence)
        return place

    def close(self) -> None:
        if self._file is not None:
            self._source.close()

    def _opened(self) -> Any:
        if self._file is None:
            self._file = self._source.open()
        return self._file


def _is_path(data: bytes) -> bool:
    if not data or len(data) > _LONGEST_PATH or b"\0" in data:
        return False
    # No format that is read begins with a slash.
    return data.startswith((b"/", b"./", b"../")) or os.path.isfile(data)  # noqa: PTH113


def _of_dict(audio: Mapping[Any, Any]) -> Any:
    """The recording of an audio dict, as ``datasets`` has it."""
    for key in ("bytes", "path"):
        if audio.get(key) is not None:
            return audio[key]
    if audio.get("array") is None:
        keys = ", ".join(map(repr, audio))
        text = 'an audio dict must have "bytes", "path", or "array" and "sampling_rate"'
        raise InvalidArgumentError(f"{text}, not {keys or 'nothing'}")
    rate = audio.get("sampling_rate", audio.get("sample_rate"))
    if rate is None:
        raise InvalidArgumentError('an audio dict with "array" must have "sampling_rate"')
    return _as_wav(with_channels_first(as_float32(audio["array"])), rate)


def _as_wav(samples: Any, rate: int) -> bytes:
    """Samples that are decoded already, as a file in memory: float32, exact."""
    return encode(samples, rate, "wav", bits_per_sample=32)

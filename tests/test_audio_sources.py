"""Where the bytes come from does not matter: paths, buffers in place, file objects."""

from __future__ import annotations

import io
import os
import pathlib
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import ossicle

FORMATS = {
    "wav": "-c:a pcm_s16le",
    "flac": "-c:a flac -sample_fmt s16",
    "mp3": "-c:a libmp3lame -b:a 64k",
    "ogg": "-c:a libvorbis",
    "m4a": "-c:a aac -aac_pns 0",
    "aiff": "-c:a pcm_s16be",
    "caf": "-c:a alac",
    "mkv": "-c:a libvorbis",
}


@pytest.fixture(params=FORMATS)
def path(request: pytest.FixtureRequest, make_clip) -> Path:
    return make_clip(request.param, rate=22_050, channels=2, options=FORMATS[request.param])


@contextmanager
def mid_file(path: Path) -> Iterator[io.BytesIO]:
    file = io.BytesIO(b"something in front of the clip" + path.read_bytes())
    file.seek(30)
    yield file


class Trickle(io.BytesIO):
    """A file whose reads are short, as those of pipes and sockets are."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(1000, size or 0))


@contextmanager
def itself(source: Any) -> Iterator[Any]:
    yield source


SOURCES: dict[str, Callable[[Path], Any]] = {
    "str": lambda path: itself(str(path)),
    "path": itself,
    "pure-path": lambda path: itself(pathlib.PurePath(path)),
    "bytes": lambda path: itself(path.read_bytes()),
    "bytearray": lambda path: itself(bytearray(path.read_bytes())),
    "memoryview": lambda path: itself(memoryview(b"xx" + path.read_bytes())[2:]),
    "read-only-array": lambda path: itself(np.frombuffer(path.read_bytes(), np.uint8)),
    "array": lambda path: itself(np.fromfile(path, np.uint8)),
    "BytesIO": lambda path: itself(io.BytesIO(path.read_bytes())),
    "open-file": lambda path: path.open("rb"),
    "unbuffered": lambda path: path.open("rb", buffering=0),
    "mid-file": mid_file,
    "short-reads": lambda path: itself(Trickle(path.read_bytes())),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_bits(kind: str, path: Path) -> None:
    expected, rate = ossicle.load(path, mono=False)
    with SOURCES[kind](path) as source:
        waveform, got = ossicle.load(source, mono=False)
    assert got == rate
    assert np.array_equal(waveform, expected)
    with SOURCES[kind](path) as source:
        assert ossicle.info(source) == ossicle.info(path)
    with SOURCES[kind](path) as source:
        part, _ = ossicle.load(source, mono=False, offset=0.3, duration=0.2)
    np.testing.assert_allclose(part, expected[:, 6_615 : 6_615 + 4_410], rtol=0, atol=1e-5)


def test_a_batch_mixes_them(path: Path) -> None:
    expected, _ = ossicle.load(path, 16_000)
    sources = [
        str(path),
        path.read_bytes(),
        io.BytesIO(path.read_bytes()),
        memoryview(path.read_bytes()),
    ]
    batch = ossicle.load_batch(sources)
    for row in batch.waveforms:
        assert np.array_equal(row, expected)


class Broken(io.BytesIO):
    """A file whose `call`th read raises."""

    def __init__(self, data: bytes, error: BaseException, call: int = 1) -> None:
        super().__init__(data)
        self.error, self.left, self.name = error, call, "broken.wav"

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left <= 0:
            raise self.error
        return super().read(size)


@pytest.mark.parametrize("call", [1, 2, 4])
def test_what_a_file_raises_is_the_cause(call: int, make_clip) -> None:
    data = make_clip("flac", rate=44_100, frames=200_000, options=FORMATS["flac"]).read_bytes()
    failure = RuntimeError("the disk is on fire")
    with pytest.raises(ossicle.AudioIOError, match="the disk is on fire") as caught:
        ossicle.load(Broken(data, failure, call))
    assert caught.value.__cause__ is failure
    assert caught.value.source == "broken.wav"
    assert isinstance(caught.value, OSError)

    batch = ossicle.load_batch([Broken(data, failure, call), data], on_error="collect")
    assert batch.errors[0].__cause__ is failure
    assert batch.errors[1] is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_passes_through(kind: type[BaseException], make_clip) -> None:
    data = make_clip("wav", options=FORMATS["wav"]).read_bytes()
    with pytest.raises(kind):
        ossicle.load(Broken(data, kind()))
    with pytest.raises(kind):
        ossicle.info(Broken(data, kind()))
    with pytest.raises(kind):
        ossicle.load_batch([data, Broken(data, kind())], on_error="collect")


def test_a_file_of_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises((TypeError, ossicle.AudioError), match=r"bytes|str"):
        ossicle.load(io.StringIO("RIFF"))


def test_a_pipe_is_refused() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader, "rb") as file, pytest.raises(ossicle.AudioIOError, match="seek"):
        ossicle.load(file)


@pytest.mark.parametrize(
    "source",
    [None, 3, 2.5, [1, 2], object(), np.zeros(8, np.float32), np.zeros((4, 4), np.uint8)[:, ::2]],
)
def test_what_is_no_source_is_a_type_error(source: Any) -> None:
    for call in (ossicle.load, ossicle.info, lambda item: ossicle.load_batch([item])):
        with pytest.raises(TypeError, match="audio source"):
            call(source)


def test_bytes_are_read_in_place(make_clip) -> None:
    data = bytearray(make_clip("wav", options=FORMATS["wav"]).read_bytes())
    ossicle.load(data)
    data.append(0)  # the export of the buffer has ended with the call
    with pytest.raises(ossicle.AudioError) as caught:
        ossicle.load(b"nothing that is audio, to be sure")
    assert caught.value.source == "<bytes>"


def audio_dict(path: Path) -> dict[str, Any]:
    return {"bytes": path.read_bytes(), "path": "elsewhere.wav"}


MORE_SOURCES: dict[str, Callable[[Path], Any]] = {
    "dict-bytes": audio_dict,
    "dict-path": lambda path: {"bytes": None, "path": str(path)},
    "open-file": lambda path: fsspec.open(path, "rb"),
    "memory-file": lambda path: in_memory(path),
    "hf-decoder": lambda path: types.SimpleNamespace(_hf_encoded=audio_dict(path)),
}


def in_memory(path: Path) -> Any:
    files = fsspec.filesystem("memory")
    files.pipe("/clip", path.read_bytes())
    return fsspec.open("memory://clip", "rb")


@pytest.mark.parametrize("kind", MORE_SOURCES)
def test_other_holders_of_recordings(kind: str, path: Path) -> None:
    expected, rate = ossicle.load(path, mono=False)
    source = MORE_SOURCES[kind](path)
    waveform, got = ossicle.load(source, mono=False)
    assert got == rate
    assert np.array_equal(waveform, expected)
    assert ossicle.info(source) == ossicle.info(path)
    batch = ossicle.load_batch([source, path])
    assert np.array_equal(batch[0], batch[1])
    features = ossicle.load_features([source, path]).input_features
    assert np.array_equal(features[0], features[1])


def test_samples_in_a_dict() -> None:
    samples = np.random.default_rng(0).uniform(-2, 2, (2, 5_000)).astype(np.float32)
    source = {"array": samples, "sampling_rate": 44_100, "path": None}
    assert np.array_equal(ossicle.load(source, mono=False)[0], samples)
    facts = ossicle.info(source)
    assert (facts.frames, facts.channels, facts.num_frames, facts.num_channels) == (
        *(5_000, 2),
        *(5_000, 2),
    )
    found, _ = ossicle.load(source, 16_000, mono=False, offset=0.02)
    assert np.array_equal(found, ossicle.resample(samples, 44_100, 16_000)[:, 320:])


def test_an_open_file_is_closed(path: Path) -> None:
    source = fsspec.open(path, "rb")
    ossicle.load(source)
    assert not source.fobjects
    missing = fsspec.open(path.parent / "missing.wav", "rb")
    with pytest.raises(ossicle.AudioIOError, match=r"missing\.wav"):
        ossicle.load(missing)
    batch = ossicle.load_batch([path, missing, path], on_error="collect")
    assert [error is None for error in batch.errors] == [True, False, True]
    assert not source.fobjects
    with pytest.raises(ossicle.InvalidArgumentError, match="mode 'rt'"):
        ossicle.load(fsspec.open(path, "rt"))


@pytest.mark.parametrize("audio", [{}, {"path": None, "bytes": None}, {"array": [0.5]}])
def test_dicts_without_a_recording(audio: dict[str, Any]) -> None:
    with pytest.raises(ossicle.InvalidArgumentError, match="an audio dict"):
        ossicle.load(audio)


def test_bytes_that_are_a_path_are_not_read_as_one(path: Path, tmp_path: Path) -> None:
    """Bytes may come from a stranger, and would name any file of this machine."""
    for name in (os.fsencode(path), b"/nowhere.wav", b"./a.wav"):
        with pytest.raises(ossicle.InvalidArgumentError, match=r"use os\.fsdecode"):
            ossicle.load(name)
    samples = b"/bcd" * 100
    raw = ossicle.RawFormat("pcm_u8", 8_000)
    assert ossicle.load(samples, raw=raw)[0].shape == (400,)
    assert ossicle.load(os.fsdecode(os.fsencode(path)))[1] == 22_050

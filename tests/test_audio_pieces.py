"""`blocks` and `AudioDecoder`: pieces are slices of the whole."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ossicle
from ossicle.audio import pieces

FORMATS = {
    "wav": "-c:a pcm_s16le",
    "flac": "-c:a flac -sample_fmt s16",
    "mp3": "-c:a libmp3lame -b:a 64k",
    "m4a": "-c:a aac -aac_pns 0",
    "opus": "-c:a libopus",
}


@pytest.fixture(params=FORMATS)
def path(request: pytest.FixtureRequest, make_clip) -> Path:
    rate = 48_000 if request.param == "opus" else 44_100
    return make_clip(
        request.param, rate=rate, channels=2, frames=100_003, options=FORMATS[request.param]
    )


@pytest.fixture(params=[0.0, 60.0], ids=["no-reading-ahead", "reading-ahead"])
def ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(pieces, "_SECONDS_AHEAD", request.param)
    return request.param


@pytest.mark.parametrize("rate", [None, 16_000])
@pytest.mark.parametrize("mono", [True, False])
@pytest.mark.parametrize(("seconds", "overlap"), [(0.5, 0.0), (0.3, 0.1), (0.1, 0.09), (9.0, 1.0)])
@pytest.mark.sampled(one_in=7)
def test_blocks(
    path: Path, rate: int | None, mono: bool, seconds: float, overlap: float, ahead: float
) -> None:
    whole, own = ossicle.load(path, rate, mono=mono)
    size, step = round(seconds * own), round(seconds * own) - round(overlap * own)
    options: dict[str, Any] = {"sample_rate": rate, "mono": mono}
    found = list(ossicle.blocks(path, seconds=seconds, overlap=overlap, **options))
    starts = range(0, max(1, whole.shape[-1] - (size - step)), step)
    assert len(found) == len(starts)
    for piece, start in zip(found, starts, strict=True):
        expected = whole[..., start : start + size]
        assert piece.shape == expected.shape
        assert np.abs(piece - expected).max() <= 1e-5
    assert starts[-1] + found[-1].shape[-1] == whole.shape[-1]


KINDS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "str": str,
    "bytes": lambda path: path.read_bytes(),
    "file": lambda path: path.open("rb"),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "dict": lambda path: {"bytes": path.read_bytes(), "path": None},
}


@pytest.mark.parametrize("kind", KINDS)
def test_decoder(kind: str, path: Path, ahead: float) -> None:
    whole, rate = ossicle.load(path, 16_000, dtype="int16")
    source = KINDS[kind](path)
    rng = np.random.default_rng(0)
    with ossicle.AudioDecoder(source, 16_000, dtype="int16") as decoder:
        assert decoder.info == ossicle.info(path)
        assert decoder.sample_rate == rate
        for start, count in itertools.chain(
            [(0, 10), (10, 20), (5, 3), (len(whole) - 5, 50), (len(whole), 1), (10**9, 7), (0, 0)],
            rng.integers(0, 20_000, (5, 2)).tolist(),
        ):
            assert decoder.seek(start) == start
            found = decoder.read(count)
            expected = whole[start : start + count]
            assert found.shape == expected.shape
            assert np.abs(found.astype(int) - expected).max(initial=0) <= 1
            assert decoder.tell() == start + len(found)
        decoder.seek(100)
        assert len(decoder.read()) == len(whole) - 100
        assert len(decoder.read(5)) == 0
    if hasattr(source, "close"):
        source.close()
    with pytest.raises(ossicle.InvalidArgumentError, match="closed"):
        decoder.read(-1)


def test_what_is_read_is_the_callers(path: Path) -> None:
    decoder = ossicle.AudioDecoder(path)
    first = decoder.read(100)
    kept = first.copy()
    first[:] = 7
    decoder.seek(0)
    assert np.array_equal(decoder.read(100), kept)


def test_a_file_that_changes(tmp_path: Path) -> None:
    path = ossicle.save(tmp_path / "a.wav", np.zeros(16_000 * 130, np.float32), 16_000)
    found = ossicle.blocks(path, seconds=50)
    assert len(next(found)) == 16_000 * 50
    ossicle.save(path, np.ones(16_000 * 130, np.float32), 16_000)
    with pytest.raises(ossicle.AudioIOError, match="has changed since it was opened"):
        list(found)


def test_bad_arguments_and_files(path: Path, tmp_path: Path) -> None:
    for options in (
        {"seconds": 0},
        {"seconds": -1},
        {"seconds": 1, "overlap": 1},
        {"seconds": 1, "overlap": -0.5},
    ):
        with pytest.raises(ossicle.InvalidArgumentError, match="seconds must be"):
            ossicle.blocks(path, **options)
    with pytest.raises(TypeError, match="use seconds"):
        ossicle.blocks(path, blocksize=7, seconds=1)  # type: ignore[call-arg]
    with pytest.raises(ossicle.AudioFileNotFoundError):
        ossicle.blocks(tmp_path / "missing.wav", seconds=1)
    with pytest.raises(ossicle.InvalidArgumentError, match="0 or more"):
        ossicle.AudioDecoder(path).seek(-1)
    data = path.read_bytes()
    if path.suffix in (".wav", ".flac"):
        with pytest.raises(ossicle.AudioError):
            list(ossicle.blocks(data[: len(data) // 2], seconds=0.5))


def test_nothing(tmp_path: Path) -> None:
    path = ossicle.save(tmp_path / "a.wav", np.zeros(0, np.float32), 16_000)
    assert list(ossicle.blocks(path, seconds=1)) == []
    assert os.path.getsize(path)  # noqa: PTH202

"""Fixtures that several test files share."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import oracle
import pytest

MakeClip = Callable[..., Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-docs",
        action="store_true",
        help="write docs/formats.md and docs/resampling.md from what the tests find",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks back on the whole session runs at its end."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    """``make_clip("mp3", rate=44_100, channels=2, frames=10_000, options="-b:a 64k")``: a path.

    Each clip is encoded once a session.
    """
    folder = tmp_path_factory.mktemp("clips")

    @functools.cache
    def make(
        suffix: str,
        *,
        rate: int = 16_000,
        channels: int = 1,
        frames: int = 16_001,
        options: str = "",
    ) -> Path:
        waveform = oracle.signal(rate, channels, frames)
        wav = folder / f"{rate}-{channels}-{frames}.wav"
        if not wav.exists():
            wav.write_bytes(oracle.wav_bytes(waveform, rate, "f32", extensible=channels > 2))
        name = hashlib.sha256(f"{wav.stem} {options}".encode()).hexdigest()[:12]
        path = folder / f"{name}.{suffix}"
        oracle.encode(wav, [(path, options.split())])
        return path

    return make

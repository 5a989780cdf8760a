"""The picture of a run, with any of its parts missing."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from ossicle.train.report import write_report

LOSSES = [5.5, 4.0, 2.5, 1.0]
LOG_MEL = np.linspace(-1, 1, 80 * 300, dtype=np.float32).reshape(80, 300)
STAGES = {"decode": 0.5, "encode": 1.0, "train": 6.5}


def pixels(path: Path) -> np.ndarray:
    """The RGBA rows of a PNG, read without the library that wrote it."""
    data, at, packed = path.read_bytes(), 8, b""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack_from(">I", data, at + 8 + size)[0]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack_from(">IIBB", body)
        packed += body if kind == b"IDAT" else b""
        at += 12 + size
    assert (depth, colour) == (8, 6)
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + 4 * width)
    return rows[:, 1:]


@pytest.mark.sampled(one_in=4)
@pytest.mark.parametrize(
    ("losses", "log_mel", "stages"),
    [
        ([], None, None),
        ([3.0], None, {}),
        (LOSSES, LOG_MEL, None),
        (LOSSES, None, STAGES),
        ([float("nan"), 2.0], LOG_MEL[:, :1], {"train": 0.0}),
        ([float("inf")], LOG_MEL[:, :0], None),
        (LOSSES * 20, LOG_MEL, STAGES),
    ],
)
def test_any_part_may_be_missing(losses, log_mel, stages, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.png"
    assert write_report(path, losses, log_mel=log_mel, stages=stages) == path
    has_second_row = bool(stages) or (log_mel is not None and log_mel.size > 0)
    assert pixels(path).shape == (962 if has_second_row else 572, 4 * 1300)


def test_each_part_changes_the_picture(tmp_path: Path) -> None:
    parts = {"log_mel": LOG_MEL, "stages": STAGES, "title": "A run", "subtitle": "of a test"}
    chosen = [{}, parts, *({k: v for k, v in parts.items() if k != left} for left in parts)]
    pictures = [write_report(tmp_path / f"{i}.png", LOSSES, **c) for i, c in enumerate(chosen)]
    assert len({p.read_bytes() for p in pictures}) == len(chosen)


def test_each_number_changes_the_picture(tmp_path: Path) -> None:
    runs = [
        (LOSSES, LOG_MEL, STAGES),
        ([*LOSSES[:-2], 2.0, LOSSES[-1]], LOG_MEL, STAGES),
        (LOSSES, LOG_MEL[::-1], STAGES),
        (LOSSES, LOG_MEL, STAGES | {"encode": 2.0}),
    ]
    pictures = set()
    for i, (losses, log_mel, stages) in enumerate(runs):
        path = write_report(tmp_path / f"{i}.png", losses, log_mel=log_mel, stages=stages)
        pictures.add(path.read_bytes())
    assert len(pictures) == len(runs)


def test_the_same_run_gives_the_same_picture(tmp_path: Path) -> None:
    one, two = (
        write_report(tmp_path / name, LOSSES, log_mel=LOG_MEL, stages=STAGES).read_bytes()
        for name in ("1.png", "2.png")
    )
    assert one == two


def test_pyplot_and_its_global_state_are_left_alone(tmp_path: Path) -> None:
    before = "matplotlib.pyplot" in sys.modules
    write_report(tmp_path / "a.png", LOSSES)
    assert ("matplotlib.pyplot" in sys.modules) == before

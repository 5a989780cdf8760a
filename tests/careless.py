"""How careless files are judged: whole bytes, and a header, a flag or a timestamp that is wrong."""

from __future__ import annotations

import io
from pathlib import Path

import formats
import numpy as np
import numpy.typing as npt
import pytest

import ossicle


def check(
    path: Path,
    expected: npt.NDArray[np.float32],
    remark: str,
    *,
    what: str = "",
    tolerance: float = 0.0,
    mono: bool = False,
) -> None:
    """`path` is read as `expected`; one of its remarks, which strict reading raises, has `remark`.

    Args:
        path: The file.
        expected: Somebody else's samples, ``(channels, frames)``, or ``(frames,)`` with `mono`.
        remark: A part of the remark's text; empty: there is none.
        what: Its row of docs/formats.md, ``"container | what is careless"``.
        tolerance: The largest difference between two samples; 0 for lossless codecs.
        mono: The mean of the channels is what is compared.
    """
    data = path.read_bytes()
    for source in (path, data, io.BytesIO(data)):
        facts = ossicle.info(source)
        if hasattr(source, "seek"):
            source.seek(0)
        waveform, rate = ossicle.load(source, mono=mono)
        assert (facts.sample_rate, facts.frames) == (rate, expected.shape[-1])
        _compare(waveform, expected, tolerance)
        _check_remarks(facts.remarks, remark)
    if remark:
        with pytest.raises(ossicle.AudioError) as caught:
            ossicle.load(path, strict=True)
        assert remark in caught.value.reason
    else:
        _compare(ossicle.load(path, mono=mono, strict=True)[0], expected, tolerance)
    _check_ranges(path, waveform, rate, mono, tolerance)
    if remark and what:
        formats.remark(what, next(text for text in facts.remarks if remark in text))


def _compare(
    waveform: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], tolerance: float
) -> None:
    assert waveform.shape == expected.shape
    if tolerance:
        np.testing.assert_allclose(waveform, expected, rtol=0, atol=tolerance)
    else:
        np.testing.assert_array_equal(waveform, expected)


def _check_remarks(remarks: tuple[str, ...], remark: str) -> None:
    if remark:
        assert any(remark in text for text in remarks), remarks
    else:
        assert remarks == ()


def _check_ranges(
    path: Path, whole: npt.NDArray[np.float32], rate: int, mono: bool, tolerance: float
) -> None:
    frames = whole.shape[-1]
    for start in {0, 1, frames // 3, frames // 2, max(frames - 7, 0), frames, frames + 9}:
        for count in {0, 5, frames // 4}:
            part, _ = ossicle.load(path, mono=mono, offset=start / rate, duration=count / rate)
            # Lossy codecs warm up before a range: equal within what single precision allows.
            _compare(part, whole[..., start : start + count], 1e-5 if tolerance else 0.0)

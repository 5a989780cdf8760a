"""Shorten against FFmpeg and against the samples that went in, over streams written by chance."""

from __future__ import annotations

import io
from pathlib import Path

import containers
import formats
import numpy as np
import numpy.typing as npt
import oracle
import pytest
import shorten_streams as streams
from shorten_streams import Settings
from tiers import Sweep

import ossicle

Array = npt.NDArray[np.float32]
RATES = (8_000, 16_000, 44_100)


def samples(seed: int, channels: int, frames: int, kind: int) -> streams.Ints:
    """A walk of some size, with silence in it, of a few empty low bits."""
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.standard_normal((channels, frames)), axis=1)
    walk *= min(10 ** random.uniform(0.5, 4.6), 32_000) / np.abs(walk).max()
    walk[:, frames // 3 : frames // 2] = 0
    empty = int(random.integers(0, 4))
    numbers = np.clip(np.rint(walk + random.integers(-500, 500)), -32_768, 32_767)
    numbers = numbers.astype(np.int64) >> empty << empty
    if kind in (streams.U8, streams.S8):
        numbers >>= 8
    return numbers + {streams.U8: 128, streams.U16LH: 32_768, streams.U16HL: 32_768}.get(kind, 0)


def as_floats(numbers: streams.Ints, kind: int) -> Array:
    middle = {streams.U8: 128, streams.U16LH: 32_768, streams.U16HL: 32_768}.get(kind, 0)
    full = 128 if kind in (streams.U8, streams.S8) else 32_768
    return ((numbers - middle) / full).astype(np.float32)


def wav_header(numbers: streams.Ints, bits: int, rate: int) -> bytes:
    size = numbers.size * bits // 8
    return containers.wav(b"", 1, len(numbers), bits, rate=rate, size=size, riff=size + 36)


def written(seed: int, kind: int | None = None) -> tuple[bytes, streams.Ints, Settings, int]:
    """A file, what is in it, and how."""
    random = np.random.default_rng(seed)
    if kind is None:
        kind = (streams.S16LH, streams.S16HL, streams.U8)[seed % 3]
    channels = int(random.integers(1, 9)) if seed % 4 == 0 else int(random.integers(1, 3))
    settings = Settings(kind=kind, version=int(random.integers(0, 4)))
    if settings.version > 0:
        settings.block, settings.means = int(random.integers(40, 600)), int(random.integers(0, 6))
        settings.order = int(random.integers(0, 33))
    numbers = samples(seed, channels, int(random.integers(1, 3_000)), kind)
    rate = RATES[seed // 3 % 3]
    bits = 8 if kind in (streams.U8, streams.S8) else 16
    settings.header = wav_header(numbers, bits, rate)
    return streams.encode(numbers, settings, seed), numbers, settings, rate


def test_streams_give_the_samples_that_went_in(tmp_path: Path, sweep: Sweep) -> None:
    seeds = sweep(range(300), one_in=20)
    paths, expected = [], []
    for seed in seeds:
        data, numbers, settings, rate = written(seed)
        path = tmp_path / f"{seed}.shn"
        path.write_bytes(data)
        facts = ossicle.info(path)
        assert (facts.container, facts.codec, facts.remarks) == ("shn", "shorten", ()), seed
        assert (facts.channels, facts.frames) == numbers.shape
        assert facts.bits_per_sample == (8 if settings.kind == streams.U8 else 16)
        floats = as_floats(numbers, settings.kind)
        for source in (path, io.BytesIO(data)):
            waveform, own = ossicle.load(source, mono=False, strict=True)
            assert own == rate
            np.testing.assert_array_equal(waveform, floats, err_msg=str(seed))
        # FFmpeg takes 0 for the middle of unsigned samples in version 0.
        if settings.version > 0 or settings.kind != streams.U8:
            paths.append(path)
            expected.append(floats)
        formats.record("shn", "shorten", rate, len(numbers), 0.0, path)
    for path, floats in zip(paths, expected, strict=True):
        theirs = oracle.decode_to("ffmpeg", path, len(floats))
        np.testing.assert_array_equal(theirs, floats, err_msg=path.name)


@pytest.mark.parametrize(
    "kind", [streams.S8, streams.U16HL, streams.U16LH], ids=["s8", "u16hl", "u16lh"]
)
def test_types_that_ffmpeg_does_not_read(kind: int, sweep: Sweep) -> None:
    for seed in sweep(range(40), one_in=8):
        data, numbers, settings, _ = written(seed, kind)
        waveform, _ = ossicle.load(data, mono=False, strict=True)
        np.testing.assert_array_equal(waveform, as_floats(numbers, settings.kind))


@pytest.mark.parametrize("header", ["aiff", "au", "skipped"])
def test_the_rate_is_that_of_the_header_inside(header: str) -> None:
    numbers = samples(1, 2, 700, streams.S16HL)
    data = numbers.T.astype(">i2").tobytes()
    settings = Settings(kind=streams.S16HL)
    if header == "aiff":
        whole = containers.aiff(data, 2, 16, rate=22_050)
        settings.header = whole[: -len(data)]
    else:
        whole = containers.au(data, 3, 2, rate=22_050)
        settings.header = whole[: -len(data)]
    if header == "skipped":
        settings.header, settings.skipped = b"", settings.header
    waveform, rate = ossicle.load(streams.encode(numbers, settings), mono=False, strict=True)
    assert rate == 22_050
    np.testing.assert_array_equal(waveform, as_floats(numbers, streams.S16HL))


def test_ranges_are_slices_of_the_whole(tmp_path: Path, sweep: Sweep) -> None:
    random = np.random.default_rng(0)
    for seed in sweep(range(20), one_in=7):
        data, numbers, settings, rate = written(seed)
        path = tmp_path / "clip.shn"
        path.write_bytes(data)
        floats = as_floats(numbers, settings.kind)
        for _ in range(60):
            start, count = random.integers(0, floats.shape[1] + 50), random.integers(0, 900)
            part, _ = ossicle.load(path, mono=False, offset=start / rate, duration=count / rate)
            np.testing.assert_array_equal(part, floats[:, start : start + count])
        mono, _ = ossicle.load(path)
        np.testing.assert_allclose(mono, floats.mean(axis=0), atol=1e-6)


def test_a_cut_is_damage_with_its_byte(sweep: Sweep) -> None:
    data, numbers, settings, _ = written(7)
    floats = as_floats(numbers, settings.kind)
    for length in sweep(range(5, len(data) - 4), one_in=97):
        with pytest.raises(ossicle.AudioError) as caught:
            ossicle.load(data[:length])
        assert caught.value.byte_offset is not None or "no WAV" in caught.value.reason
        try:
            left = ossicle.load_concealed(data[:length], mono=False)
        except ossicle.AudioError:
            continue
        count = left.waveform.shape[1]
        np.testing.assert_array_equal(left.waveform, floats[:, :count])
        assert (left.gaps[0].start, left.gaps[0].end) == (count, floats.shape[1])
    # Bytes after the end mark are none of the stream's, as seek tables.
    waveform, _ = ossicle.load(data + b"SHNAMPSK" * 9, mono=False, strict=True)
    np.testing.assert_array_equal(waveform, floats)


def test_other_lengths_than_the_header_says_are_a_remark(tmp_path: Path) -> None:
    numbers = samples(3, 1, 900, streams.S16LH)
    settings = Settings(header=wav_header(numbers[:, :800], 16, 16_000))
    path = tmp_path / "clip.shn"
    path.write_bytes(streams.encode(numbers, settings))
    facts = ossicle.info(path)
    assert facts.frames == 900
    assert "declares 800 samples" in facts.remarks[0]
    expected = as_floats(numbers, streams.S16LH)
    np.testing.assert_array_equal(ossicle.load(path, mono=False)[0], expected)
    np.testing.assert_array_equal(oracle.decode_to("ffmpeg", path, 1), expected)
    with pytest.raises(ossicle.CorruptAudioError, match="declares 800"):
        ossicle.load(path, strict=True)
    formats.remark("shn | a header inside with another length", facts.remarks[0])


def test_what_is_not_read_is_named() -> None:
    numbers = samples(3, 1, 90, streams.S16LH)
    with pytest.raises(ossicle.UnsupportedFormatError, match="no WAV, AIFF or AU header"):
        ossicle.load(streams.encode(numbers, Settings()))
    with pytest.raises(ossicle.UnsupportedFormatError, match="version 4 of Shorten"):
        ossicle.load(b"ajkg\4" + bytes(90))
    data = streams.encode(numbers, Settings(kind=11))
    with pytest.raises(ossicle.UnsupportedFormatError, match="type 11 in Shorten"):
        ossicle.load(data)

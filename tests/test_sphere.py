"""NIST SPHERE against FFmpeg, sox and the samples that went in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import careless
import formats
import numpy as np
import numpy.typing as npt
import oracle
import pytest
import shorten_streams as streams
from shorten_streams import Settings, sphere

import ossicle

FRAMES = 1_013
# `sample_coding`, bytes of a sample, `sample_byte_format`; FFmpeg's name.
STORED: dict[str, tuple[str | None, int, str | None, str]] = {
    "s16le": ("pcm", 2, "01", "pcm_s16le"),
    "s16be": ("pcm", 2, "10", "pcm_s16be"),
    "no coding": (None, 2, "10", "pcm_s16be"),
    "s8": ("pcm", 1, "1", "pcm_s8"),
    "s24le": ("pcm", 3, "01", "pcm_s24le"),
    "s24be": ("pcm", 3, "10", "pcm_s24be"),
    "s32le": ("pcm", 4, "01", "pcm_s32le"),
    "s32be": ("pcm", 4, "10", "pcm_s32be"),
    "ulaw": ("ulaw", 1, "1", "pcm_mulaw"),
    "mu-law": ("mu-law", 1, None, "pcm_mulaw"),
    "alaw": ("alaw", 1, "1", "pcm_alaw"),
}


def header(channels: int, rate: int, frames: int | None = FRAMES, **more: Any) -> dict[str, Any]:
    return {
        "database_id": "TEST",
        "channel_count": channels,
        "sample_count": frames,
        "sample_rate": rate,
    } | more


def stored(what: str, channels: int, rate: int, **more: Any) -> bytes:
    coding, size, order, _ = STORED[what]
    data = np.random.default_rng(channels).bytes(FRAMES * channels * size)
    fields = header(channels, rate, sample_n_bytes=size, sample_byte_format=order)
    fields |= {"sample_sig_bits": 8 * size, "sample_coding": coding}
    return sphere(data, **(fields | more))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("what", STORED)
def test_stored_samples_are_those_of_ffmpeg(what: str, channels: int, tmp_path: Path) -> None:
    rate = (8_000, 11_025, 16_000, 44_100)[(len(what) + channels) % 4]
    path = tmp_path / "clip.sph"
    path.write_bytes(stored(what, channels, rate))
    expected = oracle.decode_to("ffmpeg", path, channels)
    facts = ossicle.info(path)
    assert (facts.container, facts.codec) == ("nistsphere", STORED[what][3])
    assert (facts.sample_rate, facts.channels, facts.frames) == (rate, channels, FRAMES)
    careless.check(path, expected, "")
    formats.record("nistsphere", STORED[what][3], rate, channels, 0.0, path)


@pytest.mark.skipif(not shutil.which("sox"), reason="sox writes these")
@pytest.mark.parametrize("options", ["-b 16", "-b 24", "-b 32", "-e mu-law", "-e a-law"])
@pytest.mark.parametrize("channels", [1, 2])
def test_files_of_sox(options: str, channels: int, tmp_path: Path) -> None:
    path = tmp_path / "clip.sph"
    command = f"sox -R -n -r 16000 -c {channels} {options} {path} synth 0.2 pinknoise"
    done = subprocess.run(command.split(), capture_output=True, check=False)
    if done.returncode or b"can't encode" in done.stderr:
        pytest.skip("this sox does not write it")
    careless.check(path, oracle.decode_to("ffmpeg", path, channels), "")


def packed(
    numbers: streams.Ints, coding: str, settings: Settings, seed: int = 0, **more: Any
) -> bytes:
    """Numbers in Shorten in SPHERE."""
    size = 1 if coding == "ulaw" else 2
    fields = header(len(numbers), 8_000, numbers.shape[1], sample_n_bytes=size)
    fields["sample_coding"] = f"{coding},embedded-shorten-v2.00"
    return sphere(streams.encode(numbers, settings, seed, shifts=size == 2), **(fields | more))


@pytest.mark.parametrize("seed", range(6))
def test_embedded_shorten_is_what_went_in(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    channels = 1 + seed % 2
    numbers = np.cumsum(random.integers(-90, 91, (channels, 2_000 + seed)), axis=1)
    path = tmp_path / "clip.sph"
    path.write_bytes(packed(numbers, "pcm", Settings(order=8 * (seed % 3)), seed))
    expected = (numbers / 32_768).astype(np.float32)
    careless.check(path, expected, "")
    # FFmpeg 5.1 refuses such files, for they have no header of WAV in them.
    theirs = oracle.decode_to(oracle.bundled(), path, channels)
    np.testing.assert_array_equal(theirs, expected)
    facts = ossicle.info(path)
    assert (facts.container, facts.codec, facts.bits_per_sample) == ("nistsphere", "shorten", 16)
    formats.record("nistsphere", "shorten", 8_000, channels, 0.0, path)


def mu_law(codes: npt.NDArray[np.uint8], tmp_path: Path) -> npt.NDArray[np.float32]:
    """What FFmpeg makes of codes ``(channels, frames)``."""
    path = tmp_path / "codes.au"
    head = b".snd" + np.array([24, codes.size, 1, 8_000, len(codes)], ">u4").tobytes()
    path.write_bytes(head + codes.T.tobytes())
    return oracle.decode_to("ffmpeg", path, len(codes))


@pytest.mark.parametrize("kind", [streams.MU_LAW, streams.MU_LAW_TWO])
@pytest.mark.parametrize("channels", [1, 2])
def test_embedded_shorten_of_mu_law(kind: int, channels: int, tmp_path: Path) -> None:
    """Codes are numbered by their values: 0 is 0xFF; in one of the types -1 is the other zero."""
    random = np.random.default_rng(kind)
    numbers = np.clip(np.cumsum(random.integers(-9, 10, (channels, 3_000)), axis=1), -126, 127)
    below = 128 + numbers if kind == streams.MU_LAW_TWO else 127 + numbers
    codes = np.where(numbers >= 0, 255 - numbers, below).astype(np.uint8)
    path = tmp_path / "clip.sph"
    path.write_bytes(packed(numbers, "ulaw", Settings(kind=kind)))
    careless.check(path, mu_law(codes, tmp_path), "")
    assert ossicle.info(path).bits_per_sample == 8


def test_a_wrong_count_is_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "clip.sph"
    cases = {
        "no sample_count": ("s16be", {"sample_count": None}, FRAMES),
        "a sample_count over all channels": ("s16be", {"sample_count": 2 * FRAMES}, FRAMES),
        "a sample_count that is too small": ("s16le", {"sample_count": FRAMES - 9}, FRAMES - 9),
        "no sample_byte_format": ("s16le", {"sample_byte_format": None}, FRAMES),
    }
    for what, (kind, fields, frames) in cases.items():
        path.write_bytes(stored(kind, 2, 8_000, **fields))
        expected = oracle.decode_to("ffmpeg", path, 2)[:, :frames]
        name = "counts fewer" if "small" in what else "does not count"
        name = "no sample_byte_format" if "byte_format" in what else name
        careless.check(path, expected, name, what=f"nistsphere | {what}")
    path.write_bytes(stored("s16le", 1, 8_000) + b"\0")
    expected = oracle.decode_to("ffmpeg", path, 1)
    careless.check(path, expected, "last bytes (1)", what="nistsphere | a byte after the samples")
    path.write_bytes(stored("s16le", 1, 8_000, channel_count=None))
    assert "no channel_count" in ossicle.info(path).remarks[0]
    assert ossicle.info(path).frames == FRAMES


def test_a_wrong_count_of_shorten_is_a_remark(tmp_path: Path) -> None:
    numbers = np.cumsum(np.random.default_rng(1).integers(-90, 91, (1, 2_000)), axis=1)
    path = tmp_path / "clip.sph"
    path.write_bytes(packed(numbers, "pcm", Settings(), sample_count=1_000))
    expected = (numbers / 32_768).astype(np.float32)
    what = "nistsphere | another sample_count than that of the Shorten stream"
    careless.check(path, expected, "declares 1000 samples", what=what)


def test_headers_of_other_lengths() -> None:
    numbers = np.arange(100)
    data = numbers.astype(">i2").tobytes()
    fields = header(1, 16_000, 100, sample_n_bytes=2, sample_byte_format="10")
    fields["sample_rate"] = 16_000.0
    for length in (512, 1_024, 2_048, 8_192):
        waveform, rate = ossicle.load(sphere(data, length=length, **fields), strict=True)
        assert rate == 16_000
        np.testing.assert_array_equal(waveform, (numbers / 32_768).astype(np.float32))


def test_damage_and_cuts() -> None:
    data = stored("s16le", 2, 8_000)
    for length in (9, 100, 1_023, 1_500, len(data) - 1):
        with pytest.raises(ossicle.CorruptAudioError) as caught:
            ossicle.info(data[:length])
        assert caught.value.byte_offset is not None
    waveform, _, gaps = ossicle.load_concealed(data[:2_024])
    assert len(waveform) == 250
    assert (gaps[0].start, gaps[0].end) == (250, FRAMES)
    for fields, reason in (
        ({"sample_rate": None}, "no sample_rate"),
        ({"sample_n_bytes": 9}, "sample_n_bytes of 1 to 4"),
    ):
        with pytest.raises(ossicle.CorruptAudioError, match=reason):
            ossicle.load(stored("s16le", 2, 8_000, **fields))
    with pytest.raises(ossicle.CorruptAudioError, match="does not begin with its mark"):
        ossicle.load(stored("s16le", 1, 8_000, sample_coding="pcm,embedded-shorten-v2.00"))


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("embedded-wavpack-v2.0", {"sample_coding": "pcm,embedded-wavpack-v2.0"}),
        ("embedded-shortpack-v0", {"sample_coding": "pcm,embedded-shortpack-v0"}),
        ("pculaw", {"sample_coding": "pculaw"}),
        ("shortpack-v0", {"sample_byte_format": "shortpack-v0"}),
        ("channels that are not interleaved", {"channels_interleaved": "FALSE"}),
    ],
)
def test_what_is_not_read_is_named(what: str, fields: dict[str, str]) -> None:
    with pytest.raises(ossicle.UnsupportedFormatError, match=what) as caught:
        ossicle.load(stored("s16le", 2, 8_000, **fields))
    formats.refuse(f"SPHERE: {what}", caught.value.reason)

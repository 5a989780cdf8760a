"""Samples without a header: every codec as FFmpeg reads it."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import formats
import numpy as np
import oracle
import pytest
from commands import run

import ossicle
from ossicle import RawFormat, _native

PCM = [codec for codec in _native.RAW_CODECS if codec.startswith("pcm_")]
FRAMES = 1_013


def stored(codec: str, channels: int, seed: int = 0) -> bytes:
    """Every byte there is, or floats of all sizes."""
    random = np.random.default_rng(seed)
    if "_f" in codec:
        dtype = (">" if codec.endswith("be") else "<") + ("f4" if "32" in codec else "f8")
        numbers = random.standard_normal(FRAMES * channels) * 10.0 ** random.integers(-9, 3)
        return numbers.astype(dtype).tobytes()
    bits = 8 if codec.endswith("law") or "8" in codec else int(codec[5:7])
    return random.bytes(FRAMES * channels * bits // 8)


def ffmpeg(path: Path, codec: str, rate: int, channels: int) -> np.ndarray:
    """What FFmpeg makes of the file: ``(channels, frames)``."""
    demuxer = codec.removeprefix("pcm_")
    command = ["ffmpeg", "-nostdin", "-v", "error", "-f", demuxer, "-ar", str(rate)]
    command += ["-ac", str(channels), "-i", str(path), "-c:a", "pcm_f32le", "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, "<f4").reshape(-1, channels).T


@pytest.mark.sampled(one_in=4)
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("codec", PCM)
def test_samples_are_those_of_ffmpeg(codec: str, channels: int, tmp_path: Path) -> None:
    rate = [8_000, 16_000, 44_100, 96_000][(len(codec) + channels) % 4]
    path = tmp_path / "clip.raw"
    path.write_bytes(stored(codec, channels))
    raw = RawFormat(codec, rate, channels)
    expected = ffmpeg(path, codec, rate, channels)
    facts = ossicle.info(path, raw=raw)
    assert (facts.container, facts.codec, facts.frames) == ("raw", codec, expected.shape[1])
    assert (facts.sample_rate, facts.channels, facts.remarks) == (rate, channels, ())
    data = path.read_bytes()
    for source in (path, data, io.BytesIO(data)):
        waveform, own = ossicle.load(source, mono=False, raw=raw)
        assert own == rate
        np.testing.assert_array_equal(waveform, expected)
    random = np.random.default_rng(channels)
    for _ in range(25):
        start, count = random.integers(0, FRAMES + 9), random.integers(0, 200)
        part, _ = ossicle.load(
            path, mono=False, offset=start / rate, duration=count / rate, raw=raw
        )
        np.testing.assert_array_equal(part, expected[:, start : start + count])
    formats.record("raw", codec, rate, channels, 0.0)


def test_every_call_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "clip.pcm"
    samples = (oracle.signal(8_000, 1, 4_000)[0] * 32_768).astype("<i2")
    path.write_bytes(samples.tobytes())
    raw = RawFormat("pcm_s16le", 8_000)
    expected = samples.astype(np.float32) / 32_768
    waveform, rate, gaps = ossicle.load_concealed(path, raw=raw)
    assert (rate, gaps) == (8_000, [])
    np.testing.assert_array_equal(waveform, expected)
    batch = ossicle.load_batch([path, path], 8_000, raw=raw, threads=2)
    np.testing.assert_array_equal(batch.waveforms, np.stack([expected] * 2))
    clip, _ = ossicle.load(path, 16_000, raw=raw)
    features = ossicle.load_features([path], raw=raw).input_features
    np.testing.assert_array_equal(features[0], ossicle.log_mel_spectrogram(clip))


def test_the_content_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(oracle.wav_bytes(oracle.signal(8_000, 1, 100), 8_000))
    waveform, _ = ossicle.load(path, raw=RawFormat("pcm_s16le", 8_000))
    assert len(waveform) == 122
    behind, _ = ossicle.load(path, raw=RawFormat("pcm_s16le", 8_000, offset_bytes=44))
    np.testing.assert_array_equal(behind, ossicle.load(path)[0])


def test_a_part_of_a_frame_is_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "clip.raw"
    path.write_bytes(stored("pcm_s16be", 2) + b"\1\2\3")
    raw = RawFormat("pcm_s16be", 16_000, 2)
    facts = ossicle.info(path, raw=raw)
    assert facts.frames == FRAMES
    assert "after 3 of the 4 bytes of a frame" in facts.remarks[0]
    expected = ffmpeg(path, "pcm_s16be", 16_000, 2)
    np.testing.assert_array_equal(ossicle.load(path, mono=False, raw=raw)[0], expected)
    with pytest.raises(ossicle.CorruptAudioError, match="of a frame"):
        ossicle.load(path, strict=True, raw=raw)
    formats.remark("raw | a part of a frame at the end", facts.remarks[0])


def test_what_makes_no_sense_is_an_invalid_argument(tmp_path: Path) -> None:
    path = tmp_path / "clip.raw"
    path.write_bytes(bytes(10))
    with pytest.raises(ossicle.InvalidArgumentError, match="pcm_u8, pcm_s8, pcm_s16le"):
        RawFormat("s16", 8_000)
    for wrong in ({"sample_rate": 0}, {"channels": 0}, {"channels": 2_000}, {"offset_bytes": -1}):
        with pytest.raises(ossicle.InvalidArgumentError, match=next(iter(wrong))):
            RawFormat(**({"codec": "pcm_u8", "sample_rate": 8_000} | wrong))  # type: ignore[arg-type]
    for text in ("pcm_u8", "pcm_u8:x", "pcm_u8:8000:1:2:3", "pcm_u8:-1"):
        with pytest.raises(ossicle.InvalidArgumentError, match="CODEC:RATE"):
            RawFormat.parse(text)
    with pytest.raises(ossicle.InvalidArgumentError, match="raw must be"):
        ossicle.info(path, raw="pcm_u8:8000")  # type: ignore[arg-type]
    with pytest.raises(ossicle.CorruptAudioError, match="begin at byte 44"):
        ossicle.load(path, raw=RawFormat("pcm_u8", 8_000, offset_bytes=44))
    assert RawFormat.parse("pcm_alaw:8000:2:44") == RawFormat("pcm_alaw", 8_000, 2, 44)


def test_commands_take_it(tmp_path: Path) -> None:
    path = tmp_path / "call.ulaw"
    path.write_bytes(stored("pcm_mulaw", 2))
    done = run("info", "--json", "--raw", "pcm_mulaw:8000:2", path, folder=tmp_path)
    assert done.returncode == 0
    assert '"frames": 1013' in done.stdout
    done = run("decode", path, "out.npy", "--raw", "pcm_mulaw:8000:2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    expected, _ = ossicle.load(path, raw=RawFormat("pcm_mulaw", 8_000, 2))
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    assert run("info", "--raw", "mulaw", path, folder=tmp_path).returncode == 2
    assert run("verify", "--raw", "pcm_mulaw:8000:2", path, folder=tmp_path).returncode == 0
    path.write_bytes(path.read_bytes() + b"1")
    done = run("verify", "--strict", "--raw", "pcm_mulaw:8000:2", path, folder=tmp_path)
    assert done.returncode == 1
    assert "after 1 of the 2 bytes of a frame" in done.stderr

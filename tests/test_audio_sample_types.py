"""``dtype=``: int16 and float16 against the file's own samples and NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import soundfile

import ossicle


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("channels", [1, 2])
def test_int16_is_what_a_file_of_16_bits_holds(suffix: str, channels: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(channels)
    held = rng.integers(-32_768, 32_768, (5_000, channels), dtype=np.int16)
    held[:4, 0] = [-32_768, 32_767, 0, -1]
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, held, 16_000, subtype="PCM_16")
    found, _ = ossicle.load(path, mono=False, dtype="int16")
    assert found.dtype == np.int16
    assert np.array_equal(found, held.T)
    batch = ossicle.load_batch([path], mono=False, dtype=np.int16)  # type: ignore[arg-type]
    assert np.array_equal(batch[0], held.T)


@pytest.mark.parametrize("dtype", ["int16", "float16"])
def test_other_sources_are_rounded(dtype: Any, make_clip) -> None:
    path = make_clip("mp3", rate=22_050, channels=2, options="-c:a libmp3lame -b:a 64k")
    whole, _ = ossicle.load(path, 16_000)
    found, rate = ossicle.load(path, 16_000, dtype=dtype)
    expected = np.clip(np.rint(whole * 32_768), -32_768, 32_767) if dtype == "int16" else whole
    assert rate == 16_000
    assert np.array_equal(found, expected.astype(dtype))


def test_beyond_full_scale(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    path.write_bytes(oracle.wav_bytes(np.array([[2.0, -2.0, 1.0, 1e6]]), 8_000, "f32"))
    found, _ = ossicle.load(path, dtype="int16")
    assert found.tolist() == [32_767, -32_768, 32_767, 32_767]
    with pytest.raises(ossicle.NonFiniteSampleError, match="sample 3 has no value in float16"):
        ossicle.load(path, dtype="float16")


def test_nan_has_no_value_in_int16(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    path.write_bytes(oracle.wav_bytes(np.array([[0.0, np.nan]]), 8_000, "f32"))
    assert np.isnan(ossicle.load(path, allow_nonfinite=True, dtype="float16")[0][1])
    with pytest.raises(ossicle.NonFiniteSampleError) as caught:
        ossicle.load(path, allow_nonfinite=True, dtype="int16")
    assert caught.value.sample_index == 1


@pytest.mark.parametrize("dtype", ["float64", "int32", "nonsense", 7])
def test_types_that_there_are_not(dtype: Any, tmp_path: Path) -> None:
    ossicle.save(tmp_path / "a.wav", np.zeros(10, np.float32), 8_000)
    with pytest.raises(ossicle.InvalidArgumentError, match='dtype must be "float32"'):
        ossicle.load(tmp_path / "a.wav", dtype=dtype)

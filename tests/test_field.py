"""Files as people's tools leave them, each as its README says; skipped where they are absent."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import oracle
import pytest

import ossicle

FOLDER = Path(__file__).parents[2] / "shared/data/field"


@dataclass(frozen=True)
class Case:
    """What is right, by the README."""

    frames: int
    channels: int = 1
    # A part of the remark; empty: none is called for.
    remark: str = ""
    # The file whose samples are the right ones, if FFmpeg's of this one are not.
    truth: str = ""
    # The largest difference; None: nobody's samples are compared.
    tolerance: float | None = 0.0
    # FFmpeg's own decoder of Opus is not the reference one.
    decoder: str = ""


CASES = {
    "qtmux_S24LE.mov": Case(1_440, 2, truth="qtmux_truth.wav", tolerance=1 / 32_768),
    "opus_webm_to_mp4_ffmpeg5.mp4": Case(24_648, 2, tolerance=1e-4, decoder="libopus"),
    "opus_no_eos_flag.opus": Case(
        24_648, 2, remark="end-of-stream flag", tolerance=1e-4, decoder="libopus"
    ),
    "opus_head_version0.opus": Case(24_000, 2, tolerance=1e-4, decoder="libopus"),
    "chained.opus": Case(48_000, 2, tolerance=1e-4, decoder="libopus"),
    "flac_total_minus1.flac": Case(24_000, 2, remark="counts fewer samples"),
    "wav_7fffffff.wav": Case(1_600, remark="placeholder"),
    "wav_80000000.wav": Case(1_600, remark="placeholder"),
    "wav_align0.wav": Case(1_600, remark="block size"),
    # FFmpeg takes the upper 24 of 32 bits for a float, and these files' samples are the same.
    "wav_24in32_align4.wav": Case(1_600, remark="24 bits", truth="wav_align0.wav", tolerance=2e-5),
    "ulaw_bits16.wav": Case(1_600, remark="G.711"),
    # FFmpeg 9 does not read it.
    "id3_before_riff.wav": Case(1_600, remark="ID3 tag", tolerance=None),
}


def field(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        pytest.skip("the files of the field are not at hand")
    return path


def sources(path: Path) -> list[Path | bytes | io.BytesIO]:
    data = path.read_bytes()
    return [path, data, io.BytesIO(data)]


@pytest.mark.parametrize("name", CASES)
def test_the_file_is_read_as_it_should_be(name: str) -> None:
    path, case = field(name), CASES[name]
    expected = truth(path, case)
    for source in sources(path):
        facts = ossicle.info(source)
        if isinstance(source, io.BytesIO):
            source.seek(0)
        waveform, rate = ossicle.load(source, mono=False)
        assert (facts.sample_rate, facts.frames) == (rate, case.frames)
        assert waveform.shape == (case.channels, case.frames)
        assert any(case.remark in remark for remark in facts.remarks) or not case.remark
        if expected is not None:
            np.testing.assert_allclose(waveform, expected, rtol=0, atol=case.tolerance)
    if case.remark:
        with pytest.raises(ossicle.AudioError, match=case.remark):
            ossicle.load(path, strict=True)


def truth(path: Path, case: Case) -> npt.NDArray[np.float32] | None:
    if case.tolerance is None:
        return None
    right = path.with_name(case.truth) if case.truth else path
    return oracle.decode_to(oracle.bundled(), right, case.channels, case.decoder)


def test_a_range_is_a_slice_of_each() -> None:
    for name, case in CASES.items():
        path = field(name)
        whole, rate = ossicle.load(path)
        for start in (0, case.frames // 3, case.frames - 100, case.frames):
            part, _ = ossicle.load(path, offset=start / rate, duration=100 / rate)
            expected = whole[start : start + 100]
            assert part.shape == expected.shape, (name, start)
            np.testing.assert_allclose(part, expected, rtol=0, atol=1e-5, err_msg=name)


def test_parts_of_other_channels_are_mixed_each_by_itself() -> None:
    """Mono frames, then stereo ones, which keep their channels only where all have the same."""
    path = field("mp3_mono_then_stereo.mp3")
    waveform, rate = ossicle.load(path)
    expected = oracle.decode_to(oracle.bundled(), path, 1)[0]
    assert len(waveform) == ossicle.info(path).frames
    assert abs(len(waveform) - len(expected)) <= 1_152
    assert len(ossicle.load(path, rate // 2)[0]) == -(-len(waveform) // 2)
    with pytest.raises(ossicle.AudioError):
        ossicle.load(path, mono=False)


def test_a_tag_without_an_end_is_one_error() -> None:
    path = field("id3_to_eof.mp3")
    for source in sources(path):
        with pytest.raises(ossicle.AudioError):
            ossicle.info(source)
    with pytest.raises(ossicle.AudioError):
        ossicle.load(path)
    batch = ossicle.load_batch([path], on_error="collect")
    assert isinstance(batch.errors[0], ossicle.AudioError)

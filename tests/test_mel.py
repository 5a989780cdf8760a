"""Log-mel features, of waveforms and of files: against NumPy, and against one another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers.audio_utils import mel_filter_bank

import ossicle

FORMATS = {
    "wav": "-c:a pcm_s16le",
    "flac": "-c:a flac -sample_fmt s16",
    "mp3": "-c:a libmp3lame -b:a 64k",
    "ogg": "-c:a libvorbis",
    "opus": "-c:a libopus",
    "m4a": "-c:a aac -aac_pns 0",
}


def by_numpy(waveform: NDArray[np.float32], n_mels: int, padded: int) -> NDArray[np.float64]:
    """The definition, in float64 throughout: slow, and plain enough to be believed."""
    whole = np.zeros(padded)
    whole[: len(waveform)] = waveform[:padded]
    around = np.pad(whole, 200, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(around, 400)[::160][: padded // 160]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    filters = mel_filter_bank(201, n_mels, 0.0, 8_000.0, 16_000, norm="slaney", mel_scale="slaney")
    logs = np.log10(np.maximum(power @ filters, 1e-10)).T
    return (np.maximum(logs, logs.max() - 8) + 4) / 4


def noise(samples: int, seed: int = 0, loudness: float = 0.1) -> NDArray[np.float32]:
    found = loudness * np.random.default_rng(seed).standard_normal(samples)
    return found.astype(np.float32)


EDGES = (0, 1, 2, 159, 160, 161, 200, 201, 400, 479_799, 479_801, 479_999, 480_000, 480_001)
SAMPLES = st.sampled_from(EDGES) | st.integers(0, 5_000) | st.integers(0, 500_000)
LOUDNESS = st.sampled_from([0.0, 1e-9, 1e-5, 0.1, 1.0, 3e4])


@settings(max_examples=60, deadline=None)
@given(
    samples=SAMPLES,
    n_mels=st.sampled_from([80, 128]),
    seconds=st.sampled_from([30.0, 0.01, 0.013, 0.5, 1, 29.99, 31.0]),
    loudness=LOUDNESS,
)
def test_it_is_the_definition(samples: int, n_mels: int, seconds: float, loudness: float) -> None:
    waveform = noise(samples, loudness=loudness)
    found = ossicle.log_mel_spectrogram(waveform, n_mels=n_mels, pad_to_seconds=seconds)
    padded = round(seconds * 16_000)
    assert found.dtype == np.float32
    assert found.shape == (n_mels, padded // 160)
    np.testing.assert_allclose(found, by_numpy(waveform, n_mels, padded), rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_mels", [1, 2, 40, 201, 512])
@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_other_numbers_of_bands(n_mels: int) -> None:
    waveform = noise(7_000)
    found = ossicle.log_mel_spectrogram(waveform, n_mels=n_mels, pad_to_seconds=1)
    np.testing.assert_allclose(found, by_numpy(waveform, n_mels, 16_000), rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(samples=SAMPLES, n_mels=st.sampled_from([80, 128]))
def test_unpadded_frames_are_the_first_of_the_padded_to_the_bit(samples: int, n_mels: int) -> None:
    waveform = noise(samples)
    waveform[-200:] *= 100  # the loudest frame may be one that is not given
    found = ossicle.log_mel_spectrogram(waveform, n_mels=n_mels, pad_to_seconds=None)
    frames = math.ceil(samples / 160)
    assert found.shape == (n_mels, frames)
    seconds = 30.0 if samples <= 480_000 else frames / 100 + 0.1
    padded = ossicle.log_mel_spectrogram(waveform, n_mels=n_mels, pad_to_seconds=seconds)
    assert np.array_equal(found, padded[:, :frames])


def test_what_is_longer_is_cut() -> None:
    waveform = noise(40_000)
    found = ossicle.log_mel_spectrogram(waveform, pad_to_seconds=2)
    assert np.array_equal(found, ossicle.log_mel_spectrogram(waveform[:32_000], pad_to_seconds=2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("seconds", [1.0, None])
def test_one_bad_sample_makes_all_nan(bad: float, seconds: float | None) -> None:
    waveform = noise(8_000)
    waveform[1_234] = bad
    assert np.isnan(ossicle.log_mel_spectrogram(waveform, pad_to_seconds=seconds)).all()
    both = ossicle.log_mel_batch([waveform, noise(8_000)], pad_to_seconds=seconds)
    assert np.isnan(both[0]).all()
    assert np.isfinite(both[1]).all()


def test_anything_that_is_an_array_will_do() -> None:
    waveform = noise(3_000)
    expected = ossicle.log_mel_spectrogram(waveform)
    for same in (waveform.astype(np.float64), waveform.tolist(), np.repeat(waveform, 2)[::2]):
        assert np.array_equal(ossicle.log_mel_spectrogram(same), expected)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(SAMPLES, max_size=4),
    seconds=st.sampled_from([None, None, 30.0, 2.0]),
    threads=st.sampled_from([None, 1, 2, 7]),
)
def test_rows_of_a_batch_are_the_clips_alone(
    lengths: list[int], seconds: float | None, threads: int | None
) -> None:
    clips = [noise(length, seed) for seed, length in enumerate(lengths)]
    batch = ossicle.log_mel_batch(clips, pad_to_seconds=seconds, threads=threads)
    longest = math.ceil(max(lengths, default=0) / 160)
    assert batch.shape == (len(clips), 80, longest if seconds is None else round(seconds * 100))
    for row, one in zip(batch, clips, strict=True):
        alone = ossicle.log_mel_spectrogram(one, pad_to_seconds=seconds)
        assert np.array_equal(row[:, : alone.shape[1]], alone)
        # Behind it is silence, as if the clip went on with zeros.
        own, whole = len(one) // 160 + 2, np.zeros(160 * row.shape[1] + 600, np.float32)
        if seconds is None and own < row.shape[1]:
            whole[: len(one)] = one
            silence = ossicle.log_mel_spectrogram(whole, pad_to_seconds=None)[:, own : row.shape[1]]
            np.testing.assert_allclose(row[:, own:], silence, rtol=0, atol=1e-6)


def test_rows_of_a_padded_array_are_cut_to_their_lengths() -> None:
    rows, lengths = noise(3 * 5_000).reshape(3, 5_000), np.array([5_000, 0, 1_234])
    found = ossicle.log_mel_batch(rows, lengths, pad_to_seconds=1)
    clips = [row[:length] for row, length in zip(rows, lengths, strict=True)]
    assert np.array_equal(found, ossicle.log_mel_batch(clips, pad_to_seconds=1))
    assert np.array_equal(
        ossicle.log_mel_batch(rows, pad_to_seconds=1)[0],
        ossicle.log_mel_spectrogram(rows[0], pad_to_seconds=1),
    )


def test_an_array_to_write_into() -> None:
    clips = [noise(5_000), noise(10_000)]
    out = np.full((2, 80, 100), np.nan, np.float32)
    found = ossicle.log_mel_batch(clips, pad_to_seconds=1, out=out)
    assert found is out
    assert np.array_equal(out, ossicle.log_mel_batch(clips, pad_to_seconds=1))
    frozen = out.copy()
    frozen.setflags(write=False)
    for wrong in (out[:1], out.astype(np.float64), out[:, :, ::2], out.tolist(), frozen):
        with pytest.raises(ossicle.InvalidArgumentError, match="out is"):
            ossicle.log_mel_batch(clips, pad_to_seconds=1, out=wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_mels": 0}, "n_mels must be"),
        ({"n_mels": 513}, "not 513"),
        ({"n_mels": 80.5}, "not 80.5"),
        ({"pad_to_seconds": 0}, "pad_to_seconds is 0"),
        ({"pad_to_seconds": -1.0}, "pad_to_seconds is -1"),
        ({"pad_to_seconds": math.nan}, "pad_to_seconds is nan"),
        ({"pad_to_seconds": 1e9}, "pad_to_seconds is 1000000000"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, float], message: str) -> None:
    for call in (
        lambda: ossicle.log_mel_spectrogram(noise(1_000), **arguments),
        lambda: ossicle.log_mel_batch([noise(1_000)], **arguments),
        lambda: ossicle.load_features([b"never opened"], **arguments),
    ):
        with pytest.raises(ossicle.InvalidArgumentError, match=message):
            call()


def test_shapes_that_make_no_sense() -> None:
    for shape in ((), (2, 1_000), (1, 1, 10)):
        with pytest.raises(ossicle.InvalidArgumentError, match=r"a clip must be \(samples,\)"):
            ossicle.log_mel_spectrogram(np.zeros(shape, np.float32))
    with pytest.raises(ossicle.InvalidArgumentError, match="2 lengths for 1 clips"):
        ossicle.log_mel_batch([noise(10)], [1, 2])
    with pytest.raises(ossicle.InvalidArgumentError, match="clip 0 has 10 samples, not 11"):
        ossicle.log_mel_batch([noise(10)], [11])
    with pytest.raises(ossicle.InvalidArgumentError, match="threads must be at least 1, not 0"):
        ossicle.log_mel_batch([noise(10)], threads=0)


@pytest.fixture(scope="module")
def clips(make_clip) -> list[Path]:
    """Clips of many lengths, rates and formats; one is longer than the second that is asked for."""
    shapes = [(16_000, 1, 12_001), (44_100, 2, 60_011), (8_000, 1, 9_001)]
    return [
        make_clip(suffix, rate=rate, channels=channels, frames=frames, options=options)
        for suffix, options in FORMATS.items()
        for rate, channels, frames in shapes
        if suffix != "opus" or rate != 44_100
    ]


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("seconds", [None, 1.0, 30.0])
@pytest.mark.parametrize("threads", [1, 4])
def test_files_give_what_load_and_log_mel_give(
    n_mels: int, seconds: float | None, threads: int, clips: list[Path]
) -> None:
    batch = ossicle.load_features(clips, n_mels=n_mels, pad_to_seconds=seconds, threads=threads)
    assert len(batch) == len(clips)
    assert batch.errors == [None] * len(clips)
    assert batch.gaps == [[] for _ in clips]
    for row, path in enumerate(clips):
        waveform, _ = ossicle.load(path, 16_000, duration=seconds)
        expected = ossicle.log_mel_spectrogram(waveform, n_mels=n_mels, pad_to_seconds=seconds)
        own = batch.frames[row]
        assert batch.lengths[row] == len(waveform)
        assert batch.sample_rates[row] == ossicle.info(path).sample_rate
        assert np.array_equal(batch.input_features[row, :, : expected.shape[1]], expected)
        assert own == math.ceil(len(waveform) / 160)
        assert batch.attention_mask[row].tolist() == [1] * own + [0] * (
            batch.input_features.shape[2] - own
        )
    assert batch.attention_mask.dtype == np.int32
    if seconds is None:
        assert batch.input_features.shape[2] == batch.frames.max()


@pytest.mark.parametrize("quality", ["fast", "best"])
def test_files_are_resampled_as_well_as_one_asks(clips: list[Path], quality: Any) -> None:
    batch = ossicle.load_features(clips, quality=quality)
    assert not np.array_equal(batch.input_features, ossicle.load_features(clips).input_features)
    for row, path in enumerate(clips):
        waveform, _ = ossicle.load(path, 16_000, quality=quality)
        expected = ossicle.log_mel_spectrogram(waveform)
        np.testing.assert_array_equal(batch.input_features[row], expected)
    with pytest.raises(ossicle.InvalidArgumentError, match="quality"):
        ossicle.load_features(clips, quality="good")  # type: ignore[arg-type]


def test_ranges_of_files(clips: list[Path]) -> None:
    offsets = [0.1 * row for row in range(len(clips))]
    batch = ossicle.load_features(clips, offsets=offsets, duration=0.3, pad_to_seconds=0.5)
    for row, (path, offset) in enumerate(zip(clips, offsets, strict=True)):
        waveform, _ = ossicle.load(path, 16_000, offset=offset, duration=0.3)
        expected = ossicle.log_mel_spectrogram(waveform, pad_to_seconds=0.5)
        assert np.array_equal(batch.input_features[row], expected)
        assert batch.lengths[row] == len(waveform)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("seconds", [None, 1.0])
def test_each_source_is_a_row_or_an_error(
    seconds: float | None, threads: int, clips: list[Path], tmp_path: Path
) -> None:
    sources = [tmp_path / "missing.wav", *clips[:3], b"no audio at all", b"", clips[0]]
    arguments = {"pad_to_seconds": seconds, "threads": threads}
    batch = ossicle.load_features(sources, on_error="collect", **arguments)
    waveforms = ossicle.load_batch(sources, on_error="collect")
    assert [type(error) for error in batch.errors] == [type(error) for error in waveforms.errors]
    failed = [row for row, error in enumerate(batch.errors) if error is not None]
    assert failed == [0, 4, 5]
    assert not batch.input_features[failed].any()
    assert not batch.attention_mask[failed].any()
    assert not batch.lengths[failed].any()
    assert np.count_nonzero(batch.lengths) + len(failed) == len(sources)
    assert np.array_equal(batch.input_features[1], batch.input_features[-1])
    with pytest.raises(ossicle.AudioFileNotFoundError, match=r"missing\.wav"):
        ossicle.load_features(sources, **arguments)


def test_damage_is_concealed_as_load_does(clips: list[Path]) -> None:
    flac = next(path for path in clips if path.suffix == ".flac").read_bytes()
    cut = flac[: len(flac) // 2]
    with pytest.raises(ossicle.CorruptAudioError):
        ossicle.load_features([flac, cut])
    batch = ossicle.load_features([flac, cut, b"no audio"], on_error="conceal")
    waveform, _, gaps = ossicle.load_concealed(cut, 16_000)
    assert [len(found) for found in batch.gaps] == [0, len(gaps), 0]
    assert (batch.gaps[1][0].start, batch.gaps[1][0].end) == (gaps[0].start, gaps[0].end)
    assert np.array_equal(batch.input_features[1], ossicle.log_mel_spectrogram(waveform))
    assert isinstance(batch.errors[2], ossicle.UnsupportedFormatError)
    with pytest.raises(ossicle.InvalidArgumentError, match="on_error"):
        ossicle.load_features([flac], on_error="ignore")


def test_files_into_an_array_that_is_there(clips: list[Path]) -> None:
    out = np.full((len(clips) + 1, 80, 100), np.nan, np.float32)
    sources = [*clips, b"no audio"]
    batch = ossicle.load_features(sources, pad_to_seconds=1, out=out, on_error="collect")
    assert batch.input_features is out
    again = ossicle.load_features(sources, pad_to_seconds=1, on_error="collect")
    assert np.array_equal(out, again.input_features)
    with pytest.raises(ossicle.InvalidArgumentError, match="needs pad_to_seconds"):
        ossicle.load_features(sources, pad_to_seconds=None, out=out)
    with pytest.raises(ossicle.InvalidArgumentError, match="2 offsets"):
        ossicle.load_features(sources, offsets=[0.0, 1.0])


def test_nothing_is_a_batch_of_nothing() -> None:
    for seconds, frames in ((30.0, 3_000), (None, 0)):
        batch = ossicle.load_features([], pad_to_seconds=seconds)
        assert batch.input_features.shape == (0, 80, frames)
        assert batch.attention_mask.shape == (0, frames)
        assert ossicle.log_mel_batch([], pad_to_seconds=seconds).shape == (0, 80, frames)
    alone = ossicle.load_features([b"bad"], on_error="collect", pad_to_seconds=None)
    assert alone.input_features.shape == (1, 80, 0)

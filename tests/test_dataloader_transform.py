"""Transforms of sound: segments follow them, nothing that was given changes, levels are right."""

from __future__ import annotations

import copy
import importlib.util
import math
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pyloudnorm
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ossicle
from ossicle.dataloader import (
    Compose,
    DataProcessor,
    LabelEncoder,
    MaskGenerator,
    MetadataError,
    Normalizer,
    OnlineWindower,
    Resampler,
    SampleError,
    VADSegmenter,
)
from ossicle.dataloader.transform.segments import cut_metadata
from ossicle.errors import InvalidArgumentError

FEW = settings(max_examples=60, deadline=None)
SPEECH = Path(__file__).parents[2] / "shared" / "data" / "speech"
RATE = 8_000
MILLI = RATE // 1_000  # samples of a millisecond: times on this grid are samples exactly


@st.composite
def samples(draw: Any, least: int = 1) -> tuple[torch.Tensor, int, dict[str, Any]]:
    """Plateaus: a sample's value is the number of the segment that it is in, 0 outside of all."""
    lengths = draw(st.lists(st.integers(30, 400), min_size=2 * least, max_size=16))
    edges = np.cumsum(lengths)
    spans = edges[: len(edges) // 2 * 2].reshape(-1, 2)
    duration = int(edges[-1]) + 50
    waveform = torch.zeros(2, duration * MILLI)
    segments = []
    for number, (onset, offset) in enumerate(spans.tolist(), 1):
        waveform[:, onset * MILLI : offset * MILLI] = number
        times = {"onset": onset / 1_000, "offset": offset / 1_000}
        segments.append({**times, "label": f"L{number}", "duration": (offset - onset) / 1_000})
    waveform[1] /= -2
    keep = draw(st.sets(st.integers(0, len(segments) - 1), min_size=1))
    metadata = {
        "wav_id": "a",
        "seed": draw(st.integers(0, 2**63)),
        "vtc_merged": segments,
        "vad_merged": [dict(segments[row]) for row in sorted(keep)],
        "none": [],
        "snr": 3.5,
    }
    return waveform, RATE, metadata


WINDOWERS = st.one_of(
    st.builds(
        OnlineWindower,
        length=st.integers(200, 2_000).map(lambda ms: ms / 1_000),
        tail=st.sampled_from(["keep", "shift"]),
    ),
    st.builds(
        OnlineWindower,
        st.just("label"),
        length=st.none() | st.integers(200, 900).map(lambda ms: ms / 1_000),
        padding=st.integers(0, 90).map(lambda ms: ms / 1_000),
    ),
    st.builds(
        OnlineWindower, st.just("vad"), length=st.integers(200, 900).map(lambda ms: ms / 1_000)
    ),
)
SEGMENTERS = st.builds(
    VADSegmenter,
    key=st.sampled_from(["vad_merged", "vtc_merged"]),
    merge_gap=st.integers(0, 150).map(lambda ms: ms / 1_000),
    padding=st.integers(0, 60).map(lambda ms: ms / 1_000),
    max_duration=st.none() | st.integers(50, 500).map(lambda ms: ms / 1_000),
    give=st.sampled_from(["all", "one"]),
)
RESAMPLERS = st.sampled_from([6_000, 11_025, 16_000]).map(Resampler)
LEVELS = st.sampled_from(["peak", "rms"]).map(Normalizer)
CHAINS = st.lists(st.one_of(WINDOWERS, SEGMENTERS, RESAMPLERS, LEVELS), max_size=4)


def through(chain: list[DataProcessor], sample: Any) -> Any:
    """The sample behind as much of the chain as leaves something of it."""
    for processor in chain:
        try:
            sample = processor(*sample)
        except SampleError as error:
            if "the recording has no" not in error.reason:
                raise
            break
    return sample


@FEW
@given(samples(), CHAINS)
def test_segments_follow_every_change_of_time(sample: Any, chain: list[DataProcessor]) -> None:
    waveform, rate, metadata = through(chain, sample)
    values = waveform[0].numpy() / 10 ** (metadata.get("gain_db", 0.0) / 20)
    margin = round(0.012 * rate)  # resampling rings at the edges of plateaus
    for segment in metadata["vtc_merged"]:
        start, end = (round(segment[name] * rate) for name in ("onset", "offset"))
        assert 0 <= start <= end <= len(values) + 1
        length = segment["offset"] - segment["onset"]
        assert segment["duration"] == pytest.approx(length, abs=1e-9)
        inside = values[start + margin : max(end - margin, 0)]
        # Pieces that were joined inside of a segment are of its plateau as well.
        np.testing.assert_allclose(inside, int(segment["label"][1:]), rtol=0.01, atol=0.05)
    outside = np.ones(len(values), bool)
    spans = [(round(s["onset"] * rate), round(s["offset"] * rate)) for s in metadata["vtc_merged"]]
    for start, end in spans:
        outside[max(start - margin, 0) : end + margin] = False
    np.testing.assert_allclose(values[outside], 0, atol=0.05)
    by_label = {segment["label"]: segment for segment in metadata["vtc_merged"]}
    for segment in metadata["vad_merged"]:
        assert segment == by_label[segment["label"]]
    assert (metadata["none"], metadata["snr"]) == ([], 3.5)


ALL_SPEECH = st.builds(VADSegmenter, key=st.just("vtc_merged"), merge_gap=st.just(0.1))
CUTS = st.lists(WINDOWERS | SEGMENTERS, max_size=2)


@FEW
@given(samples(3), st.tuples(ALL_SPEECH, WINDOWERS) | CUTS)
def test_pieces_say_where_in_the_recording_a_sample_was(sample: Any, chain: Any) -> None:
    ramp = torch.arange(float(sample[0].shape[1]))[None]
    waveform, rate, metadata = through(chain, (ramp, *sample[1:]))
    pieces = metadata.get("pieces", [(0.0, ramp.shape[1] / rate)])
    found = [ramp[0, round(on * rate) : round(off * rate)] for on, off in pieces]
    assert torch.equal(torch.cat(found), waveform[0])
    if chain and "pieces" in metadata:
        assert metadata["duration"] == waveform.shape[1] / rate


@FEW
@given(samples(), SEGMENTERS)
def test_speech_is_what_a_mask_of_it_leaves(sample: Any, segmenter: VADSegmenter) -> None:
    waveform, rate, metadata = sample
    segmenter.give = "all"
    mask = np.zeros(waveform.shape[1], bool)
    for segment in metadata[segmenter.key]:
        mask[round(segment["onset"] * rate) : round(segment["offset"] * rate)] = True
    for at, width in (("gap", segmenter.merge_gap), ("pad", segmenter.padding)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask, [0]]))).reshape(-1, 2)
        size = round(width * rate)
        for (start, end), following in zip(edges, [*edges[1:, 0], None], strict=True):
            if at == "gap" and following is not None and following - end <= size:
                mask[end:following] = True
            elif at == "pad":
                mask[max(start - size, 0) : end + size] = True
    if segmenter.max_duration is None:
        assert torch.equal(segmenter(*sample)[0], waveform[:, mask])
    parts = segmenter.split(*sample)
    # Where long speech becomes equal parts, a cut is the nearest sample.
    total = sum(part.shape[1] for part, _, _ in parts)
    assert abs(total - mask.sum()) <= (0 if segmenter.max_duration is None else len(parts))
    if segmenter.max_duration is not None:
        most = segmenter.max_duration + 1 / rate
        assert all(part[2]["duration"] <= most for part in parts)


def test_speech_that_is_too_short_is_left_out_before_the_padding() -> None:
    metadata = {
        "duration": 9.0,
        "vad_merged": [
            {"onset": 1.0, "offset": 1.2},
            {"onset": 1.3, "offset": 1.6},
            {"onset": 4.0, "offset": 4.4},
        ],
    }
    segmenter = VADSegmenter(min_duration=0.5, merge_gap=0.1, padding=1.5)
    assert [(w.onset, w.end) for w in segmenter.windows(metadata)] == [(0.0, 3.1)]
    waveform = torch.zeros(1, 9 * RATE)
    with pytest.raises(
        SampleError, match="wav_id 'b', column 'vad_merged': the recording has no speech"
    ):
        VADSegmenter(min_duration=2)(waveform, RATE, {**metadata, "wav_id": "b"})


@FEW
@given(samples(), CHAINS)
def test_nothing_that_was_given_changes(sample: Any, chain: list[DataProcessor]) -> None:
    waveform, _, metadata = sample
    before = waveform.clone(), copy.deepcopy(metadata)
    late = [LabelEncoder(0), MaskGenerator()]
    results = [through(chain, sample)]
    results.append(through(late, results[0]))
    held = copy.deepcopy(results[0])
    through([*late, Normalizer()], results[0])
    assert torch.equal(results[0][0], held[0])
    assert results[0][2] == held[2]
    assert torch.equal(waveform, before[0])
    assert metadata == before[1]


@FEW
@given(samples(), CHAINS)
def test_a_chain_is_its_transforms_in_turn(sample: Any, chain: list[DataProcessor]) -> None:
    try:
        found = pickle.loads(pickle.dumps(Compose(chain)))(*sample)
    except SampleError:
        return
    expected = sample
    for processor in chain:
        expected = processor(*expected)
    assert torch.equal(found[0], expected[0])
    assert found[1:] == expected[1:]
    assert Compose([])(*sample) == sample


def test_points_stay_where_they_are_inside_of_a_piece() -> None:
    marks = [{"onset": time, "offset": time} for time in (0.5, 1.0, 1.5, 2.0, 3.5)]
    moved = cut_metadata({"marks": marks}, [(1.0, 2.0), (3.0, 4.0)])["marks"]
    assert [mark["onset"] for mark in moved] == [0.0, 0.5, 1.5]


@pytest.mark.parametrize("late", [LabelEncoder(labels=["L1"], key="labels"), MaskGenerator()])
def test_a_cut_behind_labels_or_masks_is_refused(late: DataProcessor) -> None:
    sample = late(torch.zeros(1, RATE), RATE, {"wav_id": "a", "labels": ["L1"]})
    with pytest.raises(SampleError, match="put cuts before it"):
        OnlineWindower(length=0.5)(*sample)
    if isinstance(late, MaskGenerator):
        with pytest.raises(SampleError, match="frame_attention_mask"):
            Resampler(16_000)(*sample)


@FEW
@given(
    st.integers(1, 3),
    st.integers(0, 4_000),
    st.sampled_from([8_000, 16_000, 22_050, 44_100]),
    st.sampled_from(["fast", "high", "best"]),
)
def test_resampler_is_resample(channels: int, frames: int, rate: int, quality: Any) -> None:
    waveform = torch.from_numpy(
        np.random.default_rng(frames).uniform(-1, 1, (channels, frames)).astype(np.float32)
    )
    found, new_rate, metadata = Resampler(16_000, quality)(waveform, rate, {"duration": 1.0})
    assert new_rate == 16_000
    if rate == 16_000:
        assert found is waveform
        return
    expected = ossicle.resample(waveform.numpy(), rate, 16_000, quality=quality)
    np.testing.assert_array_equal(found.numpy(), expected)
    assert metadata == {"duration": expected.shape[1] / 16_000}


def test_resampler_names_the_sample_that_cannot_be_converted() -> None:
    with pytest.raises(SampleError, match="wav_id 'a': sample 0 is not a finite"):
        Resampler(16_000)(torch.full((1, 10), math.nan), 8_000, {"wav_id": "a"})
    with pytest.raises(InvalidArgumentError, match="sample_rate must be"):
        Resampler(0)


NOISE = st.tuples(st.integers(0, 99), st.integers(1, 3), st.integers(1, 3_000), st.floats(-60, 20))


def noise(seed: int, channels: int, frames: int, level: float) -> torch.Tensor:
    rows = np.random.default_rng(seed).normal(0, 10 ** (level / 20), (channels, frames))
    return torch.from_numpy(rows.astype(np.float32))


@FEW
@given(NOISE, st.floats(-40, 6), st.sampled_from(["peak", "rms"]))
def test_levels_are_those_asked_for(drawn: Any, target: float, kind: Any) -> None:
    waveform = noise(*drawn)
    found, _, metadata = Normalizer(kind, target, max_gain_db=math.inf)(waveform, RATE, {})
    values = found.numpy().astype(np.float64)
    level = np.abs(values).max() if kind == "peak" else np.sqrt(np.mean(values**2))
    assert 20 * np.log10(level) == pytest.approx(target, abs=1e-3)
    gain = 10 ** (metadata["gain_db"] / 20)
    np.testing.assert_allclose(values, waveform.numpy() * gain, rtol=1e-5, atol=1e-30)


@FEW
@given(NOISE, st.floats(0, 40), st.floats(-20, 0))
def test_limits_hold(drawn: Any, max_gain: float, peak: float) -> None:
    waveform = noise(*drawn)
    normalizer = Normalizer("rms", -5.0, max_gain_db=max_gain, peak_limit_db=peak)
    found, _, metadata = normalizer(waveform, RATE, {"gain_db": 1.0})
    free = Normalizer("rms", -5.0, max_gain_db=math.inf)(waveform, RATE, {})[2]["gain_db"]
    gain = metadata["gain_db"] - 1.0
    highest = 20 * math.log10(float(waveform.abs().max()))
    assert gain == pytest.approx(min(free, max_gain, peak - highest), abs=1e-9)
    assert 20 * math.log10(float(found.abs().max())) <= peak + 1e-3


@pytest.mark.parametrize("kind", ["peak", "rms", "loudness"])
@pytest.mark.parametrize("frames", [0, 1, 100, RATE])
def test_silence_stays_silence(kind: Any, frames: int) -> None:
    silence = torch.zeros(2, frames)
    found, _, metadata = Normalizer(kind)(silence, RATE, {})
    assert found is silence
    assert metadata["gain_db"] == 0.0


def ffmpeg_loudness(waveform: np.ndarray, rate: int, tmp_path: Path) -> float:
    path = tmp_path / "clip.wav"
    ossicle.save(path, waveform, rate)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostats", "-i", path]
    command += ["-af", "ebur128=framelog=quiet", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return float(re.findall(r"I:\s+(-?[\d.]+) LUFS", told)[-1])


@pytest.mark.skipif(not SPEECH.exists(), reason="needs the speech beside the repository")
@pytest.mark.parametrize("name", ["jfk.flac", "LJ002-0020.wav", "2412-153948-0001.flac"])
def test_loudness_of_speech_is_what_ffmpeg_measures(name: str, tmp_path: Path) -> None:
    waveform, rate = ossicle.load(SPEECH / name, mono=False)
    sample = torch.from_numpy(waveform), rate, {}
    found = Normalizer("loudness", -27.0)(*sample)[0].numpy()
    assert ffmpeg_loudness(found, rate, tmp_path) == pytest.approx(-27.0, abs=0.15)


# The two filters of BS.1770-4, tables 1 and 2, at 48 kHz.
SHELF = (
    [1.53512485958697, -2.69169618940638, 1.19839281085285],
    [
        1.0,
        -1.69065929318241,
        0.73248077421585,
    ],
)
PASS = [1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621]


@pytest.mark.parametrize("channels", [1, 2, 5, 6])
@pytest.mark.parametrize("frames", [9_000, 19_199, 96_000])
def test_loudness_by_the_filters_of_the_standard(channels: int, frames: int) -> None:
    """Of steady noise, whose gating leaves nothing out; shorter than a block as well."""
    waveform = noise(1, channels, frames, -40.0) * torch.arange(1, channels + 1)[:, None]
    found = Normalizer("loudness", -20.0)(waveform, 48_000, {})[0].numpy().astype(np.float64)
    weighted = scipy.signal.lfilter(*PASS, scipy.signal.lfilter(*SHELF, found))
    powers = np.square(weighted).mean(axis=1)
    weights = {1: [1], 2: [1, 1], 5: [1, 1, 1, 1.41, 1.41], 6: [1, 1, 1, 0, 1.41, 1.41]}[channels]
    assert -0.691 + 10 * np.log10(powers @ weights) == pytest.approx(-20.0, abs=0.1)


def test_loudness_that_cannot_be_measured() -> None:
    with pytest.raises(SampleError, match="wav_id 'a': loudness is defined for 1 to 5 channels"):
        Normalizer("loudness")(torch.ones(7, 9_000), RATE, {"wav_id": "a"})
    with pytest.raises(SampleError, match="not finite"):
        Normalizer()(torch.full((1, 9), math.inf), RATE, {"wav_id": "a"})


def test_loudness_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyloudnorm", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ossicle\[loudness\]'"):
        Normalizer("loudness")
    assert Normalizer("rms").target == -25.0
    assert pyloudnorm.__name__ == "pyloudnorm"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Normalizer("odd"), 'kind must be "peak", "rms" or "loudness"'),
        (lambda: Normalizer(target=math.nan), "target is nan"),
        (lambda: VADSegmenter(padding=-1), "padding must be"),
        (lambda: VADSegmenter(max_duration=0), "max_duration must be"),
        (lambda: VADSegmenter(give="some"), "give must be one of"),
    ],
)
def test_arguments_that_make_no_sense(make: Any, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason):
        make()


def test_metadata_without_the_segments() -> None:
    with pytest.raises(MetadataError, match="'vad_merged': unknown segments; there are none"):
        VADSegmenter()(torch.zeros(1, 10), RATE, {"wav_id": "a"})


def test_the_page_about_transforms_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[1] / "docs" / "dataloader-transforms.md"
    codes = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec("\n".join(codes), {})
    assert (tmp_path / "windows.png").read_bytes().startswith(b"\x89PNG")

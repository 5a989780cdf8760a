"""Windows from labels alone: what they cover, where they are cut, and which one is picked."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossicle.dataloader import MetadataError, OnlineWindower, SampleError, Window
from ossicle.dataloader.transform.base import sample_bits
from ossicle.errors import InvalidArgumentError

FEW = settings(max_examples=60, deadline=None)
# All times are hundredths of a second, and the rate is 100 Hz: sample numbers say the same exactly.
RATE = 100
CENTS = st.integers(1, 400)


@st.composite
def recordings(draw: Any) -> dict[str, Any]:
    """Segments in any order, which may overlap and go beyond the end."""
    duration = draw(st.integers(1, 1_500))
    row = st.tuples(st.integers(0, duration), CENTS, st.sampled_from(["CHI", "FEM", "MAL"]))
    segments = [
        {"onset": onset / 100, "offset": (onset + length) / 100, "label": label}
        for onset, length, label in draw(st.lists(row, max_size=12))
    ]
    return {"wav_id": "a", "duration": duration / 100, "vad_merged": segments}


def samples(window: Window) -> tuple[int, int]:
    """Where it is on the grid, on which it must lie."""
    start, end = window.onset * RATE, window.end * RATE
    assert abs(start - round(start)) < 1e-4
    assert abs(end - round(end)) < 1e-4
    return round(start), round(end)


def speech(recording: dict[str, Any], padding: int = 0) -> np.ndarray:
    """For each hundredth whether somebody speaks."""
    frames = np.zeros(round(recording["duration"] * RATE), bool)
    for segment in recording["vad_merged"]:
        onset, offset = round(segment["onset"] * RATE), round(segment["offset"] * RATE)
        if onset < len(frames):
            frames[max(onset - padding, 0) : offset + padding] = True
    return frames


def counts(windows: list[Window], frames: int) -> np.ndarray:
    """In how many windows each hundredth is."""
    found = np.zeros(frames, int)
    for window in windows:
        start, end = round(window.onset * RATE), round(window.end * RATE)
        assert 0 <= start < end <= frames
        found[start:end] += 1
    return found


@FEW
@given(st.integers(0, 2_000), CENTS, st.none() | CENTS)
def test_whole_windows_are_those_of_unfold(total: int, length: int, hop: int | None) -> None:
    windower = OnlineWindower(length=length / 100, hop=hop and hop / 100, tail="drop")
    found = [samples(window) for window in windower.windows({"duration": total / 100})]
    expected = torch.arange(total)
    expected = expected.unfold(0, length, hop or length) if total >= length else expected[:0, None]
    assert found == [(row[0], row[-1] + 1) for row in expected.tolist()]


@FEW
@given(st.integers(1, 2_000), CENTS, CENTS, st.sampled_from(["keep", "shift"]))
def test_tails_cover_the_rest(total: int, length: int, hop: int, tail: Any) -> None:
    settings = {"length": length / 100, "hop": hop / 100}
    whole = OnlineWindower(**settings, tail="drop").windows({"duration": total / 100})
    windows = OnlineWindower(**settings, tail=tail).windows({"duration": total / 100})
    assert windows[: len(whole)] == whole
    assert len(windows) - len(whole) in (0, 1)
    covered = counts(windows, total)
    behind = samples(windows[-1])
    if hop <= length:
        assert covered.all()
        assert behind[1] == total
    elif len(windows) == len(whole):
        assert len(whole) * hop >= total
    if len(windows) > len(whole):
        size = behind[1] - behind[0]
        if tail == "shift":
            assert size == min(length, total)
        else:
            assert behind[0] == len(whole) * hop
            assert size < length


@FEW
@given(recordings(), CENTS, st.integers(0, 30), st.none() | st.integers(0, 100))
def test_speech_is_in_one_window_and_cuts_are_in_silence(
    recording: dict[str, Any], length: int, padding: int, gap: int | None
) -> None:
    windower = OnlineWindower(
        "vad",
        length=length / 100,
        padding=padding / 100,
        max_gap=math.inf if gap is None else gap / 100,
    )
    windows = windower.windows(recording)
    spoken = speech(recording, padding)
    # Parts of long speech are equal, so not on the grid: their edges are only near it.
    found = counts(windows, len(spoken))
    assert (found[spoken] == 1).all()
    assert all(window.duration <= length / 100 + 1e-6 for window in windows)
    assert all(first.end <= second.onset + 1e-9 for first, second in pairwise(windows))
    # Stretches of speech without a pause, and where each of them ends.
    edges = np.flatnonzero(np.diff(np.concatenate([[0], spoken, [0]])))
    for start, end in edges.reshape(-1, 2).tolist():
        inside = [w for w in windows if start < w.onset * RATE - 1e-4 and w.onset * RATE < end]
        if end - start <= length:
            assert not [w for w in inside if w.onset * RATE < end - 1e-4]
    silence = [edges[2 * i + 1 : 2 * i + 3] for i in range(len(edges) // 2 - 1)]
    for start, end in silence:
        if gap is not None and end - start > gap + 0.1:
            assert not found[start:end].any()


@FEW
@given(recordings(), CENTS)
def test_a_window_takes_the_next_segment_if_it_fits(recording: dict[str, Any], length: int) -> None:
    windows = OnlineWindower("vad", length=length / 100).windows(recording)
    spoken = np.append(speech(recording), False)
    for first, second in pairwise(windows):
        start = math.ceil(second.onset * RATE - 1e-4)
        end = start + int(np.argmin(spoken[start:]))  # of the stretch that the second begins with
        assert end - first.onset * RATE > length - 1e-4


@FEW
@given(recordings(), st.none() | CENTS, st.integers(0, 30), st.sets(st.sampled_from("CFM")))
def test_windows_around_labels(
    recording: dict[str, Any], length: int | None, padding: int, initials: set[str]
) -> None:
    labels = [label for label in ("CHI", "FEM", "MAL") if label[0] in initials]
    windower = OnlineWindower(
        "label",
        key="vad_merged",
        labels=labels,
        length=length and length / 100,
        padding=padding / 100,
    )
    windows = windower.windows(recording)
    duration = recording["duration"]
    assert windows == sorted(windows, key=lambda window: window.onset)
    assert all(0 <= w.onset < w.end <= duration and w.label in labels for w in windows)
    if length is not None:
        assert {round(window.duration, 6) for window in windows} <= {min(length / 100, duration)}
    for segment in recording["vad_merged"]:
        wanted = segment["label"] in labels and segment["onset"] < duration
        if wanted:
            own = [window for window in windows if window.label == segment["label"]]
            onset = max(segment["onset"] - padding / 100, 0)
            offset = min(segment["offset"] + padding / 100, duration)
            for time in np.linspace(onset, offset, 20):
                assert any(w.onset - 1e-6 <= time <= w.end + 1e-6 for w in own)
    if length is None:
        assert len(windows) == sum(
            segment["label"] in labels and segment["onset"] - padding / 100 < duration
            for segment in recording["vad_merged"]
        )


@pytest.mark.parametrize(
    ("length", "expected"), [(2.5, [(0.0, 2.5)]), (2.4, [(0.0, 1.5), (2.0, 2.5)])]
)
def test_packing_goes_up_to_the_length(length: float, expected: list[tuple[float, float]]) -> None:
    segments = [{"onset": at, "offset": at + 0.5} for at in (0.0, 1.0, 2.0)]
    windows = OnlineWindower("vad", length=length).windows({"duration": 3, "vad_merged": segments})
    assert [(window.onset, window.end) for window in windows] == expected


def test_a_segment_is_in_the_middle_of_its_window() -> None:
    segments = [{"onset": 4.0, "offset": 5.0, "label": "CHI"}, {"onset": 9.6, "offset": 9.8}]
    metadata = {"duration": 10.0, "vtc_merged": segments}
    assert OnlineWindower("label", length=3).windows(metadata) == [
        Window(3.0, 6.0, "CHI"),
        Window(7.0, 10.0),
    ]


@FEW
@given(recordings(), CENTS, CENTS)
def test_short_windows_are_left_out(recording: dict[str, Any], length: int, least: int) -> None:
    every = OnlineWindower("vad", length=length / 100).windows(recording)
    some = OnlineWindower("vad", length=length / 100, min_length=least / 100).windows(recording)
    assert some == [window for window in every if window.duration >= least / 100 - 1e-6]


@FEW
@given(recordings(), CENTS, st.integers(0, 2**64))
def test_the_waveform_is_cut_as_the_windows_say(
    recording: dict[str, Any], length: int, seed: int
) -> None:
    total = round(recording["duration"] * RATE)
    ramp = torch.arange(2.0 * total).reshape(2, total)
    windower = OnlineWindower(length=length / 100, tail="shift")
    windows = windower.windows(recording)
    pieces = windower.split(ramp, RATE, recording)
    for window, (waveform, rate, metadata) in zip(windows, pieces, strict=True):
        start, end = samples(window)
        assert rate == RATE
        assert torch.equal(waveform, ramp[:, start:end])
        assert metadata["duration"] == waveform.shape[1] / RATE
        assert metadata["pieces"] == [(start / RATE, end / RATE)]
    picked = windower(ramp, RATE, {**recording, "seed": seed})
    assert any(torch.equal(picked[0], waveform) for waveform, _, _ in pieces)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 16_000])
def test_windows_are_equally_long_at_any_rate(rate: int) -> None:
    windower = OnlineWindower(length=0.7513, hop=0.2501, tail="drop")
    pieces = windower.split(torch.zeros(1, rate * 7), rate, {})
    assert {waveform.shape[1] for waveform, _, _ in pieces} == {round(0.7513 * rate)}


# Pinned, so that they stay with other versions of Python and NumPy.
PICKED = [2, 7, 2, 6, 7, 1, 9, 2]


def picks(**identity: Any) -> int:
    windower = OnlineWindower(length=1.0, seed=identity.pop("own", 0))
    return int(windower(torch.arange(10.0)[None], 1, identity)[0][0, 0])


def test_the_pick_is_a_function_of_the_seed() -> None:
    assert [picks(seed=seed) for seed in range(8)] == PICKED
    code = "from ossicle.dataloader.transform.base import sample_bits as bits\n"
    code += "print([int(bits({'seed': s}, 'p', 1).random_raw()) for s in range(8)])"
    found = subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    assert found == str([int(sample_bits({"seed": s}, "p", 1).random_raw()) for s in range(8)])
    assert picks(seed=3, wav_id="a") == picks(seed=3, wav_id="b")
    assert len({picks(wav_id=f"é/{name}") for name in range(20)}) > 5
    assert len({picks(wav_id="a", own=own) for own in range(20)}) > 5


def test_every_window_is_picked_equally_often() -> None:
    found = np.bincount([picks(seed=seed) for seed in range(1_500)], minlength=10)
    assert scipy.stats.chisquare(found).pvalue > 1e-3


@pytest.mark.parametrize(
    ("metadata", "column", "reason"),
    [
        ({}, "duration", "is None, not a number of seconds"),
        ({"duration": "3"}, "duration", "is '3'"),
        ({"duration": math.nan}, "duration", "is nan"),
        ({"duration": -1}, "duration", "is -1"),
        ({"duration": 3, "other": [{"onset": 1, "offset": 2}]}, "vad_merged", "there are 'other'"),
        (
            {"duration": 3, "vad_merged": 7},
            "vad_merged",
            "not a list of dicts with onset and offset",
        ),
        ({"duration": 3, "vad_merged": [{"onset": 1}]}, "vad_merged", "not a list of dicts"),
        ({"duration": 3, "vad_merged": [{"onset": 2, "offset": 1}]}, "vad_merged", "from 2 to 1 s"),
        ({"duration": 3, "vad_merged": [{"onset": None, "offset": 1}]}, "vad_merged", "from None"),
        ({"duration": 3, "vad_merged": [{"onset": 0, "offset": math.inf}]}, "vad_merged", "to inf"),
    ],
)
def test_metadata_that_does_not_do(metadata: dict[str, Any], column: str, reason: str) -> None:
    with pytest.raises(MetadataError, match=reason) as caught:
        OnlineWindower("vad", length=1).windows({"wav_id": "x", **metadata})
    assert (caught.value.wav_id, caught.value.column) == ("x", column)


def test_samples_that_do_not_do() -> None:
    metadata = {"wav_id": "x", "duration": 1.0, "vad_merged": []}
    waveform = torch.zeros(1, 100)
    assert OnlineWindower("vad", length=1).split(waveform, RATE, metadata) == []
    with pytest.raises(SampleError, match="wav_id 'x': the recording has no window"):
        OnlineWindower("vad", length=1)(waveform, RATE, metadata)
    with pytest.raises(SampleError, match="randomness needs"):
        OnlineWindower(length=1)(waveform, RATE, {})
    with pytest.raises(MetadataError, match=r"segment at 0.1 s has no label"):
        OnlineWindower("label", labels=["CHI"]).windows(
            {"duration": 1, "vtc_merged": [{"onset": 0.1, "offset": 0.2}]}
        )
    with pytest.raises(SampleError, match=r"\(channels, samples\) of floats"):
        OnlineWindower(length=1)(waveform[0], RATE, {"wav_id": "x"})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"mode": "odd"}, 'mode must be one of "fixed", "vad", "label"'),
        ({}, 'mode "fixed" needs a length'),
        ({"mode": "vad"}, 'mode "vad" needs a length'),
        ({"length": 0}, "length must be a positive number of seconds, not 0"),
        ({"length": math.inf}, "length must be a positive number of seconds, not inf"),
        ({"length": 1, "hop": -1}, "hop must be a positive number of seconds, not -1"),
        ({"length": 1, "tail": "pad"}, "tail must be one of"),
        ({"length": 1, "labels": ["CHI"]}, 'labels has no meaning in mode "fixed"'),
        ({"mode": "vad", "length": 1, "hop": 1}, 'hop has no meaning in mode "vad"'),
        (
            {"mode": "vad", "length": 1, "padding": math.nan},
            "padding must be at least 0 seconds, not nan",
        ),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason):
        OnlineWindower(**arguments)


def test_a_window_has_an_end() -> None:
    window = Window(1.0, 2.5)
    with pytest.warns(DeprecationWarning, match=r"Window\.end"):
        assert window.offset == window.end == 2.5

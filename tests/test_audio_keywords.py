"""Keywords of other libraries are answered by ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import ossicle
from ossicle.audio.keywords import MEANT

CASES = [
    (ossicle.load, "sr", "use sample_rate"),
    (ossicle.load, "sampling_rate", "use sample_rate"),
    (ossicle.load, "frame_offset", r"use offset \(in seconds: frame_offset / rate\)"),
    (ossicle.load, "num_frames", r"use duration \(in seconds: num_frames / rate\)"),
    (ossicle.load, "stop", "use duration"),
    (ossicle.load, "channels_first", r"use mono \(mono=False"),
    (ossicle.load, "always_2d", r"use mono \(mono=False"),
    (ossicle.load, "normalize", "use dtype"),
    (ossicle.load, "res_type", "use quality"),
    (ossicle.load, "format", "use raw"),
    (ossicle.load_concealed, "sr", "use sample_rate"),
    (ossicle.load_batch, "num_workers", "use threads"),
    (ossicle.load_batch, "offset", r"use offsets \(one for each source\)"),
    (ossicle.load_features, "feature_size", "use n_mels"),
    (ossicle.log_mel_spectrogram, "n_mel", "use n_mels"),
    (ossicle.resample, "orig_sr", "use orig_rate"),
    (ossicle.resample, "target_sr", "use target_rate"),
    (ossicle.info, "backend", "use decoder"),
    (ossicle.save, "encoding", "use bits_per_sample"),
    (ossicle.save, "samplerate", "use sample_rate"),
]


@pytest.mark.parametrize(("function", "name", "answer"), CASES)
def test_a_keyword_of_another_library(function: Callable[..., Any], name: str, answer: str) -> None:
    with pytest.raises(
        TypeError, match=rf"^{function.__name__}\(\) has no keyword '{name}': .*"
    ) as e:
        function("a.wav", **{name: 1})
    assert e.match(answer)


def test_a_keyword_of_nobody_is_told_all_there_are() -> None:
    with pytest.raises(TypeError, match=r"no keyword 'nonsense'; it has decoder, raw, source$"):
        ossicle.info("a.wav", nonsense=1)  # type: ignore[call-arg]


def test_what_is_meant_exists_and_signatures_stay() -> None:
    functions = [case[0] for case in CASES]
    known = {name for one in functions for name in inspect.signature(one).parameters}
    assert known >= {ours for meant in MEANT.values() for ours in meant} - {"seconds", "overlap"}
    assert list(inspect.signature(ossicle.info).parameters) == ["source", "raw", "decoder"]
    with pytest.raises(TypeError, match="missing 1 required"):
        ossicle.load()  # type: ignore[call-arg]


@pytest.mark.parametrize("rate", ["16000", None, 1.5, True, float("nan")])
def test_a_rate_that_is_no_number(rate: Any) -> None:
    with pytest.raises(ossicle.InvalidArgumentError, match="must be a whole number"):
        ossicle.resample([0.0], rate, 16_000)

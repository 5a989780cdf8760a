"""Keywords of other libraries, answered by ours."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

__all__ = ["MEANT", "names_keywords"]

P = ParamSpec("P")
T = TypeVar("T")

_SECONDS: Final = "in seconds: {name} / rate"
_ALL_CHANNELS: Final = "mono=False keeps all channels, as (channels, samples)"
_CONTENT: Final = "for files without a header; all others are recognised by their content"
_SCALE: Final = 'which is "float32" in [-1, 1] unless another one is asked for'

_TABLE: Final[list[tuple[str, dict[str, str]]]] = [
    ("sr sampling_rate samplerate rate fs hz", {"sample_rate": "", "orig_rate": ""}),
    ("target_sr new_freq target_sample_rate new_rate", {"target_rate": "", "sample_rate": ""}),
    ("orig_sr orig_freq source_rate", {"orig_rate": ""}),
    ("frame_offset start start_frame", {"offset": _SECONDS, "offsets": _SECONDS}),
    ("start_seconds begin onset", {"offset": "", "offsets": ""}),
    ("num_frames frames num_samples", {"duration": _SECONDS}),
    ("stop stop_seconds end", {"duration": "in seconds, from the offset"}),
    ("max_length max_length_seconds length seconds", {"duration": ""}),
    ("channels_first always_2d num_channels channels", {"mono": _ALL_CHANNELS}),
    ("channel_selector channel_index", {"channel": "from 0"}),
    ("normalize normalized", {"dtype": _SCALE}),
    ("res_type resample_method resampling_method", {"quality": ""}),
    ("num_threads num_workers n_threads n_jobs workers", {"threads": ""}),
    ("format subtype encoding", {"raw": _CONTENT, "bits_per_sample": ""}),
    ("backend", {"decoder": ""}),
    ("errors", {"on_error": ""}),
    ("offset", {"offsets": "one for each source"}),
    ("durations", {"duration": "of all sources, or one for each"}),
    ("block_size blocksize chunk_seconds", {"seconds": ""}),
    ("n_mel feature_size num_mel_bins", {"n_mels": ""}),
]

MEANT: Final = {name: meant for names, meant in _TABLE for name in names.split()}
"""What of ours is meant by a keyword of librosa, soundfile, torchaudio, torchcodec, soxr or Hugging
Face: each candidate, with a remark; the first that the function has."""


def names_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Makes a keyword that ``function`` does not have a TypeError that says which one is meant."""
    known = frozenset(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if not known.issuperset(kwargs):
            unknown = next(name for name in kwargs if name not in known)
            raise TypeError(_answer(function.__name__, unknown, known))
        return function(*args, **kwargs)

    return checked


def _answer(function: str, name: str, known: frozenset[str]) -> str:
    text = f"{function}() has no keyword {name!r}"
    for ours, remark in MEANT.get(name, {}).items():
        if ours in known:
            remark = f" ({remark.format(name=name)})" if remark else ""
            return f"{text}: use {ours}{remark}"
    return f"{text}; it has {', '.join(sorted(known))}"

"""Conversion of sample rates: whole waveforms, and streams that come in chunks.

docs/resampling.md says how good each quality is, and how far from other resamplers.
"""

from __future__ import annotations

from numbers import Real
from typing import Literal, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt

from ossicle import _native
from ossicle.audio.keywords import names_keywords
from ossicle.audio.waveforms import as_float32, as_planes
from ossicle.errors import InvalidArgumentError, one_of

__all__ = ["Engine", "Quality", "StreamResampler", "resample"]

Quality: TypeAlias = Literal["fast", "high", "best"]
"""How well to convert: ``"fast"`` keeps 0.9 of the lower rate's band and rejects 100 dB, ``"high"``
0.95 and 120 dB, ``"best"`` 0.98 and what float32 can hold."""

Engine: TypeAlias = Literal["native", "rubato"]
"""Whose resampler converts: ossicle's own, or that of the Rust crate rubato, to compare with."""


@names_keywords
def resample(
    waveform: npt.ArrayLike,
    orig_rate: int,
    target_rate: int,
    *,
    quality: Quality = "high",
    engine: Engine = "native",
) -> npt.NDArray[np.float32]:
    """Converts ``waveform`` from ``orig_rate`` to ``target_rate`` Hz, aligned to the sample.

    Args:
        waveform: ``(samples,)`` or ``(channels, samples)``: floats, or int8, int16, int32 or uint8
            at their full scale, which becomes 1.
        orig_rate: Its rate in Hz, 1 to 768,000.
        target_rate: The rate of the result, likewise.
        quality: ``"fast"``, ``"high"`` or ``"best"``: flat to 0.9, 0.95 or 0.98 of the lower
            Nyquist frequency; what comes back as an alias or an image is below -100, -120 or
            -140 dB, for any pair of rates.
        engine: ``"native"``, or ``"rubato"`` for another implementation, to compare with: its
            samples are as many and lie at the same places, and its filters are its own
            (docs/resampling.md has the figures).

    Returns:
        Same rank, ``ceil(samples * target_rate / orig_rate)`` samples, float32, C-contiguous.

    Raises:
        InvalidArgumentError: A rate, quality, type or shape that makes no sense.
        NonFiniteSampleError: A sample is NaN or infinite.
        AudioLimitError: The result does not fit into memory.
    """
    rates = check_rate(orig_rate, "orig_rate"), check_rate(target_rate, "target_rate")
    planes, is_flat = as_planes(waveform)
    result = _native.resample(planes, *rates, check_quality(quality), check_engine(engine))
    return result[0] if is_flat else result


class StreamResampler:
    """Converts a stream: the chunks of its output, joined, are `resample` of the joined input.

    They are so to the last bit, however the input was cut. ::

        resampler = ossicle.StreamResampler(44_100, 16_000)
        pieces = [resampler.push(chunk) for chunk in chunks]
        waveform = np.concatenate([*pieces, resampler.flush()], axis=-1)

    The output comes block by block and lags behind the input by `latency` at most; that much input
    is held. Methods may be called from any thread, one after the other.

    Args:
        orig_rate: Rate of the input in Hz, 1 to 768,000.
        target_rate: Rate of the output, likewise.
        quality: As for `resample`.
        channels: None for chunks of ``(samples,)``, else for ``(channels, samples)``.

    Raises:
        InvalidArgumentError: A rate, a quality or a number of channels that makes no sense.
    """

    def __init__(
        self,
        orig_rate: int,
        target_rate: int,
        *,
        quality: Quality = "high",
        channels: int | None = None,
    ) -> None:
        if channels is not None and not 1 <= channels <= 65_535:
            raise InvalidArgumentError(f"channels must be from 1 to 65,535, not {channels}")
        self._channels = channels
        self._target_rate = check_rate(target_rate, "target_rate")
        self._native = _native.Resampler(
            check_rate(orig_rate, "orig_rate"),
            self._target_rate,
            check_quality(quality),
            channels or 1,
        )

    @property
    def latency(self) -> int:
        """Samples of the output by which it lags behind the input at most, before `flush`."""
        return self._native.latency

    @property
    def latency_seconds(self) -> float:
        """The same in seconds."""
        return self.latency / self._target_rate

    def push(self, chunk: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Takes a chunk of any length and returns the output that has become certain, maybe none.

        Raises:
            InvalidArgumentError: The chunk has another shape, or a type that samples do not have,
                or `flush` was called.
            NonFiniteSampleError: A sample is NaN or infinite; the chunk was not taken.
        """
        array = as_float32(chunk, "the chunk")
        # Any number of samples, of many channels too: the channels are known here.
        expected = () if self._channels is None else (self._channels,)
        if array.ndim != len(expected) + 1 or array.shape[:-1] != expected:
            text = "(T,)" if self._channels is None else f"({self._channels}, T)"
            raise InvalidArgumentError(f"a chunk is {text}, not {array.shape}")
        return self._as_given(self._native.push(np.atleast_2d(array)))

    def flush(self) -> npt.NDArray[np.float32]:
        """Returns the rest of the output; after it only `reset` makes sense.

        Raises:
            InvalidArgumentError: `flush` was called before.
        """
        return self._as_given(self._native.flush())

    def reset(self) -> None:
        """Forgets the signal, so that another one can follow."""
        self._native.reset()

    def _as_given(self, planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return planes[0] if self._channels is None else planes


def check_quality(quality: str) -> Quality:
    """``quality``, if there is such a one.

    Raises:
        InvalidArgumentError: There is none.
    """
    # Checked here for what is no text at all; the core names them to Rust's users.
    return cast(Quality, one_of("quality", quality, get_args(Quality)))


def check_engine(engine: str) -> Engine:
    """``engine``, if there is such a one.

    Raises:
        InvalidArgumentError: There is none.
    """
    return cast(Engine, one_of("engine", engine, get_args(Engine)))


def check_rate(rate: int, name: str) -> int:
    """``rate`` as a plain int.

    Raises:
        InvalidArgumentError: It is no whole number of 1 to 768,000 Hz.
    """
    # Checked here so that the message names the argument; the core checks again for Rust's users.
    given: object = rate
    is_number = isinstance(given, Real) and not isinstance(given, bool)
    if not is_number or not 1 <= rate <= 768_000 or int(rate) != rate:
        raise InvalidArgumentError(
            f"{name} must be a whole number from 1 to 768,000 Hz, not {rate!r}"
        )
    return int(rate)

"""What counts as a waveform, wherever one is taken: its types, their full scale, its shape.

Floating types are taken as they are, with full scale at 1. Integers mean their own full scale, as
in a WAV file: int8 / 2^7, int16 / 2^15, int32 / 2^31 and (uint8 - 128) / 2^7. Every other type is
an error, so that no integer is ever heard as a square wave.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ossicle.errors import InvalidArgumentError

__all__ = ["as_float32", "as_planes", "check_shape", "with_channels_first"]

# Bytes of the signed integers that are taken. 64 bits are what a list of Python's integers becomes,
# and say nothing of the scale.
_INTEGER_BYTES: Final = (1, 2, 4)
# So many samples of so many channels can only be a waveform with its axes the other way round.
_FEW_SAMPLES: Final = 8
_MANY_CHANNELS: Final = 64


def as_float32(waveform: npt.ArrayLike, name: str = "the waveform") -> npt.NDArray[np.float32]:
    """``waveform`` as float32, C-contiguous, of the same shape, with full scale at 1.

    Args:
        waveform: Of float16, float32, float64 or bfloat16, or of int8, int16, int32 or uint8, in
            NumPy or in PyTorch on the CPU; or numbers in lists, of which one at least is a float.
        name: What messages call it.

    Raises:
        InvalidArgumentError: Another type, or no array at all.
    """
    array = _array(waveform, name)
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "f" or array.dtype.name == "bfloat16":
        return np.asarray(array, np.float32, order="C")
    if kind == "i" and size in _INTEGER_BYTES:
        return array.astype(np.float32, order="C") * np.float32(2.0 ** (1 - 8 * size))
    if kind == "u" and size == 1:
        return (array.astype(np.float32, order="C") - np.float32(128)) * np.float32(2.0**-7)
    raise InvalidArgumentError(
        f"{name} is of {array.dtype}: samples are floats with full scale at 1, or int8, int16, "
        "int32 or uint8, with their own full scale; convert it, as by np.asarray(x, np.float32)"
    )


def as_planes(waveform: npt.ArrayLike) -> tuple[npt.NDArray[np.float32], bool]:
    """``(channels, samples)`` as `as_float32` gives it, and whether there was no axis of channels.

    Raises:
        InvalidArgumentError: A type or a shape that is no waveform's.
    """
    array = as_float32(waveform)
    check_shape(array.shape)
    return np.atleast_2d(array), array.ndim == 1


def check_shape(shape: tuple[int, ...]) -> None:
    """Nothing, for ``(samples,)`` or ``(channels, samples)``.

    Raises:
        InvalidArgumentError: Another number of dimensions, or the two axes swapped beyond doubt.
    """
    if len(shape) not in (1, 2):
        text = "a waveform is (samples,) or (channels, samples)"
        raise InvalidArgumentError(f"{text}, not of {len(shape)} dimensions")
    if len(shape) == 2 and shape[0] > _MANY_CHANNELS and 0 < shape[1] <= _FEW_SAMPLES:
        text = f"a waveform is (channels, samples), not {shape}"
        raise InvalidArgumentError(f"{text}: its axes are swapped, transpose it")


def with_channels_first(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array of an audio dict, ``(channels, samples)`` also where it came as soundfile reads.

    ``(N, C)`` is transposed where it can be nothing else: up to 8 columns and more than 64 rows.

    Raises:
        InvalidArgumentError: It may be either, with no more samples than channels.
    """
    if array.ndim != 2 or not 0 < array.shape[1] <= min(_FEW_SAMPLES, array.shape[0]):
        return array
    if array.shape[0] > _MANY_CHANNELS:
        return array.T
    if array.shape[1] < array.shape[0]:
        text = "a waveform is (channels, samples): which axis is which of an array of shape"
        raise InvalidArgumentError(f"{text} {array.shape} is not clear")
    return array


def _array(waveform: Any, name: str) -> npt.NDArray[Any]:
    try:
        if str(getattr(waveform, "dtype", "")) == "torch.bfloat16":
            waveform = waveform.float()  # NumPy has no such type
        return np.asarray(waveform)
    # PyTorch says TypeError of other devices, RuntimeError of what wants a gradient.
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidArgumentError(f"{name} is not an array of samples: {error}") from error

"""Types of samples that reading gives."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt

from ossicle.errors import NonFiniteSampleError, one_of

__all__ = ["SampleType", "as_type", "check_type"]

SampleType: TypeAlias = Literal["float32", "int16", "float16"]
"""``"float32"`` with full scale at 1, ``"int16"`` with full scale at 32,768, ``"float16"``."""

DEFAULT: Final[SampleType] = "float32"

_FULL_SCALE: Final = np.float32(32_768)


def check_type(dtype: Any) -> SampleType:
    """``dtype``, a name or a type of NumPy, if samples may have it.

    Raises:
        InvalidArgumentError: They may not.
    """
    if dtype is DEFAULT:
        return DEFAULT  # at once: it is asked for each clip
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = dtype
    return cast(SampleType, one_of("dtype", name, get_args(SampleType)))


def as_type(samples: npt.NDArray[np.float32], dtype: SampleType) -> npt.NDArray[Any]:
    """``samples`` of another type; they are overwritten.

    Raises:
        NonFiniteSampleError: A sample has no value in ``dtype``.
    """
    if dtype == "float32":
        return samples
    if dtype == "float16":
        with np.errstate(over="ignore"):
            halves = samples.astype(np.float16)
        _check_finite(halves, samples, dtype)
        return halves
    _check_finite(samples, samples, dtype)
    np.multiply(samples, _FULL_SCALE, out=samples)
    np.rint(samples, out=samples)
    np.clip(samples, -32_768, 32_767, out=samples)
    return samples.astype(np.int16)


def _check_finite(
    found: npt.NDArray[Any], samples: npt.NDArray[np.float32], dtype: SampleType
) -> None:
    """Nothing, unless a finite sample has become infinite, or a sample is not finite in int16."""
    bad = ~np.isfinite(found)
    if dtype == "float16":
        bad &= np.isfinite(samples)
    if bad.any():
        *_, sample = np.unravel_index(int(bad.argmax()), bad.shape)
        reason = f"sample {sample} has no value in {dtype}"
        raise NonFiniteSampleError(reason, sample_index=int(sample))

"""Which decoder makes the samples; docs/decoders.md compares them."""

from __future__ import annotations

from typing import Literal, TypeAlias, cast, get_args

from ossicle.errors import one_of

__all__ = ["DecoderName", "check_decoder"]

DecoderName: TypeAlias = Literal["native", "symphonia", "both"]
"""``"native"``, ossicle's own decoders; ``"symphonia"``, those of the Rust crate symphonia, on the
same packets; ``"both"``, each of them, and a `DecodersDisagreeError` where their samples part by
more than two right decoders of the codec may (nothing where it is lossless, 2e-5 else). The samples
are then the native ones."""


def check_decoder(decoder: str) -> DecoderName:
    """``decoder``, if there is such a one.

    Raises:
        InvalidArgumentError: There is none.
    """
    return cast(DecoderName, one_of("decoder", decoder, get_args(DecoderName)))

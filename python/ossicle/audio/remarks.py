"""Remarks on recordings, counted over many of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

__all__ = ["count_reasons", "reason_of"]

_BYTE = re.compile(r" \(byte \d+\)$")


def reason_of(remark: str) -> str:
    """A remark of `ossicle.AudioInfo` without its byte: the same for all files of a kind."""
    return _BYTE.sub("", remark)


def count_reasons(remarks: Iterable[Iterable[str]]) -> dict[str, int]:
    """How many recordings have each reason, the most frequent first.

    Args:
        remarks: Those of each recording.
    """
    counts = Counter(reason for own in remarks for reason in {reason_of(text) for text in own})
    # Equal counts by their text: sets have no order of their own.
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

"""Why ids of two tables do not match, where they nearly do."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

__all__ = ["difference"]

# Ids that are compared: more would take long, and tell no more.
_LEFT, _RIGHT = 2_000, 200_000
_EXTENSION: Final = re.compile(r"(?<=.)\.[A-Za-z]\w{0,5}$|(?<=.)\.(mp3|mp4|m4a|3gp)$")


def _without_folder(text: str) -> str:
    return text.replace("\\", "/").rpartition("/")[2]


def _without_extension(text: str) -> str:
    return _EXTENSION.sub("", text)


def _stem(text: str) -> str:
    return _without_extension(_without_folder(text))


def _without_zeros(text: str) -> str:
    return text.lstrip("0") or text[-1:]


def _without_spaces(text: str) -> str:
    return "".join(text.split())


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


_FORMS: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("case", str.casefold),
    ("spaces", _without_spaces),
    ("an extension", _without_extension),
    ("a folder", _without_folder),
    ("leading zeros", _without_zeros),
    ("the form of their accents", _composed),
    ("folder and extension", _stem),
    (
        "folder, extension, case and spaces",
        lambda text: _without_spaces(_stem(_composed(text))).casefold(),
    ),
)


def difference(left: Iterable[str], right: Iterable[str]) -> str | None:
    """What ids of two tables differ by, with an example; None where nothing is known.

    Args:
        left: Ids that are not on the right.
        right: Ids that are not on the left.
    """
    some, others = list(islice(left, _LEFT)), list(islice(right, _RIGHT))
    for what, change in _FORMS:
        known = {change(one): one for one in reversed(others)}
        for one in some:
            other = known.get(change(one))
            if other is not None and other != one:
                return f"they differ by {what}, as {one!r} and {other!r}"
    return None

"""URLs in the place of recordings: those of files and of bytes are read, no other is fetched."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote

from ossicle.errors import InvalidArgumentError

__all__ = ["bytes_of", "path_of"]

_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


def path_of(name: str) -> str:
    """A path, also of its ``file://`` URL.

    Raises:
        InvalidArgumentError: It is a URL of another kind.
    """
    if name.startswith("file://"):
        return unquote(name.removeprefix("file://"))
    if _URL.match(name):
        why = "this is a URL, and rows name files: download it, or give fsspec.open(url)"
        raise InvalidArgumentError(why, source=name)
    return name


def bytes_of(url: str) -> bytes:
    """The bytes of a ``data:...;base64,`` URL.

    Raises:
        InvalidArgumentError: It is none.
    """
    head, comma, text = url.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise ValueError
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise InvalidArgumentError("a data: URL is no base64", source=url[:60]) from None

"""Recordings that are named by a URI: files are taken, data decoded, what is elsewhere refused."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote, urlsplit

__all__ = ["data_of", "file_of", "refused"]


def file_of(uri: str) -> str:
    """The path of a ``file:`` URI.

    Raises:
        ValueError: It names another machine.
    """
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(f"a file on another machine, which is not read: {uri}")
    return unquote(uri.removeprefix("file://").removeprefix("localhost"))


def data_of(uri: str) -> bytes:
    """The bytes of a ``data:`` URI in base64, or of base64 alone. Format: RFC 2397.

    Raises:
        ValueError: It is in no base64; the data are not in the message.
    """
    head, mark, data = uri.partition(",") if uri.startswith("data:") else ("", ",", uri)
    if not mark or (head and not head.endswith(";base64")):
        raise ValueError("a data: URI without base64, which is not read")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the base64 of a recording is damaged: {error}") from None


def refused(path: str) -> str:
    """What is said of a URL."""
    shown = path if len(path) <= 200 else path[:197] + "..."
    return f"a URL, which is not read: download it first: {shown}"

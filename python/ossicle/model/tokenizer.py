"""A tokenizer that needs no training: the bytes of UTF-8 and one token for the beginning."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ByteTokenizer"]


class ByteTokenizer:
    """Text as its UTF-8 bytes, ids 0 to 255, after one beginning-of-sequence token, id 256."""

    bos_token_id = 256
    vocab_size = 257

    def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
        """The ids of ``text``.

        Args:
            text: Any string; lone surrogates, which UTF-8 cannot hold, are a UnicodeEncodeError.
            add_bos: Whether `bos_token_id` comes first.

        Returns:
            One id a byte, after the beginning-of-sequence id.
        """
        return [self.bos_token_id] * add_bos + list(text.encode("utf-8"))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``; a model may emit bytes that are no UTF-8, which become U+FFFD.

        Args:
            ids: Bytes and beginning-of-sequence ids; the latter leave no trace.

        Returns:
            The text.

        Raises:
            ValueError: If an id is outside the vocabulary; the message names it.
        """
        data = [i for i in ids if i != self.bos_token_id]
        for i in data:
            if not 0 <= i < self.bos_token_id:
                raise ValueError(f"token id {i} is outside 0 to {self.bos_token_id}")
        return bytes(data).decode("utf-8", errors="replace")

"""The epoch of a dataset, and what the randomness of its samples comes from."""

from __future__ import annotations

import hashlib

import torch

from ossicle.errors import InvalidArgumentError

__all__ = ["SharedEpoch", "sample_seed"]


class SharedEpoch:
    """A number in memory that workers share, also those that run when it is set."""

    def __init__(self) -> None:
        self._number = torch.zeros((), dtype=torch.int64)
        self.set(0)

    def get(self) -> int:
        """The epoch."""
        return int(self._number)

    def set(self, epoch: int) -> None:
        """Sets it.

        Raises:
            InvalidArgumentError: It is below 0.
        """
        if epoch < 0:
            raise InvalidArgumentError(f"epoch must be at least 0, not {epoch}")
        # Here, as a copy that was pickled is not shared.
        self._number.share_memory_()  # type: ignore[no-untyped-call]
        self._number.fill_(epoch)


def sample_seed(seed: int, epoch: int, key: str) -> int:
    """A sample's own seed, 0 to 2**63 - 1, the same in any process and any order."""
    text = f"{seed}\0{epoch}\0{key}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1

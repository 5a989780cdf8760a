"""Rows of a manifest in an order that keeps shares of strata, the same for any number of processes.

The order of an epoch is a function of the strata, the settings, ``seed`` and the epoch. Processes
take turns at it: of ``world_size``, process ``rank`` takes the places ``rank``, ``rank +
world_size``, ... A state is a place in the order, so that a run resumes there with any
number of processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ossicle.data.arrays import Ints
from ossicle.data.frames import Table
from ossicle.dataloader.samples.strata import Shares, quotas_of, strata_of
from ossicle.errors import InvalidArgumentError
from ossicle.stream.turns import Turns

__all__ = ["MetadataSampler"]


class MetadataSampler(Turns):
    """Gives numbers of rows, for ``DataLoader(sampler=...)`` over a dataset of the same manifest.

    Each stratum gets its share of an epoch's samples, exact up to one sample, and they are spread
    over all of the epoch: any stretch of the order has nearly those shares, too. Of a stratum that
    gives fewer samples than it has rows, each epoch has a choice of its own.

    Where the number of samples is no multiple of ``world_size``, the last round is filled with the
    first samples of the epoch once more (fewer than ``world_size``), or left out with
    ``drop_last=True``.

    Args:
        manifest: A `MetadataManifest`, a Polars frame, a mapping of columns, or a Parquet, CSV or
            JSON lines file. Nothing of it is kept but the numbers of its rows.
        strata: Columns; rows of the same values are a stratum. None of them makes one of all rows.
        shares: ``"proportional"`` to the numbers of rows, ``"equal"``, or a weight for each
            stratum: ``{"KCHI": 2, "FEM": 1}``, of several columns ``{("KCHI", "train"): 2, ...}``.
            0 leaves a stratum out.
        replacement: Draw rows independently of each other, so that one may come several times an
            epoch; otherwise each comes once at most.
        num_samples: Samples of an epoch over all processes. None: as many as there are rows, or,
            without replacement and with other shares than proportional, as many as the strata
            have rows for.
        seed: Of the order, at least 0; the same on all processes.
        rank: The number of this process; None asks ``torch.distributed`` at each use, 0 where it is
            not initialised.
        world_size: How many processes there are; None as for ``rank``.
        bins: For columns of numbers: into how many quantiles to cut them, ``{"snr_mean": 4}``.
        drop_last: What becomes of the last round, see above.

    Attributes:
        epoch: The epoch that the next iteration gives.
        strata: The names of the strata.
        counts: ``(S,)`` int64, samples of each in an epoch.
        num_samples: Their sum.

    Raises:
        ManifestError: There is no such column, or its values make no strata.
        InvalidArgumentError: An argument makes no sense, or a stratum has too few rows.
    """

    _items = "samples"

    def __init__(
        self,
        manifest: Table,
        strata: Sequence[str] = (),
        shares: Shares = "proportional",
        replacement: bool = False,
        num_samples: int | None = None,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        *,
        bins: Mapping[str, int] | None = None,
        drop_last: bool = False,
    ) -> None:
        columns = [strata] if isinstance(strata, str) else list(strata)
        _check(columns, seed, num_samples)
        super().__init__(rank, world_size, drop_last=drop_last)
        found = strata_of(manifest, columns, bins or {})
        self.strata, self._rows, self._sizes = found.names, found.rows, found.sizes
        self.counts = quotas_of(found, shares, replacement, num_samples)
        self.num_samples = int(self.counts.sum())
        self.replacement, self.seed = bool(replacement), int(seed)

    def __iter__(self) -> Iterator[int]:
        places = self._begin()
        return map(int, map(self._arrange(self.epoch).__getitem__, places))

    def state_dict(self, *, samples: int | None = None) -> dict[str, Any]:
        """Where this epoch stands, as plain values; the same on all processes after equal steps.

        Args:
            samples: How many samples of this iteration the process has trained on. None: as many as
                were handed out, which is the same only without workers, as those are handed samples
                ahead of time.
        """
        return self._state(samples)

    @property
    def _count(self) -> int:
        return self.num_samples

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "replacement": self.replacement,
            "num_samples": self.num_samples,
            "strata_sha256": self._digest(),
        }

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for array in (self._rows, self._sizes, self.counts):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def _arrange(self, epoch: int) -> Ints:
        """``(num_samples,)`` rows of the manifest in the order of an epoch."""
        # Raw bits, whose stream NumPy promises to keep; it does not promise that of its choices.
        bits = np.random.PCG64(np.random.SeedSequence([self.seed, epoch]))
        drawn = self._draw(bits)
        # Sample k of n in a stratum lies somewhere in the k-th of n equal parts of the epoch.
        turns = np.arange(self.num_samples) - np.repeat(_starts(self.counts), self.counts)
        inside = _uniform(bits, self.num_samples)
        places = (turns + inside) / np.repeat(self.counts, self.counts)
        return drawn[np.argsort(places, kind="stable")]

    def _draw(self, bits: np.random.PCG64) -> Ints:
        """The rows that each stratum gives, stratum after stratum, each in a random order."""
        sizes, counts = self._sizes, self.counts
        if self.replacement:
            places = _uniform(bits, self.num_samples) * np.repeat(sizes, counts)
            picked = np.repeat(_starts(sizes), counts) + places.astype(np.int64)
            return self._rows[picked]
        groups = np.repeat(np.arange(len(sizes)), sizes)
        shuffled = self._rows[np.lexsort((bits.random_raw(len(groups)), groups))]
        turns = np.arange(len(groups)) - np.repeat(_starts(sizes), sizes)
        return shuffled[turns < np.repeat(counts, sizes)]


def _starts(counts: Ints) -> Ints:
    return np.cumsum(counts) - counts


def _uniform(bits: np.random.PCG64, count: int) -> npt.NDArray[np.float64]:
    """From 0 to below 1, of 53 bits each."""
    raw: npt.NDArray[np.uint64] = bits.random_raw(count)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _check(columns: Sequence[str], seed: int, num_samples: int | None) -> None:
    if len(set(columns)) != len(columns):
        raise InvalidArgumentError(f"a column is listed twice: {', '.join(columns)}")
    if seed < 0:
        raise InvalidArgumentError(f"seed must be at least 0, not {seed}")
    if num_samples is not None and num_samples < 1:
        raise InvalidArgumentError(f"num_samples must be at least 1, not {num_samples}")

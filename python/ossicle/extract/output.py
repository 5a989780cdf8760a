"""Where an extraction writes, and how far one that was stopped had come.

Beside shards ``feats-%06d.tar`` lie ``feats.extract.json``, what was to be done and, once all is
done, what it came to, and ``feats.faults.jsonl``, the clips that could not be used. Shards get
their names when they are whole and hold the manifest's rows in order, so the last row of the last
one tells where to go on.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ossicle.atomic import write_text
from ossicle.errors import InvalidArgumentError
from ossicle.faults import Fault, append_ledger, read_ledger, write_ledger
from ossicle.shard import Shard, ShardWriter, index_path
from ossicle.shard.encoder_features import FRAMES, ExtractError, FingerprintError

__all__ = ["ExtractError", "ExtractOutput", "ExtractPlan", "ShardRoll"]

_FIELD = re.compile(r"%(0\d+)?d")
_BLOCK, _RECORD = 512, 10_240  # bytes that the members of a tar, and a whole tar, are padded to


@dataclass(frozen=True)
class ExtractPlan:
    """All that the bytes of the shards depend on, but for the recordings.

    Attributes:
        fingerprint: Of the encoder.
        layer: The hidden state: a number, or None for all.
        manifest_sha256: Of the manifest's rows.
        rows: How many there are; those that are no clips count.
        max_bytes: Of a shard.
        max_seconds: Of a clip.
        batch_seconds: Of sound in a forward pass: neighbours change a frame by a rounding.
        too_long: What becomes of longer clips.
    """

    fingerprint: str
    layer: int | None
    manifest_sha256: str
    rows: int
    max_bytes: int
    max_seconds: float
    batch_seconds: float
    too_long: str = "drop"


class ExtractOutput:
    """The shards of one extraction and what lies beside them.

    Args:
        pattern: Their path, with a field like ``%06d`` for the number in its last part.

    Raises:
        InvalidArgumentError: If there is no such field, or more than one.
    """

    def __init__(self, pattern: str | os.PathLike[str]) -> None:
        self.pattern = Path(pattern)
        self._parts = _FIELD.split(self.pattern.name)[::2]
        if len(self._parts) != 2 or "%" in "".join(self._parts):
            reason = "the name of the shards needs one field for the shard's number, like %06d"
            raise InvalidArgumentError(reason, source=str(pattern))
        stem = "".join(self._parts).removesuffix(".tar").rstrip("-_.") or "features"
        self.plan_path = self.pattern.with_name(f"{stem}.extract.json")
        self.ledger_path = self.pattern.with_name(f"{stem}.faults.jsonl")

    def shard(self, number: int) -> Path:
        """The path of a shard, from 0."""
        return self.pattern.with_name(self.pattern.name % number)

    def shards(self) -> list[Path]:
        """Those that are there, in order.

        Raises:
            ExtractError: If one is missing among them.
        """
        found = self._by_number()
        for place, number in enumerate(sorted(found)):
            if place != number:
                raise ExtractError(str(self.shard(place)), "is missing, and later ones are there")
        return [found[number] for number in sorted(found)]

    def _by_number(self) -> dict[int, Path]:
        before, behind = (re.escape(part) for part in self._parts)
        name = re.compile(f"{before}([0-9]+){behind}")
        paths = {path: name.fullmatch(path.name) for path in self.pattern.parent.glob("*")}
        return {int(match[1]): path for path, match in paths.items() if match}

    def begin(self, plan: ExtractPlan, *, overwrite: bool) -> int:
        """Makes the beginning, or finds it.

        Returns:
            The row that the shards which are there end with, as the manifest counts; 0 without any.

        Raises:
            FingerprintError: If another encoder made them.
            ExtractError: If they are of another extraction, or there is no plan that says of which.
        """
        if overwrite:
            self._check_made_here()
            self._remove()
        shards = self.shards()
        if not shards:
            self.save(plan)
        else:
            self._check_made_here()
            self._check(plan)
        return _last_row(shards[-1], plan.fingerprint) if shards else 0

    def keep_faults(self, rows: int) -> None:
        """Leaves the faults of the first rows in the ledger: the others are found anew."""
        kept = [fault for fault in read_ledger(self.ledger_path) if fault.row < rows]
        write_ledger(self.ledger_path, kept)

    def files(self) -> list[Path]:
        """All that an extraction may write over or remove, whether it is there or not."""
        return [*self._by_number().values(), self.plan_path, self.ledger_path]

    def _check_made_here(self) -> None:
        found = self._by_number()
        if found and not self.plan_path.exists():
            first = found[min(found)]
            raise ExtractError(str(first), f"is there without {self.plan_path.name}")

    def save(self, plan: ExtractPlan, outcome: Mapping[str, Any] | None = None) -> None:
        """Writes the plan, at the end with what came of it."""
        facts = asdict(plan) | ({} if outcome is None else {"outcome": dict(outcome)})
        write_text(self.plan_path, json.dumps(facts, indent=1) + "\n")

    def enter(self, fault: Fault) -> None:
        """Appends a clip that could not be used to the ledger."""
        append_ledger(self.ledger_path, [fault])

    def _check(self, plan: ExtractPlan) -> None:
        source = str(self.plan_path)
        try:
            # Older plans do not tell what all of them did.
            found = {"too_long": "drop"} | json.loads(self.plan_path.read_text(encoding="utf-8"))
            made_by = str(found["fingerprint"])
        except (ValueError, KeyError, TypeError) as error:
            raise ExtractError(source, f"is not the plan of an extraction: {error}") from error
        if made_by != plan.fingerprint:
            raise FingerprintError(source, made_by, plan.fingerprint)
        for name, value in asdict(plan).items():
            if found.get(name) != value:
                reason = f"is of an extraction with {name} {found.get(name)}, not {value}"
                raise ExtractError(source, reason)

    def _remove(self) -> None:
        # The plan last: without it shards are nobody's, and would have to be removed by hand.
        for shard in self._by_number().values():
            index_path(shard).unlink(missing_ok=True)
            shard.unlink()
        self.ledger_path.unlink(missing_ok=True)
        self.plan_path.unlink(missing_ok=True)


def _last_row(path: Path, fingerprint: str) -> int:
    with Shard(path) as shard:
        facts = json.loads(shard.read(-1, "json"))
    if facts["fingerprint"] != fingerprint:
        raise FingerprintError(str(path), facts["fingerprint"], fingerprint)
    return int(facts["row"])


class ShardRoll:
    """Writes samples to one shard after the other; leaving ``with`` by an error drops the last.

    Args:
        output: Where to.
        number: Of the first shard.
        max_bytes: Of a shard's file; a sample that is larger alone has a shard of its own.
    """

    def __init__(self, output: ExtractOutput, number: int, max_bytes: int) -> None:
        self._output, self._number, self._max_bytes = output, number, max_bytes
        self._writer: ShardWriter | None = None
        self._bytes = 0

    def write(self, key: str, frames: Any, facts: bytes) -> None:
        """Appends a sample: frames as uint16 and the bytes of its JSON; the key is short ASCII."""
        size = sum(_BLOCK + _round_up(n, _BLOCK) for n in (frames.nbytes + 128, len(facts)))
        if _round_up(self._bytes + size + 2 * _BLOCK, _RECORD) > self._max_bytes:
            self._close()
        if self._writer is None:
            self._writer = ShardWriter(self._output.shard(self._number))
            self._number, self._bytes = self._number + 1, 0
        self._writer.write({"__key__": key, FRAMES: frames, "json": facts})
        self._bytes += size

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> ShardRoll:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._close()
        elif self._writer is not None:
            self._writer.discard()


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit

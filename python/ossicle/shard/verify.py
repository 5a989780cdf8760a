"""Shards read through: what is damaged in them, and a new shard from what is not.

A tar has no checksums of payloads. With an index beside the shard (`index_shards`, or the
writer's) each payload is compared with the SHA-256 that it had; without one, damage shows in
headers alone, or, with ``decode=True``, in audio that no longer decodes.

An index that is another shard's, as one that a shard was rewritten under, is a fault of its own,
and holds nothing against the shard: its headers tell, which have checksums, and for a copy with
another time the digests of most payloads.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ossicle import _native
from ossicle.audio import RawFormat, ShardMember, info, load_batch
from ossicle.audio.arguments import thread_count
from ossicle.audio.decoders import DecoderName, check_decoder
from ossicle.errors import AudioError
from ossicle.outputs import refuse_same_file
from ossicle.progress import Report
from ossicle.shard.index import Shards, index_path, list_paths, read_index
from ossicle.shard.reader import Shard

if TYPE_CHECKING:
    import polars

__all__ = [
    "Remark",
    "Repair",
    "recording_remarks",
    "repair_shard",
    "shard_remarks",
    "verify_recordings",
    "verify_shards",
]

# Columns of faults, and Python's types for them.
_FAULTS = {"shard": str, "member": str, "byte_offset": int, "error": str, "reason": str}
# Recordings decoded in one call, after which the progress is told.
_AT_ONCE = 64
_CONTROL = "the member's name has control characters in it"


@dataclass(frozen=True)
class Repair:
    """The result of repairing a damaged shard.

    Attributes:
        path: The new shard; None where nothing was left to make one of.
        samples: How many it holds.
        members: The number of their files.
        bytes: Its size.
        errors: What is wrong with the old shard, in its order, and each member that was left out
            though it is whole, because another one of its sample is not.
    """

    path: Path | None
    samples: int
    members: int
    bytes: int
    errors: list[AudioError]


def verify_shards(
    paths: Shards,
    *,
    decode: bool = False,
    decoder: DecoderName = "native",
    threads: int | None = None,
    progress: Report | None = None,
) -> polars.DataFrame:
    """Reads shards to their last byte and lists all faults.

    Args:
        paths: One shard or several.
        decode: Decode what is audio by its extension too, and compare the checksums that it has
            (FLAC's MD5, the CRCs of Ogg, MP4 and FLAC): finds what was damaged before it was
            packed.
        decoder: Which decoder does, as for `ossicle.load`: with ``"both"`` a recording on which
            they disagree, or that the second one cannot decode, is a fault.
        threads: How many shards are read at a time; None takes as many as the process may use.
        progress: As for `index_shards`.

    Returns:
        A DataFrame, empty for whole shards, with one row a fault, in the
        order of the shards: ``shard``, ``member`` (null where the damage is in no member that is
        known), ``byte_offset`` (in the shard; null where it has no place), ``error`` (the name of
        the class), ``reason``.
        A shard that cannot be opened is a row too.
    """
    import polars

    shards = list_paths(paths)
    workers = thread_count(threads)
    found = _native.verify_shards(shards, workers, decode, check_decoder(decoder), progress)
    rows = [
        fault_row(path, error)
        for path, errors in zip(shards, found, strict=True)
        for error in errors
    ]
    return polars.DataFrame(rows, schema=_FAULTS)


def verify_recordings(
    paths: Sequence[str | os.PathLike[str]],
    *,
    decoder: DecoderName = "native",
    threads: int | None = None,
    progress: Report | None = None,
    raw: RawFormat | None = None,
) -> polars.DataFrame:
    """Decodes recordings to their ends, with the checksums that they have, and lists all faults.

    Args:
        paths: Files.
        decoder: As for `verify_shards`.
        threads: How many are decoded at a time; None takes as many as the process may use.
        progress: Is called with the recordings that are done and all of them.
        raw: How they are stored, where they have no header.

    Returns:
        As `verify_shards`; ``shard`` is the recording, ``member`` null.
    """
    import polars

    files, name = [os.fspath(path) for path in paths], check_decoder(decoder)
    rows = []
    for start in range(0, len(files), _AT_ONCE):
        some = files[start : start + _AT_ONCE]
        # All of each is decoded, and nothing of it kept.
        batch = load_batch(
            some,
            duration=0.0,
            threads=threads,
            verify=True,
            on_error="collect",
            decoder=name,
            raw=raw,
        )
        pairs = zip(some, batch.errors, strict=True)
        rows += [fault_row(path, error) for path, error in pairs if error is not None]
        if progress is not None:
            progress(start + len(some), len(files))
    return polars.DataFrame(rows, schema=_FAULTS)


class Remark(NamedTuple):
    """A remark on a recording of a shard, whose bytes are whole.

    Attributes:
        shard: The path of the shard, or of the recording.
        member: The recording's name in the shard; None where it is a file of its own.
        remark: As `ossicle.AudioInfo` has it.
    """

    shard: str
    member: str | None
    remark: str


def shard_remarks(paths: Shards, *, threads: int | None = None) -> list[Remark]:
    """The remarks on the recordings of shards; nothing is decoded.

    An index that is the shard's own tells it; without one the recordings' headers are read. Names
    of members with control characters in them, which are read but not written, are remarks too.

    Args:
        paths: One shard or several.
        threads: How many shards are read at a time; None takes as many as the process may use.

    Returns:
        All remarks, in the order of the shards. Damaged shards and recordings have none:
        `verify_shards` says what is wrong with them.
    """
    with ThreadPoolExecutor(thread_count(threads), "ossicle-remarks") as pool:
        return [one for found in pool.map(_remarks, list_paths(paths)) for one in found]


def recording_remarks(
    paths: Sequence[str | os.PathLike[str]],
    *,
    threads: int | None = None,
    raw: RawFormat | None = None,
) -> list[Remark]:
    """The remarks on recordings; nothing is decoded. Those that cannot be read have none."""
    files = [os.fspath(path) for path in paths]
    with ThreadPoolExecutor(thread_count(threads), "ossicle-remarks") as pool:
        found = pool.map(lambda path: _remarks_on(path, raw), files)
        return [
            Remark(path, None, one)
            for path, remarks in zip(files, found, strict=True)
            for one in remarks
        ]


def _remarks(path: str) -> list[Remark]:
    try:
        shard = Shard(path)
    except AudioError:
        return []
    with shard:
        found = _indexed_remarks(shard) if shard.is_indexed else None
        if found is None:
            recordings = shard.recordings()
            found = [(one.name, remark) for one in recordings for remark in _remarks_on(one)]
        names = (member.name for member in shard.members())
        found += [(name, _CONTROL) for name in names if _has_control_characters(name)]
    return [Remark(path, name, remark) for name, remark in found]


def _indexed_remarks(shard: Shard) -> list[tuple[str, str]] | None:
    """Names and remarks by the index; None where it has none, as those of older versions."""
    frame = read_index(shard.path, ["name", "remarks"])
    if frame is None:
        return None
    rows = frame.drop_nulls("remarks").iter_rows()
    return [(name, remark) for name, lines in rows for remark in lines.splitlines()]


def _has_control_characters(name: str) -> bool:
    return any(unicodedata.category(one) == "Cc" for one in name)


def _remarks_on(recording: str | ShardMember, raw: RawFormat | None = None) -> tuple[str, ...]:
    try:
        return info(recording, raw=raw).remarks
    except AudioError:
        return ()


def fault_row(shard: str, error: AudioError) -> dict[str, str | int | None]:
    """A row of `verify_shards`."""
    return {
        "shard": shard,
        "member": error.member,
        "byte_offset": error.byte_offset,
        "error": type(error).__name__,
        "reason": error.reason,
    }


def repair_shard(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    decode: bool = False,
    overwrite: bool = False,
    progress: Report | None = None,
) -> Repair:
    """Writes a new shard from what is whole in a damaged one, which stays as it is.

    Samples that are known to have lost a member are left out whole. With an index beside the shard
    each payload is known by its digest: members whose headers are damaged are found by it, and no
    damaged payload is kept.

    Args:
        path: The damaged shard.
        target: The new one; its index is written beside it.
        decode: Leave out audio that does not decode, too.
        overwrite: Replace what lies at ``target``.
        progress: As for `index_shards`.

    Raises:
        AudioIOError: The shard cannot be read or changes meanwhile, the new one cannot be written,
            or ``target`` exists.
        InvalidArgumentError: ``target`` or its index is the damaged shard or that one's index: a
            shard is not repaired in place.
    """
    source, new = os.fspath(path), Path(target)
    refuse_same_file([new, index_path(new)], [source, index_path(source)])
    samples, members, size, errors = _native.repair_shard(
        source, os.fspath(target), decode, overwrite, progress
    )
    return Repair(new if samples else None, samples, members, size, errors)

"""Tar shards as webdataset writes them: members of one key are one sample.

Format: `ossicle.shard` has it. A sample's ``txt`` is its text, its ``json`` gives columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ossicle import _native
from ossicle.data.columns import COLUMNS
from ossicle.data.errors import ManifestError
from ossicle.data.formats.clip import clip_of, facts_of
from ossicle.data.formats.json_lines import no_bytes
from ossicle.data.members import SEGMENT, pointer_in, shard_at
from ossicle.data.opening import refuse_compressed
from ossicle.data.pieces import Found, Piece, pieces_of
from ossicle.data.rows import Rows, SpeechRow

__all__ = ["read_shards", "write_shard"]

_AUDIO = frozenset(_native.AUDIO_EXTENSIONS)
_TEXTS = ("txt", "text", "transcript")
_USED = ("audio", "wav", "path", "audio_path", "audio_filepath")
_PARTS = [name for one in ("offset", "end", "duration", "channel") for name in COLUMNS[one]]
# Members that are no facts of a row.
_LARGEST = 1 << 16


def read_shards(path: Path) -> Iterator[Found]:
    """The samples of a shard, or of all in a folder.

    Raises:
        UnsupportedFormatError: A shard is compressed.
    """
    start = 0
    for tar in _shards(path):
        shard = shard_at(str(tar))
        for found in pieces_of(_samples(shard, tar, start), str(tar)):
            yield _with_members(found) if isinstance(found, Piece) else found
        start += len(shard)


def _shards(path: Path) -> list[Path]:
    found = [path]
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if ".tar" in one.suffixes[-2:])
    for one in found:
        refuse_compressed(one)
    return found


def _with_members(piece: Piece) -> Piece:
    """The column of shard and member, which comes as two."""
    import polars as pl

    member = pl.col("audio_member").is_not_null()
    fields = pl.struct(pl.col("audio_shard").alias("shard"), pl.col("audio_member").alias("member"))
    audio = pl.when(member).then(fields).alias("audio")
    frame = piece.frame.with_columns(pl.col("audio_shard", "audio_member").cast(pl.String))
    frame = frame.with_columns(audio).drop("audio_shard", "audio_member")
    return Piece(frame, piece.numbers, piece.lines, piece.nested - {"audio"})


def _samples(
    shard: _native.Shard, tar: Path, start: int
) -> Iterator[tuple[int, None, Mapping[str, Any]] | ManifestError]:
    for number, sample in enumerate(shard):
        key = sample.pop("__key__")
        try:
            audio = [one for one in sample if one.rpartition(".")[2] in _AUDIO]
            if len(audio) > 1:
                raise ValueError(f"several members are audio: {', '.join(audio)}")
            facts = _facts(sample)
        except (ValueError, RecursionError) as error:
            yield ManifestError(f"sample {key!r}: {error}", source=str(tar), row=start + number)
            continue
        member = shard.member(number, audio[0]) if audio else None
        name = None if member is None else member.name
        row = {**facts, "id": facts.get("id", key)}
        pointer = pointer_in(facts)
        meant: dict[str, Any] = {}
        if pointer is not None:
            name = name if pointer[0] is None else pointer[0]
            meant = {one: getattr(pointer[1], one) for one in ("offset", "duration", "channel")}
            del row[SEGMENT]
        for used in _USED if pointer is None else (*_USED, *_PARTS):
            # Where it came from: the recording is in the shard.
            if used in row and name is not None:
                row[f"packed_{used}"] = row.pop(used)
        row |= {one: value for one, value in meant.items() if value is not None}
        yield start + number, None, {**row, "audio_shard": str(tar), "audio_member": name}


def _facts(sample: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if "json" in sample:
        found = json.loads(bytes(sample["json"]))
        facts = found if isinstance(found, dict) else {"json": found}
    for extension, data in sample.items():
        if extension in _TEXTS:
            facts["text"] = bytes(data).decode()
        elif extension != "json" and extension.rpartition(".")[2] not in _AUDIO:
            if len(data) > _LARGEST:
                continue
            try:
                facts.setdefault(extension, bytes(data).decode())
            except UnicodeDecodeError:
                continue
    return facts


def write_shard(rows: Rows, path: Path, *, max_bytes: int | None = None) -> None:
    """Writes a tar, or a pattern of tars: the clip of each row, and the row as JSON.

    A whole recording is as it is, a segment is cut out.
    """
    writer = _native.ShardWriter(path, max_bytes, None, True, False, False)
    try:
        for row in rows:
            key = _key(row)
            writer.write(key, _members(row, key))
        writer.finish()
    except BaseException:
        writer.discard()
        raise


def _key(row: SpeechRow) -> str:
    """Without dots, at which webdataset ends a key; the id itself is in the JSON."""
    name = row["id"] or f"{row.number:09d}"
    return "".join("_" if one in "./\\" or not one.isprintable() else one for one in name)


def _members(row: SpeechRow, key: str) -> list[tuple[str, Any]]:
    clip = None if row["audio"] is None else clip_of(row)
    known = {name: row[name] for name in row if name != "audio"} if clip is None else None
    known = facts_of(row, clip) if clip is not None else known or {}
    left = ("id",) if row["id"] in (None, key) else ()
    known = {name: one for name, one in known.items() if one is not None and name not in left}
    text = json.dumps(known, ensure_ascii=False, default=no_bytes)
    sound = [] if clip is None else [(clip.extension(), clip.data)]
    return [*sound, ("json", text.encode())]

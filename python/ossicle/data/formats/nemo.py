"""Manifests of NeMo, with the recordings as files or in tars.

Format: NeMo's `AudioToText` data sets: JSON lines of ``audio_filepath``, ``offset``, ``duration``
and ``text``; tarred, the paths are names in ``audio_<shard_id>.tar`` beside the manifest (or one
manifest for each, ``manifest_<shard_id>.json`` in ``sharded_manifests``).
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ossicle.atomic import replacing, write_text
from ossicle.audio import info
from ossicle.data.errors import ManifestError
from ossicle.data.formats.clip import clip_of, facts_of
from ossicle.data.formats.json_lines import no_bytes, plain_row
from ossicle.data.members import shard_at
from ossicle.data.opening import ManifestRow, json_rows
from ossicle.data.pieces import Found, Piece, pieces_of
from ossicle.data.rows import Rows, SpeechRow
from ossicle.data.writing_paths import batches, new_folder, only_path

__all__ = ["is_tarred", "read_tarred", "write_nemo", "write_tarred"]


def read_tarred(path: Path) -> Iterator[Found]:
    """The rows of a manifest whose recordings are in tars beside it."""
    import polars as pl

    path = path / "tarred_audio_manifest.json" if path.is_dir() else path
    tars = _tars(path)
    members: dict[str, set[str]] = {}
    for found in pieces_of(json_rows(path), str(path)):
        if isinstance(found, ManifestError):
            yield found
            continue
        frame = found.frame
        names = frame["audio_filepath"].to_list() if "audio_filepath" in frame else []
        ids = frame["shard_id"].to_list() if "shard_id" in frame else [_own_id(path)] * len(names)
        audio: list[dict[str, str] | None] = []
        for at, (name, shard) in enumerate(zip(names, ids, strict=True)):
            tar = tars.get(shard)
            if tar is not None and tar not in members:
                members[tar] = {one[0] for one in shard_at(tar).members()}
            is_there = tar is not None and name in members[tar]
            audio.append({"shard": str(tar), "member": name} if is_there else None)
            if not is_there:
                why = f"no tar of shard {shard}" if tar is None else f"not in its tar: {name}"
                row, line = found.numbers[at], found.line(at)
                yield ManifestError(why, source=str(path), row=row, line=line)
        kind = pl.Struct({"shard": pl.String, "member": pl.String})
        frame = frame.with_columns(pl.Series("audio_filepath", audio, kind))
        whole = Piece(frame, found.numbers, found.lines, found.nested)
        yield whole.take([at for at, one in enumerate(audio) if one is not None])


def _tars(path: Path) -> dict[int, str]:
    """Tars by their number, in the manifest's folder or the one above."""
    for folder in (path.parent, path.parent.parent):
        found = {_number(one): str(one) for one in sorted(folder.glob("*.tar"))}
        if found:
            return {number: one for number, one in found.items() if number is not None}
    return {}


def _number(path: Path) -> int | None:
    found = re.search(r"(\d+)\D*$", path.stem)
    return None if found is None else int(found[1])


def _own_id(path: Path) -> int | None:
    return _number(path)


def write_nemo(rows: Rows, path: Path) -> None:
    """Writes JSON lines under NeMo's names; a recording without a length is measured."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for row in rows:
            made = plain_row(row, path.parent)
            made.pop("audio", None)
            if "duration" not in made:
                facts = info(only_path(row))
                made["duration"] = facts.frames / facts.sample_rate - made.get("offset", 0.0)
            audio = only_path(row, path.parent)
            named = {"audio_filepath": audio, "duration": made.pop("duration")}
            renamed = {"text": made.pop("text", None), "lang": made.pop("language", None), **made}
            whole = {**named, **{k: v for k, v in renamed.items() if v is not None}}
            file.write(json.dumps(whole, ensure_ascii=False, default=no_bytes) + "\n")


def write_tarred(rows: Rows, folder: Path, *, shard_size: int = 1_000) -> None:
    """Writes tars ``audio_0.tar``, ..., and ``tarred_audio_manifest.json``.

    A manifest of each tar is in ``sharded_manifests`` too.

    Args:
        rows: The rows; a segment is cut out.
        folder: A new or empty folder.
        shard_size: Clips in a tar, at most.

    Raises:
        AudioError: A recording cannot be read.
        ManifestError: The folder is not empty; a row has no recording, or several.
    """
    with new_folder(folder) as partial:
        (partial / "sharded_manifests").mkdir()
        with (partial / "tarred_audio_manifest.json").open("w", encoding="utf-8") as whole:
            for shard, batch in enumerate(batches(rows, shard_size)):
                with tarfile.open(partial / f"audio_{shard}.tar", "w") as tar:
                    lines = [_tarred(row, shard, tar) for row in batch]
                text = "".join(line + "\n" for line in lines)
                whole.write(text)
                write_text(partial / "sharded_manifests" / f"manifest_{shard}.json", text)


def _tarred(row: SpeechRow, shard: int, tar: tarfile.TarFile) -> str:
    """Puts a row's clip into a tar; the line of the manifest."""
    clip = clip_of(row)
    # NeMo takes what is before the first dot for the key.
    key = "".join("_" if one in "./\\" or not one.isprintable() else one for one in row["id"] or "")
    member = tarfile.TarInfo(f"{row.number:09d}{key and '-'}{key}.{clip.extension()}")
    member.size = len(clip.data)
    tar.addfile(member, io.BytesIO(clip.data))
    made = facts_of(row, clip)
    facts = info(clip.data)
    named = {"audio_filepath": member.name, "duration": facts.frames / facts.sample_rate}
    renamed = {"text": made.pop("text", ""), "lang": made.pop("language", None), **made}
    whole = {**named, **{k: v for k, v in renamed.items() if v is not None and k not in named}}
    return json.dumps({**whole, "shard_id": shard}, ensure_ascii=False, default=no_bytes)


def is_tarred(row: ManifestRow | Mapping[str, Any], path: Path) -> bool:
    """Whether a manifest's first row, and the tars beside it, are of a tarred data set."""
    fields = row.fields if isinstance(row, ManifestRow) else row
    name = fields.get("audio_filepath")
    if not isinstance(name, str) or (path.parent / name).exists() or Path(name).is_absolute():
        return False
    return bool(_tars(path)) and ("shard_id" in fields or _own_id(path) is not None)

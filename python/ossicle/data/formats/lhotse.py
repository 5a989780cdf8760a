"""Cuts and recordings of lhotse: ``cuts.jsonl(.gz)``, ``recordings.jsonl(.gz)``; Shar directories.

Format: lhotse's `MonoCut.to_dict` and its kin, one a line: ``start`` and ``duration`` of the cut,
its ``recording`` with ``sources``, and ``supervisions`` with the text. A Shar directory has
``cuts.000000.jsonl.gz`` beside ``recording.000000.tar``, a member for each cut in their order.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ossicle import _native
from ossicle.atomic import replacing
from ossicle.audio import info
from ossicle.data.errors import ManifestError
from ossicle.data.formats.clip import clip_of, facts_of
from ossicle.data.members import shard_at
from ossicle.data.opening import json_rows
from ossicle.data.pieces import Found, Piece, pieces_of
from ossicle.data.rows import Rows, SpeechRow
from ossicle.data.writing_paths import batches, new_folder, only_path

__all__ = ["read_cuts", "read_shar", "rows_of_cuts", "write_cuts", "write_shar"]

_AUDIO = frozenset(_native.AUDIO_EXTENSIONS)


def read_cuts(path: Path) -> Iterator[Found]:
    """A row for each cut."""
    return pieces_of(rows_of_cuts(path), str(path))


def read_shar(folder: Path) -> Iterator[Found]:
    """A row for each cut of a Shar directory, its recording inside of the tar."""
    import polars as pl

    start = 0
    for path in sorted(folder.glob("cuts.*.jsonl*")):
        number = path.name.split(".")[1]
        tars = sorted(folder.glob(f"recording.{number}.tar"))
        names, silent = _recordings(tars[0]) if tars else ({}, set())
        for found in pieces_of(rows_of_cuts(path, inside=True), str(path)):
            if isinstance(found, ManifestError):
                found.row = None if found.row is None else found.row + start
                yield found
                continue
            keys = found.frame["id"].to_list()
            members = [names.get(key) for key in keys]
            dicts = [m and {"shard": str(tars[0]), "member": m} for m in members]
            kind = pl.Struct({"shard": pl.String, "member": pl.String})
            audio = pl.Series("audio", dicts, kind)
            numbers = [start + one for one in found.numbers]
            whole = Piece(found.frame.with_columns(audio), numbers, found.lines, found.nested)
            # A cut without sound has a mark instead.
            are_there = [
                m is not None or key in silent for m, key in zip(members, keys, strict=True)
            ]
            lacking = [at for at, one in enumerate(are_there) if not one]
            for at in lacking:
                why = f"the cut has no recording in recording.{number}.tar"
                yield ManifestError(why, source=str(path), row=numbers[at], line=whole.line(at))
            yield whole.take([at for at, one in enumerate(are_there) if one])
        start += _count(path)


def _count(path: Path) -> int:
    return sum(1 for _ in json_rows(path))


def _recordings(tar: Path) -> tuple[dict[str, str], set[str]]:
    """Members that are audio, by the id of their cut; and the cuts that have none."""
    names = [one[0].rpartition(".") for one in shard_at(str(tar)).members()]
    audio = {key: f"{key}.{kind}" for key, _, kind in names if kind.lower() in _AUDIO}
    return audio, {key for key, _, kind in names if kind == "nodata"}


def rows_of_cuts(
    path: Path, *, inside: bool = False
) -> Iterator[tuple[int, int | None, Mapping[str, Any]] | ManifestError]:
    """Number, line and columns of each cut or recording, or what is wrong with it.

    Args:
        path: JSON lines.
        inside: Whether the recordings are elsewhere, as in Shar.
    """
    for row in json_rows(path):
        if isinstance(row, ManifestError):
            yield row
            continue
        try:
            yield row.number, row.line, _row(row.fields, inside=inside)
        except (ValueError, TypeError, AttributeError) as error:
            yield ManifestError(str(error), source=str(path), row=row.number, line=row.line)


def _row(cut: Mapping[str, Any], *, inside: bool) -> dict[str, Any]:
    if "sources" in cut:  # a recording alone
        return {"id": cut.get("id"), **_of_recording(cut)}
    kind = cut.get("type", "MonoCut")
    if kind not in ("MonoCut", "MultiCut"):
        raise ValueError(f"a cut of type {kind}, which is no piece of one recording")
    spoken = cut.get("supervisions") or []
    row = {"id": cut.get("id"), "duration": cut.get("duration"), **_said(spoken)}
    recording = cut.get("recording")
    row |= {"custom": cut.get("custom")} if cut.get("custom") else {}
    if inside:
        return row
    if not isinstance(recording, Mapping):
        raise ValueError("the cut has no recording")
    row |= _of_recording(recording)
    channel = cut.get("channel")
    every = recording.get("channel_ids") or recording["sources"][0].get("channels")
    if isinstance(channel, list):
        if every is not None and channel != every:
            raise ValueError(f"the channels {channel} of {every}, of which one or all are read")
        channel = None
    row |= {"channel": channel, "offset": cut.get("start")}
    return row | {"recording_id": recording["id"]}


def _of_recording(recording: Mapping[str, Any]) -> dict[str, Any]:
    if recording.get("transforms"):
        raise ValueError("the recording is transformed, which is not done here")
    sources = recording.get("sources") or [{}]
    if len(sources) > 1:
        raise ValueError(f"the recording has {len(sources)} files")
    if sources[0].get("type") not in ("file", "url"):
        raise ValueError(f"the recording is a source of type {sources[0].get('type')}")
    return {"audio": sources[0].get("source"), "sample_rate": recording.get("sampling_rate")}


def _said(spoken: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Text, language and speaker of a cut; of several supervisions the texts in their order."""
    made: dict[str, Any] = {}
    ordered = sorted(spoken, key=lambda one: one.get("start", 0.0))
    texts = [one["text"] for one in ordered if one.get("text") is not None]
    made["text"] = " ".join(texts) if texts else None
    for name in ("language", "speaker"):
        values = list(dict.fromkeys(one[name] for one in ordered if one.get(name) is not None))
        made[name] = values[0] if len(values) == 1 else None
    if len(spoken) > 1:
        made["supervisions"] = ordered
    elif spoken and spoken[0].get("custom"):
        made["supervision_custom"] = spoken[0]["custom"]
    return made


def write_cuts(rows: Rows, path: Path) -> None:
    """Writes a cut a row; the headers of the recordings are read for what lhotse must know."""
    kept: dict[str, dict[str, Any]] = {}
    opened = gzip.open if path.suffix == ".gz" else open
    with replacing(path) as partial, opened(partial, "wt", encoding="utf-8") as file:
        for row in rows:
            source = only_path(row)
            if source not in kept:
                kept[source] = _recording(str(Path(source).absolute()))
            known = {**row, "id": row["id"] or f"cut{row.number:09d}"}
            file.write(json.dumps(_cut(known, kept[source]), ensure_ascii=False) + "\n")


def _recording(path: str) -> dict[str, Any]:
    facts = info(path)
    channels = list(range(facts.channels))
    return {
        "id": Path(path).stem,
        "sources": [{"type": "file", "channels": channels, "source": path}],
        "sampling_rate": facts.sample_rate,
        "num_samples": facts.frames,
        "duration": facts.frames / facts.sample_rate,
        "channel_ids": channels,
    }


def _cut(row: Mapping[str, Any], recording: Mapping[str, Any]) -> dict[str, Any]:
    start = row["offset"] or 0.0
    duration = row["duration"]
    duration = recording["duration"] - start if duration is None else duration
    channels = recording["channel_ids"]
    channel = row["channel"]
    channel = channel if channel is not None else channels[0] if len(channels) == 1 else channels
    key = row["id"]
    names = ("text", "language", "speaker")
    said = {name: row[name] for name in names if row.get(name) is not None}
    supervision = {"id": key, "recording_id": recording["id"], "start": 0.0, "duration": duration}
    kind = "MultiCut" if isinstance(channel, list) else "MonoCut"
    return {
        "id": key,
        "start": start,
        "duration": duration,
        "channel": channel,
        "supervisions": [{**supervision, "channel": channel, **said}] if said else [],
        "recording": dict(recording),
        "type": kind,
    }


def write_shar(rows: Rows, folder: Path, *, shard_size: int = 1_000) -> None:
    """Writes a Shar directory: a cut a row, its sound in a tar beside it.

    Args:
        rows: The rows; a segment is cut out.
        folder: A new or empty folder.
        shard_size: Cuts in a shard, at most.

    Raises:
        AudioError: A recording cannot be read.
        ManifestError: The folder is not empty; two rows have one id; a row has no recording.
    """
    taken: set[str] = set()
    with new_folder(folder) as partial:
        for number, batch in enumerate(batches(rows, shard_size)):
            _write_shard(batch, partial, number, taken)


def _write_shard(rows: list[SpeechRow], folder: Path, number: int, taken: set[str]) -> None:
    with (
        gzip.open(folder / f"cuts.{number:06d}.jsonl.gz", "wt", encoding="utf-8") as cuts,
        tarfile.open(folder / f"recording.{number:06d}.tar", "w") as tar,
    ):
        for row in rows:
            cut, extension, data = _shar_cut(row, taken)
            cuts.write(json.dumps(cut, ensure_ascii=False) + "\n")
            manifest = json.dumps(cut["recording"]).encode() + b"\n"
            for ending, content in ((extension, data), ("json", manifest)):
                member = tarfile.TarInfo(f"{cut['id']}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _shar_cut(row: SpeechRow, taken: set[str]) -> tuple[dict[str, Any], str, bytes]:
    clip = clip_of(row)
    facts = info(clip.data)
    key = row["id"] or f"cut{row.number:09d}"
    if key in taken:
        raise ManifestError(f"duplicate id: {key}", row=row.number)
    taken.add(key)
    channels = list(range(facts.channels))
    recording = {
        "id": key,
        "sources": [{"type": "shar", "channels": channels, "source": ""}],
        "sampling_rate": facts.sample_rate,
        "num_samples": facts.frames,
        "duration": facts.frames / facts.sample_rate,
        "channel_ids": channels,
    }
    # The clip is what its cut is: nothing before it and nothing after.
    whole = {**facts_of(row, clip), "offset": None, "duration": None, "channel": None}
    return _cut({**whole, "id": key}, recording), clip.extension(), clip.data

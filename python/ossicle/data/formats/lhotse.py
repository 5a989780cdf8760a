"""Cuts of lhotse: ``cuts.jsonl(.gz)``, and Shar directories.

Format: lhotse's `MonoCut.to_dict` and its kin, one a line: ``start`` and ``duration`` of the cut,
its ``recording`` with ``sources``, and ``supervisions`` with the text. A Shar directory has
``cuts.000000.jsonl.gz`` beside ``recording.000000.tar``, a member for each cut in their order.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ossicle import _native
from ossicle.atomic import replacing
from ossicle.audio import info
from ossicle.data.errors import ManifestError
from ossicle.data.members import shard_at
from ossicle.data.opening import json_rows
from ossicle.data.pieces import Found, Piece, pieces_of
from ossicle.data.rows import Rows, SpeechRow
from ossicle.data.writing_paths import only_path

__all__ = ["read_cuts", "read_shar", "write_cuts"]

_AUDIO = frozenset(_native.AUDIO_EXTENSIONS)


def read_cuts(path: Path) -> Iterator[Found]:
    """A row for each cut."""
    return pieces_of(_cuts(path), str(path))


def read_shar(folder: Path) -> Iterator[Found]:
    """A row for each cut of a Shar directory, its recording inside of the tar."""
    import polars as pl

    start = 0
    for path in sorted(folder.glob("cuts.*.jsonl*")):
        number = path.name.split(".")[1]
        tars = sorted(folder.glob(f"recording.{number}.tar"))
        names = _recordings(tars[0]) if tars else {}
        for found in pieces_of(_cuts(path, inside=True), str(path)):
            if isinstance(found, ManifestError):
                found.row = None if found.row is None else found.row + start
                yield found
                continue
            members = [names.get(key) for key in found.frame["id"].to_list()]
            dicts = [m and {"shard": str(tars[0]), "member": m} for m in members]
            kind = pl.Struct({"shard": pl.String, "member": pl.String})
            audio = pl.Series("audio", dicts, kind)
            numbers = [start + one for one in found.numbers]
            whole = Piece(found.frame.with_columns(audio), numbers, found.lines, found.nested)
            lacking = [at for at, one in enumerate(members) if one is None]
            for at in lacking:
                why = f"the cut has no recording in recording.{number}.tar"
                yield ManifestError(why, source=str(path), row=numbers[at], line=whole.line(at))
            yield whole.take([at for at, one in enumerate(members) if one is not None])
        start += _count(path)


def _count(path: Path) -> int:
    return sum(1 for _ in json_rows(path))


def _recordings(tar: Path) -> dict[str, str]:
    """Members that are audio, by the id of their cut."""
    names = [one[0] for one in shard_at(str(tar)).members()]
    audio = [one for one in names if one.rpartition(".")[2].lower() in _AUDIO]
    return {one.rpartition(".")[0]: one for one in audio}


def _cuts(
    path: Path, *, inside: bool = False
) -> Iterator[tuple[int, int | None, Mapping[str, Any]] | ManifestError]:
    for row in json_rows(path):
        if isinstance(row, ManifestError):
            yield row
            continue
        try:
            yield row.number, row.line, _row(row.fields, inside=inside)
        except (ValueError, TypeError, AttributeError) as error:
            yield ManifestError(str(error), source=str(path), row=row.number, line=row.line)


def _row(cut: Mapping[str, Any], *, inside: bool) -> dict[str, Any]:
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
    if recording.get("transforms"):
        raise ValueError("the recording is transformed, which is not done here")
    sources = recording.get("sources") or [{}]
    if len(sources) > 1:
        raise ValueError(f"the recording has {len(sources)} files")
    if sources[0].get("type") not in ("file", "url"):
        raise ValueError(f"the recording is a source of type {sources[0].get('type')}")
    channel = cut.get("channel")
    every = recording.get("channel_ids") or sources[0].get("channels")
    if isinstance(channel, list):
        if every is not None and channel != every:
            raise ValueError(f"the channels {channel} of {every}, of which one or all are read")
        channel = None
    row |= {"audio": sources[0].get("source"), "channel": channel, "offset": cut.get("start")}
    return row | {"sample_rate": recording.get("sampling_rate"), "recording_id": recording["id"]}


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
            file.write(json.dumps(_cut(row, kept[source]), ensure_ascii=False) + "\n")


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


def _cut(row: SpeechRow, recording: Mapping[str, Any]) -> dict[str, Any]:
    start = row["offset"] or 0.0
    duration = row["duration"]
    duration = recording["duration"] - start if duration is None else duration
    channels = recording["channel_ids"]
    channel = row["channel"]
    channel = channel if channel is not None else channels[0] if len(channels) == 1 else channels
    key = row["id"] or f"cut{row.number:09d}"
    said = {name: row[name] for name in ("text", "language", "speaker") if row[name] is not None}
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

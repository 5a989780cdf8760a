"""ESPnet's SpeechLM: a ``data.json`` that names files of entries, and the samples that these have.

Format: ``{"data_entry": [{"name", "path", "reader"}], "samples": [id]}`` (espnet2/speechlm,
`prepare_dataset_json.py`), whose readers are ``lhotse_audio`` (a folder with ``cuts.jsonl.gz`` or
``recordings.jsonl.gz``), ``text`` (lines of id and text, or JSON lines of ``id`` and ``text``) and
``dialogue`` (JSON lines of ``example_id`` and ``messages``: role, modality, content of each); or,
as the recipe speechlm1 writes it, ``{"data_files": ["path,modality,type"], "examples": [id]}`` with
files of Kaldi.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ossicle.data.errors import ManifestError
from ossicle.data.formats.json_lines import parse
from ossicle.data.formats.kaldi import recording_path, table_of
from ossicle.data.formats.lhotse import rows_of_cuts
from ossicle.data.opening import json_rows
from ossicle.data.pieces import Found, pieces_of

__all__ = ["is_speechlm", "read_speechlm"]

_MEANINGS = {"text": "text", "utt2spk": "speaker", "utt2lang": "language"}


class _Entry(NamedTuple):
    """What each sample has of one kind.

    Attributes:
        name: ``audio1``, ``text1``, or the name of a file of Kaldi.
        values: By sample, the columns that it gives.
    """

    name: str
    values: Mapping[str, Mapping[str, Any]]


def is_speechlm(found: Mapping[str, Any]) -> bool:
    """Whether an object of JSON is such a file."""
    lists = (("data_entry", "samples"), ("data_files", "examples"))
    return any(all(isinstance(found.get(one), list) for one in pair) for pair in lists)


def read_speechlm(path: Path) -> Iterator[Found]:
    """A row for each sample.

    Raises:
        AudioIOError: A file that it names cannot be read.
        ManifestError: It is no such file, or has an entry whose reader is not known here.
    """
    found = parse(path)
    if not isinstance(found, Mapping) or not is_speechlm(found):
        why = "no data_entry with samples, and no data_files with examples"
        raise ManifestError(why, source=str(path))
    try:
        if "data_entry" in found:
            keys, entries = found["samples"], [_entry(one, path) for one in found["data_entry"]]
        else:
            keys, entries = found["examples"], [_file(one, path) for one in found["data_files"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"an entry of it is none: {error!r}", source=str(path)) from error
    return pieces_of(_samples(keys, entries, str(path)), str(path))


def _samples(
    keys: list[Any], entries: list[_Entry], source: str
) -> Iterator[tuple[int, None, Mapping[str, Any]] | ManifestError]:
    for number, key in enumerate(keys):
        lacking = [one.name for one in entries if key not in one.values]
        if lacking:
            why = f"the sample has no {', '.join(lacking)}: {key}"
            yield ManifestError(why, source=source, row=number)
            continue
        wrong = [one.values[key]["fault"] for one in entries if "fault" in one.values[key]]
        if wrong:
            yield ManifestError(wrong[0], source=source, row=number)
            continue
        yield number, None, {"id": key, **_together([one.values[key] for one in entries])}


def _together(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    """One row of what the entries say; several recordings are dicts with a segment each."""
    sound = [one for one in parts if "audio" in one]
    made: dict[str, Any] = {}
    for one in parts:
        if "audio" not in one or len(sound) == 1:
            made |= {name: value for name, value in one.items() if made.get(name) is None}
    if len(sound) > 1:
        said = ("offset", "duration", "channel")
        made["audio"] = [
            {"path": one["audio"], **{name: one[name] for name in said if name in one}}
            for one in sound
        ]
    return made


def _entry(entry: Mapping[str, str], manifest: Path) -> _Entry:
    name, path, reader = entry["name"], entry["path"], entry["reader"]
    readers: dict[str, Callable[[Path, str], dict[str, Any]]] = {
        "lhotse_audio": lambda file, _: _cuts(file),
        "text": _texts,
        "dialogue": lambda file, _: _dialogues(file),
    }
    if reader not in readers:
        why = f"the entry {name} has the reader {reader!r}, which is not known here; known are "
        raise ManifestError(why + ", ".join(readers), source=str(manifest))
    file, _ = _place(path, manifest)
    return _Entry(name, readers[reader](file, name))


def _cuts(folder: Path) -> dict[str, Any]:
    files = [folder / name for name in ("cuts.jsonl.gz", "recordings.jsonl.gz")]
    file = next((one for one in files if one.exists()), files[0])
    known: dict[str, Any] = {}
    for row in rows_of_cuts(file):
        if not isinstance(row, ManifestError):
            known[row[2]["id"]] = {name: v for name, v in row[2].items() if v is not None}
    return known


def _texts(file: Path, name: str) -> dict[str, Any]:
    column = "text" if name in ("text", "text1") else name
    if file.suffix != ".jsonl":
        return {key: {column: rest} for _, key, rest in table_of(file)}
    rows = [one.fields for one in json_rows(file) if not isinstance(one, ManifestError)]
    return {row["id"]: {column: row["text"]} for row in rows if "id" in row and "text" in row}


def _dialogues(file: Path) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for row in json_rows(file):
        if not isinstance(row, ManifestError) and "example_id" in row.fields:
            known[row.fields["example_id"]] = _talk(row.fields.get("messages"))
    return known


def _talk(found: Any) -> dict[str, Any]:
    messages = []
    for one in found if isinstance(found, list) else []:
        role, modality, content = one if isinstance(one, list) and len(one) == 3 else (0, 0, 0)
        if modality == "text":
            messages.append({"role": role, "content": content})
        elif modality == "audio":
            part = {"type": "audio", "path": content}
            messages.append({"role": role, "content": [part]})
        else:
            return {"fault": f"a message is no role, text or audio, and content: {one!r:.80}"}
    return {"messages": messages} if messages else {"fault": "the dialogue has no messages"}


def _file(triplet: str, manifest: Path) -> _Entry:
    """An entry of the recipe speechlm1."""
    path, modality, kind = triplet.split(",")
    file, root = _place(path, manifest)
    name = file.name
    values: dict[str, Any] = {}
    is_audio = name.endswith("wav.scp") or kind in ("kaldi_ark", "sound", "audio")
    for _, key, rest in table_of(file):
        if not is_audio:
            values[key] = {_MEANINGS.get(name, name): rest}
            continue
        try:
            found = recording_path(rest)
            values[key] = {"audio": found if Path(found).is_absolute() else str(root / found)}
        except ValueError as error:
            values[key] = {"fault": f"{error} ({modality})"}
    return _Entry(name, values)


def _place(path: str, manifest: Path) -> tuple[Path, Path]:
    """Where a file of an entry is, and the folder that the recipe ran in.

    Paths are relative to where the recipe ran, which is some folder above the manifest.
    """
    for root in (manifest.parent, *manifest.absolute().parents):
        if (root / path).exists():
            return root / path, root
    beside = manifest.parent / Path(path).name
    return (beside if beside.exists() else Path(path)), manifest.parent

"""Kaldi data directories.

Format: https://kaldi-asr.org/doc/data_prep.html: ``wav.scp`` (recording or utterance, and its
file), ``segments`` (utterance, recording, start and end in seconds; an end of -1 is the
recording's), ``text``, ``utt2spk``, ``utt2lang``, ``utt2dur``, ``reco2file_and_channel``. A line is
an id, spaces, and the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ossicle.atomic import write_text
from ossicle.data.errors import ManifestError
from ossicle.data.opening import lines_of
from ossicle.data.pieces import Found, pieces_of
from ossicle.data.rows import Rows, SpeechRow
from ossicle.data.writing_paths import only_path

__all__ = ["read_kaldi", "recording_path", "root_of", "table_of", "write_kaldi"]

_FACTS = {"text": "text", "utt2spk": "speaker", "utt2lang": "language", "utt2dur": "duration"}


def read_kaldi(folder: Path) -> Iterator[Found]:
    """The utterances of a directory: those of ``segments``, else of ``wav.scp``."""
    return pieces_of(_utterances(folder), str(folder))


def _utterances(folder: Path) -> Iterator[tuple[int, int, Mapping[str, Any]] | ManifestError]:
    wavs = {key: (line, rest) for line, key, rest in table_of(folder / "wav.scp")}
    known = {
        meaning: {key: rest for _, key, rest in table_of(folder / name)}
        for name, meaning in _FACTS.items()
        if (folder / name).exists()
    }
    channels = _channels(folder / "reco2file_and_channel")
    segments = folder / "segments"
    source = segments if segments.exists() else folder / "wav.scp"
    seen: set[str] = set()
    for number, (line, key, rest) in enumerate(table_of(source)):
        try:
            if key in seen:
                raise ValueError(f"duplicate id: {key}")
            seen.add(key)
            recording, place = _segment(rest) if source == segments else (key, {})
            path = _path(recording, wavs)
        except ValueError as error:
            yield ManifestError(str(error), source=str(source), row=number, line=line)
            continue
        row = {"id": key, "audio": path, "channel": channels.get(recording), **place}
        if recording != key:
            row["recording_id"] = recording
        told = {name: values.get(key) for name, values in known.items()}
        # The duration of an utterance is that of its segment.
        yield number, line, {**told, **row}
    for meaning, values in known.items():
        for key in values.keys() - seen:
            number += 1
            name = next(one for one, of in _FACTS.items() if of == meaning)
            why = f"the id is in no {source.name}: {key}"
            yield ManifestError(why, source=str(folder / name))


def table_of(path: Path) -> Iterator[tuple[int, str, str]]:
    """The lines of a file: number, key, and what follows it.

    Raises:
        AudioIOError: It cannot be read.
    """
    for line, content in enumerate(lines_of(path), 1):
        text = content.decode("utf-8", errors="replace").strip(" \t\r\n")
        if text:
            key, _, rest = text.replace("\t", " ", 1).partition(" ")
            yield line, key, rest.strip(" \t")


def _channels(path: Path) -> dict[str, int]:
    """Channels of recordings from 0; Kaldi has A and B, or numbers from 1."""
    if not path.exists():
        return {}
    letters = {"A": 0, "B": 1}
    found = {key: rest.split()[-1] for _, key, rest in table_of(path) if rest}
    return {
        key: letters[one] if one in letters else int(one) - 1
        for key, one in found.items()
        if one in letters or one.isdecimal()
    }


def _segment(rest: str) -> tuple[str, dict[str, float]]:
    parts = rest.split()
    if len(parts) not in (3, 4):
        raise ValueError(f"a segment has a recording, a start and an end: {rest}")
    try:
        start, end = float(parts[1]), float(parts[2])
    except ValueError:
        raise ValueError(f"start and end of a segment are numbers: {rest}") from None
    place = {"offset": start}
    if end != -1:
        place["duration"] = round(end - start, 9)
    return parts[0], place


def _path(recording: str, wavs: Mapping[str, tuple[int, str]]) -> str:
    if recording not in wavs:
        raise ValueError(f"the recording is in no wav.scp: {recording}")
    return recording_path(wavs[recording][1])


def recording_path(path: str) -> str:
    """What a line of ``wav.scp`` names, where it is a file.

    Raises:
        ValueError: It is a pipe, or a place inside of an archive.
    """
    if path.endswith("|"):
        raise ValueError(f"a pipe, which is not run: {path[:60]}")
    if path == "-" or not path:
        raise ValueError(f"no file: {path!r}")
    if path.rpartition(":")[2].isdecimal() and ".ark:" in path:
        raise ValueError(f"a place inside of an archive, which is not read: {path}")
    return path


def root_of(folder: Path) -> Path:
    """The folder that relative paths of ``wav.scp`` start from.

    That is where the recipe ran, some folder above the directory, else the directory itself.
    """
    first = next((rest for _, _, rest in table_of(folder / "wav.scp") if rest[-1:] != "|"), "")
    above = [folder, *folder.absolute().parents]
    return next((one for one in above if first and (one / first).is_file()), folder)


def write_kaldi(rows: Rows, folder: Path) -> None:
    """Writes a directory, with ``segments`` where a row has an offset or a duration."""
    tables: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": [], "utt2lang": []}
    segments: list[str] = []
    channels: list[str] = []
    recordings: dict[tuple[str, int | None], str] = {}
    cut = any(row["offset"] is not None or row["duration"] is not None for row in rows)
    keys: set[str] = set()
    for row in rows:
        key = _key(row, keys)
        path = only_path(row)
        path = path if "://" in path else str(Path(path).absolute())
        if cut:
            of = (path, row["channel"])
            recording = recordings.setdefault(of, f"rec{len(recordings):06d}")
            start = row["offset"] or 0.0
            end = -1 if row["duration"] is None else start + row["duration"]
            segments.append(f"{key} {recording} {start!r} {end!r}")
        else:
            tables["wav.scp"].append(f"{key} {path}")
            recordings[key, row["channel"]] = key
        told = {"text": row["text"], "utt2lang": row["language"], "utt2spk": row["speaker"] or key}
        for name, value in told.items():
            if value is not None:
                tables[name].append(f"{key} {_line(row, name, value)}")
    if cut:
        tables["wav.scp"] = [f"{name} {path}" for (path, _), name in recordings.items()]
        tables["segments"] = segments
    channels = [f"{one} {one} {at + 1}" for (_, at), one in recordings.items() if at is not None]
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in {**tables, "reco2file_and_channel": channels}.items():
        if lines:
            write_text(folder / name, "".join(line + "\n" for line in lines))


def _key(row: SpeechRow, keys: set[str]) -> str:
    key = row["id"] or f"utt{row.number:09d}"
    if not key.isprintable() or " " in key or key in keys:
        what = "is a duplicate" if key in keys else "has spaces"
        raise ManifestError(f"the id {key!r} {what}, which Kaldi refuses", row=row.number)
    keys.add(key)
    return str(key)


def _line(row: SpeechRow, name: str, value: str) -> str:
    if value != value.strip(" \t\r") or "\n" in value or not value:
        why = "a line feed, nothing, or spaces at its ends, which Kaldi's tables do not keep"
        raise ManifestError(f"{name} has {why}", row=row.number)
    return value

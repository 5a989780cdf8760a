"""Which format a file or a folder is, by its content and layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ossicle.data.errors import ManifestError
from ossicle.data.formats.folders import has_audio, metadata_of
from ossicle.data.formats.nemo import is_tarred
from ossicle.data.formats.speechlm import is_speechlm
from ossicle.data.known import FORMATS
from ossicle.data.opening import head_of, lines_of

__all__ = ["recognise"]

# Of a file's beginning, which tells its format.
_HEAD = 1 << 16


def recognise(path: Path) -> str:
    """The name of a format.

    Raises:
        AudioIOError: The file cannot be read.
        ManifestError: It is none that is known; the message lists them.
    """
    found = _folder(path) if path.is_dir() else _file(path)
    if found is None:
        known = ", ".join(f"{one.name} ({one.about})" for one in FORMATS.values() if one.read)
        kind = "folder" if path.is_dir() else "file"
        why = f"the {kind} is of no format that is known; name one with format=: {known}"
        raise ManifestError(why, source=str(path))
    return found


def _folder(path: Path) -> str | None:
    def has(pattern: str) -> bool:
        return next(path.glob(pattern), None) is not None

    if (path / "wav.scp").exists():
        return "kaldi"
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return "hf-saved"
    if has("cuts.*.jsonl*"):
        return "shar"
    if (path / "tarred_audio_manifest.json").exists():
        return "nemo-tarred"
    if (path / "clips").is_dir() and has("*.tsv"):
        return "common-voice"
    if (path / "metadata.csv").exists() and (path / "wavs").is_dir():
        first = next(iter(lines_of(path / "metadata.csv")), b"")
        if b"|" in first and b"file_name" not in first:
            return "ljspeech"
    if metadata_of(path) or any(metadata_of(one) for one in path.iterdir() if one.is_dir()):
        return "hf-folder"
    if (path / "audio").is_dir() and has("*.tsv"):
        return "fleurs"
    if has("**/*.trans.txt"):
        return "librispeech"
    if has("*.tar"):
        return "webdataset"
    if has("*.tar.*"):
        return "webdataset"  # whose reader says what to do about them
    return "folder" if has_audio(path) else None


def _file(path: Path) -> str | None:
    head = head_of(path, _HEAD)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[257:262] == b"ustar":
        return "webdataset"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    suffix = _suffix(path)
    if text[:1] == b"[" and suffix not in (".csv", ".tsv"):
        return "jsonl" if suffix in (".jsonl", ".ndjson") and _is_by_line(path) else "json"
    if text[:1] == b"{" and suffix not in (".csv", ".tsv"):
        return _objects(path, text)
    if suffix == ".tsv":
        header = text.partition(b"\n")[0].rstrip(b"\r").split(b"\t")
        beside = path.parent / "audio"
        if len(header) == 7 and header[1].endswith(b".wav") and beside.is_dir():
            return "fleurs"
        is_theirs = {b"client_id", b"path", b"sentence"} <= set(header)
        return "common-voice" if is_theirs and (path.parent / "clips").is_dir() else "tsv"
    known = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
    return known.get(suffix)


def _suffix(path: Path) -> str:
    suffixes = [one.lower() for one in path.suffixes if one.lower() != ".gz"]
    return suffixes[-1] if suffixes else ""


def _objects(path: Path, text: bytes) -> str | None:
    """JSON that begins with an object: lines of them, or one of ESPnet's or GigaSpeech's."""
    for content in islice((one for one in lines_of(path) if one.strip()), 3):
        row = _object(content)
        if row is not None:
            return _lines(path, row)
    if b'"utts"' in text:
        return "espnet"
    if b'"data_entry"' in text or b'"data_files"' in text:
        return "speechlm"
    if b'"audios"' in text:
        return "gigaspeech"
    # Lines that are damaged, most of all.
    return "jsonl"


def _is_by_line(path: Path) -> bool:
    """Whether the first of several lines is JSON by itself: an array is not, whose lines go on."""
    lines = list(islice((one for one in lines_of(path) if one.strip()), 2))
    try:
        json.loads(lines[0].decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return len(lines) == 2


def _object(content: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _lines(path: Path, row: Mapping[str, Any]) -> str:
    if isinstance(row.get("utts"), dict):
        return "espnet"
    if is_speechlm(row):
        return "speechlm"
    if isinstance(row.get("audios"), list) and _is_giga(row["audios"]):
        return "gigaspeech"
    if "supervisions" in row or ("start" in row and "recording" in row) or _is_recording(row):
        return "lhotse"
    if "audio_filepath" in row:
        return "nemo-tarred" if is_tarred(row, path) else "nemo"
    return "jsonl"


def _is_recording(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of lhotse's recordings."""
    return {"id", "sources", "sampling_rate", "num_samples"} <= row.keys()


def _is_giga(audios: list[Any]) -> bool:
    return any(isinstance(one, dict) and "segments" in one for one in audios)

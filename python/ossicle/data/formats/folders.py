"""Folders of recordings, and the corpora that are kept as such.

Formats: a recording with a ``.txt`` of its name beside it; LibriSpeech (``*.trans.txt``: id, text);
LJSpeech (``metadata.csv``: id|text|normalised text, recordings in ``wavs/``); Common Voice (TSVs
and ``clips/``); FLEURS (a TSV without header, recordings in ``audio/<split>/``); Hugging Face's
AudioFolder (``metadata.csv``, ``.jsonl`` or ``.parquet`` with ``file_name``).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ossicle import _native
from ossicle.data.errors import ManifestError
from ossicle.data.formats.clip import ClipFile, clip_of, facts_of
from ossicle.data.formats.json_lines import read_lines
from ossicle.data.formats.parquet import read_parquet
from ossicle.data.formats.table import CSV, TSV, reader, write_table
from ossicle.data.opening import lines_of, read_text, table_rows
from ossicle.data.pieces import Found, Piece, pieces_of
from ossicle.data.rows import Rows, SpeechRow
from ossicle.data.writing_paths import new_folder

__all__ = [
    "has_audio",
    "is_audio",
    "metadata_of",
    "read_common_voice",
    "read_files",
    "read_fleurs",
    "read_folder",
    "read_hf_folder",
    "read_librispeech",
    "read_ljspeech",
    "write_hf_folder",
]

Row = tuple[int, int | None, Mapping[str, Any]]
_AUDIO = frozenset(f".{one}" for one in _native.AUDIO_EXTENSIONS)
_SPLITS = ("train", "dev", "validation", "test")
_FLEURS = [
    "id",
    "file_name",
    "raw_transcription",
    "transcription",
    "chars",
    "num_samples",
    "gender",
]


def audio_in(folder: Path) -> Iterator[Path]:
    """The recordings under a folder, in the order of their paths; hidden folders are left out."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in _AUDIO and not name.startswith("."):  # noqa: PTH122
                yield Path(here, name)


def has_audio(folder: Path) -> bool:
    """Whether there is a recording under it."""
    return next(audio_in(folder), None) is not None


def is_audio(path: Path) -> bool:
    """Whether the name of a file is that of a recording."""
    return path.suffix.lower() in _AUDIO


def read_folder(folder: Path) -> Iterator[Found]:
    """A row for each recording; its text is in the ``.txt`` beside it."""
    return pieces_of(_beside(audio_in(folder), folder), str(folder))


def read_files(paths: Iterable[Path]) -> Iterator[Found]:
    """A row for each of some recordings, as of a folder."""
    return pieces_of(_beside(paths, None), "the files")


def _beside(paths: Iterable[Path], folder: Path | None) -> Iterator[Row | ManifestError]:
    for number, path in enumerate(paths):
        text = path.with_suffix(".txt")
        name = path if folder is None else path.relative_to(folder)
        key = name.stem if folder is None else str(name.with_suffix(""))
        row: dict[str, Any] = {"id": key, "audio": str(name)}
        try:
            row["text"] = read_text(text).strip("\r\n") if text.exists() else None
        except ManifestError as error:
            yield ManifestError(error.reason, source=str(text), row=number)
            continue
        yield number, None, row


def read_librispeech(folder: Path) -> Iterator[Found]:
    """A row for each line of the ``*.trans.txt`` files."""
    return pieces_of(_utterances(folder), str(folder))


def _utterances(folder: Path) -> Iterator[Row | ManifestError]:
    number = 0
    for path in sorted(folder.rglob("*.trans.txt")):
        there = {one.stem: one.name for one in path.parent.iterdir() if one.suffix in _AUDIO}
        for line, content in enumerate(lines_of(path), 1):
            key, _, text = content.decode("utf-8", errors="replace").strip("\r\n").partition(" ")
            if not key:
                continue
            if key in there:
                audio = str((path.parent / there.pop(key)).relative_to(folder))
                row = {"id": key, "audio": audio, "text": text, "speaker": key.partition("-")[0]}
                yield number, line, row
            else:
                why = f"no recording is beside it: {key}"
                yield ManifestError(why, source=str(path), row=number, line=line)
            number += 1
        for name in there.values():
            yield ManifestError(f"no text: {name}", source=str(path), row=number)
            number += 1


def read_ljspeech(folder: Path) -> Iterator[Found]:
    """A row for each line of ``metadata.csv``; the text is the normalised one where there is."""
    return pieces_of(_lines(folder), str(folder))


def _lines(folder: Path) -> Iterator[Row | ManifestError]:
    path = folder / "metadata.csv"
    for number, (line, content) in enumerate(_full(lines_of(path))):
        parts = content.decode("utf-8-sig", errors="replace").strip("\r\n").split("|")
        if len(parts) not in (2, 3):
            why = f"{len(parts)} fields where LJSpeech has 2 or 3"
            yield ManifestError(why, source=str(path), row=number, line=line)
            continue
        name = parts[0] if Path(parts[0]).suffix.lower() in _AUDIO else f"{parts[0]}.wav"
        row = {"id": Path(parts[0]).stem if name == parts[0] else parts[0], "audio": f"wavs/{name}"}
        row["text"] = parts[-1] or parts[1]
        if len(parts) == 3:
            row["raw_text"] = parts[1]
        yield number, line, row


def _full(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    return ((line, one) for line, one in enumerate(lines, 1) if one.strip())


def read_common_voice(path: Path) -> Iterator[Found]:
    """The rows of a TSV, or of those of a folder's splits; the recordings are in ``clips``."""
    if not path.is_dir():
        return reader(TSV)(path)
    files = [path / f"{split}.tsv" for split in _SPLITS]
    files = [one for one in files if one.exists()]
    named = files or [one for one in [path / "validated.tsv"] if one.exists()]
    return _together(named or sorted(path.glob("*.tsv")), bool(files))


def _together(files: list[Path], are_splits: bool) -> Iterator[Found]:
    """Several tables, one after the other, their rows counted through."""
    import polars as pl

    start = 0
    for file in files:
        last = start
        for found in reader(TSV)(file):
            if isinstance(found, ManifestError):
                found.row = None if found.row is None else found.row + start
                last = max(last, (found.row or 0) + 1)
                yield found
                continue
            split = pl.lit(file.stem).alias("split")
            frame = found.frame.with_columns(split) if are_splits else found.frame
            numbers = [start + number for number in found.numbers]
            last = max(last, numbers[-1] + 1)
            yield Piece(frame, numbers, found.lines, found.nested)
        start = last


def read_fleurs(path: Path) -> Iterator[Found]:
    """The rows of a TSV, or of those of a language, with the recordings in ``audio/<split>``."""
    folder = path if path.is_dir() else path.parent
    files = (
        [path] if path != folder else sorted(path.glob("*.tsv"), key=lambda one: _order(one.stem))
    )
    return pieces_of(_fleurs(folder, files), str(path))


def _fleurs(folder: Path, files: list[Path]) -> Iterator[Row | ManifestError]:
    # The folder is called as the language: en_us, cmn_hans_cn.
    name_of_folder = folder.absolute().name
    language = name_of_folder if re.fullmatch("[a-z]{2,3}(_[a-z0-9]+)+", name_of_folder) else None
    start = number = -1
    for path in files:
        start = number + 1
        for row in table_rows(path, TSV, _FLEURS):
            if isinstance(row, ManifestError):
                row.row = number = start + (row.row or 0)
                yield row
            else:
                number = start + row[0]
                known = dict(row[2])
                name = known.pop("file_name")
                known["sentence_id"] = known.pop("id")
                inside = Path("audio", path.stem, name or "")
                audio = (
                    str(inside) if (folder / inside).exists() else str(Path("audio", name or ""))
                )
                more = {"id": Path(name or "").stem, "audio": audio, "split": path.stem}
                told = {"text": known["transcription"], "language": language}
                yield number, row[1], {**known, **told, **more}


def _order(name: str) -> tuple[int, str]:
    return (_SPLITS.index(name) if name in _SPLITS else len(_SPLITS), name)


def metadata_of(folder: Path) -> Path | None:
    """The metadata of an AudioFolder of `datasets`."""
    names = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
    return next((folder / name for name in names if (folder / name).exists()), None)


def read_hf_folder(folder: Path) -> Iterator[Found]:
    """The rows of an AudioFolder's metadata, at its top or in the folder of each split."""
    top = metadata_of(folder)
    if top is not None:
        return _metadata(top)
    return _splits(folder)


def _splits(folder: Path) -> Iterator[Found]:
    import polars as pl

    start = 0
    for inside in sorted(one for one in folder.iterdir() if one.is_dir()):
        path = metadata_of(inside)
        if path is None:
            continue
        last = start
        for found in _metadata(path):
            if isinstance(found, ManifestError):
                found.row = start + (found.row or 0)
                last = max(last, found.row + 1)
                yield found
                continue
            split = pl.lit(inside.name).alias("split")
            named = pl.lit(f"{inside.name}{os.sep}") + pl.col("file_name")
            frame = found.frame.with_columns(split, named.alias("file_name"))
            numbers = [start + number for number in found.numbers]
            last = max(last, numbers[-1] + 1)
            yield Piece(frame, numbers, found.lines, found.nested)
        start = last


def _metadata(path: Path) -> Iterator[Found]:
    read = {".jsonl": read_lines, ".csv": reader(CSV), ".parquet": read_parquet}[path.suffix]
    return read(path)


def write_hf_folder(rows: Rows, folder: Path, *, copy: bool = True) -> None:
    """Writes an AudioFolder: ``data/`` with the clips, and ``metadata.csv``.

    A segment is cut out, because an AudioFolder has none.

    Args:
        rows: The rows.
        folder: A new or empty folder.
        copy: False makes links to the files instead of copies.
    """
    placed: dict[str, str] = {}
    with new_folder(folder) as partial:
        (partial / "data").mkdir()
        made = {row.number: _place(row, partial, placed, copy=copy) for row in rows}

        def record(row: SpeechRow, _: Path) -> dict[str, Any]:
            return made[row.number]

        full = [one for one in rows.frame.columns if any(one in row for row in made.values())]
        write_table(rows, partial / "metadata.csv", CSV, record, ["file_name", *full])


def _place(row: SpeechRow, folder: Path, placed: dict[str, str], *, copy: bool) -> dict[str, Any]:
    """Puts a row's clip into the folder, a recording of several rows once; the row's metadata."""
    found = row["audio"]
    if found is None or isinstance(found, list):
        raise ManifestError("an AudioFolder has one recording a row", row=row.number)
    is_file = isinstance(found, str) and row.recordings[0].segment.is_whole
    clip = ClipFile(Path(found).name, b"") if is_file else clip_of(row)
    facts = facts_of(row, clip)
    if is_file and found in placed:
        return {"file_name": placed[found], **facts}
    name = clip.name if Path(clip.name).suffix else f"{clip.name or row.number}.wav"
    target = f"data/{name}"
    if target in placed.values():
        target = f"data/{Path(name).stem}-{row.number}{Path(name).suffix}"
    placed[found if is_file else f"\0{row.number}"] = target
    if not is_file:
        (folder / target).write_bytes(clip.data)
    elif copy:
        shutil.copyfile(found, folder / target)
    else:
        (folder / target).symlink_to(Path(found).absolute())
    return {"file_name": target, **facts}

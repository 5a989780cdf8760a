"""The clip that a row means, as a file: for formats that hold recordings themselves.

A whole recording is copied as it is. A segment or a channel is cut out and written as FLAC of 16
bits, because these formats have no segments: what reads them would take the whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ossicle.audio import encode, load
from ossicle.data.errors import ManifestError
from ossicle.data.rows import SpeechRow
from ossicle.data.segments import Segment
from ossicle.errors import AudioIOError

__all__ = ["ClipFile", "clip_of", "contents", "facts_of"]


class ClipFile(NamedTuple):
    """A file in memory.

    Attributes:
        name: Of the file that it is, or was cut from; empty where nobody knows.
        data: Its bytes.
        seconds: Its length where it was cut; None where it is the whole recording.
    """

    name: str
    data: bytes
    seconds: float | None = None

    def extension(self) -> str:
        """What its name ends in, without the dot."""
        return Path(self.name).suffix[1:].lower() or "wav"


def clip_of(row: SpeechRow) -> ClipFile:
    """The clip of a row with one recording.

    Raises:
        AudioError: It cannot be read, or decoded where it is cut.
        ManifestError: The row has several recordings.
    """
    found = row.recordings
    if len(found) != 1:
        count = len(found) or "no"
        raise ManifestError(f"{count} recordings where the format needs one", row=row.number)
    name, data = contents(row)
    if found[0].segment.is_whole:
        return ClipFile(name, data)
    return _cut(name, found[0].source, found[0].segment)


def facts_of(row: SpeechRow, clip: ClipFile) -> dict[str, Any]:
    """The columns of a row that have values, without its audio, as they are true of its clip."""
    made = {name: row[name] for name in row if name != "audio" and row[name] is not None}
    if clip.seconds is not None:
        made = {name: made[name] for name in made if name not in ("offset", "channel", "sha256")}
        made["duration"] = clip.seconds
    return made


def _cut(name: str, source: Any, segment: Segment) -> ClipFile:
    waveform, rate = load(source, offset=segment.offset, duration=segment.duration, mono=False)
    if segment.channel is not None:
        waveform = waveform[segment.channel : segment.channel + 1]
    data = encode(waveform, rate, "flac")
    return ClipFile(f"{Path(name).stem}.flac", data, waveform.shape[1] / rate)


def contents(row: SpeechRow) -> tuple[str, bytes]:
    """File name and bytes of the only recording of a row, as they are.

    Raises:
        AudioIOError: It cannot be read.
    """
    found = row["audio"]
    if isinstance(found, dict) and found.get("bytes") is not None:
        return Path(found.get("path") or "").name, found["bytes"]
    path = found["path"] if isinstance(found, dict) else found
    if isinstance(path, str):
        try:
            return Path(path).name, Path(path).read_bytes()
        except OSError as error:
            raise AudioIOError(f"cannot read the file: {error.strerror}", source=path) from error
    # A member of a shard.
    with Path(path.shard).open("rb") as file:
        file.seek(path.offset)
        return Path(path.name).name, file.read(path.size)

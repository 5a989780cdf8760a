"""ESPnet's ``data.json``, and the JSON of GigaSpeech.

Format: ESPnet 1 (`utils/data2json.sh`): ``{"utts": {id: {"input": [{"feat"}], "output": [{"text"}],
"utt2spk"}}}``. GigaSpeech: ``{"audios": [{"aid", "path", "segments": [{"sid", "begin_time",
"end_time", "text_tn", "subsets"}]}]}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ossicle.data.errors import ManifestError
from ossicle.data.formats.json_lines import parse
from ossicle.data.pieces import Found, pieces_of

__all__ = ["read_espnet", "read_gigaspeech"]

_MARKS = {
    " <COMMA>": ",",
    " <PERIOD>": ".",
    " <QUESTIONMARK>": "?",
    " <EXCLAMATIONPOINT>": "!",
}


def read_espnet(path: Path) -> Iterator[Found]:
    """A row an utterance."""
    found = parse(path)
    if not isinstance(found, Mapping) or not isinstance(found.get("utts"), Mapping):
        raise ManifestError("it has no object 'utts'", source=str(path))
    return pieces_of(_utterances(found["utts"], str(path)), str(path))


def _utterances(
    utts: Mapping[str, Any], source: str
) -> Iterator[tuple[int, None, Mapping[str, Any]] | ManifestError]:
    for number, (key, utt) in enumerate(utts.items()):
        try:
            inputs, outputs = utt.get("input") or [], utt.get("output") or [{}]
            audio = [one["feat"] for one in inputs if isinstance(one.get("feat"), str)]
            if any(".ark:" in one for one in audio):
                raise ValueError(f"features in an archive, not a recording: {audio[0]}")
            row = {"id": key, "audio": audio, "text": outputs[0].get("text")}
            yield number, None, {**row, "speaker": utt.get("utt2spk"), "language": utt.get("lang")}
        except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
            why = f"no utterance of ESPnet: {error}"
            yield ManifestError(why, source=source, row=number)


def read_gigaspeech(path: Path) -> Iterator[Found]:
    """A row a segment; the tags of its punctuation become the marks that they stand for."""
    found = parse(path)
    if not isinstance(found, Mapping) or not isinstance(found.get("audios"), list):
        raise ManifestError("it has no list 'audios'", source=str(path))
    return pieces_of(_segments(found, str(path)), str(path))


def _segments(
    found: Mapping[str, Any], source: str
) -> Iterator[tuple[int, None, Mapping[str, Any]] | ManifestError]:
    number = 0
    for at, audio in enumerate(found["audios"]):
        segments = audio.get("segments") if isinstance(audio, Mapping) else None
        if not isinstance(segments, list):
            yield ManifestError(f"audio {at} has no segments", source=source, row=number)
            number += 1
            continue
        for one in segments:
            try:
                yield number, None, _segment(found, audio, one)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                yield ManifestError(f"no segment: {error!r}", source=source, row=number)
            number += 1


def _segment(
    found: Mapping[str, Any], audio: Mapping[str, Any], one: Mapping[str, Any]
) -> dict[str, Any]:
    text = one["text_tn"]
    for tag, mark in _MARKS.items():
        text = text.replace(tag, mark)
    start, end = float(one["begin_time"]), float(one["end_time"])
    language = audio.get("language", found.get("language"))
    row = {"id": one["sid"], "audio": audio["path"], "offset": start, "text": text}
    row |= {"duration": round(end - start, 9), "language": language, "text_tn": one["text_tn"]}
    speaker = one.get("speaker", audio.get("speaker"))
    speaker = None if speaker == "N/A" else speaker
    return {**row, "speaker": speaker, "recording_id": audio["aid"], "subsets": one.get("subsets")}

"""What the comparisons with FFmpeg found, as the tables of docs/formats.md."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import decoders
import pages

import ossicle

# How FFmpeg's names are to be read, and how the two ends of a recording are found.
CONTAINERS = {
    "wav": "WAV, RF64, BW64",
    "w64": "Wave64",
    "aiff": "AIFF, AIFF-C",
    "au": "AU, SND",
    "caf": "CAF",
    "flac": "FLAC",
    "mp3": "MPEG audio",
    "aac": "ADTS",
    "amr": "AMR",
    "mp4": "MP4, M4A, MOV, fragmented too",
    "ogg": "Ogg",
    "matroska": "Matroska, WebM",
    "mpegts": "MPEG-TS, M2TS",
    "avi": "AVI, OpenDML too",
    "nistsphere": "NIST SPHERE",
    "shn": "Shorten",
    "raw": "none (`raw=`)",
}
ENDS = {
    "wav": "the data chunk; the file's end where its size was not filled in",
    "w64": "the data chunk; the file's end where its size was not filled in",
    "aiff": "the sound chunk; the file's end where its size was not filled in",
    "au": "the header's size, or the file's end",
    "caf": "the packet table: priming and remainder",
    "flac": "the last frame, of the last stream in a row",
    "mp3": "the delay and padding of the LAME tag; without it all that is decoded",
    "aac": "nothing tells: all that is decoded",
    "amr": "the last whole frame",
    "mp4": "the edit list, as FFmpeg 9 reads it; a pause between two edits is silence",
    "ogg": "pre-skip (Opus), the first and last granule positions",
    "matroska": "CodecDelay, DiscardPadding",
    "mpegts": "nothing tells: all that is decoded; timestamps cut nothing",
    "avi": "the last chunk of the track; start times move nothing",
    "nistsphere": "the header's count, or the file's end; of Shorten the end mark",
    "shn": "the end mark",
    "raw": "the end of the file",
}
PAGE = "formats"


@dataclass
class Row:
    """One codec in one container."""

    rates: set[int] = field(default_factory=set)
    channels: set[int] = field(default_factory=set)
    cases: int = 0
    worst: float = 0.0


def record(
    container: str,
    codec: str,
    rate: int,
    channels: int,
    rms: float,
    source: ossicle.audio.AudioSource | None = None,
) -> None:
    """One file was as long as FFmpeg says, and differed from its decode by `rms`.

    Where `source` is the file, the second decoder reads it too (docs/decoders.md).
    """
    pages.find(PAGE, "read", container, codec, rate, channels, float(rms))
    if source is not None:
        decoders.compare(container, codec, source)


def refuse(what: str, reason: str) -> None:
    """One kind of file ends in `UnsupportedFormatError` with `reason` in its text."""
    pages.find(PAGE, "refused", what, reason)


def remark(what: str, text: str) -> None:
    """A careless file (`what`: "container | what is careless") is read, with `text` as remark."""
    pages.find(PAGE, "remark", what, re.sub(r" \(byte \d+\)$", "", text))


def _rows(found: Iterable[pages.Finding]) -> dict[tuple[str, str], Row]:
    rows: dict[tuple[str, str], Row] = {}
    for _, container, codec, rate, channels, rms in (f for f in found if f[0] == "read"):
        row = rows.setdefault((container, codec), Row())
        row.rates.add(rate)
        row.channels.add(channels)
        row.cases += 1
        row.worst = max(row.worst, rms)
    return rows


def _distance(rms: float) -> str:
    if rms == 0:
        return "equal to the bit"
    # In words that do not change with the machine's rounding.
    bound = next(bound for bound in (1e-6, 1e-5, 1e-4, 1e-2) if rms < bound)
    return f"RMS below {bound:.0e}".replace("e-0", "e-")


def _span(numbers: set[int]) -> str:
    return f"{min(numbers):,} - {max(numbers):,}" if len(numbers) > 1 else f"{min(numbers):,}"


def page(found: list[pages.Finding]) -> str:
    """The whole of docs/formats.md."""
    order = list(CONTAINERS)
    found_rows = _rows(found)
    rows = sorted(found_rows.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    lines = [
        "| container | codec | rates (Hz) | channels | files | beside FFmpeg's decode |",
        "|---|---|---|---|--:|---|",
    ]
    for (container, codec), row in rows:
        rates, channels = _span(row.rates), ", ".join(map(str, sorted(row.channels)))
        what = f"{CONTAINERS[container]} | `{codec}` | {rates} | {channels} | {row.cases}"
        lines.append(f"| {what} | {_distance(row.worst)} |")
    ends = ["| container | where the recording ends |", "|---|---|"]
    ends += [f"| {CONTAINERS[name]} | {ENDS[name]} |" for name in order]
    refused = ["| what | the error says |", "|---|---|"]
    refused += [f"| {f[1]} | {f[2]} |" for f in sorted({f for f in found if f[0] == "refused"})]
    remarks = ["| container | what is wrong | the remark |", "|---|---|---|"]
    remarks += sorted({f"| {f[1]} | {f[2]} |" for f in found if f[0] == "remark"})
    total = sum(row.cases for row in found_rows.values())
    return TEXT.format(
        total=f"{total:,}",
        read="\n".join(lines),
        ends="\n".join(ends),
        refused="\n".join(refused),
        remarks="\n".join(remarks),
    )


TEXT = """# Formats

What is read, what is not, and how each end is trimmed. The tests write this page
(`uv run pytest --write-docs`) and fail when it is not what they found.

A file is known by its content; its name does not matter. Of several tracks the first one with
audio is read. The links of a chained Ogg stream are one recording. A file without a header is what
the caller says: `load("call.ulaw", raw=RawFormat("pcm_mulaw", 8000))`, or on the command line
`ossicle decode call.ulaw call.wav --raw pcm_mulaw:8000`.

## What is read

{total} files, made by FFmpeg and by the tests themselves, each as long as FFmpeg says and compared
with its decode; where two versions of FFmpeg disagree the test says which is right.
`info().frames` was exact for each.

{read}

Any number of channels up to 1,024 in PCM, 255 in Opus and Vorbis, 8 in FLAC, ALAC and AAC, in the
order of WAV. In ADPCM of Apple (`ima4`) a packet begins by its own header; FFmpeg carries seven
bits over from the one before it, which no range could.

AMR is decoded with the whole numbers of the 3GPP reference decoders, sample for sample; FFmpeg's
`amrnb` and `amrwb` compute with floats, and its libopencore is compared with. Each frame depends on
all before it: a range is decoded from the beginning of the file on, some 2,000 (AMR-NB) or 1,000
times (AMR-WB) as fast as it plays. Frames that a file says were lost or are bad are made up as the
reference does, and so are comfort noise and pauses in it.

## What is not read

Each of these ends in `UnsupportedFormatError`, which names it: never silence, noise or half the
rate.

{refused}

Likewise the profiles Main, SSR and LTP of AAC,
USAC, AAC with coupling channels, Opus in CAF and ambisonics, encrypted
tracks, and what is no recording at all: archives, pictures, pages, pointers of Git LFS.

## Samples, errors and remarks

Reading a file ends in one of three ways.

- **Samples**: the file is as its format asks.
- **An error**: bytes are lost or altered. The file is cut short, a checksum fails, a packet does
  not decode. The error says which byte and why; `load_concealed` goes on after the
  damage and lists what it has cost.
- **Samples and a remark**: every byte is there, and only a header, a flag or a timestamp is
  wrong. Ossicle reads what FFmpeg, libsndfile or the format's reference decoder reads, and
  `AudioInfo.remarks` says what is wrong and at which byte.

`load(..., strict=True)` raises each remark as an error, and so does `load_batch`. With remarks as
without, `info().frames` is what `load` gives at the native rate, and a range is a slice of the
whole.

`ossicle info` shows remarks, and so do `ossicle decode`, `ossicle verify` and `preflight`; with
`--strict`, `decode` and `verify` fail for them. A collator with `strict=True` treats a remark as
a bad row. A training run that reads headers (with a budget of seconds or tokens) counts its clips
by the reasons of their remarks in `result.json`. The index of a shard keeps remarks in its column
`remarks`.

{remarks}

## Which decoder

Ossicle's own codecs decode all of these (`decoder="native"`). The codecs of the crate symphonia can
be asked instead, or both and compared: [decoders.md](decoders.md). Native is the default because it
reads more (symphonia has no Opus, GSM, Shorten, HE-AAC or AMR, and no AAC of more than two
channels), agrees with FFmpeg on every file above, and is faster: symphonia takes 1.4 to 6 times as
long on the same packets ([record](../benches/record/2026-12-01-decoders.md)).

## Where a recording ends

Encoders add samples before the recording (delay) and after it (padding); both are removed where the
file gives their numbers.

{ends}
"""

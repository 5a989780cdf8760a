"""What the second decoder makes of the files of the tests, as the table of docs/decoders.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pages

import ossicle

PAGE = "decoders"
# What two right decoders of a lossy codec may differ by: rust/core/codec.rs.
TOLERANCE = 2e-5
LOSSY = {"aac", "amr_nb", "amr_wb", "mp1", "mp2", "mp3", "opus", "vorbis", "gsm", "gsm_ms"}


def compare(container: str, codec: str, source: ossicle.audio.AudioSource) -> None:
    """The second decoder's samples are ours, or it refuses the file; "both" says the same."""
    ours, rate = ossicle.load(source, mono=False)
    try:
        theirs, their_rate = ossicle.load(source, mono=False, decoder="symphonia")
    except ossicle.AudioError as error:
        with_both = _both(source)
        if isinstance(error, ossicle.UnsupportedFormatError):
            assert isinstance(with_both, ossicle.UnsupportedFormatError)
        else:
            assert isinstance(with_both, ossicle.DecodersDisagreeError)
        pages.find(PAGE, container, codec, "refused", 0.0, _plain(error.reason))
        return
    assert their_rate == rate
    assert theirs.shape == ours.shape
    distance = float(np.abs(ours - theirs).max(initial=0))
    agreed = _both(source)
    if isinstance(agreed, ossicle.DecodersDisagreeError):
        assert distance > (TOLERANCE if codec in LOSSY else 0)
        at = agreed.sample_index
        assert at is not None
        assert np.abs(ours[:, at] - theirs[:, at]).max() == np.abs(ours - theirs)[:, at].max() > 0
        pages.find(PAGE, container, codec, "disagree", distance, "")
    else:
        assert isinstance(agreed, np.ndarray)
        assert np.array_equal(agreed, ours)
        pages.find(PAGE, container, codec, "agree", distance, "")


def _both(source: ossicle.audio.AudioSource) -> np.ndarray | ossicle.AudioError:
    try:
        return ossicle.load(source, mono=False, decoder="both")[0]
    except ossicle.AudioError as error:
        return error


def _plain(reason: str) -> str:
    return re.sub(r"\d[\d,.]*", "N", reason)


@dataclass
class Row:
    """One codec in one container."""

    agree: int = 0
    disagree: int = 0
    refused: int = 0
    worst: float = 0.0
    reasons: set[str] = field(default_factory=set)


def _rows(found: Iterable[pages.Finding]) -> dict[tuple[str, str], Row]:
    rows: dict[tuple[str, str], Row] = {}
    for container, codec, outcome, distance, reason in found:
        row = rows.setdefault((container, codec), Row())
        setattr(row, outcome, getattr(row, outcome) + 1)
        row.worst = max(row.worst, distance)
        row.reasons |= {reason} - {""}
    return rows


def _distance(row: Row) -> str:
    if row.agree + row.disagree == 0:
        return "-"
    if row.worst == 0:
        return "none"
    # In words that do not change with the machine's rounding.
    bounds = (2e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 10)
    bound = next(bound for bound in bounds if row.worst < bound)
    return f"below {bound:.0e}".replace("e-0", "e-")


def page(found: list[pages.Finding], containers: Mapping[str, str]) -> str:
    """The whole of docs/decoders.md; `containers` reads FFmpeg's names."""
    order = list(containers)
    rows = sorted(_rows(found).items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    lines = [
        "| container | codec | files | agree | disagree | refused by symphonia | difference |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for (container, codec), row in rows:
        files = row.agree + row.disagree + row.refused
        counts = f"{files} | {row.agree} | {row.disagree} | {row.refused}"
        names = f"{containers[container]} | `{codec}`"
        lines.append(f"| {names} | {counts} | {_distance(row)} |")
    reasons = ["| codec | what symphonia says |", "|---|---|"]
    said = {(codec, reason) for (_, codec), row in rows for reason in row.reasons}
    reasons += [f"| `{codec}` | {reason} |" for codec, reason in sorted(said)]
    total = len(found)
    agree = sum(row.agree for _, row in rows)
    disagree = sum(row.disagree for _, row in rows)
    return TEXT.format(
        total=f"{total:,}",
        agree=f"{agree:,}",
        disagree=f"{disagree:,}",
        refused=f"{total - agree - disagree:,}",
        table="\n".join(lines),
        reasons="\n".join(reasons),
    )


TEXT = """# Two decoders

Ossicle decodes with its own codecs. It can also decode with those of the Rust crate
[symphonia](https://github.com/pdeljanov/Symphonia) (0.6.1), and compare the two:

| `decoder=` | what decodes |
|---|---|
| `"native"` | ossicle's own codecs: the default |
| `"symphonia"` | symphonia's codecs |
| `"both"` | each of them; where their samples part, `DecodersDisagreeError` names the sample |

Containers, trimming, seeking and mixing are ossicle's in each case: symphonia gets the packets that
ossicle finds. With `"both"` the samples are the native ones.

`ossicle.info`, `load`, `load_batch`, `load_concealed`, `Shard.load`, `verify_shards`,
`ossicle.shard.verify_recordings` and `AudioLmCollator` take it, and so do `ossicle decode` and
`ossicle verify`:

```bash
ossicle decode --decoder both talk.mp3 talk.wav   # an error if the decoders disagree
ossicle verify --decoder both train-*.tar *.flac  # every recording, in shards and beside them
```

Use `"both"` to check a corpus before a long run, and `"symphonia"` when you think that a native
decoder is wrong. Caches keep the waveforms of each decoder apart.

## When two decoders disagree

- Lossless codecs and stored samples must be equal to the bit; means of channels (`mono=True`)
  within 2.4e-7, as two sums are rounded in another order.
- Lossy codecs may differ by 2e-5 of full scale, ten times as much as the largest difference that
  was found below.
- Noise substitution of AAC (PNS) is random by design: each decoder draws its own noise. Packets
  with it are compared by their level.
- Different lengths or channels, and an error that only one of the two has, are disagreements too.
- What symphonia does not decode is an `UnsupportedFormatError`, for `"both"` as well: it was not
  compared.

## What the tests found

Each decoded {total} files of docs/formats.md: on {agree} they agree, on {disagree} they do not, and
{refused} symphonia refuses. The difference is the largest of any sample; full scale is 1.

{table}

{reasons}

## Why native is the default

It reads more (above), it continues after damage at the exact sample, and it is faster: symphonia
takes 1.4 to 6 times as long on the same packets, and `"both"` 2.4 to 8 times, file by file in
[the record](../benches/record/2026-12-01-decoders.md).
"""

"""A profile as one page of HTML that needs nothing else: pictures, tables, sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

import numpy as np

from ossicle.audio.notebook import picture_of_waveform, player, table
from ossicle.stream.profile import Profile

__all__ = ["write_page"]

_COLOURS: Final = {
    "read_warm": "#577590",
    "decode": "#277da1",
    "mix": "#4d908e",
    "resample": "#43aa8b",
    "features": "#f9c74f",
    "copy": "#f8961e",
    "plan": "#577590",
    "join": "#f8961e",
    "collate": "#f3722c",
    "wait": "#e3e8ec",
}
_WIDTH: Final = 920
_LEFT: Final = 130
_TIMELINE_SECONDS: Final = 3.0
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22303c; max-width: 980px; margin: 2em auto }
h1 { margin-bottom: 0 } h2 { margin: 2em 0 .3em; font-size: 1.15em }
p.verdict { font-size: 1.2em; color: #2a6f97 }
table { border-collapse: collapse } th { text-align: left; color: #5d6d7a; font-weight: 500 }
td, th { padding: .15em .9em .15em 0; border-bottom: 1px solid #e3e8ec; vertical-align: middle }
svg text { font: 12px system-ui, sans-serif; fill: #5d6d7a }
.facts td:first-child { color: #5d6d7a }
.row { display: flex; flex-wrap: wrap; gap: 2em } .clip { margin: 1em 0 }
"""


def write_page(profile: Profile, path: Path) -> None:
    """Writes the page of a profile."""
    sections = [
        ("Time of a clip by stage", _stages(profile)),
        ("What each thread did", _timeline(profile)),
        ("More threads", _scaling(profile)),
        ("The corpus, by a sample of clips", _corpus(profile)),
        ("Clips that cannot be decoded", _faults(profile)),
        ("Some clips", _clips(profile)),
    ]
    body = "".join(f"<h2>{title}</h2>{content}" for title, content in sections if content)
    head = f'<meta charset="utf-8"><title>{escape(profile.source)}</title><style>{_STYLE}</style>'
    title = f"<h1>{escape(profile.source)}</h1><p class='verdict'>{escape(profile.verdict)}</p>"
    text = f"<!doctype html><html lang='en'><head>{head}</head><body>{title}{_facts(profile)}{body}"
    path.write_text(f"{text}</body></html>\n", encoding="utf-8")


def _facts(profile: Profile) -> str:
    clips = max(profile.clips, 1)
    facts = [
        ("clips a second", f"{profile.clips_per_second:,.1f} on {profile.threads} threads"),
        ("audio", f"{profile.audio_seconds / max(profile.seconds, 1e-9):,.0f} s a second"),
        ("first batch", f"after {profile.first_batch:.2f} s"),
        ("processor time", f"{1e3 * profile.processor_seconds / clips:.2f} ms a clip"),
        ("padding", f"{profile.padding:.1%} of what is computed"),
        ("batches ready when asked for", f"{np.mean(profile.ready or [0]):.1f} on average"),
    ]
    if profile.step_seconds:
        step = f"{1e3 * profile.step_seconds:.0f} ms"
        facts.append((f"a step of {step} waits", f"{1e3 * profile.wait:.0f} ms"))
    return f"<div class='facts'>{table(('', ''), facts)}</div>"


def _stages(profile: Profile) -> str:
    """A bar for each format, of the milliseconds of each stage."""
    bars = [(f"{name} ({one.clips})", one.work()) for name, one in profile.formats.items()]
    if not bars:
        return ""
    longest = max(sum(parts.values()) for _, parts in bars) or 1.0
    shapes, scale = [], (_WIDTH - _LEFT - 90) / longest
    for line, (name, parts) in enumerate(bars):
        x, y = float(_LEFT), 8 + 30 * line
        shapes.append(_text(0, y + 15, name))
        for stage, value in parts.items():
            shapes.append(_box(x, y, value * scale, 20, stage, f"{stage}: {value:.2f} ms"))
            x += value * scale
        shapes.append(_text(x + 6, y + 15, f"{sum(parts.values()):.2f} ms"))
    return _legend(bars[0][1]) + _svg(8 + 30 * len(bars), shapes)


def _timeline(profile: Profile) -> str:
    """The first seconds of each thread."""
    spans = profile.trace.spans
    if not spans:
        return ""
    first = min(one.start for one in spans)
    last = min(max(one.end for one in spans), first + _TIMELINE_SECONDS)
    scale = (_WIDTH - _LEFT) / max(last - first, 1e-9)
    threads = sorted({one.thread for one in spans})
    shapes = [
        _text(0, 21 + 26 * line, name.removeprefix("ossicle-stream-").replace("MainThread", "loop"))
        for line, name in enumerate(threads)
    ]
    for one in spans:
        if one.start < last:
            x = _LEFT + (one.start - first) * scale
            width = (min(one.end, last) - one.start) * scale
            told = f"{one.stage}: {1e3 * (one.end - one.start):.1f} ms"
            shapes.append(_box(x, 8 + 26 * threads.index(one.thread), width, 18, one.stage, told))
    end = 8 + 26 * len(threads)
    shapes.append(_text(_LEFT, end + 12, "0 s"))
    shapes.append(_text(_WIDTH - 40, end + 12, f"{last - first:.1f} s"))
    return _legend(dict.fromkeys(one.stage for one in spans)) + _svg(end + 18, shapes)


def _scaling(profile: Profile) -> str:
    if not profile.scaling:
        return ""
    one = profile.scaling.get(1) or min(profile.scaling.values()) or 1.0
    rows = [
        (threads, f"{rate:,.1f}", f"{rate / one:.2f} x")
        for threads, rate in sorted(profile.scaling.items())
    ]
    return table(("threads", "clips a second", "of one thread"), rows)


def _corpus(profile: Profile) -> str:
    files = profile.files
    if not files:
        return ""
    numbers = [
        ("seconds", [one.seconds for one in files]),
        ("level in dB of full scale", [one.level for one in files]),
    ]
    counts = [
        ("sample rate in Hz", [f"{one.sample_rate:,}" for one in files]),
        ("format", [one.format for one in files]),
        ("channels", [str(one.channels) for one in files]),
    ]
    charts = [_histogram(name, values) for name, values in numbers]
    charts += [_counts(name, values) for name, values in counts]
    return f"<div class='row'>{''.join(f'<div>{chart}</div>' for chart in charts)}</div>"


def _histogram(name: str, values: Sequence[float]) -> str:
    counts, edges = np.histogram(values, bins=24)
    most, width = max(int(counts.max()), 1), 400
    shapes = [
        _box(width * at / 24, 90 - 80 * count / most, width / 24 - 1, 80 * count / most, "decode",
             f"{edges[at]:.2f} to {edges[at + 1]:.2f}: {count}")
        for at, count in enumerate(counts.tolist())
    ]  # fmt: skip
    shapes += [_text(0, 106, f"{edges[0]:.1f}"), _text(width - 30, 106, f"{edges[-1]:.1f}")]
    return f"<div><b>{escape(name)}</b></div>{_svg(112, shapes, width)}"


def _counts(name: str, values: Iterable[str]) -> str:
    return f"<b>{escape(name)}</b>{table((name, 'clips'), Counter(values).most_common(8))}"


def _faults(profile: Profile) -> str:
    rows = [(one.id, one.file, one.member, one.byte, one.reason) for one in profile.faults[:20]]
    return table(("id", "file", "member", "byte", "reason"), rows) if rows else ""


def _clips(profile: Profile) -> str:
    return "".join(
        f"<div class='clip'><b>{escape(name)}</b>{picture_of_waveform(waveform, rate)}"
        f"{player(waveform, rate)}</div>"
        for name, waveform, rate in profile.waveforms
    )


def _svg(height: float, shapes: Iterable[str], width: int = _WIDTH) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(shapes)}</svg>'


def _box(x: float, y: float, width: float, height: float, stage: str, told: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"'
    return f'<rect {place} fill="{_COLOURS[stage]}"><title>{escape(told)}</title></rect>'


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _legend(stages: Iterable[str]) -> str:
    marks = (
        f'<span style="color:{_COLOURS[name]}">&#9632;</span> {name.replace("_", " ")} &nbsp; '
        for name in stages
    )
    return f"<p>{''.join(marks)}</p>"

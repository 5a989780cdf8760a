"""What a notebook shows of a run: how the loss fell, speeds and shares, and what held it up.

Plain HTML and SVG; matplotlib is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from ossicle.audio.notebook import table

__all__ = ["page_of_result"]

WIDTH, HEIGHT = 480, 160
_POINTS: Final = 400
"""Of a curve, at most."""
_CURVES: Final = {
    "loss": ("held out", "#c1440e"),
    "shuffled": ("another clip's audio", "#8d6a9f"),
    "none": ("no audio", "#7a8450"),
}


def page_of_result(result: Any) -> str:
    """Of a `TrainResult`: the curves of losses, tables of figures and of seconds by stage."""
    steps = len(result.losses)
    heading = f"{steps:,} steps on {result.device}, {result.seconds:,.1f} s"
    if result.losses:
        heading += f", loss {result.losses[0]:.3f} to {result.losses[-1]:.3f} nats a token"
    facts = [
        ("clips", f"{result.clips:,}"),
        ("skipped", f"{result.skipped:,}"),
        ("trained parameters", f"{result.parameters:,}"),
        *((name.replace("_", " "), f"{value:,.4g}") for name, value in result.figures.items()),
    ]
    kept = (("checkpoint", result.checkpoint), ("best", result.best), ("report", result.report))
    facts += [(name, str(path)) for name, path in kept if path is not None]
    stages = [(name, f"{one:,.1f}") for name, one in result.stage_seconds.items()]
    note = f"<p>{escape(result.bottleneck)}</p>" if result.bottleneck else ""
    tables = table(("figure", "value"), facts) + table(("stage", "seconds"), stages)
    return f"<p>{escape(heading)}</p>{_curves(result)}{note}{tables}"


def _curves(result: Any) -> str:
    """Training loss and held-out losses by step, as SVG."""
    lines = [("training", "#2a6f97", [(float(x), y) for x, y in enumerate(result.losses)])]
    for name, (label, colour) in _CURVES.items():
        there = [one for one in result.evaluations if name in one and "step" in one]
        lines.append((label, colour, [(one["step"], one[name]) for one in there]))
    lines = [(label, colour, _drawn(points)) for label, colour, points in lines]
    lines = [one for one in lines if one[2]]
    if not lines:
        return ""
    xs = [x for _, _, points in lines for x, _ in points]
    ys = [y for _, _, points in lines for _, y in points]
    low, high, last = min(ys), max(ys), max(max(xs), 1.0)
    parts = []
    for at, (label, colour, points) in enumerate(lines):
        placed = " ".join(
            f"{40 + (WIDTH - 50) * x / last:.1f},"
            f"{10 + (HEIGHT - 40) * (1 - (y - low) / max(high - low, 1e-9)):.1f}"
            for x, y in points
        )
        parts.append(f'<polyline points="{placed}" fill="none" stroke="{colour}"/>')
        parts.append(_label(WIDTH - 140, 20 + 13 * at, label, colour))
    parts += [_label(2, 14, f"{high:.3g}"), _label(2, HEIGHT - 28, f"{low:.3g}")]
    parts += [_label(40, HEIGHT - 8, "step 0"), _label(WIDTH - 70, HEIGHT - 8, f"{last:,.0f}")]
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" style="display:block;width:{WIDTH}px;height:{HEIGHT}px"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{"".join(parts)}</svg>'


def _drawn(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Some of many points, the last among them; what is not finite is left out."""
    finite = [one for one in points if abs(one[1]) < float("inf")]
    step = max(1, -(-len(finite) // _POINTS))
    return [*finite[:-1:step], *finite[-1:]]


def _label(x: int, y: int, text: str, colour: str = "#5d6d7a") -> str:
    return f'<text x="{x}" y="{y}" font-size="11" fill="{colour}">{escape(text)}</text>'

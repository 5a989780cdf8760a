"""What all pictures share: colours, headings, axes.

Needs matplotlib: ``pip install 'ossicle[train]'``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

__all__ = [
    "BAR",
    "COLOUR_MAP",
    "FAINT_BAR",
    "GRID",
    "HEADING_INCHES",
    "INK",
    "LINE",
    "MUTED",
    "frame_axes",
    "label_axes",
    "new_figure",
    "save_figure",
]

HEADING_INCHES = 0.72
INK, MUTED, GRID = "#22303c", "#5d6d7a", "#e3e8ec"
LINE, BAR, FAINT_BAR = "#2a6f97", "#61a5c2", "#a9d6e5"
COLOUR_MAP = "magma"


def new_figure(
    width: float, height: float, title: str, subtitle: str, *, dpi: int = 110, **spacing: float
) -> Figure:
    """A figure of so many inches with a title and a line below it; panels go below both.

    Args:
        width: In inches.
        height: In inches, `HEADING_INCHES` of them for the heading.
        title: Above everything.
        subtitle: A line below the title.
        dpi: Pixels of an inch.
        spacing: Of the panels, as `ConstrainedLayoutEngine` takes it.
    """
    panels = (0, 0, 1, 1 - HEADING_INCHES / height)
    margins: dict[str, Any] = {"h_pad": 0.12, "w_pad": 0.1, **spacing}
    layout = ConstrainedLayoutEngine(**margins, rect=panels)
    figure = Figure(figsize=(width, height), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    inch = 1 / figure.get_figheight()
    style: dict[str, Any] = {"x": 0.012, "ha": "left", "va": "top"}
    figure.text(y=1 - 0.14 * inch, s=title, color=INK, fontsize=14, fontweight="bold", **style)
    figure.text(y=1 - 0.43 * inch, s=subtitle, color=MUTED, fontsize=10, **style)
    return figure


def label_axes(axes: Any, title: str, x: str, y: str) -> None:
    """Title, labels and a light frame."""
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel(x, color=MUTED)
    axes.set_ylabel(y, color=MUTED)
    frame_axes(axes)


def frame_axes(axes: Any) -> None:
    """A light frame on two sides, and labels without ticks."""
    axes.tick_params(colors=MUTED, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Writes a PNG; its folder is made if it is missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path

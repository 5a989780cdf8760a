"""Pages of docs/ that the tests write and compare: what each test found, gathered over all of them.

Findings travel in the reports of the tests, so that any number of processes may run these.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

Finding = tuple[Any, ...]

DOCS = Path(__file__).parents[1] / "docs"
# Of the test that runs now, until its report takes them along.
_pending: list[tuple[str, Finding]] = []


def find(page: str, *facts: str | int | float) -> None:
    """Something that belongs on `docs/<page>.md`."""
    _pending.append((page, facts))


def take() -> list[tuple[str, Finding]]:
    """What was found since the last call."""
    taken = _pending.copy()
    _pending.clear()
    return taken


def compare(
    writers: dict[str, Callable[[list[Finding]], str]],
    found: list[tuple[str, Finding]],
    *,
    write: bool,
) -> dict[str, str]:
    """Writes the pages, or gives the differences of those that are not what the tests found."""
    stale = {}
    for name, writer in writers.items():
        page = DOCS / f"{name}.md"
        findings = [tuple(facts) for of, facts in found if of == name]
        text = writer(findings)
        if write:
            page.write_text(text)
        elif page.read_text() != text:
            lines = difflib.unified_diff(
                page.read_text().splitlines(), text.splitlines(), lineterm=""
            )
            stale[page.name] = "\n".join(lines)
    return stale

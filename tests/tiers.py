"""Two tiers of tests: `pytest` runs the everyday one, `pytest --all` everything.

A test, a module or a parameter that takes long is marked ``thorough``: `--all` alone runs it. Of a
test of many cases that is marked ``sampled(one_in=7)`` the first, the eighth and so on are run
every day. A test that goes through many cases itself has the fixture ``sweep`` give it as many.
Index decides, and no chance: each run takes the same. Tests that the command line names are run.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

Sweep = Callable[..., Sequence[Any]]


def add_options(parser: pytest.Parser) -> None:
    """`--all`, and `--rest` for what an everyday run before it has left."""
    parser.addoption("--all", action="store_true", help="every test, and all cases of sweeps")
    parser.addoption(
        "--rest", action="store_true", help="of --all what a run without it leaves out or samples"
    )


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes the tests that are not of this run's tier out of `items`."""
    if takes_all(config) and not config.getoption("rest"):
        return
    left = left_out(items)
    if config.getoption("rest"):
        left = {item for item in items if item not in left and not _sweeps(item)}
    config.hook.pytest_deselected(items=list(left))
    items[:] = [item for item in items if item not in left]


def left_out(items: list[pytest.Item]) -> set[pytest.Item]:
    """What an everyday run leaves out of `items`."""
    numbers: collections.Counter[str] = collections.Counter()
    left = set()
    for item in items:
        name = item.nodeid.partition("[")[0]
        sampled = item.get_closest_marker("sampled")
        is_taken = sampled is None or numbers[name] % sampled.kwargs["one_in"] == 0
        numbers[name] += 1
        if not is_taken or item.get_closest_marker("thorough"):
            left.add(item)
    return left


def cases(values: Iterable[Any], *, one_in: int) -> list[Any]:
    """`values` as the parameters of a fixture: all but every `one_in`-th are ``thorough``."""
    thorough = pytest.mark.thorough
    return [
        pytest.param(value, marks=() if index % one_in == 0 else thorough)
        for index, value in enumerate(values)
    ]


def sweep(config: pytest.Config) -> Sweep:
    """``sweep(values, one_in=7)``: every seventh of `values` every day, and all with `--all`."""

    def take(values: Sequence[Any], *, one_in: int) -> Sequence[Any]:
        return values if takes_all(config) else values[::one_in]

    return take


def takes_all(config: pytest.Config) -> bool:
    """Whether this run takes all cases of what it runs."""
    named = bool(config.args) and all("::" in argument for argument in config.args)
    return named or any(map(config.getoption, ["all", "rest", "write_docs"]))


def _sweeps(item: pytest.Item) -> bool:
    return "sweep" in getattr(item, "fixturenames", ())

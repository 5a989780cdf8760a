"""The files of the package import each other in one direction: none imports what imports it."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "python" / "ossicle"


def modules() -> dict[str, Path]:
    found = {}
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")]:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Those of the whole file, also inside of functions and for types alone."""
    if path.suffix == ".pyi":  # what it says of a native module is no import
        return set()
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
            # `from ossicle import _native` is of the module, not of the package around it.
            found |= {name if name in known else module for name in names}
    return found & known.keys()


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules that reach each other, by the modules that each one reaches."""
    reach = {name: set(direct) for name, direct in graph.items()}
    for middle in graph:
        for name in graph:
            if middle in reach[name]:
                reach[name] |= reach[middle]
    rings = {
        frozenset(other for other in reach[name] if name in reach[other])
        for name in graph
        if name in reach[name]
    }
    return [set(ring) for ring in rings]


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}}
    assert sorted(map(sorted, circles(graph))) == [["b", "c"], ["e"]]


def test_no_file_imports_what_imports_it() -> None:
    known = modules()
    assert "ossicle._native" in known
    graph = {name: imports(path, known) for name, path in known.items()}
    assert len(graph["ossicle.collator.batcher"]) > 5
    found = circles(graph)
    assert not found, f"files that import each other: {sorted(map(sorted, found))}"


def room(module: str) -> str:
    """The folder, or the file that stands for itself, below the package."""
    return module.partition(".")[2].partition(".")[0]


def test_no_room_imports_what_imports_it() -> None:
    known = modules()
    graph: dict[str, set[str]] = {room(name): set() for name in known if room(name)}
    for name, path in known.items():
        others = {room(other) for other in imports(path, known)} - {"", "_native", room(name)}
        if room(name):
            graph[room(name)] |= others
    assert {"audio", "train", "cli"} <= graph.keys()
    assert not circles(graph)
    assert not any("cli" in others for name, others in graph.items() if name != "__main__")
    users = {name for name, others in graph.items() if "experiment" in others}
    assert users == {"cli"}


def test_no_private_name_crosses_files() -> None:
    known = modules()
    for path in known.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ossicle"):
                names = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert set(names) <= {"_native", "__build__", "__version__"}, (path, names)


SEVERAL = {"Item"}
"""Type variables."""


def test_a_name_means_one_thing() -> None:
    """Classes and aliases of types that stand in more than one room of the data side."""
    rooms = ("atomic", "collator", "data", "dataloader", "faults", "progress", "shard")
    owners: dict[str, set[str]] = {}
    for name, path in modules().items():
        if path.suffix == ".py" and name.split(".")[1:2] and name.split(".")[1] in rooms:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    owners.setdefault(node.name, set()).add(name)
                elif (
                    isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias"
                ):
                    owners.setdefault(ast.unparse(node.target), set()).add(name)
    assert len(owners) > 100
    several = {name: places for name, places in owners.items() if len(places) > 1}
    assert not several.keys() - SEVERAL, several

"""The modules of rust/core: arrows go one way, among the rooms and among the files of each room."""

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "rust"
CORE = ROOT / "core"
if not CORE.is_dir():
    pytest.skip("the sources of the extension are not here", allow_module_level=True)

Module = tuple[str, ...]

# From the top down: docs/architecture.md says what is in each.
ROOMS = [
    *("store", "features", "encode", "pipeline", "decode", "container", "codec", "signal"),
    *("bytes", "pool", "info", "guard", "interrupt", "idle", "error"),
]
TEST_MODULE = re.compile(
    r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))? )?mod (\w+)\s*([;{])"
)
PATH = re.compile(r"\b(crate|super|self)((?:::\w+)*)(::\{)?")


def module_of(path: Path) -> Module:
    return path.relative_to(CORE).with_suffix("").parts


def code_of(path: Path) -> str:
    return re.sub(r"//[^\n]*", "", path.read_text())


FILES = {module_of(path): code_of(path) for path in CORE.rglob("*.rs") if path.name != "lib.rs"}


def without_tests(code: str) -> str:
    """`code` up to its own module of tests, which stands last."""
    inline = (found for found in TEST_MODULE.finditer(code) if found[2] == "{")
    return code[: min((found.start() for found in inline), default=len(code))]


def is_test(module: Module) -> bool:
    """Whether the file, or one that holds it, is compiled for tests alone."""
    parents = ((module[:depth], module[depth]) for depth in range(len(module)))
    return any(
        (name, ";") in TEST_MODULE.findall(FILES.get(parent, "")) for parent, name in parents
    )


def members(group: str) -> list[str]:
    """The paths in the braces that `group` begins with, inner braces spelled out."""
    paths, prefixes, word = [], [""], ""
    for char in group:
        if char == "{":
            prefixes.append(prefixes[-1] + word)
        elif char in ",}":
            paths.append(prefixes[-1] + word)
        if char == "}":
            prefixes.pop()
        word = "" if char in "{,}" else word + char.strip()
        if len(prefixes) == 1:
            return paths
    return paths


def paths_in(code: str) -> list[list[str]]:
    """Every path that begins with `crate`, `super` or `self`."""
    found = []
    for match in PATH.finditer(code):
        start = match[1] + match[2]
        ends = members(code[match.end() - 1 :]) if match[3] else [""]
        found += [[name for name in f"{start}::{end}".split("::") if name] for end in ends]
    return found


def resolve(module: Module, path: list[str]) -> Module:
    """The file that `path` leads to from `module`, as far as files go."""
    here = () if path[0] == "crate" else module
    for name in path:
        if name == "super":
            here = here[:-1]
        elif (*here, name) in FILES:
            here = (*here, name)
        elif name not in ("crate", "self"):
            break
    return here


def arrows(files: dict[Module, str]) -> dict[Module, dict[str, set[str]]]:
    """For each module that holds others, which of these use which: `{parent: {name: names}}`."""
    graphs: dict[Module, dict[str, set[str]]] = {}
    for module, code in files.items():
        for target in (resolve(module, path) for path in paths_in(code)):
            depth = next(
                (
                    at
                    for at, pair in enumerate(zip(module, target, strict=False))
                    if pair[0] != pair[1]
                ),
                None,
            )
            # A module and one that it holds make no arrow.
            if depth is not None:
                graphs.setdefault(module[:depth], {}).setdefault(module[depth], set()).add(
                    target[depth]
                )
    return graphs


GRAPHS = arrows(
    {module: without_tests(code) for module, code in FILES.items() if not is_test(module)}
)


def test_arrows_between_rooms_go_down() -> None:
    assert {module[0] for module in FILES} == set(ROOMS)
    rank = {room: at for at, room in enumerate(ROOMS)}
    up = [
        (room, to)
        for room, targets in GRAPHS[()].items()
        for to in targets
        if rank[to] <= rank[room]
    ]
    assert up == []


def test_no_files_of_a_room_form_a_circle() -> None:
    circles = {}
    for parent, graph in GRAPHS.items():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as circle:
            circles["::".join(parent)] = circle.args[1]
    assert circles == {}


def test_a_circle_is_found() -> None:
    files = {
        ("bytes", "map"): "use super::{temp::{Temp, unique}, window};",
        ("bytes", "temp"): "crate::bytes::map::read()",
    }
    graph = arrows(files)[("bytes",)]
    assert graph == {"map": {"temp", "window"}, "temp": {"map"}}
    with pytest.raises(CycleError):
        TopologicalSorter(graph).prepare()


def test_one_door_releases_the_gil() -> None:
    """Only `door.rs` may: it also polls for Ctrl-C, catches panics and maps errors."""
    released = [
        path.name
        for path in ROOT.glob("py/**/*.rs")
        if re.search(r"\b(detach|allow_threads)\(", code_of(path))
    ]
    assert released == ["door.rs"]

"""`AudioStream.profile` and ``ossicle profile``: counts add up, and what is written can be read."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from stream_clips import FORMATS, ids_of, plan_of, write
from typer.testing import CliRunner

from ossicle.cli import app
from ossicle.stream import AudioStream, LogMel


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(tmp_path_factory.mktemp("clips"), 18)


def test_a_profile_adds_up_and_leaves_the_place(files: list[Path]) -> None:
    plan = plan_of(files)
    stream = AudioStream(plan, decode=LogMel(), threads=2)
    batches = iter(stream)
    next(batches)
    batches.close()
    place = stream.state_dict()
    found = stream.profile(seconds=0.6, step_seconds=1000)
    assert stream.state_dict() == place
    assert sum(one.clips for one in found.formats.values()) == len(found.files) > 0
    known = {name for names in ids_of(plan, 0) for name in names}
    assert {one.id for one in found.files} <= known
    assert {one.sample_rate for one in found.files} <= {rate for _, rate in FORMATS}
    assert all(one.features > 0 < one.decode for one in found.formats.values())
    assert found.clips >= found.batches > 0
    # A thread is on one stage at a time.
    assert all(0 <= share <= 1 for share in found.busy.values())
    assert found.stages.keys() >= {"plan", "decode", "join", "collate", "wait"}
    assert len(found.ready) == len([s for s in found.trace.spans if s.stage == "wait"])
    assert set(found.scaling) >= {1, 2}
    assert found.wait == 0
    assert "never waits" in found.verdict
    assert json.loads(json.dumps(found.as_dict()))["clips"] == found.clips


class Page(HTMLParser):
    """Names of elements, and what a page would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        if tag not in ("meta", "img", "source", "input", "br"):
            self.open.append(tag)
        named = dict(attributes)
        links = [named.get(name) or "" for name in ("src", "href")]
        self.fetched += [link for link in links if link and not link.startswith("data:")]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_command_writes_a_page_and_a_trace(files: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad <b>.wav"
    bad.write_bytes(b"RIFF, or so it says")
    rows = [{"id": file.stem, "audio": str(file)} for file in [*files, bad]]
    data = tmp_path / "clips.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page, trace = tmp_path / "page.html", tmp_path / "trace.json"
    command = ["profile", str(data), "--seconds", "1", "--batch", "4", "--step-ms", "0.001"]
    done = CliRunner().invoke(app, [*command, "--page", str(page), "--trace", str(trace), "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["faults"][0]["file"] == str(bad)
    assert "a step waits" in facts["verdict"]
    read = Page(page.read_text(encoding="utf-8"))
    assert read.open == []
    assert read.fetched == []
    assert read.names >= {"svg", "rect", "table", "img", "audio"}
    events = json.loads(trace.read_text())["traceEvents"]
    assert {event["ph"] for event in events} == {"M", "X", "C"}
    assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in events if event["ph"] == "X")

"""Fixtures that several test files share."""

from __future__ import annotations

import functools
import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

# Before PyTorch is loaded, here and in what tests start: each processor has a process of tests, and
# the threads of several would spin against each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell has what it starts in the background ignore Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import decoders
import formats
import hypothesis
import oracle
import pages
import pytest
import tiers

MakeClip = Callable[..., Path]

# No test is about time: a machine may be as busy as it likes.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Where an everyday run keeps what it found, for the `--rest` after it.
EVERYDAY = "ossicle/found"
# Pages of docs/ and what writes them.
PAGES = {
    formats.PAGE: formats.page,
    decoders.PAGE: functools.partial(decoders.page, containers=formats.CONTAINERS),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-docs", action="store_true", help="write pages of docs/ from what the tests find"
    )
    tiers.add_options(parser)


class Findings:
    """Gathers what the tests found, in the process that starts them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.found: dict[str, list[tuple[str, pages.Finding]]] = {}
        self.stale: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            found = [value for name, value in report.user_properties if name == "found"]
            self.found[report.nodeid] = found

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        write = self.config.getoption("write_docs")
        if self.config.getoption("collectonly") or session.testsfailed:
            return
        match list(self.config.invocation_params.args):
            case []:
                self.config.cache.set(EVERYDAY, self.found)
                return
            case ["--rest"]:
                if not (everyday := self.config.cache.get(EVERYDAY, {})):
                    return
                self.found = everyday | self.found
            case ["--all"]:
                pass
            case _ if not write:
                return
        found = [finding for findings in self.found.values() for finding in findings]
        self.stale = pages.compare(PAGES, found, write=write)
        if self.stale:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name in self.stale:
            terminalreporter.write_line(
                f"docs/{name} is not what the tests found: uv run pytest --write-docs", red=True
            )
            terminalreporter.write_line(self.stale[name])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first; with `--write-docs`, just the tests that a page is made of."""
    # They compile: at the end one process would wait for the other.
    items.sort(key=lambda item: item.path.stem not in ("test_rust", "test_wheel"))
    tiers.choose(config, items)
    if not config.getoption("write_docs"):
        return
    if config.args_source is config.ArgsSource.ARGS:
        raise pytest.UsageError("--write-docs runs what the pages are made of: name no tests")
    functions = [item for item in items if isinstance(item, pytest.Function)]
    # What is careless is told to docs/formats.md by way of careless.py.
    writers = PAGES.keys() | {"careless", "resampling"}
    items[:] = [item for item in functions if vars(item.module).keys() & writers]


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        # Its neighbours use the other processors; set before torch is imported.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    else:
        config.pluginmanager.register(Findings(config))


@pytest.fixture(autouse=True)
def _findings(request: pytest.FixtureRequest) -> Iterator[None]:
    pages.take()
    yield
    request.node.user_properties += [("found", found) for found in pages.take()]


@pytest.fixture(scope="session")
def sweep(pytestconfig: pytest.Config) -> tiers.Sweep:
    """``sweep(values, one_in=7)``: every seventh every day, and all with `--all`."""
    return tiers.sweep(pytestconfig)


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    """``make_clip("mp3", rate=44_100, channels=2, frames=10_000, options="-b:a 64k")``: a path.

    Each clip is encoded once a session.
    """
    folder = tmp_path_factory.mktemp("clips")

    @functools.cache
    def make(
        suffix: str,
        *,
        rate: int = 16_000,
        channels: int = 1,
        frames: int = 16_001,
        options: str = "",
    ) -> Path:
        waveform = oracle.signal(rate, channels, frames)
        wav = folder / f"{rate}-{channels}-{frames}.wav"
        if not wav.exists():
            wav.write_bytes(oracle.wav_bytes(waveform, rate, "f32", extensible=channels > 2))
        name = hashlib.sha256(f"{wav.stem} {options}".encode()).hexdigest()[:12]
        path = folder / f"{name}.{suffix}"
        oracle.encode(wav, [(path, options.split())])
        return path

    return make

"""The register of processors, and processors that other packages announce."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ossicle.data import DataError
from ossicle.dataloader import (
    FeatureProcessor,
    ProcessorError,
    ProcessorRegistry,
    VADAdapter,
    default_registry,
)


class Pitch(FeatureProcessor):
    name = "pitch"

    def __init__(self, step: float = 0.01) -> None:
        self.step = step

    def process(self, wav_id: str, audio_path: Path) -> dict[str, Any]:
        return {"f0": 100.0}

    def save(self, wav_id: str, metadata: dict[str, Any], output_dir: Path) -> Path:
        return output_dir

    def load(self, wav_id: str, output_dir: Path) -> dict[str, Any]:
        return {}

    def exists(self, wav_id: str, output_dir: Path) -> bool:
        return False


def test_what_is_registered_is_found_by_name() -> None:
    registry = ProcessorRegistry()
    assert registry.register(Pitch) is Pitch
    assert registry.get("pitch") is Pitch
    assert registry.create("pitch", step=0.02).step == 0.02
    assert "pitch" in registry
    assert "vad" not in registry
    assert list(registry) == registry.names() == ["pitch"]
    assert len(registry) == 1
    assert repr(registry) == "ProcessorRegistry(pitch)"


def test_register_decorates() -> None:
    registry = ProcessorRegistry()

    @registry.register
    class Own(Pitch):
        name = "own"

    @registry.register(name="other")
    class Other(Pitch):
        pass

    assert registry.get("own") is Own
    assert registry.get("other") is Other
    assert registry.names() == ["other", "own"]


def test_two_of_one_name_are_an_error() -> None:
    registry = ProcessorRegistry()
    registry.register(Pitch)
    with pytest.raises(ProcessorError, match=r"'pitch' already: .*\.Pitch"):
        registry.register(Pitch)
    assert registry.get("pitch") is Pitch


def test_what_is_no_processor_is_refused() -> None:
    registry = ProcessorRegistry()
    for wrong in (object, Pitch(), "pitch"):
        with pytest.raises(TypeError, match="FeatureProcessor"):
            registry.register(wrong)  # type: ignore[call-overload]

    class Nameless(Pitch):
        name = ""

    class OfItsSettings(Pitch):
        @property
        def name(self) -> str:  # type: ignore[override]
            return f"pitch_{self.config['floor']}"

    for kind in (Nameless, OfItsSettings):
        with pytest.raises(ProcessorError, match="no `name` that its class alone tells"):
            registry.register(kind)
    assert registry.register(OfItsSettings, name="floors") is OfItsSettings
    assert registry.names() == ["floors"]


def test_a_name_may_be_a_property() -> None:
    class ByProperty(Pitch):
        @property
        def name(self) -> str:  # type: ignore[override]
            return "by_property"

    registry = ProcessorRegistry()
    assert registry.register(ByProperty) is ByProperty
    assert registry.create("by_property").name == "by_property"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ProcessorError, match=r"'vda'.*esc, phoneme, snr, vad, vtc") as caught:
        default_registry().get("vda")
    assert isinstance(caught.value, DataError)
    assert isinstance(caught.value, KeyError)
    with pytest.raises(ProcessorError, match="the processors are none"):
        ProcessorRegistry().create("vad")


def test_a_processor_must_be_whole() -> None:
    class Half(FeatureProcessor):
        name = "half"

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]


def test_our_adapters_register_themselves(tmp_path: Path) -> None:
    registry = default_registry()
    assert registry is default_registry()
    assert {"vad", "vtc", "snr", "esc", "phoneme"} <= set(registry)
    assert registry.get("vad") is VADAdapter
    assert registry.create("vad", tmp_path).output_dir == tmp_path
    assert all(registry.get(name).name == name for name in ("vad", "vtc", "snr", "esc", "phoneme"))


PACKAGE = """
import sys
sys.modules["{module}_was_imported"] = sys
from ossicle.dataloader import StoreProcessor

class Tempo(StoreProcessor):
    name = "tempo"
    def process(self, wav_id, audio_path):
        return {{"bpm": 120}}

not_a_processor = 3
"""


def install(folder: Path, module: str, points: dict[str, str], code: str = PACKAGE) -> None:
    """A package as pip leaves it: modules, and a dist-info beside them."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(code.format(module=module))
    info = folder / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[ossicle.processors]\n{lines}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def refresh() -> None:
    importlib.invalidate_caches()


def test_other_packages_announce_processors(site: Path, tmp_path: Path) -> None:
    install(site, "tempo_package", {"tempo": "tempo_package:Tempo"})
    refresh()
    registry = default_registry()
    assert "tempo" in registry
    assert "tempo" in registry.names()
    assert "tempo_package_was_imported" not in sys.modules
    tempo = registry.create("tempo")
    assert "tempo_package_was_imported" in sys.modules
    metadata = tempo.process("a", tmp_path / "a.wav")
    tempo.save("a", metadata, tmp_path)
    assert tempo.load("a", tmp_path) == {"bpm": 120}
    # Without entry points a registry knows none.
    assert "tempo" not in ProcessorRegistry()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("broken_package:Tempo", "RuntimeError: no licence"),
        ("no_such_module:Tempo", "ModuleNotFoundError"),
        ("good_package:Missing", "AttributeError"),
        ("good_package:not_a_processor", "is not a FeatureProcessor, but 3"),
    ],
)
def test_a_broken_entry_point_is_an_error_only_when_asked_for(
    site: Path, value: str, why: str
) -> None:
    install(site, "good_package", {"bad": value})
    (site / "broken_package.py").write_text("raise RuntimeError('no licence')")
    refresh()
    registry = default_registry()
    assert "bad" in registry.names()
    assert registry.get("vad") is VADAdapter
    with pytest.raises(ProcessorError, match=why) as caught:
        registry.get("bad")
    assert "'bad'" in str(caught.value)
    assert "good_package 1.2" in str(caught.value)


def test_a_name_announced_twice_is_an_error_that_names_both(site: Path) -> None:
    install(site, "one_package", {"twice": "one_package:Tempo", "vtc": "one_package:Tempo"})
    install(site, "two_package", {"twice": "two_package:Tempo"})
    refresh()
    with pytest.raises(ProcessorError, match=r"one_package 1\.2.*two_package 1\.2|two.*one"):
        default_registry().get("twice")
    with pytest.raises(ProcessorError, match=r"adapters\.VTCAdapter and .*one_package 1\.2"):
        default_registry().get("vtc")
    assert default_registry().names().count("vtc") == 1


def test_one_package_twice_on_the_path_is_one(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "same_package", {"same": "same_package:Tempo"})
    copy = tmp_path / "copy"
    install(copy, "same_package", {"same": "same_package:Tempo"})
    monkeypatch.syspath_prepend(copy)
    refresh()
    assert default_registry().get("same").name == "tempo"


def test_the_register_imports_neither_polars_nor_torch() -> None:
    code = """
import sys
from ossicle.dataloader import FeatureProcessor, default_registry, JsonStore
assert "vad" in default_registry()
print([name for name in ("polars", "torch", "transformers", "rich") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

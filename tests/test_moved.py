"""Old import paths: each gives the module of the new path, and warns."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from ossicle import moved, train


@pytest.mark.parametrize("old", sorted(moved.MODULES))
def test_an_old_path_gives_the_new_module_and_warns(old: str) -> None:
    new = importlib.import_module(moved.MODULES[old])
    spec = new.__spec__
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match="has moved to"):
        assert importlib.import_module(old) is new
    assert new.__spec__ is spec
    assert new.__name__ == moved.MODULES[old]


def test_the_warning_names_the_line_that_imports() -> None:
    code = "import ossicle.corpus\nfrom ossicle import demo\nfrom ossicle.corpus import make_sines"
    command = [sys.executable, "-W", "always", "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stderr.splitlines() == [
        f"<string>:{line}: DeprecationWarning: ossicle.{name} has moved to "
        f"ossicle.experiment.{name}; the old name goes with the next version"
        for line, name in ((1, "corpus"), (2, "demo"))
    ]


def test_a_path_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("ossicle.never")


def test_an_old_name_of_training_warns() -> None:
    with pytest.warns(DeprecationWarning, match="TrainConfig"):
        assert train.AlignConfig is train.TrainConfig

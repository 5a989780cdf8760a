"""Modules that have moved: the old paths import the same module, with a warning."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import warnings

import pytest

import ossicle
from ossicle import moved, train


@pytest.mark.parametrize("old", sorted(moved.MOVED))
def test_an_old_path_is_the_module_of_the_new_one(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=moved.MOVED[old].replace(".", r"\.")) as caught:
        found = importlib.import_module(old)
    assert found is importlib.import_module(moved.MOVED[old])
    assert found.__spec__ is not None
    assert (found.__name__, found.__spec__.name) == (moved.MOVED[old],) * 2
    assert len(caught) == 1


@pytest.mark.parametrize("old", sorted(moved.MOVED))
def test_no_file_lies_under_an_old_path(old: str) -> None:
    package, _, name = old.rpartition(".")
    places = importlib.import_module(package).__path__
    assert importlib.machinery.PathFinder.find_spec(old, places) is None, name
    # A table of one step: no path leads to another old one.
    assert moved.MOVED[old] not in moved.MOVED


def test_the_warning_is_at_the_line_that_imports() -> None:
    code = "import ossicle.whole_files as old, ossicle.atomic as new\nassert old is new"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr.startswith("<string>:1: DeprecationWarning: ossicle.whole_files")


def test_from_a_package_and_once_only() -> None:
    sys.modules.pop("ossicle.whole_files", None)
    vars(ossicle).pop("whole_files", None)
    with pytest.warns(DeprecationWarning, match="atomic"):
        from ossicle import whole_files  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.import_module("ossicle.whole_files")
    assert whole_files is sys.modules["ossicle.atomic"]


def test_other_missing_modules_are_missing() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("ossicle.nothing_of_this_name")
    before = list(sys.meta_path)
    moved.install()
    assert sys.meta_path == before


def test_an_old_name_of_training_warns() -> None:
    with pytest.warns(DeprecationWarning, match=r"train\.TrainConfig"):
        assert train.AlignConfig is train.TrainConfig


def test_the_old_name_of_the_resampler_of_streams_warns() -> None:
    with pytest.warns(DeprecationWarning, match=r"ossicle\.StreamResampler"):
        assert ossicle.Resampler is ossicle.StreamResampler

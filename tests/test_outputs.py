"""No command writes onto what it reads, or clears what it did not make."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import ossicle
from ossicle.cli import app
from ossicle.experiment import demo
from ossicle.experiment.spoken import SpokenConfig, make_spoken
from ossicle.outputs import claim_folder, refuse_same_file
from ossicle.shard import pack


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "500"})


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 4_000)
    return ossicle.save(tmp_path / "a.wav", noise, 16_000)


def _itself(path: Path) -> Path:
    return path


def _relative(path: Path) -> Path:
    return Path(os.path.relpath(path))


def _dotted(path: Path) -> Path:
    return path.parent / "." / ".." / path.parent.name / path.name


def _symlink(path: Path) -> Path:
    link = path.with_name(f"link{path.suffix}")
    link.symlink_to(path.name)
    return link


def _hard_link(path: Path) -> Path:
    link = path.with_name(f"hard{path.suffix}")
    link.hardlink_to(path)
    return link


ALIASES = [_itself, _relative, _dotted, _symlink, _hard_link]


@pytest.mark.parametrize("alias", ALIASES)
def test_an_output_that_is_an_input_is_refused(clip: Path, alias: Callable[[Path], Path]) -> None:
    other = alias(clip)
    with pytest.raises(ossicle.InvalidArgumentError, match="choose another output") as caught:
        refuse_same_file([clip.with_name("new.wav"), other], ["none", clip])
    assert str(clip) in str(caught.value)
    assert str(other) in str(caught.value)
    refuse_same_file([clip.with_name("new.wav"), clip.parent, "/dev/null"], [clip, "/dev/null"])
    refuse_same_file([clip], [clip.with_name("new.wav"), clip.parent])


@pytest.mark.parametrize("alias", ALIASES)
def test_decode_keeps_its_source(clip: Path, alias: Callable[[Path], Path]) -> None:
    target = alias(clip)
    before = content(clip.parent)
    done = run("decode", clip, target, "--rate", 8_000)
    assert done.exit_code == 1
    assert f"the output {target} is the input {clip}" in done.stderr
    assert content(clip.parent) == before


def _manifest(clip: Path, name: str = "rows.jsonl") -> Path:
    path = clip.with_name(name)
    path.write_text(json.dumps({"wav": clip.name, "text": "noise"}) + "\n")
    return path


@pytest.mark.parametrize("option", ["--out", "--picture"])
def test_features_keep_their_source(clip: Path, option: str) -> None:
    pytest.importorskip("matplotlib")
    source = clip.rename(clip.with_name("a.npz"))
    before = content(clip.parent)
    assert run("features", source, option, source).exit_code == 1
    array = source.with_name("a.npz.npy")
    array.hardlink_to(source)
    assert run("features", source, "--out", source.parent).exit_code == 1
    array.unlink()
    assert content(clip.parent) == before


def test_packing_keeps_the_manifest_and_its_recordings(clip: Path) -> None:
    listed = _manifest(clip, "data.tar.errors.jsonl")
    numbered = clip.rename(clip.with_name("clip-0.wav"))
    own = _manifest(numbered)
    before = content(clip.parent)
    for manifest, out in ((listed, "data.tar"), (own, own.name), (own, "clip-%d.wav")):
        done = run("shard", manifest, clip.with_name(out), "--overwrite", "--flac")
        assert "is the input" in done.stderr
        assert done.exit_code == 1
    assert content(clip.parent) == before


def test_repair_keeps_the_shard(clip: Path) -> None:
    shard = clip.with_name("a.tar")
    pack(_manifest(clip), shard)
    before = content(clip.parent)
    new, index = clip.with_name("new.tar"), clip.with_name("a.tar.index.parquet")
    for target, lost in ((shard, []), (new, ["--lost", shard]), (new, ["--lost", index])):
        done = run("repair", shard, target, "--overwrite", *lost)
        assert "is the input" in done.stderr
        assert done.exit_code == 1
    assert run("repair", shard, new, "--lost", new).exit_code == 1
    assert content(clip.parent) == before


def test_joining_keeps_the_manifests(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    paths = [tmp_path / "a.parquet", tmp_path / "vad_meta" / "metadata.parquet"]
    paths[1].parent.mkdir()
    for number, path in enumerate(paths):
        polars.DataFrame({"wav_id": ["x"], f"n{number}": [1]}).write_parquet(path)
    before = content(tmp_path)
    for path in paths:
        done = run("manifest", "join", *paths, "--out", path)
        assert "is the input" in done.stderr
    done = run("manifest", "build", tmp_path, "--stage", "vad", "--out", paths[1])
    assert "is the input" in done.stderr
    assert content(tmp_path) == before


def test_extraction_keeps_clips_and_manifest(clip: Path) -> None:
    from ossicle.extract import ExtractError
    from ossicle.extract.output import ExtractOutput, ExtractPlan

    numbered = clip.rename(clip.with_name("clip-0.wav"))
    output = ExtractOutput(clip.with_name("clip-%d.wav"))
    with pytest.raises(ossicle.InvalidArgumentError, match="is the input"):
        refuse_same_file(output.files(), [numbered])
    # Nor are files of such names removed that no extraction has made.
    plan = ExtractPlan("0" * 64, -1, "0" * 64, 1, 10**9, 30.0, 30.0)
    with pytest.raises(ExtractError, match="is there without"):
        output.begin(plan, overwrite=True)
    assert numbered.exists()


def test_training_keeps_its_data(clip: Path, tmp_path: Path) -> None:
    from ossicle.train import TrainConfig
    from ossicle.train import run as train

    data = _manifest(clip, "skipped.jsonl")
    for options in ({}, {"overwrite": True}):
        config = TrainConfig(data, whisper="tiny-random", out=tmp_path, **options)
        with pytest.raises(ossicle.InvalidArgumentError, match="is the input"):
            train(config)


def test_a_folder_of_others_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ossicle.InvalidArgumentError, match="somebody did not make"):
        claim_folder(tmp_path, ".mark", "somebody")
    assert content(tmp_path) == {"mine": b"mine"}
    with pytest.raises(NotADirectoryError):
        claim_folder(tmp_path / "mine", ".mark", "somebody")
    own = claim_folder(tmp_path / "new" / "own", ".mark", "somebody", "told")
    (own / "more").touch()
    assert claim_folder(own, ".mark", "somebody", "again") == own
    assert (own / ".mark").read_text() == "again"


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "--out"),
        ("corpus", "sines"),
        ("corpus", "demo"),
        ("experiment", "weak-align"),
    ],
)
def test_commands_leave_folders_of_others_alone(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    for module in ("torch", "transformers", "jiwer"):
        pytest.importorskip(module)
    cache = ossicle.WaveformCache(tmp_path / "cache")
    key = ossicle.WaveformCacheKey("0" * 64, 16_000, 30_000, auto_resample=True)
    cache.put(key, np.zeros(9, np.float32))
    before = content(tmp_path)
    done = run(*arguments, tmp_path)
    assert done.exit_code == 2
    # A box of lines, as wide as the terminal.
    assert "is not empty" in " ".join(done.stderr.replace("│", " ").split())
    assert content(tmp_path) == before


def test_the_library_leaves_them_alone_too(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("mine")
    for call in (demo.run, lambda out: make_spoken(out, SpokenConfig(2, 2, 2, 0, "tones"))):
        with pytest.raises(ossicle.InvalidArgumentError, match="is not empty"):
            call(tmp_path)
    assert content(tmp_path) == {"train.jsonl": b"mine"}

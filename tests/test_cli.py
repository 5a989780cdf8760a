"""The command line, as a user would run it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import run

import ossicle
from ossicle.experiment import corpus

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips and a damaged one."""
    folder = corpus.make_demo(tmp_path_factory.mktemp("demo"), clips=6).parent
    whole = next((folder / "clips").glob("*.flac"))
    (folder / "cut.flac").write_bytes(whole.read_bytes()[:4_000])
    return folder


def test_info_reports_the_damaged_file_beside_the_others(clips: Path) -> None:
    files = [*sorted((clips / "clips").iterdir()), clips / "cut.flac", clips / "missing.wav"]
    done = run("info", "--json", *files, folder=clips)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == [str(file) for file in files]
    for row, file in zip(rows[:6], files[:6], strict=True):
        fact = ossicle.info(file)
        assert (row["frames"], row["sample_rate"]) == (fact.frames, fact.sample_rate)
        assert row["duration"] == pytest.approx(soundfile.info(file).duration, abs=0.06)
    assert rows[-1]["error"] == "AudioFileNotFoundError"
    assert done.returncode == 1
    table = run("info", *files, folder=clips)
    assert table.returncode == 1
    assert table.stdout.count("│") > 6 * 8
    assert "AudioFileNotFoundError" in table.stderr
    assert run("info", *files[:6], folder=clips).returncode == 0


def test_decode_writes_what_load_gives(clips: Path, tmp_path: Path) -> None:
    source = next((clips / "clips").glob("*2ch.*"))
    done = run("decode", source, "out.npy", "--rate", 16_000, "--offset", 0.25, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    expected, _ = ossicle.load(source, 16_000, offset=0.25)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    assert run("decode", source, "out.wav", "--no-mono", folder=tmp_path).returncode == 0
    both, rate = soundfile.read(tmp_path / "out.wav")
    stereo, native = ossicle.load(source, mono=False)
    assert rate == native
    np.testing.assert_allclose(both.T, stereo, atol=2.0**-16)


def test_decode_conceals_damage_and_says_where(clips: Path, tmp_path: Path) -> None:
    data = next((clips / "clips").glob("*.flac")).read_bytes()
    (tmp_path / "half.flac").write_bytes(data[: len(data) // 2])
    done = run("decode", "half.flac", "out.npy", "--conceal", folder=tmp_path)
    waveform, _, [gap] = ossicle.load_concealed(tmp_path / "half.flac")
    assert done.returncode == 1
    assert f"samples {gap.start} to {gap.end} are missing" in done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), waveform)


def test_decode_verifies_checksums(clips: Path, tmp_path: Path) -> None:
    data = bytearray(next((clips / "clips").glob("*.flac")).read_bytes())
    (tmp_path / "whole.flac").write_bytes(data)
    assert run("decode", "whole.flac", "x.wav", "--verify", folder=tmp_path).returncode == 0
    data[26:42] = b"no MD5 of these "
    (tmp_path / "other.flac").write_bytes(data)
    assert run("decode", "other.flac", "y.wav", folder=tmp_path).returncode == 0
    done = run("decode", "other.flac", "z.wav", "--verify", folder=tmp_path)
    assert done.returncode == 1
    assert "MD5" in done.stderr
    assert not (tmp_path / "z.wav").exists()


def test_features_of_many_go_into_one_archive(clips: Path, tmp_path: Path) -> None:
    files = [*sorted((clips / "clips").iterdir()), clips / "missing.wav"]
    done = run("features", *files, "--out", "new/x.npz", "--n-mels", 128, folder=tmp_path)
    assert done.returncode == 1
    assert "AudioFileNotFoundError" in done.stderr
    expected = ossicle.load_features(files, n_mels=128, on_error="collect")
    with np.load(tmp_path / "new" / "x.npz") as archive:
        np.testing.assert_array_equal(archive["input_features"], expected.input_features)
        np.testing.assert_array_equal(archive["lengths"], expected.lengths)
        assert archive["files"].tolist() == [str(file) for file in files]
        assert [bool(text) for text in archive["errors"]] == [False] * 6 + [True]


def test_features_of_each_go_into_a_folder_and_a_picture(clips: Path, tmp_path: Path) -> None:
    files = sorted((clips / "clips").iterdir())
    done = run("features", *files, "--out", "each", "--unpadded", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for file in files:
        waveform, _ = ossicle.load(file, 16_000)
        expected = ossicle.log_mel_spectrogram(waveform, pad_to_seconds=None)
        found = np.load(tmp_path / "each" / f"{file.name}.npy")
        np.testing.assert_array_equal(found, expected)
    drawn = run("features", files[0], "--picture", "one.png", folder=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["features", "cut.flac"], "pass --out or --picture"),
        (["features", "a.wav", "b.wav", "--picture", "x.png"], "one recording, not 2"),
        (["features", "a.wav", "b/a.wav", "--out", "x"], "several recordings have the name a.wav"),
        (["features", "a.wav", "--out", "x.npz", "--unpadded"], "--out must be a folder"),
        (["features", "cut.flac", "--out", "x"], "CorruptAudioError"),
        (["decode", "cut.flac", "x.wav"], "CorruptAudioError"),
        (["decode", "none.flac", "x.wav"], "AudioFileNotFoundError"),
        (["decode", "manifest.jsonl", "x.wav"], "UnsupportedFormatError"),
        (["train", "align", "--data", "none.jsonl"], "FileNotFoundError"),
        (["train", "align", "--data", "manifest.jsonl"], "--whisper tiny-random"),
        (["corpus", "sines", "manifest.jsonl"], "NotADirectoryError"),
    ],
)
def test_errors_are_one_message_and_exit_code_1(
    clips: Path, arguments: list[str], message: str
) -> None:
    done = run(*arguments, folder=clips)
    assert done.returncode == 1
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert not (clips / "x.wav").exists()


def test_help_has_an_example_for_every_command(tmp_path: Path) -> None:
    commands = ["info"], ["decode"], ["features"], ["demo"], ["corpus", "sines"], ["corpus", "demo"]
    for command in (*commands, ["train", "align"]):
        done = run(*command, "--help", folder=tmp_path)
        assert done.returncode == 0
        assert "Example" in done.stdout, command


def test_the_command_is_installed(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("ossicle"), "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ossicle.__version__ in done.stdout


def test_sines_then_align(tmp_path: Path) -> None:
    assert run("corpus", "sines", "sines", folder=tmp_path).returncode == 0
    arguments = ["--whisper", "tiny-random", "--steps", 12, "--out", "run", "--save-every", 6]
    data = ["train", "align", "--data", "sines/manifest.jsonl"]
    done = run(*data, *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "in 12 steps" in done.stdout
    again = run(*data, *arguments, folder=tmp_path)
    assert again.returncode == 1
    assert "resume" in again.stderr


def test_demo_goes_the_whole_path(tmp_path: Path) -> None:
    done = run("demo", "--clips", 6, "--steps", 15, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "report.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((tmp_path / "demo" / "report.json").read_text())
    stages = {stage["name"]: stage for stage in numbers["stages"]}
    assert list(stages) == ["decode", "cache", "pack", "shard", "collate", "train"]
    assert sum(stage["share"] for stage in stages.values()) == pytest.approx(1)
    assert all(stage["clips_per_second"] > 0 for stage in stages.values())
    assert numbers["losses"][0] - numbers["losses"][-1] > 0.5
    for name in stages:
        assert name in done.stdout


@pytest.mark.thorough
def test_demo_on_ones_own_manifest(tmp_path: Path) -> None:
    manifest = corpus.make_sines(tmp_path / "own")
    done = run("demo", "--data", manifest, "--steps", 12, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "demo" / "corpus").exists()

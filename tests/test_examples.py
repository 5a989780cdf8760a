"""The examples run as a reader would run them, and so does the README's first code."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import run_script

import ossicle
from ossicle.experiment import corpus
from ossicle.experiment.tiny import tiny_qwen2_audio_processor

ROOT = Path(__file__).parents[1]


def test_decode(tmp_path: Path) -> None:
    good = corpus.make_sines(tmp_path).parent / "wavs" / "sine_0440.wav"
    bad = tmp_path / "bad.flac"
    bad.write_bytes(b"no audio")
    cut = tmp_path / "cut.wav"
    cut.write_bytes(good.read_bytes()[:-16_000])
    printed = run_script(ROOT / "examples/decode.py", good, bad, cut, folder=tmp_path)
    assert "sine_0440.wav: pcm_s16le, 1 x 16000 Hz, 80000 frames, 5.00 s" in printed
    assert "UnsupportedFormatError" in printed
    assert "batch: (3, 32000) float32" in printed
    assert "cut.wav: 4.50 s could be decoded" in printed
    assert "4.50 to 5.00 s are missing: the header declares 160000 bytes" in printed


def test_shards(tmp_path: Path) -> None:
    manifest = corpus.make_demo(tmp_path, clips=6)
    with manifest.open("a", encoding="utf-8") as file:
        file.write('{"wav": "missing.wav", "text": "nothing"}\n')
    for _ in range(2):
        printed = run_script(ROOT / "examples/shards.py", manifest, "shards", folder=tmp_path)
        assert re.search(r"packed 6 samples, 0\.\d\d minutes, \d shards", printed)
        assert "left out: row 6" in printed
        assert "long.tar: 6 samples of a second and more" in printed
        assert "samples at 16000 Hz: 'a low tone, steady'" in printed


def test_align(tmp_path: Path) -> None:
    printed = run_script(ROOT / "examples/align.py", tmp_path, "--steps", 30, folder=tmp_path)
    assert re.search(r"loss \d\.\d\d -> \d\.\d\d", printed)
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_espnet_io(tmp_path: Path) -> None:
    clip = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 44_100)).astype(np.float32)
    ossicle.save(tmp_path / "a.wav", clip, 44_100)
    ossicle.save(tmp_path / "b.flac", clip[0, :8_000], 16_000)
    printed = run_script(ROOT / "examples/espnet_io.py", "a.wav", "b.flac", folder=tmp_path)
    assert "a.wav: 1.00 s, 25 tokens of 48 features" in printed
    assert "b.flac: 0.50 s, 12 tokens of 48 features" in printed


@pytest.mark.thorough
def test_code_about_espnet(tmp_path: Path) -> None:
    """Its training is a stand-in that looks for our class where the job does."""
    text = (ROOT / "docs/espnet.md").read_text(encoding="utf-8")
    codes = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    path = f"import sys\nsys.path.insert(0, {str(ROOT / 'tests/data/espnet')!r})\n"
    script = tmp_path / "code.py"
    script.write_text(path + "".join(codes), encoding="utf-8")
    # In a process of its own: its stand-ins for ESPnet's modules stay imported.
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4_000:]
    assert "trains with ossicle.espnet" in done.stdout


def test_duration_batches(tmp_path: Path) -> None:
    corpus.make_demo(tmp_path)
    printed = run_script(
        ROOT / "examples/duration_batches.py", tmp_path, "--workers", 2, folder=tmp_path
    )
    assert re.search(r"24 rows of 1\.\d to [23]\.\d s in \d batches, \d+\.\d% of them", printed)
    costs = [int(cost) for cost in re.findall(r"= (\d+) tokens", printed)]
    assert len(costs) == 5
    assert max(costs) <= 400
    assert re.search(r"mean loss over 6 steps: \d\.\d+", printed)


def test_first_code_of_the_readme(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    clip = np.random.default_rng(0).uniform(-0.5, 0.5, 18 * 16_000).astype(np.float32)
    for name in ("talk.wav", "a.flac", "b.wav"):
        ossicle.save(tmp_path / name, clip, 16_000)
    # Content decides, not the name: these stand in for the formats that are not written here.
    (tmp_path / "talk.wav").rename(tmp_path / "talk.m4a")
    (tmp_path / "b.wav").rename(tmp_path / "b.mp3")
    script = tmp_path / "readme.py"
    read = "wav_bytes = open('b.mp3', 'rb').read()\n"
    check = "\nassert waveform.shape == (80_000,) and batch.errors == [None] * 3\n"
    check += "assert features.shape == (2, 128, 3_000)\n"
    script.write_text(read + code + check, encoding="utf-8")
    run_script(script, folder=tmp_path)


def test_code_of_the_readme_that_puts_our_features_into_a_processor() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    codes = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [code] = [code for code in codes if "WhisperFeatures" in code]
    processor = tiny_qwen2_audio_processor()
    before = processor.feature_extractor.to_dict()
    exec(code, {"processor": processor, "ossicle": ossicle})
    assert type(processor.feature_extractor) is ossicle.WhisperFeatures
    assert processor.feature_extractor.to_dict() == before

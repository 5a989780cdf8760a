"""`ossicle cache` as a user runs it, the page about the cache, and its example."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import ossicle
from ossicle.cache import AudioCache, AudioCacheKey, WaveformCache, WaveformCacheKey
from ossicle.cli import app
from ossicle.cli.cache import parse_size

ROOT = Path(__file__).parents[1]
PROCESSOR = "fedcba9876543210" * 4


def ossicle_cache(*arguments: object, answer: str | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["cache", *map(str, arguments)], input=answer)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    waveforms, features = WaveformCache(folder), AudioCache(folder)
    for n in range(5):
        waveforms.put(WaveformCacheKey(f"{n:08x}", 16_000, 30_000), np.zeros(1000, np.float32))
    half = WaveformCacheKey("ab" * 8, 16_000, 30_000, dtype="float16")
    waveforms.put(half, np.zeros(1000, np.float32))
    features.put(AudioCacheKey("cd" * 8, PROCESSOR, 16_000, 1), np.zeros((80, 10), np.float32))
    return folder


def test_stats(root: Path) -> None:
    code, text = ossicle_cache("stats", root, "--json")
    facts = json.loads(text)
    kinds = {name: kind["entries"] for name, kind in facts["kinds"].items()}
    assert (code, facts["entries"]) == (0, 7)
    assert kinds == {"features": 1, "waveforms": 5, "waveforms, float16": 1}
    sizes = sum(path.stat().st_size for path in root.rglob("*.npz"))
    assert facts["bytes"] == sizes == sum(kind["bytes"] for kind in facts["kinds"].values())
    code, text = ossicle_cache("stats", root)
    assert code == 0
    assert all(word in text for word in ["waveforms", "features", "float16", "all", "kB"])


def test_verify(root: Path) -> None:
    code, text = ossicle_cache("verify", root)
    assert (code, "7 entries" in text, "0 corrupt" in text) == (0, True, True)
    bad, stale = root / "00/00000002.16000.30000.wav.npz", root / "00/link.npz"
    content = bytearray(bad.read_bytes())
    content[2000] ^= 16
    bad.write_bytes(content)
    code, text = ossicle_cache("verify", root, "--threads", 2)
    assert (code, "checksum" in text, bad.exists()) == (1, True, True)
    code, text = ossicle_cache("verify", root, "--json", "--delete")
    facts = json.loads(text)
    assert (code, facts["corrupt"], facts["stale"], facts["entries"]) == (1, 1, 0, 7)
    [fault] = facts["faults"]
    told = {"path": str(bad), "kind": "corrupt", "reason": "checksum differs", "deleted": True}
    assert (fault, bad.exists(), stale.exists()) == (told, False, False)
    assert ossicle_cache("verify", root)[0] == 0


def test_prune_and_clear(root: Path) -> None:
    size = (root / "00/00000000.16000.30000.wav.npz").stat().st_size
    code, text = ossicle_cache("prune", root)
    assert (code, "evicted 0 entries" in text) == (0, True)
    code, text = ossicle_cache("prune", root, "--max-bytes", f"{2.5 * size / 1000}kB", "--json")
    facts = json.loads(text)
    assert (code, facts["bytes"] <= 2.5 * size, facts["evicted"] >= 4) == (0, True, True)
    (root / "notes.txt").write_text("mine")
    assert ossicle_cache("clear", root, answer="n\n")[0] == 1
    assert WaveformCache(root).stats().entries == 7 - facts["evicted"]
    assert ossicle_cache("clear", root, answer="y\n")[0] == 0
    assert [path.name for path in root.iterdir()] == ["notes.txt"]
    assert ossicle_cache("clear", root, "--yes", "--json")[0] == 0


@pytest.mark.parametrize("command", ["stats", "verify", "prune", "clear"])
def test_help_and_a_folder_that_is_not_there(tmp_path: Path, command: str) -> None:
    code, text = ossicle_cache(command, "--help")
    assert (code, "Examples" in text) == (0, True)
    code, text = ossicle_cache(command, tmp_path / "nowhere")
    assert (code, "does not exist" in " ".join(text.split())) == (1, True)
    assert not (tmp_path / "nowhere").exists()


def test_sizes() -> None:
    sizes = {"10GB": 10**10, "1.5 MiB": 3 << 19, "7": 7, "2k": 2000, "3TB": 3 * 10**12, "5B": 5}
    assert {text: parse_size(text) for text in sizes} == sizes
    for wrong in ["", "GB", "-1", "1XB", "1e9", "10 G B"]:
        with pytest.raises(ValueError, match="not a size"):
            parse_size(wrong)
    assert ossicle_cache("prune", ".", "--max-bytes", "lots")[0] == 1
    assert ossicle_cache("prune", ".", "--max-bytes", "0")[0] == 1


def run(*arguments: object, folder: Path) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_the_page_and_the_example_run(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * 22_050).astype(np.float32)
    talk = ossicle.save(tmp_path / "talk.wav", samples, 22_050)
    page = (ROOT / "docs/cache.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    script = tmp_path / "page.py"
    script.write_text(code + "\nassert cache.get(key).shape == (48_000,)\n", encoding="utf-8")
    run(script, folder=tmp_path)
    printed = run(ROOT / "examples/cache.py", talk, talk, folder=tmp_path)
    assert "read [48000, 48000] samples" in printed
    assert "corrupt: checksum differs" in printed
    assert "get: None" in printed
    assert "3 hits, 1 misses, 1 corrupt" in printed

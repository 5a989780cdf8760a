"""docs/gpt.md: its code runs as it is written, from top to bottom."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from naive_gpt import randomised

import ossicle
from ossicle.model import GPTConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "gpt.md"
CONFIG = GPTConfig(64, 100, 4, 2, 2, 48, "SSSL")


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "base_checkpoints" / "d4"
    folder.mkdir(parents=True)
    torch.save(randomised(CONFIG).state_dict(), folder / "model_000100.pt")
    meta = json.dumps({"step": 100, "model_config": asdict(CONFIG)})
    (folder / "meta_000100.json").write_text(meta, encoding="utf-8")
    rng = np.random.default_rng(0)
    for name, seconds in (("hello.wav", 1.2), ("goodbye.wav", 0.7)):
        ossicle.save(name, 0.1 * rng.standard_normal(int(16_000 * seconds)), 16_000)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    with torch.random.fork_rng():
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    generated, logits = names["generated"], names["logits"]
    assert isinstance(generated, torch.Tensor)
    assert isinstance(logits, torch.Tensor)
    assert generated.shape[0] == 2
    assert logits.shape == (2, 1, 100)

"""docs/dataloader.md runs as written, over a folder as the pipeline leaves it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline_outputs import make_outputs

import ossicle
from ossicle.dataloader import VTCAdapter

PAGE = Path(__file__).parents[1] / "docs" / "dataloader.md"
RATE = 16_000


def test_the_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = make_outputs(Path("output/seedlings_1"), ids=[f"day_{day:02d}" for day in range(20)])
    adapter = VTCAdapter(outputs.root)
    Path("shards").mkdir()
    with ossicle.ShardWriter("shards/%03d.tar", max_samples=10) as writer:
        for number, wav_id in enumerate(outputs.ids):
            samples = round(outputs.durations[wav_id] * RATE)
            tone = np.sin(np.arange(samples) * (0.05 + 0.01 * number)).astype(np.float32)
            flac = ossicle.audio.encode(0.5 * tone, RATE, "flac")
            known = (
                {"vtc_merged": adapter.load(wav_id)["vtc_merged"]} if adapter.exists(wav_id) else {}
            )
            writer.write({"__key__": wav_id, "flac": flac, "json": known})
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)

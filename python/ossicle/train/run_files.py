"""What a run writes at its end: result.json, the ledger of skipped clips and the picture."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ossicle.faults import Fault, write_ledger
from ossicle.model import Projector
from ossicle.train.logs import METRICS
from ossicle.train.meter import StepCounts, bottleneck, figures
from ossicle.train.result import TrainResult
from ossicle.train.stages import STAGES, StageName

__all__ = ["FILES", "draw_layers", "summary", "write"]

FILES = ("config.yaml", METRICS, "result.json", "skipped.jsonl", "report.png", "layers.png")
"""The files that a run writes into its folder, beside its checkpoints."""


def summary(counts: StepCounts, processes: int, peak: float | None) -> dict[str, Any]:
    """The figures of a whole call, and what held it up, as `TrainResult` has them."""
    if not counts.steps:
        return {"figures": {}, "bottleneck": "no steps"}
    found = figures(counts, processes, peak)
    return {"figures": found, "bottleneck": bottleneck(found)}


def write(
    out: Path, result: TrainResult, stage: StageName, skipped: Sequence[Fault]
) -> TrainResult:
    """Writes ``report.png``, ``result.json`` and, where clips were left out, ``skipped.jsonl``.

    Returns:
        The result with the picture's path in it.
    """
    result = replace(result, report=_draw(out, result, STAGES[stage].title))
    text = json.dumps(result.to_json(), indent=2) + "\n"
    (out / "result.json").write_text(text, encoding="utf-8")
    ledger = out / "skipped.jsonl"
    if skipped:
        write_ledger(ledger, sorted(skipped, key=lambda fault: fault.row))
    else:
        ledger.unlink(missing_ok=True)  # of an earlier run in this folder
    return result


def draw_layers(out: Path, projector: Projector) -> Path | None:
    """Writes ``layers.png``, the weights of a learned mix; None without a mix or matplotlib."""
    weights = projector.layer_weights()
    if weights is None or importlib.util.find_spec("matplotlib") is None:
        return None
    from ossicle.train.report import draw_layer_weights

    return draw_layer_weights(out / "layers.png", weights.tolist())


def _draw(out: Path, result: TrainResult, title: str) -> Path | None:
    if importlib.util.find_spec("matplotlib") is None:
        warnings.warn(
            "no report.png without matplotlib: pip install 'ossicle[train]'", stacklevel=2
        )
        return None
    from ossicle.train.report import write_report

    return write_report(
        out / "report.png",
        result.losses,
        log_mel=result.log_mel,
        stages=result.stage_seconds,
        title=title,
        evaluations=result.evaluations,
        figures=result.figures,
        remarks=result.remarks,
    )

"""Writes the record of the weak-alignment experiment from its folder.

ossicle experiment weak-align runs/weak-align
python benches/weak_align.py runs/weak-align
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import harness

RECORD = Path(__file__).parent / "record" / "2026-11-21-weak-align"


def main(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    packages = ("ossicle", "torch", "transformers", "numpy", "jiwer")
    about = harness.machine() | harness.versions(packages)
    for name in ("encoder", "language"):  # a thousand numbers that losses.png shows
        losses = result["stages"][name].pop("losses")
        result["stages"][name]["last_loss"] = sum(losses[-25:]) / len(losses[-25:])
    RECORD.with_suffix(".json").write_text(json.dumps({"machine": about} | result, indent=1) + "\n")
    RECORD.with_suffix(".md").write_text(page(result, about))


def page(result: dict[str, Any], about: dict[str, Any]) -> str:
    control, stages = result["control"], result["stages"]
    encoder, language, projector = (stages[n] for n in ("encoder", "language", "projector"))
    words, last = result["words"], projector["evaluations"]
    lines = [
        "# 2026-11-21-weak-align",
        "",
        "`ossicle experiment weak-align`: a projector alone, between a frozen encoder and a frozen "
        f"language model. Held-out sentences: {control['clips']} clips, {control['tokens']:,} "
        f"tokens. Seconds: of one processor, every stage on one thread.",
        "",
        "| held-out text given | nats a token |",
        "| --- | ---: |",
        f"| the right audio | {control['right']:.3f} |",
        f"| another clip's audio | {control['shuffled']:.3f} |",
        f"| no audio | {control['none']:.3f} |",
        f"| **gap: another's - right** | **{control['gap']:.3f}** |",
        "",
        f"Word error rate of what the language model writes: {result['word_error_rate']:.1%} "
        f"({words['substitutions']} substitutions, {words['deletions']} deletions, "
        f"{words['insertions']} insertions, {words['words']} words).",
        "",
        "| stage | seconds | found |",
        "| --- | ---: | --- |",
        f"| encoder | {encoder['processor_seconds']} | {encoder['last_loss']:.3f} nats a letter at "
        f"the end, {encoder['held_out_words']['rate']:.1%} word errors of held-out clips by CTC |",
        f"| language model | {language['processor_seconds']} | held-out sentences: "
        f"{language['alone']:.3f} nats a token alone, {language['repeated']:.3f} behind themselves "
        "in a hurry |",
        f"| projector | {projector['processor_seconds']} | {len(projector['losses'])} steps |",
        "",
        "| step | right | another's | none | gap |",
        "| ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {at['step']:.0f} | {at['loss']:.3f} | {at['shuffled']:.3f} | {at['none']:.3f} | "
            f"{at['gap']:.3f} |"
            for at in last
        ),
        "",
        "Machine and versions:",
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

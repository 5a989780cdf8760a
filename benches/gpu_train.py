"""What the training code does on a GPU: the smoke in seconds, MFU and data wait of a d12.

    benches/gpu.sh                                # all of it, some minutes; writes benches/record/
    python benches/gpu_train.py --device cpu --tiny --no-record     # does the script work?

Without a CUDA device it says so and ends with 0.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

RECORD = Path(__file__).resolve().parent / "record"
GOAL_SECONDS, GOAL_LOSS, GOAL_MFU, GOAL_WAIT = 0.5, 0.3, 0.40, 0.02


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--tiny", action="store_true", help="sizes for a test of the script")
    parser.add_argument("--no-compile", action="store_true", help="the large steps run eagerly")
    parser.add_argument("--optimizer", default="adamw", choices=["adamw", "muon"])
    parser.add_argument("--peak-flops", type=float, help="of the device, in bfloat16, a second")
    parser.add_argument("--no-record", action="store_true", help="print alone, write nothing")
    parser.add_argument("--record-dir", type=Path, default=RECORD, help="where records go")
    return parser.parse_args()


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on."""
    import transformers

    import ossicle

    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else platform.machine()
    return {
        "device": name,
        "cuda": torch.version.cuda if cuda else None,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "ossicle": ossicle.__version__,
    }


def guarded(part: Callable[[], Any]) -> Any:
    """The part's result, or why it has none: the other parts are still worth having."""
    start = time.perf_counter()
    try:
        found = part()
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {error}"[:500]}
    print(f"... {time.perf_counter() - start:.0f} s", flush=True)
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    # Not at the top: without a GPU nothing of this is needed.
    import gpu_models
    import gpu_smoke
    import gpu_step

    device = torch.device(options.device)
    size = gpu_models.TINY if options.tiny else gpu_models.FULL
    torch.set_float32_matmul_precision("high")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("the smoke", flush=True)
        smoke = guarded(lambda: gpu_smoke.measure(folder, device, size))
        print("the large steps", flush=True)
        large = guarded(
            lambda: gpu_step.measure(
                folder,
                device,
                size,
                compiled=device.type == "cuda" and not options.no_compile,
                kind=options.optimizer,
                peak=options.peak_flops,
            )
        )
    return {
        "subject": "gpu",
        "machine": machine(device),
        "size": vars(size),
        "optimizer": options.optimizer,
        "compiled": not options.no_compile,
        "smoke": smoke,
        "large": large,
    }


def smoke_lines(found: list[dict[str, Any]] | dict[str, Any]) -> list[str]:
    lines = [
        "| smoke | seconds | warm-up s | first loss | last loss |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in [found] if isinstance(found, dict) else found:
        if "error" in row:
            lines.append(f"| {row.get('mode', 'all')} | failed: {row['error']} | | | |")
            continue
        cells = [f"{row['seconds']:.3f}", f"{row['warm_up_seconds']:.1f}"]
        cells += [f"{row['first_loss']:.4f}", f"{row['last_loss']:.4f}"]
        lines.append(f"| {row['mode']} | {' | '.join(cells)} |")
    return lines


def large_lines(found: dict[str, Any]) -> list[str]:
    lines = ["| large steps | |", "|---|---:|"]
    for name, value in found.items():
        if name != "table":
            shown = f"{value:,.4g}" if isinstance(value, float) else value
            lines.append(f"| {name.replace('_', ' ')} | {shown} |")
    return lines


def markdown(title: str, record: dict[str, Any]) -> str:
    """The record for people."""
    size = record["size"]
    layers, width, _ = size["encoder"]
    goals = f"""\
Smoke: {size["smoke_steps"]} steps on five sines padded to {size["smoke_seconds"]} s,
d{size["smoke_depth"]}, projector and model trained; goal: under {GOAL_SECONDS} s after warm-up,
loss below {GOAL_LOSS}. graph: the whole step is one CUDA graph. Large steps: frozen random encoder
of {layers} layers of {width}, d{size["depth"]}, clips of {size["clip_seconds"]} s with
{size["text"]} tokens, decoded from WAV and FLAC meanwhile; goal: MFU with the encoder at least
{GOAL_MFU:.0%}, data wait under {GOAL_WAIT:.0%}. MFU is the arithmetic of the models' formulas
(ossicle.train.flops) by the device's dense bfloat16 peak. resident: the same batch again and again,
on the device from the start.""".replace("\n", " ")
    lines = [f"# {title}", "", goals, "", *smoke_lines(record["smoke"])]
    lines += ["", *large_lines(record["large"])]
    lines += ["", "Machine and versions:", ""]
    lines += [f"- {name}: {fact}" for name, fact in record["machine"].items()]
    if table := record["large"].get("table"):
        lines += ["", "Three large steps under torch.profiler:", "", "```", table.rstrip(), "```"]
    return "\n".join(lines) + "\n"


def main() -> int:
    options = arguments()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: nothing was measured, the figures are owed")
        return 0
    record = measure(options)
    title = f"{datetime.date.today().isoformat()}-gpu"
    text = markdown(title, record)
    print(text)
    if not options.no_record:
        options.record_dir.mkdir(parents=True, exist_ok=True)
        (options.record_dir / f"{title}.md").write_text(text, encoding="utf-8")
        document = json.dumps(record, indent=1) + "\n"
        (options.record_dir / f"{title}.json").write_text(document, encoding="utf-8")
    return 1 if "error" in record["large"] or isinstance(record["smoke"], dict) else 0


if __name__ == "__main__":
    sys.exit(main())

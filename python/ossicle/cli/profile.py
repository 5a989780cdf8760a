"""``ossicle profile``: where the time goes between files and batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ossicle.cli.base import Bars, app, console, progress_bars, report_errors

if TYPE_CHECKING:
    from ossicle.stream.profile import Profile


@app.command(
    epilog="Examples:  [bold]ossicle profile 'data/train-*.tar'[/]   ·   "
    "[bold]ossicle profile clips.jsonl --features --step-ms 250 --page profile.html[/]   ·   "
    "[bold]ossicle profile folder --batch-seconds 240 --trace trace.json[/]"
)
def profile(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Shards, a manifest, a folder: what has clips.")
    ],
    seconds: Annotated[float, typer.Option(min=1, help="What it may take, about.")] = 20.0,
    batch: Annotated[int, typer.Option(min=1, help="Clips of a batch.")] = 16,
    batch_seconds: Annotated[
        float | None, typer.Option(help="Seconds of a batch, instead of --batch.")
    ] = None,
    rate: Annotated[int, typer.Option(help="Rate of the waveforms in Hz.")] = 16_000,
    features: Annotated[
        bool, typer.Option("--features", help="Log-mel features instead of waveforms.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="That decode (by default all processors).")
    ] = None,
    step_ms: Annotated[
        float, typer.Option(help="What a training step takes: how long does it wait?")
    ] = 0.0,
    page: Annotated[Path | None, typer.Option(help="Write a page of HTML with pictures.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write a trace for Perfetto.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure what reading, decoding, resampling and collating cost, and what would help.

    Each stage of a sample of clips by itself, then a stream of batches, then other numbers of
    threads. Run it on a quiet machine.
    """
    from ossicle.stream import AudioStream, LogMel, Plan, Seconds, Source, Waveforms
    from ossicle.stream.profile_page import write_page

    with report_errors():
        rule = batch if batch_seconds is None else Seconds(batch_seconds)
        plan = Plan(Source(data), rule, on_too_long="alone")
        decode = LogMel() if features else Waveforms(sample_rate=rate)
        stream = AudioStream(plan, decode=decode, threads=threads, max_bad_share=1.0)
        with progress_bars() as progress:
            bars = Bars(progress)
            found = stream.profile(
                seconds=seconds,
                step_seconds=step_ms / 1000,
                progress=lambda stage, done, total: bars(f"profile {stage}", done, total),
            )
        if page is not None:
            write_page(found, page)
        if trace is not None:
            found.trace.write_chrome(trace)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
        return
    _print(found)
    for path in filter(None, (page, trace)):
        console.print(f"wrote {path}", highlight=False)


def _print(found: Profile) -> None:
    stages = Table("format", "clips", "ms a clip", *_STAGES, box=None, header_style="bold")
    for name, one in found.formats.items():
        times = [getattr(one, stage) for stage in ("read_cold", *one.work())]
        total = sum(one.work().values())
        stages.add_row(name, str(one.clips), *(f"{value:.2f}" for value in (total, *times)))
    console.print(stages)
    rates = ", ".join(f"{rate:,.1f} on {n}" for n, rate in sorted(found.scaling.items()))
    lines = [
        f"{found.clips_per_second:,.1f} clips a second on {found.threads} threads, "
        f"{found.audio_seconds / found.seconds:,.0f} s of audio a second",
        f"first batch after {found.first_batch:.2f} s, {found.padding:.1%} padding",
        f"clips a second by threads: {rates}",
        f"{len(found.faults)} clips cannot be decoded" if found.faults else "",
        found.verdict,
    ]
    for line in filter(None, lines):
        console.print(line, highlight=False)


_STAGES = ("read cold", "read warm", "decode", "mix", "resample", "features", "copy")

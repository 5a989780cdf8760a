"""``ossicle decode``: a recording, or a range of it, to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import ossicle
from ossicle.atomic import replacing
from ossicle.audio.decoders import check_decoder
from ossicle.audio.resampling import check_quality
from ossicle.cli.base import (
    RawOption,
    app,
    console,
    errors,
    print_labelled,
    print_remarks,
    report_errors,
)
from ossicle.outputs import refuse_same_file


@app.command(
    epilog="Examples:  [bold]ossicle decode talk.m4a talk.wav --rate 16000[/]   ·   "
    "[bold]ossicle decode talk.mp3 cut.npy --offset 60 --duration 5[/]   ·   "
    "[bold]ossicle decode --conceal damaged.flac what_is_left.wav[/]   ·   "
    "[bold]ossicle decode --decoder both talk.mp3 talk.wav[/]"
)
def decode(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A recording.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="A .wav, .flac, .opus or .npy.")],
    rate: Annotated[int | None, typer.Option(help="Rate in Hz (by default its own).")] = None,
    mono: Annotated[bool, typer.Option(help="The mean of the channels, or all.")] = True,
    offset: Annotated[float, typer.Option(help="Where to begin, in seconds.")] = 0.0,
    duration: Annotated[float | None, typer.Option(help="How much to take, in seconds.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode all of it and compare its checksum, if any.")
    ] = False,
    conceal: Annotated[
        bool, typer.Option("--conceal", help="Replace damaged parts by silence, and list them.")
    ] = False,
    quality: Annotated[
        str, typer.Option(help="Of resampling: [bold]fast[/], [bold]high[/] or [bold]best[/].")
    ] = "high",
    strict: Annotated[
        bool, typer.Option("--strict", help="Also make remarks errors (see ossicle info).")
    ] = False,
    raw: RawOption = None,
    decoder: Annotated[
        str,
        typer.Option(
            help="[bold]native[/], [bold]symphonia[/], or [bold]both[/]: an error where they part."
        ),
    ] = "native",
) -> None:
    """Decode a recording, or a range of it, to WAV, FLAC (16 bit) or a NumPy array of float32.

    An array is (samples,), or (channels, samples) with --no-mono. Damage is an error, and nothing
    is written; with --conceal it is silence and a warning, and the exit code is 1 still. A
    wrong header of a file whose bytes are whole is a remark. A range after the end is empty, with a
    warning.
    """
    with report_errors():
        refuse_same_file([target], [source])
        call = ossicle.load_concealed if conceal else ossicle.load
        waveform, rate, *more = call(
            source,
            rate,
            mono=mono,
            offset=offset,
            duration=duration,
            verify=verify,
            quality=check_quality(quality),
            strict=strict,
            raw=raw,
            decoder=check_decoder(decoder),
        )
        gaps: list[ossicle.Gap] = more[0] if more else []
        if target.suffix == ".npy":
            with replacing(target) as partial, partial.open("wb") as file:
                np.save(file, waveform)
        else:
            ossicle.save(target, waveform, rate)
    _print_warnings(source, offset, raw)
    console.print(f"wrote {target}: {waveform.shape[-1]} samples at {rate} Hz", highlight=False)
    for gap in gaps:
        text = f"samples {gap.start} to {gap.end} are missing: {gap.error}"
        print_labelled("damage", text, colour="yellow")
    if gaps:
        raise typer.Exit(1)


def _print_warnings(source: Path, offset: float, raw: ossicle.RawFormat | None) -> None:
    """The remarks on a recording, and an offset past its end."""
    try:
        facts = ossicle.info(source, raw=raw)
    except ossicle.AudioError:
        return  # reported as damage
    print_remarks(errors, str(source), facts.remarks)
    if offset > 0 and offset >= facts.duration:
        text = f"the offset of {offset:g} s lies past the end of {source} at {facts.duration:g} s"
        print_labelled("warning", f"{text}: no samples", colour="yellow")

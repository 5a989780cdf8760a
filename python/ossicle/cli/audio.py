"""Commands on recordings: ``ossicle info``, ``decode``, ``features``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import ossicle
from ossicle.atomic import replacing
from ossicle.audio.resampling import check_quality
from ossicle.cli.base import app, console, errors, progress_bars, reported, require
from ossicle.outputs import refuse_same_file

# Files of one batch: progress shows, and only so many are in memory.
_FILES_AT_ONCE = 32


@app.command(
    epilog="Examples:  [bold]ossicle info *.mp3[/]   ·   [bold]ossicle info --json talk.m4a[/]"
)
def info(
    files: Annotated[list[Path], typer.Argument(help="Recordings.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Say what recordings hold, from their headers.

    What is careless in a file that is whole is a remark. A file that cannot be read is reported
    beside the others; the exit code is then 1.
    """
    facts = list(_facts(files))
    if as_json:
        for fact in facts:
            typer.echo(json.dumps(fact, ensure_ascii=False))
    else:
        _print_facts(facts)
    if any("error" in fact for fact in facts):
        raise typer.Exit(1)


@app.command(
    epilog="Examples:  [bold]ossicle decode talk.m4a talk.wav --rate 16000[/]   ·   "
    "[bold]ossicle decode talk.mp3 cut.npy --offset 60 --duration 5[/]   ·   "
    "[bold]ossicle decode --conceal damaged.flac what_is_left.wav[/]"
)
def decode(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A recording.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Ends in .wav, .flac or .npy.")],
    rate: Annotated[int | None, typer.Option(help="Rate in Hz (by default its own).")] = None,
    mono: Annotated[bool, typer.Option(help="The mean of the channels, or all.")] = True,
    offset: Annotated[float, typer.Option(help="Where to begin, in seconds.")] = 0.0,
    duration: Annotated[float | None, typer.Option(help="How much to take, in seconds.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode all of it and compare its checksum, if any.")
    ] = False,
    conceal: Annotated[
        bool, typer.Option("--conceal", help="Put silence for damaged parts, and say where.")
    ] = False,
    quality: Annotated[
        str, typer.Option(help="Of resampling: [bold]fast[/], [bold]high[/] or [bold]best[/].")
    ] = "high",
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse what is careless, too (see ossicle info).")
    ] = False,
) -> None:
    """Decode a recording, or a range of it, to WAV, FLAC (16 bit) or a NumPy array of float32.

    An array is (samples,), or (channels, samples) with --no-mono. Damage is an error, and nothing
    is written; with --conceal it is silence and a warning, and the exit code is 1 still. What is
    careless in a file that is whole is a remark. A range behind the end is empty, with a warning.
    """
    with reported():
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
        )
        gaps: list[ossicle.Gap] = more[0] if more else []
        if target.suffix == ".npy":
            with replacing(target) as partial, partial.open("wb") as file:
                np.save(file, waveform)
        else:
            ossicle.save(target, waveform, rate)
    _print_warnings(source, offset)
    console.print(f"wrote {target}: {waveform.shape[-1]} samples at {rate} Hz", highlight=False)
    for gap in gaps:
        errors.print("[bold yellow]damage:[/] ", end="")
        text = f"samples {gap.start} to {gap.end} are missing: {gap.error}"
        errors.print(text, markup=False, highlight=False)
    if gaps:
        raise typer.Exit(1)


@app.command(
    epilog="Examples:  [bold]ossicle features *.flac --out features.npz --n-mels 128[/]   ·   "
    "[bold]ossicle features talks/*.mp3 --out features --unpadded[/]   ·   "
    "[bold]ossicle features talk.m4a --unpadded --picture talk.png[/]"
)
def features(
    files: Annotated[list[Path], typer.Argument(help="Recordings.")],
    out: Annotated[
        Path | None, typer.Option(help="A file that ends in .npz, or a folder for an .npy of each.")
    ] = None,
    n_mels: Annotated[int, typer.Option(min=1, max=512, help="Mel bands.")] = 80,
    pad_to: Annotated[float, typer.Option(help="Pad or cut to so many seconds.")] = 30.0,
    unpadded: Annotated[
        bool, typer.Option("--unpadded", help="A clip's own frames alone.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the features of the one recording into this PNG.")
    ] = None,
) -> None:
    """Make Whisper's log-mel features of recordings, float32, 100 frames a second.

    An .npz holds input_features (clips, n-mels, frames), lengths (samples at 16 kHz), files and
    errors. What cannot be decoded is a row of zeros there, and reported; the exit code is 1.
    """
    if picture is not None:
        require("train", "matplotlib")
    seconds, failed = None if unpadded else pad_to, 0
    with reported():
        _check_targets(files, out, unpadded, picture)
        refuse_same_file(_outputs(files, out, picture), files)
        if picture is not None:
            _draw_features(picture, files[0], n_mels, seconds)
        if out is not None:
            failed = _write_features(out, files, n_mels, seconds)
    if failed:
        raise typer.Exit(1)


def _print_warnings(source: Path, offset: float) -> None:
    """What is careless in a recording that was read, and an offset that lies behind its end."""
    try:
        facts = ossicle.info(source)
    except ossicle.AudioError:
        return  # told as damage
    _print_remarks(errors, str(source), facts.remarks)
    if offset > 0 and offset >= facts.duration:
        text = f"the offset of {offset:g} s lies past the end of {source} at {facts.duration:g} s"
        errors.print("[bold yellow]warning:[/] ", end="")
        errors.print(f"{text}: no samples", markup=False, highlight=False)


def _print_remarks(to: Console, file: str, remarks: Sequence[str]) -> None:
    for remark in remarks:
        to.print("[bold yellow]remark:[/] ", end="")
        to.print(f"{file}: {remark}", markup=False, highlight=False)


def _facts(files: list[Path]) -> Iterator[dict[str, Any]]:
    """What each file holds, or the error that it ends in, as JSON's own types."""
    with progress_bars() as progress:
        for file in progress.track(files, description="reading"):
            try:
                fact = ossicle.info(file)
            except ossicle.AudioError as error:
                kind = type(error).__name__
                yield {
                    "file": str(file),
                    "error": kind,
                    "reason": error.reason,
                    "byte_offset": error.byte_offset,
                }
            else:
                yield {"file": str(file)} | asdict(fact) | {"duration": fact.duration}


def _print_facts(facts: list[dict[str, Any]]) -> None:
    table = Table()
    table.add_column("file", overflow="fold")
    for heading in ("container", "codec"):
        table.add_column(heading)
    for heading in ("Hz", "channels", "bits", "frames", "seconds"):
        table.add_column(heading, justify="right")
    for fact in facts:
        if "error" not in fact:
            numbers = (fact["sample_rate"], fact["channels"], fact["bits_per_sample"] or "")
            ends = (f"{fact['frames']:,}", f"{fact['duration']:,.2f}")
            texts = (fact["file"], fact["container"], fact["codec"])
            table.add_row(*map(escape, texts), *map(str, numbers), *ends)
    if table.row_count:
        console.print(table)
    for fact in facts:
        _print_remarks(console, fact["file"], fact.get("remarks", ()))
    for fact in facts:
        if "error" in fact:
            at = "" if fact["byte_offset"] is None else f" (byte {fact['byte_offset']})"
            text = f"{fact['error']}: {fact['file']}: {fact['reason']}{at}"
            errors.print(f"[bold red]error:[/] {escape(text)}", highlight=False)


def _check_targets(
    files: list[Path], out: Path | None, unpadded: bool, picture: Path | None
) -> None:
    if out is None and picture is None:
        raise ValueError("nothing to write: pass --out or --picture")
    if picture is not None and len(files) != 1:
        raise ValueError(f"--picture draws one recording, not {len(files)}")
    if out is None:
        return
    if out.suffix == ".npz" and unpadded:
        raise ValueError("rows of an .npz are of one length: with --unpadded, --out is a folder")
    names = [file.name for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if out.suffix != ".npz" and twice:
        raise ValueError(f"several recordings are called {', '.join(twice)}")


def _outputs(files: list[Path], out: Path | None, picture: Path | None) -> list[Path]:
    """Every file that `features` writes."""
    arrays = [] if out is None else [out]
    if out is not None and out.suffix != ".npz":
        arrays = [out / f"{file.name}.npy" for file in files]
    return arrays if picture is None else [*arrays, picture]


def _write_features(out: Path, files: list[Path], n_mels: int, seconds: float | None) -> int:
    """How many recordings could not be decoded."""
    is_archive = out.suffix == ".npz"
    (out.parent if is_archive else out).mkdir(parents=True, exist_ok=True)
    texts: list[str] = []
    batches = []
    for part, batch in _features(files, n_mels, seconds):
        texts += ["" if error is None else str(error) for error in batch.errors]
        if is_archive:
            batches.append(batch)
            continue
        for row, file in enumerate(part):
            if batch.errors[row] is None:
                own = batch.frames[row] if seconds is None else None
                array = batch.input_features[row, :, :own]
                with replacing(out / f"{file.name}.npy") as partial, partial.open("wb") as written:
                    np.save(written, array)
    if is_archive:
        with replacing(out) as partial, partial.open("wb") as written:
            np.savez(
                written,
                input_features=np.concatenate([batch.input_features for batch in batches]),
                lengths=np.concatenate([batch.lengths for batch in batches]),
                files=np.array([str(file) for file in files]),
                errors=np.array(texts),
            )
    failed = sum(map(bool, texts))
    console.print(f"wrote {out}: {len(files) - failed} of {len(files)}", highlight=False)
    return failed


def _features(
    files: list[Path], n_mels: int, seconds: float | None
) -> Iterator[tuple[list[Path], ossicle.FeatureBatch]]:
    with progress_bars() as progress:
        bar = progress.add_task("features", total=len(files))
        for start in range(0, len(files), _FILES_AT_ONCE):
            part = files[start : start + _FILES_AT_ONCE]
            batch = ossicle.load_features(
                part, n_mels=n_mels, pad_to_seconds=seconds, on_error="collect"
            )
            for error in filter(None, batch.errors):
                errors.print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
                errors.print(str(error), markup=False, highlight=False)
            yield part, batch
            progress.update(bar, completed=start + len(part))


def _draw_features(picture: Path, file: Path, n_mels: int, seconds: float | None) -> None:
    from ossicle.features.picture import draw_features

    waveform, rate = ossicle.load(file, 16_000, duration=seconds)
    log_mel = ossicle.log_mel_spectrogram(waveform, n_mels=n_mels, pad_to_seconds=seconds)
    bands, frames = log_mel.shape
    subtitle = f"{len(waveform) / rate:.2f} s, {bands} mel bands, {frames:,} frames"
    draw_features(picture, log_mel, waveform, title=file.name, subtitle=subtitle)
    console.print(f"wrote {picture}", highlight=False)

"""``ossicle features``: the log-mel features of recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import ossicle
from ossicle.atomic import replacing
from ossicle.cli.base import app, console, print_labelled, progress_bars, report_errors, require
from ossicle.outputs import refuse_same_file

# Files of one batch: progress shows, and only so many are in memory.
_FILES_AT_ONCE = 32


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
    pad_to: Annotated[float, typer.Option(help="Pad or cut to this number of seconds.")] = 30.0,
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
    with report_errors():
        _check_targets(files, out, unpadded, picture)
        refuse_same_file(_outputs(files, out, picture), files)
        if picture is not None:
            _draw_features(picture, files[0], n_mels, seconds)
        if out is not None:
            failed = _write_features(out, files, n_mels, seconds)
    if failed:
        raise typer.Exit(1)


def _check_targets(
    files: list[Path], out: Path | None, unpadded: bool, picture: Path | None
) -> None:
    if out is None and picture is None:
        raise ValueError("nothing to write: pass --out or --picture")
    if picture is not None and len(files) != 1:
        raise ValueError(f"--picture needs one recording, not {len(files)}")
    if out is None:
        return
    if out.suffix == ".npz" and unpadded:
        raise ValueError("rows of an .npz have one length: with --unpadded, --out must be a folder")
    names = [file.name for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if out.suffix != ".npz" and twice:
        raise ValueError(f"several recordings have the name {', '.join(twice)}")


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
                print_labelled("error", f"{type(error).__name__}: {error}")
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

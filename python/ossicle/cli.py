"""The command line: ``ossicle info``, ``decode``, ``demo``, ``train``, ``corpus``.

Thin: each command calls one function of the library, shows its progress and prints its result.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import ossicle
from ossicle.resampling import check_quality

if TYPE_CHECKING:
    from ossicle.demo import DemoResult
    from ossicle.train.align import AlignProgress, AlignResult

__all__ = ["app", "main"]

app = typer.Typer(
    name="ossicle",
    help="Carries sound from files to the model: decode, cache, collate, train.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    # A fault of ours shows Python's own trace, which reports can be made from.
    pretty_exceptions_enable=False,
)
corpus_app = typer.Typer(no_args_is_help=True, help="Make a small corpus of tones with words.")
train_app = typer.Typer(no_args_is_help=True, help="Train Whisper-projector-GPT.")
app.add_typer(corpus_app, name="corpus")
app.add_typer(train_app, name="train")

# Files of one batch: progress shows, and only so many are in memory.
_FILES_AT_ONCE = 32

console = Console()
errors = Console(stderr=True)


def main() -> None:
    """Entry point of the console script."""
    # Before PyTorch is loaded: on a busy machine its idle threads otherwise spin against those that
    # work, and training takes several times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        facts = ", ".join(f"{name} {value}" for name, value in sorted(ossicle.__build__.items()))
        console.print(f"ossicle {ossicle.__version__} ({facts})", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Carries sound from files to the model: decode, cache, collate, train."""


@app.command(
    epilog="Examples:  [bold]ossicle demo[/]   ·   "
    "[bold]ossicle demo --data my/manifest.jsonl --out my-demo[/]"
)
def demo(
    data: Annotated[
        Path | None, typer.Option(help="A manifest of your own (JSON lines: wav, text).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for corpus, cache and report.")] = Path("demo"),
    clips: Annotated[int, typer.Option(min=2, help="Clips to make without --data.")] = 24,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of the corpus and the training.")] = 0,
) -> None:
    """Go the whole path: make a corpus, decode, cache, collate, train, and say what took how long.

    Writes a picture, report.png, and the numbers, report.json.
    """
    _require_training()
    from ossicle import demo as library

    with _reported(), _progress() as progress:
        result = library.run(
            out, data=data, clips=clips, steps=steps, seed=seed, progress=_Bars(progress)
        )
    _print_demo(result)


@app.command(
    epilog="Examples:  [bold]ossicle info *.mp3[/]   ·   [bold]ossicle info --json talk.m4a[/]"
)
def info(
    files: Annotated[list[Path], typer.Argument(help="Recordings.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Say what recordings hold, from their headers.

    A file that cannot be read is reported beside the others; the exit code is then 1.
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
) -> None:
    """Decode a recording, or a range of it, to WAV, FLAC (16 bit) or a NumPy array of float32.

    An array is (samples,), or (channels, samples) with --no-mono. Damage is an error, and nothing
    is written; with --conceal it is silence and a warning, and the exit code is 1 still.
    """
    with _reported():
        gaps: list[ossicle.Gap] = []
        profile = check_quality(quality)
        if conceal:
            waveform, rate, gaps = ossicle.load(
                source,
                rate,
                mono=mono,
                offset=offset,
                duration=duration,
                verify=verify,
                on_error="conceal",
                quality=profile,
            )
        else:
            waveform, rate = ossicle.load(
                source,
                rate,
                mono=mono,
                offset=offset,
                duration=duration,
                verify=verify,
                quality=profile,
            )
        if target.suffix == ".npy":
            np.save(target, waveform)
        else:
            ossicle.save(target, waveform, rate)
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
        _require("train", "matplotlib")
    seconds, failed = None if unpadded else pad_to, 0
    with _reported():
        _check_targets(files, out, unpadded, picture)
        if picture is not None:
            _draw_features(picture, files[0], n_mels, seconds)
        if out is not None:
            failed = _write_features(out, files, n_mels, seconds)
    if failed:
        raise typer.Exit(1)


@corpus_app.command("sines", epilog="Example:  [bold]ossicle corpus sines data/audio_smoke[/]")
def corpus_sines(
    folder: Annotated[Path, typer.Argument(help="Where to put the clips and manifest.jsonl.")],
) -> None:
    """Make five sines of five seconds with five texts: the smallest set that can be learned."""
    from ossicle.corpus import make_sines

    with _reported():
        console.print(f"wrote {make_sines(folder)}", highlight=False)


@corpus_app.command("demo", epilog="Example:  [bold]ossicle corpus demo data/tones --clips 100[/]")
def corpus_demo(
    folder: Annotated[Path, typer.Argument(help="Where to put the clips and manifest.jsonl.")],
    clips: Annotated[int, typer.Option(min=1, help="How many.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Of lengths, phases and noise.")] = 0,
) -> None:
    """Make tones in WAV, FLAC and (with an encoder at hand) MP3, at five rates, mono and stereo."""
    from ossicle.corpus import make_demo

    with _reported(), _progress() as progress:
        bars = _Bars(progress)
        manifest = make_demo(
            folder, clips=clips, seed=seed, on_clip=lambda done: bars("corpus", done, clips)
        )
    console.print(f"wrote {manifest}", highlight=False)


@train_app.command(
    "align",
    epilog="Examples:  [bold]ossicle train align --data data/manifest.jsonl --out run[/]   ·   "
    "offline: [bold]ossicle train align --data data/manifest.jsonl --whisper tiny-random[/]",
)
def train_align(
    data: Annotated[Path, typer.Option(help="Manifest (JSON lines: wav or audio_path, text).")],
    whisper: Annotated[
        str, typer.Option(help="Model id on a hub, a local folder, or tiny-random.")
    ] = "openai/whisper-base",
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of the whole run.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and of the clips' order.")] = 0,
    lr: Annotated[float, typer.Option(help="Learning rate of AdamW.")] = 3e-3,
    out: Annotated[Path | None, typer.Option(help="Folder for checkpoints and report.")] = None,
    save_every: Annotated[
        int, typer.Option(min=0, help="Steps between checkpoints; 0 saves the last alone.")
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what is in --out.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the checkpoints in --out first.")
    ] = False,
    stack: Annotated[
        int | None,
        typer.Option(
            min=1, help="Encoder frames in a soft token (by default 1 on CUDA, 4 on CPU)."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips a step (by default all up to 32, else 16).")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda or cpu (by default CUDA where there is one).")
    ] = None,
) -> None:
    """Align a frozen Whisper encoder with a small GPT: projector and GPT learn, the loss must fall.

    Fails when the loss falls by less than 0.5 nats a token.
    """
    _require_training()
    from ossicle.train import align

    with _reported(), _progress() as progress:
        bars = _Bars(progress)

        def show(at: AlignProgress) -> None:
            loss = "" if at.loss is None else f"loss {at.loss:.3f}"
            bars(f"{at.stage} {loss}".strip(), at.step, at.steps)

        config = align.AlignConfig(
            data,
            whisper=whisper,
            steps=steps,
            seed=seed,
            lr=lr,
            out=out,
            save_every=save_every,
            resume=resume,
            overwrite=overwrite,
            stack=stack,
            batch_size=batch_size,
            device=device,
        )
        result = align.run(config, progress=show)
    _print_training(result)


def _facts(files: list[Path]) -> Iterator[dict[str, Any]]:
    """What each file holds, or the error that it ends in, as JSON's own types."""
    with _progress() as progress:
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
                np.save(out / f"{file.name}.npy", batch.input_features[row, :, :own])
    if is_archive:
        np.savez(
            out,
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
    with _progress() as progress:
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
    from ossicle.picture import draw_features

    waveform, rate = ossicle.load(file, 16_000, duration=seconds)
    log_mel = ossicle.log_mel_spectrogram(waveform, n_mels=n_mels, pad_to_seconds=seconds)
    bands, frames = log_mel.shape
    subtitle = f"{len(waveform) / rate:.2f} s, {bands} mel bands, {frames:,} frames"
    draw_features(picture, log_mel, waveform, title=file.name, subtitle=subtitle)
    console.print(f"wrote {picture}", highlight=False)


class _Bars:
    """One bar for each stage, made when the stage begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        # The first word names the bar; what follows may change.
        name = stage.split(" ", 1)[0]
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(stage, total=total)
        self._progress.update(self._bars[name], description=stage, completed=done, total=total)


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=errors, transient=True)


@contextmanager
def _reported() -> Iterator[None]:
    """Turns what users can mend into one line and exit code 1; faults of ours keep their trace."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        errors.print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
        errors.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from error


def _require_training() -> None:
    _require("train", "torch", "transformers")


def _require(extra: str, *packages: str) -> None:
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    if missing:
        errors.print(f"[bold red]error:[/] {' and '.join(missing)} not installed: ", end="")
        errors.print(f'pip install "ossicle[{extra}]"', markup=False)
        raise typer.Exit(1)


def _print_demo(result: DemoResult) -> None:
    total = sum(stage.seconds for stage in result.stages)
    table = Table(title="Throughput by stage", title_justify="left")
    table.add_column("stage")
    for heading in ("clips", "seconds", "clips/s", "audio s/s", "share"):
        table.add_column(heading, justify="right")
    for stage in result.stages:
        table.add_row(
            stage.name,
            f"{stage.clips:,}",
            f"{stage.seconds:.3f}",
            f"{stage.clips_per_second:,.0f}",
            f"{stage.speed:,.0f}",
            f"{stage.seconds / total:.1%}",
        )
    console.print(table)
    kinds = sorted({f"{fact.codec}@{fact.sample_rate}" for fact in result.facts})
    console.print(f"{len(result.facts)} clips: {', '.join(kinds)}", highlight=False)
    _print_losses(result.training)
    for path in filter(None, (result.report, result.numbers)):
        console.print(f"wrote {path}", highlight=False)


def _print_training(result: AlignResult) -> None:
    _print_losses(result)
    speed = result.audio_seconds / max(result.seconds, 1e-9)
    console.print(
        f"{result.clips} clips, {result.parameters:,} trained parameters, {result.seconds:.1f} s "
        f"on {result.device}, {speed:,.0f} s of audio a second",
        highlight=False,
    )
    for path in filter(None, (result.checkpoint, result.report)):
        console.print(f"wrote {path}", highlight=False)


def _print_losses(result: AlignResult) -> None:
    first, last = result.losses[0], result.losses[-1]
    console.print(
        f"loss {first:.3f} -> {last:.3f} nats a token in {len(result.losses)} steps",
        highlight=False,
    )

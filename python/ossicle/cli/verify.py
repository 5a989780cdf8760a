"""``ossicle verify``: what is damaged in shards and recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ossicle.audio.decoders import check_decoder
from ossicle.cli.base import (
    Bars,
    RawOption,
    app,
    console,
    print_fault,
    print_labelled,
    progress_bars,
    report_errors,
)

if TYPE_CHECKING:
    from ossicle.shard.verify import Remark


@app.command(
    epilog="Examples:  [bold]ossicle verify shards/*.tar[/]   ·   "
    "[bold]ossicle verify --decode --json train-000.tar[/]   ·   "
    "[bold]ossicle verify --decoder both train-000.tar talks/*.mp3[/]"
)
def verify(
    paths: Annotated[list[Path], typer.Argument(help="Tar shards, and recordings.")],
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode all audio too, with its checksums.")
    ] = False,
    decoder: Annotated[
        str,
        typer.Option(
            help="Decode with [bold]native[/], [bold]symphonia[/] or [bold]both[/]; "
            "a disagreement is damage. Another than native decodes all audio."
        ),
    ] = "native",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Shards read at a time (by default one a processor).")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for remarks on recordings, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    raw: RawOption = None,
) -> None:
    """Read shards and recordings to their last byte and say what is damaged; exit with 1 then.

    Wrong headers of recordings whose bytes are whole are remarks, which change no exit code.

    Payloads of shards are compared with the SHA-256 of an index beside the shard (see [bold]ossicle
    index[/]); without one only headers can be checked, and with --decode what the audio says of
    itself. Recordings of their own, known by their suffix, are decoded; with --raw all paths that
    are no tar are recordings without a header.
    """
    from ossicle.shard import verify as checks

    shards: list[Path] = []
    recordings: list[Path] = []
    for path in paths:
        (recordings if _is_recording(path, raw is not None) else shards).append(path)
    with report_errors(), progress_bars(in_bytes=True) as progress:
        name, bars = check_decoder(decoder), Bars(progress)
        faults = checks.verify_shards(
            shards,
            decode=decode or name != "native",
            decoder=name,
            threads=threads,
            progress=lambda done, total: bars("verify", done, total),
        )
        remarks = checks.shard_remarks(shards, threads=threads)
    with report_errors(), progress_bars() as progress:
        bars = Bars(progress)
        more = checks.verify_recordings(
            recordings,
            decoder=name,
            threads=threads,
            progress=lambda done, total: bars("decode", done, total),
            raw=raw,
        )
        remarks += checks.recording_remarks(recordings, threads=threads, raw=raw)
    faults = faults.vstack(more)
    for row in faults.iter_rows(named=True):
        if as_json:
            typer.echo(json.dumps(row, ensure_ascii=False))
        else:
            print_fault(row)
    for remark in remarks:
        if as_json:
            typer.echo(json.dumps(remark._asdict(), ensure_ascii=False))
        else:
            _print_remark(remark, strict)
    if not as_json:
        damaged = faults["shard"].n_unique()
        careless = f", {len(remarks):,} remarks" if remarks else ""
        kinds = ("shards" if shards else "", "recordings" if recordings else "")
        what = " and ".join(filter(None, kinds))
        whole = f"{len(paths) - damaged} of {len(paths)} {what} are whole{careless}"
        console.print(whole, highlight=False)
    if not faults.is_empty() or (strict and remarks):
        raise typer.Exit(1)


def _is_recording(path: Path, is_raw: bool) -> bool:
    from ossicle.shard import AUDIO_EXTENSIONS

    suffix = path.suffix[1:].lower()
    return suffix != "tar" if is_raw else suffix in AUDIO_EXTENSIONS


def _print_remark(remark: Remark, strict: bool) -> None:
    label, colour = ("error", "red") if strict else ("remark", "yellow")
    member = "" if remark.member is None else f" [{remark.member}]"
    text = f"{remark.shard}{member}: {remark.remark}"
    print_labelled(label, text, colour=colour)

"""Commands that run frozen encoders ahead of training: ``ossicle extract``."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ossicle.cli.base import (
    Bars,
    app,
    console,
    print_labelled,
    progress_bars,
    report_errors,
    require,
)

if TYPE_CHECKING:
    from ossicle.extract import ExtractResult
    from ossicle.model.encoder import Encoder

extract_app = typer.Typer(no_args_is_help=True, help="Run a frozen encoder ahead of training.")
app.add_typer(extract_app, name="extract")

# Faults of many clips are in the ledger; these are shown.
_SHOWN = 10


class TooLong(StrEnum):
    """What becomes of clips that are too long."""

    DROP = "drop"
    CUT = "cut"
    ERROR = "error"


class Dtype(StrEnum):
    """Of an encoder's weights and activations."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@extract_app.command(
    "whisper",
    epilog="Examples:  "
    "[bold]ossicle extract whisper train.jsonl feats-%06d.tar[/]   ·   "
    "[bold]ossicle extract whisper train.jsonl feats-%06d.tar --layer all --max-bytes 2e9[/]   ·   "
    "offline: [bold]ossicle extract whisper train.jsonl feats-%06d.tar --whisper tiny-random[/]",
)
def extract_whisper(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Clips and texts in any format of ossicle data."),
    ],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Shards, with a field for their number: f-%06d.tar."),
    ],
    whisper: Annotated[
        str, typer.Option(help="Model id on a hub, a local folder, or tiny-random.")
    ] = "openai/whisper-base",
    layer: Annotated[
        str, typer.Option(help="last, all, or a number: 0 is what enters the first layer.")
    ] = "last",
    max_bytes: Annotated[
        float, typer.Option(min=1, help="Begin another shard before this size, as in 2e9.")
    ] = 1e9,
    max_seconds: Annotated[
        float, typer.Option(help="The most of a clip that is taken; 30 at most.")
    ] = 30.0,
    too_long: Annotated[
        TooLong,
        typer.Option(help="Longer clips: left out, cut (with the whole text), or an error."),
    ] = TooLong.DROP,
    form: Annotated[
        str | None, typer.Option("--format", help="The format of DATA (else it is recognised).")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The folder that paths are relative to (else that of DATA).")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="What columns mean, as audio=my_path,text=words.")
    ] = None,
    batch_seconds: Annotated[
        float | None, typer.Option(help="Sound in a forward pass (else 30 on CPU, 960 on CUDA).")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="That decode (by default all processors).")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda or cpu (by default CUDA where there is one).")
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="Of the encoder; auto is bfloat16 on CUDA, else float32.")
    ] = Dtype.AUTO,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the shards that are there, begin anew.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the frames that a frozen Whisper encoder makes of clips to tar shards.

    Frames are bfloat16, with the text, the length and the encoder's fingerprint beside them. Stop
    and start again as you like: whole shards are kept. Clips that cannot be used are listed in
    OUT.faults.jsonl; the exit code is then 1.
    """
    require("torch", "torch", "transformers")
    from ossicle import extract
    from ossicle.train.config import columns_of

    with report_errors(), progress_bars() as progress:
        bars = Bars(progress)
        result = extract.extract_whisper(
            data,
            out,
            _encoder(whisper, layer, device, dtype),
            max_bytes=int(max_bytes),
            max_seconds=max_seconds,
            batch_seconds=batch_seconds,
            threads=threads,
            overwrite=overwrite,
            too_long=too_long.value,
            format=form,
            root=root,
            columns=columns_of(columns),
            progress=lambda done, total: bars("extract", done, total),
        )
    _report(result, out, as_json=as_json)
    if result.faults:
        raise typer.Exit(1)


def _encoder(whisper: str, layer: str, device: str | None, dtype: Dtype) -> Encoder:
    import torch

    from ossicle.model.encoder import load_encoder

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if dtype is Dtype.AUTO:
        dtype = Dtype.FLOAT32 if torch.device(device).type == "cpu" else Dtype.BFLOAT16
    return load_encoder(whisper, device=device, dtype=getattr(torch, dtype.value), layer=layer)


def _report(result: ExtractResult, out: Path, *, as_json: bool) -> None:
    for fault in result.faults[:_SHOWN]:
        text = f"row {fault.row}: {fault.error}: {fault.file}: {fault.reason}"
        print_labelled("error", text)
    if result.faults:
        text = f"{len(result.faults):,} rows left out, listed in {result.ledger}"
        print_labelled("error", text)
    if as_json:
        facts = {
            "shards": [str(path) for path in result.shards],
            "rows": result.rows,
            "clips": result.clips,
            "new": result.new,
            "new_seconds": result.new_seconds,
            "faults": len(result.faults),
            "cut": result.cut,
            "fingerprint": result.fingerprint,
        }
        typer.echo(json.dumps(facts))
        return
    megabytes = sum(path.stat().st_size for path in result.shards) / 1e6
    console.print(
        f"wrote {out}: {result.counts}, {result.new:,} new, {result.cut:,} cut, in "
        f"{len(result.shards):,} shards, {megabytes:,.1f} MB, by the encoder "
        f"{result.fingerprint[:12]}",
        markup=False,
        highlight=False,
    )

"""``ossicle corpus``: small corpora that are made here, of tones and of speech."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ossicle.cli.base import Bars, app, claim_output, console, progress_bars, report_errors
from ossicle.experiment.spoken import Speaker, SpokenConfig

corpus_app = typer.Typer(no_args_is_help=True, help="Make a small corpus of tones with words.")
app.add_typer(corpus_app, name="corpus")

DEFAULTS = SpokenConfig()


@corpus_app.command("sines", epilog="Example:  [bold]ossicle corpus sines data/audio_smoke[/]")
def corpus_sines(
    folder: Annotated[Path, typer.Argument(help="Where to put the clips and manifest.jsonl.")],
) -> None:
    """Make five sines of five seconds with five texts: the smallest set that can be learned."""
    from ossicle.experiment.corpus import claim, make_sines

    claim_output(claim, folder, "FOLDER")
    with report_errors():
        console.print(f"wrote {make_sines(folder)}", highlight=False)


@corpus_app.command("demo", epilog="Example:  [bold]ossicle corpus demo data/tones --clips 100[/]")
def corpus_demo(
    folder: Annotated[Path, typer.Argument(help="Where to put the clips and manifest.jsonl.")],
    clips: Annotated[int, typer.Option(min=1, help="How many.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Of lengths, phases and noise.")] = 0,
) -> None:
    """Make tones in WAV, FLAC and (with an encoder at hand) MP3, at five rates, mono and stereo."""
    from ossicle.experiment.corpus import claim, make_demo

    claim_output(claim, folder, "FOLDER")
    with report_errors(), progress_bars() as progress:
        bars = Bars(progress)
        manifest = make_demo(
            folder, clips=clips, seed=seed, on_clip=lambda done: bars("corpus", done, clips)
        )
    console.print(f"wrote {manifest}", highlight=False)


@corpus_app.command(
    "spoken",
    epilog="Examples:  [bold]ossicle corpus spoken data/spoken[/]   ·   without espeak-ng: "
    "[bold]ossicle corpus spoken data/spoken --speaker tones[/]",
)
def corpus_spoken(
    folder: Annotated[Path, typer.Argument(help="Where to put clips, manifests and texts.")],
    clips: Annotated[int, typer.Option(min=1, help="Clips to train on.")] = DEFAULTS.clips,
    held_out: Annotated[
        int, typer.Option(min=1, help="Clips whose sentences are in no other part.")
    ] = DEFAULTS.held_out,
    texts: Annotated[
        int, typer.Option(min=1, help="Sentences without sound, for a language model.")
    ] = DEFAULTS.texts,
    seed: Annotated[int, typer.Option(min=0, help="Of sentences and voices.")] = DEFAULTS.seed,
    speaker: Annotated[
        Speaker, typer.Option(help="espeak-ng, or tones that spell the letters.")
    ] = DEFAULTS.speaker,
) -> None:
    """Make speech: espeak-ng says sentences of a small grammar in several voices and rates.

    Writes train.jsonl, held-out.jsonl and texts.txt. An interrupted call can be repeated.
    """
    from ossicle.experiment.spoken import make_spoken

    with report_errors(), progress_bars() as progress:
        bars = Bars(progress)
        config = SpokenConfig(clips, held_out, texts, seed, speaker)
        paths = make_spoken(folder, config, on_clip=lambda done, total: bars("clips", done, total))
    for path in paths:
        console.print(f"wrote {path}", highlight=False)

"""Ossicle side by side with what one would pick instead, in one run.

    uv run --group bench benches/peers.py decode
    uv run --group bench benches/peers.py decode --only flac --only mp3 --rounds 31
    uv run --group bench benches/peers.py decode --quick

Each subject is a module `peers_<subject>.py`; benches/README.md says how to add one.
"""

from __future__ import annotations

from pathlib import Path

import harness

harness.one_thread()  # before the libraries that read their number of threads when imported

import peers_adapters  # noqa: E402
import peers_batch  # noqa: E402
import peers_cache  # noqa: E402
import peers_clips_by_id  # noqa: E402
import peers_collate  # noqa: E402
import peers_decode  # noqa: E402
import peers_decoders  # noqa: E402
import peers_encoder  # noqa: E402
import peers_long  # noqa: E402
import peers_manifest  # noqa: E402
import peers_mel  # noqa: E402
import peers_pad  # noqa: E402
import peers_range  # noqa: E402
import peers_resample  # noqa: E402
import peers_rows  # noqa: E402
import peers_shard  # noqa: E402
import peers_speech  # noqa: E402
import peers_stream  # noqa: E402
import peers_train  # noqa: E402
import typer  # noqa: E402

app = typer.Typer(help=__doc__, rich_markup_mode=None, no_args_is_help=True, add_completion=False)
app.command("decode")(peers_decode.main)
app.command("decoders")(peers_decoders.main)
app.command("adapters")(peers_adapters.main)
app.command("batch")(peers_batch.main)
app.command("cache")(peers_cache.main)
app.command("collate")(peers_collate.main)
app.command("encoder")(peers_encoder.main)
app.command("ids")(peers_clips_by_id.main)
app.command("long")(peers_long.main)
app.command("manifest")(peers_manifest.main)
app.command("mel")(peers_mel.main)
app.command("pad")(peers_pad.main)
app.command("range")(peers_range.main)
app.command("resample")(peers_resample.main)
app.command("rows")(peers_rows.main)
app.command("shard")(peers_shard.main)
app.command("speech")(peers_speech.main)
app.command("stream")(peers_stream.main)
app.command("train")(peers_train.main)


@app.command()
def clips(folder: Path) -> None:
    """Writes the files that `decode` measures into FOLDER, for the Rust benches."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in peers_decode.clips(list(peers_decode.ENCODERS), quick=False):
        print(clip.write(folder).name)


if __name__ == "__main__":
    app()

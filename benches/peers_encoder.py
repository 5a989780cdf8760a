"""Whisper's encoder on clips shorter than 30 s, against Hugging Face's, which pads them to it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import harness
import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.progress import track
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder as TheirEncoder

from ossicle.model import WhisperEncoder

RATE = 16_000
PACKAGES = ("ossicle", "numpy", "torch", "transformers")
METHOD = """\
An encoder of whisper-base's shape (6 layers, 512 channels, 80 mels, random weights), float32. Rows
"encoder" go from log-mel features in memory to the last hidden states, rows "waveform" from 16 kHz
mono in memory. HF is transformers' WhisperEncoder with its own feature extractor, which pads each
clip to 30 s and takes nothing else; ours has the clips' own frames, several lengths packed. One
thread on one processor, garbage collector off, contestants interleaved in an order shuffled for
each round. Ratio: processor time of the peer / ours, the median of the rounds' own ratios; above 1
we are faster. Milliseconds: our fastest call. Before anything is timed, both give the same on 30 s
within 1e-5.""".replace("\n", " ")
TOLERANCE = 1e-5
# Seconds of each clip of a batch.
SHAPES = {
    "30 s": [30.0],
    "1 s": [1.0],
    "5 s": [5.0],
    "4 of 5 s": [5.0] * 4,
    "6 of 2 to 20 s": [2.0, 3.0, 5.0, 8.0, 13.0, 20.0],
}
QUICK = ("30 s", "5 s")


def encoders(folder: Path) -> tuple[WhisperEncoder, Any]:
    """Ours and Hugging Face's, of the same weights."""
    config = WhisperConfig(
        d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048
    )
    torch.manual_seed(0)
    theirs = TheirEncoder(config).eval()
    theirs.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    return WhisperEncoder(str(folder)), theirs


def noise(seconds: float, seed: int) -> npt.NDArray[np.float32]:
    samples = round(seconds * RATE)
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@torch.no_grad()
def _theirs(encoder: Any, features: torch.Tensor) -> torch.Tensor:
    return encoder(features).last_hidden_state


def _theirs_from_waveforms(
    encoder: Any, extractor: Any, clips: list[npt.NDArray[np.float32]]
) -> torch.Tensor:
    found = extractor(clips, sampling_rate=RATE, return_tensors="pt")
    return _theirs(encoder, found["input_features"])


def _ours_from_waveforms(
    encoder: WhisperEncoder, clips: list[npt.NDArray[np.float32]]
) -> torch.Tensor:
    return encoder(*encoder.preprocess(clips))


def contestants(
    ours: WhisperEncoder, theirs: Any, seconds: list[float]
) -> dict[str, dict[str, Callable[[], torch.Tensor]]]:
    """What each does with clips of some lengths, from features and from waveforms."""
    clips = [noise(length, seed) for seed, length in enumerate(seconds)]
    own, lengths = ours.preprocess(clips)
    padded, _ = ours.preprocess(clips, pad_to_seconds=30.0)
    extractor = ours.feature_extractor
    return {
        "encoder": {
            harness.OURS: partial(ours, own, lengths),
            "HF": partial(_theirs, theirs, padded),
        },
        "waveform": {
            harness.OURS: partial(_ours_from_waveforms, ours, clips),
            "HF": partial(_theirs_from_waveforms, theirs, extractor, clips),
        },
    }


def check(ours: WhisperEncoder, theirs: Any) -> float:
    """How far the two lie apart on 30 s.

    Raises:
        RuntimeError: Further than they may.
    """
    features, _ = ours.preprocess([noise(30.0, 0)])
    error = float((ours(features) - _theirs(theirs, features)).abs().max())
    if error > TOLERANCE:
        raise RuntimeError(f"30 s differ by {error:.1e} from Hugging Face's")
    return error


def rows(rounds: int, quick: bool = False) -> tuple[list[harness.Row], float]:
    """The rows, and how far ours lies from Hugging Face's on 30 s."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = encoders(Path(folder))
    error = check(ours, theirs)
    shapes = {name: SHAPES[name] for name in QUICK} if quick else SHAPES
    for name, seconds in track(shapes.items(), "encoder", transient=True):
        for kind, racing in contestants(ours, theirs, seconds).items():
            found.append(harness.race(harness.Row(f"{kind}, {name}"), racing, rounds))
    return found, error


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 5,
    quick: Annotated[
        bool, typer.Option("--quick", help="1 round, 2 lengths, no record: does it work?")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """Whisper's encoder on short clips: ours against Hugging Face's, padded to 30 s.

    For example: `peers.py encoder` (with a record), `peers.py encoder --quick`.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
    found, error = rows(1 if quick else rounds, quick)
    facts["largest difference on 30 s"] = f"{error:.1e}"
    harness.show("encoder", found, ["HF"], console)
    if write and not quick:
        for file in harness.record("encoder", found, ["HF"], facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")

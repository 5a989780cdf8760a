"""Clips of many lengths to a padded batch with its mask, against the usual ways to pad."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, TypeAlias

import harness
import numpy as np
import torch
import typer
from peers_decode import only_if
from rich.console import Console
from torch.nn.utils.rnn import pad_sequence
from transformers import Wav2Vec2FeatureExtractor

from ossicle.dataloader import SpeechCollator

Sample: TypeAlias = "tuple[torch.Tensor, int, dict[str, str]]"
# Samples -> (B, C, T) and (B, T).
Contestant: TypeAlias = Callable[[list[Sample]], tuple[torch.Tensor, torch.Tensor]]

RATE = 16_000
SHAPES = ((8, 1), (32, 1), (128, 1), (32, 2))
PACKAGES = ("torch", "transformers", "numpy")
METHOD = """\
Clips of 0.3 to 30 s at 16 kHz, as long as those of an ASR corpus are, in float32 tensors of
(channels, samples) in memory, to one padded tensor and the mask of what is no padding, as every
model needs both. One thread on one processor, contestants interleaved. Ratio: processor time of
the peer / ours, the median of the rounds' own ratios; above 1 we are faster. No one is timed whose
batch or mask differs from ours.""".replace("\n", " ")

_collator = SpeechCollator()
_extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)


def ours(samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    batch = _collator(samples)
    return batch.waveforms, batch.attention_mask


def with_pad_sequence(samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    padded = pad_sequence([waveform.T for waveform, _, _ in samples], batch_first=True).mT
    lengths = torch.tensor([waveform.shape[1] for waveform, _, _ in samples])
    return padded, torch.arange(padded.shape[2]) < lengths[:, None]


def with_stack(samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(waveform.shape[1] for waveform, _, _ in samples)
    pad = torch.nn.functional.pad
    rows = [pad(waveform, (0, longest - waveform.shape[1])) for waveform, _, _ in samples]
    ones = [torch.ones(waveform.shape[1], dtype=torch.bool) for waveform, _, _ in samples]
    masks = [pad(one, (0, longest - len(one))) for one in ones]
    return torch.stack(rows), torch.stack(masks)


def with_extractor(samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    only_if(len(samples[0][0]) == 1, "one channel only")
    rows = [waveform[0].numpy() for waveform, _, _ in samples]
    batch = _extractor(rows, sampling_rate=RATE, padding=True, return_tensors="pt")
    return batch["input_values"][:, None], batch["attention_mask"]


CONTESTANTS: dict[str, Contestant] = {
    harness.OURS: ours,
    "torch pad_sequence": with_pad_sequence,
    "torch pad and stack": with_stack,
    "transformers extractor": with_extractor,
}


def samples_of(rows: int, channels: int) -> list[Sample]:
    generator = np.random.default_rng(0)
    seconds = np.clip(generator.gamma(2.2, 4.0, rows), 0.3, 30.0)
    clips = [generator.normal(size=(channels, round(s * RATE))).astype(np.float32) for s in seconds]
    return [(torch.from_numpy(clip), RATE, {"wav_id": str(at)}) for at, clip in enumerate(clips)]


def time_row(rows: int, channels: int, rounds: int) -> harness.Row:
    row = harness.Row(f"{rows} clips, {channels} ch")
    samples = samples_of(rows, channels)
    padded, mask = ours(samples)
    able = {}
    for name, work in CONTESTANTS.items():
        try:
            found = work(samples)
            only_if(torch.equal(found[0], padded), "another batch")
            only_if(torch.equal(found[1].bool(), mask), "another mask")
            able[name] = lambda work=work: work(samples)
        except Exception as error:
            row.missing[name] = harness.reason(error)
    return harness.race(row, able, rounds)


def main(
    rounds: Annotated[int, typer.Option(help="Rounds of each row.")] = 15,
    quick: Annotated[bool, typer.Option(help="Three rounds, no record.")] = False,
) -> None:
    """Clips of many lengths to a padded batch with its mask."""
    console = Console(file=sys.stdout)
    rows = []
    for count, channels in SHAPES:
        with console.status(f"{count} clips of {channels} channels"):
            rows.append(time_row(count, channels, 3 if quick else rounds))
    peers = [name for name in CONTESTANTS if name != harness.OURS]
    harness.show("clips to a batch", rows, peers, console)
    if not quick:
        facts = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
        for path in harness.record("pad", rows, peers, facts, METHOD):
            console.print(f"written: benches/record/{path.name}")


if __name__ == "__main__":
    typer.run(main)

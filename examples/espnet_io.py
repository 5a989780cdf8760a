"""From files to the tokens of an audio tower, as ESPnet's SpeechLM does it with ContinuousAudioIO.

    python examples/espnet_io.py FILE... [--model Qwen/Qwen2.5-Omni-7B] [--workers 2]

Without ``--model`` the tower is random and tiny, so that this runs anywhere without a hub. ESPnet
is not needed; docs/espnet.md says how its own training takes this up.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoderConfig,
)

import ossicle

TINY = {"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}


class Clips(Dataset[Any]):
    """Files, decoded and made into features where they are asked for: in workers."""

    def __init__(self, files: list[Path], io: ossicle.ContinuousAudioIO) -> None:
        self.files = files
        self.io = io.copy_for_worker()  # without the tower

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        waveform, rate = ossicle.load(self.files[index], mono=False)  # (C, N), at its own rate
        return self.files[index].name, self.io.preprocess((waveform, rate))


def collate(rows: list[Any]) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """Names, features ``(B, T, n_mels)``, and mel frames of each ``(B,)``."""
    names = [name for name, _ in rows]
    features = [torch.from_numpy(mel) for _, (_, (_, mel), _) in rows]
    return names, pad_sequence(features, batch_first=True), torch.tensor([len(f) for f in features])


def main() -> None:
    """Read the command line, encode all files, print what each has become."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    if options.model:
        io = ossicle.ContinuousAudioIO(encoder_hf_model_tag=options.model)
    else:
        io = ossicle.ContinuousAudioIO(config=Qwen2_5OmniAudioEncoderConfig(**TINY, output_dim=48))
    clips = Clips(options.files, io)
    loader = DataLoader(clips, 8, collate_fn=collate, num_workers=options.workers)
    for names, features, frames in loader:
        with torch.no_grad():
            encoded = io.encode_batch(features, frames)
        for name, count, tokens in zip(names, frames.tolist(), encoded, strict=True):
            seconds = f"{count / 100:.2f} s"
            print(f"{name}: {seconds}, {tokens.shape[0]} tokens of {tokens.shape[1]} features")


if __name__ == "__main__":
    main()

"""What an aligned projector makes of held-out clips: the control, transcripts and pictures."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ossicle.data.utterances import Utterance
from ossicle.features.recordings import recording_features
from ossicle.model import ByteTokenizer, Projector, WhisperEncoder
from ossicle.model.blocks import norm
from ossicle.model.nanochat import load_nanochat_checkpoint
from ossicle.model.projector import Start
from ossicle.train import checkpoint
from ossicle.train.evaluate import (
    ControlBatch,
    ControlResult,
    WordErrors,
    control,
    projected_loss,
    transcribe,
    word_errors,
)
from ossicle.train.feed import collate_text

__all__ = ["AlignedModel"]

BATCH = 32  # clips at a time
EXAMPLES = 8
FIRST = 5  # soft tokens, about the first word of a clip


class AlignedModel:
    """An experiment's encoder, projector and language model, and its held-out clips.

    Args:
        folder: Of the experiment: ``encoder`` and ``language`` lie in it, and pictures go there.
        projector: Folder of the checkpoint that holds the projector.
        clips: What is listened to.
    """

    def __init__(self, folder: Path, projector: Path, clips: Sequence[Utterance]) -> None:
        self.folder, self.texts = folder, [clip.text for clip in clips]
        self.encoder = WhisperEncoder(str(folder / "encoder"))
        self.gpt = load_nanochat_checkpoint(folder / "language").requires_grad_(False).eval()
        self.projector = _load_projector(projector, self.encoder.d_model, self.gpt.config.n_embd)
        self.batches = list(self._batches(clips))

    @torch.no_grad()
    def _batches(self, clips: Sequence[Utterance]) -> Iterator[ControlBatch]:
        tokenizer = ByteTokenizer()
        for start in range(0, len(clips), BATCH):
            part = clips[start : start + BATCH]
            recordings = [clip.recording for clip in part if clip.recording]
            log_mel = recording_features(recordings, n_mels=self.encoder.n_mels)
            lengths = torch.from_numpy(log_mel.frames)
            frames = self.encoder(torch.from_numpy(log_mel.input_features), lengths)
            idx, targets = collate_text([tokenizer.encode(clip.text) for clip in part])
            yield ControlBatch(idx, targets, frames, self.encoder.output_lengths(lengths))

    def control(self, *, seed: int = 0) -> ControlResult:
        """The loss with the right audio, with shuffled audio and with none."""
        return control(projected_loss(self.gpt, self.projector), self.batches, seed=seed)

    def transcripts(self) -> tuple[WordErrors, list[dict[str, str]]]:
        """Word errors of what the language model writes after each clip, and the first texts."""
        written = [
            text
            for batch in self.batches
            for text in transcribe(self.gpt, self.projector, batch.audio, batch.audio_lengths)
        ]
        pairs = list(zip(self.texts, written, strict=True))[:EXAMPLES]
        return word_errors(self.texts, written), [{"said": s, "heard": h} for s, h in pairs]

    def draw(self, stages: Mapping[str, Any], final: ControlResult) -> None:
        """Writes the pictures, where matplotlib is installed.

        Args:
            stages: ``losses`` of the stages encoder, language and projector, and ``evaluations`` of
                the last.
            final: The control after the last step.
        """
        if importlib.util.find_spec("matplotlib") is None:
            return
        from ossicle.experiment import pictures

        curves = {
            "Encoder: CTC on letters": (stages["encoder"]["losses"], "nats a letter"),
            "Language model: text alone": (stages["language"]["losses"], "nats a token"),
            "Projector, the others frozen": (stages["projector"]["losses"], "nats a token"),
        }
        pictures.draw_losses(self.folder / "losses.png", curves)
        pictures.draw_control(
            self.folder / "control.png", stages["projector"]["evaluations"], final
        )
        soft, groups = self._soft_tokens()
        pictures.draw_soft_tokens(
            self.folder / "soft-tokens.png",
            soft,
            self._letters(),
            groups,
            subtitle="PCA of projector outputs for held-out clips, normed as the language model "
            "takes them",
            heading=f"The first {FIRST} of each clip (mean), by the first word",
        )

    @torch.no_grad()
    def _soft_tokens(self) -> tuple[Any, dict[str, Any]]:
        """Normed soft tokens of the clips, and the mean of each clip's first ones by its word."""
        soft: list[Tensor] = []
        groups: defaultdict[str, list[Any]] = defaultdict(list)
        texts = iter(self.texts)
        for batch in self.batches:
            tokens = norm(self.projector(batch.audio, batch.audio_lengths))
            counts = self.projector.output_lengths(batch.audio_lengths)
            for row, count in zip(tokens, counts.tolist(), strict=True):
                soft.append(row[:count])
                groups[next(texts).split()[0]].append(row[:FIRST].mean(0).numpy())
        return torch.cat(soft).numpy(), {k: np.stack(v) for k, v in sorted(groups.items())}

    @torch.no_grad()
    def _letters(self) -> dict[str, Any]:
        """The normed embedding of each character of the texts."""
        letters = sorted(set("".join(self.texts)))
        table = norm(self.gpt.transformer.wte(torch.tensor([ord(letter) for letter in letters])))
        names = ["space" if letter == " " else letter for letter in letters]
        return dict(zip(names, table.numpy(), strict=True))


def _load_projector(folder: Path, in_dim: int, out_dim: int) -> Projector:
    weights = checkpoint.load(folder).tensors["projector"]
    hidden, inputs = weights["fc1.weight"].shape
    start: Start = "ignore" if "gate" in weights else "zero"
    projector = Projector(in_dim, out_dim, hidden, stack=inputs // in_dim, start=start)
    projector.load_state_dict(weights)
    return projector.requires_grad_(False).eval()

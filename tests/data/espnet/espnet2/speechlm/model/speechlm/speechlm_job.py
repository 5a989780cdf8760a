"""A job: I/Os from a table, a preprocessor with copies of them, a model that holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from espnet2.speechlm.model.speechlm.multimodal_io.abs_io import AbsIO
from espnet2.speechlm.model.speechlm.multimodal_io.audio import ContinuousAudioIO
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

WORDS = 16
STREAMS = 2


class TextIO(AbsIO):
    """Rows of word numbers in the first of two streams."""

    def __init__(self) -> None:
        super().__init__("text", True)

    def num_stream(self) -> int:
        return STREAMS

    def find_length(self, data: list[int]) -> int:
        return len(data)

    def preprocess(self, data: list[int]) -> Any:
        words = np.zeros((len(data), STREAMS), np.int64)
        words[:, 0] = data
        return words, None, np.eye(1, STREAMS, dtype=np.float32).repeat(len(data), 0)

    def copy_for_worker(self) -> TextIO:
        return self


_multimodal_ios: dict[str, Any] = {"text": TextIO, "continuous_audio": ContinuousAudioIO}


class Job:
    """Makes all that training needs from a config."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.multimodal_io = {}
        for name, options in config["multimodal_io"].items():
            kind = _multimodal_ios[name]
            assert issubclass(kind, AbsIO)
            self.multimodal_io[name] = kind(**options)

    def build_preprocessor(self) -> Preprocessor:
        return Preprocessor({name: io.copy_for_worker() for name, io in self.multimodal_io.items()})

    def build_model(self) -> Model:
        return Model(self.multimodal_io)


class Preprocessor:
    """Rows of ``{"audio": (waveform, rate), "text": words}`` into one batch."""

    def __init__(self, multimodal_io: dict[str, AbsIO]) -> None:
        self.multimodal_io = multimodal_io

    def messages(self, row: dict[str, Any]) -> list[tuple[AbsIO, str, Any]]:
        names = {"audio": "continuous_audio", "text": "text"}
        return [(self.multimodal_io[names[key]], names[key], data) for key, data in row.items()]

    def find_length(self, row: dict[str, Any]) -> int:
        return sum(2 + io.find_length(data) for io, _, data in self.messages(row))

    def collate_fn(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        sequences, masks, audios = [], [], []
        for index, row in enumerate(rows):
            sequence, mask, found = self.one(row)
            sequences.append(torch.from_numpy(sequence))
            masks.append(torch.from_numpy(mask))
            audios += [(index, *place) for place in found]
        batch: dict[str, Any] = {"seqs": pad_sequence(sequences, True)}
        batch["loss_masks"] = pad_sequence(masks, True)
        if audios:
            features = [torch.from_numpy(audio[-1]) for audio in audios]
            batch["continuous_audio_indices"] = torch.tensor([audio[:3] for audio in audios])
            batch["continuous_audio_feats"] = pad_sequence(features, True)
            batch["continuous_audio_lengths"] = torch.tensor([len(clip) for clip in features])
        return batch

    def one(self, row: dict[str, Any]) -> Any:
        """Sequence, mask and audios, each message between a mark of its own and an end."""
        sequence = [np.zeros((0, STREAMS), np.int64)]
        masks = [np.zeros((0, STREAMS), np.float32)]
        audios, length = [], 0
        for io, _, data in self.messages(row):
            tokens, audio, mask = io.preprocess(data)
            assert tokens.shape == mask.shape
            spare = ((0, 0), (0, STREAMS - tokens.shape[1]))
            marks = np.full((1, STREAMS), 2, np.int64)
            sequence += [marks, np.pad(tokens, spare), marks + 1]
            masks += [marks * 0.0, np.pad(mask, spare), marks * 0.0]
            if audio is not None:
                audios.append((length + 1, *audio))
            length += len(tokens) + 2
        return np.concatenate(sequence), np.concatenate(masks).astype(np.float32), audios


class Model(nn.Module):
    """Embeds words, puts audio into its places, and guesses the next word."""

    def __init__(self, multimodal_io: dict[str, AbsIO], width: int = 8) -> None:
        super().__init__()
        self.multimodal_io_dict = nn.ModuleDict(multimodal_io)
        spoken = {name: io for name, io in multimodal_io.items() if not io.is_discrete}
        adaptors = {name: nn.Linear(io.feature_dim(), width) for name, io in spoken.items()}
        self.adaptor = nn.ModuleDict(adaptors)
        self.words = nn.Embedding(WORDS, width)
        self.body = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, WORDS)

    def forward(self, seqs: Tensor, loss_masks: Tensor, **audio: Tensor) -> Tensor:
        hidden, _ = self.body(self.embed(seqs, audio))
        guessed = self.head(hidden[:, :-1]).transpose(1, 2)
        losses = nn.functional.cross_entropy(guessed, seqs[:, 1:, 0], reduction="none")
        mask = loss_masks[:, 1:, 0]
        return (losses * mask).sum() / mask.sum()

    def embed(self, seqs: Tensor, audio: dict[str, Tensor]) -> Tensor:
        embedded = self.words(seqs).sum(2)
        for name, adaptor in self.adaptor.items():
            io = self.multimodal_io_dict[name]
            if f"{name}_feats" not in audio:
                silent = adaptor(io.dummy_forward(ref_tensor=embedded))
                embedded = embedded + 0.0 * silent.to(embedded.dtype).sum()
                continue
            found = io.encode_batch(audio[f"{name}_feats"], audio[f"{name}_lengths"])
            for tokens, (row, start, length) in zip(
                found, audio[f"{name}_indices"].tolist(), strict=True
            ):
                embedded[row, start : start + length] = adaptor(tokens)
        return embedded

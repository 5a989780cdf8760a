"""Training over a stream, by a model that can tell its batches apart.

``RANK=0 WORLD_SIZE=2 ... python stream_training.py FOLDER`` is one of several processes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from duration_training import tiny_model
from stream_clips import plan_of, write
from transformers import Trainer, TrainingArguments

from ossicle import trainer_dataloader
from ossicle.stream import AudioStream, Plan


def plan_in(folder: Path, rows: int = 26) -> Plan:
    files = sorted(folder.glob("clip-*")) or write(folder, rows)
    return plan_of(files, 2)


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Texts of as many tokens as a clip has tenths of a second, and the number of the clip."""
    lengths = [3 + len(row["audio"]["array"]) // 1_600 for row in rows]
    ids = torch.zeros(len(rows), max(lengths), dtype=torch.int64)
    numbers = [int(row["id"].rpartition("-")[2]) for row in rows]
    for place, (number, length) in enumerate(zip(numbers, lengths, strict=True)):
        ids[place, :length] = 1 + number % 30
    labels = ids.masked_fill(ids == 0, -100)
    mask = (ids != 0).long()
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "row": torch.tensor(numbers),
    }


class Watched:
    """Notes the clips of each batch that is trained on."""

    stream: AudioStream
    seen: list[list[int]]

    def get_train_dataloader(self) -> Any:
        return trainer_dataloader(self, self.stream)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *more: Any, **others: Any) -> Any:
        self.seen.append(inputs.pop("row").tolist())
        return super().compute_loss(model, inputs, *more, **others)  # type: ignore[misc]


class StreamTrainer(Watched, Trainer):
    pass


def settings(out: Path, **changes: Any) -> dict[str, Any]:
    return {
        "output_dir": str(out),
        "num_train_epochs": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 3e-3,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        **changes,
    }


def trained(
    out: Path, stream: AudioStream, resume: Path | None = None, **changes: Any
) -> tuple[list[list[int]], list[torch.Tensor]]:
    """The clips of each batch, and the weights that came out."""
    arguments = TrainingArguments(**settings(out, **changes))
    trainer = StreamTrainer(model=tiny_model(), args=arguments)
    trainer.stream, trainer.seen = stream, []
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer.seen, [one.detach().clone() for one in trainer.model.parameters()]

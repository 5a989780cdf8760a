"""A run of transformers.Trainer over `DurationBatchSampler`, which notes the rows of each step.

``RANK=0 WORLD_SIZE=2 ... python duration_training.py FOLDER`` is one of several processes: it
trains two epochs, then again from a checkpoint in the second, and writes what both saw.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

from ossicle import DurationBatchSampler, trainer_dataloader

LENGTHS = np.random.default_rng(0).integers(2, 40, 150)
BUDGET = 160


def collate(rows: list[dict[str, int]]) -> dict[str, torch.Tensor]:
    longest = max(row["length"] for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : row["length"]] = 1 + row["row"] % 30
        mask[place, : row["length"]] = 1
    labels = ids.masked_fill(mask == 0, -100)
    numbers = torch.tensor([row["row"] for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "row": numbers}


class DurationTrainer(Trainer):
    sampler: DurationBatchSampler

    def get_train_dataloader(self) -> Any:
        return trainer_dataloader(self, self.sampler)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        self.seen.append(inputs.pop("row").tolist())
        return super().compute_loss(model, inputs, *args, **kwargs)


def tiny_model() -> LlamaForCausalLM:
    set_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config)


def make_trainer(out: Path, sampler: DurationBatchSampler, **arguments: Any) -> DurationTrainer:
    settings: dict[str, Any] = {
        "output_dir": str(out),
        "num_train_epochs": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "remove_unused_columns": False,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        **arguments,
    }
    rows = [{"row": row, "length": length} for row, length in enumerate(LENGTHS.tolist())]
    trainer = DurationTrainer(
        model=tiny_model(),
        args=TrainingArguments(**settings),
        train_dataset=rows,
        data_collator=collate,
    )
    trainer.sampler, trainer.seen = sampler, []
    return trainer


def trained(
    out: Path, sampler: DurationBatchSampler, *, resume: str | None = None, **arguments: Any
) -> tuple[list[list[int]], list[float]]:
    """The rows of each batch that this process has trained on, and the loss of each step."""
    trainer = make_trainer(out, sampler, **arguments)
    trainer.train(resume_from_checkpoint=resume)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return trainer.seen, losses


def main() -> None:
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    sampler = DurationBatchSampler(LENGTHS, max_tokens=BUDGET)
    settings: dict[str, Any] = {"save_strategy": "steps", "save_steps": 15}
    settings["dataloader_num_workers"] = 2
    whole, losses = trained(out, sampler, **settings)
    # Anew, as another start of the program would have it.
    sampler = DurationBatchSampler(LENGTHS, max_tokens=BUDGET)
    resumed, again = trained(out, sampler, resume=str(out / "checkpoint-15"), **settings)
    facts = {"whole": whole, "losses": losses, "resumed": resumed, "losses_again": again}
    facts["state"] = sampler.state_dict()
    (out / f"rank{os.environ['RANK']}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()

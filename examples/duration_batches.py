"""Train a Qwen2Audio on batches of equally long recordings instead of equally many.

    python examples/duration_batches.py FOLDER [--tokens 400] [--steps 6] [--workers 2]

FOLDER holds ``manifest.jsonl``, as for ``examples/trainer.py``. Lengths come from the files'
headers. A row costs the tokens that the language model sees of it, 25 a second of audio and those
of its text, and a batch its longest row times its number of rows, at most ``--tokens``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import Trainer, TrainingArguments

import ossicle
from ossicle.experiment.tiny import (
    AUDIO,
    tiny_qwen2_audio_model,
    tiny_qwen2_audio_processor,
    tiny_tokenizer,
)

TOKENS_PER_SECOND = 25  # of Qwen2Audio
MAX_SECONDS = 30.0


class DurationTrainer(Trainer):
    """A Trainer whose batches are those of ``batch_sampler``."""

    batch_sampler: ossicle.DurationBatchSampler

    def get_train_dataloader(self) -> Any:
        """What each epoch iterates over."""
        return ossicle.trainer_dataloader(self, self.batch_sampler)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of the folder's manifest, as the collator takes them."""
    rows = []
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        path = folder / (entry.get("audio_path") or entry["wav"])
        rows.append({"audio_path": str(path), "text": f"{AUDIO} {entry['text']} <|endoftext|>"})
    return rows


def make_sampler(
    rows: list[dict[str, Any]], tokenizer: Any, max_tokens: int
) -> ossicle.DurationBatchSampler:
    """Batches of at most ``max_tokens``, padding included."""
    seconds = np.minimum(ossicle.audio_lengths(rows).seconds, MAX_SECONDS)
    words = np.array([len(tokenizer(row["text"]).input_ids) for row in rows])
    tokens = np.ceil(TOKENS_PER_SECOND * seconds) + words
    # Rows that no batch has room for make the sampler raise, and say how many there are.
    sampler = ossicle.DurationBatchSampler(tokens, max_tokens=max_tokens)
    share = f"{sampler.padding:.1%} of them padding"
    print(f"{len(rows)} rows of {span(seconds)} in {len(sampler)} batches, {share}")
    for batch in list(sampler)[:5]:
        longest, count = tokens[batch].max(), len(batch)
        cost = f"{longest:.0f} x {count} = {longest * count:.0f} tokens"
        print(f"  {count} rows of {span(seconds[batch])}: {cost}")
    return sampler


def span(seconds: npt.NDArray[np.float64]) -> str:
    """The shortest and the longest."""
    return f"{seconds.min():.1f} to {seconds.max():.1f} s"


def train(folder: Path, out: Path, *, max_tokens: int, steps: int, workers: int) -> float:
    """Train for ``steps`` steps of one batch each, and return the mean loss."""
    rows = read_rows(folder)
    tokenizer = tiny_tokenizer(word for row in rows for word in row["text"].split())
    collator = ossicle.AudioLmCollator(
        processor=tiny_qwen2_audio_processor(tokenizer),
        sample_rate=16_000,
        max_length_seconds=MAX_SECONDS,
        auto_resample=True,
    )
    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        learning_rate=3e-3,
        logging_steps=1,
        dataloader_num_workers=workers,
        remove_unused_columns=False,  # else audio_path and text are dropped on the way
        report_to="none",
        save_strategy="no",
    )
    trainer = DurationTrainer(
        model=tiny_qwen2_audio_model(tokenizer),
        args=arguments,
        train_dataset=rows,
        data_collator=collator,
    )
    trainer.batch_sampler = make_sampler(rows, tokenizer, max_tokens)
    return trainer.train().training_loss


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        settings = {"steps": options.steps, "workers": options.workers}
        loss = train(options.folder, Path(out), max_tokens=options.tokens, **settings)
    print(f"mean loss over {options.steps} steps: {loss:.3f}")


if __name__ == "__main__":
    main()

"""Train a Qwen2Audio on a folder of recordings with transformers.Trainer and AudioLmCollator.

    python examples/trainer.py FOLDER [--steps 3] [--workers 2]

FOLDER holds ``manifest.jsonl``: one JSON object a line with ``audio_path`` (or ``wav``), relative
to the folder, and ``text``. The model is random and tiny, so that this runs anywhere without a
hub; for a real one, load model and processor with ``from_pretrained`` and change nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainingArguments

from ossicle.cache import WaveformCache
from ossicle.collator import AudioLmCollator
from ossicle.experiment.tiny import (
    AUDIO,
    tiny_qwen2_audio_model,
    tiny_qwen2_audio_processor,
    tiny_tokenizer,
)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of the folder's manifest, as the collator takes them."""
    rows = []
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        path = folder / (entry.get("audio_path") or entry["wav"])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        text = f"{AUDIO} {entry['text']} <|endoftext|>"
        rows.append({"audio_path": str(path), "audio_blob_sha": digest, "text": text})
    return rows


def train(folder: Path, out: Path, *, steps: int, workers: int) -> float:
    """Train for ``steps`` steps of two clips each, and return the mean loss."""
    rows = read_rows(folder)
    tokenizer = tiny_tokenizer(word for row in rows for word in row["text"].split())
    collator = AudioLmCollator(
        processor=tiny_qwen2_audio_processor(tokenizer),
        sample_rate=16_000,
        max_length_seconds=30.0,
        waveform_cache=WaveformCache(out / "waveforms"),
        auto_resample=True,
    )
    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=2,
        learning_rate=3e-3,
        logging_steps=1,
        dataloader_num_workers=workers,
        remove_unused_columns=False,  # else audio_path and text are dropped on the way
        report_to="none",
        save_strategy="no",
    )
    trainer = Trainer(
        model=tiny_qwen2_audio_model(tokenizer),
        args=arguments,
        train_dataset=rows,
        data_collator=collator,
    )
    return trainer.train().training_loss


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        loss = train(options.folder, Path(out), steps=options.steps, workers=options.workers)
    print(f"mean loss over {options.steps} steps: {loss:.3f}")


if __name__ == "__main__":
    main()

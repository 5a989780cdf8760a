"""The collator inside transformers.Trainer, and what the documentation tells people to run."""

from __future__ import annotations

import json
import math
import os
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

import numpy as np
import pytest
import soundfile
import torch
from transformers import Trainer, TrainingArguments

from ossicle.cache import WaveformCache
from ossicle.collator import AudioLmCollator, RowError
from ossicle.experiment.tiny import (
    AUDIO,
    tiny_qwen2_audio_model,
    tiny_qwen2_audio_processor,
    tiny_tokenizer,
)
from ossicle.experiment.tiny_families import CHATML, tiny_family

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT.parent / "shared" / "data" / "speech"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A model this small is slower on several threads, and very slow on a machine in use."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six clips of three rates, mono and stereo, WAV and FLAC, with their manifest."""
    random = np.random.default_rng(0)
    lines = []
    for index, rate in enumerate((16_000, 22_050, 44_100) * 2):
        name = f"{index}.{'wav' if index % 2 else 'flac'}"
        samples = random.normal(0, 0.1, (rate * (index + 2) // 4, 1 + index % 2))
        soundfile.write(tmp_path / name, samples, rate)
        lines.append(json.dumps({"audio_path": name, "text": "one two three"}))
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def rows_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [
        {
            "audio_path": str(folder / (entry.get("audio_path") or entry["wav"])),
            "text": f"{AUDIO} {entry['text']} <|endoftext|>",
        }
        for entry in entries
    ]


def trainer_of(rows: list[dict[str, Any]], out: Path, **arguments: Any) -> Trainer:
    tokenizer = tiny_tokenizer(word for row in rows for word in row["text"].split())
    collator = AudioLmCollator(
        processor=tiny_qwen2_audio_processor(tokenizer),
        sample_rate=16_000,
        max_length_seconds=30.0,
        waveform_cache=WaveformCache(out / "waveforms"),
        auto_resample=True,
    )
    settings = {
        "output_dir": str(out),
        "max_steps": 3,
        "per_device_train_batch_size": 2,
        "learning_rate": 3e-3,
        "logging_steps": 1,
        "remove_unused_columns": False,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        **arguments,
    }
    return Trainer(
        model=tiny_qwen2_audio_model(tokenizer),
        args=TrainingArguments(**settings),
        train_dataset=rows,
        eval_dataset=rows[:2],
        data_collator=collator,
    )


def losses_of(trainer: Trainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_the_model_is_small() -> None:
    parameters = sum(p.numel() for p in tiny_qwen2_audio_model(tiny_tokenizer()).parameters())
    assert 50_000 < parameters < 150_000


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_three_steps_with_workers_0_and_2(folder: Path, tmp_path: Path) -> None:
    rows = rows_of(folder)
    alone = losses_of(trainer_of(rows, tmp_path / "alone"))
    workers = losses_of(trainer_of(rows, tmp_path / "workers", dataloader_num_workers=2))
    assert len(alone) == 3
    assert all(math.isfinite(loss) for loss in alone)
    assert workers == pytest.approx(alone, abs=1e-4)


def test_the_loss_falls(folder: Path, tmp_path: Path) -> None:
    losses = losses_of(trainer_of(rows_of(folder), tmp_path / "out", max_steps=12))
    assert losses[-1] < losses[0] - 0.3


def test_evaluation_takes_the_same_collator(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(rows_of(folder), tmp_path / "out", prediction_loss_only=True)
    assert math.isfinite(trainer.evaluate()["eval_loss"])


def test_dropped_columns_explain_themselves(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(rows_of(folder), tmp_path / "out", remove_unused_columns=True)
    with pytest.raises(RowError, match="remove_unused_columns=False"):
        trainer.train()


class Watched:
    """A trainer that keeps what its model is given."""

    seen: list[dict[str, torch.Tensor]]

    def training_step(self, model: Any, inputs: Any, *more: Any) -> torch.Tensor:
        vars(self).setdefault("seen", []).append({k: v.clone() for k, v in inputs.items()})
        return super().training_step(model, inputs, *more)  # type: ignore[misc,no-any-return]


def chats_of(folder: Path) -> list[dict[str, Any]]:
    def part(text: str) -> list[dict[str, str]]:
        return [{"type": "text", "text": text}]

    return [
        {
            "audio_path": row["audio_path"],
            "messages": [
                {"role": "user", "content": [{"type": "audio"}]},
                {"role": "assistant", "content": part(row["text"].split(maxsplit=1)[1])},
            ],
        }
        for row in rows_of(folder)
    ]


def arguments_of(kind: type[TrainingArguments], out: Path, **changes: Any) -> TrainingArguments:
    settings = {
        "output_dir": str(out),
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "save_strategy": "steps",
        "save_steps": 2,
        "logging_steps": 1,
        "dataloader_num_workers": 2,
        "remove_unused_columns": False,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        **changes,
    }
    return kind(**settings)


def plain_trainer(data: list[dict[str, Any]], out: Path) -> Any:
    kind = type("WatchedTrainer", (Watched, Trainer), {})
    arguments = arguments_of(TrainingArguments, out)
    _, model, collator = parts_of(data)
    return kind(model=model, args=arguments, train_dataset=data, data_collator=collator)


def sft_trainer(data: list[dict[str, Any]], out: Path, **changes: Any) -> Any:
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    kind = type("WatchedSFTTrainer", (Watched, trl.SFTTrainer), {})
    settings = {"dataset_kwargs": {"skip_prepare_dataset": True}, "bf16": False, **changes}
    arguments = arguments_of(trl.SFTConfig, out, **settings)
    processor, model, collator = parts_of(data)
    return kind(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(data),
        data_collator=collator,
        processing_class=processor.tokenizer,
    )


def parts_of(data: list[dict[str, Any]]) -> tuple[Any, Any, AudioLmCollator]:
    texts = [row["messages"][1]["content"][0]["text"] for row in data if "messages" in row]
    words = sorted({word for text in texts for word in text.split()})
    processor, model = tiny_family("Qwen2Audio", words, chat=CHATML)
    collator = AudioLmCollator(
        processor=processor,
        sample_rate=16_000,
        max_length_seconds=30.0,
        auto_resample=True,
        loss_on="response" if texts else "all",
    )
    return processor, model, collator


@pytest.mark.sampled(one_in=2)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [plain_trainer, sft_trainer])
def test_responses_alone_with_workers_and_resumed(folder: Path, tmp_path: Path, make: Any) -> None:
    data = chats_of(SPEECH if SPEECH.is_dir() else folder)
    whole, resumed = make(data, tmp_path / "out"), make(data, tmp_path / "out")
    losses = losses_of(whole)
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    again = [entry["loss"] for entry in resumed.state.log_history if "loss" in entry]
    assert len(losses) == 4
    assert all(math.isfinite(loss) for loss in losses + again)
    # The batches alone: transformers 5.23 saves Qwen2Audio's weights under names that its own
    # Trainer does not find again.
    assert len(resumed.seen) == 2
    for got, wanted in zip(resumed.seen, whole.seen[2:], strict=True):
        assert got.keys() == wanted.keys()
        assert all(torch.equal(got[key], wanted[key]) for key in wanted)
    for batch in whole.seen:
        learned = batch["labels"] != -100
        assert bool(learned.any(dim=1).all())
        assert bool((learned.sum(dim=1) < batch["attention_mask"].sum(dim=1)).all())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_sft_trainer_needs_is_said_where_it_is_missing(folder: Path, tmp_path: Path) -> None:
    lacking = {"dataset_kwargs": None, "remove_unused_columns": True}
    trainer = sft_trainer(rows_of(folder), tmp_path, dataloader_num_workers=0, **lacking)
    with pytest.raises(RowError, match="remove_unused_columns=False") as raised:
        trainer.train()
    assert 'dataset_kwargs={"skip_prepare_dataset": True}' in str(raised.value)


@pytest.mark.skipif(not SPEECH.is_dir(), reason="the recordings beside the repository are absent")
def test_three_steps_on_real_speech(tmp_path: Path) -> None:
    losses = losses_of(trainer_of(rows_of(SPEECH), tmp_path / "out"))
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)


def test_the_example_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = str(ROOT / "examples" / "trainer.py")
    monkeypatch.setattr(sys, "argv", [example, str(folder), "--workers", "2"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(example, run_name="__main__")
    loss = re.search(r"mean loss over 3 steps: (\d+\.\d+)", capsys.readouterr().out)
    assert loss is not None
    assert float(loss[1]) > 0


@pytest.mark.thorough
def test_the_page_runs_as_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 21
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/trainers.md", "exec"), names)
    assert names["batch"]["input_ids"].shape[0] == 2

"""What is wrong with a data set is found before training, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import soundfile
import torch
from collating import RATE, array, chat_row, collator_of, family, one_thread, row_of, samples

import ossicle.collator.families
from ossicle.collator import preflight
from ossicle.experiment.tiny import AUDIO
from ossicle.experiment.tiny_families import CHATML

__all__ = ["one_thread"]

NAMES = ["Qwen2Audio", "Whisper", "GraniteSpeech", "Gemma3n", "Phi4-multimodal", "AudioFlamingo3"]


@pytest.mark.parametrize("name", NAMES)
def test_a_good_data_set_has_no_problem(name: str) -> None:
    processor, _ = family(name)
    rows = [row_of(name, 9_000 + 999 * number, seed=number) for number in range(4)]
    frame = preflight(rows, collator_of(processor), batch_size=3, show=False)
    assert frame["row"].to_list() == [0, 1, 2, 3]
    assert frame["problem"].null_count() == 4
    assert frame["duplicate_of"].null_count() == 4
    assert frame["sample_rates"].to_list() == [[RATE]] * 4
    assert frame["seconds"].to_list() == [(9_000 + 999 * n) / RATE for n in range(4)]
    batch = collator_of(processor)(rows)
    assert frame["labels"].to_list() == (batch["labels"] != -100).sum(dim=1).tolist()
    if name != "Whisper":
        assert (frame["audio_tokens"] == frame["encoder_tokens"]).all()
        audio = processor.tokenizer.convert_tokens_to_ids(processor.audio_token)
        wanted = (batch["input_ids"] == audio).sum(dim=1).tolist()
        assert frame["audio_tokens"].to_list() == wanted


def test_every_problem_is_told_with_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor, _ = family("Qwen2Audio", CHATML)
    monkeypatch.setenv("COLUMNS", "400")  # else names are folded
    path = tmp_path / "slow.wav"
    soundfile.write(path, samples(9_000), 8_000)
    rows = [
        chat_row("one", "two"),
        {"audio_path": str(tmp_path / "gone.wav"), "text": f"{AUDIO} one"},
        {"audio_path": str(path), "text": f"{AUDIO} one"},
        chat_row("one"),
        {"audio": array(9_000), "text": "one"},
        chat_row("one", "two"),
        {"audio": array(320), "text": f"{AUDIO} one"},
        chat_row("one", "two", count=80_000),
        {"text": AUDIO},
    ]
    collator = collator_of(processor, loss_on="response", max_length=60)
    frame = preflight(rows, collator, batch_size=4)
    problems = frame["problem"].to_list()
    wanted = {
        1: "AudioFileNotFoundError",
        2: "SampleRateMismatchError",
        3: "NoLabelError",
        4: "RowError",
        6: "ClipTooShortError",
        7: "TextTooLongError",
        8: "RowError",
    }
    assert {n: told.partition(":")[0] for n, told in enumerate(problems) if told} == wanted
    assert frame["duplicate_of"].to_list()[5] == 0
    assert frame["duplicate_of"].null_count() == len(rows) - 1
    assert frame["sample_rates"].to_list()[2] == [8_000]
    shown = capsys.readouterr().out
    assert "gone.wav" in shown
    assert "8000 Hz" in shown


def test_placeholders_that_are_not_the_encoders_length(monkeypatch: pytest.MonkeyPatch) -> None:
    processor, _ = family("Qwen2Audio")
    table = ossicle.collator.families.FAMILIES
    wrong = lambda processor, batch, samples: [7] * len(samples)  # noqa: E731
    entry = table["Qwen2AudioProcessor"]
    changed = type(entry)(**{**vars(entry), "counts": wrong})
    monkeypatch.setitem(table, "Qwen2AudioProcessor", changed)
    frame = preflight([row_of("Qwen2Audio")], collator_of(processor), show=False)
    assert frame["problem"][0] == "25 placeholders for 7 tokens of the encoder"


def test_copies_of_a_file_are_duplicates_where_their_texts_are(tmp_path: Path) -> None:
    processor, _ = family("Qwen2Audio")
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", samples(9_000), RATE)
    rows = [
        {"audio_path": str(tmp_path / f"{name}.wav"), "text": f"{AUDIO} {word}"}
        for name, word in (("a", "one"), ("b", "two"), ("b", "one"), ("a", "two"))
    ]
    frame = preflight(rows, collator_of(processor), show=False)
    assert frame["duplicate_of"].to_list() == [None, None, 0, 1]
    assert frame["problem"].null_count() == 4


def test_adapters_are_looked_for() -> None:
    processor, model = family("Qwen2Audio")
    rows = [row_of("Qwen2Audio")]

    def told(model: Any) -> list[str]:
        frame = preflight(rows, collator_of(processor), model=model, show=False)
        return frame.filter(pl.col("row").is_null())["problem"].to_list()

    assert told(model) == ["no adapter of peft is attached to the model"]
    weight = torch.nn.Parameter(torch.zeros(1))
    adapted = SimpleNamespace(peft_config={"default": {}}, parameters=lambda: [weight])
    assert told(adapted) == []
    weight.requires_grad_(False)
    assert "none of its weights" in told(adapted)[0]


def test_adapters_of_peft() -> None:
    peft = pytest.importorskip("peft")
    processor, _ = family("Qwen2Audio")
    from ossicle.experiment.tiny import tiny_qwen2_audio_model

    config = peft.LoraConfig(r=2, target_modules=["q_proj"])
    model = peft.get_peft_model(tiny_qwen2_audio_model(processor.tokenizer), config)
    frame = preflight([row_of("Qwen2Audio")], collator_of(processor), model=model, show=False)
    assert frame["problem"].null_count() == 1


def test_an_empty_data_set() -> None:
    processor, _ = family("Qwen2Audio")
    assert preflight([], collator_of(processor)).is_empty()

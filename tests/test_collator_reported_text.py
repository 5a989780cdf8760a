"""What people report elsewhere of texts, labels and batches for generation: small cases."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from collating import (
    RATE,
    array,
    chat_row,
    collator_of,
    family,
    learned,
    one_thread,
    row_of,
    samples,
)
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from ossicle.cache import AudioCache, WaveformCache
from ossicle.collator import (
    ClipTooLongError,
    NoLabelError,
    RowError,
    TextTooLongError,
    TooManyFaultsError,
    preflight,
    read_ledger,
)
from ossicle.experiment.tiny import AUDIO, tiny_qwen2_audio_processor, tiny_tokenizer
from ossicle.experiment.tiny_families import CHATML, PLACEHOLDERS, tiny_family

__all__ = ["one_thread"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:a row is too long:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:a bad row:RuntimeWarning"),
]
NAME = "Qwen2Audio"


# Language and task of Whisper's rows


def marks(processor: Any, labels: torch.Tensor) -> list[list[str]]:
    """Of each row, the tokens before its text."""
    rows = [learned(processor, row) for row in labels]
    return [[token for token in row if token.startswith("<|")][:-1] for row in rows]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({}, ["en", "transcribe"]),
        ({"language": "de"}, ["de", "transcribe"]),
        ({"language": "german"}, ["de", "transcribe"]),
        ({"language": " German "}, ["de", "transcribe"]),
        ({"language": "castilian"}, ["es", "transcribe"]),
        ({"language": "yue"}, ["yue", "transcribe"]),
        ({"lang": "fr"}, ["fr", "transcribe"]),
        ({"locale": "it"}, ["it", "transcribe"]),
        ({"language": None, "task": None}, ["en", "transcribe"]),
        ({"language": ""}, ["en", "transcribe"]),
        ({"task": "translate"}, ["en", "translate"]),
        ({"language": "de", "task": "translate"}, ["de", "translate"]),
    ],
)
def test_whispers_marks_are_those_of_the_row(row: dict[str, Any], wanted: list[str]) -> None:
    processor, model = family("Whisper")
    batch = collator_of(processor)([{**row_of("Whisper"), **row}, row_of("Whisper", words="six")])
    own, other = marks(processor, batch["labels"])
    assert own == [*(f"<|{name}|>" for name in wanted), "<|notimestamps|>"]
    assert other == ["<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    assert torch.isfinite(model(**batch).loss)


@pytest.mark.parametrize(("language", "task"), [("german", "translate"), ("ja", "transcribe")])
def test_whispers_labels_are_what_its_own_tokenizer_makes(language: str, task: str) -> None:
    processor, _ = family("Whisper")
    twin = copy.deepcopy(processor.tokenizer)
    twin.set_prefix_tokens(language=language, task=task)
    row = {**row_of("Whisper", words="two six"), "language": language, "task": task}
    labels = collator_of(processor)([row])["labels"][0].tolist()
    # The model puts the start in front by itself.
    assert [processor.tokenizer.convert_tokens_to_ids("<|startoftranscript|>"), *labels] == (
        twin("two six").input_ids
    )
    assert processor.tokenizer.language == "english"  # nobody's tokenizer is changed


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"language": "klingon"}, "language is 'klingon', which Whisper does not know"),
        ({"language": "de-DE"}, "language is 'de-DE'"),
        ({"language": 7}, "language is 7"),
        ({"task": "asr"}, "task is 'asr', and Whisper's are transcribe and translate"),
    ],
)
def test_an_unknown_language_or_task_names_its_row(row: dict[str, Any], told: str) -> None:
    processor, _ = family("Whisper")
    rows = [row_of("Whisper"), {**row_of("Whisper"), **row}, row_of("Whisper")]
    with pytest.raises(RowError, match=rf"row 1 .*{told}") as caught:
        collator_of(processor)(rows)
    assert caught.value.row == 1
    collator = collator_of(processor, on_error="skip")
    assert len(collator(rows)["labels"]) == 2
    assert [fault.row for fault in collator.ledger] == [1]


def test_a_language_that_the_checkpoint_lacks() -> None:
    processor = copy.deepcopy(family("Whisper")[0])
    known = processor.tokenizer.convert_tokens_to_ids

    def without(tokens: Any) -> Any:  # as before large-v3
        return processor.tokenizer.unk_token_id if tokens == "<|yue|>" else known(tokens)

    processor.tokenizer.convert_tokens_to_ids = without
    with pytest.raises(RowError, match=r"row 0 .*no <\|yue\|>"):
        collator_of(processor)([{**row_of("Whisper"), "language": "cantonese"}])


@pytest.mark.parametrize(
    ("settings", "row", "wanted"),
    [
        ({"language": None, "task": None}, {}, ["notimestamps"]),
        (
            {"language": None, "task": None},
            {"language": "de"},
            ["de", "transcribe", "notimestamps"],
        ),
        ({"predict_timestamps": True}, {"language": "de"}, ["de", "transcribe"]),
    ],
)
def test_what_the_tokenizer_is_set_to_holds_for_the_rest(
    settings: dict[str, Any], row: dict[str, Any], wanted: list[str]
) -> None:
    processor = copy.deepcopy(family("Whisper")[0])
    for name, value in settings.items():
        setattr(processor.tokenizer, name, value)
    labels = collator_of(processor)([{**row_of("Whisper"), **row}])["labels"]
    assert marks(processor, labels) == [[f"<|{name}|>" for name in wanted]]


@pytest.mark.parametrize(
    "text",
    ["six", "six<|endoftext|>", "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>six"],
)
def test_marks_and_end_of_whispers_texts_are_there_once(text: str) -> None:
    processor, model = family("Whisper")
    batch = collator_of(processor)([{"audio": array(RATE), "text": text}])
    tokens = learned(processor, batch["labels"][0])
    wanted = ["<|en|>", "<|transcribe|>", "<|notimestamps|>", "s", "i", "x", "<|endoftext|>"]
    assert tokens == wanted
    # What the decoder is given begins with the start, once.
    start = model.config.decoder_start_token_id
    shifted = shift_tokens_right(batch["labels"], 0, start)[0].tolist()
    assert (shifted[0], shifted.count(start)) == (start, 1)


def test_a_text_with_times_is_not_marked_as_one_without() -> None:
    processor = copy.deepcopy(family("Whisper")[0])
    processor.tokenizer.add_tokens(["<|0.00|>", "<|0.02|>"])
    rows = [row_of("Whisper", words="<|0.00|>six<|0.02|>"), row_of("Whisper", words="six")]
    labels = collator_of(processor)(rows)["labels"]
    wanted = ["<|en|>", "<|transcribe|>", "<|0.00|>", "s", "i", "x", "<|0.02|>", "<|endoftext|>"]
    assert learned(processor, labels[0]) == wanted
    assert learned(processor, labels[1])[2] == "<|notimestamps|>"


def test_a_start_inside_of_a_text_is_refused() -> None:
    processor, _ = family("Whisper")
    row = row_of("Whisper", words="two<|startoftranscript|>six")
    with pytest.raises(RowError, match=r"row 0 .*<\|startoftranscript\|> is inside of the text"):
        collator_of(processor)([row])


def test_whispers_end_is_learned_though_it_pads() -> None:
    processor, _ = family("Whisper")
    assert processor.tokenizer.pad_token_id == processor.tokenizer.eos_token_id
    rows = [row_of("Whisper", words="one two three"), row_of("Whisper", words="six")]
    labels = collator_of(processor)(rows)["labels"]
    assert (labels == processor.tokenizer.eos_token_id).sum(dim=1).tolist() == [1, 1]


# Transcripts as answers to the processors' own requests


@pytest.mark.parametrize("name", ["AudioFlamingo3", "GLM-ASR", "Qwen3-ASR"])
@pytest.mark.parametrize("language", [None, "german", "en"])
def test_a_transcript_is_the_answer_to_a_transcription_request(
    name: str, language: str | None
) -> None:
    processor, model = family(name, CHATML)
    row: dict[str, Any] = {"audio": array(9_000), "text": "one two", "language": language}
    batch = collator_of(processor, loss_on="response")([row])
    assert learned(processor, batch["labels"][0]) == ["one", "two", "<|im_end|>"]
    asks = {"language": language} if name == "Qwen3-ASR" else {}
    own = processor.apply_transcription_request(
        audio=[row["audio"]["array"]], return_tensors="pt", **asks
    )
    asked = own["input_ids"][0].tolist()
    assert batch["input_ids"][0].tolist()[: len(asked)] == asked
    assert torch.isfinite(model(**batch).loss)
    question = collator_of(processor, for_generation=True)([row])
    assert question["input_ids"][0].tolist() == asked


def test_a_language_that_the_request_refuses_names_the_row() -> None:
    processor, _ = family("Qwen3-ASR", CHATML)
    row = {"audio": array(9_000), "text": "one", "language": "klingon"}
    with pytest.raises(RowError, match=r"row 1 .*Qwen3ASRProcessor refuses .*klingon"):
        collator_of(processor)([{**row, "language": "de"}, row])


def test_sound_alone_trains_no_realtime_model() -> None:
    class VoxtralRealtimeProcessor:
        tokenizer = SimpleNamespace(pad_token_id=0, padding_side="left")
        feature_extractor = SimpleNamespace(sampling_rate=RATE)

        def __call__(self, audio: Any, *, return_tensors: str) -> dict[str, torch.Tensor]:
            ids = torch.tensor([[1, 32, 32]] * len(audio))
            return {"input_ids": ids, "attention_mask": ids.clamp(max=1), "num_delay_tokens": ids}

    processor = VoxtralRealtimeProcessor()
    with pytest.raises(ValueError, match=r"VoxtralRealtimeProcessor .*for_generation=True"):
        collator_of(processor)
    batch = collator_of(processor, for_generation=True)([{"audio": array(RATE)}])
    assert set(batch) == {"input_ids", "attention_mask", "num_delay_tokens"}


# Templates that fail

RAISES = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% endfor %}" + CHATML
)
TEMPLATES = {
    "raise_exception": (RAISES, r"TemplateError: System role not supported"),
    "types": ("{{ messages[0]['content'] + '!' }}" + CHATML, "TypeError: can only concatenate"),
    "undefined": ("{{ messages[0]['name']['first'] }}" + CHATML, "UndefinedError: "),
    "syntax": ("{% for message in messages %}", "TemplateSyntaxError: "),
}


@pytest.mark.parametrize("case", TEMPLATES)
@pytest.mark.parametrize("loss_on", ["text", "response"])
def test_a_template_that_raises_names_its_row(case: str, loss_on: str) -> None:
    template, told = TEMPLATES[case]
    processor, _ = family(NAME, template)
    bad = chat_row("one", "two")
    bad["messages"].insert(0, {"role": "system", "content": [{"type": "text", "text": "three"}]})
    rows = [row_of(NAME), bad, row_of(NAME)]
    with pytest.raises(RowError, match=rf"row 1 .*the chat template fails .*{told}") as caught:
        collator_of(processor, loss_on=loss_on)(rows)
    assert caught.value.row == 1
    assert caught.value.__cause__ is not None
    for on_error, left in (("skip", 2), ("replace", 3)):
        collator = collator_of(processor, loss_on=loss_on, on_error=on_error)
        assert len(collator(rows)["labels"]) == left
        assert [(fault.row, fault.error) for fault in collator.ledger] == [(1, "RowError")]
    assert preflight(rows, collator, show=False)["problem"].null_count() == 2


def test_a_response_that_cannot_be_found_loses_no_batch() -> None:
    template = "{{ messages | length }} " + CHATML
    processor, _ = family(NAME, template)
    rows = [row_of(NAME), chat_row("one", "two", "three", "four"), row_of(NAME, words="five")]
    collator = collator_of(processor, loss_on="response", on_error="skip")
    assert len(collator(rows)["labels"]) == 2
    assert "differently once message 1 follows" in collator.ledger[0].reason


# Batches for generation


def greedy(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    with torch.no_grad():
        tokens: torch.Tensor = model.generate(**batch, **options)
    return tokens[:, -4:]


QUESTIONS = [chat_row("one two three", "four", count=9_000), chat_row("one", "two", count=8_000)]


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("name", sorted(PLACEHOLDERS.keys() - {"Whisper"}))
def test_a_model_goes_on_from_the_header_of_an_answer(name: str) -> None:
    processor, model = family(name, CHATML)
    batch = collator_of(processor, for_generation=True)(QUESTIONS)
    assert "labels" not in batch
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert (mask[:, -1] == 1).all()
    tokens = [processor.tokenizer.convert_ids_to_tokens(row[-2:].tolist()) for row in ids]
    assert tokens == [["<|im_start|>", "assistant"]] * 2
    assert (mask[1, : -int(mask[1].sum())] == 0).all()  # padding is on the left
    assert greedy(model.eval(), batch).shape == (2, 4)


@pytest.mark.parametrize("name", [NAME, "Qwen3-ASR"])
def test_rows_of_a_batch_are_answered_as_they_are_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the right of a shorter row, padding would be what the model goes on from."""
    processor, model = family(name, CHATML)
    # What some checkpoints come with.
    monkeypatch.setattr(processor.tokenizer, "padding_side", "right")
    collator = collator_of(processor, for_generation=True)
    together = greedy(model.eval(), collator(QUESTIONS))
    alone = torch.cat([greedy(model, collator([row])) for row in QUESTIONS])
    assert torch.equal(together, alone)


def test_a_question_is_what_transformers_makes_of_it() -> None:
    processor, _ = family(NAME, CHATML)
    row = chat_row("one two", "three", "four", count=9_000)
    batch = collator_of(processor, for_generation=True)([row])
    content = [
        {"type": "audio", "audio": row["audio"][0]["array"]},
        row["messages"][0]["content"][1],
    ]
    asked = [{"role": "user", "content": content}, *row["messages"][1:]]
    own = processor.apply_chat_template(
        [asked], tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    assert torch.equal(batch["input_ids"], own["input_ids"])
    answered = [*row["messages"], {"role": "assistant", "content": "five"}]
    again = collator_of(processor, for_generation=True)([{**row, "messages": answered}])
    assert torch.equal(again["input_ids"], own["input_ids"])


@pytest.mark.parametrize(
    ("loss_on", "wanted"), [("text", ["one", "two"]), ("response", [])], ids=["whole", "question"]
)
def test_a_text_is_gone_on_from(loss_on: str, wanted: list[str]) -> None:
    processor, _ = family(NAME)
    batch = collator_of(processor, for_generation=True, loss_on=loss_on)([row_of(NAME)])
    tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
    assert tokens[tokens.index("<|audio_eos|>") + 1 :] == wanted


def test_an_end_that_the_tokenizer_adds_is_not_gone_on_from() -> None:
    processor = tiny_qwen2_audio_processor(tiny_tokenizer(appends_eos=True))
    rows = [row_of(NAME, words="one two three"), row_of(NAME, 9_000, words="four")]
    assert (collator_of(processor)(rows)["input_ids"] == processor.tokenizer.eos_token_id).any()
    batch = collator_of(processor, for_generation=True)(rows)
    last = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][:, -1].tolist())
    assert last == ["three", "four"]
    assert batch["attention_mask"].shape == batch["input_ids"].shape


def test_whisper_goes_on_from_the_marks_of_each_row() -> None:
    processor, model = family("Whisper")
    rows: list[dict[str, Any]] = [
        {"audio": array(RATE)},
        {"audio": array(9_000), "text": "one", "language": "de", "task": "translate"},
    ]
    batch = collator_of(processor, for_generation=True)(rows)
    assert set(batch) == {"input_features", "decoder_input_ids"}
    got = [processor.tokenizer.convert_ids_to_tokens(row) for row in batch["decoder_input_ids"]]
    first, second = "<|startoftranscript|>", "<|notimestamps|>"
    assert got == [
        [first, "<|en|>", "<|transcribe|>", second],
        [first, "<|de|>", "<|translate|>", second],
    ]
    assert len(greedy(model.eval(), batch)) == 2


def test_rows_with_and_without_a_language_do_not_mix() -> None:
    processor = copy.deepcopy(family("Whisper")[0])
    processor.tokenizer.language = processor.tokenizer.task = None
    rows: list[dict[str, Any]] = [
        {"audio": array(RATE)},
        {"audio": array(RATE), "language": "de"},
    ]
    with pytest.raises(RowError, match=r"row 1 .*give every row a language, or none"):
        collator_of(processor, for_generation=True)(rows)
    with pytest.raises(RowError, match=r"row 0 of the batch has no text"):
        collator_of(processor)(rows)


def test_what_makes_no_sense_for_generation_is_refused() -> None:
    processor, _ = family(NAME, CHATML)
    with pytest.raises(ValueError, match=r'on_error="replace" would give one row'):
        collator_of(processor, for_generation=True, on_error="replace")
    answer = {"audio": [], "messages": [{"role": "assistant", "content": "one"}]}
    with pytest.raises(RowError, match=r"row 0 .*has no question"):
        collator_of(processor, for_generation=True)([answer])
    long = collator_of(processor, for_generation=True, max_length=20)
    with pytest.raises(TextTooLongError, match=r"row 0 .*max_length takes 20"):
        long(QUESTIONS)


def test_preflight_of_questions() -> None:
    for name in (NAME, "Whisper"):
        processor, _ = family(name, None if name == "Whisper" else CHATML)
        rows = QUESTIONS if name == NAME else [{"audio": array(RATE)}]
        frame = preflight(rows, collator_of(processor, for_generation=True), show=False)
        assert frame["problem"].null_count() == len(rows)
        assert frame["labels"].null_count() == len(rows)


# Clips and texts that are too long


def long_row(path: Path, seconds: float, name: str = NAME, rate: int = RATE) -> dict[str, Any]:
    soundfile.write(path, samples(round(seconds * rate), rate=rate), rate, subtype="PCM_16")
    return {"id": path.stem, "audio_path": str(path), "text": f"{PLACEHOLDERS[name]} one two"}


def test_a_cut_clip_is_told(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    rows = [long_row(tmp_path / "long.wav", 2.5), long_row(tmp_path / "short.wav", 0.5)]
    ledger = tmp_path / "ledger.jsonl"
    collator = collator_of(processor, max_length_seconds=1.0, ledger_path=ledger)
    with pytest.warns(RuntimeWarning, match=r"a row is too long and was cut .*2\.5 s long") as told:
        batch, _ = (collator(rows) for _ in range(2))
    assert len([each for each in told if "too long" in str(each.message)]) == 1
    assert batch["feature_attention_mask"].sum(dim=1).tolist() == [100, 50]
    assert collator.counts == {"rows": 4, "cut": 2}
    (fault, again) = read_ledger(ledger)
    assert fault == again == collator.ledger[0]
    assert (fault.id, fault.row, fault.action, fault.error) == (
        "long",
        0,
        "cut",
        "ClipTooLongError",
    )
    assert fault.reason == "the clip is 2.5 s long, and max_length_seconds is 1"


def test_a_clip_that_is_too_long_may_be_an_error(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    rows = [long_row(tmp_path / "short.wav", 0.5), long_row(tmp_path / "long.wav", 2.5)]
    options = {"max_length_seconds": 1.0, "too_long": "error"}
    with pytest.raises(ClipTooLongError, match=r"long\.wav: the clip is 2\.5 s long") as caught:
        collator_of(processor, **options)(rows)
    assert caught.value.__notes__ == ["in row 1 of the batch"]
    collator = collator_of(processor, on_error="skip", **options)
    assert len(collator(rows)["labels"]) == 1
    assert collator.counts == {"rows": 2, "skip": 1}


@pytest.mark.parametrize(("on_error", "left"), [("raise", 2), ("skip", 2), ("replace", 3)])
def test_rows_that_are_dropped_are_no_faults(tmp_path: Path, on_error: str, left: int) -> None:
    processor, _ = family(NAME)
    rows = [long_row(tmp_path / f"{n}.wav", 0.5 + n) for n in (0.0, 0.1, 2.0)]
    options = {"max_length_seconds": 1.0, "too_long": "drop", "max_bad_share": 0.0}
    collator = collator_of(processor, on_error=on_error, **options)
    for _ in range(5):
        assert len(collator(rows)["labels"]) == left
    assert collator.counts == {"rows": 15, "drop": 5}
    assert {(fault.id, fault.action) for fault in collator.ledger} == {("2.0", "drop")}
    with pytest.raises(TooManyFaultsError, match="all rows of the batch"):
        collator(rows[2:])


@pytest.mark.parametrize("name", [NAME, "Whisper", "Gemma4"])
def test_what_the_processor_does_not_hear_is_told_too(tmp_path: Path, name: str) -> None:
    """Its window of 30 s ends there, whatever max_length_seconds says."""
    processor, _ = family(name)
    rows = [long_row(tmp_path / f"{s}.wav", s, name) for s in (30.0, 31.0)]
    collator = collator_of(processor, max_length_seconds=60.0)
    collator(rows)
    (fault,) = collator.ledger
    assert fault.reason == "the clip is 31 s long, and the processor hears 30 s of it"
    with pytest.raises(ClipTooLongError, match=r"31\.0\.wav"):
        collator_of(processor, max_length_seconds=60.0, too_long="error")(rows)


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
def test_a_clip_as_long_as_is_kept_is_not_too_long(tmp_path: Path, rate: int) -> None:
    processor, _ = family(NAME)
    options = {"max_length_seconds": 1.0, "too_long": "error", "auto_resample": True}
    collator = collator_of(processor, **options)
    collator([long_row(tmp_path / "a.wav", 1.0, rate=rate)])
    with pytest.raises(ClipTooLongError):
        collator([long_row(tmp_path / "a.wav", 1.001, rate=rate)])


def test_a_segment_counts_and_not_its_recording(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    row = long_row(tmp_path / "a.wav", 5.0)
    collator = collator_of(processor, max_length_seconds=1.0, too_long="error")
    collator([{**row, "offset": 2.0, "duration": 1.0}])
    with pytest.raises(ClipTooLongError, match=r"the clip is 1\.5 s long"):
        collator([{**row, "offset": 2.0, "duration": 1.5}])


@pytest.mark.parametrize("form", ["array", "bytes"])
def test_sound_without_a_file_is_as_long_as_it_is(tmp_path: Path, form: str) -> None:
    processor, _ = family(NAME)
    row = long_row(tmp_path / "a.wav", 2.0)
    audio = array(2 * RATE) if form == "array" else Path(row["audio_path"]).read_bytes()
    collator = collator_of(processor, max_length_seconds=1.0, too_long="error")
    with pytest.raises(ClipTooLongError, match=f"<{form}>: the clip is 2 s long"):
        collator([{"audio": audio, "text": row["text"]}])


@pytest.mark.parametrize("kind", ["waveforms", "features"])
def test_caches_hide_nothing(tmp_path: Path, kind: str) -> None:
    processor, _ = family(NAME)
    row = long_row(tmp_path / "a.wav", 2.0)
    row["audio_blob_sha"] = hashlib.sha256(Path(row["audio_path"]).read_bytes()).hexdigest()
    cache = (
        {"waveform_cache": WaveformCache(tmp_path / "cache")}
        if kind == "waveforms"
        else {"feature_cache": AudioCache(tmp_path / "cache")}
    )
    collator = collator_of(processor, max_length_seconds=1.0, **cache)
    collator([row])
    collator([row])
    assert [fault.action for fault in collator.ledger] == ["cut", "cut"]


def test_whispers_decoder_takes_448_labels() -> None:
    processor, model = family("Whisper")
    rows = [row_of("Whisper", words=" ".join(["three"] * 150)), row_of("Whisper", words="six")]
    collator = collator_of(processor)
    batch = collator(rows)
    assert batch["labels"].shape == (2, 448)
    assert batch["labels"][0, -1] == processor.tokenizer.eos_token_id
    assert marks(processor, batch["labels"])[0] == ["<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    assert torch.isfinite(model(**batch).loss)
    assert collator.ledger[0].reason.endswith("the model's decoder takes 448")
    with pytest.raises(TextTooLongError, match=r"row 0 .*903 labels") as caught:
        collator_of(processor, too_long="error")(rows)
    assert caught.value.row == 0
    dropping = collator_of(processor, too_long="drop")
    assert len(dropping(rows)["labels"]) == 1
    assert dropping.counts == {"rows": 2, "drop": 1}


def test_max_length_tells_what_it_cuts() -> None:
    processor, _ = family(NAME)
    rows = [row_of(NAME, 9_000, "one two three four"), row_of(NAME, 9_000, "five", seed=1)]
    tokens = int(collator_of(processor)(rows)["attention_mask"][0].sum())
    collator = collator_of(processor, max_length=tokens - 1)
    collator(rows)
    assert [(fault.row, fault.error) for fault in collator.ledger] == [(0, "TextTooLongError")]
    with pytest.raises(TextTooLongError, match=rf"row 0 .*has {tokens} tokens"):
        collator_of(processor, max_length=tokens - 1, too_long="error")(rows)
    enough = collator_of(processor, max_length=tokens, too_long="error")
    assert len(enough(rows)["labels"]) == 2


def test_preflight_reports_what_is_too_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    processor, _ = family("Whisper")
    words = " ".join(["three"] * 150)
    rows = [
        {"audio": array(RATE), "text": words},
        {"audio": array(60 * RATE), "text": words},
        {"audio": array(RATE), "text": "six"},
    ]
    frame = preflight(rows, collator_of(processor))
    cut, text = "the clip is too long and is cut", "the text is too long and is cut"
    told = [[remark.partition(";")[0] for remark in own] for own in frame["remarks"]]
    assert told == [[text], [cut, text], []]
    assert frame["problem"].null_count() == 3
    assert frame["labels"].to_list()[:2] == [448, 448]
    assert "too long" in " ".join(capsys.readouterr().out.split())
    frame = preflight(rows, collator_of(processor, too_long="drop"), show=False)
    problems = [(one or "").partition(":")[0] for one in frame["problem"]]
    assert problems == ["TextTooLongError", "ClipTooLongError", ""]


def test_rows_add_up(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    rows = [
        long_row(tmp_path / "good.wav", 0.5),
        long_row(tmp_path / "long.wav", 2.0),
        {"audio_path": str(tmp_path / "gone.wav"), "text": f"{AUDIO} one"},
        {"audio": array(9_000), "text": "one"},
    ]
    options = {"max_length_seconds": 1.0, "on_error": "skip", "max_bad_share": 1.0}
    for too_long, left in (("cut", 2), ("drop", 1), ("error", 1)):
        collator = collator_of(processor, too_long=too_long, **options)
        kept = len(collator(rows)["labels"])
        counts = collator.counts
        assert kept == left
        assert counts["rows"] == 4 == kept + counts.get("skip", 0) + counts.get("drop", 0)
        assert len(collator.ledger) == 3


@pytest.mark.parametrize("too_long", ["cut off", None])
def test_an_unknown_choice_is_refused(too_long: Any) -> None:
    processor, _ = family(NAME)
    with pytest.raises(ValueError, match='too_long must be "cut", "drop" or "error"'):
        collator_of(processor, too_long=too_long)


# Ends, beginnings, ids


def test_an_end_that_is_also_the_padding_is_learned() -> None:
    processor = tiny_qwen2_audio_processor(tiny_tokenizer(pad_is_eos=True))
    rows = [row_of(NAME, words="one <|endoftext|>"), row_of(NAME, words="one two <|endoftext|>")]
    labels = collator_of(processor)(rows)["labels"]
    assert learned(processor, labels[0]) == ["one", "<|endoftext|>"]
    assert learned(processor, labels[1]) == ["one", "two", "<|endoftext|>"]


@pytest.mark.parametrize("kind", ["text", "messages"])
def test_a_beginning_that_the_tokenizer_adds_is_there_once(kind: str) -> None:
    from tokenizers.processors import TemplateProcessing

    processor, _ = tiny_family(NAME, chat="<|endoftext|> " + CHATML)
    tokenizer = processor.tokenizer
    tokenizer.bos_token = "<|endoftext|>"
    begin = ("<|endoftext|>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        "<|endoftext|> $A", special_tokens=[begin]
    )
    row = chat_row("one", "two")
    if kind == "text":
        row = {"audio": array(RATE), "text": f"<|endoftext|> {AUDIO} one"}
    for options in ({}, {"for_generation": True}):
        ids = collator_of(processor, **options)([row])["input_ids"][0]
        assert ids[0] == tokenizer.bos_token_id
        assert (ids == tokenizer.bos_token_id).sum() == 1


@pytest.mark.parametrize("given", [7, "7", np.int64(7)])
def test_ids_are_told_as_texts(tmp_path: Path, given: Any) -> None:
    processor, _ = family(NAME)
    collator = collator_of(processor, on_error="skip")
    collator([{"id": given, "audio_path": "gone.wav", "text": f"{AUDIO} one"}, row_of(NAME)])
    assert [fault.id for fault in collator.ledger] == ["7"]


def test_a_row_of_sound_alone_has_nothing_to_learn() -> None:
    processor, _ = family(NAME)
    rows = [row_of(NAME), {"audio": array(RATE), "text": AUDIO}]
    with pytest.raises(NoLabelError, match=r"row 1 .*no text to compute a loss on"):
        collator_of(processor)(rows)
    assert len(collator_of(processor, loss_on="all")(rows)["labels"]) == 2

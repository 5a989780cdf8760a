"""Which tokens are learned: responses with their ends, whatever the template and the tokenizer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from collating import array, chat_row, collator_of, family, learned, one_thread, row_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from ossicle.collator import NoLabelError, RowError, TextTooLongError
from ossicle.experiment.tiny import AUDIO, WORDS, tiny_qwen2_audio_processor
from ossicle.experiment.tiny_families import CHATML, CHATML_MARKED, PLACEHOLDERS, tiny_family

__all__ = ["one_thread"]

NAMES = sorted(PLACEHOLDERS.keys() - {"Whisper"})
TEMPLATES = {"plain": CHATML, "marked": CHATML_MARKED}


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", NAMES)
def test_turns_of_the_assistant_and_their_ends(name: str, template: str) -> None:
    processor, model = family(name, TEMPLATES[template])
    rows = [chat_row("one two", "three four"), chat_row("one", "two", "three", "four five")]
    batch = collator_of(processor, loss_on="response")(rows)
    assert learned(processor, batch["labels"][0]) == ["three", "four", "<|im_end|>"]
    wanted = ["two", "<|im_end|>", "four", "five", "<|im_end|>"]
    assert learned(processor, batch["labels"][1]) == wanted
    is_label = batch["labels"] != -100
    assert torch.equal(batch["labels"][is_label], batch["input_ids"][is_label])
    assert torch.isfinite(model(**batch).loss)


@given(
    turns=st.lists(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), min_size=2, max_size=6
    ),
    audios=st.integers(1, 3),
    template=st.sampled_from(sorted(TEMPLATES)),
)
@settings(max_examples=25, deadline=None)
def test_it_is_the_mask_of_transformers(turns: list[list[str]], audios: int, template: str) -> None:
    processor, _ = family("Qwen2Audio", TEMPLATES[template])
    if len(turns) % 2:
        turns = turns[:-1]
    row = chat_row(*(" ".join(turn) for turn in turns), audios=audios)
    got = collator_of(processor, loss_on="response")([row])
    audio = iter(one["array"] for one in row["audio"])
    content = [
        {**part, "audio": next(audio)} if part["type"] == "audio" else part
        for part in row["messages"][0]["content"]
    ]
    wanted = processor.apply_chat_template(
        [[{"role": "user", "content": content}, *row["messages"][1:]]],
        chat_template=CHATML_MARKED.replace("PLACEHOLDER", PLACEHOLDERS["Qwen2Audio"]),
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        return_assistant_tokens_mask=True,
    )
    mask = torch.as_tensor(wanted["assistant_masks"]) == 1
    assert torch.equal(got["labels"] != -100, mask)


def byte_processor(template: str) -> Any:
    """Over bytes and one merge, so that spaces and line breaks are tokens, and some are joined."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    merges = [("Ċ", "Ċ"), ("Ġ", "t"), ("h", "e")]
    for merge in merges:
        vocabulary["".join(merge)] = len(vocabulary)
    backend = Tokenizer(BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|im_start|>", "<|im_end|>", "<pad>"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", additional_special_tokens=special
    )
    processor = tiny_qwen2_audio_processor(tokenizer)
    processor.chat_template = template
    return processor


def test_qwens_own_template_with_line_breaks() -> None:
    processor = byte_processor("")
    processor.chat_template = processor.default_chat_template
    batch = collator_of(processor, loss_on="response")([chat_row("Hear?", "the bell", "and", "no")])
    labels = batch["labels"][0]
    assert processor.tokenizer.decode(labels[labels != -100]) == "the bell<|im_end|>no<|im_end|>"


HEADED = (
    "{% for message in messages %}{{ message['role'] | upper }}:"
    "{% if message['content'] is string %} {{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def test_a_template_without_an_end_of_turn_token_ends_where_the_turn_ends() -> None:
    processor = byte_processor(HEADED)
    batch = collator_of(processor, loss_on="response")([chat_row("Hear?", "the bell")])
    labels = batch["labels"][0]
    assert processor.tokenizer.decode(labels[labels != -100]) == " the bell\n"


def test_a_token_across_the_beginning_of_a_response() -> None:
    # "\n" ends the prompt and begins the response: both are one token.
    row = chat_row("Hear?", "\nthe bell")
    plain = byte_processor("")
    plain.chat_template = plain.default_chat_template
    with pytest.raises(RowError, match=r"row 0 .*tokenizer splits.*generation"):
        collator_of(plain, loss_on="response")([row])
    marked = byte_processor(
        plain.default_chat_template.replace(
            "{{ message['content'] }}<|im_end|>\n",
            "{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}\n",
        )
    )
    batch = collator_of(marked, loss_on="response")([row])
    labels = batch["labels"][0]
    assert marked.tokenizer.decode(labels[labels != -100]).lstrip("\n") == "the bell<|im_end|>"


def test_a_template_that_rewrites_its_beginning_is_refused() -> None:
    template = "{{ messages | length }} " + CHATML.replace("PLACEHOLDER", AUDIO)
    processor, _ = tiny_family("Qwen2Audio")
    processor.chat_template = template
    row = chat_row("one", "two", "three", "four")
    collator_of(processor)([row])
    with pytest.raises(RowError, match=r"row 0 .*message 1 follows.*\{% generation %\}"):
        collator_of(processor, loss_on="response")([row])


def test_a_plain_text_learns_what_follows_the_recording() -> None:
    processor, _ = family("Qwen2Audio")
    rows = [
        {"audio": array(9_000), "text": f"one two {AUDIO} three four <|endoftext|>"},
        {"audio": [array(9_000)] * 2, "text": f"{AUDIO} one {AUDIO} two"},
    ]
    batch = collator_of(processor, loss_on="response")(rows)
    assert learned(processor, batch["labels"][0]) == ["three", "four", "<|endoftext|>"]
    assert learned(processor, batch["labels"][1]) == ["two"]


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_either_side_of_padding(padding_side: str) -> None:
    processor, _ = tiny_family("Qwen2Audio", chat=CHATML)
    processor.tokenizer.padding_side = padding_side
    rows = [chat_row("one", "two"), chat_row("one two three", "four", count=40_000)]
    batch = collator_of(processor, loss_on="response")(rows)
    assert learned(processor, batch["labels"][0]) == ["two", "<|im_end|>"]
    assert learned(processor, batch["labels"][1]) == ["four", "<|im_end|>"]


def test_chat_markup_in_a_text_says_what_to_give_instead() -> None:
    processor, _ = family("Qwen2Audio", CHATML)
    text = f"<|im_start|> user {AUDIO} one <|im_end|> <|im_start|> assistant two <|im_end|>"
    row = {"audio": array(9_000), "text": text}
    collator_of(processor)([row])
    with pytest.raises(RowError, match=r"row 0 .*chat markup \('<\|im_start\|>'\).*messages"):
        collator_of(processor, loss_on="response")([row])
    headed = byte_processor(HEADED)
    row = {"audio": array(9_000), "text": f"USER:{AUDIO} Hear?\nASSISTANT: the bell"}
    with pytest.raises(RowError, match=r"row 0 .*chat markup \('ASSISTANT:'\).*messages"):
        collator_of(headed, loss_on="response")([row])


def test_a_row_without_a_response_is_named() -> None:
    processor, _ = family("Qwen2Audio", CHATML)
    rows = [chat_row("one", "two"), chat_row("one")]
    with pytest.raises(NoLabelError, match=r"row 1 .*no response") as caught:
        collator_of(processor, loss_on="response")(rows)
    assert caught.value.row == 1
    with pytest.raises(NoLabelError, match="row 0"):
        collator_of(processor, loss_on="response")([{"audio": array(9_000), "text": AUDIO}])


@given(max_length=st.integers(15, 40))
@settings(max_examples=20, deadline=None)
def test_max_length_never_leaves_a_row_without_a_label(max_length: int) -> None:
    processor, _ = family("Qwen2Audio", CHATML)
    row = chat_row("one two three", "four five six", count=8_000)  # 13 placeholders
    whole = collator_of(processor, loss_on="response")([row])
    collator = collator_of(processor, loss_on="response", max_length=max_length)
    length = whole["labels"].shape[1]
    # 8 tokens of the prompt stand before the response, 15 of sound among them.
    before = int((whole["labels"][0] != -100).nonzero()[0])
    if max_length <= before:
        with pytest.raises(TextTooLongError, match=r"row 0 .*max_length="):
            collator([row])
        return
    batch = collator([row])
    assert batch["labels"].shape[1] == min(length, max_length)
    wanted = learned(processor, whole["labels"][0])[: max_length - before]
    assert learned(processor, batch["labels"][0]) == wanted


def test_words_cut_from_the_left_leave_the_response() -> None:
    processor, _ = tiny_family("Qwen2Audio", chat=CHATML)
    processor.tokenizer.truncation_side = "left"
    row = chat_row("one two three", "four", count=8_000)
    batch = collator_of(processor, loss_on="response", max_length=20)([row])
    assert batch["labels"].shape == (1, 20)
    assert learned(processor, batch["labels"][0]) == ["four", "<|im_end|>"]


def test_an_unknown_choice_is_refused() -> None:
    processor, _ = family("Qwen2Audio")
    with pytest.raises(ValueError, match="loss_on"):
        collator_of(processor, loss_on="answers")


def test_all_is_every_token_that_is_not_padding() -> None:
    processor, _ = family("Qwen2Audio", CHATML)
    rows = [chat_row("one", "two"), row_of("Qwen2Audio")]
    batch = collator_of(processor, loss_on="all")(rows)
    assert torch.equal(batch["labels"] == -100, batch["attention_mask"] == 0)

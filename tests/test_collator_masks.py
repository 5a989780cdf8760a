"""Which tokens each family learns, derived here from the tokens and the structure of its template.

Nothing of the collator's own way (offsets of expansions, prefixes that are tokenised) is used: a
row of words is read from left to right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from collating import RATE, chat_row, collator_of, family, one_thread, row_of
from torch.nn.functional import cross_entropy

from ossicle.experiment.tiny_families import CHATML, PLACEHOLDERS

__all__ = ["one_thread"]

pytestmark = pytest.mark.filterwarnings("ignore:a row is too long")

_QWEN2 = {"<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"}
_QWEN3 = {"<|audio_pad|>", "<|audio_start|>", "<|audio_end|>"}
SOUND = {
    "Qwen2Audio": _QWEN2,
    "Qwen2.5-Omni": _QWEN2,
    "Qwen3-Omni": _QWEN3,
    "Qwen3-ASR": _QWEN3,
    "GraniteSpeech": {"<|audio|>"},
    "Gemma3n": {"<audio_soft_token>", "<start_of_audio>", "<end_of_audio>"},
    "Gemma4": {"<|audio|>", "<|audio>", "<audio|>"},
    "Phi4-multimodal": {"<|audio|>"},
    "AudioFlamingo3": {"<sound>"},
    "MusicFlamingo": {"<sound>", "<|sound_bos|>", "<|sound_eos|>"},
    "GLM-ASR": {"<|pad|>", "<|begin_of_audio|>", "<|end_of_audio|>"},
}
"""What stands for a recording, by the documentation of each processor."""

COUNT = 8_000
ROWS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "text": lambda name: [
        row_of(name, COUNT, "one two three four"),
        row_of(name, COUNT, "five six", seed=1),
    ],
    "chat": lambda name: [
        chat_row("one two", "three", "four", "five six seven", count=COUNT),
        chat_row("one", "two", count=COUNT),
    ],
}


def derived(tokens: list[str], kind: str, loss_on: str, sound: set[str]) -> list[bool]:
    """What is learned of a row's tokens."""
    if loss_on == "all":
        return [True] * len(tokens)
    if loss_on == "text":
        return [token not in sound for token in tokens]
    if kind == "text":
        last = max(place for place, token in enumerate(tokens) if token in sound)
        return [place > last for place in range(len(tokens))]
    return list(_in_turns_of_the_assistant(tokens))


def _in_turns_of_the_assistant(tokens: list[str]) -> Iterator[bool]:
    role = None
    for place, token in enumerate(tokens):
        if token == "<|im_start|>":
            role = None
        elif tokens[place - 1] == "<|im_start|>":
            role = token
            yield False
            continue
        yield role == "assistant" and token != "<|im_start|>"


def without_words(
    pairs: list[tuple[str, bool]], most: int, side: str, sound: set[str]
) -> list[tuple[str, bool]]:
    """Takes tokens of the text away, one at a time, until the row fits."""
    left = list(pairs)
    while len(left) > most:
        places = [place for place, (token, _) in enumerate(left) if token not in sound]
        del left[places[0] if side == "left" else places[-1]]
    return left


def pairs_of(processor: Any, batch: dict[str, torch.Tensor]) -> list[list[tuple[str, bool]]]:
    """Of each row its tokens, and whether they are learned."""
    rows = []
    for ids, mask, labels in zip(
        batch["input_ids"], batch["attention_mask"].bool(), batch["labels"], strict=True
    ):
        assert bool((labels[~mask] == -100).all())
        is_learned = labels[mask] != -100
        assert torch.equal(labels[mask][is_learned], ids[mask][is_learned])
        tokens = processor.tokenizer.convert_ids_to_tokens(ids[mask].tolist())
        rows.append(list(zip(tokens, is_learned.tolist(), strict=True)))
    return rows


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", sorted(SOUND))
def test_labels_are_those_that_the_row_says(
    name: str, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor, _ = family(name, CHATML)
    monkeypatch.setattr(processor.tokenizer, "padding_side", side)
    monkeypatch.setattr(processor.tokenizer, "truncation_side", side)
    if name == "Qwen2.5-Omni":  # its windows of five minutes take long
        monkeypatch.setattr(processor.feature_extractor, "n_samples", 30 * RATE)
    sound = SOUND[name]
    for kind, rows in ROWS.items():
        whole = pairs_of(processor, collator_of(processor, loss_on="all")(rows(name)))
        most = max(map(len, whole)) - 2
        for loss_on in ("text", "response", "all"):
            wanted = []
            for row in whole:
                tokens = [token for token, _ in row]
                learned = derived(tokens, kind, loss_on, sound)
                assert any(learned)
                wanted.append(list(zip(tokens, learned, strict=True)))
            got = collator_of(processor, loss_on=loss_on)(rows(name))
            assert pairs_of(processor, got) == wanted, (kind, loss_on)
            cut = collator_of(processor, loss_on=loss_on, max_length=most)(rows(name))
            shorter = [without_words(row, most, side, sound) for row in wanted]
            assert pairs_of(processor, cut) == shorter, (kind, loss_on, most)


@pytest.mark.parametrize("loss_on", ["text", "all"])
def test_the_loss_is_that_of_the_text(loss_on: str) -> None:
    """A loss on placeholders falls by itself and hides that on the text."""
    processor, model = family("Qwen2Audio", CHATML)
    batch = collator_of(processor, loss_on=loss_on)(ROWS["text"]("Qwen2Audio"))
    with torch.no_grad():
        output = model(**batch)
    ids, mask = batch["input_ids"], batch["attention_mask"].bool()
    names = processor.tokenizer.convert_tokens_to_ids(sorted(SOUND["Qwen2Audio"]))
    is_text = mask & ~torch.isin(ids, torch.tensor(names))
    kept = (is_text if loss_on == "text" else mask)[:, 1:]
    own = cross_entropy(output.logits[:, :-1][kept], ids[:, 1:][kept])
    torch.testing.assert_close(output.loss, own, rtol=0, atol=1e-5)


def test_every_family_with_a_placeholder_is_here() -> None:
    assert SOUND.keys() == {name for name, mark in PLACEHOLDERS.items() if mark}

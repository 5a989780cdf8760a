"""Which tokens a row is to learn: those of its text, those of its responses, or all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ossicle.collator.errors import CollatorError, RowError
from ossicle.collator.templates import chat_template, name_of, render
from ossicle.collator.types import Encoding, Example, Family, Prompt, Request

if TYPE_CHECKING:
    import torch

__all__ = [
    "IGNORE_INDEX",
    "LossOn",
    "check_loss_on",
    "common",
    "learned_mask",
    "marked_tokens",
    "response_mask",
    "token_id",
]

LossOn: TypeAlias = Literal["text", "response", "all"]
"""What a row learns: its text, its responses, or all, the placeholders of its audio too."""

IGNORE_INDEX = -100
"""What torch's cross entropy skips by default."""


def check_loss_on(loss_on: str) -> None:
    """A ValueError unless it is one of `LossOn`."""
    if loss_on not in get_args(LossOn):
        raise ValueError(f'loss_on must be "text", "response" or "all", not {loss_on!r}')


def learned_mask(
    encoding: Encoding, loss_on: LossOn, processor: Any, family: Family
) -> torch.Tensor:
    """True at the tokens that are learned, bool ``(B, L)``; ``encoding`` has its responses."""
    import torch

    # Padding is where the attention mask says so. Comparing ids with the pad token would also
    # mask the real ends of texts wherever a tokenizer pads with its end-of-text token, and the
    # model would never learn to stop.
    learned: torch.Tensor = encoding.text["attention_mask"] != 0
    if loss_on == "all":
        return learned
    if loss_on == "response" and encoding.response is not None:
        learned = learned & encoding.response
    # Of placeholders there are three for each word, and they teach nothing: a loss on them falls
    # while that on the text does not.
    ids = encoding.text["input_ids"]
    sound = torch.tensor(marked_tokens(processor, family), dtype=ids.dtype)
    return learned & ~torch.isin(ids, sound)


def response_mask(request: Request, encoding: Encoding, family: Family) -> torch.Tensor:
    """True at the tokens of responses, their end-of-turn tokens among them, bool ``(B, L)``.

    Of a conversation these are the assistant's turns; of a plain text, what follows its last
    recording.

    Raises:
        RowError: Nothing tells where the response is.
    """
    if encoding.response is not None:
        return encoding.response
    import torch

    text = encoding.text
    if "text_replacement_offsets" not in text:
        raise CollatorError(
            f"{type(request.processor).__name__} does not expose how it expands audio, "
            "without which "
            'loss_on="response" is impossible; transformers 5.23 or later is needed'
        )
    mask = torch.zeros_like(text["input_ids"], dtype=torch.bool)
    finder = _ResponseFinder(request.processor, family)
    for row, (example, prompt) in enumerate(zip(request.examples, request.prompts, strict=True)):
        places = text["attention_mask"][row].nonzero().flatten()
        ids = text["input_ids"][row][places].tolist()
        offsets = text["text_replacement_offsets"][row]
        for start, end in finder.spans(example, prompt, ids, offsets):
            mask[row, places[start:end]] = True
    return mask


class _ResponseFinder:
    """Finds responses in tokens with one processor."""

    def __init__(self, processor: Any, family: Family) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._sound = set(marked_tokens(processor, family))
        self._specials = set(self._tokenizer.all_special_ids)

    def spans(
        self, example: Example, prompt: Prompt, ids: list[int], offsets: list[dict[str, Any]]
    ) -> list[tuple[int, int]]:
        if prompt.turns is None:
            self._check_plain(example, prompt, ids)
            # Of a text without sound, all is learned.
            places = (place for place, token in enumerate(ids) if token in self._sound)
            last = max(places, default=-1)
            return [(last + 1, len(ids))]
        return [self._turn(example, prompt, turn, ids, offsets) for turn in prompt.turns]

    def _turn(
        self,
        example: Example,
        prompt: Prompt,
        turn: tuple[int, int],
        ids: list[int],
        offsets: list[dict[str, Any]],
    ) -> tuple[int, int]:
        """The tokens of one turn: tokenised up to its begin and up to its end."""
        start, end = (self._tokens(_expand(prompt.text, place, offsets)) for place in turn)
        for part in (start, end):
            same = common(part, ids)
            # A template's own marks may lie within a token: it is then the response's.
            if same < len(part) - prompt.is_marked:
                raise RowError(
                    f"{example.name}: the tokenizer splits the conversation before a response "
                    f"differently from the whole (token {same}), so that the response "
                    "cannot be found; mark it in the chat template with {% generation %}",
                    row=example.index,
                )
        first, last = common(start, ids), len(end)
        return first, last if prompt.is_marked else self._end_of_turn(ids, first, last)

    def _end_of_turn(self, ids: list[int], first: int, last: int) -> int:
        """After the last special token: line breaks after it belong to no turn."""
        ends = [place + 1 for place in range(first, last) if ids[place] in self._specials]
        return ends[-1] if ends else last

    def _tokens(self, text: str) -> list[int]:
        """As the processor tokenises, without what the tokenizer puts after every text."""
        found = self._tokenizer(text, return_special_tokens_mask=True)
        ids, added = list(found["input_ids"]), found["special_tokens_mask"]
        while ids and added[len(ids) - 1] and len(ids) > 1:
            ids.pop()
        return ids

    def _check_plain(self, example: Example, prompt: Prompt, ids: list[int]) -> None:
        plain = {self._tokenizer.bos_token_id, self._tokenizer.eos_token_id}
        plain |= {self._tokenizer.pad_token_id, self._tokenizer.unk_token_id}
        markup = [token for token in ids if token in self._specials - self._sound - plain]
        shown = [str(self._tokenizer.convert_ids_to_tokens(token)) for token in markup[:1]]
        shown += [header for header in (self._header(),) if header and header in prompt.text]
        if shown:
            raise RowError(
                f"{example.name}: the text contains chat markup ({shown[0]!r}), so the start "
                'of its response is unknown; for loss_on="response" pass messages instead of text',
                row=example.index,
            )

    def _header(self) -> str | None:
        """What the chat template writes in front of a response; None without a template."""
        template = chat_template(self._processor)
        if template is None:
            return None
        asked = [{"role": "user", "content": "?"}]
        try:
            before, _ = render(self._processor, template, asked)
            after, _ = render(self._processor, template, asked, add_generation_prompt=True)
        except Exception:
            # Templates raise what they like at conversations that they do not expect.
            return None
        return after.removeprefix(before).strip() or None


def _expand(text: str, end: int, offsets: list[dict[str, Any]]) -> str:
    """The first ``end`` characters of a prompt, with its placeholders as the processor has them."""
    done, pieces = 0, []
    for offset in offsets:
        first, last = offset["span"]
        if last <= end:
            pieces += [text[done:first], offset["replacement"]]
            done = last
    return "".join([*pieces, text[done:end]])


def common(one: list[int], other: list[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def marked_tokens(processor: Any, family: Family) -> list[int]:
    """The ids of the placeholder and of what stands around it."""
    if family.sound_ids is not None:
        return family.sound_ids(processor)
    ids = [token_id(processor, name) for name in family.marks]
    return [found for found in ids if found is not None]


def token_id(processor: Any, name: str) -> int | None:
    """The id of a token that the processor, or its tokenizer, names; None where there is none."""
    tokenizer, token = processor.tokenizer, name_of(processor, name)
    if token is None:
        return None
    found = tokenizer.convert_tokens_to_ids(token)
    return None if found == tokenizer.unk_token_id else int(found)

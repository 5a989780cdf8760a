"""Rows of more than ``max_length`` tokens: words go, recordings stay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ossicle.collator.errors import TextTooLongError
from ossicle.collator.types import Encoding, Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["Shortener"]

_TEXT_TENSORS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


@dataclass(frozen=True)
class Shortener:
    """Cuts the text of long rows.

    The processor could truncate by itself, but only at the end of a row, whatever is there: where
    the audio stands behind the text it would cut placeholders, and raise.

    Attributes:
        tokenizer: Says from which side text is taken, and what padding is.
        max_length: The most tokens that a row may have.
        fixed_ids: Tokens that always stay: placeholders and their marks.
    """

    tokenizer: Any
    max_length: int
    fixed_ids: Sequence[int]

    def __call__(
        self, encoding: Encoding, examples: Sequence[Example]
    ) -> tuple[Encoding, dict[int, Exception]]:
        """The shortened rows, and the errors of those that cannot be, by their places."""
        text = encoding.text
        real = text["attention_mask"].bool()
        if int(real.sum(dim=1).max()) <= self.max_length:
            return encoding, {}
        fixed = real & (text["special_tokens_mask"].bool() | self._sound(text["input_ids"]))
        errors = self._errors(examples, real, fixed, is_labels=encoding.is_labels)
        if errors:
            return encoding, errors
        kept = [self._kept_places(*masks) for masks in zip(real, fixed, strict=True)]
        return self._gather(encoding, kept, real), {}

    def _sound(self, input_ids: torch.Tensor) -> torch.Tensor:
        """True at audio placeholders and at the marks around them, ``(B, L)``."""
        import torch

        return torch.isin(input_ids, torch.tensor(self.fixed_ids, dtype=input_ids.dtype))

    def _errors(
        self,
        examples: Sequence[Example],
        real: torch.Tensor,
        fixed: torch.Tensor,
        *,
        is_labels: bool,
    ) -> dict[int, Exception]:
        what = "special tokens take" if is_labels else "audio takes"
        totals, taken = real.sum(dim=1).tolist(), fixed.sum(dim=1).tolist()
        return {
            place: TextTooLongError(
                f"{example.name}: its {what} {taken[place]} tokens of max_length="
                f"{self.max_length} and leaves none for its text; raise max_length or lower "
                "max_length_seconds",
                row=example.index,
            )
            for place, example in enumerate(examples)
            if totals[place] > self.max_length <= taken[place]
        }

    def _kept_places(self, real: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Which positions of one row stay, as a mask ``(L,)``."""
        excess = int(real.sum()) - self.max_length
        if excess <= 0:
            return real
        text = (real & ~fixed).nonzero().flatten()
        kept = real.clone()
        at_left = self.tokenizer.truncation_side == "left"
        kept[text[:excess] if at_left else text[-excess:]] = False
        return kept

    def _gather(self, encoding: Encoding, kept: list[torch.Tensor], real: torch.Tensor) -> Encoding:
        # Rows without any padding are all of one length, and stay so: the side is then no matter.
        side = "right" if bool(real[:, 0].all()) else "left"
        text = dict(encoding.text)
        for name in text.keys() & set(_TEXT_TENSORS):
            fill = self.tokenizer.pad_token_id if name == "input_ids" else 0
            text[name] = _gather_rows(text[name], kept, side, fill)
        response = encoding.response
        if response is not None:
            response = _gather_rows(response, kept, side, 0)
        return replace(encoding, text=text, response=response)


def _gather_rows(
    values: torch.Tensor, kept: list[torch.Tensor], side: str, fill: int
) -> torch.Tensor:
    """The kept positions of each row of ``values`` ``(B, L)``, padded again to one length."""
    from torch.nn.utils.rnn import pad_sequence

    rows = [row[keep] for row, keep in zip(values, kept, strict=True)]
    return pad_sequence(rows, batch_first=True, padding_value=fill, padding_side=side)

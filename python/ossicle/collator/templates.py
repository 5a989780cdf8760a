"""Chat templates of processors: which one, what it renders, and errors that name the row."""

from __future__ import annotations

from typing import Any

from ossicle.collator.errors import RowError
from ossicle.collator.types import Example

__all__ = ["Rendering", "chat_template", "name_of", "render", "repeated_beginning"]


def name_of(processor: Any, attribute: str) -> str | None:
    """A token that the processor, or its tokenizer, names; a token itself is its own name."""
    if attribute.startswith("<"):
        return attribute
    found = getattr(processor, attribute, None) or getattr(processor.tokenizer, attribute, None)
    return None if found is None else str(found)


def chat_template(processor: Any) -> str | None:
    """The processor's template, or its tokenizer's; of several, the one named ``default``."""
    found = getattr(processor, "chat_template", None)
    found = found or getattr(processor.tokenizer, "chat_template", None)
    return found.get("default") if isinstance(found, dict) else found


def render(
    processor: Any, template: str, messages: list[dict[str, Any]], **options: bool
) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation, and where the template marks what the model generates.

    Raises:
        Exception: Templates raise what they like at conversations that they do not expect.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    named = processor.tokenizer.special_tokens_map
    # transformers says that it returns a string.
    found: Any = render_jinja_template(
        conversations=[messages], chat_template=template, **{**named, **options}
    )
    texts, spans = found
    return texts[0], [(start, end) for start, end in spans[0]] if spans else []


class Rendering:
    """The processor's chat template, whose errors name the row.

    Attributes:
        template: Its source.
    """

    def __init__(self, processor: Any, example: Example) -> None:
        template = chat_template(processor)
        if template is None:
            raise RowError(
                f"{example.name}: {type(processor).__name__} has no chat template for messages; "
                "set processor.chat_template, or give text",
                row=example.index,
            )
        self.template = template
        self._processor, self._example = processor, example

    def __call__(
        self, messages: list[dict[str, Any]], **options: bool
    ) -> tuple[str, list[tuple[int, int]]]:
        """As `render`."""
        try:
            return render(self._processor, self.template, messages, **options)
        except Exception as error:
            roles = ", ".join(str(message["role"]) for message in messages) or "none"
            raise RowError(
                f"{self._example.name}: the chat template fails at its messages ({roles}): "
                f"{type(error).__name__}: {error}",
                row=self._example.index,
            ) from error


def repeated_beginning(processor: Any, text: str) -> int:
    """Characters of a beginning-of-text token that the tokenizer will add once more."""
    tokenizer = processor.tokenizer
    token = getattr(tokenizer, "bos_token", None)
    if not token or not text.startswith(token):
        return 0
    ids = tokenizer("")["input_ids"]
    return len(token) if ids[:1] == [tokenizer.bos_token_id] else 0

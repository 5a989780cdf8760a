"""Whether a model hears: its loss on texts given their audio, another's, and none; word errors.

A language model predicts much of a text without listening, so that a low loss alone says little.
`control` takes the same loss three times and tells what the right audio was worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ossicle.model import GPT, ByteTokenizer, Projector
from ossicle.model.gpt import IGNORED

__all__ = [
    "ControlBatch",
    "ControlResult",
    "LossFn",
    "WordErrors",
    "control",
    "derangement",
    "projected_loss",
    "transcribe",
    "word_errors",
]

LossFn = Callable[[Tensor, Tensor, "Tensor | None", "Tensor | None"], Tensor]
"""``(idx, targets, audio, audio_lengths)`` to the sum of nats over the graded tokens, a scalar.

``audio`` and ``audio_lengths`` are those of a `ControlBatch`, or None where there is no audio."""


class ControlBatch(NamedTuple):
    """Texts and the audio that belongs to them.

    Attributes:
        idx: Token ids, int64 (B, T).
        targets: Next tokens, int64 (B, T), -1 where nothing is graded.
        audio: What the loss takes as audio, (B, T_audio, ...): encoder frames or soft tokens.
        audio_lengths: How much of each row's audio is real, int64 (B,).
    """

    idx: Tensor
    targets: Tensor
    audio: Tensor
    audio_lengths: Tensor


@dataclass(frozen=True)
class ControlResult:
    """Nats over the same tokens under three conditions; results of parts add up with ``+``.

    Attributes:
        right_nats: Sum of the losses, each text with its own audio.
        shuffled_nats: The same with the audio of another clip.
        none_nats: The same without audio.
        tokens: Tokens that were graded.
        clips: Texts that were graded.
    """

    right_nats: float
    shuffled_nats: float
    none_nats: float
    tokens: int
    clips: int

    @property
    def right(self) -> float:
        """Nats a token with the right audio."""
        return self.right_nats / self.tokens

    @property
    def shuffled(self) -> float:
        """Nats a token with another clip's audio."""
        return self.shuffled_nats / self.tokens

    @property
    def none(self) -> float:
        """Nats a token without audio."""
        return self.none_nats / self.tokens

    @property
    def gap(self) -> float:
        """By how many nats a token the right audio beats another's; 0 for a model that is deaf."""
        return (self.shuffled_nats - self.right_nats) / self.tokens

    @property
    def gain(self) -> float:
        """By how many nats a token the right audio beats none."""
        return (self.none_nats - self.right_nats) / self.tokens

    def __add__(self, other: ControlResult) -> ControlResult:
        """The result over both, as if it had been measured in one go."""
        return ControlResult(
            self.right_nats + other.right_nats,
            self.shuffled_nats + other.shuffled_nats,
            self.none_nats + other.none_nats,
            self.tokens + other.tokens,
            self.clips + other.clips,
        )

    def to_json(self) -> dict[str, float]:
        """Means, gaps and counts."""
        names = ("right", "shuffled", "none", "gap", "gain", "tokens", "clips")
        return {name: getattr(self, name) for name in names}


def derangement(count: int, generator: torch.Generator) -> Tensor:
    """A random permutation, int64 (count,), in which nothing stays in its place.

    One cycle through all places in random order (Sattolo, 1986), so each place is equally likely
    to get any other's.

    Raises:
        ValueError: If ``count`` is 1: the one place can only keep its own.
    """
    if count == 1:
        raise ValueError("shuffling audio needs at least two clips")
    order = torch.randperm(count, generator=generator)
    out = torch.empty_like(order)
    out[order] = order.roll(1)
    return out


@torch.no_grad()
def control(loss: LossFn, batches: Iterable[ControlBatch], *, seed: int = 0) -> ControlResult:
    """The loss with the right audio, with shuffled audio and with none, over the same tokens.

    Audio is shuffled within each batch so that no text keeps its own. A batch of one text, such as
    the last of a set may be, takes the audio of a row of the batch before it (or, at the
    beginning, after it). Put the modules into eval mode before.

    Args:
        loss: The sum of nats of a batch.
        batches: Texts with their audio; they are read once, one after the other.
        seed: Of the shuffling.

    Returns:
        Sums and counts, exact over batches of different sizes. Where batches are spread over
        processes the results of the parts add up.

    Raises:
        ValueError: If there are no graded tokens or fewer than two clips.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = [_part(loss, batch, other) for batch, other in _with_other_audio(batches, generator)]
    if not sum(part.tokens for part in parts):
        raise ValueError("the control needs texts with tokens to compute the loss on")
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _with_other_audio(
    batches: Iterable[ControlBatch], generator: torch.Generator
) -> Iterator[tuple[ControlBatch, tuple[Tensor, Tensor]]]:
    """Each batch with the audio, and its lengths, of other rows."""
    last: ControlBatch | None = None
    lone: ControlBatch | None = None  # a first batch of one row waits for the next
    for batch in batches:
        if lone is not None:
            yield lone, _row(batch)
            last, lone = lone, None
        if len(batch.idx) > 1:
            order = derangement(len(batch.idx), generator).to(batch.audio.device)
            yield batch, (batch.audio[order], batch.audio_lengths[order.to(batch.idx.device)])
        elif last is not None:
            yield batch, _row(last)
        else:
            lone = batch
            continue
        last = batch
    if lone is not None:
        raise ValueError("shuffling audio needs at least two clips")


def _row(batch: ControlBatch) -> tuple[Tensor, Tensor]:
    return batch.audio[:1], batch.audio_lengths[:1]


def _part(loss: LossFn, batch: ControlBatch, other: tuple[Tensor, Tensor]) -> ControlResult:
    idx, targets, audio, lengths = batch
    return ControlResult(
        right_nats=float(loss(idx, targets, audio, lengths)),
        shuffled_nats=float(loss(idx, targets, *other)),
        none_nats=float(loss(idx, targets, None, None)),
        tokens=int((targets != IGNORED).sum()),
        clips=len(idx),
    )


def projected_loss(gpt: GPT, projector: nn.Module) -> LossFn:
    """The loss of a GPT after a projector, whose audio is encoder frames (B, T, in_dim)."""

    def loss(idx: Tensor, targets: Tensor, audio: Tensor | None, lengths: Tensor | None) -> Tensor:
        soft, counts = _project(projector, audio, lengths)
        return gpt(  # type: ignore[no-any-return]
            idx, targets, audio_features=soft, audio_lengths=counts, loss_reduction="sum"
        )

    return loss


def _project(
    projector: nn.Module, audio: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    if audio is None:
        return None, None
    assert isinstance(projector, Projector)
    counts = None if lengths is None else projector.output_lengths(lengths)
    return projector(audio, lengths), counts


@dataclass(frozen=True)
class WordErrors:
    """Errors of the texts that were heard, in words.

    Attributes:
        substitutions: Words heard as another.
        deletions: Words not heard.
        insertions: Words heard that were not said.
        words: Words that were said.
    """

    substitutions: int
    deletions: int
    insertions: int
    words: int

    @property
    def rate(self) -> float:
        """Word error rate: errors a word said; above 1 where much was invented."""
        return (self.substitutions + self.deletions + self.insertions) / self.words


def word_errors(said: Sequence[str], heard: Sequence[str]) -> WordErrors:
    """Word errors over a set of texts, by ``jiwer``: the fewest edits, summed over all texts.

    Args:
        said: The right texts, none of them empty.
        heard: What a model made of them.

    Raises:
        ValueError: If the two are not of one length, or a right text has no words.
        ImportError: Without jiwer: ``pip install 'ossicle[train]'``.
    """
    try:
        import jiwer
    except ImportError as error:
        raise ImportError("word errors need jiwer: pip install 'ossicle[train]'") from error
    if len(said) != len(heard):
        raise ValueError(f"{len(said)} texts were expected and {len(heard)} were transcribed")
    for row, text in enumerate(said):
        if not text.split():
            raise ValueError(f"text {row} has no words")
    out = jiwer.process_words(list(said), list(heard))
    words = out.hits + out.substitutions + out.deletions
    return WordErrors(out.substitutions, out.deletions, out.insertions, words)


@torch.no_grad()
def transcribe(
    gpt: GPT,
    projector: nn.Module,
    audio: Tensor,
    lengths: Tensor,
    *,
    max_new_tokens: int = 128,
    stop: str = ".",
) -> list[str]:
    """What the model writes after audio, greedily, for each row up to and with ``stop``.

    Args:
        gpt: The language model, over bytes.
        projector: Encoder frames to soft tokens.
        audio: Encoder frames (B, T, in_dim).
        lengths: Frames of each row, int64 (B,).
        max_new_tokens: Where a text ends at the latest.
        stop: One ASCII character that ends a text.
    """
    tokenizer = ByteTokenizer()
    soft, counts = _project(projector, audio, lengths)
    ends = [ord(stop), tokenizer.bos_token_id]
    prompts = torch.full((len(audio), 1), tokenizer.bos_token_id, device=gpt.device)
    ids = gpt.generate(
        prompts,
        audio_features=soft,
        audio_lengths=counts,
        max_new_tokens=max_new_tokens,
        temperature=0.0,
        stop_tokens=ends,
    )
    return [_until(row, ends, tokenizer) for row in ids.tolist()]


def _until(ids: list[int], ends: list[int], tokenizer: ByteTokenizer) -> str:
    """The text up to and with the first end: after it a row repeats its end."""
    length = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
    return tokenizer.decode(ids[:length])

"""What the collator hands from step to step: rows, prompts, requests, encodings, families."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle.data.columns import value_of
from ossicle.data.recordings import Recording

if TYPE_CHECKING:
    import torch

__all__ = [
    "BatchRow",
    "Call",
    "Counts",
    "Encoding",
    "Example",
    "Family",
    "Pair",
    "Prompt",
    "Request",
    "Row",
    "Waveform",
]

Row: TypeAlias = Mapping[str, Any]
Waveform: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """One row, read.

    Attributes:
        index: Its place in the batch.
        recordings: In the order of their placeholders.
        text: The text with placeholders; None where ``messages`` holds it.
        messages: The conversation; None where ``text`` holds it.
        row: As it came.
    """

    index: int
    recordings: tuple[Recording, ...]
    text: str | None = None
    messages: list[dict[str, Any]] | None = None
    row: Row = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """For messages: its place in the batch, and its file."""
        files = ", ".join(each.title for each in self.recordings)
        return f"row {self.index} of the batch" + (files and f" ({files})")

    @property
    def id(self) -> str | None:
        """What the data set calls the row, where it says so."""
        found = value_of("id", self.row)
        return None if found is None else str(found)


Pair: TypeAlias = tuple[Example, Recording]
"""A recording, and the row that it is of."""


@dataclass(frozen=True)
class Prompt:
    """The text of a row, with one placeholder for each recording.

    Attributes:
        text: For the processor.
        turns: Where the responses of a conversation lie in ``text``, in characters; None where it
            is no conversation.
        is_marked: Whether the template itself marks them, by ``{% generation %}``.
    """

    text: str
    turns: tuple[tuple[int, int], ...] | None = None
    is_marked: bool = False


@dataclass(frozen=True)
class BatchRow:
    """A row on its way into a batch: its waveforms, or features that are cached, come last."""

    example: Example
    prompt: Prompt
    sounds: tuple[Waveform, ...] = ()


@dataclass(frozen=True)
class Request:
    """What is to be encoded.

    Attributes:
        processor: The processor, or its copy with another feature extractor.
        examples: The rows.
        prompts: Their texts, in the same order.
        waveforms: Of all rows one after the other, ``(samples,)`` float32.
        sample_rate: Of the waveforms, in Hz.
        finds_response: Whether the places of the responses will be asked for.
        for_generation: Whether the model is to go on from the texts, so that rows end alike.
    """

    processor: Any
    examples: Sequence[Example]
    prompts: Sequence[Prompt]
    waveforms: list[Waveform]
    sample_rate: int
    finds_response: bool = False
    for_generation: bool = False


@dataclass(frozen=True)
class Encoding:
    """What a processor gave for a request.

    Attributes:
        text: ``input_ids`` and ``attention_mask``, int64 ``(B, L)``, ``special_tokens_mask`` and
            what else belongs to tokens.
        sound: Features and their masks.
        response: True where a token belongs to a response, bool ``(B, L)``; None where it is still
            to be found.
        is_labels: Whether the tokens are the labels alone, and nothing of ``text`` is given to the
            model.
    """

    text: dict[str, Any]
    sound: dict[str, Any] = field(default_factory=dict)
    response: torch.Tensor | None = None
    is_labels: bool = False


Call: TypeAlias = Callable[[Request], Encoding]
Counts: TypeAlias = Callable[[Any, dict[str, Any], Sequence[int]], list[int]]
Seconds: TypeAlias = Callable[[Any], float | None]
SoundIds: TypeAlias = Callable[[Any], list[int]]


@dataclass(frozen=True)
class Family:
    """How a processor is called, and what it gives.

    Attributes:
        call: Hands texts and waveforms to the processor; None does so in one call with ``text=``
            and ``audio=``, as `ossicle.collator.encode.encode_together`.
        counts: Of processor, batch and the clips' samples: the tokens that the model's encoder
            makes of each clip. None where that is not known.
        marks: The processor's (or its tokenizer's) attributes that name the placeholder and what
            stands around it, or these tokens themselves; none of them is ever cut or learned.
        sound_ids: Of a processor, the ids of these, where its attributes do not name them.
        has_placeholder: Whether texts hold a placeholder for each clip.
        transcribes: Whether a text without a placeholder is the answer to the transcription request
            that the processor makes (``apply_transcription_request``).
        trains: Whether a text alone can be what a model of the family learns.
        takes_text: Whether a row may have ``text``.
        takes_messages: Whether a row may have ``messages``.
        most_clips: How many recordings a row may have; None for any number.
        most_labels: The most labels that the model's decoder takes; None for any number.
        hears: Of a processor, the seconds of a clip after which it hears nothing; None where there
            is no such limit.
        needs_audio: Whether each row must have a recording; else texts may stand among them.
        min_samples: Shorter clips make the feature extractor fail, or give not one frame.
        features: The key of the features.
        features_mask: The key of the mask that says which frames are the clip's own; None where
            there is none.
        is_whisper_mel: Whether the features are Whisper's log-mel, one window a clip, which
            ``feature_cache`` can keep.
    """

    call: Call | None = None
    counts: Counts | None = None
    marks: tuple[str, ...] = ("audio_token", "audio_bos_token", "audio_eos_token")
    sound_ids: SoundIds | None = None
    has_placeholder: bool = True
    transcribes: bool = False
    trains: bool = True
    takes_text: bool = True
    takes_messages: bool = True
    most_clips: int | None = None
    most_labels: int | None = None
    hears: Seconds | None = None
    needs_audio: bool = False
    min_samples: int = 1
    features: str = "input_features"
    features_mask: str | None = None
    is_whisper_mel: bool = False

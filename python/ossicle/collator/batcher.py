"""The steps that turn rows into a batch, each apart, so that `preflight` can look in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from ossicle.audio.decoders import DecoderName
from ossicle.audio.raw import RawFormat
from ossicle.cache import AudioCache, WaveformCache
from ossicle.cache.digests import Digests
from ossicle.collator.checks import check_limits, check_processor, check_whole_milliseconds
from ossicle.collator.encode import encode_together
from ossicle.collator.errors import ClipTooShortError, NoLabelError, TextTooLongError
from ossicle.collator.families import family_of
from ossicle.collator.features import CachedMel
from ossicle.collator.loss import IGNORE_INDEX, marked_tokens, response_mask, token_id
from ossicle.collator.prompts import prompt_of
from ossicle.collator.rows import read_row
from ossicle.collator.shorten import Shortener
from ossicle.collator.sound import Loader, place_of
from ossicle.collator.types import BatchRow, Encoding, Pair, Request, Row, Waveform
from ossicle.data.recordings import Recording
from ossicle.errors import AudioError

if TYPE_CHECKING:
    import torch

__all__ = ["Batcher", "Errors"]

Errors = dict[int, Exception]
"""Of rows that cannot be in a batch, by their places in it."""

_NOT_FOR_THE_MODEL = ("special_tokens_mask", "text_replacement_offsets")


class Batcher:
    """Makes batches, or the errors of the rows that stand in their way.

    Args:
        processor: As for `AudioLmCollator`, like the others.
        sample_rate: See there.
        max_length_seconds: See there.
        max_length: See there.
        waveform_cache: See there.
        feature_cache: See there.
        auto_resample: See there.
        loss_on: See there.
        strict: See there.
        decoder: See there.
        raw: See there.

    Attributes:
        processor: The processor.
        raw: How files are read that have no header.
    """

    def __init__(
        self,
        processor: Any,
        sample_rate: int,
        max_length_seconds: float,
        *,
        max_length: int | None,
        waveform_cache: WaveformCache | None,
        feature_cache: AudioCache | None,
        auto_resample: bool,
        loss_on: Literal["all", "response"],
        strict: bool,
        decoder: DecoderName = "native",
        raw: RawFormat | None = None,
    ) -> None:
        check_limits(sample_rate, max_length_seconds, max_length)
        check_processor(processor, sample_rate)
        if loss_on not in ("all", "response"):
            raise ValueError(f'loss_on must be "all" or "response", not {loss_on!r}')
        kept = feature_cache if waveform_cache is None else waveform_cache
        if kept is not None:
            check_whole_milliseconds(max_length_seconds)
        self.processor, self.raw = processor, raw
        self._family = family_of(processor)
        self._max_length = max_length
        self._finds_response = loss_on == "response"
        self._features = (
            None if feature_cache is None else CachedMel(feature_cache, processor, self._family)
        )
        self._loader = Loader(
            sample_rate,
            max_length_seconds,
            auto_resample=auto_resample,
            min_samples=self._family.min_samples,
            cache=waveform_cache,
            digests=None if kept is None else Digests(kept.root),
            strict=strict,
            decoder=decoder,
            raw=raw,
        )

    def read(self, index: int, row: Row) -> BatchRow:
        """A row, read, with its prompt.

        Raises:
            RowError: It is not of the form that is asked for.
        """
        placeholder = getattr(self.processor, "audio_token", None)
        example = read_row(index, row, placeholder=placeholder)
        prompt = prompt_of(
            self.processor, self._family, example, finds_response=self._finds_response
        )
        return BatchRow(example, prompt)

    def load(self, items: list[BatchRow]) -> tuple[list[BatchRow], Errors]:
        """The rows with their waveforms, or features that are cached; all in one native call."""
        pairs: list[Pair] = [
            (item.example, recording) for item in items for recording in item.example.recordings
        ]
        sounds = iter(self._load(pairs))
        loaded, errors = [], Errors()
        for place, item in enumerate(items):
            own: list[Waveform] = []
            for recording in item.example.recordings:
                sound = next(sounds)
                if not isinstance(sound, AudioError):
                    own.append(sound)
                elif place not in errors:
                    errors[place] = _with_note(sound, item.example.index, recording)
            loaded.append(replace(item, sounds=tuple(own)))
        return loaded, errors

    def batch(self, items: list[BatchRow]) -> tuple[dict[str, Any], Errors]:
        """The batch of rows that are loaded, or the errors of those that cannot be in one."""
        request, encoding = self.encode(items)
        errors = self.check_lengths(items, self.token_counts(items, request, encoding))
        return ({}, errors) if errors else self.finish(items, request, encoding)

    def encode(self, items: list[BatchRow]) -> tuple[Request, Encoding]:
        """What the processor gives for rows, and what it was asked."""
        processor, sounds = self.processor, [sound for item in items for sound in item.sounds]
        if self._features is not None:
            processor, sounds = self._features.ready(processor, sounds)
        request = Request(
            processor,
            [item.example for item in items],
            [item.prompt for item in items],
            sounds,
            self._loader.sample_rate,
            self._finds_response,
        )
        return request, (self._family.call or encode_together)(request)

    def token_counts(
        self, items: list[BatchRow], request: Request, encoding: Encoding
    ) -> list[list[int]] | None:
        """The encoder's tokens for each recording of each row; None where nothing tells.

        Where the family is not known, each recording has those of its whole row.
        """
        audio = token_id(self.processor, "audio_token")
        if not request.waveforms:
            return [[] for _ in items]
        if self._family.counts is not None:
            samples = [len(waveform) for waveform in request.waveforms]
            batch = {**encoding.text, **encoding.sound}
            flat = iter(self._family.counts(self.processor, batch, samples))
            return [[next(flat) for _ in item.example.recordings] for item in items]
        if audio is None or encoding.is_labels:
            return None
        rows = (encoding.text["input_ids"] == audio).sum(dim=1).tolist()
        pairs = zip(rows, items, strict=True)
        return [[row] * len(item.example.recordings) for row, item in pairs]

    def check_lengths(self, items: list[BatchRow], counts: list[list[int]] | None) -> Errors:
        """The errors of rows with a recording of which the encoder makes not one token."""
        # A clip of two mel frames or less expands to nothing: the row would train as if it had no
        # audio, or, with no frame at all, attend over nothing and give NaN.
        errors = Errors()
        for place, (item, own) in enumerate(zip(items, counts or (), strict=counts is not None)):
            for recording, count in zip(item.example.recordings, own, strict=True):
                if count <= 0 and place not in errors:
                    why = "the clip is too short for one audio token"
                    error = ClipTooShortError(why, **place_of(recording))
                    errors[place] = _with_note(error, item.example.index, recording)
        return errors

    def finish(
        self, items: list[BatchRow], request: Request, encoding: Encoding
    ) -> tuple[dict[str, Any], Errors]:
        """The batch of what the processor gave, shortened and labelled, or the errors of rows."""
        if self._finds_response:
            encoding = replace(encoding, response=response_mask(request, encoding, self._family))
        if self._max_length is not None:
            whole = encoding
            fixed = marked_tokens(self.processor, self._family)
            shorten = Shortener(self.processor.tokenizer, self._max_length, fixed)
            encoding, errors = shorten(encoding, request.examples)
            errors |= self._check_responses(items, whole, encoding)
            if errors:
                return {}, errors
        return self._label(items, encoding)

    def _load(self, pairs: list[Pair]) -> Sequence[Waveform | AudioError]:
        if self._features is None:
            return self._loader(pairs)
        return self._features(pairs, self.processor, self._loader)

    def _check_responses(
        self, items: list[BatchRow], whole: Encoding, encoding: Encoding
    ) -> Errors:
        """The errors of rows that had a response before they were shortened."""
        if whole.response is None or encoding.response is None:
            return {}
        had, has = whole.response.any(dim=1).tolist(), encoding.response.any(dim=1).tolist()
        return {
            place: TextTooLongError(
                f"{item.example.name}: max_length={self._max_length} cuts off its whole response; "
                "raise max_length, lower max_length_seconds or shorten its prompt",
                row=item.example.index,
            )
            for place, item in enumerate(items)
            if had[place] and not has[place]
        }

    def _label(self, items: list[BatchRow], encoding: Encoding) -> tuple[dict[str, Any], Errors]:
        # Padding is where the attention mask says so. Comparing ids with the pad token would also
        # mask the real ends of texts wherever a tokenizer pads with its end-of-text token, and the
        # model would never learn to stop.
        text = encoding.text
        learned: torch.Tensor = text["attention_mask"] != 0
        if self._finds_response and encoding.response is not None:
            learned = learned & encoding.response
        labels = text["input_ids"].masked_fill(~learned, IGNORE_INDEX)
        given = {} if encoding.is_labels else text
        batch = {name: value for name, value in given.items() if name not in _NOT_FOR_THE_MODEL}
        errors: Errors = {
            place: NoLabelError(
                f"{items[place].example.name}: the row has no response to compute a loss on",
                row=items[place].example.index,
            )
            for place, count in enumerate(learned.sum(dim=1).tolist())
            if count == 0
        }
        return {**batch, **encoding.sound, "labels": labels}, errors


def _with_note(error: AudioError, index: int, recording: Recording) -> AudioError:
    part = "" if recording.segment.is_whole else f" ({recording.segment})"
    error.add_note(f"in row {index} of the batch{part}")
    return error

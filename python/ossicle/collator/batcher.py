"""The steps that turn rows into a batch, each apart, so that `preflight` can look in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ossicle.audio.decoders import DecoderName
from ossicle.audio.raw import RawFormat
from ossicle.cache import AudioCache, WaveformCache
from ossicle.cache.digests import Digests
from ossicle.collator.checks import (
    check_limits,
    check_processor,
    check_trains,
    check_whole_milliseconds,
)
from ossicle.collator.encode import encode_together
from ossicle.collator.errors import (
    ClipTooShortError,
    NoLabelError,
    RowError,
    TextTooLongError,
)
from ossicle.collator.families import family_of
from ossicle.collator.features import CachedMel
from ossicle.collator.limits import Limits, TooLong, check_too_long
from ossicle.collator.loss import (
    IGNORE_INDEX,
    LossOn,
    check_loss_on,
    learned_mask,
    marked_tokens,
    response_mask,
    token_id,
)
from ossicle.collator.prompts import prompt_of
from ossicle.collator.rows import read_row
from ossicle.collator.shorten import Shortener
from ossicle.collator.sound import Loader, place_of
from ossicle.collator.types import BatchRow, Encoding, Example, Pair, Prompt, Request, Row, Waveform
from ossicle.data.recordings import Recording
from ossicle.errors import AudioError

__all__ = ["Batch", "Batcher", "Errors"]

Errors = dict[int, Exception]
"""Of rows that cannot be in a batch, by their places in it."""


class Batch(NamedTuple):
    """A batch, or the errors of rows that cannot be in one.

    Attributes:
        values: For the model; empty where there are errors.
        errors: By the places of the rows.
        cuts: Of rows that were cut, what they had too much of.
    """

    values: dict[str, Any]
    errors: Errors
    cuts: Errors


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
        too_long: See there.
        for_generation: See there.
        strict: See there.
        decoder: See there.
        raw: See there.

    Attributes:
        processor: The processor.
        too_long: What is done about rows that are too long.
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
        loss_on: LossOn,
        too_long: TooLong,
        for_generation: bool,
        strict: bool,
        decoder: DecoderName = "native",
        raw: RawFormat | None = None,
    ) -> None:
        check_limits(sample_rate, max_length_seconds, max_length)
        check_processor(processor, sample_rate)
        check_loss_on(loss_on)
        check_too_long(too_long)
        kept = feature_cache if waveform_cache is None else waveform_cache
        if kept is not None:
            check_whole_milliseconds(max_length_seconds)
        self.processor, self.too_long, self.raw = processor, too_long, raw
        self._family = family_of(processor)
        check_trains(processor, self._family, for_generation=for_generation)
        self._loss_on, self._for_generation = loss_on, for_generation
        hears = None if self._family.hears is None else self._family.hears(processor)
        self._limits = Limits(
            sample_rate, max_length_seconds, hears, max_length, self._family.most_labels, raw
        )
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
            RowError: It is not of the form that is asked for, or has no prompt.
        """
        return self._with_prompt(self.example(index, row))

    def example(self, index: int, row: Row) -> Example:
        """A row, read.

        Raises:
            RowError: It is not of the form that is asked for.
        """
        needs_text = self._family.has_placeholder or not self._for_generation
        placeholder = getattr(self.processor, "audio_token", None)
        return read_row(index, row, needs_text=needs_text, placeholder=placeholder)

    def prompts(self, examples: Sequence[Example]) -> tuple[list[BatchRow], Errors]:
        """The rows with their prompts, and the errors of those that have none."""
        items, errors = [], Errors()
        for place, example in enumerate(examples):
            try:
                items.append(self._with_prompt(example))
            except RowError as error:
                items.append(BatchRow(example, Prompt("")))
                errors[place] = error
        return items, errors

    def long_clips(self, items: Sequence[BatchRow], errors: Errors) -> Errors:
        """The errors of rows, but those that have one already, whose clips are too long."""
        found = {
            place: self._limits.long_clip(item)
            for place, item in enumerate(items)
            if place not in errors
        }
        return {place: error for place, error in found.items() if error is not None}

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

    def batch(self, items: list[BatchRow]) -> Batch:
        """The batch of rows that are loaded, or the errors of those that cannot be in one."""
        try:
            request, encoding = self.encode(items)
            errors = self.check_lengths(items, self.token_counts(items, request, encoding))
            return Batch({}, errors, {}) if errors else self.finish(items, request, encoding)
        except RowError as error:
            places = (at for at, item in enumerate(items) if item.example.index == error.row)
            return Batch({}, {next(places): error}, {})

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
            self._for_generation,
        )
        return request, (self._family.call or encode_together)(request)

    def token_counts(
        self, items: list[BatchRow], request: Request, encoding: Encoding
    ) -> list[list[int]] | None:
        """The encoder's tokens for each recording of each row; None where nothing tells.

        Where the family is not known, each recording has those of its whole row.
        """
        audio = token_id(self.processor, "audio_token")
        if "input_ids" not in encoding.text:
            return None
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

    def finish(self, items: list[BatchRow], request: Request, encoding: Encoding) -> Batch:
        """The batch of what the processor gave, shortened and labelled, or the errors of rows."""
        if self._for_generation:
            return self._finish_question(items, encoding)
        if self._finds_response:
            encoding = replace(encoding, response=response_mask(request, encoding, self._family))
        long = self._limits.long_texts(items, encoding)
        if long and self.too_long != "cut":
            return Batch({}, long, {})
        whole = encoding
        if long and self._limits.tokens is not None:
            fixed = marked_tokens(self.processor, self._family)
            shorten = Shortener(self.processor.tokenizer, self._limits.tokens, fixed)
            encoding, errors = shorten(encoding, request.examples)
            errors |= self._check_responses(items, whole, encoding)
            if errors:
                return Batch({}, errors, {})
        values, errors = self._label(items, encoding)
        return Batch({}, errors, {}) if errors else Batch(values, {}, long)

    def _finish_question(self, items: list[BatchRow], encoding: Encoding) -> Batch:
        # A question is never cut: what the model is asked is at its end.
        if "attention_mask" in encoding.text:
            long = self._limits.long_texts(items, encoding)
            if long:
                return Batch({}, long, {})
        return Batch({**self._for_model(encoding.text), **encoding.sound}, {}, {})

    @property
    def _finds_response(self) -> bool:
        return self._loss_on == "response" and not self._for_generation

    def _with_prompt(self, example: Example) -> BatchRow:
        prompt = prompt_of(
            self.processor,
            self._family,
            example,
            finds_response=self._loss_on == "response",
            for_generation=self._for_generation,
        )
        return BatchRow(example, prompt)

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
                f"{item.example.name}: max_length={self._limits.tokens} cuts off its whole "
                "response; raise max_length, lower max_length_seconds or shorten its prompt",
                row=item.example.index,
            )
            for place, item in enumerate(items)
            if had[place] and not has[place]
        }

    def _label(self, items: list[BatchRow], encoding: Encoding) -> tuple[dict[str, Any], Errors]:
        learned = learned_mask(encoding, self._loss_on, self.processor, self._family)
        labels = encoding.text["input_ids"].masked_fill(~learned, IGNORE_INDEX)
        given = {} if encoding.is_labels else self._for_model(encoding.text)
        what = "response" if self._loss_on == "response" else "text"
        errors: Errors = {
            place: NoLabelError(
                f"{items[place].example.name}: the row has no {what} to compute a loss on",
                row=items[place].example.index,
            )
            for place, count in enumerate(learned.sum(dim=1).tolist())
            if count == 0
        }
        return {**given, **encoding.sound, "labels": labels}, errors

    def _for_model(self, text: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in text.items() if name not in _NOT_FOR_THE_MODEL}


def _with_note(error: AudioError, index: int, recording: Recording) -> AudioError:
    part = "" if recording.segment.is_whole else f" ({recording.segment})"
    error.add_note(f"in row {index} of the batch{part}")
    return error

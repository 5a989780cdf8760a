"""Rows of audio and texts into one batch for a Hugging Face audio-language model.

The rows of a data set stay small: a path, a text and, where a cache is to be used, the hash of the
file. Sound exists only inside the call that makes a batch of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ossicle.audio import load_batch
from ossicle.cache import AudioCache, WaveformCache
from ossicle.collator.calls import Encoded, Request
from ossicle.collator.checks import check_limits, check_processor, check_whole_milliseconds
from ossicle.collator.errors import (
    ClipTooShortError,
    CollatorError,
    EmptyBatchError,
    NoLabelError,
    RowError,
    SampleRateMismatchError,
    TextTooLongError,
    TooManyFaultsError,
)
from ossicle.collator.families import FAMILIES, Family, family_of
from ossicle.collator.features import CachedMel
from ossicle.collator.loss import IGNORE_INDEX, marked_tokens, response_mask, token_id
from ossicle.collator.preflight import preflight
from ossicle.collator.prompts import Prompt, prompt_of
from ossicle.collator.rows import Example, Row, read_row
from ossicle.collator.shorten import Shortener
from ossicle.collator.sound import Loader, Pair, Waveform, _place
from ossicle.errors import AudioError
from ossicle.faults import Fault, Faults, OnError, RowName, read_ledger

if TYPE_CHECKING:
    import os

    import torch

__all__ = [
    "FAMILIES",
    "AudioLmCollator",
    "ClipTooShortError",
    "CollatorError",
    "EmptyBatchError",
    "Family",
    "Fault",
    "NoLabelError",
    "RowError",
    "SampleRateMismatchError",
    "TextTooLongError",
    "TooManyFaultsError",
    "preflight",
    "read_ledger",
]

_NOT_FOR_THE_MODEL = ("special_tokens_mask", "text_replacement_offsets")


@dataclass(frozen=True)
class _Item:
    """A row on its way into a batch."""

    example: Example
    prompt: Prompt
    sounds: tuple[Waveform, ...] = ()


class AudioLmCollator:
    """Makes a training batch of rows that name audio files.

    Each call decodes the files that the cache does not hold (all of them in one native call, mono
    as the mean of the channels, cut at ``max_length_seconds``), hands waveforms and texts to the
    processor, and adds labels. A text goes to the processor as it is: it must hold the processor's
    audio placeholder once for each recording, which the processor expands. Messages go through the
    processor's chat template. What differs between processors is in `FAMILIES`.

    The object holds plain attributes only and pickles with its processor and cache, so it serves
    in workers of any start method. There, decoding uses one thread, as ``load_batch`` always does.

    Args:
        processor: A Hugging Face processor of text and audio, such as ``Qwen2AudioProcessor`` or
            ``WhisperProcessor``; its tokenizer must have a pad token.
        sample_rate: Rate of the waveforms that the processor is given, in Hz; its feature
            extractor's rate.
        max_length_seconds: Where longer clips are cut, in seconds. A feature extractor with a
            window of its own (30 s for Whisper's) cuts there too.
        max_length: The most tokens a row may have once its audio is expanded. Longer rows lose
            text from the tokenizer's ``truncation_side``; never audio, its two marks, or tokens
            that the tokenizer adds by itself. None sets no limit.
        waveform_cache: Where decoded waveforms are kept between epochs, for rows that carry
            ``audio_blob_sha``. Its keys count whole milliseconds, and so must
            ``max_length_seconds`` then.
        feature_cache: Where log-mel features are kept, for the same rows and under the same rule,
            of processors whose features are Whisper's (Qwen2Audio, Qwen2.5-Omni, Whisper). They are
            computed by ossicle, within 1e-5 of NumPy's way in transformers; what is missing here
            is asked of ``waveform_cache``, and decoded only then.
        auto_resample: Resample files of another native rate instead of refusing them.
        loss_on: ``"all"`` tokens but padding, or ``"response"``: the turns of the assistant, with
            their end-of-turn tokens, or, in a plain text, what follows the last recording.
        on_error: What becomes of a row whose clip cannot be used, or whose text does not fit:
            ``"raise"`` its error, ``"skip"`` the row, or ``"replace"`` it by the next good row of
            its batch. Rows that are not of the form that is asked for always raise.
        max_bad_share: How many of the last 1,000 rows that a process has seen may be bad, as a
            share of 1,000; more end the run.
        strict: Take what is careless in a file that is whole (`ossicle.AudioInfo.remarks`) for an
            error; clips that a cache holds are not looked at again.
        ledger_path: A file that each process, workers too, adds a line of JSON to for each bad row;
            `read_ledger` reads it. ``ledger`` holds those of this process.

    Raises:
        ValueError: An argument makes no sense, or the processor lacks what is needed.
    """

    def __init__(
        self,
        *,
        processor: Any,
        sample_rate: int,
        max_length_seconds: float,
        max_length: int | None = None,
        waveform_cache: WaveformCache | None = None,
        auto_resample: bool = False,
        loss_on: Literal["all", "response"] = "all",
        on_error: OnError = "raise",
        max_bad_share: float = 0.01,
        ledger_path: str | os.PathLike[str] | None = None,
        feature_cache: AudioCache | None = None,
        strict: bool = False,
    ) -> None:
        check_limits(sample_rate, max_length_seconds, max_length)
        check_processor(processor, sample_rate)
        if loss_on not in ("all", "response"):
            raise ValueError(f'loss_on is "all" or "response", not {loss_on!r}')
        if waveform_cache is not None or feature_cache is not None:
            check_whole_milliseconds(max_length_seconds)
        self._processor = processor
        self._family = family_of(processor)
        self._max_length = max_length
        self._finds_response = loss_on == "response"
        self._faults = Faults(on_error, max_bad_share, ledger_path)
        self._features = (
            None if feature_cache is None else CachedMel(feature_cache, processor, self._family)
        )
        self._loader = Loader(
            sample_rate,
            max_length_seconds,
            auto_resample=auto_resample,
            min_samples=self._family.min_samples,
            cache=waveform_cache,
            strict=strict,
        )

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Turn rows into tensors that the model's ``forward`` takes.

        Args:
            rows: Mappings with ``audio_path`` (str or path) or ``audio`` (a path, bytes, a shard's
                member, or a dict of Hugging Face ``datasets``), or a list of several; with
                ``text`` (str) or ``messages`` (a conversation, whose parts of type ``audio`` are
                the row's recordings in order); and, optionally, ``audio_blob_sha`` (the hex
                SHA-256 of the file, the key into the cache).

        Returns:
            What the processor gave, as a dict of tensors, and ``labels``: ``input_ids`` with -100
            at padding and at what is not to be learned, int64 ``(B, L)``. For Qwen2Audio the rest
            is ``input_ids`` and ``attention_mask`` (int64 ``(B, L)``), ``input_features`` (float32
            ``(B, 128, 3000)``) and ``feature_attention_mask`` (int32 ``(B, 3000)``); for Whisper
            ``input_features`` alone.

        Raises:
            EmptyBatchError: There are no rows.
            RowError: A row lacks audio or text, its text does not hold the audio placeholder once
                for each recording, or nothing tells where its response is.
            AudioError: A file could not be decoded; the type says why, the message which file.
            SampleRateMismatchError: A file has another rate and ``auto_resample`` is off.
            ClipTooShortError: A clip is empty or makes not one token.
            TextTooLongError: ``max_length`` leaves no room for a row's text beside its audio.
            NoLabelError: A row has no response to learn.
            TooManyFaultsError: With another ``on_error`` than ``"raise"``: no row of the batch, or
                too few of the last ones, can be used.
        """
        if len(rows) == 0:
            raise EmptyBatchError("the batch is empty: the collator needs at least one row")
        items = [self._read(index, row) for index, row in enumerate(rows)]

        def name(place: int) -> RowName:
            example = items[place].example
            files = [clip.name for clip in example.clips]
            return RowName(example.index, example.id, files[0] if files else None)

        items, errors = self._with_sound(items)
        while True:
            chosen = self._faults.choose(items, errors, name)
            batch, more = self._batch(chosen)
            if not more:
                self._faults.enter(len(items), errors, name)
                return batch
            errors |= {chosen[place].example.index: error for place, error in more.items()}

    @property
    def ledger(self) -> list[Fault]:
        """The bad rows that this process has met; yours to clear."""
        return self._faults.ledger

    def _read(self, index: int, row: Row) -> _Item:
        example = read_row(index, row)
        found = self._finds_response
        return _Item(
            example, prompt_of(self._processor, self._family, example, finds_response=found)
        )

    def _with_sound(self, items: list[_Item]) -> tuple[list[_Item], dict[int, Exception]]:
        """The rows with their sounds, and the errors of those that have none, by their places."""
        pairs = [(item.example, clip) for item in items for clip in item.example.clips]
        sounds = iter(self._heard(pairs))
        loaded, errors = [], dict[int, Exception]()
        for place, item in enumerate(items):
            found = [next(sounds) for _ in item.example.clips]
            own = tuple(sound for sound in found if not isinstance(sound, AudioError))
            for error in [sound for sound in found if isinstance(sound, AudioError)][:1]:
                errors[place] = _noted(error, item.example.index)
            loaded.append(replace(item, sounds=own))
        return loaded, errors

    def _heard(self, pairs: list[Pair]) -> Sequence[Waveform | AudioError]:
        """The waveform of each recording, or its features where those are cached, or its error."""
        if self._features is None:
            return self._loader(pairs, load_batch)
        return self._features(pairs, self._processor, self._loader, load_batch)

    def _batch(self, items: list[_Item]) -> tuple[dict[str, Any], dict[int, Exception]]:
        """The batch, or the errors of rows that cannot be in one, by their places in ``items``."""
        request = self._request(items)
        encoded = self._family.call(request)
        faults = self._too_short(items, self._counts(items, request, encoded))
        return ({}, faults) if faults else self._finished(items, request, encoded)

    def _finished(
        self, items: list[_Item], request: Request, encoded: Encoded
    ) -> tuple[dict[str, Any], dict[int, Exception]]:
        """The batch of what the processor has made, or the errors of rows, as `_batch`."""
        if self._finds_response:
            encoded = replace(encoded, response=response_mask(request, encoded, self._family))
        if self._max_length is not None:
            whole = encoded
            encoded, faults = self._shortener(self._max_length)(encoded, request.examples)
            faults |= self._cut_off(items, whole, encoded)
            if faults:
                return {}, faults
        return self._labelled(items, encoded)

    def _request(self, items: list[_Item]) -> Request:
        processor, sounds = self._processor, [sound for item in items for sound in item.sounds]
        if self._features is not None:
            processor, sounds = self._features.ready(processor, sounds)
        return Request(
            processor,
            [item.example for item in items],
            [item.prompt for item in items],
            sounds,
            self._loader.sample_rate,
            self._finds_response,
        )

    def _too_short(
        self, items: list[_Item], counts: list[list[int]] | None
    ) -> dict[int, Exception]:
        # A clip of two mel frames or less expands to nothing: the row would train as if it had no
        # audio, or, with no frame at all, attend over nothing and give NaN.
        faults: dict[int, Exception] = {}
        for place, (item, own) in enumerate(zip(items, counts or (), strict=counts is not None)):
            for clip, count in zip(item.example.clips, own, strict=True):
                if count <= 0 and place not in faults:
                    error = ClipTooShortError("it is too short for one audio token", **_place(clip))
                    faults[place] = _noted(error, item.example.index)
        return faults

    def _counts(
        self, items: list[_Item], request: Request, encoded: Encoded
    ) -> list[list[int]] | None:
        """The encoder's tokens for each clip of each row; None where nothing tells.

        Where the family is not known, each clip has those of its whole row.
        """
        audio = token_id(self._processor, "audio_token")
        if self._family.counts is not None:
            samples = [len(waveform) for waveform in request.waveforms]
            batch = {**encoded.text, **encoded.sound}
            flat = iter(self._family.counts(self._processor, batch, samples))
            return [[next(flat) for _ in item.example.clips] for item in items]
        if audio is None or encoded.is_labels:
            return None
        rows = (encoded.text["input_ids"] == audio).sum(dim=1).tolist()
        return [[row] * len(item.example.clips) for row, item in zip(rows, items, strict=True)]

    def _shortener(self, max_length: int) -> Shortener:
        fixed = marked_tokens(self._processor, self._family)
        return Shortener(self._processor.tokenizer, max_length, fixed)

    def _cut_off(
        self, items: list[_Item], whole: Encoded, encoded: Encoded
    ) -> dict[int, Exception]:
        """Rows that had a response before they were shortened."""
        if whole.response is None or encoded.response is None:
            return {}
        had, has = whole.response.any(dim=1).tolist(), encoded.response.any(dim=1).tolist()
        return {
            place: TextTooLongError(
                f"{item.example.name}: max_length={self._max_length} cuts off its whole response; "
                "raise max_length, lower max_length_seconds or shorten its prompt",
                row=item.example.index,
            )
            for place, item in enumerate(items)
            if had[place] and not has[place]
        }

    def _labelled(
        self, items: list[_Item], encoded: Encoded
    ) -> tuple[dict[str, Any], dict[int, Exception]]:
        # Padding is where the attention mask says so. Comparing ids with the pad token would also
        # mask the real ends of texts wherever a tokenizer pads with its end-of-text token, and the
        # model would never learn to stop.
        text = encoded.text
        learned: torch.Tensor = text["attention_mask"] != 0
        if self._finds_response and encoded.response is not None:
            learned = learned & encoded.response
        labels = text["input_ids"].masked_fill(~learned, IGNORE_INDEX)
        given = {} if encoded.is_labels else text
        batch = {name: value for name, value in given.items() if name not in _NOT_FOR_THE_MODEL}
        faults: dict[int, Exception] = {
            place: NoLabelError(
                f"{items[place].example.name}: it has no response to learn from",
                row=items[place].example.index,
            )
            for place, count in enumerate(learned.sum(dim=1).tolist())
            if count == 0
        }
        return {**batch, **encoded.sound, "labels": labels}, faults


def _noted(error: AudioError, index: int) -> AudioError:
    error.add_note(f"in row {index} of the batch")
    return error

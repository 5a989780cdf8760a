"""Rows of audio paths and texts into one batch for a Hugging Face audio-language model.

The rows of a data set stay small: a path, a text and, where a cache is to be used, the hash of the
file. Sound exists only inside the call that makes a batch of it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ossicle.audio import AudioBatch, load_batch
from ossicle.cache import WaveformCache, WaveformCacheKey
from ossicle.errors import AudioError

if TYPE_CHECKING:
    import torch

_IGNORE_INDEX = -100  # what torch's cross entropy skips by default
_REQUIRED: dict[str, Any] = {"audio_path": (str, os.PathLike), "text": str}
_TEXT_TENSORS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
_REMOVED_COLUMNS_HINT = (
    "; transformers.Trainer drops the columns that the model's forward does not name: "
    "pass remove_unused_columns=False in TrainingArguments"
)

Row = Mapping[str, Any]
Waveform = npt.NDArray[np.float32]


class CollatorError(ValueError):
    """A batch could not be made of these rows.

    Attributes:
        row: The row's place in its batch, from 0; None where no single row is at fault.
    """

    def __init__(self, message: str, *, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class EmptyBatchError(CollatorError):
    """The collator was called with no rows."""


class RowError(CollatorError):
    """A row lacks a key, or holds something in it that cannot be used."""


class TextTooLongError(CollatorError):
    """The audio of a row takes so many of ``max_length`` tokens that none is left for its text."""


class SampleRateMismatchError(AudioError, ValueError):
    """A file's native rate is not the collator's, and ``auto_resample`` is off."""


class ClipTooShortError(AudioError, ValueError):
    """A clip has no samples, or too few for the model to make one token of them."""


class AudioLmCollator:
    """Makes a training batch of rows that name audio files.

    Each call decodes the files that the cache does not hold (all of them in one native call, mono
    as the mean of the channels, cut at ``max_length_seconds``), hands waveforms and texts to the
    processor once, and adds labels. Text goes to the processor as it is: it must hold the
    processor's audio placeholder once, which the processor expands.

    The object holds plain attributes only and pickles with its processor and cache, so it serves
    in workers of any start method. There, decoding uses one thread, as ``load_batch`` always does.

    Args:
        processor: A Hugging Face processor that takes ``text=`` and ``audio=``, such as
            ``Qwen2AudioProcessor``; its tokenizer must have a pad token.
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
        auto_resample: Resample files of another native rate instead of refusing them.

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
    ) -> None:
        _check_limits(sample_rate, max_length_seconds, max_length)
        _check_processor(processor, sample_rate)
        if waveform_cache is not None:
            _check_whole_milliseconds(max_length_seconds)
        self._processor = processor
        self._sample_rate = sample_rate
        self._max_length_seconds = max_length_seconds
        self._max_length = max_length
        self._waveform_cache = waveform_cache
        self._auto_resample = auto_resample
        self._max_length_ms = round(max_length_seconds * 1000)
        self._audio_token: str | None = getattr(processor, "audio_token", None)
        self._audio_token_id = _token_id(processor, "audio_token")

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Turn rows into tensors that the model's ``forward`` takes.

        Args:
            rows: Mappings with ``audio_path`` (str or path), ``text`` (str) and, optionally,
                ``audio_blob_sha`` (the hex SHA-256 of the file, the key into the cache).

        Returns:
            What the processor gave, as a dict of tensors, and ``labels``: ``input_ids`` with -100
            at padding, int64 ``(B, L)``. For Qwen2Audio the rest is ``input_ids`` and
            ``attention_mask`` (int64 ``(B, L)``), ``input_features`` (float32 ``(B, 128, 3000)``)
            and ``feature_attention_mask`` (int32 ``(B, 3000)``).

        Raises:
            EmptyBatchError: There are no rows.
            RowError: A row lacks ``audio_path`` or ``text``, or its text does not hold the audio
                placeholder exactly once.
            AudioError: A file could not be decoded; the type says why, the message which file.
            SampleRateMismatchError: A file has another rate and ``auto_resample`` is off.
            ClipTooShortError: A clip is empty or makes not one token.
            TextTooLongError: ``max_length`` leaves no room for a row's text beside its audio.
        """
        self._check_rows(rows)
        batch = self._process(rows, self._waveforms(rows))
        self._check_expanded(batch, rows)
        if self._max_length is not None:
            self._shorten(batch, rows)
        # Padding is where the attention mask says so. Comparing ids with the pad token would also
        # mask the real ends of texts wherever a tokenizer pads with its end-of-text token, and the
        # model would never learn to stop.
        batch["labels"] = batch["input_ids"].masked_fill(
            batch["attention_mask"] == 0, _IGNORE_INDEX
        )
        return batch

    def _check_rows(self, rows: Sequence[Row]) -> None:
        if len(rows) == 0:
            raise EmptyBatchError("the batch is empty: the collator needs at least one row")
        for index, row in enumerate(rows):
            _check_keys(index, row)
            self._check_placeholder(index, row)

    def _check_placeholder(self, index: int, row: Row) -> None:
        # The processor compares totals over the batch, so that a row with two placeholders beside
        # one with none would pass, with every clip after it at the wrong text.
        if self._audio_token is None:
            return
        found = row["text"].count(self._audio_token)
        if found != 1:
            raise RowError(
                f"{_name(index, row)}: the text holds the placeholder {self._audio_token!r} "
                f"{found} times; it must hold it once, where the audio goes",
                row=index,
            )

    def _waveforms(self, rows: Sequence[Row]) -> list[Waveform]:
        """One mono waveform a row, from the cache or decoded, in the order of the rows."""
        keys = [self._cache_key(index, row) for index, row in enumerate(rows)]
        cached = [self._cached(key) for key in keys]
        missing = [index for index, waveform in enumerate(cached) if waveform is None]
        decoded = self._decode(rows, missing) if missing else {}
        for index, waveform in decoded.items():
            self._keep(keys[index], waveform)
        return [decoded[i] if waveform is None else waveform for i, waveform in enumerate(cached)]

    def _cache_key(self, index: int, row: Row) -> WaveformCacheKey | None:
        """None where the row does not say what its file contains: a path may change its bytes."""
        blob_sha = row.get("audio_blob_sha")
        if self._waveform_cache is None or not blob_sha:
            return None
        try:
            return WaveformCacheKey(
                blob_sha=blob_sha,
                sample_rate=self._sample_rate,
                max_length_ms=self._max_length_ms,
                auto_resample=self._auto_resample,
            )
        except ValueError as error:
            raise RowError(f"{_name(index, row)}: {error}", row=index) from error

    def _cached(self, key: WaveformCacheKey | None) -> Waveform | None:
        if self._waveform_cache is None or key is None:
            return None
        return self._waveform_cache.get(key)

    def _keep(self, key: WaveformCacheKey | None, waveform: Waveform) -> None:
        if self._waveform_cache is not None and key is not None:
            self._waveform_cache.put(key, waveform)

    def _decode(self, rows: Sequence[Row], indices: list[int]) -> dict[int, Waveform]:
        """The waveforms of the rows at ``indices``, decoded in one call and checked."""
        # Errors are collected so that the one raised can say which row of the batch it was.
        batch = load_batch(
            [rows[index]["audio_path"] for index in indices],
            self._sample_rate,
            duration=self._max_length_seconds,
            on_error="collect",
        )
        for place, index in enumerate(indices):
            self._check_decoded(index, rows[index], batch, place)
        clips = zip(indices, batch.waveforms, batch.lengths, strict=True)
        return {index: padded[:length] for index, padded, length in clips}

    def _check_decoded(self, index: int, row: Row, batch: AudioBatch, place: int) -> None:
        error, native_rate = batch.errors[place], int(batch.sample_rates[place])
        if error is None and native_rate != self._sample_rate and not self._auto_resample:
            error = SampleRateMismatchError(
                f"native rate {native_rate} Hz, but this collator takes {self._sample_rate} Hz; "
                f"re-encode it (`ffmpeg -i <in> -ar {self._sample_rate} <out>`) "
                "or pass auto_resample=True",
                source=str(row["audio_path"]),
            )
        if error is None and batch.lengths[place] == 0:
            error = ClipTooShortError("it holds no samples", source=str(row["audio_path"]))
        if error is not None:
            raise _noted(error, index)

    def _process(self, rows: Sequence[Row], waveforms: list[Waveform]) -> dict[str, Any]:
        # What concerns text goes in text_kwargs alone: given flat, padding would also set the
        # feature extractor's, and max_length would cut the audio to that many samples.
        batch = self._processor(
            text=[row["text"] for row in rows],
            audio=waveforms,
            sampling_rate=self._sample_rate,
            return_tensors="pt",
            text_kwargs={
                "padding": True,
                "return_attention_mask": True,
                "return_special_tokens_mask": self._max_length is not None,
            },
        )
        if "input_ids" not in batch:
            raise CollatorError(
                f"{type(self._processor).__name__} gave no input_ids, only {sorted(batch)}: "
                "it is not the processor of an audio-language model"
            )
        return dict(batch)

    def _check_expanded(self, batch: dict[str, Any], rows: Sequence[Row]) -> None:
        # A clip of two mel frames or less expands to nothing: the row would train as if it had no
        # audio, or, with no frame at all, attend over nothing and give NaN.
        if self._audio_token_id is None:
            return
        counts = (batch["input_ids"] == self._audio_token_id).sum(dim=1).tolist()
        for index, count in enumerate(counts):
            if count == 0:
                source = str(rows[index]["audio_path"])
                error = ClipTooShortError("it is too short for one audio token", source=source)
                raise _noted(error, index)

    def _shorten(self, batch: dict[str, Any], rows: Sequence[Row]) -> None:
        """Cut the text of rows of more than ``max_length`` tokens, in place.

        The processor could truncate by itself, but only at the end of a row, whatever is there:
        where the audio stands behind the text it would cut placeholders, and raise.
        """
        special = batch.pop("special_tokens_mask").bool()
        real = batch["attention_mask"].bool()
        if int(real.sum(dim=1).max()) <= (self._max_length or 0):
            return
        fixed = real & (special | self._audio_positions(batch["input_ids"]))
        kept = [self._kept(index, row, real[index], fixed[index]) for index, row in enumerate(rows)]
        # Rows without any padding are all of one length, and stay so: the side is then no matter.
        side = "right" if bool(real[:, 0].all()) else "left"
        for name in _TEXT_TENSORS:
            if name in batch:
                fill = self._processor.tokenizer.pad_token_id if name == "input_ids" else 0
                batch[name] = _gather(batch[name], kept, side, fill)

    def _audio_positions(self, input_ids: torch.Tensor) -> torch.Tensor:
        """True at audio placeholders and at the two marks around them, ``(B, L)``."""
        import torch

        names = ("audio_token", "audio_bos_token", "audio_eos_token")
        ids = [_token_id(self._processor, name) for name in names]
        return torch.isin(input_ids, torch.tensor([i for i in ids if i is not None]))

    def _kept(self, index: int, row: Row, real: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Which positions of one row stay, as a mask ``(L,)`` with ``max_length`` set at most."""
        limit = self._max_length or 0
        total, taken = int(real.sum()), int(fixed.sum())
        if total <= limit:
            return real
        if taken >= limit:
            raise TextTooLongError(
                f"{_name(index, row)}: its audio takes {taken} tokens of max_length={limit} and "
                "leaves none for its text; raise max_length or lower max_length_seconds",
                row=index,
            )
        text = (real & ~fixed).nonzero().flatten()
        excess = total - limit
        at_left = self._processor.tokenizer.truncation_side == "left"
        kept = real.clone()
        kept[text[:excess] if at_left else text[-excess:]] = False
        return kept


def _check_limits(sample_rate: int, max_length_seconds: float, max_length: int | None) -> None:
    if sample_rate < 1:
        raise ValueError(f"sample_rate must be a positive number of Hz, got {sample_rate}")
    if not math.isfinite(max_length_seconds) or round(max_length_seconds * sample_rate) < 1:
        raise ValueError(
            f"max_length_seconds must hold one sample at least, got {max_length_seconds}"
        )
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length must be a positive number of tokens, got {max_length}")


def _check_whole_milliseconds(max_length_seconds: float) -> None:
    # Two lengths that round to one millisecond would share entries of different lengths.
    milliseconds = round(max_length_seconds * 1000)
    if milliseconds < 1 or abs(max_length_seconds * 1000 - milliseconds) > 1e-6:
        raise ValueError(
            f"max_length_seconds={max_length_seconds} is not a whole number of milliseconds, "
            "which is what the keys of waveform_cache count; round it to three decimals"
        )


def _check_processor(processor: Any, sample_rate: int) -> None:
    kind = type(processor).__name__
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise ValueError(f"{kind} has no tokenizer: pass the processor of an audio-language model")
    if tokenizer.pad_token_id is None:
        raise ValueError(
            f"the tokenizer of {kind} has no pad token, without which rows cannot be made equally "
            "long; set one first, such as tokenizer.pad_token = tokenizer.eos_token"
        )
    wanted = getattr(getattr(processor, "feature_extractor", None), "sampling_rate", None)
    if wanted is not None and wanted != sample_rate:
        raise ValueError(
            f"sample_rate={sample_rate}, but the feature extractor of {kind} takes {wanted} Hz"
        )


def _check_keys(index: int, row: Row) -> None:
    if not isinstance(row, Mapping):
        raise RowError(
            f"row {index} of the batch is a {type(row).__name__}, not a mapping", row=index
        )
    missing = [key for key in _REQUIRED if row.get(key) is None]
    if missing:
        # With neither key left it is most likely not the data that is at fault.
        hint = _REMOVED_COLUMNS_HINT if len(missing) == len(_REQUIRED) else ""
        raise RowError(
            f"row {index} of the batch has no {' and no '.join(missing)} "
            f"(its keys: {', '.join(map(str, row)) or 'none'}){hint}",
            row=index,
        )
    for key, wanted in _REQUIRED.items():
        if not isinstance(row[key], wanted):
            kind = type(row[key]).__name__
            raise RowError(f"row {index} of the batch: {key} cannot be a {kind}", row=index)


def _gather(values: torch.Tensor, kept: list[torch.Tensor], side: str, fill: int) -> torch.Tensor:
    """The kept positions of each row of ``values`` ``(B, L)``, padded again to one length."""
    from torch.nn.utils.rnn import pad_sequence

    rows = [row[keep] for row, keep in zip(values, kept, strict=True)]
    return pad_sequence(rows, batch_first=True, padding_value=fill, padding_side=side)


def _name(index: int, row: Row) -> str:
    return f"row {index} of the batch ({row['audio_path']})"


def _noted(error: AudioError, index: int) -> AudioError:
    error.add_note(f"in row {index} of the batch")
    return error


def _token_id(processor: Any, name: str) -> int | None:
    """The id of the token that the processor names, or None where there is none."""
    token = getattr(processor, name, None)
    if token is None:
        return None
    found = processor.tokenizer.convert_tokens_to_ids(token)
    return None if found == processor.tokenizer.unk_token_id else found

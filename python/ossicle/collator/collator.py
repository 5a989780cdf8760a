"""`AudioLmCollator`: rows that name recordings into batches, and what is done about bad rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ossicle.audio.decoders import DecoderName, check_decoder
from ossicle.audio.raw import RawFormat
from ossicle.cache import AudioCache, WaveformCache
from ossicle.collator.batcher import Batch, Batcher, Errors
from ossicle.collator.errors import ClipTooLongError, EmptyBatchError, TextTooLongError
from ossicle.collator.limits import TooLong
from ossicle.collator.loss import LossOn
from ossicle.collator.types import BatchRow, Row
from ossicle.faults import Fault, Faults, OnError, RowName

if TYPE_CHECKING:
    import os

__all__ = ["AudioLmCollator"]


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
        max_length_seconds: Where longer clips end, in seconds. A feature extractor with a window
            of its own (30 s for Whisper's) ends there too. ``too_long`` says what becomes of them.
        max_length: The most tokens a row may have once its audio is expanded. Longer rows lose
            text from the tokenizer's ``truncation_side``; never audio, its two marks, or tokens
            that the tokenizer adds by itself. None sets no limit.
        waveform_cache: Where decoded waveforms are kept between epochs, for rows that name files,
            bytes or members of shards. Their SHA-256 is the row's ``audio_blob_sha``, or is
            computed once and remembered under the root of the cache while path, size, inode and
            times of the file stay the same. Its keys count whole milliseconds, and so must
            ``max_length_seconds`` then.
        feature_cache: Where log-mel features are kept, for the same rows and under the same rule,
            of processors whose features are Whisper's (Qwen2Audio, Qwen2.5-Omni, Whisper). They are
            computed by ossicle, within 1e-5 of NumPy's way in transformers; what is missing here
            is asked of ``waveform_cache``, and decoded only then.
        auto_resample: Resample files of another native rate instead of refusing them. Recordings
            of a column ``Audio(sampling_rate=...)`` of `datasets` are resampled without it.
        loss_on: What a row learns: ``"text"``, all tokens but padding and those that stand for
            audio; ``"response"``, the turns of the assistant, with their end-of-turn tokens, or, in
            a plain text, what follows the last recording; or ``"all"`` tokens but padding, of which
            most are placeholders of audio.
        too_long: What becomes of a row whose clip is longer than ``max_length_seconds`` or than its
            processor hears, or whose text has more tokens than ``max_length`` or the model's
            decoder takes (448 of Whisper's): ``"cut"`` the clip, whose text is kept whole, or the
            text, and tell it in the ledger; ``"drop"`` the row, which counts as no fault; or an
            ``"error"``, which is treated as ``on_error`` says.
        for_generation: Make batches for ``model.generate``: padded on the left, without labels. Of
            messages, the last answer is left out and the header of one put in its place; a text
            is what the model goes on from, with ``loss_on="response"`` up to its last recording;
            Whisper is given ``decoder_input_ids``.
        on_error: What becomes of a row whose clip cannot be used, whose text does not fit, or at
            which the chat template fails: ``"raise"`` its error, ``"skip"`` the row, or
            ``"replace"`` it by the next good row of its batch. Rows that are not of the form that
            is asked for always raise.
        max_bad_share: How many of the last 1,000 rows that a process has seen may be bad, as a
            share of 1,000; more end the run.
        strict: Make each remark on a file (`ossicle.AudioInfo.remarks`) an
            error; clips that a cache holds are not looked at again.
        decoder: Which decoder makes the samples, as for `ossicle.load`: ``"native"``,
            ``"symphonia"``, or ``"both"``, where a clip on which they disagree is a bad row. Caches
            keep the waveforms of each apart.
        raw: How files are read that have no header, as for `ossicle.load`.
        ledger_path: A file that each process, workers too, adds a line of JSON to for each bad row;
            `read_ledger` reads it. ``ledger`` holds those of this process.

    Attributes:
        batcher: The steps that make a batch.

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
        loss_on: LossOn = "text",
        too_long: TooLong = "cut",
        for_generation: bool = False,
        on_error: OnError = "raise",
        max_bad_share: float = 0.01,
        ledger_path: str | os.PathLike[str] | None = None,
        feature_cache: AudioCache | None = None,
        strict: bool = False,
        decoder: DecoderName = "native",
        raw: RawFormat | None = None,
    ) -> None:
        self.batcher = Batcher(
            processor,
            sample_rate,
            max_length_seconds,
            max_length=max_length,
            waveform_cache=waveform_cache,
            feature_cache=feature_cache,
            auto_resample=auto_resample,
            loss_on=loss_on,
            too_long=too_long,
            for_generation=for_generation,
            strict=strict,
            decoder=check_decoder(decoder),
            raw=raw,
        )
        if for_generation and on_error == "replace":
            raise ValueError(
                'on_error="replace" would give one row\'s answer to another: for_generation takes '
                '"raise" or "skip"'
            )
        self._faults = Faults(on_error, max_bad_share, ledger_path)

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Turn rows into tensors that the model's ``forward`` takes.

        Args:
            rows: Mappings with a recording, or a list of several, or none, under a name of
                `ossicle.data.COLUMNS`: a path, and under ``wav`` and ``audio`` also bytes, a
                shard's member, or a dict of Hugging Face ``datasets``; optionally its ``offset``,
                ``duration`` (or ``end``) and ``channel``; with ``text`` (str) or ``messages`` (a
                conversation, whose parts of type ``audio`` are the row's recordings in order); and,
                optionally, ``audio_blob_sha`` (the hex SHA-256 of the file, the key into the
                cache). Or samples of shards and data sets, as docs/trainers.md has them.

        Returns:
            What the processor gave, as a dict of tensors, and ``labels``: ``input_ids`` with -100
            at padding and at what is not to be learned, int64 ``(B, L)``. For Qwen2Audio the rest
            is ``input_ids`` and ``attention_mask`` (int64 ``(B, L)``), ``input_features`` (float32
            ``(B, 128, 3000)``) and ``feature_attention_mask`` (int32 ``(B, 3000)``); for Whisper
            ``input_features`` alone. With ``for_generation``, what ``model.generate`` takes.

        Raises:
            EmptyBatchError: There are no rows.
            RowError: A row lacks audio or text, its text does not hold the audio placeholder once
                for each recording, or nothing tells where its response is.
            AudioError: A file could not be decoded; the type says why, the message which file.
            SampleRateMismatchError: A file has another rate and ``auto_resample`` is off.
            ClipTooShortError: A clip is empty or makes not one token.
            ClipTooLongError: A clip is longer than is kept of it, with ``too_long="error"``.
            TextTooLongError: A row has too many tokens, with ``too_long="error"``; or
                ``max_length`` leaves no room for a row's text beside its audio.
            NoLabelError: A row has no text, or no response, to learn.
            TooManyFaultsError: With another ``on_error`` than ``"raise"``: no row of the batch, or
                too few of the last ones, can be used.
        """
        if len(rows) == 0:
            raise EmptyBatchError("the batch is empty: the collator needs at least one row")
        examples = [self.batcher.example(index, row) for index, row in enumerate(rows)]
        items, errors = self.batcher.prompts(examples)
        items, unreadable = self.batcher.load(items)
        errors = unreadable | errors
        long = self.batcher.long_clips(items, errors)
        if self.batcher.too_long != "cut":
            errors |= long
        return self._batch(items, errors, long)

    def _batch(self, items: list[BatchRow], errors: Errors, long: Errors) -> dict[str, Any]:
        """The batch of the good rows; ``long`` are those whose clips are too long."""

        def name(place: int) -> RowName:
            example = items[place].example
            files = [recording.name for recording in example.recordings]
            return RowName(example.index, example.id, files[0] if files else None)

        while True:
            dropped = self._dropped(errors)
            chosen = self._faults.choose(items, errors, name, dropped)
            batch = self.batcher.batch(chosen)
            if not batch.errors:
                break
            errors |= {chosen[at].example.index: one for at, one in batch.errors.items()}
        self._faults.tell(_cuts(chosen, batch, long), name, "cut")
        self._faults.enter(len(items), errors, name, dropped)
        return batch.values

    def _dropped(self, errors: Errors) -> list[int]:
        """The rows that are too long, where they are to be left out."""
        if self.batcher.too_long != "drop":
            return []
        kinds = (ClipTooLongError, TextTooLongError)
        return [place for place, error in errors.items() if isinstance(error, kinds)]

    @property
    def ledger(self) -> list[Fault]:
        """The first 10,000 bad rows that this process has met; yours to clear."""
        return self._faults.ledger

    @property
    def counts(self) -> dict[str, int]:
        """How many ``"rows"`` this process has seen, and what was done about some of them.

        Rows that were left out (``"skip"``, ``"drop"``) or replaced (``"replace"``) and those in
        batches add up to ``"rows"``; rows that were ``"cut"`` are in their batches.
        """
        return dict(self._faults.counts)


def _cuts(chosen: list[BatchRow], batch: Batch, long: Errors) -> Errors:
    """Of the rows of a batch those that were cut, by their numbers."""
    used = {item.example.index for item in chosen}
    texts = {chosen[at].example.index: error for at, error in batch.cuts.items()}
    return texts | {number: error for number, error in long.items() if number in used}

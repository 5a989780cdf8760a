"""Bad rows: left out or replaced, entered, counted, and never too many."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from collating import RATE, array, chat_row, collator_of, family, one_thread, samples
from torch.utils.data import DataLoader

import ossicle
from ossicle.cache import WaveformCache
from ossicle.collator import Fault, RowError, TooManyFaultsError, read_ledger
from ossicle.errors import AudioError, AudioFileNotFoundError
from ossicle.experiment.tiny import AUDIO
from ossicle.experiment.tiny_families import CHATML

__all__ = ["one_thread"]

pytestmark = pytest.mark.filterwarnings("ignore:a bad row:RuntimeWarning")
NAME = "Qwen2Audio"


def good(folder: Path, number: int = 0) -> dict[str, Any]:
    path = folder / f"{number}.wav"
    soundfile.write(path, samples(6_000 + number * 1_000, number), RATE, subtype="FLOAT")
    words = ("one", "two", "three", "four", "five")[number % 5]
    return {"id": f"row-{number}", "audio_path": str(path), "text": f"{AUDIO} {words}"}


def torn(folder: Path, number: int = 0) -> dict[str, Any]:
    """A FLAC file without its end."""
    path = folder / f"torn-{number}.flac"
    soundfile.write(path, samples(48_000, number), RATE)
    path.write_bytes(path.read_bytes()[:20_000])
    return {"id": f"torn-{number}", "audio_path": str(path), "text": f"{AUDIO} six"}


def short(number: int = 0) -> dict[str, Any]:
    """A clip of two frames, which only the processor finds too short."""
    return {"__key__": f"short-{number}", "audio": array(320), "text": f"{AUDIO} six"}


def assert_same(got: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(got[key], value), key


def test_bad_rows_are_left_out(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    rows = [good(tmp_path, 0), torn(tmp_path), good(tmp_path, 1), short(), good(tmp_path, 2)]
    collator = collator_of(processor, on_error="skip")
    wanted = collator_of(processor)([rows[0], rows[2], rows[4]])
    assert_same(collator(rows), wanted)
    one, other = collator.ledger
    assert (one.id, one.row, one.error) == ("torn-0", 1, "CorruptAudioError")
    assert one.file == rows[1]["audio_path"]
    assert one.byte is not None
    assert (other.id, other.row, other.error) == ("short-0", 3, "ClipTooShortError")
    assert other.action == "skip"


def test_a_bad_row_is_replaced_by_the_next_good_one(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    a, b, c = (good(tmp_path, number) for number in range(3))
    rows = [torn(tmp_path, 0), short(1), a, b, torn(tmp_path, 2), c, short(3)]
    collator = collator_of(processor, on_error="replace")
    wanted = collator_of(processor)([a, a, a, b, c, c, a])
    assert_same(collator(rows), wanted)
    assert_same(collator(rows), wanted)
    assert [fault.id for fault in collator.ledger[:4]] == ["torn-0", "short-1", "torn-2", "short-3"]
    assert {fault.action for fault in collator.ledger} == {"replace"}


def test_a_text_that_does_not_fit_is_a_bad_row(tmp_path: Path) -> None:
    processor, _ = family(NAME, CHATML)
    rows = [chat_row("one", "two"), chat_row("one", "two", count=80_000), chat_row("one")]
    collator = collator_of(processor, on_error="skip", max_length=60, loss_on="response")
    assert collator(rows)["labels"].shape[0] == 1
    assert [fault.error for fault in collator.ledger] == ["TextTooLongError", "NoLabelError"]


def test_rows_of_another_form_always_raise(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    for on_error in ("skip", "replace"):
        with pytest.raises(RowError, match="row 1"):
            collator_of(processor, on_error=on_error)([good(tmp_path), {"label": 1}])


def test_a_member_of_a_shard_is_named(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(torn(tmp_path)["audio_path"], "utt.flac")
    row = {"audio": ossicle.Shard(path).member("utt"), "text": AUDIO}
    collator = collator_of(processor, on_error="skip")
    collator([row, good(tmp_path)])
    fault = collator.ledger[0]
    assert (fault.file, fault.member) == (str(path), "utt.flac")


def test_a_batch_without_a_good_row_is_an_error(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    for on_error in ("skip", "replace"):
        collator = collator_of(processor, on_error=on_error, max_bad_share=1.0)
        with pytest.raises(TooManyFaultsError, match=r"all rows .*torn-0\.flac") as caught:
            collator([torn(tmp_path, 0), short(), torn(tmp_path, 1)])
        assert isinstance(caught.value.__cause__, AudioError)
        assert {fault.id for fault in collator.ledger} == {"torn-0", "short-0", "torn-1"}


def test_the_first_error_is_raised_without_another_choice(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    rows = [good(tmp_path), torn(tmp_path), {**good(tmp_path, 1), "audio_path": "gone.wav"}]
    with pytest.raises(AudioError, match="torn-0"):
        collator_of(processor)(rows)
    with pytest.raises(AudioFileNotFoundError):
        collator_of(processor)(rows[::2])


def test_a_run_that_is_mostly_bad_stops(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    rows = [good(tmp_path), short()]
    collator = collator_of(processor, on_error="skip")
    for _ in range(10):
        collator(rows)
    with pytest.raises(TooManyFaultsError, match=r"11 of the last 22 rows .*0\.01 of 1000"):
        collator(rows)
    assert len(collator.ledger) == 11


def test_a_few_bad_rows_among_many_stop_nothing() -> None:
    from ossicle.faults import Faults

    faults = Faults("skip", 0.01)
    for number in range(2_000):
        faults.count(100, number % 2)  # one of 200
    for _ in range(9):
        faults.count(100, 1)
    with pytest.raises(TooManyFaultsError):
        faults.count(100, 2)
    # What was long ago does not count.
    late = Faults("skip", 0.01)
    late.count(10, 10)
    for _ in range(20):
        late.count(100, 0)
    late.count(10, 10)
    strict = Faults("skip", 0.0)
    strict.count(100, 0)
    with pytest.raises(TooManyFaultsError):
        strict.count(100, 1)


def test_workers_write_one_ledger(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    path = tmp_path / "ledger.jsonl"
    rows = [short(n) if n % 4 == 1 else good(tmp_path, n) for n in range(16)]
    collator = collator_of(processor, on_error="replace", ledger_path=path)
    loader = DataLoader(rows, batch_size=4, collate_fn=collator, num_workers=2)
    assert [len(batch["labels"]) for batch in loader] == [4] * 4
    faults = read_ledger(path)
    assert sorted(fault.id or "" for fault in faults) == sorted(f"short-{n}" for n in (1, 5, 9, 13))
    assert all(isinstance(fault, Fault) and fault.row == 1 for fault in faults)


def test_no_ledger_means_no_fault(tmp_path: Path) -> None:
    assert read_ledger(tmp_path / "none.jsonl") == []


def test_the_first_bad_row_of_a_process_warns(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    collator = pickle.loads(pickle.dumps(collator_of(processor, on_error="skip")))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            collator([good(tmp_path), short()])
    assert len([each for each in caught if "a bad row" in str(each.message)]) == 1


@pytest.mark.parametrize(
    "changes", [{"on_error": "ignore"}, {"max_bad_share": 1.5}, {"max_bad_share": -0.1}]
)
def test_choices_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    processor, _ = family(NAME)
    with pytest.raises(ValueError, match=r"on_error|max_bad_share"):
        collator_of(processor, **changes)


def test_a_bad_row_is_not_kept_in_the_cache(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    cache = ossicle.WaveformCache(tmp_path / "cache")
    rows = [good(tmp_path), torn(tmp_path)]
    for row in rows:
        data = Path(row["audio_path"]).read_bytes()
        row["audio_blob_sha"] = hashlib.sha256(data).hexdigest()
    collator_of(processor, on_error="skip", waveform_cache=cache)(rows)
    assert cache.stats().hits == 0
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 1


def test_rows_are_decoded_by_the_decoder_that_is_asked_for(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    hostile = Path(__file__).parent / "data" / "hostile"
    cache = WaveformCache(tmp_path)
    rows = [
        {"audio": str(hostile / name), "text": f"{AUDIO} one", "audio_blob_sha": f"{number:08d}"}
        for number, name in enumerate(("stereo.flac", "lame.mp3", "celt.opus"))
    ]
    options = {"auto_resample": True, "waveform_cache": cache, "on_error": "skip"}
    for decoder in ("native", "both"):
        collate = collator_of(processor, decoder=decoder, max_bad_share=1.0, **options)
        batch = collate(rows)
        faults = [fault.error for fault in collate.ledger]
        # Symphonia does not know Opus, so that nothing was compared.
        assert faults == ([] if decoder == "native" else ["UnsupportedFormatError"])
        assert len(batch["labels"]) == 3 - len(faults)
    # Three by the native decoder, and two that both have decoded.
    assert cache.stats().entries == 5

"""What people report of collators elsewhere, on the side of the rows: each comes in as it is meant.

Texts, labels and lengths are in test_collator_reported_text.py.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import pickle
import tarfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import soundfile
import torch
from collating import RATE, array, chat_row, collator_of, family, one_thread, row_of, samples
from torch.utils.data import DataLoader

import ossicle
import ossicle.cache.digests
import ossicle.data.load
from ossicle.cache import AudioCache, WaveformCache
from ossicle.collator import ClipTooShortError, RowError, SampleRateMismatchError, preflight
from ossicle.data import read
from ossicle.errors import AudioError, InvalidArgumentError
from ossicle.experiment.tiny import AUDIO
from ossicle.experiment.tiny_families import CHATML, PLACEHOLDERS

__all__ = ["one_thread"]

NAME = "Qwen2Audio"
SECONDS = 1.6
TEXT = f"{AUDIO} one"


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.6 s of two channels, which differ."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    count = round(SECONDS * RATE)
    planes = np.stack([samples(count, 1), 0.5 * samples(count, 2)], axis=1)
    soundfile.write(path, planes, RATE, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second at 8,000 Hz."""
    path = tmp_path_factory.mktemp("slow") / "slow.wav"
    soundfile.write(path, samples(8_000, rate=8_000), 8_000, subtype="FLOAT")
    return path


def heard(*rows: Any, **options: Any) -> list[np.ndarray]:
    """The waveforms that the processor is given of rows."""
    processor, _ = family(NAME, CHATML)
    batcher = collator_of(processor, **options).batcher
    items, errors = batcher.load([batcher.read(number, row) for number, row in enumerate(rows)])
    for error in errors.values():
        raise error
    return [sound for item in items for sound in item.sounds]


def mono(path: Path, begin: float = 0.0, end: float | None = None) -> np.ndarray:
    planes, rate = soundfile.read(path, dtype="float32", always_2d=True)
    stop = None if end is None else round(end * rate)
    cut: np.ndarray = planes.mean(axis=1, dtype=np.float32)[round(begin * rate) : stop]
    return cut


def row(audio: Any, **more: Any) -> dict[str, Any]:
    return {"audio": audio, "text": TEXT, **more}


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


# Segments


def test_three_segments_of_a_file_are_three_clips(talk: Path) -> None:
    parts = [(0.0, 0.5), (0.5, 0.25), (0.75, 0.85)]
    rows = [row(str(talk), offset=begin, duration=length) for begin, length in parts]
    for found, (begin, length) in zip(heard(*rows), parts, strict=True):
        same(found, mono(talk, begin, begin + length))


SEGMENTS: dict[str, dict[str, Any]] = {
    "offset and duration": {"offset": 0.5, "duration": 0.3},
    "texts of a CSV": {"offset": "0.5", "duration": " 0.3 "},
    "start and end": {"start": 0.5, "end": 0.8},
    "begin and end": {"begin": 0.5, "end": 0.8},
    "start_time and end_time": {"start_time": 0.5, "end_time": 0.8},
    "onset and duration": {"onset": 0.5, "duration": 0.3},
    "onset and offset, as voice activity is written": {"onset": 0.5, "offset": 0.8},
    "with nulls beside": {"offset": 0.5, "duration": 0.3, "channel": None, "end": float("nan")},
    "NumPy": {"offset": np.float32(0.5), "duration": np.float64(0.3)},
    "end before what is cut": {"offset": 0.5, "duration": 0.3, "end": 0.8},
}


@pytest.mark.parametrize("form", SEGMENTS)
def test_a_segment_in_each_form(talk: Path, form: str) -> None:
    (found,) = heard(row(str(talk), **SEGMENTS[form]))
    same(found, mono(talk, 0.5, 0.8))


def test_a_segment_of_each_kind_of_recording(talk: Path, tmp_path: Path) -> None:
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w") as file:
        file.add(talk, "utt.wav")
    planes, _ = soundfile.read(talk, dtype="float32")
    sources = [
        talk,
        talk.read_bytes(),
        io.BytesIO(talk.read_bytes()),
        ossicle.Shard(tar).member("utt"),
        {"path": str(talk), "bytes": None},
        {"path": None, "bytes": talk.read_bytes()},
        {"array": planes.T, "sampling_rate": RATE},
        {"array": planes, "sampling_rate": RATE},
    ]
    for channel in (None, 0, 1):
        rows = [row(source, offset=0.5, duration=0.3, channel=channel) for source in sources]
        sources[2].seek(0)
        wanted = planes.mean(axis=1) if channel is None else planes[:, channel]
        for found in heard(*rows):
            same(found, wanted[8_000:12_800])


def test_segments_inside_of_audio_dicts_and_of_parts(talk: Path) -> None:
    inner = {"path": str(talk), "offset": 0.5, "duration": 0.3}
    part = {"type": "audio", "audio": str(talk), "offset": 0.5, "duration": 0.3}
    messages = [
        {"role": "user", "content": [part, {"type": "text", "text": "one"}]},
        {"role": "assistant", "content": "two"},
    ]
    for found in heard(row(inner), {"messages": messages}, row([inner])):
        same(found, mono(talk, 0.5, 0.8))


def test_several_recordings_have_a_segment_each(talk: Path) -> None:
    both = {"audio": [str(talk)] * 2, "text": AUDIO * 2, "offset": [0.1, 0.5]}
    first, second = heard({**both, "duration": [0.2, None], "channel": [None, 1]})
    same(first, mono(talk, 0.1, 0.3))
    same(second, soundfile.read(talk, dtype="float32")[0][8_000:, 1])
    # One length beside them is that of the row.
    assert [len(one) for one in heard({**both, "duration": 3.2})] == [24_000, 17_600]
    with pytest.raises(RowError, match="one offset for 2 recordings: give a list"):
        heard({**both, "offset": 0.1})


@pytest.mark.parametrize("duration", [1.6, 1.59, 1.7, 1, 2, 7, 0, 1.5999999, "1.6", None])
def test_a_rounded_length_loses_nothing(talk: Path, duration: Any) -> None:
    same(heard(row(str(talk), duration=duration))[0], mono(talk))
    planes, _ = soundfile.read(talk, dtype="float32")
    same(heard(row({"array": planes, "sampling_rate": RATE}, duration=duration))[0], mono(talk))


@pytest.mark.parametrize("duration", [0.25, 0.5, 1.3])
def test_a_length_that_is_not_the_recordings_is_a_segment(talk: Path, duration: float) -> None:
    same(heard(row(str(talk), duration=duration))[0], mono(talk, 0, duration))
    # With an offset it is one beyond doubt, however near its end is to that of the recording.
    part = row(str(talk), offset=0.0, duration=1.55)
    same(heard(part)[0], mono(talk, 0, 1.55))


def test_a_segment_outside_of_its_recording_says_both_lengths(talk: Path) -> None:
    for source in (str(talk), talk.read_bytes(), {"array": mono(talk), "sampling_rate": RATE}):
        with pytest.raises(InvalidArgumentError, match=r"begins at 1.6 s, but .* is 1.6 s") as told:
            heard(row(str(talk)), row(source, offset=1.6))
        assert told.value.__notes__ == ["in row 1 of the batch (offset=1.6)"]
        with pytest.raises(InvalidArgumentError, match=r"ends at 3 s, but .* is 1.6 s .*cut alr"):
            heard(row(source, offset=1.0, duration=2.0))
        # Half a second is what times of segments are off by.
        same(heard(row(source, offset=1.0, duration=0.9))[0], mono(talk, 1.0))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"offset": -1}, "offset is -1"),
        ({"offset": "0:00:01"}, "offset holds '0:00:01', not a number"),
        ({"start": 2.0, "end": 1.0}, "ends at 1 s, before 2 s"),
        ({"channel": 0.5}, "channels are counted from 0"),
        ({"offset": [0.0, 1.0]}, "offset has 2 values for 1 recordings"),
    ],
)
def test_segments_that_are_none_are_named(talk: Path, told: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError, match=f"row 0 of the batch: .*{reason}"):
        heard(row(str(talk), **told))


def test_a_channel_that_is_not_there(talk: Path) -> None:
    for source in (str(talk), {"array": mono(talk), "sampling_rate": RATE}):
        with pytest.raises(
            InvalidArgumentError, match=r"channel 2 of a recording of [12] channels"
        ):
            heard(row(source, channel=2))


def test_clips_that_are_cut_already_keep_where_they_were(talk: Path) -> None:
    """GigaSpeech and AMI in `datasets`: the times are those of the original."""
    facts = {"begin_time": 300.0, "end_time": 301.6, "original_full_path": "a.opus"}
    for audio in ({"path": "x.wav", "bytes": talk.read_bytes()}, array(RATE)):
        (found,) = heard(row(audio, **facts))
        assert len(found) in (RATE, len(mono(talk)))


def test_a_segment_is_cut_at_the_collators_length(talk: Path) -> None:
    rows = [row(str(talk), offset=0.5, duration=0.9), row(str(talk), offset=0.5)]
    for found in heard(*rows, max_length_seconds=0.4):
        same(found, mono(talk, 0.5, 0.9))


def test_damage_in_a_segment_names_it(talk: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, samples(32_000), RATE)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(AudioError, match=r"cut\.flac") as told:
        heard(row(str(path), offset=1.5, duration=0.25))
    assert told.value.__notes__ == ["in row 0 of the batch (offset=1.5, duration=0.25)"]


def test_segments_of_another_rate_are_slices_of_the_whole(slow: Path) -> None:
    whole, part = heard(
        row(str(slow)), row(str(slow), offset=0.3, duration=0.2), auto_resample=True
    )
    same(part, whole[4_800:8_000])
    data, rate = soundfile.read(slow, dtype="float32")
    (decoded,) = heard(
        row({"array": data, "sampling_rate": rate}, offset=0.3, duration=0.2), auto_resample=True
    )
    same(decoded, part)


# Caches


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*.npz"))


@pytest.mark.parametrize("kind", ["waveform_cache", "feature_cache"])
def test_two_segments_of_a_file_share_no_entry(talk: Path, tmp_path: Path, kind: str) -> None:
    cache = (WaveformCache if kind == "waveform_cache" else AudioCache)(tmp_path / "cache")
    told: list[dict[str, Any]] = [
        {},
        {"offset": 0.5},
        {"offset": 0.5, "duration": 0.3},
        {"offset": 0.5, "duration": 0.4},
        {"offset": 0.0, "duration": 1.5},
        {"duration": 1.5},
        {"duration": 1.0},
        {"channel": 0},
        {"channel": 1},
    ]
    rows = [row(str(talk), **part) for part in told]
    processor, _ = family(NAME)
    plain, cached = collator_of(processor), collator_of(processor, **{kind: cache})
    wanted = plain(rows)["feature_attention_mask"]
    for _ in range(2):
        assert torch.equal(cached(rows)["feature_attention_mask"], wanted)
    assert len(entries(tmp_path / "cache")) == len(rows)


def test_whole_files_keep_their_names(talk: Path, tmp_path: Path) -> None:
    heard(
        row(str(talk)),
        row(str(talk), offset=0.0, duration=None),
        row(str(talk), duration=45.0),
        waveform_cache=WaveformCache(tmp_path),
    )
    digest = hashlib.sha256(talk.read_bytes()).hexdigest()
    assert entries(tmp_path) == [f"{digest}.16000.30000.wav.npz"]


def test_a_cache_without_digests_works_and_sees_changes(
    talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(talk.read_bytes())
    cache = WaveformCache(tmp_path / "cache")
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w") as file:
        file.add(path, "utt.wav")
    rows = [row(str(path)), row(path.read_bytes()), row(ossicle.Shard(tar).member("utt"))]
    first = heard(*rows, waveform_cache=cache)
    assert len(entries(cache.root)) == 1  # they are of the same bytes
    with monkeypatch.context() as patched:
        patched.setattr(ossicle.data.load, "load_batch", None)
        for found in heard(*rows, waveform_cache=cache):
            same(found, first[0])
    soundfile.write(path, samples(9_000), RATE, subtype="FLOAT")
    assert [len(one) for one in heard(rows[0], waveform_cache=cache)] == [9_000]


def test_a_digest_is_computed_once(
    talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ossicle.cache.digests
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(module, "time", SimpleNamespace(time_ns=lambda: later))
    path = tmp_path / "a.wav"
    path.write_bytes(talk.read_bytes())
    wanted = hashlib.sha256(path.read_bytes()).hexdigest()
    assert module.Digests(tmp_path).of(path) == wanted
    with monkeypatch.context() as patched:
        patched.setattr(module, "_hash", None)
        assert module.Digests(tmp_path).of(str(path)) == wanted  # another process
    for change in ("same size", "another time"):
        data = bytearray(path.read_bytes())
        data[-1] ^= change == "same size"
        path.write_bytes(data)
        if change == "another time":
            os.utime(path, ns=(0, 0))
        assert module.Digests(tmp_path).of(path) == hashlib.sha256(data).hexdigest()
    # A file that may change again within a tick of the clock is not believed.
    monkeypatch.setattr(module, "time", time)
    path.write_bytes(b"new")
    digests = module.Digests(tmp_path)
    digests.of(path)
    monkeypatch.setattr(module, "_hash", lambda *_: "again")
    assert digests.of(path) == "again"
    assert digests.of(tmp_path / "gone") is None


def test_samples_are_not_cached_and_that_is_said_once(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    collator = collator_of(processor, waveform_cache=WaveformCache(tmp_path))
    with pytest.warns(RuntimeWarning, match="keeps nothing of recordings that are Samples"):
        collator([row_of(NAME), row_of(NAME)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collator([row_of(NAME)])
    assert entries(tmp_path) == []


def test_digests_in_capitals_and_missing_ones(talk: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(talk.read_bytes()).hexdigest()
    told = [digest.upper(), float("nan"), "", None]
    rows = [row(str(talk), audio_blob_sha=each) for each in told]
    heard(*rows, waveform_cache=WaveformCache(tmp_path))
    assert entries(tmp_path) == [f"{digest}.16000.30000.wav.npz"]


# Samples at hand


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int16", "int32", "uint8"])
def test_arrays_of_each_type_have_one_scale(kind: str) -> None:
    wave = samples(9_000)
    scale = {"int16": 2.0**15, "int32": 2.0**31, "uint8": 2.0**7}.get(kind, 1.0)
    stored = np.round(wave * np.float64(scale)) if scale != 1.0 else wave
    stored = (stored + 128 * (kind == "uint8")).astype(kind)
    (found,) = heard(row({"array": stored, "sampling_rate": RATE}))
    step = {"uint8": 2.0**-7, "float16": 1e-3, "int16": 2.0**-15}.get(kind, 1e-6)
    np.testing.assert_allclose(found, wave, atol=step)


def test_axes_as_soundfile_has_them(talk: Path) -> None:
    planes, rate = soundfile.read(talk)
    alone = planes[:, :1]
    rows = [row({"array": one, "sampling_rate": rate}) for one in (planes, planes.T, alone)]
    both, again, one = heard(*rows)
    same(both, mono(talk))
    same(again, mono(talk))
    same(one, alone[:, 0])
    assert ossicle.audio_lengths(rows).samples.tolist() == [25_600] * 3
    assert preflight(rows, collator_of(family(NAME)[0]), show=False)["seconds"][0] == SECONDS
    with pytest.raises(RowError, match=r"of shape \(20, 2\) is not clear"):
        heard(row({"array": np.zeros((20, 2)), "sampling_rate": rate}))


def test_tensors_lists_and_samples_beside_their_rate() -> None:
    wave = samples(9_000)
    tensor = torch.from_numpy(wave)
    rows = [
        row({"array": tensor[None], "sampling_rate": RATE}),
        row({"array": wave.tolist(), "sampling_rate": RATE}),
        row(wave, sampling_rate=RATE),
        row(wave.tolist(), sampling_rate=RATE),
        row((tensor, RATE)),
        {"speech": wave, "sampling_rate": RATE, "text": TEXT},
        {"array": wave, "sampling_rate": RATE, "text": TEXT},
        {"waveform": tensor[None], "sample_rate": RATE, "text": TEXT},
    ]
    for found in heard(*rows):
        same(found, wave)
    (half,) = heard(row({"array": tensor.bfloat16(), "sampling_rate": RATE}))
    same(half, tensor.bfloat16().float().numpy())
    with pytest.raises(RowError, match="give its rate beside it, under sampling_rate"):
        heard(row(wave))


# Rates


class Decoder:
    """As `datasets` makes one of torchcodec: it knows the file and the rate that was asked for."""

    def __init__(self, path: Path, rate: int | None) -> None:
        own = ossicle.info(path).sample_rate
        self._hf_encoded = {"path": str(path), "bytes": None}
        self._desired_sample_rate = own if rate is None else rate
        self.metadata = SimpleNamespace(sample_rate=own)

    def get_all_samples(self) -> Any:
        raise AssertionError("the file itself is better")


def test_a_rate_that_was_asked_for_is_a_reason_to_resample(slow: Path) -> None:
    (wanted,) = heard(row(str(slow)), auto_resample=True)
    same(heard(row(Decoder(slow, RATE)))[0], wanted)
    same(heard(row({"path": str(slow), "bytes": None, "sampling_rate": RATE}))[0], wanted)
    for audio in (Decoder(slow, None), {"path": str(slow), "bytes": None}):
        with pytest.raises(SampleRateMismatchError, match="native rate 8000 Hz"):
            heard(row(audio))
    with pytest.raises(SampleRateMismatchError, match="the rate that was asked is 12000 Hz"):
        heard(row(Decoder(slow, 12_000)))
    twice, _ = ossicle.load(slow, 12_000)
    (found,) = heard(row(Decoder(slow, 12_000)), auto_resample=True)
    same(found, ossicle.resample(twice, 12_000, RATE))


def test_a_column_of_datasets_with_a_rate(slow: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from ossicle.backends.datasets import Audio

    (wanted,) = heard(row(str(slow)), auto_resample=True)
    found = datasets.Dataset.from_list([row(str(slow))])
    decoded = found.cast_column("audio", Audio(sampling_rate=RATE))
    cache = WaveformCache(tmp_path)
    for _ in range(2):
        same(heard(decoded[0], waveform_cache=cache)[0], wanted)
    assert len(entries(tmp_path)) == 1
    with pytest.raises(SampleRateMismatchError):
        heard(found.cast_column("audio", Audio())[0])
    stored = found.cast_column("audio", datasets.Audio(decode=False))
    same(heard(stored[0], auto_resample=True)[0], wanted)


# Rows of other tools


def test_rows_of_pandas_and_polars(talk: Path) -> None:
    rows = [row(str(talk), offset=0.5, duration=0.3, speaker="a"), row(str(talk))]
    frame = pd.DataFrame(rows)  # what a row lacks is NaN
    assert np.isnan(frame["offset"][1])
    sources = [
        [frame.iloc[at] for at in range(2)],
        frame.to_dict("records"),
        list(frame.itertuples(index=False)),
        pl.DataFrame(rows).to_dicts(),
    ]
    for each in sources:
        first, second = heard(*each)
        same(first, mono(talk, 0.5, 0.8))
        same(second, mono(talk))
    frame.loc[0, "text"] = float("nan")
    with pytest.raises(RowError, match="row 0 of the batch has no text"):
        heard(frame.iloc[0])


def test_rows_of_what_ossicle_reads(talk: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    nemo = {"audio_filepath": str(talk), "offset": 0.5, "duration": 0.3, "text": TEXT}
    whole = {"audio_filepath": str(talk), "duration": 1.6, "text": TEXT}
    path.write_text("".join(json.dumps(each) + "\n" for each in (nemo, whole)))
    first, second = heard(*read(path))
    same(first, mono(talk, 0.5, 0.8))
    same(second, mono(talk))
    voice = read([row(str(talk), onset=0.5, offset=0.8, duration=0.3)])
    same(heard(*voice)[0], mono(talk, 0.5, 0.8))


def test_samples_of_a_speech_dataset(talk: Path, tmp_path: Path) -> None:
    from ossicle.dataloader import SpeechDataset, WaveformLoader

    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "talk.wav").write_bytes(talk.read_bytes())
    manifest = pl.DataFrame(
        {"wav_id": ["talk"], "text": [TEXT], "offset": [0.5], "duration": [0.3]}
    )
    dataset = SpeechDataset(WaveformLoader(folder), manifest=manifest)
    assert isinstance(dataset[0], tuple)
    # It was cut by the data set, and is not cut again.
    same(heard(dataset[0])[0], mono(talk, 0.5, 0.8))


def test_tuples_as_torchaudios_data_sets_have_them() -> None:
    wave = torch.from_numpy(samples(9_000))[None]
    same(heard((wave, RATE, TEXT, 84, 121123, 0))[0], wave[0].numpy())
    same(heard((wave, RATE, {"sentence": TEXT, "path": "gone.wav"}))[0], wave[0].numpy())
    with pytest.raises(RowError, match="a tuple of 2 is not a mapping of columns"):
        heard((wave, RATE))


@pytest.fixture(scope="module")
def shard(talk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shards") / "a.tar"
    facts = json.dumps({"duration": 1.6, "audio_path": "where/it/was.wav"}).encode()
    with tarfile.open(path, "w") as tar:
        for key in ("a", "b"):
            for extension, data in (("wav", talk.read_bytes()), ("json", facts), ("txt", b"")):
                data = data or TEXT.encode()
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def test_samples_of_a_shard(talk: Path, shard: Path) -> None:
    for found in heard(*ossicle.Shard(shard)):
        same(found, mono(talk))
    batch = collator_of(family(NAME)[0])(list(ossicle.Shard(shard)))
    assert torch.equal(batch["input_ids"][0], batch["input_ids"][1])
    broken = {"__key__": "k", "wav": memoryview(b"RIFF"), "txt": TEXT.encode()}
    with pytest.raises(AudioError, match=r"^k\.wav: "):
        heard(broken)
    with pytest.raises(RowError, match=r"row 0 .*sample 'k': its json cannot be read"):
        heard({**broken, "json": b"{"})
    with pytest.raises(RowError, match=r"sample 'k': several members are audio: wav, mic.flac"):
        heard({**broken, "mic.flac": b""})


def test_samples_as_webdataset_and_datasets_decode_them(talk: Path, shard: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    wave = torch.from_numpy(mono(talk))[None]
    for sample in webdataset.WebDataset(str(shard), shardshuffle=False):
        same(heard(sample)[0], mono(talk))
        decoded = {**sample, "json": json.loads(sample["json"]), "txt": sample["txt"].decode()}
        same(heard({**decoded, "wav": (wave, RATE)})[0], mono(talk))
        streamed = {**decoded, "wav": {"path": "a.wav", "bytes": sample["wav"]}}
        same(heard(streamed)[0], mono(talk))


class Members(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows whose recordings are members of a shard."""

    def __init__(self, path: Path) -> None:
        shard = ossicle.Shard(path)
        self.rows = [row(shard.member(key)) for key in shard.keys()]  # noqa: SIM118

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self.rows[number]


def test_members_of_shards_pickle_in_their_rows(talk: Path, shard: Path) -> None:
    for found in heard(*pickle.loads(pickle.dumps(Members(shard))).rows):
        same(found, mono(talk))


@pytest.mark.thorough
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_members_of_shards_in_workers_of_any_start(shard: Path, context: str) -> None:
    collator = collator_of(family(NAME)[0])
    rows = Members(shard)
    loader = DataLoader(
        rows, batch_size=2, collate_fn=collator, num_workers=1, multiprocessing_context=context
    )
    (found,) = loader
    assert torch.equal(found["input_features"], collator(rows.rows)["input_features"])


def test_names_of_columns(talk: Path) -> None:
    for audio in ("audio", "wav", "audio_path", "path", "audio_filepath", "file", "file_name"):
        for text in ("text", "sentence", "transcription", "transcript", "txt"):
            (found,) = heard({audio: str(talk), text: TEXT})
            same(found, mono(talk))
    # The schema's own name goes before the others.
    same(heard({"path": "gone.wav", "audio": str(talk), "text": TEXT})[0], mono(talk))


# Conversations

QUESTION = [{"type": "audio"}, {"type": "text", "text": "one"}]
ANSWER = {"role": "assistant", "content": "two"}


def conversations(talk: Path, wave: np.ndarray) -> dict[str, dict[str, Any]]:
    data = base64.b64encode(talk.read_bytes()).decode()
    user = {"role": "user", "content": QUESTION}

    def holding(part: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": [part, QUESTION[1]]}, ANSWER]}

    return {
        "prompt and completion": {"audio": str(talk), "prompt": [user], "completion": [ANSWER]},
        "plain texts": {
            "audio": str(talk),
            "messages": [{"role": "user", "content": "one"}, ANSWER],
        },
        "plain prompt": {
            "audio": str(talk),
            "prompt": [{"role": "user", "content": "one"}],
            "completion": [ANSWER],
        },
        "strings": {"audio": str(talk), "prompt": "one", "completion": "two"},
        "ShareGPT": {
            "audios": [str(talk)],
            "conversations": [
                {"from": "human", "value": "<audio>\none"},
                {"from": "gpt", "value": "two"},
            ],
        },
        "ShareGPT without marks": {
            "audios": [str(talk)],
            "conversations": [{"from": "human", "value": "one"}, {"from": "gpt", "value": "two"}],
        },
        "audio_url of Qwen": holding({"type": "audio", "audio_url": str(talk)}),
        "file URL": holding({"type": "audio", "url": talk.as_uri()}),
        "audio_url of vLLM": holding(
            {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{data}"}}
        ),
        "input_audio of OpenAI": holding(
            {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        ),
        "bytes in a part": holding({"type": "audio", "audio": talk.read_bytes()}),
        "samples in a part": holding(
            {"type": "audio", "audio": {"array": wave, "sampling_rate": RATE}}
        ),
        "a path in a part": holding({"type": "audio", "path": str(talk)}),
        "keys that Arrow fills up": {
            "audio": {"path": str(talk), "bytes": None},
            "messages": [
                {
                    **user,
                    "name": None,
                    "content": [{**part, "text": part.get("text")} for part in QUESTION],
                },
                {**ANSWER, "name": None},
            ],
        },
        "text beside them": {"audio": str(talk), "messages": [user, ANSWER], "text": "unused"},
    }


FORMS = sorted(conversations(Path(__file__), np.zeros(1)))


@pytest.mark.parametrize("form", FORMS)
def test_a_conversation_in_each_form(talk: Path, form: str) -> None:
    processor, _ = family(NAME, CHATML)
    collator = collator_of(processor, loss_on="response")
    messages = [{"role": "user", "content": QUESTION}, ANSWER]
    wanted = collator([{"audio": str(talk), "messages": messages}])
    found = collator([conversations(talk, mono(talk))[form]])
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, msg=key)


def test_a_prompt_beside_a_text_is_a_fact(talk: Path) -> None:
    processor, _ = family(NAME, CHATML)
    collator = collator_of(processor)
    wanted = collator([row(str(talk))])
    found = collator([row(str(talk), prompt="a style of speech")])
    assert torch.equal(found["input_ids"], wanted["input_ids"])


def test_a_placeholder_in_a_plain_message_stays_where_it_is(talk: Path) -> None:
    processor, _ = family(NAME, CHATML)
    messages = [{"role": "user", "content": f"one {AUDIO} two"}, ANSWER]
    batch = collator_of(processor)([{"audio": str(talk), "messages": messages}])
    tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    first = tokens.index("<|audio_bos|>")
    assert tokens[first - 1] == "one"
    assert tokens[tokens.index("<|audio_eos|>") + 1] == "two"


def test_recordings_elsewhere_are_refused_by_name() -> None:
    for url in ("https://example.org/a.wav", "s3://bucket/a.wav"):
        with pytest.raises(RowError, match=f"a URL, which is not read: download it first: {url}"):
            heard(row(url))


def test_files_that_are_opened_late(talk: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    same(heard(row(fsspec.open(str(talk), "rb")))[0], mono(talk))


# Texts without sound

NEED_AUDIO = ["AudioFlamingo3", "GLM-ASR", "MusicFlamingo", "Qwen3-ASR", "Whisper"]
TAKE_TEXT = sorted(PLACEHOLDERS.keys() - set(NEED_AUDIO))


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("loss_on", ["all", "response"])
@pytest.mark.parametrize("name", TAKE_TEXT)
def test_texts_without_sound_among_rows_with_sound(name: str, loss_on: str) -> None:
    processor, model = family(name, CHATML)
    talk_of_text = {"messages": [{"role": "user", "content": "one"}, ANSWER]}
    plain = {"text": "three four five", "audio": None}
    rows = [row_of(name), plain, talk_of_text, chat_row("one", "two")]
    collator = collator_of(processor, loss_on=loss_on)
    batch = collator(rows)
    assert torch.isfinite(model(**batch).loss)
    for number, each in enumerate(rows):
        alone = collator([each])
        length = int(alone["attention_mask"].sum())
        own = batch["attention_mask"][number].bool()
        assert int(own.sum()) == length
        for key in ("input_ids", "labels"):
            assert torch.equal(batch[key][number][own], alone[key][0]), (number, key)
    texts = collator([plain, talk_of_text])
    assert not any("features" in key for key in texts)
    assert torch.isfinite(model(**texts).loss)
    # Of a text alone every token is learned, and nothing of the question before an answer.
    ids = processor.tokenizer("three four five")["input_ids"]
    assert int((batch["labels"][1] != -100).sum()) == len(ids)


@pytest.mark.parametrize("name", NEED_AUDIO)
def test_texts_without_sound_are_refused_where_a_processor_takes_none(name: str) -> None:
    processor, _ = family(name)
    with pytest.raises(RowError, match=r"row 1 .*Processor needs a recording in each row"):
        collator_of(processor)([row_of(name), {"text": "one", "transcribed": True}])


def test_texts_without_sound_beside_caches(talk: Path, tmp_path: Path) -> None:
    processor, _ = family(NAME, CHATML)
    rows = [{"text": "three four"}, row(str(talk))]
    wanted = collator_of(processor)(rows)
    cached = collator_of(processor, feature_cache=AudioCache(tmp_path))
    for _ in range(2):
        found = cached(rows)
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-4)
    assert set(cached(rows[:1])) == {"input_ids", "attention_mask", "labels"}
    frame = preflight(rows, cached, show=False)
    assert frame["problem"].to_list() == [None, None]
    assert frame["seconds"].to_list() == [0.0, SECONDS]


def test_a_recording_that_is_missing_is_no_text_without_sound() -> None:
    for audio in (None, [], {"path": None, "bytes": None}):
        with pytest.raises(RowError, match=r"row 0 .*(no audio_path|no bytes, no path)"):
            heard(row(audio))


# Arguments and reports


def test_columns_in_the_place_of_rows(talk: Path) -> None:
    processor, _ = family(NAME)
    columns = {"audio": [str(talk)], "text": [TEXT]}
    with pytest.raises(RowError, match="a str is not a mapping of columns"):
        collator_of(processor)(columns)  # type: ignore[arg-type]


def test_files_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "call.raw"
    wave = samples(9_000)
    path.write_bytes((wave * 32_767).astype("<i2").tobytes())
    raw = ossicle.RawFormat("pcm_s16le", RATE)
    cache = WaveformCache(tmp_path / "cache")
    for _ in range(2):
        (found,) = heard(row(str(path)), raw=raw, waveform_cache=cache)
        np.testing.assert_allclose(found, wave, atol=1e-4)
    (name,) = entries(cache.root)
    assert name.endswith(".16000.30000.raw.pcm.s16le.16000.1.0.wav.npz")
    found = preflight([row(str(path))], collator_of(family(NAME)[0], raw=raw), show=False)
    assert found["seconds"][0] == 9_000 / RATE


def test_preflight_tells_segments_apart(talk: Path) -> None:
    rows = [
        row(str(talk), offset=0.0, duration=0.5),
        row(str(talk), offset=0.5, duration=0.5),
        row(str(talk), offset=0.5, duration=0.5),
        row(str(talk), offset=9.0),
        row(str(talk), offset=1.59),
    ]
    frame = preflight(rows, collator_of(family(NAME)[0]), show=False)
    assert frame["seconds"].to_list()[:3] == [0.5] * 3
    assert frame["duplicate_of"].to_list() == [None, None, 1, None, None]
    problems = frame["problem"].to_list()
    assert problems[:3] == [None] * 3
    assert "begins at 9 s" in problems[3]
    assert problems[4].startswith(ClipTooShortError.__name__)
    assert frame["files"][1][0] == f"{talk}, offset=0.5, duration=0.5"

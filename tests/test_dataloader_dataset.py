"""SpeechDataset and the stream of shards: each sample once, its seed, its window, its faults."""

from __future__ import annotations

import io
import itertools
import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
import torch
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset
from torch.utils.data._utils import worker as torch_worker

import ossicle
from ossicle.collator import read_ledger
from ossicle.collator.errors import TooManyFaultsError
from ossicle.dataloader import (
    DataProcessor,
    FeatureLoader,
    ManifestError,
    MetadataError,
    OnlineWindower,
    RawFileLoader,
    SampleError,
    SpeechCollator,
    SpeechDataset,
    WaveformLoader,
    WebDatasetSpeechDataset,
)
from ossicle.errors import InvalidArgumentError

RATE = 1_000


class Ramps(FeatureLoader):
    """Recordings ``r0``, ``r1`` ... of 1 s and more, whose samples are their own numbers."""

    def __init__(self, count: int = 5, bad: tuple[int, ...] = ()) -> None:
        self.count, self.bad = count, bad
        self.ranges: list[tuple[str, float, float | None]] = []

    def _whole(self, wav_id: str) -> torch.Tensor:
        if int(wav_id[1:]) in self.bad:
            raise SampleError("broken", source=f"{wav_id}.wav", wav_id=wav_id)
        return torch.arange(1_000.0 * (int(wav_id[1:]) + 1))[None]

    def load_waveform(self, wav_id: str) -> tuple[torch.Tensor, int]:
        self.ranges.append((wav_id, 0.0, None))
        return self._whole(wav_id), RATE

    def load_range(
        self, wav_id: str, offset: float = 0.0, duration: float | None = None
    ) -> tuple[torch.Tensor, int]:
        self.ranges.append((wav_id, offset, duration))
        end = None if duration is None else round(offset * RATE) + round(duration * RATE)
        return self._whole(wav_id)[:, round(offset * RATE) : end], RATE

    def duration(self, wav_id: str) -> float:
        return float(int(wav_id[1:]) + 1)

    def load_metadata(self, wav_id: str) -> dict[str, Any]:
        segments = [
            {"onset": 0.1234567, "offset": 0.6, "label": "FEM"},
            {"onset": 0.8, "offset": 1.9, "label": "KCHI"},
        ]
        return {"vad_merged": segments, "source": "loader"}

    def available_ids(self) -> list[str]:
        return [f"r{number}" for number in range(self.count)]


class Louder(DataProcessor):
    def __call__(self, waveform: Any, sample_rate: int, metadata: Any) -> Any:
        return waveform + metadata["seed"] % 1_000, sample_rate, {**metadata, "louder": True}


def ids(samples: Any) -> list[str]:
    return [metadata.get("clip_id", metadata["wav_id"]) for _, _, metadata in samples]


def test_samples_in_the_order_of_the_loader_the_manifest_or_the_ids() -> None:
    loader = Ramps()
    frame = pl.DataFrame({"wav_id": ["r3", "r1"], "source": ["manifest", None], "x": [1, 2]})
    assert ids(SpeechDataset(loader)) == ["r0", "r1", "r2", "r3", "r4"]
    assert ids(SpeechDataset(loader, ids=["r4", "r0", "r4"])) == ["r4", "r0", "r4"]
    dataset = SpeechDataset(loader, manifest=frame)
    assert ids(dataset) == ["r3", "r1"]
    waveform, rate, metadata = dataset[-1]
    assert torch.equal(waveform, torch.arange(2_000.0)[None])
    assert rate == RATE
    assert metadata["source"] is None
    assert metadata["x"] == 2
    assert len(metadata["vad_merged"]) == 2
    assert ids(SpeechDataset(loader, manifest=frame, ids=["r1"])) == ["r1"]
    assert SpeechDataset(loader, manifest=frame, ids=["r1"])[0][2]["x"] == 2
    with pytest.raises(IndexError):
        dataset[2]
    with pytest.raises(MetadataError, match="wav_id 'r9': unknown id; 2 are known"):
        SpeechDataset(loader, manifest=frame, ids=["r9"])
    with pytest.raises(InvalidArgumentError, match="must be a list"):
        SpeechDataset(loader, ids="r1")
    with pytest.raises(ManifestError, match="ids and paths must be text"):
        SpeechDataset(loader, ids=[None])  # type: ignore[list-item]
    with pytest.raises(ManifestError, match="duplicate wav_id"):
        SpeechDataset(loader, manifest=pl.concat([frame, frame]))


def test_a_subclass_as_of_torch() -> None:
    class Two(SpeechDataset):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return self.loader.load(f"r{index}")

    batches = list(DataLoader(Two(Ramps()), batch_size=2, collate_fn=list))
    assert [sample[0].shape[1] for sample in batches[0]] == [1_000, 2_000]


def test_seeds_are_a_function_of_seed_epoch_and_id() -> None:
    def seeds(dataset: SpeechDataset) -> dict[str, int]:
        return {metadata["wav_id"]: metadata["seed"] for _, _, metadata in dataset}

    dataset = SpeechDataset(Ramps(40), Louder(), seed=3)
    first = seeds(dataset)
    assert len(set(first.values())) == 40
    assert all(0 <= seed < 2**63 for seed in first.values())
    assert seeds(SpeechDataset(Ramps(), seed=3, ids=["r4", "r2"])) == {
        "r4": first["r4"],
        "r2": first["r2"],
    }
    dataset.set_epoch(1)
    assert not set(seeds(dataset).values()) & set(first.values())
    assert seeds(pickle.loads(pickle.dumps(dataset))) == seeds(dataset)
    dataset.set_epoch(0)
    assert seeds(dataset) == first
    assert not set(seeds(SpeechDataset(Ramps(40), seed=4)).values()) & set(first.values())
    waveform, _, metadata = dataset[0]
    assert torch.equal(waveform, torch.arange(1_000.0)[None] + first["r0"] % 1_000)
    assert metadata["louder"]
    with pytest.raises(InvalidArgumentError):
        dataset.set_epoch(-1)


def test_a_new_epoch_reaches_workers_that_run() -> None:
    dataset = SpeechDataset(Ramps())
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    for epoch in range(3):
        dataset.set_epoch(epoch)
        wanted = [metadata["seed"] for _, _, metadata in dataset]
        assert [metadata["seed"] for _, _, metadata in loader] == wanted


@pytest.mark.parametrize(
    "windower",
    [
        OnlineWindower(length=0.7),
        OnlineWindower(length=0.7003, hop=0.2501),
        OnlineWindower("vad", length=1.0),
        OnlineWindower("label", key="vad_merged", labels=["KCHI"]),
    ],
)
def test_windows_are_cuts_of_the_whole(windower: OnlineWindower) -> None:
    loader = Ramps()
    dataset = SpeechDataset(loader, windower=windower)
    assert loader.ranges == []  # chosen before anything is decoded
    wanted = []
    for wav_id in loader.available_ids():
        known = {"wav_id": wav_id, **loader.load_metadata(wav_id)}
        wanted += windower.split(loader._whole(wav_id), RATE, known)
    assert len(dataset) == len(wanted) > 4
    for got, whole in zip(dataset, wanted, strict=True):
        assert torch.equal(got[0], whole[0])
        assert got[2]["pieces"] == whole[2]["pieces"]
        assert got[2]["vad_merged"] == whole[2]["vad_merged"]
    assert len(loader.ranges) == len(dataset)
    assert all(span is not None and span < 2.0 for _, _, span in loader.ranges)
    counts = Counter(metadata["wav_id"] for _, _, metadata in dataset)
    names = [f"{wav_id}_{n:04d}" for wav_id, count in counts.items() for n in range(count)]
    assert ids(dataset) == names
    assert len({metadata["seed"] for _, _, metadata in dataset}) == len(dataset)
    if windower.mode == "label":
        assert {metadata["window_label"] for _, _, metadata in dataset} == {"KCHI"}


def test_a_window_behind_the_end_is_an_error() -> None:
    frame = pl.DataFrame({"wav_id": ["r0"], "duration": [3.0]})
    dataset = SpeechDataset(Ramps(), manifest=frame, windower=OnlineWindower(length=1.0))
    assert len(dataset) == 3
    assert dataset[0][0].shape == (1, 1_000)
    with pytest.raises(SampleError, match="wav_id 'r0': the window from 2 to 3 s holds no samples"):
        dataset[2]


def test_windows_of_files_decode_only_their_range(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (44_100 * 3, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", samples, 44_100)
    whole = ossicle.load(tmp_path / "a.flac", mono=False)[0]
    windower = OnlineWindower(length=0.3333)
    dataset = SpeechDataset(WaveformLoader(tmp_path), windower=windower)
    cuts = windower.split(torch.from_numpy(whole), 44_100, {"wav_id": "a"})
    assert len(dataset) == len(cuts) == 10
    for got, wanted in zip(dataset, cuts, strict=True):
        assert torch.equal(got[0], wanted[0])


BAD = (3, 4, 11)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("on_error", ["skip", "replace"])
@pytest.mark.filterwarnings("ignore:a bad row")
def test_bad_samples_are_left_out_or_replaced_and_entered(
    tmp_path: Path, on_error: Any, workers: int
) -> None:
    path = tmp_path / "ledger.jsonl"
    dataset = SpeechDataset(Ramps(12, BAD), on_error=on_error, ledger_path=path)
    batches = list(DataLoader(dataset, batch_size=4, collate_fn=ids, num_workers=workers))
    good = [f"r{number}" for number in range(12) if number not in BAD]
    if on_error == "skip":
        assert [name for batch in batches for name in batch] == good
    else:
        assert batches == [["r0", "r1", "r2", "r0"], ["r5", "r5", "r6", "r7"], [*good[-3:], "r8"]]
    faults = read_ledger(path)
    assert sorted(fault.id or "" for fault in faults) == ["r11", "r3", "r4"]
    assert {(fault.file, fault.error, fault.reason) for fault in faults} == {
        (f"r{number}.wav", "SampleError", "broken") for number in BAD
    }
    assert len(good) + len(faults) == 12
    if not workers:
        assert dataset.faults == faults
    with pytest.raises(SampleError, match=r"r3.wav, wav_id 'r3': broken"):
        dataset[3]


@pytest.mark.filterwarnings("ignore:a bad row")
def test_too_many_bad_samples_end_the_run() -> None:
    dataset = SpeechDataset(Ramps(30, tuple(range(0, 30, 2))), on_error="skip")
    with pytest.raises(TooManyFaultsError, match="max_bad_share"):
        list(DataLoader(dataset, batch_size=2, collate_fn=ids))
    dataset = SpeechDataset(Ramps(4, (0, 1)), on_error="replace", max_bad_share=1.0)
    with pytest.raises(TooManyFaultsError, match="all rows of the batch"):
        list(DataLoader(dataset, batch_size=2, collate_fn=ids))
    subset = Subset(SpeechDataset(Ramps(4, (0,)), on_error="skip"), [0, 1, 2])
    assert list(DataLoader(subset, batch_size=3, collate_fn=ids)) == [["r1", "r2"]]


def test_errors_name_the_recording_and_mistakes_stay_what_they_are() -> None:
    class Broken(DataProcessor):
        def __init__(self, error: Exception) -> None:
            self.error = error

        def __call__(self, waveform: Any, sample_rate: int, metadata: Any) -> Any:
            raise self.error

    with pytest.raises(SampleError) as refused:
        SpeechDataset(Ramps(), Broken(SampleError("too short")))[1]
    assert refused.value.wav_id == "r1"
    for on_error in ("raise", "skip"):
        dataset = SpeechDataset(Ramps(), Broken(KeyError("typo")), on_error=on_error)
        with pytest.raises(KeyError) as mistake:
            next(iter(DataLoader(dataset, batch_size=2, collate_fn=ids)))
        assert mistake.value.__notes__ == ["wav_id 'r0'"]
    with pytest.raises(InvalidArgumentError, match="on_error"):
        SpeechDataset(Ramps(), on_error="ignore")
    with pytest.raises(InvalidArgumentError, match="on_error"):
        WebDatasetSpeechDataset("s.tar", on_error="ignore")  # type: ignore[arg-type]


def write_shards(folder: Path, sizes: list[int]) -> list[str]:
    """Shards of so many samples, ``s{shard}-{number}``."""
    paths = []
    for shard, size in enumerate(sizes):
        with ossicle.ShardWriter(folder / f"s{shard:03d}.tar") as writer:
            for number in range(size):
                file = io.BytesIO()
                soundfile.write(file, np.full(8 + number, shard / 100), RATE, format="WAV")
                key = f"s{shard}-{number}"
                writer.write({"__key__": key, "wav": file.getvalue(), "json": {"n": number}})
        paths.append(str(folder / f"s{shard:03d}.tar"))
    return paths


SIZES = [7, 1, 12, 5]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_shards(tmp_path_factory.mktemp("stream"), SIZES)


@pytest.fixture(scope="module")
def keys(shards: list[str]) -> list[str]:
    """As webdataset reads them."""
    return [one["__key__"] for one in webdataset.WebDataset(shards, shardshuffle=False)]


@pytest.fixture
def in_worker(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Makes this process believe that it is a worker."""

    def pretend(worker: int, workers: int) -> None:
        facts = torch_worker.WorkerInfo(id=worker, num_workers=workers, seed=0, dataset=None)
        monkeypatch.setattr(torch_worker, "_worker_info", facts if workers else None)

    return pretend


def shares_of(
    shards: list[str],
    world: int,
    workers: int,
    pretend: Callable[[int, int], None],
    **settings: Any,
) -> Iterator[list[str]]:
    for rank in range(world):
        for worker in range(max(workers, 1)):
            pretend(worker, workers)
            dataset = WebDatasetSpeechDataset(shards, rank=rank, world_size=world, **settings)
            dataset.set_epoch(2)
            yield ids(dataset)


def test_the_stream_is_that_of_the_tars(shards: list[str], keys: list[str]) -> None:
    dataset = WebDatasetSpeechDataset(shards, Louder(), sample_rate=2_000, mono=True)
    assert ids(dataset) == keys
    waveform, rate, metadata = next(iter(dataset))
    assert (waveform.shape, rate) == ((1, 16), 2_000)
    assert metadata["n"] == 0
    assert metadata["louder"]
    assert dataset.num_samples == sum(SIZES)
    twin = pickle.loads(pickle.dumps(dataset))
    assert ids(twin) == keys


@pytest.mark.parametrize("world", [1, 2, 3, 30])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_nothing_comes_twice_and_nothing_is_lost(
    shards: list[str], keys: list[str], world: int, workers: int, drop_last: bool, in_worker: Any
) -> None:
    settings = {"shuffle_shards": True, "shuffle_buffer": 4, "drop_last": drop_last}
    shares = list(shares_of(shards, world, workers, in_worker, **settings))
    in_worker(0, 0)
    whole = WebDatasetSpeechDataset(shards, shuffle_shards=True, shuffle_buffer=4)
    whole.set_epoch(2)
    order = ids(whole)
    assert sorted(order) == sorted(keys)
    # Turn by turn, the first worker of every process before the second of any.
    readers = [shares[n :: max(workers, 1)] for n in range(max(workers, 1))]
    turns = itertools.zip_longest(*(share for group in readers for share in group))
    dealt = [key for turn in turns for key in turn if key is not None]
    assert dealt == order[: len(order) - (len(order) % world if drop_last else 0)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    per_rank = [shares[n : n + max(workers, 1)] for n in range(0, len(shares), max(workers, 1))]
    if drop_last:  # as many samples, in as many batches
        assert len({tuple(map(len, rank)) for rank in per_rank}) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_of_torch_share_the_stream(
    shards: list[str], keys: list[str], workers: int
) -> None:
    dataset = WebDatasetSpeechDataset(shards, shuffle_shards=True, seed=1)
    loader = DataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=SpeechCollator())
    got = [metadata["wav_id"] for batch in loader for metadata in batch.metadata]
    assert sorted(got) == sorted(keys)
    one_by_one = DataLoader(dataset, batch_size=None, num_workers=workers)
    assert [metadata["wav_id"] for _, _, metadata in one_by_one] == ids(dataset)


@given(st.integers(0, 2**64), st.integers(0, 50), st.integers(0, 30), st.booleans())
@settings(max_examples=50)
def test_orders_of_epochs(seed: int, epoch: int, buffer: int, by_shard: bool) -> None:
    dataset = object.__new__(WebDatasetSpeechDataset)
    dataset.seed, dataset.shuffle_buffer, dataset.shuffle_shards = seed, buffer, by_shard
    dataset._shards = type("Counted", (), {"__len__": lambda _: 25})()  # type: ignore[assignment]
    dataset._shards.starts = np.cumsum([0, *SIZES])
    order = dataset._order(epoch, np.arange(25))
    assert sorted(order) == list(range(25))
    for places in (np.arange(3, 25, 4), np.array([24])):
        assert dataset._order(epoch, places).tolist() == order[places].tolist()
    if not by_shard:
        assert np.abs(order - np.arange(25)).max() < max(buffer, 1)
    elif buffer <= 1:  # shards stay whole
        starts = dataset._shards.starts
        changes = np.flatnonzero(np.diff(order) != 1)
        assert {int(order[place]) + 1 for place in changes} <= set(starts.tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_goes_on_where_it_stood(shards: list[str], workers: int, in_worker: Any) -> None:
    def make() -> WebDatasetSpeechDataset:
        return WebDatasetSpeechDataset(shards, shuffle_shards=True, shuffle_buffer=9, seed=4)

    for worker in range(max(workers, 1)):
        in_worker(worker, workers)
        dataset = make()
        dataset.set_epoch(3)
        whole = ids(dataset)
        for stop in range(len(whole) + 1):
            first = make()
            first.set_epoch(3)
            stream = iter(first)
            seen = ids(next(stream) for _ in range(stop))
            state = json.loads(json.dumps(first.state_dict() if stop else make().state_dict()))
            rest = make()
            rest.load_state_dict(state | {"epoch": 3})
            begun = ids(
                next(iter_rest) for iter_rest in [iter(rest)] for _ in range(stop < len(whole))
            )
            again = make()
            again.load_state_dict(rest.state_dict())
            assert seen + begun + ids(again) == whole
        again.set_epoch(4)
        assert len(ids(again)) == len(whole)
    with pytest.raises(InvalidArgumentError, match="seed was 4, is 0"):
        WebDatasetSpeechDataset(shards, shuffle_shards=True, shuffle_buffer=9).load_state_dict(
            state
        )


def test_any_number_of_readers_goes_on(shards: list[str], in_worker: Any) -> None:
    """Each from the state of any other, after equal numbers of samples."""
    bits = np.random.default_rng(0)
    for seed in range(20):

        def make(rank: int, world: int, seed: int = seed) -> WebDatasetSpeechDataset:
            return WebDatasetSpeechDataset(
                shards,
                shuffle_shards=True,
                shuffle_buffer=9,
                seed=seed,
                rank=rank,
                world_size=world,
            )

        whole, state = ids(make(0, 1)), make(0, 1).state_dict()
        seen: list[str] = []
        while len(seen) < len(whole):
            world, workers = int(bits.integers(1, 4)), int(bits.integers(0, 3))
            turns = int(bits.integers(1, 3))
            given: list[list[str]] = []
            places = []
            for reader in range(world * max(workers, 1)):
                in_worker(reader // world, workers)
                dataset = make(reader % world, world)
                dataset.load_state_dict(json.loads(json.dumps(state)))
                given.append(ids(itertools.islice(dataset, turns)))
                places.append(dataset.state_dict())
            dealt = itertools.zip_longest(*given)
            seen += [key for turn in dealt for key in turn if key is not None]
            state = max(places, key=lambda one: one["samples_done"])
        in_worker(0, 0)
        assert seen == whole


@pytest.mark.filterwarnings("ignore:a bad row")
def test_bad_samples_of_a_stream(tmp_path: Path) -> None:
    (shard,) = write_shards(tmp_path, [60])
    with ossicle.ShardWriter(tmp_path / "bad.tar") as writer:
        writer.write({"__key__": "empty", "wav": b"", "json": {}})
        writer.write({"__key__": "odd", "wav": b"", "json": b"{"})
    stream = WebDatasetSpeechDataset([shard, tmp_path / "bad.tar"], on_error="skip")
    assert len(ids(stream)) == 60
    assert [(fault.id, fault.error) for fault in stream.faults] == [
        ("empty", "SampleError"),
        ("odd", "MetadataError"),
    ]
    with pytest.raises(SampleError, match=r"bad.tar \[empty.wav\], wav_id 'empty'"):
        list(WebDatasetSpeechDataset(tmp_path / "bad.tar"))


@pytest.fixture
def stereo(tmp_path: Path) -> tuple[Path, np.ndarray[Any, Any]]:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2)).astype(np.float32)
    soundfile.write(tmp_path / "r.wav", samples, RATE, subtype="FLOAT")
    return tmp_path, samples.T


class Memory(FeatureLoader):
    """Arrays and what is known of them."""

    def __init__(self, arrays: dict[str, np.ndarray[Any, Any]], known: dict[str, Any]) -> None:
        self.arrays, self.known = arrays, known

    def load_waveform(self, wav_id: str) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.arrays[wav_id]), RATE

    def load_metadata(self, wav_id: str) -> dict[str, Any]:
        return dict(self.known.get(wav_id, {}))

    def available_ids(self) -> list[str]:
        return list(self.arrays)


def test_rows_that_are_segments_of_recordings(stereo: tuple[Path, np.ndarray[Any, Any]]) -> None:
    folder, samples = stereo
    quarter, half = RATE // 4, RATE // 2
    rows: list[dict[str, Any]] = [
        {"wav_id": "a", "path": "r.wav", "offset": 0.25, "duration": 0.5, "channel": None},
        {"wav_id": "b", "path": "r.wav", "offset": 0.5, "duration": None, "channel": 1},
        {"wav_id": "c", "path": "r.wav", "offset": None, "duration": 1.0, "channel": None},
        {"wav_id": "d", "path": "r.wav", "offset": 0.0, "duration": 0.25, "channel": 0},
    ]
    exact = [
        samples[:, quarter : quarter + half],
        samples[1:, half:],
        samples,
        samples[:1, :quarter],
    ]
    eighth = slice(RATE // 8, RATE // 8 + RATE // 16)
    table = pl.DataFrame(rows)
    path = folder / "m.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for manifest in (table, path):
        root = folder if manifest is table else None
        raw = RawFileLoader(WaveformLoader(manifest, root=root), manifest)
        files = WaveformLoader(dict.fromkeys("abcd", folder / "r.wav"))
        whole = RawFileLoader(files, manifest)
        for loader in (raw, whole):
            dataset = SpeechDataset(loader, manifest=manifest)
            for number, wanted in enumerate(exact):
                np.testing.assert_array_equal(dataset[number][0].numpy(), wanted)
        for number, wav_id in enumerate("abcd"):
            np.testing.assert_array_equal(raw.load(wav_id)[0].numpy(), exact[number])
            assert raw.duration(wav_id) == exact[number].shape[-1] / RATE
            part = raw.load_range(wav_id, 0.125, 0.0625)[0].numpy()
            np.testing.assert_array_equal(part, exact[number][:, eighth])
    # Windows are windows of the segment, and what is known of the recording follows.
    known = {"a": {"vad": [{"onset": 0.3, "offset": 0.4}]}}
    windows = SpeechDataset(
        Memory({"a": samples}, known),
        manifest=table,
        ids=["a"],
        windower=OnlineWindower(length=0.25),
    )
    assert len(windows) == 2
    waveform, _, metadata = windows[0]
    np.testing.assert_array_equal(waveform.numpy(), exact[0][:, :quarter])
    [segment] = metadata["vad"]
    assert (segment["onset"], segment["offset"]) == (pytest.approx(0.05), pytest.approx(0.15))
    other = WaveformLoader(table.with_columns(offset=pl.lit(0.125)), root=folder)
    with pytest.raises(MetadataError, match="give one of them"):
        SpeechDataset(other, manifest=table)[0]
    odd = table.with_columns(channel=pl.lit(7))
    with pytest.raises(SampleError, match="channel 7 of a recording of 2 channels"):
        SpeechDataset(RawFileLoader(WaveformLoader(odd, root=folder), odd), manifest=odd)[0]


def test_ids_of_other_forms_are_told_before_anything_is_loaded(tmp_path: Path) -> None:
    loader = Memory({"7": np.zeros((1, 10), np.float32), "x/a": np.zeros((1, 10), np.float32)}, {})
    whole = SpeechDataset(loader, manifest=pl.DataFrame({"wav_id": [7], "n": [1]}))
    assert (whole.id_of(0), whole[0][2]["n"]) == ("7", 1)
    assert len(SpeechDataset(loader, manifest=pl.DataFrame({"wav_id": [7, 8]}), ids=[7])) == 1
    with pytest.raises(MetadataError, match=r"they differ by a folder, as 'a' and 'x/a'"):
        SpeechDataset(loader, manifest=pl.DataFrame({"wav_id": ["a"]}))
    with pytest.raises(MetadataError, match="they differ by leading zeros, as '007' and '7'"):
        SpeechDataset(loader, manifest=pl.DataFrame({"wav_id": ["007"]}))


@pytest.mark.filterwarnings("ignore:a bad row")
def test_ranks_have_as_many_batches_whatever_is_bad(tmp_path: Path) -> None:
    good = write_shards(tmp_path, [7])
    with ossicle.ShardWriter(tmp_path / "bad.tar") as writer:
        for number in range(5):
            writer.write({"__key__": f"empty-{number}", "wav": b"", "json": {}})
    paths = [*good, str(tmp_path / "bad.tar")]

    def batches(rank: int, on_error: Any) -> list[int]:
        stream = WebDatasetSpeechDataset(
            paths, drop_last=True, on_error=on_error, rank=rank, world_size=2, max_bad_share=1.0
        )
        loader = DataLoader(stream, batch_size=2, collate_fn=len)
        counts = list(loader)
        assert len(stream.faults) == 2 + rank
        return counts

    assert batches(0, "replace") == batches(1, "replace") == [2, 2, 2]
    for rank in range(2):
        with pytest.raises(InvalidArgumentError, match=r"drop_last.*on_error=\"replace\""):
            batches(rank, "skip")
    alone = WebDatasetSpeechDataset(paths, drop_last=True, on_error="skip", max_bad_share=1.0)
    assert len(ids(alone)) == 7
    nothing = WebDatasetSpeechDataset(paths[1:], on_error="replace", max_bad_share=1.0)
    with pytest.raises(TooManyFaultsError, match="none of the 5 samples"):
        ids(nothing)

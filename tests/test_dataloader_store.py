"""Stores: what is saved comes back, under any id, or is refused by the name of its field."""

from __future__ import annotations

import datetime
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ossicle.data.errors import MetadataError
from ossicle.dataloader.outputs.store import (
    FileStore,
    JsonStore,
    NpzStore,
    ParquetStore,
    StoreProcessor,
    TorchStore,
)

# Records whose fields have names beyond Latin-1 are of NumPy's format 3, and it says so.
pytestmark = pytest.mark.filterwarnings("ignore:Stored array in format 3.0")

STORES = (JsonStore, NpzStore, ParquetStore, TorchStore)
QUICK = settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ANY_TEXT = st.text(st.characters(), max_size=12)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
IDS = st.one_of(
    ANY_TEXT,
    st.text("./~%\\\0 aA", max_size=8),
    st.sampled_from(["", ".", "..", "../../etc/passwd", "/etc/passwd", "a/../../b", "~", "%2E%2E"]),
    st.builds(lambda text, times: text * times, TEXT, st.integers(1, 600)),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
DTYPES = st.one_of(
    hnp.scalar_dtypes(),
    hnp.unicode_string_dtypes(max_len=4),
    hnp.byte_string_dtypes(max_len=4),
    hnp.array_dtypes(hnp.scalar_dtypes(), max_size=3),
)
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0)))
MEMBERS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
# Of one kind within a list: a column has one type.
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    st.floats(),
    TEXT,
    st.binary(max_size=8),
    st.dates(datetime.date(1, 1, 1)),
    st.lists(INTEGERS, max_size=4),
    st.lists(st.floats(width=64), max_size=4),
    st.lists(TEXT, max_size=4),
    st.lists(st.fixed_dictionaries({"onset": FINITE, "offset": FINITE, "label": TEXT}), max_size=3),
)


def tensors(draw: Any) -> Any:
    import torch

    kinds = st.sampled_from(["float32", "float64", "int64", "uint8", "bool"])
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    return torch.from_numpy(draw(kinds.flatmap(lambda kind: hnp.arrays(kind, shapes))))


def torch_values() -> st.SearchStrategy[Any]:
    plain = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
    leaves = plain | st.composite(tensors)()
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(TEXT, inner, max_size=3)
        ),
        max_leaves=6,
    )


VALUES: dict[type[FileStore], Callable[[], st.SearchStrategy[dict[str, Any]]]] = {
    JsonStore: lambda: st.dictionaries(TEXT, JSON, max_size=4),
    NpzStore: lambda: st.dictionaries(MEMBERS, JSON | ARRAYS, max_size=4),
    ParquetStore: lambda: st.dictionaries(TEXT, CELLS, max_size=4),
    TorchStore: lambda: st.dictionaries(TEXT, torch_values(), max_size=4),
}


def assert_same(one: Any, other: Any) -> None:
    """The test's own idea of equality: types, NaN, the sign of zero, arrays by NumPy."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, float):
        assert math.isnan(other) if math.isnan(one) else one == other
        assert math.copysign(1, one) == math.copysign(1, other) or math.isnan(one)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        if one.dtype.names:  # NumPy holds no NaN of a record for equal
            assert one.tobytes() == other.tobytes()
            return
        np.testing.assert_array_equal(one, other)
    elif hasattr(one, "requires_grad"):
        import torch

        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    else:
        assert one == other


@pytest.mark.parametrize("kind", STORES)
@QUICK
@given(data=st.data())
def test_what_is_saved_comes_back(
    kind: type[FileStore], data: st.DataObject, tmp_path: Path
) -> None:
    store, metadata = kind(tmp_path), data.draw(VALUES[kind]())
    try:
        store.save("clip", metadata)
    except MetadataError as error:
        # Refused is allowed where it is said which; silently changed is not.
        assert error.column in metadata  # noqa: PT017
        assert kind is ParquetStore
        return
    assert_same(metadata, store.load("clip"))


@pytest.mark.parametrize("kind", [JsonStore, NpzStore])
@QUICK
@given(ids=st.lists(IDS, unique=True, min_size=1, max_size=4))
def test_any_id_stays_in_the_root_and_distinct(
    kind: type[FileStore], ids: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    outer = tmp_path_factory.mktemp("outer")
    store = kind(outer / "root")
    for number, wav_id in enumerate(ids):
        assert not store.exists(wav_id)
        store.save(wav_id, {"number": number})
    assert [store.load(wav_id)["number"] for wav_id in ids] == list(range(len(ids)))
    assert store.list_ids() == sorted(ids)
    assert all(store.exists(wav_id) for wav_id in ids)
    assert [path.name for path in outer.iterdir()] == ["root"]
    written = list((outer / "root").iterdir())
    assert all(path.is_file() and len(os.fsencode(path.name)) <= 255 for path in written)
    assert all(store.path_for(wav_id).parent == outer / "root" for wav_id in ids)


def test_common_ids_are_read_in_file_names(tmp_path: Path) -> None:
    store = JsonStore(tmp_path)
    names = {
        "CHI_01.a b-c": "CHI_01.a b-c.json",
        "a/b": "a%2Fb.json",
        "..": "%2E..json",
        "é": "%C3%A9.json",
        "~": "%7E.json",
    }
    assert {wav_id: store.path_for(wav_id).name for wav_id in names} == names


def test_files_of_others_are_no_ids(tmp_path: Path) -> None:
    store = JsonStore(tmp_path)
    store.save("a", {})
    for name in (".hidden.json", "a/..json", "%2.json", "%FF.json", "é.json", "~abc.json", "b.txt"):
        (tmp_path / name.replace("/", "%2f")).write_text("{}")
    (tmp_path / "folder.json").mkdir()
    assert set(store.list_ids()) - {"folder"} == {"a"}


REFUSED = [
    (JsonStore, {"tuple": (1, 2)}),
    (JsonStore, {"nan": float("nan")}),
    (JsonStore, {"inner": {"x": [math.inf]}}),
    (JsonStore, {"bytes": b""}),
    (JsonStore, {"array": np.zeros(2)}),
    (JsonStore, {"scalar": np.float64(1)}),
    (JsonStore, {"keys": {1: 2}}),
    (JsonStore, {"surrogate": "\ud83d\ude00"}),
    (JsonStore, {"huge": 10**5_000}),
    (NpzStore, {"objects": np.array([{}, []], dtype=object)}),
    (NpzStore, {"record": np.zeros(2, [("a", "f4"), ("b", "O")])}),
    (NpzStore, {"masked": np.ma.masked_array([1, 2], [True, False])}),
    (NpzStore, {"scalar": np.float32(1)}),
    (NpzStore, {"list": [np.zeros(2)]}),
    (NpzStore, {"nul\0in name": np.zeros(2)}),
    (ParquetStore, {"mixed": [1, "a"]}),
    (ParquetStore, {"rounded": [1, 2.5]}),
    (ParquetStore, {"uneven": [{"a": 1}, {"b": 2}]}),
    (ParquetStore, {"array": np.zeros(2)}),
    (ParquetStore, {"tuple": (1, 2)}),
    (ParquetStore, {"object": object()}),
    (TorchStore, {"array": np.zeros(2)}),
    (TorchStore, {"path": Path("a")}),
    (TorchStore, {"code": math.sin}),
]


@pytest.mark.parametrize(("kind", "metadata"), REFUSED)
def test_what_cannot_be_held_is_refused_by_name(
    kind: type[FileStore], metadata: dict[str, Any], tmp_path: Path
) -> None:
    store = kind(tmp_path)
    store.save("clip", {"good": 1})
    with pytest.raises(MetadataError) as caught:
        store.save("clip", {"fine": 1, **metadata, "good": "x"})
    assert caught.value.column == next(iter(metadata))
    assert caught.value.wav_id == "clip"
    assert str(store.path_for("clip")) in str(caught.value)
    assert store.load("clip") == {"good": 1}
    assert [path.name for path in tmp_path.iterdir()] == [store.path_for("clip").name]


@pytest.mark.parametrize("kind", STORES)
def test_keys_that_are_no_text_are_refused(kind: type[FileStore], tmp_path: Path) -> None:
    if kind is TorchStore:
        kind(tmp_path).save("clip", {1: "a"})  # type: ignore[dict-item]
        assert kind(tmp_path).load("clip") == {1: "a"}
        return
    with pytest.raises(MetadataError, match="1"):
        kind(tmp_path).save("clip", {1: "a"})  # type: ignore[dict-item]


def test_each_format_is_read_by_its_own_library(tmp_path: Path) -> None:
    import torch

    array = np.arange(6, dtype=">i2").reshape(2, 3, order="F")
    JsonStore(tmp_path).save("a", {"text": "é", "list": [1, None]})
    NpzStore(tmp_path).save("a", {"array": array, "text": "é"})
    ParquetStore(tmp_path).save("a", {"x": 1.5, "segments": [{"onset": 0.5}]})
    TorchStore(tmp_path).save("a", {"x": torch.ones(2)})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"text": "é", "list": [1, None]}
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["array"], array)
        assert json.loads(archive["meta.json"]) == {"text": "é"}
    assert pl.read_parquet(tmp_path / "a.parquet").to_dicts() == [
        {"x": 1.5, "segments": [{"onset": 0.5}]}
    ]
    assert torch.load(tmp_path / "a.pt", weights_only=True)["x"].tolist() == [1, 1]


@QUICK
@given(arrays=st.dictionaries(MEMBERS.filter(lambda name: name != "file"), ARRAYS, max_size=3))
def test_archives_of_numpy_are_read(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
            assert_same({name: archive[name] for name in arrays}, NpzStore(tmp_path).load("a"))


def damaged(content: bytes) -> list[bytes]:
    cuts = [content[: len(content) * part // 5] for part in range(5)]
    middle = len(content) // 2
    return [*cuts, content[:middle] + b"\xff\x00\xff\x00" + content[middle + 4 :], b"[1]", b"\0"]


@pytest.mark.parametrize("kind", STORES)
def test_damaged_files_are_typed_errors(kind: type[FileStore], tmp_path: Path) -> None:
    store = kind(tmp_path)
    store.save("a", {"text": "x" * 200, "list": list(range(50))})
    path = store.path_for("a")
    found = 0
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        try:
            store.load("a")
        except MetadataError as error:
            found += 1
            assert str(path) in str(error)  # noqa: PT017
            assert error.wav_id == "a"  # noqa: PT017
    assert found >= 7
    path.unlink()
    path.mkdir()
    with pytest.raises(MetadataError):
        store.load("a")
    assert not store.exists("a")


def test_every_flipped_bit_of_an_archive_is_an_error_or_the_same(tmp_path: Path) -> None:
    store, array = NpzStore(tmp_path), np.arange(20.0)
    store.save("a", {"array": array})
    path = store.path_for("a")
    content = path.read_bytes()
    refused = 0
    for bit in range(0, len(content) * 8, 7):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = store.load("a")
        except MetadataError:
            refused += 1
            continue
        # Times, versions and permissions may differ, and a name; never an element.
        assert [value.tolist() for value in found.values()] in ([array.tolist()], [])
    assert refused > len(content) // 2


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    import pickle
    import zipfile

    import torch

    flag = tmp_path / "run"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (flag,)

    torch.save({"x": Evil()}, tmp_path / "a.pt")
    np.savez(tmp_path / "a.npz", x=np.array([Evil()], dtype=object))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Evil()))
    for store, name in (
        (TorchStore(tmp_path), "a"),
        (NpzStore(tmp_path), "a"),
        (NpzStore(tmp_path), "b"),
    ):
        with pytest.raises(MetadataError):
            store.load(name)
    assert not flag.exists()


def test_missing_is_a_typed_error(tmp_path: Path) -> None:
    for kind in STORES:
        store = kind(tmp_path / "nowhere")
        assert store.list_ids() == []
        assert not store.exists("a")
        with pytest.raises(MetadataError, match=r"nowhere.*'a'.*no such file") as caught:
            store.load("a")
        assert isinstance(caught.value, LookupError)
    assert not (tmp_path / "nowhere").exists()


WRITER = """
    import sys
    from ossicle.dataloader.outputs.store import JsonStore
    store = JsonStore(sys.argv[1])
    number = 0
    print("on", flush=True)
    while True:
        number += 1
        store.save("a", {"number": number, "same": [number] * 20_000})
"""


@pytest.mark.skipif(os.name == "nt", reason="kills with a POSIX signal")
def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    store = JsonStore(tmp_path)
    store.save("a", {"number": 0, "same": [0] * 20_000})
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        seen = set()
        for _ in range(30):  # a reader beside it sees whole files, too
            data = store.load("a")
            seen.add(data["number"])
            assert data["same"] == [data["number"]] * 20_000
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
        writer.stdout.close()
        assert store.load("a")["same"] == [store.load("a")["number"]] * 20_000
    assert store.list_ids() == ["a"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JsonStore(tmp_path, fsync=True)
    store.save("a", {"x": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.save("a", {"x": 2})
    assert store.load("a") == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


class Loudness(StoreProcessor):
    """What a user would write: a name, a format and the extraction."""

    name = "loudness"
    store = NpzStore

    def process(self, wav_id: str, audio_path: Path) -> dict[str, Any]:
        import ossicle

        waveform, rate = ossicle.load(audio_path)
        frames = waveform[: len(waveform) // 400 * 400].reshape(-1, 400)
        return {"rms": np.sqrt((frames**2).mean(axis=1)), "sample_rate": rate, "of": wav_id}


@QUICK
@given(
    waveform=hnp.arrays(np.float32, st.integers(400, 4_000), elements=st.floats(-1, 1, width=32)),
    wav_id=IDS,
)
def test_process_save_load_is_the_identity(
    waveform: np.ndarray, wav_id: str, tmp_path: Path
) -> None:
    import ossicle

    ossicle.save(tmp_path / "a.wav", waveform, 8_000)
    processor, out = Loudness(), tmp_path / "out"
    metadata = processor.process(wav_id, tmp_path / "a.wav")
    path = processor.save(wav_id, metadata, out)
    assert path.parent == out / "loudness"
    assert path.is_file()
    assert processor.exists(wav_id, out)
    assert_same(metadata, processor.load(wav_id, out))
    assert wav_id in processor.list_ids(out)

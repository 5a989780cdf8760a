"""Indexes: what they say is what tarfile, hashlib and `info` say, and shards open by them."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import random
import struct
import sys
import tarfile
import wave
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import run
from test_shard import in_a_process, wav, write_tar

import ossicle
from ossicle.data.polars_errors import reading
from ossicle.shard import AUDIO_EXTENSIONS, Shard, index_path, index_shards

# fmt: off
COLUMNS = [
    "shard", "key", "extension", "offset", "size", "sha256", "codec", "sample_rate", "channels",
    "frames", "name", "header_offset", "error", "container", "bits_per_sample", "remarks",
]
# fmt: on


@pytest.fixture
def shards(make_clip: Callable[..., Path], tmp_path: Path) -> list[Path]:
    """Two shards: of clips of some formats with texts, and of what is none."""
    clips: list[tuple[str, bytes]] = []
    for number, suffix in enumerate(["wav", "flac", "mp3", "ogg", "opus", "m4a"]):
        clip = make_clip(suffix, rate=48_000, channels=2, frames=20_000 + number)
        clips += [(f"a/{number}.{suffix}", clip.read_bytes()), (f"a/{number}.json", b"{}")]
    odd = [
        ("cut.flac", clips[2][1][:40]),
        ("README", b"hello"),
        ("__meta__/x.wav", wav(1)),
        ("ü.Seg.WAV", wav(2)),
        ("d" * 130 + ".txt", b""),
    ]
    folder = tmp_path / "split=train [x]"
    folder.mkdir()
    return [write_tar(folder / "one.tar", clips), write_tar(folder / "two.tar", odd)]


def expected_rows(path: Path) -> list[dict[str, Any]]:
    """By Python's own tarfile and hashlib, and by `ossicle.info` of each payload."""
    rows = []
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            data = file.read()
            folder, slash, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            row: dict[str, Any] = dict.fromkeys(COLUMNS)
            row |= {"shard": str(path), "key": folder + slash + stem}
            row |= {"extension": extension.lower(), "name": member.name, "size": member.size}
            row |= {"offset": member.offset_data, "header_offset": member.offset}
            row["sha256"] = hashlib.sha256(data).hexdigest()
            if extension.lower().rpartition(".")[2] in AUDIO_EXTENSIONS:
                try:
                    info = ossicle.info(data)
                except ossicle.AudioError as error:
                    row["error"] = error.reason
                else:
                    for name in ("codec", "sample_rate", "channels", "frames", "container"):
                        row[name] = getattr(info, name)
                    row["bits_per_sample"] = info.bits_per_sample
                    row["remarks"] = "\n".join(info.remarks) or None
            rows.append(row)
    return rows


def without_bytes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"error": row["error"] and row["error"].split(" (byte")[0]} for row in rows]


def test_rows_are_those_of_tarfile_hashlib_and_info(shards: list[Path]) -> None:
    frame = index_shards(shards)
    assert frame.columns == COLUMNS
    wanted = [row for path in shards for row in expected_rows(path)]
    assert without_bytes(frame.to_dicts()) == wanted
    [error] = frame["error"].drop_nulls()
    row = frame.row(by_predicate=pl.col("error").is_not_null(), named=True)
    byte = int(error.rpartition("(byte ")[2].rstrip(")"))
    assert row["offset"] <= byte <= row["offset"] + row["size"]
    assert index_shards([]).columns == COLUMNS
    assert index_shards([]).schema == frame.schema


def test_others_read_the_file(shards: list[Path]) -> None:
    """Polars and PyArrow read the same rows, and the facts of the shard."""
    frame = index_shards(shards[0])
    path = index_path(shards[0])
    with path.open("rb") as file:
        plain = pl.read_parquet(file, use_statistics=False)
    assert plain["shard"].unique().to_list() == ["one.tar"]
    assert plain.drop("shard").equals(frame.drop("shard"))
    lazy = pl.scan_parquet(path.read_bytes()).filter(pl.col("extension") == "flac")
    assert lazy.select("name").collect().to_series().to_list() == ["a/1.flac"]
    parquet = pytest.importorskip("pyarrow.parquet", reason="PyArrow is not installed")
    table = parquet.read_table(path)
    assert table.to_pylist() == plain.to_dicts()
    facts = parquet.read_metadata(path).metadata
    stat = shards[0].stat()
    assert facts[b"ossicle.shard.size"] == b"%d" % stat.st_size
    assert facts[b"ossicle.shard.mtime_ns"] == b"%d" % stat.st_mtime_ns


@pytest.mark.thorough
def test_many_row_groups(tmp_path: Path) -> None:
    """More members than one row group has."""
    path, count = tmp_path / "many.tar", (1 << 17) + 3
    with path.open("wb") as file:
        for number in range(count):
            info = tarfile.TarInfo(f"{number:06}.{'txt' if number % 3 else 'wav'}")
            file.write(info.tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(1024))
    frame = index_shards(path)
    assert frame["name"].to_list()[-1] == f"{count - 1:06}.txt"
    assert len(frame) == count
    assert frame["error"].null_count() == count - len(range(0, count, 3))
    assert Shard(path).members() == Shard(path, index=False).members()
    assert Shard(path).keys() == Shard(path, index=False).keys()


def spoiled(path: Path) -> None:
    """Puts other bytes for the headers of a shard, which has the same time then."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[:100] = b"?" * 100
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_an_indexed_shard_reads_no_header(shards: list[Path]) -> None:
    path = shards[0]
    headers = Shard(path)
    index_shards(path)
    indexed = Shard(path)
    assert indexed.members() == headers.members() == Shard(path, index=False).members()
    assert [list(one) for one in indexed] == [list(one) for one in headers]
    spoiled(path)
    indexed = Shard(path)
    assert indexed.keys() == headers.keys()
    assert indexed["a/3"]["json"] == b"{}"
    with pytest.raises(ossicle.CorruptAudioError, match="checksum"):
        Shard(path, index=False)
    with pytest.raises(ossicle.CorruptAudioError, match="has no members"):
        Shard(path, index=[])
    os.utime(path, ns=(1, 1))
    with pytest.raises(ossicle.CorruptAudioError, match="checksum"):
        Shard(path)


def open_and_count(path: Path) -> tuple[int, bool]:
    return len(Shard(path)), "polars" in sys.modules


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_worker_opens_without_polars(shards: list[Path]) -> None:
    index_shards(shards[0])
    spoiled(shards[0])
    printed = in_a_process(
        """
        import os, ossicle
        shard = ossicle.Shard(sys.argv[1])
        child = os.fork()
        if child == 0:
            is_good = len(ossicle.Shard(sys.argv[1])) == len(shard)
            os._exit(0 if is_good and "polars" not in sys.modules else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
        shards[0],
    )
    assert printed == "0\n"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        count, _ = pool.apply(open_and_count, (shards[0],))
    assert count == 6


def test_fresh_indexes_are_kept(shards: list[Path]) -> None:
    index_shards(shards)
    before = [index_path(path).stat().st_mtime_ns for path in shards]
    first = [index_path(path).read_bytes() for path in shards]
    index_shards(shards)
    assert [index_path(path).stat().st_mtime_ns for path in shards] == before
    os.utime(shards[0], ns=(5, 10**18 + 7))
    index_shards(shards)
    after = [index_path(path).stat().st_mtime_ns for path in shards]
    assert after[0] > before[0]
    assert after[1] == before[1]
    index_shards(shards, force=True)
    assert index_path(shards[1]).stat().st_mtime_ns > before[1]
    assert index_path(shards[1]).read_bytes() == first[1]


def test_damaged_shards_are_collected_or_raised(shards: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar"
    data = bytearray(shards[0].read_bytes())
    data[3] ^= 1
    bad.write_bytes(data)
    paths = [bad, *shards, tmp_path / "none.tar"]
    frame, errors = index_shards(paths, on_error="collect")
    assert frame["shard"].unique(maintain_order=True).to_list() == [str(path) for path in shards]
    kinds = [type(error).__name__ for error in errors]
    assert kinds == ["CorruptAudioError", "NoneType", "NoneType", "AudioFileNotFoundError"]
    assert (errors[0].source, errors[0].byte_offset) == (str(bad), 0)
    for path in shards:
        index_path(path).unlink()
    with pytest.raises(ossicle.CorruptAudioError) as caught:
        index_shards(paths)
    assert str(caught.value) == str(errors[0])
    assert "none.tar" in caught.value.__notes__[0]
    assert all(index_path(path).exists() for path in shards)
    for wrong in ({"on_error": "skip"}, {"threads": 0}):
        with pytest.raises(ossicle.InvalidArgumentError):
            index_shards(shards, **wrong)
    with pytest.raises(ossicle.InvalidArgumentError, match="twice"):
        index_shards([shards[0], str(shards[0])])


def test_what_is_no_index_is_replaced_only_by_force(shards: list[Path]) -> None:
    path = index_path(shards[0])
    pl.DataFrame({"mine": [1]}).write_parquet(path)
    mine = path.read_bytes()
    with pytest.raises(ossicle.CorruptAudioError, match="index cannot be read") as caught:
        index_shards(shards[0])
    assert caught.value.source == str(path)
    assert path.read_bytes() == mine
    assert len(Shard(shards[0])) == 6
    assert len(index_shards(shards[0], force=True)) == 12


def test_progress_tells_bytes_and_may_stop_the_work(shards: list[Path]) -> None:
    told: list[tuple[int, int]] = []
    index_shards(shards, threads=4, progress=lambda done, total: told.append((done, total)))
    total = sum(path.stat().st_size for path in shards)
    assert told[-1] == (total, total)
    assert told == sorted(told)
    for path in shards:
        index_path(path).unlink()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_shards(shards, progress=stop)
    assert not any(path.name.endswith(".tmp") for path in shards[0].parent.iterdir())


def u64(numbers: list[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def as_lhotse(path: Path) -> bytes:
    """Where every second member begins, then the size of the file."""
    with tarfile.open(path) as tar:
        starts = [member.offset for member in tar][::2]
    return u64([*starts, path.stat().st_size])


def as_energon(path: Path) -> bytes:
    """Where each run of members of one key begins, then where the last ends."""
    starts, last = [], None
    with tarfile.open(path) as tar:
        for member in tar:
            key = member.name.rpartition("/")[2].partition(".")[0]
            if key != last:
                starts.append(member.offset)
            last = key
        return u64([*starts, tar.offset])


@pytest.mark.parametrize("write", [as_lhotse, as_energon])
def test_indexes_of_others_are_checked(
    write: Callable[[Path], bytes], shards: list[Path], tmp_path: Path
) -> None:
    path = shards[0]
    beside = path.with_name("one.tar.idx")
    beside.write_bytes(write(path))
    assert len(index_shards(path)) == 12
    numbers = bytearray(write(path))
    numbers[16 + 1] ^= 2
    beside.write_bytes(numbers)
    with pytest.raises(ossicle.CorruptAudioError, match="sample 2 begins at byte") as caught:
        index_shards(path)
    assert (caught.value.source, caught.value.byte_offset) == (str(beside), 16)


def test_what_lhotse_writes(shards: list[Path]) -> None:
    indexing = pytest.importorskip("lhotse.indexing", reason="no lhotse with indexes here")
    indexing.create_tar_index(shards[0])
    assert shards[0].with_name("one.tar.idx").read_bytes()[:-8] == as_lhotse(shards[0])[:-8]
    assert len(index_shards(shards[0])) == 12


def test_the_command(shards: list[Path], tmp_path: Path) -> None:
    done = run("index", "--json", shards[0], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    fact = json.loads(done.stdout)
    frame = index_shards(shards[0])
    seconds = (frame["frames"] / frame["sample_rate"]).sum()
    assert fact == {
        "shard": str(shards[0]),
        "members": 12,
        "samples": 6,
        "bytes": frame["size"].sum(),
        "audio": 6,
        "seconds": pytest.approx(seconds),
        "unreadable": 0,
    }
    none = tmp_path / "none.tar"
    done = run("index", *shards, none, "--threads", 2, folder=tmp_path)
    assert done.returncode == 1
    assert "cut.flac" in done.stderr
    assert "AudioFileNotFoundError" in done.stderr
    assert "two.tar" in done.stdout
    rows = [
        json.loads(line)
        for line in run("index", "--json", none, folder=tmp_path).stdout.splitlines()
    ]
    assert [row["error"] for row in rows] == ["AudioFileNotFoundError"]


def test_an_index_of_the_first_version_is_read(tmp_path: Path) -> None:
    """As the release before remarks wrote it, for this shard."""
    path = tmp_path / "first.tar"
    with ossicle.ShardWriter(path, index=False) as writer:
        for number in range(3):
            sound = io.BytesIO()
            with wave.open(sound, "wb") as file:
                file.setparams((1, 2, 8_000, 0, "NONE", ""))
                file.writeframes(bytes(2 * (100 + number)))
            writer.write({"__key__": f"a/{number}", "wav": sound.getvalue(), "json": {"n": number}})
    os.utime(path, ns=(10**18, 10**18 + 7))
    old = (Path(__file__).parent / "data" / "index" / "version-1.parquet").read_bytes()
    index_path(path).write_bytes(old)
    assert Shard(path).keys() == ["a/0", "a/1", "a/2"]
    frame = index_shards(path)
    assert index_path(path).read_bytes() == old
    assert frame.columns == COLUMNS
    assert frame["remarks"].to_list() == [None] * 6
    assert frame["frames"].to_list() == [100, None, 101, None, 102, None]
    assert frame.equals(index_shards(path, force=True))
    assert index_path(path).read_bytes() != old


def sealed(footer: bytes, pages: bytes) -> bytes:
    """An index with the checksum that belongs to its footer."""
    crc = struct.pack("<I", zlib.crc32(footer))
    return pages + crc + footer + struct.pack("<I", len(footer)) + b"PAR1"


def test_a_hostile_index_raises_no_error_but_ours(shards: list[Path]) -> None:
    """Every page and the footer changed, with the checksums that belong to that."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="PyArrow is not installed")
    index_shards(shards[0])
    path = index_path(shards[0])
    whole = path.read_bytes()
    (length,) = struct.unpack("<I", whole[-8:-4])
    start = len(whole) - 8 - length
    pages, footer = whole[: start - 4], whole[start:-8]
    row_group = parquet.read_metadata(path).row_group(0)
    chunks = [row_group.column(number) for number in range(len(COLUMNS))]
    places = [
        (first, first + one.total_compressed_size)
        for one in chunks
        for first in [one.dictionary_page_offset or one.data_page_offset]
    ]
    rng, refused = random.Random(1), []
    for _ in range(150):
        data, foot = bytearray(pages), bytearray(footer)
        if rng.random() < 0.7:
            data[rng.randrange(4, len(data))] ^= 1 << rng.randrange(8)
            sums = "".join(f"{zlib.crc32(data[one:end]):08x}" for one, end in places)
            at = foot.rindex(b"ossicle.crc32") + len("ossicle.crc32") + 3
            foot[at : at + len(sums)] = sums.encode()
        else:
            foot[rng.randrange(len(foot))] ^= 1 << rng.randrange(8)
        path.write_bytes(sealed(bytes(foot), bytes(data)))
        try:
            index_shards(shards[0])
        except ossicle.AudioError as error:
            refused.append(error.source)
    # A digest or a size may be another one.
    assert len(refused) > 75
    assert set(refused) == {str(path)}


def test_what_polars_raises_names_the_file(tmp_path: Path) -> None:
    class PanicException(BaseException):
        """As that of an extension module."""

    def error(why: str) -> ossicle.AudioError:
        return ossicle.CorruptAudioError(why, source="x.parquet")

    for raised in (PanicException("index out of bounds"), pl.exceptions.ComputeError("no")):
        with pytest.raises(ossicle.CorruptAudioError, match=r"^x\.parquet: "), reading(error):
            raise raised
    with pytest.raises(KeyboardInterrupt), reading(error):
        raise KeyboardInterrupt

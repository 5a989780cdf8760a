"""Shards that are written: everybody reads them, the bytes are the same each time, none is half."""

from __future__ import annotations

import contextlib
import gc
import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ossicle
from ossicle import ShardWriter
from ossicle.shard import Shard

Samples = list[tuple[str, dict[str, bytes]]]

needs_tar = pytest.mark.skipif(not shutil.which("tar"), reason="no tar here")


def write(path: Path, samples: Samples, **options: Any) -> list[Path]:
    with ShardWriter(path, **options) as writer:
        for key, members in samples:
            writer.write({"__key__": key, **members})
    return [shard.path for shard in writer.shards]


def read(path: Path) -> Samples:
    with Shard(path) as shard:
        found = []
        for sample in shard:
            key = sample.pop("__key__")
            found.append((key, {extension: bytes(view) for extension, view in sample.items()}))
        return found


def named(samples: Samples) -> list[tuple[str, bytes]]:
    return [
        (f"{key}.{extension}" if extension else key, data)
        for key, members in samples
        for extension, data in members.items()
    ]


def by_tarfile(members: Iterable[tuple[str, bytes]]) -> bytes:
    """The archive that Python's own module writes: ustar where a name has room, else PAX."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            head = b""
            if name.isascii():
                with contextlib.suppress(ValueError):
                    head = info.tobuf(tarfile.USTAR_FORMAT)
            archive.write(head or info.tobuf(tarfile.PAX_FORMAT))
            archive.write(data)
            archive.write(bytes(-len(data) % 512))
            tar.offset = archive.tell()
    return archive.getvalue()


parts = st.one_of(
    st.text("ab_é日 -'\\\n", min_size=1, max_size=4),
    st.sampled_from([94, 95, 96, 97, 150, 151, 152, 248]).map(lambda length: "n" * length),
    st.sampled_from([47, 48, 120]).map(lambda length: "é" * length),
)
folders = st.lists(
    st.one_of(
        st.text("xyé.", min_size=1, max_size=3).filter(lambda text: set(text) != {"."}),
        st.sampled_from([99, 100, 101, 154, 155, 156, 254, 255]).map(lambda n: "d" * n),
    ),
    max_size=2,
).map(lambda names: "".join(f"{name}/" for name in names))
extensions = st.lists(
    st.text("jw1.", min_size=1, max_size=4).filter(
        lambda text: text[0] != "." and ".." not in text
    ),
    min_size=1,
    max_size=3,
    unique=True,
)
sizes = st.one_of(st.integers(0, 3), st.integers(510, 514), st.integers(30_000, 35_000))
sample_lists = st.lists(
    st.tuples(folders, parts, extensions, sizes),
    min_size=1,
    max_size=6,
    unique_by=lambda one: one[:2],
)


def made(drawn: list[tuple[str, str, list[str], int]]) -> Samples:
    samples = []
    for folder, part, ones, size in drawn:
        key = folder + part.replace("\\", "").replace("\n", "") + "k"
        data = np.random.default_rng(size).bytes(size)
        samples.append((key, dict.fromkeys(ones, data)))
    return list(dict(samples).items())


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(sample_lists)
def test_it_is_the_archive_that_tarfile_writes(
    tmp_path: Path, drawn: list[tuple[str, str, list[str], int]]
) -> None:
    samples = made(drawn)
    [path] = write(tmp_path / "a.tar", samples, overwrite=True)
    assert path.read_bytes() == by_tarfile(named(samples))
    assert read(path) == samples
    with tarfile.open(path) as tar:
        assert [(one.name, one.size) for one in tar] == [
            (name, len(data)) for name, data in named(samples)
        ]


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(sample_lists)
def test_webdataset_reads_it(tmp_path: Path, drawn: list[tuple[str, str, list[str], int]]) -> None:
    tariterators = pytest.importorskip("webdataset.tariterators")
    samples = made(drawn)
    [path] = write(tmp_path / "a.tar", samples, overwrite=True)
    with path.open("rb") as stream:
        files = tariterators.tar_file_expander([{"url": str(path), "stream": stream}])
        theirs = [
            {name: value for name, value in sample.items() if name != "__url__"}
            for sample in tariterators.group_by_keys(files)
        ]
    for one in theirs:
        one.pop("__local_path__", None)
    assert theirs == [{"__key__": key, **members} for key, members in samples]


@needs_tar
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(sample_lists)
def test_gnu_tar_unpacks_it_without_a_word(
    tmp_path: Path, drawn: list[tuple[str, str, list[str], int]]
) -> None:
    # One's file must not be the other's folder.
    samples = [(f"{number}/{key}", members) for number, (key, members) in enumerate(made(drawn))]
    [path] = write(tmp_path / "a.tar", samples, overwrite=True)
    folder = tmp_path / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    listed = subprocess.run(["tar", "tvf", path], capture_output=True, check=True)
    done = subprocess.run(
        ["tar", "--warning=all", "-C", folder, "-xf", path], capture_output=True, check=True
    )
    # Records that are written in full are said to be so by --warning=all alone.
    assert (listed.stderr, done.stderr) == (b"", b"")
    assert len(listed.stdout.splitlines()) == len(named(samples))
    for name, data in named(samples):
        assert (folder / name).read_bytes() == data
    files = [one for one in folder.rglob("*") if one.is_file()]
    assert len(files) == len(named(samples))


def test_webdataset_decodes_what_was_encoded(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    sample = {
        "__key__": "folder/one",
        "json": {"b": [1, None, 2.5], "a": "grün"},
        "cls": 7,
        "txt": "grüße",
        "npy": array,
        "bin": bytearray(b"xyz"),
    }
    with ShardWriter(tmp_path / "a.tar") as writer:
        writer.write(sample)
    [found] = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode()
    assert found["__key__"] == "folder/one"
    assert found["json"] == sample["json"]
    assert (found["cls"], found["txt"], found["bin"]) == (7, "grüße", b"xyz")
    np.testing.assert_array_equal(found["npy"], array)
    with Shard(tmp_path / "a.tar") as shard:
        assert bytes(shard[0]["json"]) == '{"a":"grün","b":[1,null,2.5]}'.encode()


def test_ours_reads_what_webdataset_writes(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    pattern = str(tmp_path / "a-%06d.tar")
    with webdataset.ShardWriter(pattern, maxcount=3, verbose=0) as writer:
        for number in range(7):
            writer.write({"__key__": f"f/{number:03d}", "txt": f"{number}", "cls": number})
    paths = sorted(tmp_path.glob("*.tar"))
    assert [len(Shard(path)) for path in paths] == [3, 3, 1]
    # And ours makes the same shards of it.
    (tmp_path / "again").mkdir()
    again = ShardWriter(tmp_path / "again" / "a-%06d.tar", max_samples=3)
    with again:
        for path in paths:
            for sample in Shard(path):
                again.write(sample)
    assert [shard.path.name for shard in again.shards] == [path.name for path in paths]
    for path, shard in zip(paths, again.shards, strict=True):
        assert read(path) == read(shard.path)


def test_lhotse_reads_it_and_is_read(tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse", reason="lhotse brings torchaudio and much else")
    from lhotse.shar.readers.tar import TarIterator
    from lhotse.shar.writers.audio import AudioTarWriter

    random = np.random.default_rng(0)
    clips = [random.uniform(-0.5, 0.5, 4_000).astype(np.float32) for _ in range(3)]
    with AudioTarWriter(str(tmp_path / "theirs.%06d.tar"), shard_size=2, format="flac") as theirs:
        for number, clip in enumerate(clips):
            wav = ossicle.save(tmp_path / f"{number}.wav", clip, 16_000)
            recording = lhotse.Recording.from_file(wav)
            theirs.write(f"cut-{number}", recording.load_audio(), 16_000, recording)
    paths = sorted(tmp_path.glob("theirs.*.tar"))
    assert [len(Shard(path)) for path in paths] == [2, 1]
    waveform, _ = Shard(paths[1]).load("cut-2")
    np.testing.assert_allclose(waveform, clips[2], atol=2.0**-15)

    with ShardWriter(tmp_path / "ours.tar") as writer:
        for path in paths:
            for sample in Shard(path):
                writer.write(sample)
    found = list(TarIterator(str(tmp_path / "ours.tar")))
    assert [str(name) for _, name in found] == [f"cut-{number}.flac" for number in range(3)]
    for (manifest, _), clip in zip(found, clips, strict=True):
        assert manifest is not None
        np.testing.assert_allclose(manifest.load_audio()[0], clip, atol=2.0**-15)


def test_views_of_a_shard_are_written_as_they_lie(tmp_path: Path) -> None:
    samples: Samples = [(f"{number}", {"bin": bytes([number]) * 300_000}) for number in range(4)]
    [path] = write(tmp_path / "a.tar", samples)
    with ShardWriter(tmp_path / "b.tar") as writer:
        for sample in Shard(path, access="mmap"):
            writer.write(sample)
    assert (tmp_path / "b.tar").read_bytes() == path.read_bytes()
    floats = np.arange(6, dtype=np.float32).reshape(2, 3)
    with ShardWriter(tmp_path / "c.tar") as writer:
        writer.write({"__key__": "a", "f32": memoryview(floats), "none": memoryview(b"")})
    assert read(tmp_path / "c.tar") == [("a", {"f32": floats.tobytes(), "none": b""})]


def test_equal_dictionaries_give_equal_bytes(tmp_path: Path) -> None:
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    for name, value in (("a.tar", one), ("b.tar", other)):
        with ShardWriter(tmp_path / name) as writer:
            writer.write({"__key__": "x", "json": value})
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


REFUSED = [
    {"txt": "no key"},
    {"__key__": 1, "txt": "x"},
    {"__key__": "x"},
    {"__key__": "x.y", "txt": "x"},
    {"__key__": "/x", "txt": "x"},
    {"__key__": "../x", "txt": "x"},
    {"__key__": "x\0", "txt": "x"},
    {"__key__": "\ud800", "txt": "x"},
    {"__key__": "good", "txt": "x"},
    {"__key__": "x", "TXT": "x"},
    {"__key__": "x", "__url__": "x"},
    {"__key__": "x", 3: "x"},
    {"__key__": "x", "txt": None},
    {"__key__": "x", "txt": "\ud800"},
    {"__key__": "x", "txt": 1.5},
    {"__key__": "x", "cls": True},
    {"__key__": "x", "txt": {"a": 1}},
    {"__key__": "x", "flac": Path("a.flac")},
    {"__key__": "x", "json": {1, 2}},
    {"__key__": "x", "json": {"a": float("nan")}},
    {"__key__": "x", "json": {1: 2, "1": 3}},
    {"__key__": "x", "bin": np.zeros(3)},
    {"__key__": "x", "npy": np.array([{}], dtype=object)},
    {"__key__": "x", "bin": memoryview(b"abcd")[::2]},
    {"__key__": "x", "seg.npy": np.array([None])},
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_a_refused_sample_changes_nothing(number: int, tmp_path: Path) -> None:
    good: Samples = [("good", {"txt": b"1"}), ("better", {"txt": b"2"})]
    with ShardWriter(tmp_path / "a.tar") as writer:
        writer.write({"__key__": good[0][0], **good[0][1]})
        with pytest.raises(ossicle.InvalidArgumentError) as caught:
            writer.write(REFUSED[number])  # type: ignore[arg-type]
        assert caught.value.source is not None
        assert "a.tar" in caught.value.source
        writer.write({"__key__": good[1][0], **good[1][1]})
    [same] = write(tmp_path / "b.tar", good)
    assert (tmp_path / "a.tar").read_bytes() == same.read_bytes()


def test_a_refused_member_is_named(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.tar") as writer:
        for sample in ({"txt": 1.5}, {"txt": "x", "TXT": "y"}):
            with pytest.raises(ossicle.InvalidArgumentError) as caught:
                writer.write({"__key__": "folder/one", **sample})
            assert caught.value.member in ("folder/one.txt", "folder/one.TXT")
    assert writer.shards == []
    assert list(tmp_path.iterdir()) == []


def test_shards_are_split(tmp_path: Path) -> None:
    samples: Samples = [(f"{number}", {"bin": bytes(7_000)}) for number in range(10)]
    paths = write(tmp_path / "a-%03d.tar", samples, max_bytes=20_480)
    assert [path.name for path in paths] == [f"a-{number:03}.tar" for number in range(5)]
    assert all(path.stat().st_size == 20_480 for path in paths)
    paths = write(tmp_path / "b-%d.tar", samples, max_samples=4)
    assert [len(Shard(path)) for path in paths] == [4, 4, 2]
    for name, options in (
        ("c.tar", {"max_bytes": 1_000}),
        ("c.tar", {"max_samples": 5}),
        ("c-%d.tar", {"max_samples": 0}),
        ("c-%d.tar", {"max_samples": 2.5}),
        ("c-%d.tar", {"max_bytes": True}),
        ("c-%6d.tar", {}),
        ("c-%d-%d.tar", {}),
    ):
        with pytest.raises(ossicle.InvalidArgumentError):
            ShardWriter(tmp_path / name, **options)  # type: ignore[arg-type]


def test_an_error_inside_with_discards_what_is_not_whole(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "a-%d.tar", max_samples=2)

    def work() -> None:
        with writer:
            for number in range(5):
                writer.write({"__key__": f"{number}", "txt": "x"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    names = sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".tar")
    assert names == ["a-0.tar", "a-1.tar"]
    assert not list(tmp_path.glob(".*"))
    assert [(shard.path.name, shard.samples) for shard in writer.shards] == [
        ("a-0.tar", 2),
        ("a-1.tar", 2),
    ]
    with pytest.raises(ossicle.InvalidArgumentError, match="closed"):
        writer.write({"__key__": "5", "txt": "x"})


def test_a_writer_that_is_forgotten_says_so(tmp_path: Path) -> None:

    def forget() -> None:
        ShardWriter(tmp_path / "a.tar").write({"__key__": "a", "txt": "x"})
        gc.collect()

    with pytest.warns(ResourceWarning, match="discarded"):
        forget()
    assert list(tmp_path.iterdir()) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(tmp_path / "b.tar", [("a", {"txt": b"x"})])
        gc.collect()


def test_no_shard_is_replaced_unasked(tmp_path: Path) -> None:
    [path] = write(tmp_path / "a-7.tar", [("a", {"txt": b"x"})])
    before = path.read_bytes()
    for name in ("a-7.tar", "a-%d.tar"):
        with pytest.raises(ossicle.AudioIOError, match="overwrite") as caught:
            ShardWriter(tmp_path / name)
        assert caught.value.errno == 17
        assert caught.value.source == str(path)
    assert path.read_bytes() == before
    write(path, [("b", {"txt": b"y"})], overwrite=True, fsync=True)
    assert read(path) == [("b", {"txt": b"y"})]
    with pytest.raises(ossicle.AudioIOError):
        ShardWriter(tmp_path, overwrite=True)
    with ShardWriter(tmp_path / "none" / "a.tar") as writer:
        with pytest.raises(ossicle.AudioFileNotFoundError):
            writer.write({"__key__": "a", "txt": "x"})
        writer.discard()


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ShardWriter("a-%d.tar", max_samples=1) as writer:
        writer.write({"__key__": "a", "txt": "x"})
        monkeypatch.chdir("/")
        writer.write({"__key__": "b", "txt": "x"})
    assert [shard.path for shard in writer.shards] == [tmp_path / "a-0.tar", tmp_path / "a-1.tar"]
    assert all(path.path.exists() for path in writer.shards)


def test_threads_share_a_writer(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.tar") as writer:

        def some(start: int) -> None:
            for number in range(start, 200, 4):
                writer.write({"__key__": f"{number}", "bin": bytes([number]) * 5_000})

        threads = [threading.Thread(target=some, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = dict(read(tmp_path / "a.tar"))
    assert found == {f"{n}": {"bin": bytes([n]) * 5_000} for n in range(200)}


def test_the_interpreter_runs_on_while_it_writes(tmp_path: Path) -> None:
    """Another thread counts while 400 MB are written: it does so only without the lock."""
    data, counted, is_done = bytes(400_000_000), [0], threading.Event()

    def count() -> None:
        while not is_done.is_set():
            counted[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    with ShardWriter(tmp_path / "a.tar") as writer:
        thread.start()
        writer.write({"__key__": "a", "bin": data})
        is_done.set()
    thread.join()
    assert counted[0] >= 10


def test_a_fork_leaves_the_shard_alone(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "a.tar")
    writer.write({"__key__": "a", "txt": "x"})

    def child() -> None:
        with pytest.raises(ossicle.InvalidArgumentError, match="forked"):
            writer.write({"__key__": "b", "txt": "y"})
        writer.discard()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    writer.write({"__key__": "c", "txt": "z"})
    writer.close()
    assert [key for key, _ in read(tmp_path / "a.tar")] == ["a", "c"]


KILLED = """
import os, sys
from ossicle import ShardWriter

with ShardWriter(sys.argv[1], max_samples=50) as writer:
    for number in range(10**9):
        writer.write({"__key__": f"{number:09d}", "bin": os.urandom(20_000)})
        if number == 60:
            print("going", flush=True)
"""


def test_a_killed_writer_leaves_whole_shards_alone(tmp_path: Path) -> None:
    pattern = tmp_path / "a-%06d.tar"
    for turn in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(pattern)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 * turn)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        shards = sorted(tmp_path.glob("*.tar"))
        assert shards
        for path in shards:
            assert len(Shard(path)) == 50
            path.unlink()
    left = list(tmp_path.glob(".a-*.tmp"))
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        # Each new writer has removed what the one before it left.
        assert len(left) <= 1, left
        write(pattern, [("a", {"txt": b"x"})])
        assert not list(tmp_path.glob(".a-*.tmp"))


def in_small_tmpfs(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    mount = f'mount -t tmpfs -o size=256k none {folder} && exec {sys.executable} -c "$0" {folder}'
    command = ["unshare", "-Urm", "sh", "-c", mount, textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_full_disk(tmp_path: Path) -> None:
    try:
        is_allowed = in_small_tmpfs(tmp_path, "").returncode == 0
    except FileNotFoundError:
        is_allowed = False
    if not is_allowed:
        pytest.skip("no mount namespaces for this user")
    done = in_small_tmpfs(
        tmp_path,
        """
        import errno, os, sys
        from pathlib import Path
        import ossicle
        from ossicle.shard import Shard

        folder = Path(sys.argv[1])
        for size in (1_000, 40_000, 300_000):
            writer = ossicle.ShardWriter(folder / "a-%d.tar", max_bytes=100_000, index=False)
            written = 0
            try:
                with writer:
                    for number in range(1_000):
                        writer.write({"__key__": f"{number}", "bin": bytes(size)})
                        written += 1
            except ossicle.AudioIOError as error:
                assert error.errno == errno.ENOSPC, error
                assert "a-" in error.source, error
            else:
                raise AssertionError("no error")
            try:
                writer.write({"__key__": "more", "txt": "x"})
            except ossicle.InvalidArgumentError:
                pass
            names = sorted(os.listdir(folder))
            assert names == [shard.path.name for shard in writer.shards], names
            for shard in writer.shards:
                assert len(Shard(shard.path)) == shard.samples
                shard.path.unlink()
        writer = ossicle.ShardWriter(folder / "a.tar")
        try:
            writer.write({"__key__": "0", "bin": bytes(300_000)})
        except ossicle.AudioIOError:
            pass
        for again in (lambda: writer.write({"__key__": "1", "txt": "x"}), writer.close):
            try:
                again()
            except ossicle.InvalidArgumentError as error:
                assert "discarded" in str(error), error
            else:
                raise AssertionError("no error")
        assert os.listdir(folder) == []
        print("done")
        """,
    )
    assert done.stdout == "done\n", done.stderr


def test_no_file_stays_open(tmp_path: Path) -> None:
    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    if not Path("/proc/self/fd").exists():
        pytest.skip("reads /proc")
    before = count()
    for number in range(20):
        write(
            tmp_path / f"{number}-%d.tar", [(f"{n}", {"b": b"x"}) for n in range(3)], max_samples=1
        )
        writer = ShardWriter(tmp_path / f"x{number}.tar")
        writer.write({"__key__": "a", "txt": "x"})
        writer.discard()
    assert count() == before


def test_a_large_payload_is_not_copied(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("reads /proc")
    code = """
import sys
from pathlib import Path
import numpy as np
from ossicle import ShardWriter

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

data = np.ones(200_000_000, np.uint8)
with ShardWriter(sys.argv[1]) as writer:
    writer.write({"__key__": "warm", "bin": memoryview(data)[:1_000_000]})
    before = peak()
    writer.write({"__key__": "a", "bin": memoryview(data)})
    print(peak() - before)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a.tar")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000, f"{done.stdout} KiB"


def test_owners_and_times_tell_nothing(tmp_path: Path) -> None:
    [path] = write(tmp_path / "a.tar", [("a", {"txt": b"x"})])
    with tarfile.open(path) as tar:
        [one] = tar.getmembers()
    assert (one.mtime, one.uid, one.gid, one.uname, one.gname) == (0, 0, 0, "", "")
    assert (one.mode, one.type) == (0o644, tarfile.REGTYPE)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now

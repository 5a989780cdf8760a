"""Shards: what others write and read is read in place; what is damaged or changes is told."""

from __future__ import annotations

import concurrent.futures
import gc
import io
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ossicle
from ossicle.shard import Member, Shard

RATE = 16_000

NAMES = [
    "a.wav",
    "a.seg.JSON",
    "folder/b.c/utt.flac",
    "folder/b.c/utt.txt",
    "no-extension",
    "empty.txt",
]
LONG_NAMES = [
    f"{'d' * 99}/{'e' * 60}.wav",
    f"{'deep/' * 60}{'f' * 120}.json",
    "grüße/日本語.wav",
]
PYTHONS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def content(name: str) -> bytes:
    rng = np.random.default_rng(sum(name.encode()))
    return b"" if name.startswith("empty") else rng.bytes(1 + 97 * len(name))


def write_tar(
    path: Path, members: Iterable[tuple[str, bytes]], tar_format: int = tarfile.GNU_FORMAT
) -> Path:
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1.25  # type: ignore[assignment]
            tar.addfile(info, io.BytesIO(data))
    return path


def with_gnu_tar(path: Path, names: Iterable[str], tar_format: str) -> Path:
    root = path.parent / "files"
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content(name))
    command = ["tar", f"--format={tar_format}", "-C", root, "-cf", path, "."]
    subprocess.run(command, check=True)
    return path


def assert_as_tarfile(path: Path) -> None:
    """Names, places and bytes are those that Python's own reader gives."""
    with tarfile.open(path) as tar, Shard(path) as shard:
        files = [member for member in tar if member.isfile()]
        theirs = [(one.name, one.offset_data, one.size) for one in files]
        assert [tuple(member[:3]) for member in shard.members()] == theirs
        views = {}
        for sample in shard:
            key = sample.pop("__key__")
            views.update({(key, extension): bytes(view) for extension, view in sample.items()})
        for one in files:
            folder, slash, base = one.name.rpartition("/")
            stem, _, extension = base.partition(".")
            file = tar.extractfile(one)
            assert file is not None
            assert views[folder + slash + stem, extension.lower()] == file.read()
        assert len(views) == len(files)


@pytest.mark.skipif(not shutil.which("tar"), reason="no tar here")
@pytest.mark.parametrize("tar_format", ["v7", "ustar", "gnu", "oldgnu", "pax"])
def test_what_gnu_tar_writes(tar_format: str, tmp_path: Path) -> None:
    names = NAMES if tar_format in ("v7", "ustar") else NAMES + LONG_NAMES
    assert_as_tarfile(with_gnu_tar(tmp_path / "shard.tar", names, tar_format))


@pytest.mark.parametrize("tar_format", PYTHONS)
def test_what_tarfile_writes(tar_format: str, tmp_path: Path) -> None:
    names = NAMES if tar_format == "ustar" else NAMES + LONG_NAMES
    members = [(name, content(name)) for name in names]
    assert_as_tarfile(write_tar(tmp_path / "shard.tar", members, PYTHONS[tar_format]))


parts = st.text("ab_é", min_size=1, max_size=3)
folders = st.lists(st.text("xy.", min_size=1, max_size=3), max_size=2).map(
    lambda names: "".join(f"{name}/" for name in names if set(name) != {"."})
)
extensions = st.lists(
    st.text("jJwW.1", min_size=1, max_size=4).filter(lambda text: not text.startswith(".")),
    min_size=1,
    max_size=3,
    unique_by=str.lower,
)
samples = st.lists(
    st.tuples(folders, parts, extensions), min_size=1, max_size=6, unique_by=lambda one: one[:2]
)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(samples, st.sampled_from(list(PYTHONS.values())[1:]))
def test_samples_are_those_of_webdataset(
    tmp_path: Path, samples: list[tuple[str, str, list[str]]], tar_format: int
) -> None:
    tariterators = pytest.importorskip("webdataset.tariterators")
    names = [f"{folder}{stem}.{one}" for folder, stem, ones in samples for one in ones]
    members = [(name, name.encode()) for name in names if not name.startswith("__")]
    if not members:
        return
    path = write_tar(tmp_path / "shard.tar", members, tar_format)
    with path.open("rb") as stream:
        files = tariterators.tar_file_expander([{"url": str(path), "stream": stream}])
        theirs = [
            {name: value for name, value in sample.items() if name != "__url__"}
            for sample in tariterators.group_by_keys(files)
        ]
    ours = [
        {name: value if name == "__key__" else bytes(value) for name, value in sample.items()}
        for sample in Shard(path)
    ]
    assert ours == theirs


def waveform(number: int, frames: int = 8_000) -> np.ndarray:
    return oracle.signal(RATE, 1, frames, seed=number)


def wav(number: int, frames: int = 8_000) -> bytes:
    return oracle.wav_bytes(waveform(number, frames), RATE, "s16")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Five samples of a WAV and a text."""
    members = []
    for number in range(5):
        members += [
            (f"folder/{number}.wav", wav(number)),
            (f"folder/{number}.json", b'{"number": %d}' % number),
        ]
    return write_tar(tmp_path / "shard.tar", members)


def test_samples_by_key_and_number(path: Path) -> None:
    shard = Shard(path)
    assert len(shard) == 5
    assert shard.keys() == [f"folder/{number}" for number in range(5)]
    assert [sample["__key__"] for sample in shard] == shard.keys()
    for number, key in enumerate(shard.keys()):
        for sample in (shard[key], shard[number], shard[number - 5], shard[np.int64(number)]):
            assert list(sample) == ["__key__", "wav", "json"]
            assert sample["json"] == b'{"number": %d}' % number
        assert key in shard
    assert "folder" not in shard
    assert 0 not in shard
    with pytest.raises(KeyError, match="folder/9"):
        shard["folder/9"]
    for number in (5, -6):
        with pytest.raises(IndexError):
            shard[number]


@pytest.mark.parametrize("access", ["mmap", "pread"])
def test_views_are_read_only_and_outlive_the_shard(access: str, path: Path) -> None:
    shard = Shard(path, access=access)  # type: ignore[arg-type]
    view = shard["folder/3"]["wav"]
    assert isinstance(view, memoryview)
    assert view.readonly
    assert view.contiguous
    with pytest.raises(TypeError):
        view[0] = 0
    samples = list(shard)
    shard.close()
    del shard
    gc.collect()
    assert view == wav(3)
    assert [bytes(sample["wav"]) for sample in samples] == [wav(number) for number in range(5)]
    assert np.frombuffer(view, np.uint8).flags.writeable is False


def test_views_are_no_copies(path: Path) -> None:
    one, other = Shard(path, access="mmap"), Shard(path, access="pread")

    def address(view: memoryview) -> int:
        return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])

    first, again = one[0]["wav"], one[0]["wav"]
    assert address(first) == address(again)
    # Where they lie in the file is how far they are apart.
    places = {member.name: member.offset for member in one.members()}
    apart = places["folder/4.json"] - places["folder/0.wav"]
    assert address(one[4]["json"]) - address(first) == apart
    first, again = other[0]["wav"], other[0]["wav"]
    assert address(first) != address(again)


def test_a_closed_shard_says_so(path: Path) -> None:
    with Shard(path) as shard:
        assert "5 samples" in repr(shard)
    for use in (lambda: len(shard), lambda: shard[0], lambda: list(shard), lambda: shard.load(0)):
        with pytest.raises(ossicle.InvalidArgumentError, match="closed"):
            use()
    assert "closed" in repr(shard)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "m4a"])
@pytest.mark.parametrize("access", ["mmap", "pread"])
def test_load_equals_a_load_of_the_bytes(
    suffix: str, access: Any, make_clip: Any, tmp_path: Path
) -> None:
    clip = make_clip(suffix, rate=22_050, channels=2, frames=60_000)
    data = clip.read_bytes()
    members = [("a.txt", b"x" * 700), (f"b.{suffix}", data), ("b.json", b"{}"), ("c.txt", b"")]
    shard = Shard(write_tar(tmp_path / "shard.tar", members), access=access)
    for options in (
        {},
        {"mono": False},
        {"offset": 0.7, "duration": 0.5},
        {"sample_rate": 16_000, "offset": 1.1},
    ):
        ours, rate = shard.load("b", **options)
        theirs, other_rate = ossicle.load(data, **options)  # type: ignore[call-overload]
        assert rate == other_rate
        assert np.array_equal(ours, theirs)
    member = shard.member("b")
    assert ossicle.info(member) == ossicle.info(clip)
    assert (member.name, member.size, member.shard) == (f"b.{suffix}", len(data), str(shard.path))
    batch = ossicle.load_batch([member, data, shard.member(1, suffix.upper()), clip], threads=3)
    for row in batch.waveforms[1:]:
        assert np.array_equal(row, batch.waveforms[0])


def test_which_member_is_the_audio(tmp_path: Path) -> None:
    names = ["a.wav", "a.flac", "b.mic.wav", "b.json", "c.txt", "d.wave.txt"]
    shard = Shard(write_tar(tmp_path / "shard.tar", [(name, wav(1)) for name in names]))
    assert shard.member("b").name == "b.mic.wav"
    assert shard.member("c", "TXT").name == "c.txt"
    for key, reason in (("a", "several"), ("c", "no audio"), ("d", "no audio")):
        with pytest.raises(ossicle.InvalidArgumentError, match=reason) as caught:
            shard.load(key)
        assert "its extensions are" in str(caught.value)
    with pytest.raises(ossicle.InvalidArgumentError, match="'mp3'"):
        shard.load("a", extension="mp3")
    assert len(shard.load("a", extension="flac")[0]) == 8_000


def test_errors_of_members_name_shard_member_and_byte(path: Path) -> None:
    data = path.read_bytes()
    place = data.index(wav(2))
    damaged = bytearray(data)
    damaged[place + 8 : place + 12] = b"WAXE"
    path.write_bytes(damaged)
    shard = Shard(path)
    with pytest.raises(ossicle.AudioError) as caught:
        shard.load("folder/2")
    error = caught.value
    assert (error.source, error.member) == (str(path), "folder/2.wav")
    assert error.byte_offset is None or place <= error.byte_offset < place + len(wav(2))
    assert str(error).startswith(f"{path} [folder/2.wav]: ")
    batch = ossicle.load_batch(
        [shard.member(number) for number in range(5)], threads=2, on_error="collect"
    )
    assert [one is None for one in batch.errors] == [True, True, False, True, True]
    assert str(batch.errors[2]) == str(error)
    assert batch.errors[2].member == "folder/2.wav"
    again = pickle.loads(pickle.dumps(error))
    assert (again.member, again.byte_offset) == (error.member, error.byte_offset)


def test_the_byte_of_a_cut_flac_is_one_of_the_shard(make_clip: Any, tmp_path: Path) -> None:
    data = make_clip("flac", frames=100_000).read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    members = [("a.txt", bytes(5_000)), ("b.flac", bytes(flipped))]
    shard = Shard(write_tar(tmp_path / "shard.tar", members))
    with pytest.raises(ossicle.AudioError) as caught:
        shard.load("b")
    with pytest.raises(ossicle.AudioError) as alone:
        ossicle.load(bytes(flipped))
    assert caught.value.byte_offset == alone.value.byte_offset + shard.members()[1].offset
    *_, gaps = shard.load_concealed("b")
    assert [gap.error.member for gap in gaps] == ["b.flac"]


def flipped(path: Path, byte: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 4
    path.write_bytes(data)


def test_a_damaged_shard_is_refused_and_verify_tells_all(path: Path) -> None:
    assert Shard(path).verify() == []
    shard = Shard(path)
    headers = [member.header_offset for member in shard.members()]
    for header in (headers[2], headers[7]):
        flipped(path, header + 3)
    with pytest.raises(ossicle.CorruptAudioError, match="checksum") as caught:
        Shard(path)
    assert (caught.value.source, caught.value.byte_offset) == (str(path), headers[2])
    changed, *damaged = shard.verify()
    assert "has changed" in str(changed)
    assert [error.byte_offset for error in damaged] == [headers[2], headers[7]]
    assert all(isinstance(error, ossicle.CorruptAudioError) for error in damaged)


def test_what_is_refused_names_its_member(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("a.wav"))
        link = tarfile.TarInfo("b.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "a.wav"
        tar.addfile(link)
    with pytest.raises(ossicle.UnsupportedFormatError, match="a symbolic link") as caught:
        Shard(path)
    assert (caught.value.member, caught.value.byte_offset) == ("b.wav", 512)
    for name in ("/a.wav", "../a.wav", "a/../../b.wav"):
        write_tar(path, [(name, b"x")], tarfile.PAX_FORMAT)
        with pytest.raises(ossicle.UnsupportedFormatError):
            Shard(path)
    with pytest.raises(ossicle.CorruptAudioError, match="the same name"):
        Shard(write_tar(path, [("a.wav", b"x"), ("b.wav", b"y"), ("a.wav", b"z")]))
    with pytest.raises(ossicle.AudioFileNotFoundError):
        Shard(tmp_path / "none.tar")
    with pytest.raises(ossicle.AudioIOError):
        Shard(tmp_path)
    with pytest.raises(ossicle.InvalidArgumentError, match="access"):
        Shard(path, access="read")  # type: ignore[arg-type]


@pytest.mark.skipif(not shutil.which("tar"), reason="no tar here")
@pytest.mark.parametrize("tar_format", ["gnu", "pax"])
def test_sparse_members_of_gnu_tar_are_refused(tar_format: str, tmp_path: Path) -> None:
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(b"RIFF")
        file.truncate(1 << 22)
        file.seek(1 << 22)
        file.write(b"end")
    path = tmp_path / "shard.tar"
    command = ["tar", "--sparse", f"--format={tar_format}", "-C", tmp_path, "-cf", path, "a.wav"]
    subprocess.run(command, check=True)
    with pytest.raises(ossicle.UnsupportedFormatError, match="sparse"):
        Shard(path)


def test_an_index_stands_for_the_headers(path: Path) -> None:
    members = Shard(path).members()
    assert all(isinstance(member, Member) for member in members)
    flipped(path, 0)
    indexed = Shard(path, index=members)
    assert indexed.members() == members
    assert indexed["folder/4"]["wav"] == wav(4)
    assert pickle.loads(pickle.dumps(indexed))["folder/4"]["wav"] == wav(4)
    with pytest.raises(ossicle.InvalidArgumentError, match="the shard has no member"):
        Shard(path, index=[*members, Member("x.wav", 1 << 40, 5, 0)])


def first_of(shard: Shard) -> tuple[int, bytes, float]:
    samples, _ = shard.load(0)
    return len(shard), bytes(shard[1]["json"]), float(np.abs(samples).sum())


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_other_processes_read_it(method: str, path: Path) -> None:
    shard = Shard(path)
    expected = first_of(shard)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(first_of, [shard] * 4)) == [expected] * 4


def test_a_fork_inherits_it(path: Path) -> None:
    shard = Shard(path)
    view, expected = shard[2]["wav"], first_of(shard)
    sources = [shard.member(number) for number in range(5)]
    ossicle.load_batch(sources, threads=3)
    child = os.fork()
    if child == 0:
        is_same = False
        try:
            is_same = first_of(shard) == expected and view == wav(2)
            is_same = is_same and len(ossicle.load_batch(sources, threads=3)) == 5
        finally:
            os._exit(0 if is_same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_share_a_shard_and_an_iterator(path: Path) -> None:
    shard = Shard(path)
    expected = [first_of(shard)] * 8
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: first_of(shard), range(8))) == expected
        iterator = iter(shard)
        taken = pool.map(lambda _: [one["__key__"] for one in iterator], range(8))
        assert sorted(key for keys in taken for key in keys) == shard.keys()


def test_no_file_stays_open(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar"
    broken.write_bytes(path.read_bytes()[:-2_000])

    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(50):
        Shard(path).load(0)
        with pytest.raises(ossicle.CorruptAudioError):
            Shard(broken)
    assert count() == before


def in_a_process(script: str, *arguments: object) -> str:
    """What the script prints; a signal that kills it fails the test."""
    code = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    command = [sys.executable, "-c", code + textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


@pytest.mark.sampled(one_in=4)
@pytest.mark.parametrize("access", ["mmap", "pread"])
@pytest.mark.parametrize("change", ["cut", "cut-and-grown", "emptied", "replaced"])
def test_a_shard_cut_under_a_reader_is_an_error(access: str, change: str, tmp_path: Path) -> None:
    """A thread changes the file while another decodes; what is decoded is right or an error."""
    printed = in_a_process(
        """
        import os, random, threading, time
        from pathlib import Path
        import numpy as np
        import ossicle
        from test_shard import wav, write_tar

        access, change, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
        path = folder / "shard.tar"
        data = [wav(number, 50_000) for number in range(6)]
        expected = [ossicle.load(one)[0] for one in data]
        members = [(f"{number}.wav", one) for number, one in enumerate(data)]
        length = write_tar(path, members).stat().st_size
        whole = path.read_bytes()

        def harm():
            time.sleep(random.random() * 0.01)
            if change == "replaced":
                (folder / "new.tar").write_bytes(whole)
                os.replace(folder / "new.tar", path)
                return
            os.truncate(path, 0 if change == "emptied" else 1024)
            if change == "cut-and-grown":
                os.truncate(path, length)

        random.seed(1)
        for round in range(40):
            path.write_bytes(whole)
            # So that the harm has another time than the file.
            os.utime(path, (1e9, 1e9))
            shard = ossicle.Shard(path, access=access)
            thread = threading.Thread(target=harm)
            thread.start()
            last = time.monotonic() + 60
            while time.monotonic() < last:
                number = random.randrange(6)
                try:
                    if access == "pread":
                        assert shard[number]["wav"] == data[number]
                    got, _ = shard.load(number)
                    batch = ossicle.load_batch([shard.member(one) for one in range(6)], threads=2)
                except ossicle.AudioIOError as error:
                    assert "has changed" in str(error), error
                    break
                assert np.array_equal(got, expected[number])
                for row, one in zip(batch.waveforms, expected):
                    assert np.array_equal(row, one)
            thread.join()
            for use in (lambda: shard[0], lambda: list(shard), lambda: shard.load(0)):
                try:
                    use()
                except ossicle.AudioIOError as error:
                    assert "has changed" in str(error), error
                else:
                    raise AssertionError("no error")
        print("done")
        """,
        access,
        change,
        tmp_path,
    )
    assert printed == "done\n"


def test_an_iteration_ends_in_an_error_when_the_shard_is_cut(path: Path) -> None:
    samples = iter(Shard(path, access="mmap"))
    next(samples)
    os.truncate(path, 512)
    with pytest.raises(ossicle.AudioIOError, match="has changed"):
        next(samples)


def test_a_removed_shard_is_read_on(path: Path) -> None:
    shard = Shard(path)
    path.unlink()
    assert shard["folder/1"]["wav"] == wav(1)
    assert len(shard.load("folder/1")[0]) == 8_000


def test_a_relative_path_stays_where_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    shard = Shard(path.name)
    monkeypatch.chdir("/")
    assert shard[0]["__key__"] == "folder/0"


@pytest.mark.parametrize("tar_format", ["gnu", "pax"])
def test_members_above_8_gib(tar_format: str, tmp_path: Path) -> None:
    path, size = tmp_path / "large.tar", (10 << 30) + 77
    info = tarfile.TarInfo("large.wav")
    info.size = size
    head = info.tobuf(PYTHONS[tar_format])
    end = -(-size // 512) * 512
    with path.open("wb") as file:
        file.write(head)
        file.seek(len(head) + end)
        file.write(write_tar(tmp_path / "small.tar", [("small.wav", wav(1))]).read_bytes())
    shard = Shard(path)
    places = [(member.name, member.size) for member in shard.members()]
    assert places == [("large.wav", size), ("small.wav", len(wav(1)))]
    assert len(shard["large"]["wav"]) == size
    assert bytes(shard["large"]["wav"][-3:]) == bytes(3)
    assert len(shard.load("small")[0]) == 8_000
    with tarfile.open(path) as tar:
        assert [one.offset_data for one in tar] == [one.offset for one in shard.members()]
    os.truncate(path, len(head) + size - 1)
    with pytest.raises(ossicle.CorruptAudioError, match="cut short"):
        Shard(path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("access", ["mmap", "pread"])
def test_reading_takes_no_memory_of_its_own(access: str, tmp_path: Path) -> None:
    """Memory that is not the page cache's, over a shard of 600 MB of 1 MB members."""
    printed = in_a_process(
        """
        import tarfile
        from pathlib import Path
        import numpy as np
        from ossicle import Shard

        path = Path(sys.argv[2]) / "shard.tar"
        with path.open("wb") as file:
            for number in range(600):
                info = tarfile.TarInfo(f"{number:04}.bin")
                info.size = 1_000_000
                file.write(info.tobuf())
                file.truncate(file.tell() + 1_000_448)
                file.seek(0, 2)
            file.write(bytes(1024))

        def anonymous():
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

        shard = Shard(path, access=sys.argv[1])
        before, most = anonymous(), 0
        for sample in shard:
            assert np.frombuffer(sample["bin"], np.uint8).max() == 0
            most = max(most, anonymous())
        print(most - before)
        """,
        access,
        tmp_path,
    )
    assert int(printed) < 16_000, f"{printed} KiB"


def replaced(path: Path, how: str) -> None:
    """Other samples at the path: in a new file, in the old one, or of the same size and time."""
    members = [(f"folder/{5 - number}.wav", wav(number)) for number in range(5)]
    if how == "shorter":
        members = members[:2]
    before, whole = path.stat(), path.read_bytes()
    new = write_tar(path.with_name("new.tar"), members)
    if how == "renamed over":
        new.replace(path)
    elif how == "its time put back":
        data = bytearray(whole)
        data[600:640] = bytes(40)
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        path.write_bytes(new.read_bytes())


@pytest.mark.parametrize("how", ["shorter", "renamed over", "written over", "its time put back"])
def test_a_pickled_shard_is_opened_as_the_same_one(how: str, path: Path) -> None:
    shard = Shard(path)
    again = pickle.loads(pickle.dumps(shard))
    assert again.identity == shard.identity
    sent = pickle.dumps([shard, shard.member("folder/3")])
    (twin, member) = pickle.loads(sent)
    assert twin.keys() == shard.keys()
    np.testing.assert_array_equal(ossicle.load(member)[0], shard.load("folder/3")[0])
    assert (member.shard, member.name, member.size) == (str(path), "folder/3.wav", len(wav(3)))
    # And out of a member that came by pickle itself.
    np.testing.assert_array_equal(
        ossicle.load(pickle.loads(pickle.dumps(member)))[0], ossicle.load(member)[0]
    )
    replaced(path, how)
    with pytest.raises(ossicle.AudioIOError, match="has changed") as caught:
        pickle.loads(pickle.dumps(again))
    assert caught.value.source == str(path)
    for use in (
        lambda: pickle.loads(sent),
        lambda: shard["folder/3"],
        lambda: shard.read("folder/3", "json"),
        lambda: ossicle.load(member),
        lambda: pickle.loads(pickle.dumps(member)),
    ):
        with pytest.raises(ossicle.AudioIOError, match="has changed"):
            use()


def test_what_changes_no_byte_is_no_change(path: Path) -> None:
    shard = Shard(path)
    sent = pickle.dumps([shard, shard.member(1)])
    path.chmod(0o600)
    os.link(path, path.with_name("link.tar"))
    assert shard.read(1, "json") == b'{"number": 1}'
    assert len(pickle.loads(sent)[0]) == 5
    path.with_name("link.tar").unlink()
    path.rename(path.with_name("moved.tar"))
    assert shard.load(1)[0].size == 8_000
    assert shard.read(1, "json") == b'{"number": 1}'
    with pytest.raises(ossicle.AudioFileNotFoundError):
        pickle.loads(sent)


def test_an_identity_of_another_machine_is_size_and_members(path: Path) -> None:
    words = Shard(path).identity.split(" ")
    elsewhere = " ".join([*words[:-1], "another-machine"])
    copy = Path(shutil.copy(path, path.with_name("copy.tar")))
    assert len(Shard(copy, identity=elsewhere)) == 5
    with pytest.raises(ossicle.AudioIOError, match="has changed"):
        Shard(copy, identity=Shard(path).identity)
    members = [(one.name.replace("folder", "forder"), b"") for one in Shard(path).members()]
    with tarfile.open(path) as tar:
        renamed = []
        for (name, _), one in zip(members, tar, strict=True):
            file = tar.extractfile(one)
            assert file is not None
            renamed.append((name, file.read()))
    write_tar(copy, renamed)
    with pytest.raises(ossicle.AudioIOError, match="members differ"):
        Shard(copy, identity=elsewhere)
    with pytest.raises(ossicle.InvalidArgumentError, match="not the identity"):
        Shard(path, identity="x")


def test_names_with_control_characters_are_read_and_not_written(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "odd.tar", [("a\nb.wav", wav(1)), ("\x1b[2J.txt", b"x")])
    shard = Shard(path)
    assert shard.keys() == ["a\nb", "\x1b[2J"]
    assert len(shard.load("a\nb")[0]) == 8_000
    with ossicle.ShardWriter(tmp_path / "new.tar") as writer:
        for sample in shard:
            with pytest.raises(ossicle.InvalidArgumentError, match="control characters"):
                writer.write(sample)
        writer.write({"__key__": "a b", "txt": "grüße"})

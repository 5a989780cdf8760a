"""The cache against failing system calls, kills, full disks and many processes.

``strace -e inject=`` makes one call after the other of a ``put`` fail, or kills the process there.
"""

from __future__ import annotations

import collections
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tiers import Sweep

from ossicle.cache import AudioCache, AudioCacheKey, WaveformCache, WaveformCacheKey

OLD = WaveformCacheKey("00" * 4, 16_000, 30_000)
BESIDE = WaveformCacheKey("0001" * 2, 16_000, 9)
BLOB, PROCESSOR = "0123456789abcdef" * 4, "fedcba9876543210" * 4
# Marks the calls of `put` in the trace: nobody else asks for files of these names.
BEGIN, END = "/ossicle-put-begins", "/ossicle-put-ends"
# Memory and signals: the allocator and the interpreter call these, whenever they like.
OTHERS = {"brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "futex"}
OTHERS |= {"rt_sigaction", "rt_sigprocmask"}
# Errors are quicker to inject where nothing else stops; signals are then not sent.
STRACE = {"error": ["strace", "-f", "--seccomp-bpf"], "signal": ["strace", "-f"]}

PUT = f"""
import os, sys, warnings, numpy as np
from ossicle.cache import WaveformCache, WaveformCacheKey
warnings.simplefilter("ignore", RuntimeWarning)
cache = WaveformCache(sys.argv[1], fsync=sys.argv[2] == "1", max_bytes=10_000_000)
key = WaveformCacheKey("00" * 4, 16_000, 30_000)
samples = np.full(3000, 2, np.float32)
os.path.exists({BEGIN!r})
path = cache.put(key, samples)
os.path.exists({END!r})
again = cache.put(key, samples)  # training goes on
stats = cache.stats()
assert stats.puts + stats.failed == 2 and (path is None) == (stats.failed == 1), stats
assert again is not None, stats
"""


def python(script: str, *arguments: object, before: list[str] | None = None) -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return [*(before or []), *command]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    # Calls are counted by thread, and have to come in the same order each time.
    settings = {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    environment = os.environ | settings
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


@functools.cache
def traceable() -> str | None:
    """Why nothing can be traced here, if so."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = [*STRACE["error"], "-o", os.devnull, "-e", "inject=getppid:error=EIO:when=1"]
    done = run([*probe, sys.executable, "-c", "import os; os.getppid()"])
    return None if done.returncode == 0 else f"strace may not trace: {done.stderr[-200:]}"


@pytest.fixture(autouse=True, scope="module")
def _skip_elsewhere() -> None:
    if sys.platform != "linux":
        pytest.skip("strace, unshare and RLIMIT_FSIZE are Linux's")


def prepared(root: Path) -> None:
    """A root with an older entry under the key, and another one beside it."""
    cache = WaveformCache(root)
    cache.put(OLD, np.full(2000, 1, np.float32))
    cache.put(BESIDE, np.full(10, 7, np.float32))


def calls_of_a_put(root: Path, fsync: bool) -> list[tuple[str, int]]:
    """Each system call of the first put: its name, and which of that name in the process it is."""
    prepared(root)
    trace = root.parent / "trace"
    done = run(python(PUT, root, int(fsync), before=["strace", "-f", "-o", str(trace)]))
    assert done.returncode == 0, done.stderr
    seen: collections.Counter[str] = collections.Counter()
    found: list[tuple[str, int]] = []
    inside = False
    for line in trace.read_text(errors="replace").splitlines():
        called = re.match(r"\d+ +(\w+)\(", line)
        if called is None:
            continue
        seen[called[1]] += 1
        if BEGIN in line or END in line:
            inside = BEGIN in line
        elif inside and called[1] not in OTHERS:
            found.append((called[1], seen[called[1]]))
    return found


def check_after(root: Path, label: str) -> None:
    """Another process than the writer reads nothing wrong, and its prune leaves no other file."""
    cache = WaveformCache(root)
    for copy in [True, False]:
        beside, found = cache.get(BESIDE, copy=copy), cache.get(OLD, copy=copy)
        assert beside is not None, label
        assert (beside.size, set(beside)) == (10, {7.0}), label
        assert found is None or (found.size, *set(found)) in [(2000, 1.0), (3000, 2.0)], label
    assert cache.stats().corrupt == 0, label
    cache.prune()
    left = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".npz"]
    assert left == [], label


@pytest.mark.sampled(one_in=4)
@pytest.mark.parametrize("fault", ["error=ENOSPC", "error=EIO", "error=EROFS", "signal=KILL"])
def test_each_system_call_of_a_put(tmp_path: Path, fault: str, sweep: Sweep) -> None:
    if traceable() is not None:
        pytest.skip(str(traceable()))
    root = tmp_path / "root"
    for call, number in sweep(calls_of_a_put(root, fsync=True), one_in=7):
        label = f"{fault} at call {number} of {call}"
        shutil.rmtree(root, ignore_errors=True)
        prepared(root)
        inject = [*STRACE[fault.split("=")[0]], "-o", str(tmp_path / "trace")]
        inject += ["-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={number}"]
        done = run(python(PUT, root, 1, before=inject))
        if fault == "signal=KILL":
            assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), label
        else:
            assert done.returncode == 0, f"{label}: {done.stderr}"
            assert "(INJECTED)" in (tmp_path / "trace").read_text(errors="replace"), label
        check_after(root, label)


@pytest.mark.parametrize("fsync", [False, True])
def test_the_system_calls_of_a_put(tmp_path: Path, fsync: bool) -> None:
    if traceable() is not None:
        pytest.skip(str(traceable()))
    calls = [name for name, _ in calls_of_a_put(tmp_path / "root", fsync)]
    writes = [name for name in calls if name in {"write", "writev", "pwritev", "pwrite64"}]
    renames = [name for name in calls if name.startswith("rename")]
    assert len(writes) == len(renames) == 1, calls
    # The content before it has its name; shard and root after that.
    synced = [calls.index(renames[0]) > n for n, name in enumerate(calls) if name == "fsync"]
    assert synced == ([True, False, False] if fsync else []), calls


SMALL_DISK = """
import subprocess, sys, warnings, numpy as np
from pathlib import Path
from ossicle.cache import WaveformCache, WaveformCacheKey
warnings.simplefilter("ignore", RuntimeWarning)
root = Path(sys.argv[1])
cache = WaveformCache(root, fsync=sys.argv[2] == "1")
random = np.random.default_rng(0)
written = {}
for turn in range(300):
    if turn % 15 == 0:
        cache.clear()
        written.clear()
    n = int(random.integers(12))
    samples = np.full(int(random.integers(1, 9000)), turn, np.float32)
    if cache.put(WaveformCacheKey(f"{n:08x}", 16_000, 30_000), samples) is not None:
        written[n] = samples
    assert not list(root.rglob("*.tmp"))
    for m, expected in written.items():
        found = cache.get(WaveformCacheKey(f"{m:08x}", 16_000, 30_000))
        assert found is None or np.array_equal(found, expected), (turn, m)
stats = cache.stats()
assert stats.failed > 20 and stats.puts > 20 and stats.corrupt == 0, stats
print("done")
"""


@pytest.mark.parametrize("fsync", [False, True])
def test_a_full_disk(tmp_path: Path, fsync: bool) -> None:
    mount = f'mount -t tmpfs -o size=64k none {tmp_path} && exec "$@"'
    command = python(SMALL_DISK, tmp_path, int(fsync))
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    done = run(["unshare", "-Urm", "sh", "-c", mount, "sh", *command])
    if "Traceback" not in done.stderr and done.returncode != 0:
        pytest.skip(f"no mount namespaces for this user: {done.stderr.strip()[-200:]}")
    assert done.stdout == "done\n", done.stderr


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    # Without any right to mount: what is too long for RLIMIT_FSIZE is cut off in mid-write.
    script = """
        import resource, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, resource.RLIM_INFINITY))
    """
    done = run(python(textwrap.dedent(script) + SMALL_DISK, tmp_path, 0))
    assert done.stdout == "done\n", done.stderr


HAMMER = """
import sys, warnings, numpy as np
from ossicle.cache import WaveformCache, WaveformCacheKey
root, seed, turns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
warnings.simplefilter("ignore")
random = np.random.default_rng(seed)
cache = WaveformCache(root, max_bytes=400_000, fsync=False)
buffer = np.empty(20_000, np.float32)
wrong = 0
for _ in range(turns):
    n, what = int(random.integers(10)), random.random()
    key = WaveformCacheKey(f"{n:08x}", 16_000, 30_000)
    if what < 0.35:
        # The length and every sample tell the key.
        cache.put(key, np.full(100 + 1900 * n, n, np.float32))
    elif what < 0.36:
        cache.clear()
    else:
        how = ({}, {"copy": False}, {"out": buffer})[int(random.integers(3))]
        found = cache.get(key, **how)
        wrong += found is not None and not (found.size == 100 + 1900 * n and (found == n).all())
stats = cache.stats()
print(wrong, stats.corrupt, stats.failed)
"""


@pytest.mark.thorough
def test_many_processes_on_ten_keys(tmp_path: Path) -> None:
    count = int(os.environ.get("OSSICLE_CACHE_PROCESSES", "16"))
    turns = int(os.environ.get("OSSICLE_CACHE_TURNS", "300"))
    root = tmp_path / "root"
    commands = [python(HAMMER, root, seed, turns) for seed in range(count)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for command in commands]  # type: ignore[call-overload]
    failed = 0
    for worker in workers:
        out, error = worker.communicate()
        assert (worker.returncode, error) == (0, "")
        wrong, corrupt, lost = map(int, out.split())
        assert (wrong, corrupt) == (0, 0)
        failed += lost
    # Who is cleared from under eight times in a row gives up.
    assert failed <= count * turns / 1000
    cache = WaveformCache(root)
    cache.prune()
    assert cache.verify().faults == ()
    assert cache.stats().temporary == 0


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_bit_and_every_cut_through_every_way_to_read(tmp_path: Path, dtype: str) -> None:
    cache = AudioCache(tmp_path)
    key = AudioCacheKey(BLOB, PROCESSOR, 16_000, 30_000, dtype=dtype)  # type: ignore[arg-type]
    array = np.array([[1.5, -2.0, 0.125]], np.float32)
    path = cache.put(key, array)
    assert path is not None
    whole = path.read_bytes()
    buffer = np.full((1, 1, 3), 9, np.float32)
    damaged = [whole[:cut] for cut in range(len(whole))]
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for number, content in enumerate(damaged):
        path.write_bytes(content)
        match number % 4:
            case 0:
                assert cache.get(key) is None
            case 1:
                assert cache.get(key, copy=False) is None
            case 2:
                assert cache.get(key, out=buffer) is None
                assert set(buffer.ravel()) in ({9.0}, {0.0})
                buffer[:] = 9
            case _:
                assert list(cache.get_batch([key], out=buffer)) == [-1]
                assert not buffer.any()
                buffer[:] = 9
        assert not path.exists(), number
    assert cache.stats().corrupt == len(damaged) == 9 * len(whole)
    path.write_bytes(whole)
    for found in [cache.get(key), cache.get(key, copy=False), cache.get(key, out=buffer)]:
        assert found is not None
        assert np.array_equal(found, array)


def test_an_entry_evicted_while_it_is_read(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    samples = np.arange(300_000, dtype=np.float32)
    cache.put(OLD, samples)
    view = cache.get(OLD, copy=False)
    assert view is not None
    evictor = WaveformCache(tmp_path)
    for turn in range(50):
        evictor.put(OLD, samples) if turn % 2 else evictor.prune(1)
        found = cache.get(OLD)
        assert found is None or np.array_equal(found, samples)
        assert np.array_equal(view, samples)
    assert cache.stats().corrupt == 0


def test_a_root_that_may_only_be_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    prepared(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    script = """
        import sys, warnings, numpy as np
        from ossicle.cache import WaveformCache, WaveformCacheKey
        warnings.simplefilter("ignore", RuntimeWarning)
        cache = WaveformCache(sys.argv[1], max_bytes=1_000_000)
        key = WaveformCacheKey("00" * 4, 16_000, 30_000)
        assert (cache.get(key) == 1).all() and (cache.get(key, copy=False) == 1).all()
        assert cache.put(key, np.ones(3, np.float32)) is None and cache.stats().failed == 1
        assert cache.verify(delete=True).faults == () and cache.prune().evicted == 0
        for work in [cache.clear, lambda: cache.prune(1)]:
            try:
                work()
            except OSError as error:
                assert "00000000" in str(error) or "root" in str(error), error
            else:
                raise AssertionError(work)
        print("done")
    """
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    mount = f'mount --bind {root} {root} && mount -o remount,bind,ro {root} && exec "$@"'
    done = run(["unshare", "-Urm", "sh", "-c", mount, "sh", *python(script, root)])
    if "Traceback" not in done.stderr and done.returncode != 0:
        pytest.skip(f"no mount namespaces for this user: {done.stderr.strip()[-200:]}")
    assert done.stdout == "done\n", done.stderr
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.sampled(one_in=2)
@pytest.mark.parametrize("years", [-1, 1])
def test_a_clock_a_year_off(tmp_path: Path, years: int) -> None:
    # The writer lives, whatever the stamps say; a file that is old by the same clock is an orphan.
    cache = WaveformCache(tmp_path)
    prepared(tmp_path)
    folder = tmp_path / "00"
    elsewhere = folder / ".0123abcd-77-0123456789abcdef.tmp"
    script = """
        import os, re, subprocess, sys, time
        from ossicle.cache import WaveformCache
        print(os.getpid(), flush=True)
        sys.stdin.read()
    """
    names = set(folder.iterdir())
    with tempfile.TemporaryDirectory() as other:
        writer = subprocess.Popen(
            python(script, other), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert writer.stdout is not None
            process = int(writer.stdout.readline())
            here = machine(tmp_path)
            mine = folder / f".{here}-{process}-0123456789abcdef.tmp"
            for path, age in [(elsewhere, 365 * 24 * 3600 * years), (mine, 3600 * 23 * years)]:
                path.write_bytes(b"half")
                stamp = path.stat().st_mtime - age
                os.utime(path, (stamp, stamp))
            assert cache.prune().orphans == 1
            assert set(folder.iterdir()) == names | {mine}
        finally:
            writer.communicate("")
    assert cache.prune().orphans == 1
    assert set(folder.iterdir()) == names


def machine(folder: Path) -> str:
    """How temporary files name this machine, as one of them tells that is left by a kill."""
    script = """
        import os, sys, numpy as np
        from ossicle.cache import WaveformCache, WaveformCacheKey
        cache = WaveformCache(sys.argv[1])
        for n in range(10**9):
            cache.put(WaveformCacheKey("ff" * 4, 16_000, n % 2), np.zeros(100_000, np.float32))
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as root:
        with subprocess.Popen(python(script, root)) as writer:
            found: list[Path] = []
            while not found:
                found = list(Path(root).rglob("*.tmp"))
            writer.kill()
        return found[0].name[1:].split("-", 1)[0]


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    prepared(root)
    entry = WaveformCache(root).path_for(OLD)
    good = entry.read_bytes()
    (outside / entry.name).write_bytes(good)
    cache = WaveformCache(root)
    # An entry that is a link is a miss and goes; what it leads to stays.
    entry.unlink()
    entry.symlink_to(outside / entry.name)
    assert cache.verify().faults[0].reason == "not a regular file"
    assert cache.get(OLD) is None
    assert not entry.is_symlink()
    # Through a folder that is a link nothing is written, removed or counted.
    shutil.rmtree(root / "00")
    (root / "00").symlink_to(outside, target_is_directory=True)
    (outside / entry.name).write_bytes(b"rubbish")
    assert cache.get(OLD) is None
    with pytest.warns(RuntimeWarning, match="link"):
        assert cache.put(OLD, np.ones(3, np.float32)) is None
    cache.prune(1)
    cache.clear()
    assert cache.verify().entries == 0
    assert [path.name for path in outside.iterdir()] == [entry.name]
    # The root itself may be one.
    linked = WaveformCache(tmp_path / "linked")
    linked.root.symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "real").mkdir()
    assert linked.put(OLD, np.ones(3, np.float32)) is not None
    assert WaveformCache(tmp_path / "real").get(OLD) is not None

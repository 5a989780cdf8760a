"""Shards: raw samples, members by key, opening, decoded batches and memory, against the peers."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Annotated, TypeAlias

import harness
import numpy as np
import peers_shard_batch
import spdl.io
import typer
import webdataset
from lhotse.shar.readers.tar import iterate_tarfile_pairwise
from rich.console import Console
from rich.progress import track
from webdataset import tariterators

import ossicle
from ossicle.shard import index_path

# Bytes, or a view of them.
Payload: TypeAlias = bytes | memoryview
Touch: TypeAlias = Callable[[Payload], object]
# path of a shard -> the payloads in it
Reader: TypeAlias = Callable[[str], Iterable[Payload]]

PACKAGES = (
    "ossicle", "numpy", "webdataset", "lhotse", "spdl-io", "spdl-core", "soundfile", "soxr",
    "torch", "torchcodec", "imageio-ffmpeg",
)  # fmt: skip
METHOD = """\
Shards in the page cache, of members of random bytes, one member a sample; one processor, garbage
collector off, contestants interleaved in an order shuffled for each round. Ratio: processor time of
the peer / ours, the median of the rounds' own ratios; above 1 we are faster. Milliseconds: our
fastest pass over all that the row names. handed out: the payload is given to the caller, who does
not look at it; a byte of each page, each byte: he reads so much of it (a strided copy; NumPy's
maximum), which is where views of a map pay for their page faults. opened before: the shard is open
already, for tarfile its headers are read; streams have nothing to open before. by its index: ours
opens by the index that lies beside the shard, as `ShardWriter` leaves it. Everyone's payloads
are compared with ours first. By key: 1,000 keys in random order out of a shard that is open, for
tarfile from a dict of its headers, for dict + pread from a dict of offsets. Decoded: shards of
clips of 5 to 15 s to padded arrays (16, T) of mono at 16 kHz, opening included, two threads or two
worker processes each (the better of both), all processors; wall: by the clock on the wall, which
other processes spoil; CPU: processor time of all threads and workers.""".replace("\n", " ")
KEYS, PAGE, MIB = 1000, 4096, 1 << 20
OPEN, INDEXED = ", opened before", ", by its index"
# Name, members, bytes of each.
SIZES = (("300 KB", 2_000, 300_000), ("3 KB", 10_000, 3_000))
# A shard of 10 GiB.
_INDEXED_MEMBERS, _INDEXED_BYTES = 35_000, 306_000
_LARGE_MEMBERS = 14_000  # 4 GiB of them
_MEMORY = """
import sys
import numpy as np
from ossicle import Shard

def resident():
    lines = [line.split() for line in open("/proc/self/status")]
    return {line[0]: int(line[1]) for line in lines if line[0] in ("RssAnon:", "RssFile:")}

shard = Shard(sys.argv[1], access=sys.argv[2])
before, most = resident(), {}
for number, sample in enumerate(shard):
    np.frombuffer(sample["bin"], np.uint8).max()
    if number % 16 == 0:
        most = {name: max(size, most.get(name, 0)) for name, size in resident().items()}
print(*(most[name] - before[name] for name in ("RssAnon:", "RssFile:")))
"""


def ours(path: str) -> Iterable[Payload]:
    return map(itemgetter("bin"), ossicle.Shard(path))


def with_webdataset(path: str) -> Iterable[Payload]:
    return map(itemgetter("bin"), webdataset.WebDataset(path, shardshuffle=False))


def with_tariterators(path: str) -> Iterable[Payload]:
    with Path(path).open("rb") as stream:
        files = tariterators.tar_file_expander([{"url": path, "stream": stream}])
        yield from map(itemgetter("bin"), tariterators.group_by_keys(files))


def with_tarfile_stream(path: str) -> Iterable[Payload]:
    with tarfile.open(path, "r|") as tar:
        for member in tar:
            yield tar.extractfile(member).read()
            tar.members = []  # else it keeps all headers


def with_tarfile(path: str) -> Iterable[Payload]:
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            yield tar.extractfile(member).read()


def with_lhotse(path: str) -> Iterable[Payload]:
    """The reader below its `TarIterator`, which needs manifests beside the payloads."""
    with tarfile.open(path, "r|*") as tar:
        for (one, _), (other, _) in iterate_tarfile_pairwise(tar):
            yield one
            yield other


def with_spdl(path: str) -> Iterable[Payload]:
    with Path(path).open("rb") as stream:
        yield from map(itemgetter(1), spdl.io.iter_tarfile(stream))


READERS: dict[str, Reader] = {
    "webdataset": with_webdataset,
    "tariterators": with_tariterators,
    "tarfile stream": with_tarfile_stream,
    "tarfile": with_tarfile,
    "lhotse": with_lhotse,
    "SPDL": with_spdl,
}
PEERS = [*READERS, "dict + pread", *peers_shard_batch.PEERS]


def _a_byte_of_each_page(payload: Payload) -> object:
    return bytes(payload[::PAGE])


def _each_byte(payload: Payload) -> object:
    return np.frombuffer(payload, np.uint8).max()


TOUCHES: dict[str, Touch | None] = {
    "handed out": None,
    "a byte of each page": _a_byte_of_each_page,
    "each byte": _each_byte,
}


def _consume(payloads: Iterable[Payload], touch: Touch | None) -> None:
    deque(payloads if touch is None else map(touch, payloads), maxlen=0)


def _read(reader: Reader, path: str, touch: Touch | None) -> None:
    _consume(reader(path), touch)


def write_shard(path: Path, members: int, size: int, *, sparse: bool = False) -> Path:
    """A shard of `members` files of `size` random bytes each, or of holes."""
    noise = b"" if sparse else np.random.default_rng(6).bytes(size + members)
    with path.open("wb") as file:
        for number in range(members):
            header = tarfile.TarInfo(f"folder/{number:07}.bin")
            header.size = size
            file.write(header.tobuf(tarfile.USTAR_FORMAT))
            end = file.tell() + -(-size // 512) * 512
            if not sparse:
                file.write(noise[number : number + size])
            file.seek(end)
        file.write(bytes(1024))
    return path


def digest(payloads: Iterable[Payload]) -> tuple[int, int]:
    """How many, and a checksum over all of them."""
    count = checksum = 0
    for payload in payloads:
        count, checksum = count + 1, zlib.crc32(payload, checksum)
    return count, checksum


def measure(
    name: str, contestants: dict[str, Callable[[], object]], missing: dict[str, str], rounds: int
) -> harness.Row:
    racing = {peer: work for peer, work in contestants.items() if peer not in missing}
    return harness.race(harness.Row(name, missing=missing), racing, rounds)


def objections(path: str) -> dict[str, str]:
    """Who does not give what we give."""
    expected, found = digest(ours(path)), {}
    for name, reader in READERS.items():
        try:
            if digest(reader(path)) != expected:
                found[name] = "gives other payloads"
        except Exception as error:  # a peer may fail with anything: that is its note
            found[name] = harness.reason(error)
    return found


def reading_rows(
    folder: Path, sizes: Sequence[tuple[str, int, int]], rounds: int
) -> list[harness.Row]:
    rows = []
    for kind, members, size in sizes:
        path = str(write_shard(folder / "read.tar", members, size))
        missing = objections(path)
        jobs = [(touch, state) for state in ("", OPEN, INDEXED) for touch in TOUCHES]
        for touch, state in track(jobs, kind, transient=True):
            name = f"{members:,} of {kind}, {touch}{state}"
            readers = {harness.OURS: ours, **READERS}
            if state == OPEN:
                readers |= opened(path)
            if state == INDEXED:
                ossicle.index_shards([path])
            contestants = {
                peer: partial(_read, reader, path, TOUCHES[touch])
                for peer, reader in readers.items()
            }
            rows.append(measure(name, contestants, dict(missing), rounds))
        rows.append(opening_row(f"{members:,} of {kind}, opening{INDEXED}", path, missing, rounds))
        index_path(path).unlink()
        rows.append(opening_row(f"{members:,} of {kind}, opening", path, missing, rounds))
    return rows


def opened(path: str) -> dict[str, Reader]:
    """Readers of a shard that is open; streams have no such thing."""
    shard, tar = ossicle.Shard(path), tarfile.open(path, "r:")  # noqa: SIM115
    files = tar.getmembers()
    return {
        harness.OURS: lambda _: map(itemgetter("bin"), shard),
        "tarfile": lambda _: (tar.extractfile(file).read() for file in files),
    }


def opening_row(name: str, path: str, missing: dict[str, str], rounds: int) -> harness.Row:
    """What stands between a path and the first member by key."""

    def headers() -> None:
        with tarfile.open(path, "r:") as tar:
            tar.getmembers()

    contestants: dict[str, Callable[[], object]] = {
        harness.OURS: lambda: ossicle.Shard(path),
        "tarfile": headers,
        # It has no other way to know what is in there.
        "webdataset": partial(_read, with_webdataset, path, None),
    }
    return measure(name, contestants, dict(missing), rounds)


def _by_key(get: Callable[[str], Payload], keys: Sequence[str]) -> None:
    for key in keys:
        _each_byte(get(key))


def key_rows(folder: Path, counts: Sequence[int], rounds: int) -> list[harness.Row]:
    """A thousand members of 3 KB by their keys, out of shards of several lengths."""
    rows = []
    for count in track(counts, "by key", transient=True):
        path = str(write_shard(folder / "keys.tar", count, 3_000))
        getters = dict(_getters(path))
        shard = ossicle.Shard(path)
        keys = random.Random(0).sample(shard.keys(), KEYS)
        for key in keys[:10]:
            assert len({bytes(get(key)) for get in getters.values()}) == 1, key
        contestants = {peer: partial(_by_key, get, keys) for peer, get in getters.items()}
        rows.append(measure(f"{KEYS:,} by key out of {count:,} of 3 KB", contestants, {}, rounds))
    return rows


def _getters(path: str) -> Iterator[tuple[str, Callable[[str], Payload]]]:
    shard, tar = ossicle.Shard(path), tarfile.open(path, "r:")  # noqa: SIM115
    yield harness.OURS, lambda key: shard[key]["bin"]
    files = {file.name.removesuffix(".bin"): file for file in tar}
    yield "tarfile", lambda key: tar.extractfile(files[key]).read()
    places = {key: (file.size, file.offset_data) for key, file in files.items()}
    descriptor = tar.fileobj.fileno()
    yield "dict + pread", lambda key: os.pread(descriptor, *places[key])


def indexed_row(folder: Path, members: int, rounds: int) -> harness.Row:
    """Opening a shard of 10 GiB with its index beside it."""
    path = write_shard(folder / "indexed.tar", members, _INDEXED_BYTES, sparse=True)
    ossicle.index_shards([path])
    name = f"opening {path.stat().st_size / (1 << 30):.3g} GiB of {members:,}, indexed"
    contestants: dict[str, Callable[[], object]] = {harness.OURS: lambda: ossicle.Shard(path)}
    row = measure(name, contestants, {}, rounds)
    path.unlink()
    return row


def memory(folder: Path, members: int) -> dict[str, str]:
    """The most that a process held which read each byte of a shard, beside what it held before."""
    path = write_shard(folder / "large.tar", members, 306_000, sparse=True)
    facts = {}
    for access in ("mmap", "pread"):
        command = [sys.executable, "-c", _MEMORY, str(path), access]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        anonymous, mapped = (int(size) / 1024 for size in run.stdout.split())
        name = f"memory while {path.stat().st_size / (1 << 30):.3g} GiB are read, {access}"
        facts[name] = f"{anonymous:.0f} MiB of its own, {mapped:.0f} MiB mapped from the page cache"
    path.unlink()
    return facts


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 15,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small shards, 3 rounds, no record: does it work?")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
    folder: Annotated[
        Path | None, typer.Option(help="Where shards are written for a while: 2 GB.")
    ] = None,
) -> None:
    """Shards: ours against webdataset, tarfile, lhotse and SPDL, raw and decoded."""
    console = Console(width=None if sys.stdout.isatty() else 190)
    rounds, part = (3, 10) if quick else (rounds, 1)
    sizes = [(kind, members // part, size) for kind, members, size in SIZES]
    facts = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        place = Path(scratch)
        decoded = peers_shard_batch.rows(place, rounds, quick=quick, facts=facts)
        rows = reading_rows(place, sizes, rounds)
        rows += key_rows(place, (1_000, 100_000 // part), rounds)
        rows.append(indexed_row(place, _INDEXED_MEMBERS // part, rounds))
        if sys.platform == "linux":
            facts["memory"] = memory(place, _LARGE_MEMBERS // part)
        rows += decoded
    harness.show("shard", rows, PEERS, console)
    _show_facts(facts, console)
    if write and not quick:
        for file in harness.record("shard", rows, PEERS, facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")


def _show_facts(facts: dict[str, object], console: Console) -> None:
    for name, fact in facts.items():
        if name not in ("machine", "versions"):
            for one, value in fact.items() if isinstance(fact, dict) else [(name, fact)]:
                console.print(f"- {one}: {value}", style="dim", markup=False, highlight=False)

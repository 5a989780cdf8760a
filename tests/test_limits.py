"""Files that promise more than memory holds, and paths that are no files: typed errors."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import containers
import pytest
from mp4_boxes import box

import ossicle

ROOM_BYTES = 192 << 20
BLOCK = 65_535
# Runs in a process that may have so much address space more than it has after a first call; prints
# what becomes of each file, and of all of them in one batch.
CHILD = """
import json, pathlib, resource, sys
import numpy as np
import ossicle
from ossicle.data.npz import read_npz

good, room = sys.argv[1], int(sys.argv[2])
ossicle.load_batch([good] * 4, threads=2)
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
size = pages * resource.getpagesize() + room
resource.setrlimit(resource.RLIMIT_AS, (size, size))

def outcome(call):
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None

paths = sys.argv[3:]
audio = [path for path in paths if not path.endswith((".tar", ".npz"))]
results = {}
for path in audio:
    for mono in (True, False):
        for call in (ossicle.load, ossicle.load_concealed):
            load = lambda: call(path, mono=mono)
            results[f"{path} {mono} {call.__name__}"] = outcome(load)
    results[f"{path} stream"] = outcome(lambda: ossicle.load(open(path, "rb"), 16_000))
    features = lambda: ossicle.load_features([path], pad_to_seconds=None)
    results[f"{path} features"] = outcome(features)
for path in paths:
    if path.endswith(".tar"):
        shard = ossicle.Shard(path)
        results[f"{path} member"] = outcome(lambda: shard.load("a", 16_000))
    if path.endswith(".npz"):
        results[f"{path} npz"] = outcome(lambda: read_npz(path))
batch = ossicle.load_batch([good, *audio, good], on_error="collect", threads=2)
results["batch"] = [[type(error).__name__, str(error)] if error else None for error in batch.errors]
results["lengths"] = batch.lengths.tolist()
print(json.dumps(results))
"""


def crc(data: bytes, bits: int, polynomial: int) -> int:
    """Of FLAC: the highest bit first, from zero."""
    top, value = 1 << (bits - 1), 0
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value & top else 0)
        value &= (1 << bits) - 1
    return value


def constant_flac(blocks: int, channels: int) -> bytes:
    """Blocks of one sample that repeats: RFC 9639, section 9.2.3."""
    total = blocks * BLOCK
    facts = 16_000 << 44 | (channels - 1) << 41 | 15 << 36 | total
    head = struct.pack(">HH6xQ16x", BLOCK, BLOCK, facts)
    frames = []
    for number in range(blocks):
        coded = chr(number).encode("utf-8", "surrogatepass")
        frame = bytes([0xFF, 0xF8, 0x70, (channels - 1) << 4 | 8, *coded])
        frame += struct.pack(">H", BLOCK - 1)
        frame += bytes([crc(frame, 8, 0x07)]) + b"\0\x12\x34" * channels
        frames.append(frame + struct.pack(">H", crc(frame, 16, 0x8005)))
    return b"fLaC\x80\0\0\x22" + head + b"".join(frames)


def mov(channels: int, frames: int) -> bytes:
    """QuickTime of 16 bits a sample, all of it one chunk."""
    data = bytes(2 * channels * frames)
    entry = struct.pack(">6xH8xHHHHI", 1, channels, 16, 0, 0, 16_000 << 16)
    kind = box(b"ftyp", b"qt  \0\0\0\0qt  ")
    table = box(
        b"stbl",
        box(b"stsd", struct.pack(">II", 0, 1), box(b"sowt", entry)),
        box(b"stts", struct.pack(">IIII", 0, 1, frames, 1)),
        box(b"stsc", struct.pack(">IIIII", 0, 1, 1, frames, 1)),
        box(b"stsz", struct.pack(">III", 0, 2 * channels, frames)),
        box(b"stco", struct.pack(">III", 0, 1, len(kind) + 8)),
    )
    media = box(
        b"mdia",
        box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, 16_000, frames, 0, 0)),
        box(b"hdlr", struct.pack(">II4s12x", 0, 0, b"soun"), b"\0"),
        box(b"minf", table),
    )
    return kind + box(b"mdat", data) + box(b"moov", box(b"trak", media))


def npz(shape: tuple[int, ...], data: bytes, declared: int | None = None) -> bytes:
    """An archive of one array, deflated."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(11 + len(text)) % 64) + "\n"
    array = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + data
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(array) + packer.flush()
    size = len(array) if declared is None else declared
    facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, zlib.crc32(array), len(packed), size, 5, 0)
    local = b"PK\3\4" + facts + b"a.npy" + packed
    central = b"PK\1\2\x14\0" + facts + bytes(14) + b"a.npy"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + end


def hostile_files(folder: Path) -> dict[str, Path]:
    files = {
        # 250 MB of samples in 5 KB; 31 MB as mono, which there is room for.
        "wide.flac": constant_flac(120, 8),
        # 236 MB as mono.
        "long.flac": constant_flac(900, 1),
        # 33 GB at 16 kHz.
        "one.wav": containers.wav(bytes(1 << 20), 1, 1, 16, rate=1),
        # 335 MB at 16 kHz.
        "slow.wav": containers.wav(bytes(1 << 20), 1, 1, 16, rate=100),
        "channels.mov": mov(49_795, 1),
        "npz.npz": npz((1 << 26,), bytes(256 << 20)),
    }
    paths = {}
    for name, data in files.items():
        paths[name] = folder / name
        paths[name].write_bytes(data)
    paths["shard.tar"] = folder / "shard.tar"
    with ossicle.ShardWriter(paths["shard.tar"]) as writer:
        writer.write({"__key__": "a", "flac": files["long.flac"]})
    return paths


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS bounds memory on Linux")
def test_what_memory_cannot_hold_is_an_error_of_that_file(tmp_path: Path) -> None:
    files = hostile_files(tmp_path)
    good = tmp_path / "good.wav"
    good.write_bytes(containers.wav(bytes(range(256)) * 125, 1, 1, 16))
    arguments = [sys.executable, "-c", CHILD, str(good), str(ROOM_BYTES), *map(str, files.values())]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    results: dict[str, Any] = json.loads(done.stdout)
    batch = dict(zip(["good", *files, "again"], results.pop("batch"), strict=False))
    lengths = results.pop("lengths")

    def told(name: str, how: str) -> Any:
        return results[f"{files[name]} {how}"]

    for name in ("wide.flac", "long.flac"):
        for how in ("False load", "False load_concealed"):
            kind, text = told(name, how)
            assert (kind, str(files[name]) in text) == ("AudioLimitError", True), text
    for name in ("long.flac", "one.wav", "slow.wav"):
        assert told(name, "stream")[0] == "AudioLimitError"
        assert told(name, "features")[0] == "AudioLimitError"
        assert batch[name][0] == "AudioLimitError"
        assert str(files[name]) in batch[name][1]
    # Nothing is resampled here.
    assert told("one.wav", "True load") is None
    assert told("channels.mov", "False load")[0] == "UnsupportedFormatError"
    assert told("shard.tar", "member")[0] == "AudioLimitError"
    assert "[a.flac]" in told("shard.tar", "member")[1]
    assert told("npz.npz", "npz")[0] == "MetadataError"
    assert batch["good"] is None
    assert lengths[0] == lengths[-1] == 16_000
    assert results
    failures = [result[0] for result in results.values() if result is not None]
    assert "MemoryError" not in failures


def test_an_archive_whose_member_lies_about_its_size_is_not_inflated(tmp_path: Path) -> None:
    from ossicle.data.errors import MetadataError
    from ossicle.data.npz import read_npz

    path = tmp_path / "a.npz"
    path.write_bytes(npz((4,), bytes(16)))
    assert read_npz(path)["a"].shape == (4,)
    path.write_bytes(npz((4,), bytes(16), declared=1 << 31))
    with pytest.raises(MetadataError, match="size"):
        read_npz(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_path_that_is_no_file_is_an_error_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/null")):
        for call in (ossicle.info, ossicle.load, lambda path: ossicle.load_batch([path])):
            with pytest.raises(ossicle.AudioIOError, match="not a regular file") as caught:
                call(path)
            assert str(path) in str(caught.value)


# Each begins with a tag that reaches to the end, as a download that broke off in the cover does, or
# ends in one.
CUT = {
    "id3 alone": b"ID3\3\0\0\0\0\1\x3a\0",
    "id3 cut": b"ID3\3\0\0\0\0\1\x3a" + bytes(300),
    "id3 to the end": b"ID3\4\0\0\0\0\1\0" + bytes(128),
    "two": b"ID3\3\0\0\0\0\0\0" * 2 + b"ID3\3\0\0\0\0\1\x3a\0",
    "ape": b"APETAGEX" + struct.pack("<IIII8x", 2_000, 300, 1, 0xA000_0000),
    "adts behind": b"ID3\3\0\0\0\0\0\5hello\xff\xf1\x50\x80",
    "flac behind": b"ID3\3\0\0\0\0\1\x3afLaC\0\0\0\x22",
    "flac tag": b"fLaC\x84\xff\xff\xff" + bytes(100),
    "mp3 in wav": containers.wav(b"", 0x55, 2, 0, rate=44_100, block=1, extension=bytes(14)),
    "mp3 in wav cut": containers.wav(b"", 0x55, 2, 0, block=1, extension=bytes(14), size=1 << 20),
    "ogg": b"OggS" + bytes(40),
    "mkv": b"\x1aE\xdf\xa3\x01" + b"\xff" * 40,
}


@pytest.mark.parametrize("name", CUT)
def test_a_file_that_ends_in_its_tags_is_an_error_by_every_way_in(
    name: str, tmp_path: Path
) -> None:
    data = CUT[name]
    path = tmp_path / "a.mp3"
    path.write_bytes(data)
    shard = tmp_path / "shard.tar"
    with ossicle.ShardWriter(shard) as writer:
        writer.write({"__key__": "a", "mp3": data})
    sources: list[Any] = [data, path, io.BytesIO(data), ossicle.Shard(shard).member(0)]
    kinds = set()
    for call in (ossicle.info, ossicle.load):
        told = set()
        for source in sources:
            with pytest.raises(ossicle.AudioError) as caught:
                call(source)
            told.add((type(caught.value), caught.value.reason))
            sources[2].seek(0)
        assert len(told) == 1
        kinds |= {kind for kind, _ in told}
    batch = ossicle.load_batch(sources, on_error="collect")
    assert {type(error) for error in batch.errors} <= kinds
    found = ossicle.verify_shards(shard, decode=True)
    assert found.height == 1
    lengths = ossicle.audio_lengths([str(path)], on_error="collect")
    assert type(lengths.errors[0]) in kinds

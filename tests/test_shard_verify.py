"""What is damaged in shards is found and named; a repaired one holds what is whole, to the bit."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import oracle
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import ossicle
from ossicle.cli import app
from ossicle.shard import (
    Shard,
    index_path,
    index_shards,
    repair_shard,
    shard_remarks,
    verify_shards,
)

COLUMNS = ["shard", "member", "byte_offset", "error", "reason"]


def pack(path: Path, members: dict[str, bytes]) -> Path:
    """By the standard library: nothing of ours writes what is damaged here."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, payload in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))
    return path


def members(count: int = 6) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for number in range(count):
        waveform = oracle.signal(16_000, 1, 2_000 + 100 * number)
        found[f"folder/{number:03}.wav"] = oracle.wav_bytes(waveform, 16_000)
        found[f"folder/{number:03}.json"] = json.dumps({"text": f"clip {number}"}).encode()
    return found


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = pack(tmp_path / "train.tar", members())
    index_shards([path])
    return path


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    stat = path.stat()
    path.write_bytes(data)
    # As a disk damages it: nobody has written to the file.
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def place(path: Path, name: str) -> int:
    with tarfile.open(path) as archive:
        return archive.getmember(name).offset_data


def test_whole_shards_have_no_rows(shard: Path, tmp_path: Path) -> None:
    other = pack(tmp_path / "without_index.tar", members(2))
    found = verify_shards([shard, other])
    assert found.columns == COLUMNS
    assert found.is_empty()
    assert verify_shards(shard, decode=True).is_empty()
    assert Shard(shard).verify() == []


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flip_in_any_payload_is_found_and_named(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = members(3)
    path = pack(tmp_path_factory.mktemp("flip") / "train.tar", content)
    index_shards([path])
    name = data.draw(st.sampled_from(list(content)))
    start = place(path, name)
    at = data.draw(st.integers(start, start + len(content[name]) - 1))
    flip(path, at)
    (row,) = verify_shards(path).iter_rows(named=True)
    assert (row["shard"], row["member"]) == (str(path), name)
    assert row["byte_offset"] == start
    assert row["error"] == "CorruptAudioError"
    assert "SHA-256" in row["reason"]
    # Headers are whole: opening by the index cannot see it, verifying the open shard does.
    assert [error.member for error in Shard(path).verify()] == [name]


def contents(path: Path) -> dict[str, bytes]:
    return {
        f"{sample['__key__']}.{extension}": bytes(view)
        for sample in Shard(path)
        for extension, view in sample.items()
        if extension != "__key__"
    }


def test_with_an_index_repair_loses_the_damaged_samples_alone(shard: Path, tmp_path: Path) -> None:
    before = members()
    payload, header = "folder/001.json", "folder/003.wav"
    flip(shard, place(shard, payload))
    flip(shard, place(shard, header) - 512 + 3)
    damaged = shard.read_bytes()
    assert set(verify_shards(shard)["member"].drop_nulls()) == {payload, header}

    new = tmp_path / "repaired.tar"
    done = repair_shard(shard, new)
    assert shard.read_bytes() == damaged
    # The payload behind the damaged header is known by its digest.
    kept = {name: data for name, data in before.items() if not name.startswith("folder/001")}
    assert contents(new) == kept
    assert (done.path, done.samples, done.members) == (new, 5, 10)
    assert done.bytes == new.stat().st_size
    assert {error.member for error in done.errors} == {None, payload, "folder/001.wav", header}
    assert verify_shards(new).is_empty()


def test_without_an_index_repair_keeps_what_headers_lead_to(tmp_path: Path) -> None:
    before = members()
    path = pack(tmp_path / "train.tar", before)
    flip(path, place(path, "folder/003.wav") - 512 + 3)
    done = repair_shard(path, tmp_path / "new.tar")
    del before["folder/003.wav"]
    assert contents(tmp_path / "new.tar") == before
    assert [error.byte_offset is not None for error in done.errors] == [True]


def test_with_decode_what_was_packed_damaged_is_found(tmp_path: Path) -> None:
    content = members(2)
    content["folder/002.wav"] = content["folder/001.wav"][:60]
    path = pack(tmp_path / "train.tar", content)
    assert verify_shards(path).is_empty()
    assert verify_shards(path, decode=True)["member"].to_list() == ["folder/002.wav"]
    done = repair_shard(path, tmp_path / "new.tar", decode=True)
    assert done.samples == 2
    assert [error.member for error in done.errors] == ["folder/002.wav"]


def test_a_cut_shard_and_one_that_is_none(shard: Path, tmp_path: Path) -> None:
    data = shard.read_bytes()
    stat = shard.stat()
    shard.write_bytes(data[: len(data) // 2])
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    missing = tmp_path / "missing.tar"
    found = verify_shards([shard, missing])
    assert set(found["shard"]) == {str(shard), str(missing)}
    assert found.filter(pl.col("shard") == str(missing))["error"].to_list() == [
        "AudioFileNotFoundError"
    ]
    done = repair_shard(shard, tmp_path / "new.tar")
    before = members()
    kept = contents(tmp_path / "new.tar")
    assert kept
    assert all(before[name] == payload for name, payload in kept.items())
    (tmp_path / "none.tar").write_bytes(b"no tar" * 1_000)
    done = repair_shard(tmp_path / "none.tar", tmp_path / "nothing.tar")
    assert (done.path, done.samples, done.members) == (None, 0, 0)
    assert done.errors
    assert not (tmp_path / "nothing.tar").exists()


def test_a_repair_never_changes_a_shard_in_place(shard: Path, tmp_path: Path) -> None:
    with pytest.raises(ossicle.InvalidArgumentError, match="choose another output"):
        repair_shard(shard, shard, overwrite=True)
    with pytest.raises(ossicle.AudioIOError):
        repair_shard(shard, pack(tmp_path / "there.tar", members(1)))
    with pytest.raises(ossicle.AudioFileNotFoundError):
        repair_shard(tmp_path / "missing.tar", tmp_path / "new.tar")


def test_progress_counts_the_bytes_and_can_stop_the_work(shard: Path) -> None:
    other = shard.with_name("other.tar")
    other.write_bytes(shard.read_bytes())
    seen: list[tuple[int, int]] = []
    verify_shards([shard, other], progress=lambda done, total: seen.append((done, total)))
    total = 2 * shard.stat().st_size
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_shards(shard, progress=stop)


def test_the_command_line(shard: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    result = run(app, ["verify", str(shard)])
    assert (result.exit_code, result.stdout) == (0, "1 of 1 shards are whole\n")
    flip(shard, place(shard, "folder/001.json"))
    result = run(app, ["verify", "--json", str(shard)])
    assert result.exit_code == 1
    (row,) = map(json.loads, result.stdout.splitlines())
    assert list(row) == COLUMNS
    assert row["member"] == "folder/001.json"
    new, lost = tmp_path / "new.tar", tmp_path / "lost.jsonl"
    result = run(app, ["repair", str(shard), str(new), "--lost", str(lost)])
    assert result.exit_code == 1
    assert "5 samples, 10 members" in result.stdout
    assert [json.loads(line)["member"] for line in lost.read_text().splitlines()] == [
        "folder/001.json",
        "folder/001.wav",
    ]
    assert run(app, ["verify", str(new)]).exit_code == 0


def stale(path: Path, new: dict[str, bytes], *, same_time: bool = False) -> Path:
    """Other members in the shard, and the index that it had before."""
    before = path.stat()
    pack(path, new)
    if same_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return path


def other_payloads() -> dict[str, bytes]:
    """Names and sizes as of `members`: only the digests are others."""
    return {name: data[:-1] + bytes([data[-1] ^ 1]) for name, data in members().items()}


@pytest.mark.parametrize(
    "new",
    [
        dict(list(members(9).items())[6:]),
        members(9),
        dict(list(members().items())[:6]),
        {f"other/{name}": data for name, data in members().items()},
        dict(reversed(members().items())),
        other_payloads(),
    ],
    ids=["others", "more", "fewer", "renamed", "reversed", "recorded anew"],
)
def test_the_index_of_another_shard_is_one_fault_and_costs_nothing(
    new: dict[str, bytes], shard: Path, tmp_path: Path
) -> None:
    stale(shard, new)
    (row,) = verify_shards(shard).iter_rows(named=True)
    assert (row["error"], row["reason"]) == (
        "CorruptAudioError",
        "the index belongs to another shard",
    )
    done = repair_shard(shard, tmp_path / "new.tar")
    assert contents(tmp_path / "new.tar") == new == contents(shard)
    assert [error.reason for error in done.errors] == ["the index belongs to another shard"]
    # A header that is damaged, too, costs its own sample.
    flip(shard, place(shard, next(iter(new))) - 512 + 3)
    done = repair_shard(shard, tmp_path / "again.tar")
    assert done.members >= len(new) - 2


def test_a_new_shard_never_has_an_old_index(tmp_path: Path) -> None:
    path = tmp_path / "train.tar"

    def write(keys: list[str], **options: bool) -> None:
        with ossicle.ShardWriter(path, overwrite=True, **options) as writer:
            for key in keys:
                writer.write({"__key__": key, "txt": key})

    write(["a", "b"])
    assert index_path(path).exists()
    write(["c", "d", "e"], index=False)
    assert not index_path(path).exists()
    assert Shard(path).keys() == ["c", "d", "e"]
    # An index whose shard is gone belongs to no new one.
    index_shards(path)
    path.unlink()
    with ossicle.ShardWriter(path, index=False) as writer:
        writer.write({"__key__": "f", "txt": "f"})
    assert not index_path(path).exists()
    assert verify_shards(path).is_empty()


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace here")
@pytest.mark.parametrize("when", [1, 2])
def test_a_kill_between_shard_and_index_leaves_no_wrong_index(when: int, tmp_path: Path) -> None:
    path = tmp_path / "train.tar"
    script = """
import sys, ossicle
with ossicle.ShardWriter(sys.argv[1], overwrite=True) as writer:
    for key in sys.argv[2]:
        writer.write({"__key__": key, "txt": key})
"""
    command = [sys.executable, "-c", script, str(path)]
    subprocess.run([*command, "ab"], check=True)
    trace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=/rename"]
    kill = ["-e", f"inject=/rename:signal=SIGKILL:when={when}"]
    done = subprocess.run([*trace, *kill, *command, "cde"], check=False, capture_output=True)
    if b"ptrace" in done.stderr:
        pytest.skip("strace may not trace")
    assert done.returncode != 0
    # Killed before the shard has its name, or before its index has.
    left = ["a", "b"] if when == 1 else ["c", "d", "e"]
    assert Shard(path).keys() == left
    assert verify_shards(path).is_empty()
    assert repair_shard(path, tmp_path / "new.tar").samples == len(left)


def test_what_no_reader_gives_out_is_a_fault_and_its_sample_stays(tmp_path: Path) -> None:
    path = pack(tmp_path / "odd.tar", {"x.wav": members()["folder/000.wav"], "x.__key__": b"y"})
    with pytest.raises(ossicle.UnsupportedFormatError, match="__key__"):
        Shard(path)
    (row,) = verify_shards(path).iter_rows(named=True)
    assert (row["member"], row["error"]) == ("x.__key__", "UnsupportedFormatError")
    assert repair_shard(path, tmp_path / "new.tar").samples == 1
    assert list(contents(tmp_path / "new.tar")) == ["x.wav"]


def test_remarks_are_no_faults(tmp_path: Path) -> None:
    sound = members()["folder/000.wav"]
    # As streaming writers leave it: the size of the data is not known.
    at = sound.index(b"data") + 4
    careless = sound[:4] + b"\xff" * 4 + sound[8:at] + b"\xff" * 4 + sound[at + 4 :]
    assert ossicle.info(careless).remarks
    path = pack(tmp_path / "odd.tar", {"a\tb.wav": careless, "c.wav": sound, "d.txt": b"d"})
    frame = index_shards(path)
    # With the byte of the shard.
    remarks = ossicle.info(Shard(path).member("a\tb")).remarks
    assert frame["remarks"].to_list() == ["\n".join(remarks), None, None]
    assert verify_shards(path, decode=True).is_empty()
    told = [("a\tb.wav", text) for text in remarks]
    told.append(("a\tb.wav", "the member's name has control characters in it"))
    assert [one[1:] for one in shard_remarks(path)] == told
    assert repair_shard(path, tmp_path / "new.tar").samples == 3
    result = CliRunner().invoke(app, ["verify", "--decode", str(path)])
    assert (result.exit_code, result.stdout.count("1 of 1 shards are whole")) == (0, 1)
    assert "remark:" in result.stderr

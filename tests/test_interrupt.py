"""Ctrl-C ends work at once, also in a process's first call, and nothing half is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

# Long after which a process that goes on is not waited for any more; no test needs as much.
WATCHDOG_SECONDS = 60
# Processor time of the process after which it is in the work, which takes a hundred times as long.
IN_THE_WORK_SECONDS = 0.2

PRELUDE = """
import mmap
from pathlib import Path
import numpy as np
import ossicle

def begun():
    print("begun", flush=True)

def key(number):
    return ossicle.WaveformCacheKey(f"{number:064x}", 16_000, 30_000)
"""

# MPEG-1 layer III, 32 kbit/s, 44.1 kHz, mono, nothing in its granules: 26 ms of silence.
SILENT_FRAME = bytes.fromhex("fffb10c4") + bytes(100)
MP3_FRAMES = 1_000_000
# AAC LC, 44.1 kHz, mono, no bands: 23 ms of silence. No header counts such frames, and reading the
# headers of a million takes 50 ms.
SILENT_ADTS_FRAME = bytes.fromhex("fff15040017ffc00000007")

COMMANDS = {
    "decode": ("decode", "long.mp3", "new/long.wav"),
    "features": ("features", "long.mp3", "--unpadded", "--out", "new/features"),
    "shard": ("shard", "long.jsonl", "new/packed.tar"),
    "verify": ("verify", "huge.tar"),
}

CALLS = {
    "load": "begun(); ossicle.load('long.mp3')",
    "load, of memory": "data = Path('long.mp3').read_bytes(); begun(); ossicle.load(data, 16_000)",
    "load, of a file object": "begun(); ossicle.load(open('long.mp3', 'rb'))",
    "load, concealed": "begun(); ossicle.load_concealed('long.mp3')",
    "load_batch": ("begun(); ossicle.load_batch(['long.mp3'] * 6, threads=2, on_error='collect')"),
    "info": "begun(); ossicle.info('years.aac')",
    "info, of memory": """
file = open("years.aac", "rb")
data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
begun()
ossicle.info(data)
""",
    "load_features": "begun(); ossicle.load_features(['long.mp3'], pad_to_seconds=None)",
    "log_mel_spectrogram": """
wave = np.zeros(1 << 28, np.float32)
wave[-1] = 1
begun()
ossicle.log_mel_spectrogram(wave, pad_to_seconds=None)
""",
    "resample": """
wave = np.zeros(1 << 29, np.float32)
begun()
ossicle.resample(wave, 48_000, 8_000, quality="best")
""",
    "resample, at odd rates": """
wave = np.zeros(1 << 29, np.float32)
begun()
ossicle.resample(wave, 44_101, 8_009, quality="best")
""",
    "index_shards": "begun(); ossicle.index_shards(['huge.tar'])",
    "verify_shards": "begun(); ossicle.verify_shards(['huge.tar'])",
    "repair_shard": "begun(); ossicle.repair_shard('huge.tar', 'new/repaired.tar')",
    "ShardWriter": """
file = open("huge.tar", "rb")
payload = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
with ossicle.ShardWriter("new/a.tar") as writer:
    writer.write({"__key__": "small", "bin": b"1"})
    begun()
    writer.write({"__key__": "large", "bin": payload})
""",
    "put_batch": """
cache = ossicle.WaveformCache("new/cache")
wave = np.zeros(1 << 22, np.float32)
items = [(key(number), wave) for number in range(2_000)]
begun()
cache.put_batch(items)
""",
    "get_batch": """
cache = ossicle.WaveformCache("cache")
cache.put(key(0), np.zeros(1 << 20, np.float32))
begun()
cache.get_batch([key(0)] * 5_000)
""",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hours of MP3, and a shard of 256 GiB that is one hole."""
    folder = tmp_path_factory.mktemp("interrupt")
    (folder / "long.mp3").write_bytes(SILENT_FRAME * MP3_FRAMES)
    with (folder / "years.aac").open("wb") as file:
        for _ in range(25):
            file.write(SILENT_ADTS_FRAME * 1_000_000)
    header = tarfile.TarInfo("huge.bin")
    header.size = 1 << 38
    with (folder / "huge.tar").open("wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + header.size + 10_240)
    (folder / "new").mkdir()
    rows = [{"id": f"{number}", "audio_path": "long.mp3", "text": ""} for number in range(99)]
    (folder / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def processor_seconds(process: int) -> float:
    """User and system time of all threads of a process so far."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def interrupt_in_the_work(
    command: list[str],
    folder: Path,
    number: int = signal.SIGINT,
    seconds: float = IN_THE_WORK_SECONDS,
) -> tuple[int, str, str]:
    """Starts it, lets it come into the work, sends the signal; what it said and how it ended."""
    done = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert done.stdout is not None
    assert done.stdout.readline() == "begun\n", done.communicate()[1]
    if Path("/proc/self/stat").exists():
        until = processor_seconds(done.pid) + seconds
        while done.poll() is None and processor_seconds(done.pid) < until:
            time.sleep(0.005)
    else:
        time.sleep(3 * seconds)
    done.send_signal(number)
    try:
        told, failed = done.communicate(timeout=WATCHDOG_SECONDS)
    except subprocess.TimeoutExpired:
        done.kill()
        done.communicate()
        raise
    return done.returncode, told, failed


@pytest.mark.sampled(one_in=4)
@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_ends_a_call(name: str, inputs: Path) -> None:
    code = PRELUDE + CALLS[name] + "\nprint('done', flush=True)\n"
    status, told, failed = interrupt_in_the_work([sys.executable, "-c", code], inputs)
    assert status == -signal.SIGINT, failed
    assert failed.splitlines()[-1] == "KeyboardInterrupt"
    assert "done" not in told
    assert "panicked" not in failed
    left = [path for path in (inputs / "new").rglob("*") if path.is_file()]
    assert [path for path in left if path.suffix != ".npz"] == []
    assert not (inputs / "huge.tar.index.parquet").exists()


@pytest.mark.sampled(one_in=4)
@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_ends_a_command(name: str, inputs: Path) -> None:
    # The command itself, in a process that tells when it begins.
    code = f"""
import sys
from ossicle.cli import main
sys.argv = ["ossicle", *{COMMANDS[name]!r}]
print("begun", flush=True)
main()
"""
    command = [sys.executable, "-c", code]
    # Reading the arguments takes part of the time.
    status, told, failed = interrupt_in_the_work(command, inputs, seconds=3 * IN_THE_WORK_SECONDS)
    # Progress bars end in an empty line where there is no terminal.
    assert (status, told, failed.strip()) == (130, "", "stopped by Ctrl-C")
    assert [
        path for path in (inputs / "new").rglob("*") if path.suffix != ".npz" and path.is_file()
    ] == []


def test_what_the_handler_of_a_signal_raises_is_raised(inputs: Path) -> None:
    code = f"""{PRELUDE}
import signal
class Enough(Exception):
    pass
def enough(number, frame):
    raise Enough(number)
signal.signal(signal.SIGUSR1, enough)
try:
    begun()
    ossicle.load_batch(["long.mp3"] * 3, threads=3, on_error="collect")
except Enough as found:
    print("enough", found)
begun()
ossicle.load("long.mp3", duration=1.0)
"""
    command = [sys.executable, "-c", code]
    status, told, failed = interrupt_in_the_work(command, inputs, signal.SIGUSR1)
    assert (status, told) == (0, f"enough {signal.SIGUSR1.value}\nbegun\n"), failed

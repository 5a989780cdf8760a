"""Memory while a shard larger than a process may be is read: little of its own, little mapped."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import pytest

MEMBERS, SIZE = 4096, 1_048_064
LIMIT_KIB = 300 * 1024

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")

READ = """
    import random
    import sys
    from pathlib import Path
    import numpy as np
    from ossicle import Shard

    def resident():
        lines = Path("/proc/self/status").read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile"))]

    path, access, order = sys.argv[1:]
    shard = Shard(path, access=access)
    samples, count = iter(shard), len(shard)
    if order == "by key":
        keys = random.Random(1).sample(shard.keys(), count)
        samples = (shard[key] for key in keys)
    before, most, kept = resident(), [0, 0], {}
    for turn, sample in enumerate(samples):
        content = np.frombuffer(sample["bin"], np.uint8)
        assert content[8:].max() == 0
        assert content[:8].tobytes() == sample["__key__"].encode()
        if turn % 500 == 0 and access == "mmap":
            kept[sample["__key__"]] = sample["bin"]
        if turn % 8 == 0:
            most = [max(pair) for pair in zip(most, resident())]
    for key, view in kept.items():
        assert bytes(view[:8]) == key.encode()
    print(turn + 1, *(now - then for now, then in zip(most, before)))
"""


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 4 GiB, with holes for all but the headers and the first bytes of the payloads."""
    folder = tmp_path_factory.mktemp("memory")
    # Where holes are no holes it needs all of that.
    if shutil.disk_usage(folder).free < MEMBERS * (SIZE + 4096):
        pytest.skip("no room for a shard of 4 GiB")
    path = folder / "shard.tar"
    with path.open("wb") as file:
        for number in range(MEMBERS):
            header = tarfile.TarInfo(f"{number:08}.bin")
            header.size = SIZE
            file.write(header.tobuf(tarfile.USTAR_FORMAT))
            end = file.tell() + SIZE
            file.write(b"%08d" % number)
            file.seek(end)
        file.write(bytes(1024))
    return path


@pytest.mark.thorough
@pytest.mark.parametrize("order", ["in its order", "by key"])
@pytest.mark.parametrize("access", ["mmap", "pread"])
def test_a_shard_of_4_gib_is_read_in_300_mib(access: str, order: str, shard: Path) -> None:
    """All of its bytes are looked at, and what is mapped from the page cache counts, too."""
    command = [sys.executable, "-c", textwrap.dedent(READ), str(shard), access, order]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    count, anonymous, mapped = map(int, done.stdout.split())
    assert count == MEMBERS
    assert anonymous < 32 * 1024, f"{anonymous} KiB of its own"
    assert mapped < LIMIT_KIB, f"{mapped} KiB mapped"

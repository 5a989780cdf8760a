"""A file object is read where the headers and the range lie, in few and short reads."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiers import cases

import ossicle

RATE = 16_000
SECONDS = 300


@dataclass(frozen=True)
class Format:
    """How a file is made, and how far its range lies from where a reader can begin."""

    suffix: str
    options: str
    # Nothing tells where a packet lies: those before it are passed over one by one.
    has_index: bool = True
    # Seconds decoded ahead of a range.
    preroll: float = 0.5
    # What one read may bring too much, and what is read to know the format and find the place.
    spare_bytes: int = 400_000

    def __str__(self) -> str:
        return f"{self.suffix}-{self.options.split()[1]}"


FORMATS = [
    Format("wav", "-c:a pcm_s16le"),
    Format("aiff", "-c:a pcm_s24be"),
    Format("au", "-c:a pcm_s16be"),
    Format("flac", "-c:a flac"),
    # Each page on the way is read whole, for its checksum.
    Format("oga", "-c:a flac", spare_bytes=800_000),
    Format("ogg", "-c:a libvorbis", spare_bytes=500_000),
    Format("opus", "-c:a libopus -b:a 64k", preroll=7.5),
    Format("m4a", "-c:a aac -b:a 96k"),
    Format("m4a", "-c:a alac"),
    Format("caf", "-c:a alac"),
    Format("mka", "-c:a flac"),
    Format("webm", "-c:a libopus -b:a 64k", preroll=7.5),
    Format("mp3", "-c:a libmp3lame -b:a 96k", has_index=False, preroll=3),
    Format("aac", "-c:a aac -b:a 96k -f adts", has_index=False),
]


class Counting(io.BytesIO):
    """A file that counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.bytes = 0
        self.calls = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.bytes += len(data)
        self.calls += 1
        return data


@pytest.fixture(scope="module", params=cases(FORMATS, one_in=5), ids=str)
def clip(request: pytest.FixtureRequest, make_clip) -> tuple[Format, bytes]:
    form: Format = request.param
    path: Path = make_clip(form.suffix, rate=RATE, frames=SECONDS * RATE, options=form.options)
    return form, path.read_bytes()


@pytest.mark.parametrize("offset", [0.0, 150.0, 290.0])
def test_a_range_costs_what_it_holds(clip, offset: float) -> None:
    form, data = clip
    file = Counting(data)
    part, rate = ossicle.load(file, offset=offset, duration=2.0)
    assert len(part) == 2 * rate
    seconds = 2.0 + (min(offset, form.preroll) if form.has_index else offset)
    wanted = 1.3 * len(data) * seconds / SECONDS
    assert file.bytes <= wanted + form.spare_bytes, f"{file.bytes} of {len(data)}"
    assert file.calls <= 60 + file.bytes // 16_000
    whole, _ = ossicle.load(data)
    start = int(offset * rate)
    assert np.abs(part - whole[start : start + 2 * rate]).max() <= 1e-5


def test_info_costs_next_to_nothing(clip) -> None:
    form, data = clip
    file = Counting(data)
    assert ossicle.info(file) == ossicle.info(data)
    if form.has_index or form.suffix == "mp3":  # whose Xing header tells
        assert file.bytes <= form.spare_bytes
    assert file.calls <= 60 + file.bytes // 16_000


def test_a_file_object_is_read_from_where_it_stands(clip) -> None:
    _, data = clip
    file = Counting(b"in front" + data)
    file.seek(8)
    part, _ = ossicle.load(file, offset=10.0, duration=0.5)
    assert np.array_equal(part, ossicle.load(data, offset=10.0, duration=0.5)[0])

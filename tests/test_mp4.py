"""MP4, M4A and MOV in every layout that FFmpeg writes: lengths, samples, ranges, cuts."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import oracle
import pytest

import ossicle

AAC = "-c:a aac -aac_pns 0"
CODECS = {
    "aac": AAC,
    "alac": "-c:a alac",
    "flac": "-c:a flac -sample_fmt s16",
    "mp3": "-c:a libmp3lame -b:a 64k",
    "opus": "-c:a libopus -b:a 128k",
}
PCM = {
    "sowt": ("mov", "-c:a pcm_s16le"),
    "twos": ("mov", "-c:a pcm_s16be"),
    "in24": ("mov", "-c:a pcm_s24le"),
    "in24be": ("mov", "-c:a pcm_s24be"),
    "in32": ("mov", "-c:a pcm_s32be"),
    "fl32": ("mov", "-c:a pcm_f32le"),
    "fl64": ("mov", "-c:a pcm_f64be"),
    "ulaw": ("mov", "-c:a pcm_mulaw"),
    "ipcm": ("mp4", "-c:a pcm_s24be"),
}
LOSSLESS = {"alac", "flac", *PCM}
SHORT = "-frag_duration 300000"
LAYOUTS = {
    "end": "",
    "faststart": "-movflags +faststart",
    "empty-moov": "-movflags +frag_keyframe+empty_moov",
    "fragments": f"-movflags +frag_keyframe {SHORT}",
    "moof-based": f"-movflags +frag_keyframe+empty_moov+default_base_moof {SHORT}",
    "delay-moov": f"-movflags +frag_keyframe+delay_moov {SHORT}",
    "separate-moof": f"-movflags +frag_keyframe+separate_moof {SHORT}",
    "dash": f"-movflags +dash+frag_keyframe {SHORT}",
    "global-sidx": f"-movflags +dash+delay_moov+global_sidx {SHORT}",
    "cmaf": f"-movflags +cmaf {SHORT}",
    "no-index": f"-movflags +frag_keyframe+empty_moov+skip_trailer {SHORT}",
    "no-edit-list": "-use_editlist 0",
}
RATES = {"mp3": 44_100, "opus": 48_000}


def clip(make_clip, codec: str, suffix: str, layout: str, *, rate: int, channels: int = 2) -> Path:
    options = PCM[codec][1] if codec in PCM else CODECS[codec]
    return make_clip(
        suffix,
        rate=rate,
        channels=channels,
        frames=2 * rate + 1013,
        options=f"{options} {LAYOUTS[layout]}",
    )


def cases() -> Iterator[tuple[str, str, str]]:
    for codec in CODECS:
        for layout in LAYOUTS:
            yield codec, "mp4", layout
    for codec, (suffix, _) in PCM.items():
        yield codec, suffix, "end"
        yield codec, suffix, "faststart"
    for codec in ("aac", "alac", "mp3"):
        yield codec, "mov", "end"


@pytest.mark.parametrize(("codec", "suffix", "layout"), [*cases()])
def test_every_layout_is_what_ffmpeg_gives(codec: str, suffix: str, layout: str, make_clip) -> None:
    rate = RATES.get(codec, 22_050)
    path = clip(make_clip, codec, suffix, layout, rate=rate)
    info = ossicle.info(path)
    waveform, _ = ossicle.load(path, mono=False)
    expected = oracle.decode(oracle.bundled(), [path], 2)[0]
    frames = expected.shape[1]
    assert info.frames == waveform.shape[1]
    if codec == "opus":
        # FFmpeg leaves the end that is no longer the recording's, which the container tells.
        assert info.frames in (2 * rate + 1013, frames)
        frames = info.frames
    assert info.frames == frames
    difference = waveform - expected[:, :frames]
    assert oracle.rms(difference) < 1e-4
    if codec in LOSSLESS:
        assert not difference.any()
        assert frames == 2 * rate + 1013


@pytest.mark.parametrize(("codec", "suffix", "layout"), [*cases()])
def test_a_range_is_a_slice(codec: str, suffix: str, layout: str, make_clip) -> None:
    rate = RATES.get(codec, 22_050)
    path = clip(make_clip, codec, suffix, layout, rate=rate)
    whole, _ = ossicle.load(path, mono=False)
    random = np.random.default_rng(5)
    tolerance = 0 if codec in LOSSLESS else 1e-5
    for start in [0, 1, whole.shape[1] - 1, *random.integers(0, whole.shape[1], 12)]:
        length = int(random.integers(1, 9_000))
        part, _ = ossicle.load(path, mono=False, offset=start / rate, duration=length / rate)
        expected = whole[:, start : start + length]
        np.testing.assert_allclose(part, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("layout", ["end", "moof-based"])
@pytest.mark.parametrize("codec", ["aac", "alac", "flac"])
def test_rates_and_channels(codec: str, layout: str, channels: int, rate: int, make_clip) -> None:
    path = clip(make_clip, codec, "mp4", layout, rate=rate, channels=channels)
    info = ossicle.info(path)
    waveform, _ = ossicle.load(path, mono=False)
    expected = oracle.decode(oracle.bundled(), [path], channels)[0]
    assert (info.sample_rate, info.channels, info.frames) == (rate, *expected.shape)
    assert oracle.rms(waveform - expected) < 1e-4


class Counted(io.BytesIO):
    """How many bytes were read."""

    total = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.total += len(data)
        return data

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]
        count = super().readinto(buffer)
        self.total += count
        return count


@pytest.mark.parametrize("layout", ["end", "faststart", "moof-based", "global-sidx", "fragments"])
def test_a_short_range_reads_little(layout: str, make_clip) -> None:
    path = make_clip(
        "mp4",
        rate=44_100,
        channels=2,
        frames=44_100 * 90,
        options=f"{AAC} -b:a 256k {LAYOUTS[layout]}",
    )
    data = path.read_bytes()
    stream = Counted(data)
    assert ossicle.info(stream).frames > 0
    assert stream.total < len(data) / 8
    stream = Counted(data)
    ossicle.load(stream, offset=70.0, duration=0.2)
    assert stream.total < len(data) / 4


@pytest.mark.parametrize("codec", ["aac", "alac"])
@pytest.mark.parametrize("layout", ["faststart", "moof-based", "fragments"])
def test_a_cut_file_gives_its_beginning_and_an_error(codec: str, layout: str, make_clip) -> None:
    path = clip(make_clip, codec, "mp4", layout, rate=22_050)
    whole, rate = ossicle.load(path, mono=False)
    data = path.read_bytes()
    for part in (0.5, 0.7, 0.9):
        cut = data[: int(part * len(data))]
        with pytest.raises(ossicle.AudioError, match="cut short") as caught:
            ossicle.load(cut)
        assert caught.value.byte_offset is not None
        assert caught.value.byte_offset <= len(cut)
        beginning, _ = ossicle.load(cut, mono=False, duration=0.3)
        assert np.array_equal(beginning, whole[:, : beginning.shape[1]])
        assert beginning.shape[1] == round(0.3 * rate)


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def with_itunes_note(data: bytes, delay: int, padding: int, frames: int) -> bytes:
    """The file, whose `moov` comes last, with the note that iTunes writes."""
    start = data.index(b"moov") - 4
    old = data.index(b"udta", start) - 4
    (old_size,) = struct.unpack_from(">I", data, old)
    note = f" 00000000 {delay:08X} {padding:08X} {frames:016X} 00000000".encode()
    item = box(
        b"----",
        box(b"mean", bytes(4), b"com.apple.iTunes"),
        box(b"name", bytes(4), b"iTunSMPB"),
        box(b"data", struct.pack(">II", 1, 0), note),
    )
    handler = box(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    udta = box(b"udta", box(b"meta", bytes(4), handler, box(b"ilst", item)))
    moov = data[start + 8 : old] + udta + data[old + old_size :]
    return data[:start] + box(b"moov", moov)


def test_itunes_note_is_heeded_where_no_edit_list_is(make_clip, tmp_path: Path) -> None:
    source = clip(make_clip, "aac", "m4a", "no-edit-list", rate=44_100)
    data = bytearray(source.read_bytes())
    # As iTunes writes it: every packet has its full length.
    stts = data.index(b"stts")
    (last,) = struct.unpack_from(">I", data, stts + 24)
    data[stts + 24 : stts + 28] = struct.pack(">I", 1024)
    path = tmp_path / "itunes.m4a"
    frames = 2 * 44_100 + 1013
    path.write_bytes(with_itunes_note(bytes(data), 1024, 1024 - last, frames))
    expected = oracle.decode(oracle.bundled(), [path], 2)[0]
    waveform, _ = ossicle.load(path, mono=False)
    # FFmpeg 9 takes the padding off twice.
    assert waveform.shape == (2, frames)
    assert oracle.rms(waveform[:, : expected.shape[1]] - expected) < 1e-4


def test_a_missing_fragment_is_an_error(make_clip) -> None:
    path = clip(make_clip, "alac", "mp4", "moof-based", rate=22_050)
    whole, rate = ossicle.load(path, mono=False)
    data = path.read_bytes()
    tops, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        tops.append((at, kind))
        at += size
    moofs = [at for at, kind in tops if kind == b"moof"]
    without = data[: moofs[2]] + data[moofs[3] :]
    with pytest.raises(ossicle.AudioError) as caught:
        ossicle.load(without)
    assert caught.value.byte_offset is not None
    beginning, _ = ossicle.load(without, mono=False, duration=0.3)
    assert np.array_equal(beginning, whole[:, : round(0.3 * rate)])


def test_an_encrypted_track_is_named(make_clip) -> None:
    data = clip(make_clip, "aac", "mp4", "end", rate=22_050).read_bytes()
    changed = data.replace(b"mp4a", b"enca", 1)
    with pytest.raises(ossicle.UnsupportedFormatError, match="encrypted"):
        ossicle.info(changed)

"""MP4, M4A and MOV in every layout that FFmpeg writes: lengths, samples, ranges, cuts."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import careless
import numpy as np
import oracle
import pytest
from mp4_boxes import box, edited, replaced, table

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


@pytest.mark.sampled(one_in=7)
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


@pytest.mark.sampled(one_in=5)
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


@pytest.mark.sampled(one_in=7)
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


@pytest.mark.sampled(one_in=5)
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


TABLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def retimed(data: bytes, durations: Iterable[int], edits: Iterable[tuple[int, int]]) -> bytes:
    """`data` with these times of its samples, in ticks; edits: milliseconds, and a begin."""
    rows = [(1, ticks) for ticks in durations]
    data = replaced(data, (*TABLES, b"stts"), table(b"stts", rows))
    at = data.index(b"mdhd") + 20
    data = data[:at] + struct.pack(">I", sum(ticks for _, ticks in rows)) + data[at + 4 :]
    return edited(data, edits)


def in_milliseconds(lengths: Sequence[int], delay: int, rate: int) -> list[int]:
    """How long packets last by time stamps that were rounded to milliseconds, as Matroska's are."""
    ends = np.cumsum([-delay, *lengths])
    # A half goes away from zero, as in FFmpeg.
    stamps = np.sign(ends) * np.floor(np.abs(1000 * ends / rate) + 0.5) * rate / 1000
    return [int(ticks) for ticks in np.diff(np.rint(stamps))]


JOINED = "the times of an MP4 track are not the lengths of its packets, which were joined"
SKIPPED = "the MP4 edit list keeps samples that the Opus header says to skip: they were skipped"


def by_libopus(path: Path, channels: int) -> np.ndarray:
    """All that the packets decode to, the codec's delay cut off."""
    out = path.with_suffix(".f32")
    command = ["-c:a", "libopus", "-i", path, "-c:a", "pcm_f32le", "-f", "f32le", out]
    oracle.ffmpeg(oracle.bundled(), command)
    return np.fromfile(out, "<f4").reshape(-1, channels).T


def test_opus_whose_times_were_rounded_to_milliseconds(make_clip, tmp_path: Path) -> None:
    data = clip(make_clip, "opus", "mp4", "end", rate=48_000).read_bytes()
    count = struct.unpack_from(">I", data, data.index(b"stsz") + 12)[0]
    frames = 960 * count - 312
    path = tmp_path / "rounded.mp4"
    path.write_bytes(retimed(data, in_milliseconds([960] * count, 312, 48_000), [(99_999, 0)]))
    expected = by_libopus(path, 2)
    assert expected.shape == (2, frames)
    what = "MP4 | Opus whose times were rounded, as a copy from WebM leaves them"
    careless.check(path, expected, JOINED, what=what, tolerance=1e-4)


def test_the_delay_of_opus_is_its_own_where_the_edit_list_has_none(make_clip, tmp_path) -> None:
    data = clip(make_clip, "opus", "mp4", "end", rate=48_000).read_bytes()
    count = struct.unpack_from(">I", data, data.index(b"stsz") + 12)[0]
    path = tmp_path / "delay.mp4"
    path.write_bytes(retimed(data, [960] * count, [(99_999, 0)]))
    what = "MP4 | Opus without its delay in the edit list, as copied from WebM of GStreamer"
    careless.check(path, by_libopus(path, 2), SKIPPED, what=what, tolerance=1e-4)
    # Where it begins later, the list is what counts.
    path.write_bytes(retimed(data, [960] * count, [(99_999, 5000)]))
    careless.check(path, by_libopus(path, 2), "", tolerance=1e-4)


@pytest.mark.parametrize("codec", ["flac", "alac"])
def test_lossless_packets_are_joined_whatever_their_times_are(
    codec: str, make_clip, tmp_path: Path
) -> None:
    source = clip(make_clip, codec, "mp4", "end", rate=22_050)
    data, frames = source.read_bytes(), 2 * 22_050 + 1013
    length = struct.unpack_from(">I", data, data.index(b"stts") + 16)[0]
    lengths = [length] * (frames // length) + [frames % length]
    path = tmp_path / f"{codec}.mp4"
    path.write_bytes(retimed(data, in_milliseconds(lengths, 0, 22_050), [(99_999, 0)]))
    # FFmpeg 9 takes what the rounding left of the last packet off.
    (expected,) = oracle.decode(oracle.bundled(), [source], 2)
    assert expected.shape == (2, frames)
    what = f"MP4 | {codec.upper()} whose times were rounded"
    careless.check(path, expected, JOINED, what=what)
    # A cut in front of the end of a packet by less than the rounding is one at its end.
    end = [(8000 * length // 22_050, 0)]
    path.write_bytes(retimed(data, in_milliseconds(lengths, 0, 22_050), end))
    assert ossicle.info(path).frames == 8 * length


def description(kind: bytes, channels: int, bits: int, version: int, extension: bytes) -> bytes:
    head = struct.pack(">6xHHH4xHHhHI", 1, version, 0, channels, bits, 0, 0, 16_000 << 16)
    return box(b"stsd", struct.pack(">II", 0, 1), box(kind, head, extension))


def movie(stsd: bytes, data: bytes, frame_bytes: int, *, size: int | None = None) -> bytes:
    """MOV of one track of PCM at 16 kHz, its samples in one chunk."""
    frames = len(data) // frame_bytes
    head = box(b"ftyp", b"qt  ", bytes(4), b"qt  ") + box(b"mdat", data)
    tables = [
        stsd,
        table(b"stts", [(frames, 1)]),
        table(b"stsc", [(1, frames, 1)]),
        box(b"stsz", struct.pack(">III", 0, frame_bytes if size is None else size, frames)),
        table(b"stco", [(28,)]),
    ]
    header = struct.pack(">12xII4x", 16_000, frames)
    minf = box(b"minf", box(b"stbl", *tables))
    mdia = box(b"mdia", box(b"mdhd", header), box(b"hdlr", bytes(8), b"soun", bytes(12)), minf)
    trak = box(b"trak", box(b"tkhd", struct.pack(">3xB8xI68x", 1, 1)), mdia)
    return head + box(b"moov", box(b"mvhd", header, bytes(80)), trak)


NUMBERS = {8: "i1", 16: "i2", 24: "i4", 32: "i4"}


def packed(samples: np.ndarray, bits: int, order: str) -> bytes:
    """The upper `bits` of 32 of each sample."""
    whole = (samples >> (32 - bits)).astype(f"{order}i4")
    if bits == 24:
        bytes_of = whole.reshape(-1, 1).view("u1")
        return bytes_of[:, 1:].tobytes() if order == ">" else bytes_of[:, :3].tobytes()
    return whole.astype(order + NUMBERS[bits]).tobytes()


def enda(little: int) -> bytes:
    return box(b"wave", box(b"frma", b"in24"), box(b"enda", struct.pack(">H", little)), bytes(8))


LPCM = struct.pack(">IdIIIIII", 72, 16_000.0, 2, 0x7F00_0000, 24, 4 | 8, 6, 1)
PCM_OLD = {
    # As GStreamer's qtmux writes them: the old names, with the size of a sample.
    "sowt8": (b"sowt", 8, 0, "<", b""),
    "sowt16": (b"sowt", 16, 0, "<", b""),
    "sowt24": (b"sowt", 24, 1, "<", struct.pack(">IIII", 1, 3, 6, 3)),
    "sowt32": (b"sowt", 32, 1, "<", struct.pack(">IIII", 1, 4, 8, 4)),
    "twos8": (b"twos", 8, 0, ">", b""),
    "twos24": (b"twos", 24, 1, ">", struct.pack(">IIII", 1, 3, 6, 3)),
    "twos32": (b"twos", 32, 1, ">", struct.pack(">IIII", 1, 4, 8, 4)),
    "twos-enda": (b"twos", 24, 1, "<", struct.pack(">IIII", 1, 3, 6, 3) + enda(1)),
    "raw16": (b"raw ", 16, 0, ">", b""),
    "NONE16": (b"NONE", 16, 0, ">", b""),
    "zero16": (bytes(4), 16, 0, ">", b""),
    "lpcm1": (b"lpcm", 24, 1, ">", struct.pack(">IIII", 1, 3, 6, 3)),
    "lpcm2": (b"lpcm", 16, 2, "<", LPCM),
    # As QuickTime does: 16 bits whatever the name says.
    "in24-16": (b"in24", 16, 1, ">", struct.pack(">IIII", 1, 2, 6, 2) + enda(0)),
    "in24-enda": (b"in24", 16, 1, "<", struct.pack(">IIII", 1, 3, 6, 2) + enda(1)),
    "in32-enda": (b"in32", 24, 1, "<", struct.pack(">IIII", 1, 4, 8, 2) + enda(1)),
}


@pytest.mark.parametrize("name", PCM_OLD)
def test_pcm_is_as_wide_as_name_and_size_say(name: str, tmp_path: Path) -> None:
    kind, bits, version, order, extension = PCM_OLD[name]
    wide = {b"in24": 24, b"in32": 32}.get(kind, 24 if name == "lpcm2" else bits)
    samples = np.random.default_rng(3).integers(-(2**31), 2**31, (2, 1440)).astype("i4")
    data = packed(samples.T.ravel(), wide, order)
    path = tmp_path / f"{name}.mov"
    stsd = description(kind, 2, bits, version, extension)
    path.write_bytes(movie(stsd, data, 2 * wide // 8))
    expected = ((samples >> (32 - wide)) / 2.0 ** (wide - 1)).astype(np.float32)
    careless.check(path, expected, "")
    for ffmpeg in oracle.decoders().values():
        np.testing.assert_array_equal(oracle.decode(ffmpeg, [path], 2)[0], expected)


def test_pcm_that_fills_only_a_part_of_its_place_is_no_noise(tmp_path: Path) -> None:
    linear = struct.pack(">IdIIIIII", 72, 16_000.0, 2, 0x7F00_0000, 24, 4, 8, 1)
    stsd = description(b"lpcm", 2, 16, 2, linear)
    with pytest.raises(ossicle.UnsupportedFormatError, match="lpcm"):
        ossicle.load(movie(stsd, bytes(800), 8))
    stsd = description(b"raw ", 2, 24, 0, b"")
    with pytest.raises(ossicle.UnsupportedFormatError, match="raw"):
        ossicle.load(movie(stsd, bytes(600), 6))


def test_no_plane_is_reserved_for_channels_that_only_a_header_has() -> None:
    for mono in (False, True):
        stsd = description(b"sowt", 49_795, 16, 0, b"")
        with pytest.raises(ossicle.UnsupportedFormatError, match="at most 1024 are read"):
            ossicle.load(movie(stsd, bytes(2 * 49_795), 2 * 49_795), mono=mono)


def top_boxes(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((at, kind))
        at += size
    return found


UNSIZED = "an MP4 box without a size is followed by others, which were read"


@pytest.mark.parametrize("kind", [b"moof", b"mdat"])
@pytest.mark.parametrize("layout", ["no-index", "moof-based", "global-sidx", "fragments"])
def test_fragments_behind_a_box_without_a_size_are_read(
    layout: str, kind: bytes, make_clip, tmp_path: Path
) -> None:
    source = clip(make_clip, "aac", "mp4", layout, rate=22_050)
    whole, _ = ossicle.load(source, mono=False)
    data = bytearray(source.read_bytes())
    boxes = [at for at, name in top_boxes(data) if name == kind]
    for at in (boxes[1], boxes[-1]):
        data[at : at + 4] = bytes(4)
    waveform, _ = ossicle.load(bytes(data), mono=False)
    assert np.array_equal(waveform, whole)
    assert ossicle.info(bytes(data)).frames == whole.shape[1]
    with pytest.raises(ossicle.AudioError, match=UNSIZED):
        ossicle.load(bytes(data), strict=True)
    if layout == "no-index":
        path = tmp_path / "unsized.mp4"
        path.write_bytes(data)
        what = f"MP4 | a fragment whose {kind.decode()} has no size"
        careless.check(path, whole, UNSIZED, what=what, tolerance=1e-5)


def test_a_moof_that_swallows_what_is_behind_it_is_an_error(make_clip) -> None:
    data = bytearray(clip(make_clip, "aac", "mp4", "no-index", rate=22_050).read_bytes())
    boxes = [at for at, name in top_boxes(data) if name == b"moof"]
    struct.pack_into(">I", data, boxes[1], boxes[3] - boxes[1])
    with pytest.raises(ossicle.CorruptAudioError, match="boxes that belong after it") as caught:
        ossicle.load(bytes(data))
    assert caught.value.byte_offset is not None


def test_fragments_without_their_defaults_say_all_or_are_an_error(make_clip) -> None:
    source = clip(make_clip, "aac", "mp4", "moof-based", rate=22_050)
    data, (whole, _) = source.read_bytes(), ossicle.load(source, mono=False)
    without = replaced(data, (b"moov", b"mvex"), box(b"mvex", box(b"free", bytes(24))))
    waveform, _ = ossicle.load(without, mono=False)
    assert np.array_equal(waveform, whole)
    without = replaced(data, (b"moov", b"mvex"), box(b"free", bytes(32)))
    with pytest.raises(ossicle.CorruptAudioError, match="does not announce"):
        ossicle.load(without)


@pytest.mark.parametrize("codec", ["aac", "flac", "opus"])
@pytest.mark.parametrize("layout", ["no-index", "dash", "fragments"])
def test_fragments_whose_times_were_rounded_are_joined(
    codec: str, layout: str, make_clip, tmp_path: Path
) -> None:
    """As a copy from Matroska leaves them."""
    rate = RATES.get(codec, 44_100)
    options = f"{CODECS[codec]} -f matroska"
    source = make_clip("mka", rate=rate, channels=2, frames=rate + 77, options=options)
    path = tmp_path / "copy.mp4"
    flags = LAYOUTS[layout].split()
    oracle.ffmpeg(oracle.bundled(), ["-i", source, "-c", "copy", *flags, path])
    expected = (
        by_libopus(path, 2) if codec == "opus" else oracle.decode(oracle.bundled(), [path], 2)[0]
    )
    what = f"MP4 | fragments of {codec.upper()} whose times were rounded"
    careless.check(path, expected, JOINED, what=what, tolerance=0 if codec == "flac" else 1e-4)


@pytest.mark.parametrize("codec", ["aac", "alac"])
def test_an_edit_list_puts_parts_and_pauses_together(codec: str, make_clip) -> None:
    source = clip(make_clip, codec, "mp4", "end", rate=48_000)
    data, (whole, _) = source.read_bytes(), ossicle.load(source, mono=False)
    begin = 1024 if codec == "aac" else 0

    tolerance = 1e-5 if codec == "aac" else 0.0

    def load(*edits: tuple[int, int], **part: float) -> np.ndarray:
        joined = edited(data, edits)
        waveform, _ = ossicle.load(joined, mono=False, **part)
        if not part:
            assert ossicle.info(joined).frames == waveform.shape[1]
        return waveform

    second = 48_000 + begin
    for edits in (
        [(500, begin), (500, begin + 24_000)],
        [(300, -1), (500, begin), (500, begin + 24_000)],
        [(500, begin), (500, begin + 24_000), (300, -1)],
    ):
        np.testing.assert_array_equal(load(*edits), whole[:, :48_000])
    pause = np.zeros((len(whole), 14_400), np.float32)
    first, later = whole[:, :24_000], whole[:, 48_000:72_000]
    for edits, expected in (
        ([(500, begin), (300, -1), (500, begin + 24_000)], [first, pause, whole[:, 24_000:48_000]]),
        ([(500, begin), (500, second)], [first, later]),
        ([(500, second), (500, begin)], [later, first]),
        ([(500, begin), (300, -1), (500, begin)], [first, pause, first]),
    ):
        truth = np.concatenate(expected, axis=1)
        np.testing.assert_allclose(load(*edits), truth, rtol=0, atol=tolerance)
        for start, count in ((0, 100), (23_900, 300), (30_000, 50), (24_000, 40_000), (60_000, 9)):
            part = load(*edits, offset=start / 48_000, duration=count / 48_000)
            np.testing.assert_allclose(
                part, truth[:, start : start + count], rtol=0, atol=tolerance
            )


@pytest.mark.parametrize("layout", ["end", "moof-based"])
def test_mpeg_audio_is_as_its_packets_say(layout: str, make_clip) -> None:
    source = clip(make_clip, "mp3", "mp4", layout, rate=44_100, channels=1)
    data, (whole, _) = bytearray(source.read_bytes()), ossicle.load(source, mono=False)
    assert whole.shape[0] == 1
    at = data.index(b"mp4a") + 4
    for channels, rate in ((2, 44_100), (5, 44_100), (1, 8000), (49_795, 0)):
        struct.pack_into(">H", data, at + 16, channels)
        struct.pack_into(">H", data, at + 24, rate)
        waveform, _ = ossicle.load(bytes(data), mono=False)
        np.testing.assert_array_equal(waveform, whole)
        info = ossicle.info(bytes(data))
        assert (info.channels, info.frames, info.sample_rate) == (*whole.shape, 44_100)


def test_data_that_claim_to_be_longer_than_the_file_are_a_remark(make_clip, tmp_path: Path) -> None:
    source = clip(make_clip, "flac", "mp4", "faststart", rate=22_050)
    data, (whole, _) = bytearray(source.read_bytes()), ossicle.load(source, mono=False)
    at = next(at for at, kind in top_boxes(bytes(data)) if kind == b"mdat")
    struct.pack_into(">I", data, at, 0x7FFF_FFFF)
    path = tmp_path / "long.mp4"
    path.write_bytes(data)
    remark = "the MP4 box mdat declares more bytes than there are"
    careless.check(path, whole, remark, what="MP4 | an mdat that claims more than the file has")
    with pytest.raises(ossicle.CorruptAudioError, match="cut short"):
        ossicle.load(bytes(data[:-9]))

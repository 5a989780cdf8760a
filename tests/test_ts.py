"""Transport streams: what FFmpeg gives of every layout; loss, told apart from wrong headers."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from pathlib import Path

import careless
import formats
import numpy as np
import oracle
import pytest
import transport
from tiers import Sweep

import ossicle

AAC = "-c:a aac -aac_pns 0"
MP2 = "-c:a mp2 -b:a 128k"
MP3 = "-c:a libmp3lame -b:a 96k"
TOLERANCE = 1e-4
RATE = 48_000
Encode = Callable[..., Path]


@pytest.fixture(scope="module")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Encode:
    """``encode("ts", "-c:a mp2", rate=48_000, channels=2)``: a path."""
    folder = tmp_path_factory.mktemp("ts")

    @functools.cache
    def make(
        suffix: str, options: str, rate: int = RATE, channels: int = 2, frames: int = 3 * RATE
    ) -> Path:
        source = folder / "source.wav"
        waveform = oracle.signal(rate, channels, frames)
        source.write_bytes(oracle.wav_bytes(waveform, rate, "f32"))
        path = folder / f"{len(list(folder.iterdir()))}.{suffix}"
        oracle.encode(source, [(path, options.split())])
        return path

    return make


def expected(path: Path, channels: int = 2) -> oracle.Array:
    """What FFmpeg makes of it; both versions agree on the length."""
    clips = [oracle.decode(name, [path], channels)[0] for name in oracle.decoders().values()]
    assert {clip.shape for clip in clips} == {clips[0].shape}
    return clips[0]


def check(path: Path, channels: int = 2, remark: str = "", what: str = "") -> None:
    """`path` is read as FFmpeg reads it, in every way, with that remark alone."""
    careless.check(
        path, expected(path, channels), remark, what=what and f"MPEG-TS | {what}", tolerance=1e-4
    )


def written(folder: Path, data: bytes | list[bytes] | list[bytearray]) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.ts"
    path.write_bytes(b"".join(data) if isinstance(data, list) else data)
    return path


RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


@pytest.mark.sampled(one_in=9)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("options", [AAC, MP2, MP3])
def test_every_rate_is_what_ffmpeg_gives(options: str, rate: int, encode: Encode) -> None:
    if options == MP2 and rate < 16_000:
        pytest.skip("MPEG 2.5 is of Layer III")
    low = "" if rate > 24_000 else " -b:a 32k"
    for channels in (1, 2):
        path = encode("ts", options + low, rate, channels, 2 * rate + 77)
        clip, info = expected(path, channels), ossicle.info(path)
        waveform, _ = ossicle.load(path, mono=False)
        assert waveform.shape == clip.shape == (channels, info.frames)
        distance = oracle.rms(waveform - clip)
        assert distance < TOLERANCE
        assert (info.container, info.sample_rate, info.remarks) == ("mpegts", rate, ())
        formats.record("mpegts", info.codec, rate, channels, distance, path)


WRITERS = {
    "Blu-ray": ("m2ts", f"{MP2} -mpegts_m2ts_mode 1"),
    "headers in packets of their own": ("ts", f"{AAC} -pes_payload_size 0"),
    "long packets": ("ts", f"{AAC} -pes_payload_size 20000"),
    "tables in each": ("ts", f"{MP2} -pat_period 0.02"),
    "system B": ("ts", f"{AAC} -mpegts_flags system_b"),
    "latm is refused": ("ts", f"{AAC} -mpegts_flags latm"),
    "constant rate": ("ts", f"{AAC} -muxrate 400k"),
    "copies": ("ts", f"{MP2} -mpegts_copyts 1 -output_ts_offset 95443"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_ffmpeg_writes_is_read(writer: str, encode: Encode) -> None:
    path = encode(*WRITERS[writer])
    if "latm" in writer:
        with pytest.raises(ossicle.UnsupportedFormatError, match="aac_latm") as caught:
            ossicle.load(path)
        formats.refuse("AAC in LATM in MPEG-TS", caught.value.reason)
        return
    remark = "names its audio" if writer == "Blu-ray" else ""
    check(path, remark=remark, what=remark and "no table names the audio")


def test_video_and_other_tracks_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "film.ts"
    video = (
        "-f lavfi -i testsrc=size=160x120:duration=2 -f lavfi -i sine=duration=2:sample_rate=48000"
    )
    other = "-f lavfi -i sine=frequency=900:duration=2:sample_rate=44100 -map 0 -map 1 -map 2"
    codecs = "-c:v mpeg2video -c:a:0 aac -aac_pns 0 -c:a:1 mp2"
    oracle.ffmpeg(oracle.bundled(), [*f"{video} {other} {codecs}".split(), path])
    check(path, 1)
    assert ossicle.info(path).codec == "aac"


def test_segments_of_hls_are_read_and_joined(tmp_path: Path, encode: Encode) -> None:
    play = tmp_path / "play.m3u8"
    clip = encode("ts", AAC)
    options = ["-i", clip, "-c", "copy", "-f", "hls", "-hls_time", "1", "-hls_list_size", "0"]
    oracle.ffmpeg(oracle.bundled(), [*options, play])
    parts = sorted(tmp_path.glob("play*.ts"))
    assert len(parts) > 2
    for part in parts:
        check(part)
    joined = written(tmp_path, [part.read_bytes() for part in parts])
    check(joined)
    assert ossicle.info(joined).frames == ossicle.info(clip).frames


def test_a_segment_of_hls_in_adts_may_begin_with_a_tag(tmp_path: Path, encode: Encode) -> None:
    """Format: RFC 8216, section 3.4: the timestamp of the first sample."""
    clock = b"PRIV" + bytes([0, 0, 0, 53, 0, 0])
    clock += b"com.apple.streaming.transportStreamTimestamp\0" + struct.pack(">Q", 900_000)
    tag = b"ID3\4\0\0" + bytes([0, 0, 0, len(clock)]) + clock
    path = tmp_path / "segment.aac"
    path.write_bytes(tag + encode("aac", f"{AAC} -f adts").read_bytes())
    check(path)


# --- layouts that FFmpeg does not write ---


def strided(found: list[bytearray], stride: int) -> bytes:
    """The packets with a timecode in front of them, or a checksum after them."""
    if stride == 192:
        return b"".join(struct.pack(">I", index * 37) + data for index, data in enumerate(found))
    return b"".join(bytes(data) + bytes(16) for data in found)


@pytest.mark.parametrize("stride", [192, 204])
@pytest.mark.parametrize("options", [AAC, MP2])
def test_packets_may_have_more_bytes(
    options: str, stride: int, encode: Encode, tmp_path: Path
) -> None:
    found = transport.packets(encode("ts", options).read_bytes())
    check(written(tmp_path, strided(found, stride)))


@pytest.mark.parametrize("stride", [188, 192, 204])
@pytest.mark.parametrize("lost", [1, 100, 187, 3_000])
def test_a_file_may_begin_in_the_middle_of_a_packet(
    lost: int, stride: int, encode: Encode, tmp_path: Path
) -> None:
    found = transport.packets(encode("ts", MP2).read_bytes())
    data = b"".join(map(bytes, found)) if stride == 188 else strided(found, stride)
    check(
        written(tmp_path, data[lost:]),
        remark="in the middle of a packet",
        what="the file begins in the middle of a packet",
    )


def frames_of(path: Path) -> list[bytes]:
    """The frames of an ADTS stream."""
    data, found = path.read_bytes(), []
    while data:
        length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        found.append(data[:length])
        data = data[length:]
    return found


@pytest.fixture(scope="module")
def frames(encode: Encode) -> list[bytes]:
    return frames_of(encode("aac", f"{AAC} -f adts"))


def units_of(frames: list[bytes], count: int, **options: bool) -> list[bytes]:
    """So many frames in a packet of the elementary stream, each with its timestamp."""
    groups = range(0, len(frames), count)
    return [
        transport.unit(b"".join(frames[at : at + count]), 1 + at * 1024 / RATE, **options)
        for at in groups
    ]


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("is_bounded", [True, False])
@pytest.mark.parametrize("size", [184, 150, 9])
def test_any_cut_into_packets_is_read(
    size: int, is_bounded: bool, count: int, frames: list[bytes], tmp_path: Path, sweep: Sweep
) -> None:
    units = units_of(frames[:40], count, is_bounded=is_bounded)
    check(written(tmp_path, transport.carry(units, 0x0F, size=size)))


def test_frames_may_begin_anywhere_in_a_packet(frames: list[bytes], tmp_path: Path) -> None:
    data = b"".join(frames)
    units = [transport.unit(data[at : at + 1_000]) for at in range(0, len(data), 1_000)]
    check(written(tmp_path, transport.carry(units, 0x0F)))


@pytest.mark.parametrize("kind", [0x03, 0x04])
def test_free_formats_and_headers_of_lame_are_audio_as_for_ffmpeg(
    kind: int, encode: Encode, tmp_path: Path
) -> None:
    """Nothing is trimmed: in a transport stream the header of LAME is a frame as others."""
    data = encode("mp3", f"{MP3} -id3v2_version 0").read_bytes()
    assert b"Info" in data[:200]
    units = [transport.unit(data[at : at + 3_000]) for at in range(0, len(data), 3_000)]
    path = written(tmp_path, transport.carry(units, kind))
    check(path)
    assert ossicle.info(path).frames % 1152 == 0


def test_a_packet_that_comes_twice_is_read_once(encode: Encode, tmp_path: Path) -> None:
    path = encode("ts", MP2)
    found = transport.packets(path.read_bytes())
    audio = transport.of(found, transport.AUDIO)
    at = audio[len(audio) // 2]
    copy = written(tmp_path, [*found[:at], found[at], *found[at:]])
    assert np.array_equal(ossicle.load(copy, strict=True)[0], ossicle.load(path)[0])


def test_null_packets_and_other_streams_do_not_matter(encode: Encode, tmp_path: Path) -> None:
    path = encode("ts", MP2)
    found = transport.packets(path.read_bytes())
    random = np.random.default_rng(3)
    mixed: list[bytes] = []
    for data in found:
        for number in random.choice([transport.NULL, 0x333, -1, -1], 2):
            if number >= 0:
                mixed.append(transport.packet(int(number), random.bytes(184), len(mixed)))
        mixed.append(bytes(data))
    copy = written(tmp_path, mixed)
    assert np.array_equal(ossicle.load(copy, strict=True)[0], ossicle.load(path)[0])


# --- tables ---


def test_the_first_program_with_audio_is_read(frames: list[bytes], tmp_path: Path) -> None:
    sound = transport.carry(units_of(frames, 4), 0x0F)[2:]
    tables = [
        transport.cut(0, b"\0" + transport.programs({0: 16, 1: 0x20, 2: 0x21, 3: 0x22}), 0),
        transport.cut(0x20, b"\0" + transport.streams(1, [(0x1B, 0x50, b"")]), 0),
        transport.cut(
            0x21, b"\0" + transport.streams(2, [(2, 0x51, b""), (0x0F, transport.AUDIO, b"")]), 0
        ),
        transport.cut(0x22, b"\0" + transport.streams(3, [(0x03, 0x52, b"")]), 0),
    ]
    path = written(tmp_path, [*(part for table in tables for part in table), *sound])
    check(path)


def test_a_table_may_take_several_packets(frames: list[bytes], tmp_path: Path) -> None:
    units = units_of(frames, 4)
    descriptors = bytes([0x0A, 200]) + bytes(200)
    path = written(tmp_path, transport.carry(units, 0x0F, descriptors=descriptors))
    assert sum(map(transport.is_start, transport.packets(path.read_bytes()[: 3 * 188]))) == 2
    check(path)


def test_tables_that_are_damaged_or_not_yet_in_force_are_not_read(
    frames: list[bytes], tmp_path: Path
) -> None:
    found = transport.carry(units_of(frames, 4), 0x0F)
    broken = bytearray(found[1])
    broken[-6] ^= 1
    later = transport.streams(1, [(0x81, 0x300, b"")], current=False)
    other = transport.cut(transport.STREAMS, b"\0" + later, 0)
    path = written(tmp_path, [found[0], bytes(broken), *other, found[0], *found[1:]])
    check(path)


@pytest.mark.parametrize("options", [AAC, MP2])
def test_a_stream_without_tables_is_found(options: str, encode: Encode, tmp_path: Path) -> None:
    path = encode("ts", options)
    found = transport.packets(path.read_bytes())
    audio = [found[index] for index in transport.of(found, transport.AUDIO)]
    careless.check(
        written(tmp_path, audio),
        ossicle.load(path, mono=False)[0],
        "no table of the transport stream names its audio",
        what="MPEG-TS | no table of programs",
    )


@pytest.mark.parametrize(
    ("kind", "descriptors", "name"),
    [
        (0x81, b"", "ac3"),
        (0x87, b"", "eac3"),
        (0x06, b"\x6a\x00", "ac3"),
        (0x06, b"\x05\x04Opus", "opus"),
        (0x82, b"\x05\x04HDMV", "dts"),
        (0x83, b"", "truehd"),
        (0xCF, b"", "SAMPLE-AES"),
    ],
)
def test_other_codecs_are_refused_by_name(
    kind: int, descriptors: bytes, name: str, tmp_path: Path
) -> None:
    path = written(
        tmp_path, transport.carry([transport.unit(bytes(300))] * 9, kind, descriptors=descriptors)
    )
    with pytest.raises(ossicle.UnsupportedFormatError, match=name) as caught:
        ossicle.load(path)
    formats.refuse(f"{name} in MPEG-TS", caught.value.reason)


def test_what_has_no_audio_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, transport.carry([transport.unit(bytes(300))] * 9, 0x1B))
    with pytest.raises(ossicle.UnsupportedFormatError, match="no audio track"):
        ossicle.load(path)


@pytest.mark.parametrize("is_whole", [False, True])
def test_scrambled_audio_is_refused_by_name(is_whole: bool, encode: Encode, tmp_path: Path) -> None:
    found = transport.packets(encode("ts", MP2).read_bytes())
    for index in transport.of(found, transport.AUDIO)[: None if is_whole else 20]:
        found[index][3] |= 0x80
    with pytest.raises(ossicle.UnsupportedFormatError, match="scrambled") as caught:
        ossicle.load(written(tmp_path, found))
    assert caught.value.byte_offset == 188 * transport.of(found, transport.AUDIO)[0]
    formats.refuse("scrambled MPEG-TS", caught.value.reason)


# --- what is lost, and what is only careless ---


@pytest.mark.parametrize("options", [AAC, MP2, MP3])
def test_lost_packets_are_damage_with_its_byte(
    options: str, encode: Encode, tmp_path: Path, sweep: Sweep
) -> None:
    path = encode("ts", options)
    found = transport.packets(path.read_bytes())
    audio = transport.of(found, transport.AUDIO)
    whole, _ = ossicle.load(path, mono=False)
    for place in sweep(range(20, len(audio) - 20), one_in=11):
        for count in (1, 4):
            lost = set(audio[place : place + count])
            kept = [data for index, data in enumerate(found) if index not in lost]
            copy = written(tmp_path, kept)
            at = 188 * (audio[place + count] - count)
            with pytest.raises(ossicle.CorruptAudioError, match="counter") as caught:
                ossicle.load(copy)
            assert at <= caught.value.byte_offset < at + 188, place
            with pytest.raises(ossicle.CorruptAudioError):
                ossicle.info(copy)
            waveform, _, gaps = ossicle.load_concealed(copy, mono=False)
            assert waveform.shape == whole.shape, place
            # A frame takes from the one before, and Layer III from up to nine.
            frame = {AAC: 1024, MP2: 1152, MP3: 1152}[options]
            after = {AAC: 2, MP2: 1, MP3: 10}[options] * frame
            is_near = np.zeros(whole.shape[1], bool)
            for gap in gaps:
                is_near[max(0, gap.start - frame) : gap.end + after] = True
            assert 0 < is_near.sum() < 30 * frame
            assert np.abs(waveform - whole)[:, ~is_near].max(initial=0) < 1e-5, place
            copy.unlink()


@pytest.mark.parametrize("options", [AAC, MP2])
def test_lost_time_is_counted_in_frames_by_the_timestamps(
    options: str, encode: Encode, tmp_path: Path
) -> None:
    """Of more packets than the counter counts."""
    path = encode("ts", f"{options} -pes_payload_size 1000")
    found = transport.packets(path.read_bytes())
    audio = transport.of(found, transport.AUDIO)
    starts = [index for index in audio if transport.is_start(found[index])]
    whole, _ = ossicle.load(path, mono=False)
    first = starts[len(starts) // 4]

    def lost(last: int) -> int:
        return len(transport.of(found[first:last], transport.AUDIO))

    last = next(last for last in starts if last > first and lost(last) > 16 and lost(last) % 16)
    kept = found[:first] + found[last:]
    waveform, _, gaps = ossicle.load_concealed(written(tmp_path, kept), mono=False)
    assert waveform.shape == whole.shape
    assert len(gaps) == 1


@pytest.mark.parametrize("options", [AAC, MP2, MP3])
def test_a_counter_that_is_wrong_where_nothing_is_lost_is_a_remark(
    options: str, encode: Encode, tmp_path: Path, sweep: Sweep
) -> None:
    path = encode("ts", options)
    found = transport.packets(path.read_bytes())
    audio = transport.of(found, transport.AUDIO)
    for place in sweep(range(1, len(audio) - 1), one_in=97):
        copies = [bytearray(data) for data in found]
        data = copies[audio[place]]
        data[3] = data[3] & 0xF0 | (data[3] + 7) & 0xF
        check(
            written(tmp_path, copies),
            remark="counter of the transport stream jumps, and nothing is lost",
            what="the continuity counter is wrong",
        )


def test_files_that_are_joined_are_read_end_to_end(encode: Encode, tmp_path: Path) -> None:
    first, second = encode("ts", MP2), encode("ts", MP2, RATE, 2, RATE)
    path = written(tmp_path, first.read_bytes() + second.read_bytes())
    check(
        path,
        remark="both parts are read end to end",
        what="files are joined: counters and timestamps begin anew",
    )
    both = ossicle.info(first).frames + ossicle.info(second).frames
    assert ossicle.info(path).frames == both


def test_a_jump_that_is_told_is_none(encode: Encode, tmp_path: Path) -> None:
    """The flag of the adaptation field, as broadcasters splice."""
    found = transport.packets(encode("ts", MP2).read_bytes())
    starts = [
        index
        for index in transport.of(found, transport.AUDIO)
        if transport.is_start(found[index]) and found[index][3] & 0x20
    ]
    at = starts[len(starts) // 2]
    assert found[at][4] > 0
    found[at][5] |= 0x80
    for index in transport.of(found, transport.AUDIO):
        if index >= at:
            found[index][3] = found[index][3] & 0xF0 | (found[index][3] + 5) & 0xF
    check(written(tmp_path, found))


@pytest.mark.parametrize("what", ["mark", "sync", "scrambled", "header"])
def test_packets_that_are_damaged_are_damage(what: str, encode: Encode, tmp_path: Path) -> None:
    path = encode("ts", MP2)
    found = transport.packets(path.read_bytes())
    audio = transport.of(found, transport.AUDIO)
    at = audio[len(audio) // 2]
    data = found[at]
    match what:
        case "mark":
            data[1] |= 0x80
        case "sync":
            data[0] = 0
        case "scrambled":
            data[3] |= 0xC0
        case _:
            at = next(index for index in audio[9:] if transport.is_start(found[index]))
            data = found[at]
            data[transport.head(data) + 2] = 7
    copy = written(tmp_path, found)
    with pytest.raises(ossicle.CorruptAudioError, match="audio is lost") as caught:
        ossicle.load(copy)
    assert 188 * at <= caught.value.byte_offset < 188 * (at + 40)
    waveform, _, gaps = ossicle.load_concealed(copy)
    assert len(gaps) == 1
    assert waveform.shape == ossicle.load(path)[0].shape


def test_bytes_between_packets_are_passed_over(encode: Encode, tmp_path: Path) -> None:
    found = transport.packets(encode("ts", MP2).read_bytes())
    path = written(tmp_path, [*found[:300], b"noise" * 77, *found[300:]])
    check(path, remark="belong to none", what="bytes between packets that belong to none")


def test_a_last_packet_that_is_cut_is_left_out(encode: Encode, tmp_path: Path) -> None:
    """As the last frame of a bare stream that was cut, which FFmpeg makes up the rest of."""
    path = written(tmp_path, encode("ts", MP2).read_bytes()[:-100])
    careless.check(
        path,
        expected(path)[:, :-1152],
        "the last packet of the transport stream is cut short, and left out",
        what="MPEG-TS | the last packet is cut short",
        tolerance=TOLERANCE,
    )


@pytest.mark.parametrize("change", [-40, 40, 3_000])
def test_lengths_of_units_may_be_wrong(change: int, encode: Encode, tmp_path: Path) -> None:
    found = transport.packets(encode("ts", MP2).read_bytes())
    audio = transport.of(found, transport.AUDIO)
    at = [index for index in audio if transport.is_start(found[index])][4]
    data = found[at]
    place = transport.head(data) + 4
    (length,) = struct.unpack_from(">H", data, place)
    struct.pack_into(">H", data, place, length + change)
    path = written(tmp_path, found)
    clip = expected(path)
    waveform, _ = ossicle.load(path, mono=False)
    assert waveform.shape == clip.shape
    assert oracle.rms(waveform - clip) < TOLERANCE


def test_a_range_does_not_read_what_is_after_it(encode: Encode, tmp_path: Path) -> None:
    class Counted:
        def __init__(self, data: bytes) -> None:
            self.data, self.at, self.read_bytes = data, 0, 0

        def seek(self, at: int, whence: int = 0) -> int:
            self.at = at + [0, self.at, len(self.data)][whence]
            return self.at

        def tell(self) -> int:
            return self.at

        def read(self, count: int = -1) -> bytes:
            part = self.data[self.at : self.at + count if count >= 0 else None]
            self.at += len(part)
            self.read_bytes += len(part)
            return part

    path = encode("ts", MP2, RATE, 2, 60 * RATE)
    source = Counted(path.read_bytes())
    part, _ = ossicle.load(source, offset=1.0, duration=0.5)
    assert np.array_equal(part, ossicle.load(path)[0][RATE : RATE + RATE // 2])
    assert source.read_bytes < len(source.data) // 4

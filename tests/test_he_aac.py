"""HE-AAC by our own decoder, against FFmpeg's: streams of an encoder, and random ones."""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Callable
from pathlib import Path

import formats
import he_aac
import numpy as np
import oracle
import pytest

import ossicle

DATA = Path(__file__).parent / "data/he_aac"
FILES = {
    "v1-16k-mono": (16_000, 2),
    "v1-24k-stereo": (24_000, 2),
    "v1-32k-stereo": (32_000, 2),
    "v1-44k-stereo": (44_100, 2),
    "v1-48k-5.1": (48_000, 6),
    "v2-22k": (22_050, 2),
    "v2-48k": (48_000, 2),
}
CONTAINERS = {
    "aac": "",
    "m4a": "",
    "mka": "",
    "mov": "",
    "mp4": "-movflags frag_keyframe+empty_moov+default_base_moof -frag_duration 300000",
}
# What differs by rounding alone; a wrong step of anything differs a thousand times as much.
TOLERANCE = 1e-5


def remux(source: Path, path: Path, options: str = "") -> Path:
    oracle.ffmpeg(oracle.bundled(), ["-i", source, "-c", "copy", *options.split(), path])
    return path


def check(path: Path, rate: int, channels: int, *, container: str = "") -> oracle.Array:
    """Exact lengths, and samples as each FFmpeg gives them."""
    waveform, own_rate = ossicle.load(path, mono=False)
    info = ossicle.info(path)
    assert (own_rate, info.sample_rate, info.codec) == (rate, rate, "aac")
    assert waveform.shape == (channels, info.frames)
    assert info.channels == channels
    for version, executable in oracle.decoders().items():
        [expected] = oracle.decode(executable, [path], channels)
        assert expected.shape == waveform.shape, version
        distance = oracle.rms(waveform - expected)
        assert distance < TOLERANCE, version
        if container:
            name = "aac (HE v2)" if path.name.startswith("v2") else "aac (HE v1)"
            formats.record(container, name, rate, channels, distance, path)
    mono, _ = ossicle.load(path)
    assert np.abs(mono - waveform.mean(axis=0)).max() < 1e-6
    return waveform


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("name", FILES)
def test_streams_of_an_encoder(name: str, suffix: str, tmp_path: Path) -> None:
    path = DATA / f"{name}.aac"
    if suffix != "aac":
        middle = remux(path, tmp_path / f"{name}.m4a")
        path = middle
        if suffix != "m4a":
            path = remux(middle, tmp_path / f"{name}.{suffix}", CONTAINERS[suffix])
    container = {"aac": "aac", "mka": "matroska"}.get(suffix, "mp4")
    check(path, *FILES[name], container=container)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], bytes]:
    """AAC-LC in ADTS at this rate."""
    folder = tmp_path_factory.mktemp("core")

    @functools.cache
    def make(rate: int, channels: int, seconds: float = 1.0) -> bytes:
        frames = int(rate * seconds)
        noise = np.random.default_rng(rate).uniform(-0.1, 0.1, (channels, frames))
        raw, path = folder / "core.f32", folder / "core.aac"
        sound = 0.5 * oracle.signal(rate, channels, frames) + noise
        raw.write_bytes(sound.T.astype("<f4").tobytes())
        form = ["-f", "f32le", "-ar", str(rate), "-ac", str(channels), "-i", raw]
        options = f"-c:a aac -aac_pns 0 -b:a {32 * channels}k -f adts"
        oracle.ffmpeg(oracle.bundled(), [*form, *options.split(), path])
        return path.read_bytes()

    return make


RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
KINDS = {"mono": (1, False), "pair": (2, False), "parametric": (1, True)}


@pytest.mark.sampled(one_in=13)
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", RATES)
def test_every_branch_of_the_syntax(
    rate: int, kind: str, seed: int, core: Callable[..., bytes], tmp_path: Path
) -> None:
    channels, is_parametric = KINDS[kind]
    number = 1000 * seed + rate // 50 + len(kind)
    data = he_aac.replicate(core(rate // 2, channels), rate, channels, number, stereo=is_parametric)
    path = tmp_path / f"v{1 + is_parametric}.aac"
    path.write_bytes(data)
    check(path, rate, 2, container="aac")


def with_config(data: bytes, config: bytes) -> bytes:
    """An MP4 whose `AudioSpecificConfig` of two bytes is another one; its header comes last."""
    at = data.index(b"\x05\x80\x80\x80\x02")
    grown = len(config) - 2
    new = bytearray(data[: at + 5] + config + data[at + 7 :])
    new[at + 4] = len(config)
    for tag, back in ((b"\x03\x80\x80\x80", 60), (b"\x04\x80\x80\x80", 40)):
        place = data.rindex(tag, at - back, at)
        new[place + 4] += grown
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"mp4a", b"esds"):
        place = data.rindex(kind, 0, at) - 4
        size = int.from_bytes(new[place : place + 4], "big") + grown
        new[place : place + 4] = size.to_bytes(4, "big")
    return bytes(new)


def config(*fields: tuple[int, int]) -> bytes:
    text = "".join(he_aac.bits(value, count) for value, count in fields)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


LC_22K = ((2, 5), (7, 4))
SIGNALLING = {
    "hierarchical": (config((5, 5), (7, 4), (1, 4), (4, 4), (2, 5), (0, 3)), 44_100, 2),
    "hierarchical v2": (config((29, 5), (7, 4), (1, 4), (4, 4), (2, 5), (0, 3)), 44_100, 2),
    "compatible": (
        config(*LC_22K, (1, 4), (0, 3), (0x2B7, 11), (5, 5), (1, 1), (4, 4), (0x548, 11), (1, 1)),
        44_100,
        2,
    ),
    "without stereo": (
        config(*LC_22K, (1, 4), (0, 3), (0x2B7, 11), (5, 5), (1, 1), (4, 4), (0x548, 11), (0, 1)),
        44_100,
        1,
    ),
    "implicit": (config(*LC_22K, (1, 4), (0, 3)), 44_100, 2),
    "at the core's rate": (config((5, 5), (7, 4), (1, 4), (7, 4), (2, 5), (0, 3)), 22_050, 2),
    "none": (config(*LC_22K, (1, 4), (0, 3), (0x2B7, 11), (5, 5), (0, 1)), 22_050, 1),
}


@pytest.mark.parametrize("suffix", ["m4a", "mka"])
@pytest.mark.parametrize("how", SIGNALLING)
def test_every_kind_of_signalling(
    how: str, suffix: str, core: Callable[..., bytes], tmp_path: Path
) -> None:
    """In the header or in the packets alone, and a header that forbids what packets have."""
    header, rate, channels = SIGNALLING[how]
    is_parametric = channels == 2
    bare, path = tmp_path / "bare.aac", tmp_path / "v1.m4a"
    bare.write_bytes(he_aac.replicate(core(22_050, 1), 44_100, 1, 5, stereo=is_parametric))
    remux(bare, path)
    path.write_bytes(with_config(path.read_bytes(), header))
    if suffix == "mka":
        path = remux(path, tmp_path / "v1.mka")
    check(path, rate, channels)


def caf(adts: bytes, header: bytes, rate: int, packet: int) -> bytes:
    blocks = [frame[7:] for frame in he_aac.frames(adts)]

    def number(value: int) -> bytes:
        return bytes([0x80 | value >> 7, value & 0x7F])

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">4sq", kind, len(body)) + body

    frames = packet * len(blocks)
    desc = struct.pack(">d4sIIIII", float(rate), b"aac ", 0, 0, packet, 2, 0)
    pakt = struct.pack(">qqii", len(blocks), frames - packet - 50, packet, 50)
    pakt += b"".join(number(len(block)) for block in blocks)
    head = b"caff" + struct.pack(">HH", 1, 0) + chunk(b"desc", desc) + chunk(b"kuki", header)
    return head + chunk(b"pakt", pakt) + chunk(b"data", bytes(4) + b"".join(blocks))


@pytest.mark.parametrize("how", ["hierarchical", "compatible", "implicit"])
@pytest.mark.parametrize(("rate", "packet"), [(44_100, 2048), (22_050, 1024)])
def test_caf_counts_at_either_rate(
    how: str, rate: int, packet: int, core: Callable[..., bytes]
) -> None:
    data = he_aac.replicate(core(22_050, 1), 44_100, 1, 8)
    whole, _ = ossicle.load(data, mono=False)
    clip = caf(data, SIGNALLING[how][0], rate, packet)
    waveform, own_rate = ossicle.load(clip, mono=False)
    scale = 2048 // packet
    begin, end = 2048, whole.shape[1] - 50 * scale
    assert own_rate == 44_100
    assert ossicle.info(clip).frames == end - begin
    assert np.array_equal(waveform, whole[:, begin:end])


def ranges_are_slices(source: Path | bytes, count: int, seed: int) -> None:
    whole, rate = ossicle.load(source, mono=False)
    frames = whole.shape[1]
    draw = random.Random(seed)
    for _ in range(count):
        begin = draw.randrange(frames)
        length = draw.randrange(1, min(frames - begin, 3 * rate) + 1)
        part, _ = ossicle.load(source, mono=False, offset=begin / rate, duration=length / rate)
        assert part.shape[1] == length
        assert np.abs(part - whole[:, begin : begin + length]).max() < 1e-5


@pytest.mark.parametrize("name", FILES)
def test_ranges_are_slices(name: str) -> None:
    data = (DATA / f"{name}.aac").read_bytes()
    ranges_are_slices(data, 30, 1)


@pytest.mark.sampled(one_in=4)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_ranges_of_all_that_may_last(kind: str, seed: int, core: Callable[..., bytes]) -> None:
    """Levels over time, smoothing, counted noise, stereo: 8 s, so that some begin far inside."""
    channels, is_parametric = KINDS[kind]
    data = core(16_000, channels, 8.0)
    data = he_aac.replicate(data, 32_000, channels, 77 + seed, stereo=is_parametric)
    ranges_are_slices(data, 60, seed)


@pytest.mark.thorough
def test_a_thousand_ranges(core: Callable[..., bytes]) -> None:
    data = he_aac.replicate(core(22_050, 1, 20.0), 44_100, 1, 3, stereo=True)
    ranges_are_slices(data, 1000, 1)


def test_a_range_of_a_stream_with_one_header(core: Callable[..., bytes]) -> None:
    """All depends on the first packet, and levels on all before them."""
    writer = he_aac.Replication(32_000, 1, 4)
    draw = writer.source.random
    frames = he_aac.frames(core(16_000, 1, 8.0))
    packets = [he_aac.with_payload(frames[0], writer.payload())]
    # No header any more; levels are drawn as before.
    writer.source.random = lambda: max(draw(), 0.31)  # type: ignore[method-assign]
    packets += [he_aac.with_payload(frame, writer.payload()) for frame in frames[1:]]
    ranges_are_slices(b"".join(packets), 20, 2)


def test_packets_without_replication_are_made_longer(
    core: Callable[..., bytes], tmp_path: Path
) -> None:
    """Envelopes leave nothing for the packet after the last, which FFmpeg counts wrong."""
    frames = he_aac.frames(core(16_000, 2))
    packets, lates = list(frames), [1]
    seed = 0
    while any(lates):
        writer, lates, seed = he_aac.Replication(32_000, 2, seed), [], seed + 1
        for n in range(6):
            packets[n] = he_aac.with_payload(frames[n], writer.payload())
            lates += [channel.late for channel in writer.channels if n > 3]
    path = tmp_path / "v1.aac"
    path.write_bytes(b"".join(packets))
    check(path, 32_000, 2)
    ranges_are_slices(path, 20, 1)


def test_replication_that_begins_late_is_named(core: Callable[..., bytes]) -> None:
    frames = he_aac.frames(core(16_000, 1))
    writer = he_aac.Replication(32_000, 1, 2)
    packets = [
        he_aac.with_payload(frame, writer.payload()) if n > 9 else frame
        for n, frame in enumerate(frames)
    ]
    data = b"".join(packets)
    assert ossicle.info(data).sample_rate == 16_000
    with pytest.raises(ossicle.UnsupportedFormatError, match="does not begin with") as caught:
        ossicle.load(data)
    assert caught.value.byte_offset == sum(map(len, packets[:10]))
    formats.refuse("HE-AAC that begins after eight packets of AAC-LC", caught.value.reason)


@pytest.mark.parametrize("name", FILES)
def test_damage_is_one_error_and_ends(name: str) -> None:
    """A packet that is lost costs itself; what replication lacks then it soon has again."""
    data = (DATA / f"{name}.aac").read_bytes()
    whole, _ = ossicle.load(data, mono=False)
    frames = he_aac.frames(data)
    middle = len(frames) // 3
    at = sum(map(len, frames[:middle]))
    broken = bytearray(data)
    broken[at + 7 : at + 60] = bytes([0xFF]) * 53
    with pytest.raises(ossicle.AudioError) as caught:
        ossicle.load(bytes(broken))
    assert caught.value.byte_offset == at
    concealed = ossicle.load_concealed(bytes(broken), mono=False)
    waveform = concealed[0]
    assert waveform.shape == whole.shape
    assert np.array_equal(waveform[:, : 2048 * middle], whole[:, : 2048 * middle])
    assert np.isfinite(waveform).all()

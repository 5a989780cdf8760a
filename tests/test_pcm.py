"""Containers of PCM and ADPCM against FFmpeg and soundfile: samples, lengths, ranges, refusals."""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import containers
import formats
import numpy as np
import oracle
import pytest
import soundfile

import ossicle

RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000)
CHANNELS = (1, 2, 6)
MASKS = {1: 0x4, 2: 0x3, 6: 0x3F}


def pcm_bytes(frames: int, channels: int) -> bytes:
    """Every byte value in every place: enough for `frames` of eight bytes a sample."""
    return np.random.default_rng(frames).bytes(8 * frames * channels)


def float_bytes(frames: int, channels: int, dtype: str) -> bytes:
    """Floats of all sizes, and none that is no number."""
    random = np.random.default_rng(frames)
    values = random.standard_normal((frames, channels)) * 10.0 ** random.integers(-9, 3)
    return values.astype(dtype).tobytes()


def written(rate: int, channels: int) -> dict[str, tuple[bytes, str, int]]:
    """Every format of samples in every container: the file, FFmpeg's name, bits."""
    frames = 1_013
    raw = pcm_bytes(frames, channels)
    integer = {bits: raw[: frames * channels * -(-bits // 8)] for bits in (8, 12, 16, 20, 24, 32)}
    name = {bits: f"pcm_s{8 * -(-bits // 8)}" for bits in integer}
    files: dict[str, tuple[bytes, str, int]] = {}

    def little(bits: int) -> str:
        return "pcm_u8" if bits == 8 else f"{name[bits]}le"

    def big(bits: int) -> str:
        return "pcm_s8" if bits == 8 else f"{name[bits]}be"

    for bits, data in integer.items():
        wav = containers.wav(data, 1, channels, bits, rate=rate)
        files[f"wav-{bits}"] = wav, little(bits), bits
        wide = 8 * -(-bits // 8)
        added = containers.extension(bits, MASKS[channels], 1)
        wav = containers.wav(data, 0xFFFE, channels, wide, rate=rate, extension=added)
        files[f"extensible-{bits}"] = wav, little(bits), bits
        aiff = containers.aiff(data, channels, bits, rate=rate)
        files[f"aiff-{bits}"] = aiff, big(bits), bits
        for tag in (b"NONE", b"twos"):
            aiff = containers.aiff(data, channels, bits, tag, rate=rate)
            files[f"aifc-{tag.decode()}-{bits}"] = aiff, big(bits), bits
        caf = containers.caf(data, b"lpcm", 0, channels, bits, rate=rate)
        files[f"caf-{bits}be"] = caf, big(bits), bits
        caf = containers.caf(data, b"lpcm", 2, channels, bits, rate=rate)
        files[f"caf-{bits}le"] = caf, "pcm_s8" if bits == 8 else little(bits), bits
    for bits in (8, 16, 24, 32):
        wave64 = containers.wave64(integer[bits], channels, bits, rate=rate)
        files[f"w64-{bits}"] = wave64, little(bits), bits
        au = containers.au(integer[bits], {8: 2, 16: 3, 24: 4, 32: 5}[bits], channels, rate=rate)
        files[f"au-{bits}"] = au, big(bits), bits
    for magic in (b"RF64", b"BW64"):
        wav = containers.wav(integer[16], 1, channels, 16, rate=rate, magic=magic)
        files[magic.decode()] = wav, "pcm_s16le", 16
    for bits, tag, codec in (
        (16, b"sowt", "s16le"),
        (24, b"in24", "s24be"),
        (32, b"in32", "s32be"),
    ):
        aiff = containers.aiff(integer[bits], channels, bits, tag, rate=rate)
        files[f"aifc-{tag.decode()}"] = aiff, f"pcm_{codec}", bits
    raw8 = containers.aiff(integer[8], channels, 8, b"raw ", rate=rate)
    files["aifc-raw"] = raw8, "pcm_u8", 8
    for bits in (32, 64):
        above = float_bytes(frames, channels, f">f{bits // 8}")
        below = float_bytes(frames, channels, f"<f{bits // 8}")
        wav = containers.wav(below, 3, channels, bits, rate=rate)
        files[f"wav-f{bits}"] = wav, f"pcm_f{bits}le", bits
        au = containers.au(above, {32: 6, 64: 7}[bits], channels, rate=rate)
        files[f"au-f{bits}"] = au, f"pcm_f{bits}be", bits
        for tag in (f"fl{bits}", f"FL{bits}"):
            aiff = containers.aiff(above, channels, bits, tag.encode(), rate=rate)
            files[f"aifc-{tag}"] = aiff, f"pcm_f{bits}be", bits
        caf = containers.caf(above, b"lpcm", 1, channels, bits, rate=rate)
        files[f"caf-f{bits}be"] = caf, f"pcm_f{bits}be", bits
        caf = containers.caf(below, b"lpcm", 3, channels, bits, rate=rate)
        files[f"caf-f{bits}le"] = caf, f"pcm_f{bits}le", bits
    data = integer[8]
    for law, wav_tag, au_code in (("a", 6, 27), ("mu", 7, 1)):
        tag, codec = {"a": "alaw", "mu": "ulaw"}[law], f"pcm_{law}law"
        files[f"wav-{tag}"] = containers.wav(data, wav_tag, channels, 8, rate=rate), codec, 8
        files[f"au-{tag}"] = containers.au(data, au_code, channels, rate=rate), codec, 8
        for spelled in (tag, tag.upper()):
            aiff = containers.aiff(data, channels, 16, spelled.encode(), rate=rate)
            files[f"aifc-{spelled}"] = aiff, codec, 8
        caf = containers.caf(data, tag.encode(), 0, channels, 8, rate=rate)
        files[f"caf-{tag}"] = caf, codec, 8
    return files


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("rate", RATES)
def test_every_format_of_samples_is_ffmpegs_to_the_bit(
    rate: int, channels: int, tmp_path: Path
) -> None:
    files = written(rate, channels)
    paths = [tmp_path / name for name in files]
    for path, (data, _, _) in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    expected = {
        version: oracle.decode(executable, paths, channels)
        for version, executable in oracle.decoders().items()
    }
    for index, (path, (data, codec, bits)) in enumerate(zip(paths, files.values(), strict=True)):
        info = ossicle.info(path)
        kind = path.name.split("-")[0].lower()
        container = {"aifc": "aiff", "caf": "caf", "au": "au", "w64": "w64", "aiff": "aiff"}
        facts = (info.sample_rate, info.channels, info.container, info.codec, info.bits_per_sample)
        assert facts == (rate, channels, container.get(kind, "wav"), codec, bits), path.name
        waveform, got = ossicle.load(path, mono=False)
        assert (got, waveform.shape) == (rate, (channels, 1_013)), path.name
        assert info.frames == 1_013
        for version, clips in expected.items():
            assert np.array_equal(waveform, clips[index]), (path.name, version)
        formats.record(info.container, codec, rate, channels, 0.0, path)
        in_memory, _ = ossicle.load(data, mono=False)
        assert np.array_equal(in_memory, waveform)
        mono, _ = ossicle.load(path)
        scale = np.abs(waveform).max()
        np.testing.assert_allclose(mono, waveform.mean(axis=0), rtol=0, atol=1e-6 * scale)


# FFmpeg reads these otherwise: as 16 bits, as little-endian, as 24 bits.
SOUNDFILES_OWN: dict[str, Callable[[bytes], bytes]] = {
    "sowt-8": lambda data: containers.aiff(data, 2, 8, b"sowt"),
    "sowt-24": lambda data: containers.aiff(data, 2, 24, b"sowt"),
    "sowt-32": lambda data: containers.aiff(data, 2, 32, b"sowt"),
    "rifx": lambda data: containers.wav(data, 1, 2, 16, magic=b"RIFX"),
    "24-in-32": lambda data: containers.wav(
        data, 0xFFFE, 2, 32, extension=containers.extension(24, 3, 1)
    ),
    "au-shorter": lambda data: containers.au(data, 3, 2, size=400),
}


@pytest.mark.parametrize("name", SOUNDFILES_OWN)
def test_what_soundfile_reads_right(name: str) -> None:
    data = SOUNDFILES_OWN[name](pcm_bytes(90, 2)[:1_440])
    expected, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    waveform, got = ossicle.load(data, mono=False)
    assert got == rate
    assert np.array_equal(waveform, expected.T)


@pytest.mark.parametrize("major", soundfile.available_formats())
def test_what_soundfile_writes(major: str) -> None:
    """Every sub-format of the containers that are read here, in either byte order."""
    ours = ("WAV", "WAVEX", "AIFF", "AU", "CAF", "W64", "RF64")
    if major not in ours:
        pytest.skip("another container")
    foreign = ("ALAC", "G72", "GSM", "DWVW", "DPCM", "MPEG", "NMS", "VORBIS", "OPUS")
    checked = 0
    for subtype in soundfile.available_subtypes(major):
        if any(name in subtype for name in foreign):
            continue
        for channels in (1, 2):
            for order in ("FILE", "LITTLE", "BIG"):
                if not soundfile.check_format(major, subtype, order):
                    continue
                waveform = oracle.signal(22_050, channels, 5_003).T
                file = io.BytesIO()
                try:
                    soundfile.write(file, waveform, 22_050, subtype, order, major)
                except soundfile.LibsndfileError:
                    continue
                data = file.getvalue()
                expected, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
                if data[:4] == b"dns.":
                    continue  # DEC's little-endian AU, which FFmpeg does not know either
                decoded, rate = ossicle.load(data, mono=False)
                what = f"{major} {subtype} {order} {channels}"
                assert (rate, decoded.shape) == (22_050, expected.T.shape), what
                if subtype == "MS_ADPCM":
                    # Predictions are rounded down there, and towards zero by FFmpeg and here.
                    assert np.abs(decoded - expected.T).max() < 0.02, what
                else:
                    assert np.array_equal(decoded, expected.T), what
                checked += 1
    assert checked >= 6


@pytest.mark.parametrize("channels", [3, 4, 5, 7, 8, 16, 63, 255])
def test_any_number_of_channels_keeps_its_order(channels: int, tmp_path: Path) -> None:
    data = pcm_bytes(40, channels)[: 40 * 2 * channels]
    stored = np.frombuffer(data, "<i2").reshape(40, channels).T / np.float32(32_768)
    swapped = np.frombuffer(data, "<i2").astype(">i2").tobytes()
    files = {
        "wav": containers.wav(data, 1, channels, 16),
        "aiff": containers.aiff(swapped, channels, 16),
        "au": containers.au(swapped, 3, channels),
        "caf": containers.caf(data, b"lpcm", 2, channels, 16),
        "w64": containers.wave64(data, channels, 16),
    }
    for name, file in files.items():
        waveform, _ = ossicle.load(file, mono=False)
        assert np.array_equal(waveform, stored), name
        assert ossicle.info(file).channels == channels
        if channels <= 8:
            path = tmp_path / name
            path.write_bytes(file)
            for executable in oracle.decoders().values():
                assert np.array_equal(oracle.decode(executable, [path], channels)[0], waveform)


def adpcm_files(folder: Path, channels: int, frames: int) -> dict[str, Path]:
    waveform = oracle.signal(22_050, channels, frames)
    source = folder / "source.wav"
    source.write_bytes(oracle.wav_bytes(waveform, 22_050))
    codecs = {"ms.wav": "ms", "ima.wav": "ima_wav", "ima4.aifc": "ima_qt", "ima4.caf": "ima_qt"}
    files = {name: folder / f"{channels}-{frames}-{name}" for name in codecs}
    forms = {"aifc": ["-f", "aiff"]}
    for name, codec in codecs.items():
        form = forms.get(name.split(".")[1], [])
        oracle.encode(source, [(files[name], ["-c:a", f"adpcm_{codec}", *form])])
    for subtype in ("MS_ADPCM", "IMA_ADPCM"):
        for form in ("WAV", "W64"):
            path = folder / f"{channels}-{frames}-{subtype}.{form}"
            soundfile.write(path, waveform.T, 22_050, subtype, format=form)
            files[path.name] = path
    return files


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", [1, 63, 1_000, 5_003, 30_000])
def test_adpcm_is_ffmpegs(channels: int, frames: int, tmp_path: Path) -> None:
    for name, path in adpcm_files(tmp_path, channels, frames).items():
        expected = oracle.decode(oracle.bundled(), [path], channels)[0]
        waveform, rate = ossicle.load(path, mono=False)
        info = ossicle.info(path)
        assert (rate, info.channels, info.bits_per_sample) == (22_050, channels, None)
        assert (info.frames, waveform.shape) == (waveform.shape[1], expected.shape), name
        difference = np.abs(waveform - expected).max()
        if name.startswith("ima4"):
            # FFmpeg carries the lower 7 bits over from packet to packet: no range could.
            assert difference < 128 / 32_768, name
        else:
            assert difference == 0, name
        facts = (info.container, info.codec, rate, channels)
        formats.record(*facts, oracle.rms(waveform - expected), path)


def test_ima_in_aiff_is_soundfiles(tmp_path: Path) -> None:
    path = tmp_path / "clip.aiff"
    soundfile.write(path, oracle.signal(22_050, 2, 5_003).T, 22_050, "IMA_ADPCM")
    expected, _ = soundfile.read(path, dtype="float32")
    assert np.array_equal(ossicle.load(path, mono=False)[0], expected.T)


def test_a_short_last_block_gives_what_it_holds(tmp_path: Path) -> None:
    files = adpcm_files(tmp_path, 2, 5_003)
    for name, head in (("ms.wav", 14), ("ima.wav", 8)):
        data = files[name].read_bytes()
        begin = data.index(b"data") + 8
        block = int.from_bytes(data[32:34], "little")
        # With a byte less than a head, FFmpeg makes up the byte; here there is no block.
        for rest in (0, 1, head - 2, head, head + 1, head + 8, head + 12, 100, block - 8):
            size = 2 * block + rest
            head_bytes = data[: begin - 4] + size.to_bytes(4, "little")
            path = tmp_path / f"{rest}-{name}"
            path.write_bytes(head_bytes + data[begin : begin + size])
            waveform, _ = ossicle.load(path, mono=False)
            command = [oracle.bundled(), "-v", "quiet", "-i", path, "-f", "f32le", "-"]
            done = subprocess.run(command, capture_output=True, check=False)
            expected = np.frombuffer(done.stdout, "<f4").reshape(-1, 2).T
            assert np.array_equal(waveform, expected), (name, rest)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """10 s of each container."""
    folder = tmp_path_factory.mktemp("clips")
    waveform = oracle.signal(22_050, 2, 220_507)
    source = folder / "source.wav"
    source.write_bytes(oracle.wav_bytes(waveform, 22_050))
    suffixes = {
        "wav": "-c:a pcm_s24le",
        "rf64.wav": "-c:a pcm_s16le -rf64 always",
        "w64": "-c:a pcm_s16le",
        "aiff": "-c:a pcm_s16be",
        "aifc": "-c:a pcm_f32be -f aiff",
        "au": "-c:a pcm_mulaw",
        "caf": "-c:a pcm_s24le",
        "ms.wav": "-c:a adpcm_ms",
        "ima.wav": "-c:a adpcm_ima_wav",
        "ima.aifc": "-c:a adpcm_ima_qt -f aiff",
        "ima.caf": "-c:a adpcm_ima_qt",
    }
    paths = {name: folder / f"clip.{name}" for name in suffixes}
    oracle.encode(source, [(paths[name], options.split()) for name, options in suffixes.items()])
    return {name: path.read_bytes() for name, path in paths.items()}


def test_a_thousand_ranges_of_each_container_are_slices(clips: dict[str, bytes]) -> None:
    random = np.random.default_rng(11)
    for name, data in clips.items():
        whole, rate = ossicle.load(data, mono=False)
        mean, _ = ossicle.load(data)
        assert ossicle.info(data).frames == whole.shape[1]
        starts = random.integers(0, whole.shape[1] + 100, 1_000)
        lengths = np.exp(random.uniform(0, np.log(30_000), 1_000)).astype(int) - 1
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            where = {"offset": start / rate, "duration": length / rate}
            part, _ = ossicle.load(data, mono=False, **where)
            assert np.array_equal(part, whole[:, start : start + length]), (name, start, length)
        part, _ = ossicle.load(data, **where)
        assert np.array_equal(part, mean[start : start + length])


class Counting(io.BytesIO):
    """A file that counts the bytes that are read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


LONG: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "wav": (lambda data: containers.wav(data, 1, 1, 16), 32_000),
    "aiff": (lambda data: containers.aiff(data, 1, 16), 32_000),
    "late": (lambda data: containers.aiff(data, 1, 16, late_format=True), 32_000),
    "au": (lambda data: containers.au(data, 3, 1), 32_000),
    "caf": (lambda data: containers.caf(data, b"lpcm", 0, 1, 16), 32_000),
    "w64": (lambda data: containers.wave64(data, 1, 16), 32_000),
    "ima": (lambda data: containers.wav(data, 0x11, 1, 4, block=256), 8_200),
    "ima4": (lambda data: containers.aiff(data, 1, 16, b"ima4"), 8_600),
}


@pytest.mark.parametrize("name", LONG)
def test_only_the_header_and_the_range_are_read(name: str) -> None:
    """Of 10 minutes at 16 kHz, in a Python file object."""
    make, second = LONG[name]
    data = make(bytes(600 * second))
    file = Counting(data)
    info = ossicle.info(file)
    assert info.frames >= 600 * 16_000
    assert file.count <= 16_384

    file = Counting(data)
    part, _ = ossicle.load(file, offset=300.0, duration=1.0)
    assert len(part) == 16_000
    assert file.count <= second + 16_384


# A file of 5 GiB by its header, of which the end is written and the rest is a hole.
HUGE: dict[str, Callable[[int], bytes]] = {
    "rf64": lambda size: containers.wav(b"", 1, 2, 16, magic=b"RF64").replace(
        struct.pack("<IQQ", 28, 80, 0), struct.pack("<IQQ", 28, 80 + size, size), 1
    ),
    "w64": lambda size: containers.wave64(b"", 2, 16, size=24 + size),
    "caf": lambda size: containers.caf(b"", b"lpcm", 2, 2, 16, size=4 + size),
    "au": lambda _: containers.au(b"", 2, 1, size=0xFFFF_FFFF),
}


@pytest.mark.parametrize("name", HUGE)
def test_sizes_above_4_gib(name: str, tmp_path: Path) -> None:
    size, path = 5 * 2**30, tmp_path / name
    header, end = HUGE[name](size), bytes(range(64))
    with path.open("wb") as file:
        file.write(header)
        file.seek(len(header) + size - len(end))
        file.write(end)
    frame = 1 if name == "au" else 4
    assert ossicle.info(path).frames == size // frame
    offset = (size - len(end)) // frame / 16_000
    waveform, _ = ossicle.load(path, mono=False, offset=offset)
    dtype, scale = ("i1", 128) if name == "au" else ("<i2", 32_768)
    expected = np.frombuffer(end, dtype).reshape(len(end) // frame, -1).T / np.float32(scale)
    assert np.array_equal(waveform, expected)


def test_chunks_around_the_samples_are_passed_over() -> None:
    data = pcm_bytes(100, 2)[:400]
    expected, _ = ossicle.load(containers.wav(data, 1, 2, 16), mono=False)
    for pad in (b"\0", b"x", b""):
        for length in (0, 1, 2, 7, 601, 5_001):
            names = (b"JUNK", b"LIST", b"bext", b"fact", b"cue ")
            front = b"".join(containers.chunk(name, b"d" * length, pad=pad) for name in names)
            file = containers.wav(data, 1, 2, 16, front=front, behind=front)
            waveform, _ = ossicle.load(file, mono=False)
            assert np.array_equal(waveform, expected), (pad, length)
    swapped = np.frombuffer(data, "<i2").astype(">i2").tobytes()
    for length in (0, 1, 7, 601, 5_001):
        front = containers.chunk(b"ANNO", b"a" * length, ">") * 3
        for offset in (0, 1, 8, 5_000):
            for late in (False, True):
                file = containers.aiff(swapped, 2, 16, front=front, offset=offset, late_format=late)
                waveform, _ = ossicle.load(file, mono=False)
                assert np.array_equal(waveform, expected), (length, offset, late)


def test_no_samples_are_no_error() -> None:
    for file in (
        containers.aiff(b"", 2, 16),
        containers.aiff(b"", 2, 16)[:-16],  # no chunk of samples at all
        containers.au(b"", 3, 2),
        containers.caf(b"", b"lpcm", 0, 2, 16),
        containers.wave64(b"", 2, 16),
        containers.wav(b"", 0x11, 2, 4, block=512),
    ):
        assert ossicle.load(file, mono=False)[0].shape == (2, 0)
        assert ossicle.info(file).frames == 0


STREAMS: dict[str, Callable[[bytes], bytes]] = {
    "aiff-0": lambda data: containers.aiff(data, 2, 16, size=0),
    "aiff-ones": lambda data: containers.aiff(data, 2, 16, size=0xFFFF_FFFF),
    "aiff-sox": lambda data: containers.aiff(data, 2, 16, size=0x7F00_0008),
    "aiff-sox-24": lambda data: containers.aiff(data, 2, 24, size=0x7F00_0000 // 6 * 6 + 8),
    "wav-sox": lambda data: containers.wav(data, 1, 2, 16, size=0x7FFF_F000),
    "wav-sox-24": lambda data: containers.wav(data, 1, 2, 24, size=0x7FFF_F000 // 6 * 6),
    "au-0": lambda data: containers.au(data, 3, 2, size=0),
    "au-ones": lambda data: containers.au(data, 3, 2, size=0xFFFF_FFFF),
    "caf": lambda data: containers.caf(data, b"lpcm", 0, 2, 16, size=-1),
    "w64": lambda data: containers.wave64(data, 2, 16, size=2**63 - 1),
    "rf64": lambda data: containers.wav(data, 1, 2, 16, magic=b"RF64").replace(
        struct.pack("<Q", len(data)), bytes(8), 1
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_sizes_that_streams_leave(name: str) -> None:
    data = pcm_bytes(75, 2)[:1_200]
    whole = ossicle.load(STREAMS[name](data), mono=False)[0]
    assert whole.size * (3 if "24" in name else 2) == len(data)
    # Half a frame at the end is what a stream that was cut leaves.
    cut = ossicle.load(STREAMS[name](data)[:-1], mono=False)[0]
    assert np.array_equal(cut, whole[:, :-1])


def test_streams_of_ffmpeg(tmp_path: Path) -> None:
    waveform = oracle.signal(16_000, 2, 5_003)
    source = tmp_path / "source.wav"
    source.write_bytes(oracle.wav_bytes(waveform, 16_000))
    expected, _ = ossicle.load(source, mono=False)
    for executable in oracle.decoders().values():
        for form in ("aiff", "au", "caf", "w64", "wav"):
            command = [executable, "-v", "error", "-i", source, "-f", form, "-"]
            stream = subprocess.run(command, capture_output=True, check=True).stdout
            decoded, _ = ossicle.load(stream, mono=False)
            assert np.array_equal(decoded, expected), form


@pytest.mark.parametrize("missing", [1, 2, 100])
def test_a_cut_is_an_error_with_its_byte(missing: int) -> None:
    data = pcm_bytes(75, 2)[:1_200]
    for file in (
        containers.aiff(data, 2, 16),
        containers.au(data, 3, 2),
        containers.caf(data, b"lpcm", 0, 2, 16),
        containers.wave64(data, 2, 16),
        containers.wav(data, 1, 2, 16, magic=b"BW64"),
        containers.wav(data, 0x11, 1, 4, block=256),
    ):
        with pytest.raises(ossicle.CorruptAudioError, match="declares 1200 bytes") as caught:
            ossicle.load(file[:-missing])
        assert caught.value.byte_offset == len(file) - missing


def test_a_packet_table_tells_what_is_the_recording() -> None:
    data = (b"\x10\x05" + bytes([0x73] * 32)) * 8

    def clip(table: bytes, in_front: bool) -> bytes:
        where = {"front": table} if in_front else {"behind": table}
        return containers.caf(data, b"ima4", 0, 1, 0, packet=(34, 64), **where)

    whole, _ = ossicle.load(clip(b"", True))
    assert len(whole) == 512
    for in_front in (False, True):
        file = clip(containers.packet_table(8, 400, 12, 100), in_front)
        assert np.array_equal(ossicle.load(file)[0], whole[12:412])
        assert ossicle.info(file).frames == 400
        part, _ = ossicle.load(file, offset=100 / 16_000, duration=1.0)
        assert np.array_equal(part, whole[112:412])
        with pytest.raises(ossicle.CorruptAudioError, match="declares 501 frames"):
            ossicle.load(clip(containers.packet_table(8, 501, 12, 0), in_front))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers(value: float) -> None:
    samples = oracle.signal(16_000, 1, 1_000)[0]
    samples[765] = value
    for file in (
        containers.aiff(samples.astype(">f4").tobytes(), 1, 32, b"fl32"),
        containers.au(samples.astype(">f8").tobytes(), 7, 1),
        containers.caf(samples.astype("<f4").tobytes(), b"lpcm", 3, 1, 32),
    ):
        with pytest.raises(ossicle.NonFiniteSampleError, match="765") as caught:
            ossicle.load(file)
        assert caught.value.sample_index == 765
        assert not np.isfinite(ossicle.load(file, allow_nonfinite=True)[0][765])


REFUSED: dict[str, bytes] = {
    r"G\.722": containers.wav(bytes(400), 0x28F, 1, 4, block=1),
    "AAC": containers.wav(bytes(400), 0xFF, 2, 16, block=4),
    "ATRAC3": containers.wav(bytes(400), 0x270, 2, 0, block=384),
    "unknown.*0x1234": containers.wav(bytes(400), 0x1234, 2, 16),
    "PCM.*64 bits": containers.wav(bytes(400), 1, 2, 64),
    "float.*16 bits": containers.wav(bytes(400), 3, 2, 16),
    "sub-format": containers.wav(
        bytes(400),
        0xFFFE,
        2,
        16,
        extension=bytes(8) + bytes.fromhex("bfaa23e958cb7144a119fffa01e4ce62"),
    ),
    "adpcm_ima_wav of 3 channels": containers.wav(bytes(768), 0x11, 3, 4, block=768),
    r"G\.721": containers.au(bytes(400), 23, 1),
    r"G\.723.*5 bits": containers.au(bytes(400), 26, 1),
    "encoding 99": containers.au(bytes(400), 99, 1),
    "MAC3": containers.aiff(bytes(400), 1, 16, b"MAC3"),
    "DWVW": containers.aiff(bytes(400), 1, 16, b"DWVW"),
    "AIFF of 48 bits": containers.aiff(bytes(480), 1, 48),
    "CAF of 64 bits": containers.caf(bytes(480), b"lpcm", 0, 1, 64),
    "2000 channels": containers.aiff(bytes(4_000), 2_000, 16),
}


@pytest.mark.parametrize("match", REFUSED)
def test_other_codecs_are_refused_by_name(match: str) -> None:
    for call in (ossicle.load, ossicle.info):
        with pytest.raises(ossicle.UnsupportedFormatError, match=match) as caught:
            call(REFUSED[match])
        assert caught.value.byte_offset is not None


def test_damaged_adpcm_is_an_error_with_the_byte_of_its_block() -> None:
    block = b"\x10\x00\x05\x00" + bytes(252)
    damaged = containers.wav(block * 3 + b"\x10\x00\x59\x00" + bytes(252), 0x11, 1, 4, block=256)
    with pytest.raises(ossicle.DecodeError, match="step 89") as caught:
        ossicle.load(damaged)
    assert caught.value.byte_offset == len(damaged) - 256
    # What is not asked for is not decoded.
    assert len(ossicle.load(damaged, duration=0.09)[0]) == 1_440


def test_caf_of_other_codecs_is_left_to_theirs(make_clip) -> None:
    path = make_clip("caf", rate=44_100, options="-c:a alac")
    assert ossicle.info(path).codec == "alac"
    assert len(ossicle.load(path)[0]) == 16_001

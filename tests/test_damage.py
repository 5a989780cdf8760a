"""Damage in mid-stream: an error with its byte, or a concealed gap; and checksums on request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import oracle
import pytest

import ossicle

FRAMES = 60_000
RATE = 16_000


@dataclass(frozen=True)
class Format:
    """One container and codec, and what its own checksums and numbers promise."""

    suffix: str
    options: str
    # Every damaged byte of the audio is noticed.
    checked: bool = False
    # Each packet's place is known, whatever was lost before it.
    placed: bool = True

    def __str__(self) -> str:
        return f"{self.suffix}-{self.options.split()[1]}"


FORMATS = [
    Format("flac", "-c:a flac -frame_size 1024", checked=True),
    Format("oga", "-c:a flac -frame_size 1024", checked=True),
    Format("mka", "-c:a flac -frame_size 1024 -cluster_time_limit 300", checked=True),
    Format("ogg", "-c:a libvorbis -q:a 2 -page_duration 50000", checked=True),
    Format("opus", "-c:a libopus -b:a 24k -page_duration 50000", checked=True),
    Format("mp3", "-c:a libmp3lame -b:a 48k"),
    Format("m4a", "-c:a aac -b:a 48k -movflags +faststart"),
    Format("m4a", "-c:a alac -movflags +faststart"),
    Format("aac", "-c:a aac -b:a 48k -f adts"),
    Format("mka", "-c:a libmp3lame -b:a 48k -cluster_time_limit 300", placed=False),
    Format("webm", "-c:a libopus -b:a 24k", placed=False),
    Format("caf", "-c:a alac"),
    Format("wav", "-c:a pcm_s16le"),
    Format("aiff", "-c:a pcm_s16be"),
]


@pytest.fixture(scope="module", params=FORMATS, ids=str)
def clip(request: pytest.FixtureRequest, make_clip) -> tuple[Format, bytes]:
    kind: Format = request.param
    path: Path = make_clip(kind.suffix, rate=RATE, frames=FRAMES, options=kind.options)
    return kind, path.read_bytes()


def load_or_error(data: bytes, **arguments) -> npt.NDArray[np.float32] | ossicle.AudioError:
    try:
        return ossicle.load(data, **arguments)[0]
    except ossicle.AudioError as error:
        return error


def concealed(data: bytes) -> tuple[npt.NDArray[np.float32], list[ossicle.Gap]] | None:
    """What concealment gives, which must agree with what happens without it; None for an error."""
    raised = load_or_error(data)
    batch = ossicle.load_batch([data], RATE, on_error="conceal")
    if batch.errors[0] is not None:
        assert type(batch.errors[0]) is type(raised)
        with pytest.raises(type(raised)):
            ossicle.load_concealed(data)
        return None
    waveform, _, gaps = ossicle.load_concealed(data)
    if isinstance(raised, ossicle.AudioError):
        assert str(gaps[0].error) == str(raised)
        assert raised.byte_offset is not None
    else:
        assert gaps == []
        assert np.array_equal(raised, waveform)
    ends = [0]
    for gap in gaps:
        assert ends[-1] <= gap.start <= gap.end
        assert not waveform[gap.start : gap.end].any()
        ends.append(gap.end)
    return waveform, gaps


def outside(gaps: list[ossicle.Gap], frames: int, margin: int) -> npt.NDArray[np.bool_]:
    """Which of ``frames`` samples lie in no gap, nor within ``margin`` behind one."""
    inside = np.zeros(frames, bool)
    for gap in gaps:
        inside[gap.start : gap.end + margin] = True
    return ~inside


def test_a_whole_clip_has_no_gaps(clip) -> None:
    _, data = clip
    result = concealed(data)
    assert result is not None
    assert result[1] == []
    batch = ossicle.load_batch([data] * 2, RATE, on_error="conceal")
    assert batch.gaps == [[], []]


def test_what_lies_outside_of_gaps_is_what_it_was(clip) -> None:
    kind, data = clip
    random = np.random.default_rng(7)
    expected, _ = ossicle.load(data)
    noticed = 0
    for _ in range(30):
        damaged = bytearray(data)
        place = int(random.integers(len(data) // 4, 3 * len(data) // 4))
        length = int(random.choice([1, 20, 400]))
        damaged[place : place + length] = random.bytes(len(damaged[place : place + length]))
        result = concealed(bytes(damaged))
        assert result is not None
        waveform, gaps = result
        noticed += bool(gaps)
        if kind.checked:
            assert gaps or length == 1  # one byte in 256 is what it was
            assert len(waveform) == len(expected)
            # The filter banks, and what Opus remembers, reach on behind a gap.
            margin = {"ogg": 4096, "opus": 48_000}.get(kind.suffix, 0)
            same = outside(gaps, len(expected), margin)
            tolerance = 1e-2 if kind.suffix == "opus" else 1e-5
            assert np.abs(waveform - expected)[same].max() < tolerance
        elif kind.placed and kind.suffix not in ("wav", "aiff"):
            # The end lies where it lay: what was lost before it is silence.
            assert len(waveform) == len(expected), (place, length, gaps)
            assert oracle.rms(waveform[-4_000:] - expected[-4_000:]) < 1e-4, (place, length, gaps)
    if kind.checked:
        assert noticed >= 25


def test_a_range_of_what_is_concealed_is_a_slice_of_it(clip) -> None:
    _, data = clip
    rate = ossicle.info(data).sample_rate
    random = np.random.default_rng(11)
    for _ in range(6):
        damaged = bytearray(data)
        place = int(random.integers(len(data) // 4, 3 * len(data) // 4))
        damaged[place : place + 90] = random.bytes(90)
        result = concealed(bytes(damaged))
        assert result is not None
        whole, gaps = result
        gaps = [gap for gap in gaps if gap.start < gap.end <= len(whole)]
        # Across its beginning, across its end, and inside of it alone.
        starts = [(gap.start - 40, gap.start + 40) for gap in gaps]
        starts += [(gap.end - 40, gap.end + 40) for gap in gaps]
        starts += [(gap.start + 9, gap.end - 9) for gap in gaps if gap.end - gap.start > 20]
        for start, end in starts:
            first = max(start, 0) / rate
            arguments = {"offset": first, "duration": end / rate - first}
            part, _, inner = ossicle.load_concealed(damaged, **arguments)
            wanted = whole[max(start, 0) : end]
            assert part.shape == wanted.shape
            assert np.abs(part - wanted).max(initial=0) < 1e-4
            assert any(gap.start < gap.end for gap in inner)
            # Not concealed it is an error, and never a shorter clip.
            assert isinstance(load_or_error(damaged, **arguments), ossicle.AudioError)


def test_a_range_of_nothing_has_all_channels(clip) -> None:
    _, data = clip
    for arguments in ({"duration": 0.0}, {"offset": 0.5, "duration": 0.0}, {"offset": 99.0}):
        for rate in (None, 8_000):
            assert ossicle.load(data, rate, mono=False, **arguments)[0].shape == (1, 0)


def test_a_cut_gives_what_is_there_and_says_what_is_missing(clip) -> None:
    kind, data = clip
    expected, _ = ossicle.load(data)
    for share in (0.3, 0.5, 0.8):
        cut = data[: int(share * len(data))]
        result = concealed(cut)
        if result is None:
            # The index at the end of MP4, or that of CAF, went with the cut.
            assert kind.suffix in ("m4a", "caf")
            continue
        waveform, gaps = result
        assert len(waveform) < len(expected)
        if gaps:
            assert gaps[-1].end >= len(waveform)
        else:
            # Nothing in these says how long they are: a cut between packets cannot be told.
            assert kind.suffix in ("mp3", "aac", "mka", "webm")
        # The last packet before a cut may be one that the cut has changed.
        same = max(len(waveform) - 4_096, 0)
        assert np.abs(waveform[:same] - expected[:same]).max() < 1e-5


def test_gaps_are_counted_in_samples_of_the_result(make_clip) -> None:
    kind = FORMATS[0]
    data = bytearray(
        make_clip(kind.suffix, rate=RATE, frames=FRAMES, options=kind.options).read_bytes()
    )
    data[len(data) // 2] ^= 0xFF
    waveform, _, [gap] = ossicle.load_concealed(data)
    assert gap.end - gap.start == 1024
    _, _, [resampled] = ossicle.load_concealed(data, 8_000)
    assert (resampled.start, resampled.end) == (gap.start // 2, -(-gap.end // 2))
    start = (gap.start - 100) / RATE
    part, _, [inner] = ossicle.load_concealed(data, offset=start, duration=0.02)
    assert (inner.start, inner.end) == (100, 320)
    assert np.array_equal(part, waveform[gap.start - 100 :][:320])
    # A range that the damage does not touch has no gap.
    assert ossicle.load_concealed(data, duration=0.5)[2] == []
    assert ossicle.load_concealed(data, offset=gap.end / RATE)[2] == []
    batch = ossicle.load_batch([data, b"RIFF"], RATE, on_error="conceal")
    assert [(gap.start, gap.end) for gap in batch.gaps[0]] == [(gap.start, gap.end)]
    assert batch.errors[0] is None
    assert isinstance(batch.errors[1], ossicle.AudioError)
    assert batch.lengths.tolist() == [FRAMES, 0]


def test_verify_compares_the_md5_of_flac(make_clip) -> None:
    data = bytearray(make_clip("flac", rate=RATE, frames=FRAMES, options="-c:a flac").read_bytes())
    whole, _ = ossicle.load(data)
    part, _ = ossicle.load(data, 8_000, offset=1.0, duration=0.5, verify=True)
    assert np.array_equal(part, ossicle.load(data, 8_000, offset=1.0, duration=0.5)[0])
    md5 = data[26:42]
    data[26] ^= 1
    assert np.array_equal(ossicle.load(data)[0], whole)
    for arguments in ({}, {"offset": 1.0, "duration": 0.5}, {"sample_rate": 8_000}):
        error = load_or_error(data, verify=True, **arguments)
        assert isinstance(error, ossicle.CorruptAudioError)
        assert "MD5" in error.reason
    batch = ossicle.load_batch([data], verify=True, on_error="collect")
    assert isinstance(batch.errors[0], ossicle.CorruptAudioError)
    data[26:42] = bytes(16)  # a writer that could not go back leaves it out
    assert np.array_equal(ossicle.load(data, verify=True)[0], whole)
    data[26:42] = md5
    assert np.array_equal(ossicle.load(data, verify=True)[0], whole)


def test_verify_decodes_all_of_any_clip(clip) -> None:
    _, data = clip
    part, _ = ossicle.load(data, offset=0.5, duration=0.25, verify=True)
    assert np.abs(part - ossicle.load(data, offset=0.5, duration=0.25)[0]).max() < 1e-5
    cut = data[: len(data) - 40]
    whole, ranged = load_or_error(cut), load_or_error(cut, duration=0.25, verify=True)
    assert isinstance(whole, ossicle.AudioError) == isinstance(ranged, ossicle.AudioError)


def test_arguments_that_make_no_sense() -> None:
    data = oracle.wav_bytes(np.zeros(10), RATE)
    for arguments in ({"on_error": "ignore"}, {"on_error": "conceal", "verify": True}):
        with pytest.raises(ossicle.InvalidArgumentError):
            ossicle.load(data, **arguments)


def test_the_deprecated_way_gives_what_it_gave(make_clip) -> None:
    data = bytearray(make_clip("flac", rate=RATE, frames=FRAMES).read_bytes())
    data[len(data) // 2] ^= 0xFF
    with pytest.warns(DeprecationWarning, match="load_concealed"):
        waveform, rate, gaps = ossicle.load(data, on_error="conceal")  # type: ignore[arg-type, misc]
    expected = ossicle.load_concealed(data)
    np.testing.assert_array_equal(waveform, expected.waveform)
    assert (rate, repr(gaps)) == (expected.sample_rate, repr(expected.gaps))

"""One channel of a recording, and a segment for each clip of a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ossicle

HOSTILE = sorted(
    path
    for path in (Path(__file__).parent / "data" / "hostile").iterdir()
    if path.is_file() and path.suffix != ".md"
)
# (suffix, rate, channels, FFmpeg's options)
CLIPS = {
    "wav": ("wav", 8_000, 2, "-c:a pcm_s16le"),
    "wav-float": ("wav", 22_050, 6, "-c:a pcm_f32le"),
    "wav-24": ("wav", 16_000, 3, "-c:a pcm_s24le"),
    "adpcm": ("wav", 8_000, 2, "-c:a adpcm_ms"),
    "flac": ("flac", 16_000, 2, "-c:a flac -sample_fmt s16"),
    "flac-5": ("flac", 16_000, 5, "-c:a flac -sample_fmt s32"),
    "flac-in-mkv": ("mkv", 16_000, 2, "-c:a flac -sample_fmt s16"),
    "pcm-in-mov": ("mov", 16_000, 2, "-c:a pcm_s16be"),
    "alac": ("m4a", 16_000, 2, "-c:a alac"),
    "mp3": ("mp3", 44_100, 2, "-c:a libmp3lame -b:a 64k -joint_stereo 1"),
    "mp2": ("mp2", 48_000, 2, "-c:a mp2 -b:a 96k"),
    "aac-5.1": ("m4a", 44_100, 6, "-c:a aac -aac_pns 0"),
    "vorbis-6": ("ogg", 44_100, 6, "-c:a libvorbis"),
    "opus": ("opus", 48_000, 2, "-c:a libopus -b:a 32k"),
    "mono": ("wav", 8_000, 1, "-c:a pcm_s16le"),
}

Planes = np.ndarray[Any, Any]
Load = Callable[..., Any]


@pytest.fixture(scope="module")
def clips(make_clip) -> dict[str, Path]:
    return {
        name: make_clip(suffix, rate=rate, channels=channels, frames=rate + 7, options=options)
        for name, (suffix, rate, channels, options) in CLIPS.items()
    }


def outcome(load: Load, source: Any, *args: Any, **options: Any) -> Any:
    """What it gives, or the error that it ends in."""
    try:
        return load(source, *args, **options)
    except ossicle.AudioError as error:
        return error


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, ossicle.AudioError) or isinstance(other, ossicle.AudioError):
        return type(one) is type(other) and str(one) == str(other)
    return np.array_equal(one[0], other[0], equal_nan=True) and one[1] == other[1]


def check_channels(source: Any, *args: Any, **options: Any) -> int:
    """Each channel is the row of what all of them are, errors included; how many there are."""
    load: Load = options.pop("load", ossicle.load)
    every = outcome(load, source, *args, mono=False, **options)
    if isinstance(every, ossicle.AudioError):
        assert is_same(outcome(load, source, *args, channel=0, **options), every)
        return 0
    planes = every[0]
    for channel, plane in enumerate(planes):
        one = load(source, *args, channel=channel, **options)
        assert one[0].shape == plane.shape
        assert is_same(one, (plane, every[1]))
        if load is ossicle.load_concealed:
            assert [gap[:2] for gap in one.gaps] == [gap[:2] for gap in every.gaps]
    text = f"channel {len(planes)} of a recording of {len(planes)} channel"
    with pytest.raises(ossicle.InvalidArgumentError, match=text):
        load(source, *args, channel=len(planes), **options)
    return len(planes)


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.name)
@pytest.mark.parametrize("decoder", ["native", "symphonia", "both"])
@pytest.mark.parametrize("rate", [None, 16_000])
@pytest.mark.sampled(one_in=2)
def test_each_codec_in_each_container(path: Path, decoder: str, rate: int | None) -> None:
    check_channels(path, rate, decoder=decoder)
    check_channels(path, rate, decoder=decoder, offset=0.05, duration=0.02)
    check_channels(path, rate, decoder=decoder, verify=True, offset=0.01)
    check_channels(path, rate, decoder=decoder, offset=1e6)


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.name)
def test_with_silence_for_damage(path: Path) -> None:
    data = path.read_bytes()
    random = np.random.default_rng(len(data))
    for place in random.integers(len(data) // 4, len(data), 4):
        damaged = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        for source in (damaged, data[:place]):
            check_channels(source, 8_000, load=ossicle.load_concealed)
            check_channels(source, load=ossicle.load_concealed)
            check_channels(source)


@pytest.mark.parametrize("name", CLIPS)
def test_many_channels(name: str, clips: dict[str, Path]) -> None:
    for rate in (None, 16_000):
        assert check_channels(clips[name], rate) == CLIPS[name][2]
    whole, _ = ossicle.load(clips[name], mono=False)
    found = ossicle.blocks(clips[name], seconds=0.3, channel=len(whole) - 1)
    joined = np.concatenate(list(found))
    assert joined.shape == whole[-1].shape
    assert np.abs(joined - whole[-1]).max() <= 1e-5


def test_channels_or_rates_that_change_on_the_way(make_clip) -> None:
    def part(rate: int, channels: int, suffix: str, options: str) -> bytes:
        clip = make_clip(suffix, rate=rate, channels=channels, frames=9_001, options=options)
        return clip.read_bytes()

    mp3 = "-c:a libmp3lame -b:a 64k -write_xing 0 -id3v2_version 0"
    stereo, mono = part(44_100, 2, "mp3", mp3), part(44_100, 1, "mp3", mp3)
    for source in (stereo + mono, mono + stereo):
        # The error of a change of channels, which the mean alone has not.
        assert check_channels(source) == 0
        assert ossicle.load(source)[0].size
        within, _ = ossicle.load(source, channel=0, duration=0.1)
        assert np.array_equal(within, ossicle.load(source, mono=False, duration=0.1)[0][0])
    ogg = [part(rate, 2, "ogg", "-c:a libvorbis") for rate in (44_100, 22_050)]
    assert check_channels(b"".join(ogg), 16_000) == 2
    assert check_channels(b"".join(ogg)) == 0


def test_a_sample_of_another_channel_that_is_no_number_is_nobodys_fault() -> None:
    planes = oracle.signal(8_000, 2, 100)
    planes[1, 50] = np.nan
    data = oracle.wav_bytes(planes, 8_000, "f32")
    assert np.array_equal(ossicle.load(data, channel=0)[0], planes[0])
    with pytest.raises(ossicle.NonFiniteSampleError, match="sample 50"):
        ossicle.load(data, channel=1)


SEGMENTS = st.tuples(
    st.sampled_from([*CLIPS, "none", "noise"]),
    st.floats(0, 1.2),
    st.none() | st.floats(0, 1.2),
    st.none() | st.integers(0, 6),
)


@given(
    segments=st.lists(SEGMENTS, min_size=1, max_size=6),
    rate=st.sampled_from([None, 8_000, 16_000]),
    threads=st.integers(1, 4),
)
@settings(max_examples=25)
def test_each_clip_of_a_batch_has_its_own_segment(
    clips: dict[str, Path], segments: list[Any], rate: int | None, threads: int
) -> None:
    sources = [
        clips.get(name, b"no audio, in no format" * (name == "noise")) for name, *_ in segments
    ]
    offsets, durations, channels = ([one[i] for one in segments] for i in (1, 2, 3))
    options: dict[str, Any] = {"offsets": offsets, "duration": durations, "channel": channels}
    options |= {"on_error": "collect", "threads": threads}
    batch = ossicle.load_batch(sources, rate, **options)
    features = ossicle.load_features(sources, pad_to_seconds=0.5, **options)
    assert len(batch) == len(features) == len(segments)
    for number, (source, offset, duration, channel) in enumerate(
        zip(sources, offsets, durations, channels, strict=True)
    ):
        where = {"offset": offset, "duration": duration, "channel": channel}
        expected = outcome(ossicle.load, source, rate, **where)
        if isinstance(expected, ossicle.AudioError):
            assert str(batch.errors[number]) == str(features.errors[number]) == str(expected)
            assert batch.lengths[number] == features.lengths[number] == 0
            assert not batch.waveforms[number].any()
            continue
        assert batch.errors[number] is None
        assert np.array_equal(batch[number], expected[0])
        assert not batch.waveforms[number, len(expected[0]) :].any()
        check_slice(source, rate, expected, **where)
        heard, _ = ossicle.load(source, 16_000, **where)
        mel = ossicle.log_mel_spectrogram(heard[:8_000], pad_to_seconds=0.5)
        assert np.array_equal(features.input_features[number], mel)
        assert features.lengths[number] == min(len(heard), 8_000)


def check_slice(
    source: Path,
    rate: int | None,
    part: tuple[Planes, int],
    *,
    offset: float,
    duration: float | None,
    channel: int | None,
) -> None:
    whole, own = ossicle.load(source, rate, mono=channel is None)
    whole = whole if channel is None else whole[channel]
    start = round(offset * own)
    end = len(whole) if duration is None else start + round(duration * own)
    assert part[0].shape == whole[start:end].shape
    assert np.abs(part[0] - whole[start:end]).max(initial=0) <= 1e-5


def test_one_segment_for_all_or_one_for_each(clips: dict[str, Path]) -> None:
    sources = [clips["wav"], clips["flac"]]
    for options in (
        {"duration": 0.25, "channel": 1},
        {"duration": [0.25, 0.25], "channel": [1, 1]},
        {"duration": np.array([0.25, 0.25]), "channel": np.array([1, 1])},
        {"duration": np.float32(0.25), "channel": np.int64(1)},
    ):
        batch = ossicle.load_batch(sources, **options)
        assert batch.lengths.tolist() == [4_000, 4_000]
        for source, row in zip(sources, batch.waveforms, strict=True):
            one, _ = ossicle.load(source, 16_000, duration=0.25, channel=1)
            assert np.array_equal(row, one)
    out = np.full((2, 4_000), np.nan, np.float32)
    ossicle.load_batch(sources, duration=[0.25, 0.1], channel=[0, None], out=out)
    assert np.array_equal(out[0], ossicle.load(sources[0], 16_000, duration=0.25, channel=0)[0])
    assert np.array_equal(out[1, :1_600], ossicle.load(sources[1], 16_000, duration=0.1)[0])
    assert not out[1, 1_600:].any()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"duration": [0.1]}, "1 durations for 2 sources"),
        ({"channel": [0, 1, 2]}, "3 channels for 2 sources"),
        ({"offsets": [0.0]}, "1 offsets for 2 sources"),
        ({"channel": -1}, "channel must be a whole number from 0, not -1"),
        ({"channel": [0, 1.5]}, r"channel must be a whole number from 0, not 1\.5"),
        ({"channel": True}, "channel must be a whole number from 0, not True"),
        ({"channel": "left"}, "channel must be a whole number from 0, not 'left'"),
        ({"channel": 2**32}, "channel must be a whole number from 0"),
        ({"channel": [None, 0], "mono": False}, "channel takes one channel: leave out mono=False"),
    ],
)
def test_segments_that_cannot_be(
    options: dict[str, Any], reason: str, clips: dict[str, Path]
) -> None:
    sources = [clips["wav"], clips["flac"]]
    with pytest.raises(ossicle.InvalidArgumentError, match=reason):
        ossicle.load_batch(sources, on_error="collect", **options)
    if "mono" not in options:
        with pytest.raises(ossicle.InvalidArgumentError, match=reason):
            ossicle.load_features(sources, on_error="collect", **options)
    if np.ndim(options.get("channel", [])) == 0:
        for load in (ossicle.load, ossicle.load_concealed, ossicle.AudioDecoder):
            with pytest.raises(ossicle.InvalidArgumentError, match=reason):
                load(sources[0], channel=options["channel"])  # type: ignore[operator]


@pytest.mark.parametrize("load", [ossicle.load, ossicle.load_concealed, ossicle.AudioDecoder])
def test_all_channels_and_one_exclude_each_other(load: Load, clips: dict[str, Path]) -> None:
    with pytest.raises(ossicle.InvalidArgumentError, match="leave out mono=False"):
        load(clips["wav"], mono=False, channel=0)

"""Matroska and WebM against FFmpeg: lengths, samples, ranges with and without an index, damage."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import careless
import demuxed
import numpy as np
import oracle
import pytest

import ossicle

LOSSLESS = ("flac", "alac", "pcm_s16le", "pcm_f32le")
# Codec, further options, rate, channels, seconds: more than what is read through at once.
CLIPS = {
    "vorbis": ("libvorbis", "-q:a 5", 44_100, 2, 100),
    "vorbis-8k": ("libvorbis", "-q:a 8", 8_000, 1, 300),
    "vorbis-96k": ("libvorbis", "-q:a 6", 96_000, 1, 80),
    "opus": ("libopus", "-b:a 128k", 48_000, 2, 90),
    "opus-5ms": ("libopus", "-b:a 128k -frame_duration 5", 48_000, 1, 90),
    "flac": ("flac", "", 44_100, 1, 40),
    "aac": ("aac", "-aac_pns 0 -b:a 128k", 44_100, 2, 80),
    "mp3": ("libmp3lame", "-b:a 160k", 44_100, 2, 70),
    "alac": ("alac", "", 44_100, 1, 30),
    "pcm_s16le": ("pcm_s16le", "", 22_050, 1, 40),
    "pcm_f32le": ("pcm_f32le", "", 48_000, 2, 5),
}
LAYOUTS = {
    "plain": "",
    "small-clusters": "-cluster_time_limit 200",
    "index-in-front": "-cues_to_front 1 -reserve_index_space 65536",
    "live": "-live 1",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mkv")


def write(folder: Path, clip: str, layout: str) -> Path:
    codec, options, rate, channels, seconds = CLIPS[clip]
    if layout == "live":
        seconds = min(seconds, 20)
    path = folder / f"{clip}-{layout}.mkv"
    wav = demuxed.source(folder, rate, channels, seconds)
    arguments = [*f"-c:a {codec} {options} {LAYOUTS[layout]} -f matroska".split(), path]
    oracle.ffmpeg(oracle.bundled(), ["-i", wav, *arguments])
    return path


def check(path: Path, codec: str, channels: int) -> None:
    demuxed.check(path, "matroska", channels, is_lossless=codec in LOSSLESS)


@pytest.mark.sampled(one_in=23)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("clip", CLIPS)
def test_clips_are_as_ffmpeg_has_them(folder: Path, clip: str, layout: str) -> None:
    codec, _, _, channels, _ = CLIPS[clip]
    check(write(folder, clip, layout), codec, channels)


@pytest.mark.sampled(one_in=13)
@pytest.mark.skipif(not shutil.which("mkvmerge"), reason="no mkvmerge")
@pytest.mark.parametrize(
    "options", ["", "--no-cues", "--disable-lacing", "--timestamp-scale 50000"]
)
@pytest.mark.parametrize("clip", ["vorbis", "opus", "flac", "aac", "mp3", "pcm_s16le"])
def test_laced_blocks_of_mkvmerge_are_taken_apart(folder: Path, clip: str, options: str) -> None:
    codec, _, _, channels, _ = CLIPS[clip]
    path = folder / f"{clip}-merged.mka"
    command = ["mkvmerge", "-q", *options.split(), "-o", path, write(folder, clip, "plain")]
    subprocess.run(command, check=True)
    check(path, codec, channels)


@pytest.mark.skipif(not shutil.which("mkvmerge"), reason="no mkvmerge")
def test_compressed_tracks_are_refused_by_name(folder: Path) -> None:
    path = folder / "zlib.mka"
    plain = write(folder, "mp3", "plain")
    subprocess.run(["mkvmerge", "-q", "--compression", "0:zlib", "-o", path, plain], check=True)
    with pytest.raises(ossicle.UnsupportedFormatError, match="zlib"):
        ossicle.load(path)


@pytest.mark.parametrize("clip", ["vorbis", "flac", "pcm_s16le"])
def test_a_cut_file_is_an_error_that_names_its_byte(folder: Path, clip: str) -> None:
    whole = write(folder, clip, "plain").read_bytes()
    for length in np.random.default_rng(5).integers(len(whole) // 4, len(whole) - 20_000, 5):
        with pytest.raises(ossicle.CorruptAudioError) as caught:
            ossicle.load(whole[: int(length)])
        offset = caught.value.byte_offset
        assert offset is not None
        assert offset <= length


def test_a_changed_byte_in_a_cluster_is_an_error_by_its_checksum(folder: Path) -> None:
    whole = bytearray(write(folder, "pcm_s16le", "plain").read_bytes())
    whole[len(whole) // 2] ^= 1
    with pytest.raises(ossicle.CorruptAudioError, match="checksum"):
        ossicle.load(bytes(whole))


def joined(folder: Path, *files: Path) -> Path:
    path = folder / ("-".join(file.stem for file in files) + ".mka")
    path.write_bytes(b"".join(file.read_bytes() for file in files))
    return path


def shorter(folder: Path, codec: str, *, layout: str = "plain", channels: int = 2) -> Path:
    """A clip of less than a second, with a part of a packet at its end."""
    encoder, options, rate, _, _ = CLIPS[codec]
    path = folder / f"short-{codec}-{layout}-{channels}.mka"
    wav = demuxed.source(folder, rate, channels, 1)
    arguments = f"-t 0.77 -c:a {encoder} {options} {LAYOUTS[layout]} -f matroska".split()
    oracle.ffmpeg(oracle.bundled(), ["-i", wav, *arguments, path])
    return path


@pytest.mark.parametrize("layout", ["plain", "live"])
@pytest.mark.parametrize("codec", ["vorbis", "opus", "flac", "aac", "mp3", "pcm_s16le"])
def test_files_one_behind_the_other_are_one_recording(
    folder: Path, codec: str, layout: str
) -> None:
    channels = CLIPS[codec][3]
    one = shorter(folder, codec, layout=layout, channels=channels)
    other = shorter(folder, codec, channels=channels)
    both = [ossicle.load(path, mono=False)[0] for path in (one, other, one)]
    path = joined(folder, one, other, one)
    tolerance = 0 if codec in LOSSLESS else 1e-6
    careless.check(path, np.concatenate(both, axis=1), "", tolerance=tolerance)


@pytest.mark.thorough
def test_the_length_of_a_chain_is_that_of_its_links(folder: Path) -> None:
    """Of files so long that they are not read through, with and without sizes."""
    for layout in ("plain", "live"):
        path = joined(folder, write(folder, "opus", layout), write(folder, "opus", "plain"))
        whole, rate = ossicle.load(path, mono=False)
        assert ossicle.info(path).frames == whole.shape[1]
        for begin in (0, whole.shape[1] // 3, whole.shape[1] - 9_000):
            part, _ = ossicle.load(path, mono=False, offset=begin / rate, duration=0.1)
            expected = whole[:, begin : begin + round(0.1 * rate)]
            np.testing.assert_allclose(part, expected, rtol=0, atol=1e-5)


def test_links_of_other_channels_follow_the_rule_of_changes(folder: Path) -> None:
    mono = shorter(folder, "flac", channels=1)
    stereo = shorter(folder, "flac", channels=2)
    path = joined(folder, mono, stereo)
    expected = np.concatenate([ossicle.load(file)[0] for file in (mono, stereo)])
    what = "Matroska | files one after the other, of other channels"
    remark = "the stream changes from 1 to 2 channels"
    careless.check(path, expected, remark, what=what, mono=True)
    with pytest.raises(ossicle.UnsupportedFormatError, match="from 1 to 2 channels"):
        ossicle.load(path, mono=False)


def test_a_cut_link_is_an_error(folder: Path) -> None:
    one = shorter(folder, "opus").read_bytes()
    for length in (20, 300, len(one) // 2, len(one) - 1):
        with pytest.raises(ossicle.CorruptAudioError) as caught:
            ossicle.load(one + one[:length])
        assert caught.value.byte_offset is not None
        assert caught.value.byte_offset >= len(one)

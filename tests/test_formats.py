"""Every format that is refused is refused by name; docs/formats.md is what the tests found."""

from __future__ import annotations

from pathlib import Path

import formats
import numpy as np
import oracle
import pytest

import ossicle

# What it is; file, FFmpeg's options; what the error names.
REFUSED = {
    "AC-3": ("ac3", "-c:a ac3", "ac3"),
    "AC-3 in MP4": ("m4a", "-c:a ac3", "ac3"),
    "E-AC-3 in Matroska": ("mkv", "-c:a eac3", "eac3"),
    "DTS in Matroska": ("mka", "-c:a dca -strict -2", "dts"),
    "TrueHD in Matroska": ("mka", "-c:a truehd -strict -2", "truehd"),
    "WavPack": ("wv", "-c:a wavpack", "wavpack"),
    "WavPack in Matroska": ("mka", "-c:a wavpack", "wavpack"),
    "True Audio": ("tta", "-c:a tta", "tta"),
    "Windows Media": ("wma", "-c:a wmav2", "asf"),
    "Real Audio": ("ra", "-c:a real_144 -ar 8000 -ac 1", "real"),
    "Speex in Ogg": ("spx", "-c:a libspeex -ar 16000 -ac 1", "speex"),
    "AC-3 in MPEG-TS": ("ts", "-c:a ac3", "ac3"),
    "E-AC-3 in MPEG-TS": ("ts", "-c:a eac3", "eac3"),
    "Opus in MPEG-TS": ("ts", "-c:a libopus", "opus"),
    "AC-3 in AVI": ("avi", "-c:a ac3", "ac-3"),
    "Flash video": ("flv", "-c:a libmp3lame -ar 44100", "flv"),
    "G.722 in WAV": ("wav", "-c:a g722 -ar 16000 -ac 1", "g.722"),
    "G.726 in WAV": ("wav", "-c:a g726 -ar 8000 -ac 1", "g.726"),
    "Windows Media in WAV": ("wav", "-c:a wmav2", "windows media"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_decoded_is_named(what: str, tmp_path: Path) -> None:
    suffix, options, name = REFUSED[what]
    source, path = tmp_path / "source.wav", tmp_path / f"clip.{suffix}"
    source.write_bytes(oracle.wav_bytes(oracle.signal(48_000, 2, 48_000), 48_000))
    try:
        oracle.encode(source, [(path, options.split())])
    except AssertionError as error:
        pytest.skip(f"this FFmpeg cannot write it: {str(error).splitlines()[-1]}")
    for call in (ossicle.info, ossicle.load):
        with pytest.raises(ossicle.UnsupportedFormatError) as caught:
            call(path)
        assert name in caught.value.reason.lower()
        assert caught.value.source == str(path)
    formats.refuse(what, caught.value.reason)


@pytest.mark.parametrize(
    "data", [bytes(50_000), b"text, not sound\n" * 4_000, b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_recording_is_none(data: bytes) -> None:
    with pytest.raises(ossicle.UnsupportedFormatError, match="not a supported audio format"):
        ossicle.load(data)
    noise = np.random.default_rng(len(data)).bytes(60_000)
    with pytest.raises(ossicle.AudioError):
        ossicle.load(noise)

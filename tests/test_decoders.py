"""The second decoder: the same samples by another library, or a refusal that names the codec.

tests/decoders.py compares all files of docs/formats.md; the Rust tests of
rust/core/decode/agree.rs plant bugs in a decoder.
"""

from __future__ import annotations

import io
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import commands
import numpy as np
import oracle
import pytest
from mp4_boxes import edited

import ossicle
from ossicle.audio.decoders import DecoderName
from ossicle.cache import AudioCacheKey, WaveformCacheKey

HOSTILE = Path(__file__).parent / "data" / "hostile"
DECODERS: tuple[DecoderName, ...] = get_args(DecoderName)
FIELD = Path(__file__).parents[2] / "shared" / "data"


def refused(path: Path) -> bool:
    try:
        ossicle.load(path, decoder="symphonia")
    except ossicle.UnsupportedFormatError:
        return True
    return False


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """One of each kind that both decoders know."""
    return [
        path
        for path in sorted(HOSTILE.iterdir())
        if path.is_file() and path.suffix != ".md" and not refused(path)
    ]


def test_both_gives_the_native_samples_from_every_kind_of_source(files: list[Path]) -> None:
    assert len(files) > 25
    for path in files:
        for mono in (True, False):
            expected, rate = ossicle.load(path, mono=mono)
            for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
                waveform, got = ossicle.load(source, mono=mono, decoder="both")
                assert got == rate
                assert np.array_equal(waveform, expected), path.name


def test_a_range_is_the_slice_of_the_whole(files: list[Path]) -> None:
    random = np.random.default_rng(7)
    for path in files:
        whole, rate = ossicle.load(path, decoder="symphonia", mono=False)
        for _ in range(8):
            start, length = random.integers(0, whole.shape[1] + 1, 2)
            options = {"offset": start / rate, "duration": length / rate, "mono": False}
            for decoder in ("symphonia", "both"):
                part, _ = ossicle.load(path, decoder=decoder, **options)
                expected = whole[:, start : start + length]
                assert part.shape == expected.shape
                assert np.abs(part - expected).max(initial=0) < 1e-5, (path.name, start, length)


def test_resampled_and_in_batches(files: list[Path]) -> None:
    native = ossicle.load_batch(files, 16_000)
    both = ossicle.load_batch(files, 16_000, decoder="both")
    assert np.array_equal(native.waveforms, both.waveforms)
    second = ossicle.load_batch(files, 16_000, decoder="symphonia")
    assert np.array_equal(native.lengths, second.lengths)
    assert np.abs(native.waveforms - second.waveforms).max() < 1e-5
    for path in files:
        assert ossicle.info(path, decoder="both") == ossicle.info(path)
        facts, native_facts = ossicle.info(path, decoder="symphonia"), ossicle.info(path)
        assert (facts.frames, facts.channels) == (native_facts.frames, native_facts.channels)


@pytest.mark.parametrize("decoder", ["symphonia", "both"])
def test_what_the_second_decoder_does_not_know_is_named(decoder: str, tmp_path: Path) -> None:
    opus = HOSTILE / "celt.opus"
    for call in (ossicle.info, ossicle.load):
        with pytest.raises(
            ossicle.UnsupportedFormatError, match=r"symphonia does not decode .*opus"
        ):
            call(opus, decoder=decoder)
    batch = ossicle.load_batch([opus, HOSTILE / "mono.flac"], decoder=decoder, on_error="collect")
    assert isinstance(batch.errors[0], ossicle.UnsupportedFormatError)
    assert batch.errors[1] is None


def outcome(data: bytes, decoder: DecoderName) -> tuple[object, ...]:
    """What a load ends in: its samples, or its error's class and reason."""
    try:
        return ("samples", ossicle.load(data, decoder=decoder)[0].tobytes())
    except ossicle.AudioError as error:
        return (type(error), error.reason)


def test_damage_that_only_one_decoder_sees_is_a_disagreement() -> None:
    kinds: set[object] = set()
    for name, at in itertools.product(("bare.mp3", "adts.aac", "vorbis.ogg"), range(300)):
        whole = (HOSTILE / name).read_bytes()
        data = bytearray(whole)
        data[7 * at % len(whole)] ^= 1 << at % 8
        native, second, both = (outcome(bytes(data), each) for each in DECODERS)
        kinds.add(both[0])
        if both[0] is ossicle.DecodersDisagreeError:
            assert native != second
        else:
            assert both == native
    assert {"samples", ossicle.DecodersDisagreeError} <= kinds


def test_noise_of_aac_is_no_disagreement(tmp_path: Path) -> None:
    """FFmpeg's encoder fills bands with noise at low rates: each decoder draws its own."""
    source = tmp_path / "source.wav"
    random = np.random.default_rng(3)
    loudness = np.repeat(random.uniform(0.01, 0.4, 12), 4_000)
    noise = random.standard_normal((2, 48_000)) * loudness
    tone = oracle.signal(48_000, 2, 48_000)
    source.write_bytes(oracle.wav_bytes((0.5 * noise + tone).astype(np.float32), 48_000))
    paths = [tmp_path / f"{rate}.m4a" for rate in (24, 32, 48, 64)]
    outputs = [(path, f"-c:a aac -b:a {path.stem}k".split()) for path in paths]
    oracle.encode(source, outputs)
    differences = []
    for path in paths:
        ours, _ = ossicle.load(path, mono=False)
        theirs, _ = ossicle.load(path, mono=False, decoder="symphonia")
        differences.append(np.abs(ours - theirs).max())
        for mono in (True, False):
            ossicle.load(path, mono=mono, decoder="both")
    # There was noise to tell apart.
    assert max(differences) > 1e-3


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """``noisy("m4a", 48_000)``: a second of AAC, silence and then noise."""
    folder = tmp_path_factory.mktemp("noisy")

    def make(suffix: str, rate: int) -> bytes:
        source, path = folder / f"{rate}.wav", folder / f"{rate}.{suffix}"
        noise = 0.2 * np.random.default_rng(5).standard_normal((1, rate))
        noise[:, : rate // 2] = 0
        source.write_bytes(oracle.wav_bytes(noise.astype(np.float32), rate))
        oracle.encode(source, [(path, ["-c:a", "aac", "-b:a", "24k"])])
        return path.read_bytes()

    return make


def parting(data: bytes, rate: int | None) -> list[int]:
    """Samples at which the decoders part by more than rounding."""
    ours, _ = ossicle.load(data, rate)
    theirs, _ = ossicle.load(data, rate, decoder="symphonia")
    return np.flatnonzero(np.abs(ours - theirs) > 1e-3).tolist()


def test_noise_of_aac_is_where_the_edit_list_puts_it(noisy: Callable[..., bytes]) -> None:
    data = noisy("m4a", 48_000)
    begin = 1024
    silent, loud, pause = (500, begin), (500, begin + 24_000), (300, -1)
    for edits in ([loud, silent], [pause, loud, pause, silent, loud], [loud, silent, silent, loud]):
        joined = edited(data, edits)
        whole, rate = ossicle.load(joined, decoder="both")
        assert np.array_equal(whole, ossicle.load(joined)[0])
        assert parting(joined, None), "no noise to tell apart"
        for start in (0, 5_000, 20_000, 30_000, 48_000):
            where = {"offset": start / rate, "duration": 0.4}
            part, _ = ossicle.load(joined, decoder="both", **where)
            assert np.array_equal(part, ossicle.load(joined, **where)[0])
        ossicle.load(joined, 16_000, decoder="both")


def test_noise_of_aac_in_a_recording_that_changes_its_rate(noisy: Callable[..., bytes]) -> None:
    data = b"".join(noisy("aac", rate) for rate in (44_100, 22_050, 48_000))
    parted = parting(data, 16_000)
    assert min(parted) > 7_000
    assert max(parted) > 2 * 16_000
    whole, rate = ossicle.load(data, 16_000, decoder="both")
    assert np.array_equal(whole, ossicle.load(data, 16_000)[0])
    for start in range(0, len(whole), 7_001):
        where = {"offset": start / rate, "duration": 0.3}
        part, _ = ossicle.load(data, rate, decoder="both", **where)
        assert np.array_equal(part, ossicle.load(data, rate, **where)[0])


def test_arguments(files: list[Path]) -> None:
    with pytest.raises(ossicle.InvalidArgumentError, match='"native", "symphonia" or "both"'):
        ossicle.load(files[0], decoder="ffmpeg")  # type: ignore[arg-type]
    with pytest.raises(ossicle.InvalidArgumentError, match="does not conceal"):
        ossicle.load_concealed(files[0], decoder="both")
    cut = files[-1].read_bytes()[:-40]
    native = ossicle.load_concealed(cut)
    second = ossicle.load_concealed(cut, decoder="symphonia")
    assert [gap[:2] for gap in native.gaps] == [gap[:2] for gap in second.gaps]


def test_caches_keep_decoders_apart() -> None:
    sha = "ab" * 32
    plain = {"blob_sha": sha, "sample_rate": 16_000, "max_length_ms": 30_000}
    names = {
        WaveformCacheKey(
            **plain, decoder=decoder, engine=engine, auto_resample=resample
        ).as_filename()
        for decoder in ("native", "symphonia", "both")
        for engine in ("native", "rubato")
        for resample in (True, False)
    }
    # The engine counts where something is resampled.
    assert len(names) == 9
    assert f"{sha}.16000.30000.wav.npz" in names
    key = AudioCacheKey(**plain, processor_sha="0" * 64, decoder="both", dtype="float16")
    assert key.as_filename() == f"{sha}.{'0' * 12}.16000.30000.both.f16.npz"
    with pytest.raises(ossicle.InvalidKeyError, match="decoder must be"):
        WaveformCacheKey(**plain, decoder="ffmpeg")  # type: ignore[arg-type]


def test_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    done = commands.run(
        "decode", "--decoder", "both", HOSTILE / "stereo.flac", out, folder=tmp_path
    )
    assert done.returncode == 0
    assert np.array_equal(np.load(out), ossicle.load(HOSTILE / "stereo.flac")[0])
    done = commands.run("decode", "--decoder", "both", HOSTILE / "silk.opus", out, folder=tmp_path)
    assert done.returncode == 1
    assert "symphonia does not decode" in done.stdout + done.stderr


def test_a_shard_is_verified_by_both(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    with ossicle.ShardWriter(shard) as writer:
        for key, name in (("0", "mono.flac"), ("1", "lame.mp3"), ("2", "silk.opus")):
            path = HOSTILE / name
            writer.write({"__key__": key, path.suffix[1:]: path.read_bytes()})
    assert ossicle.verify_shards(shard, decode=True).is_empty()
    found = ossicle.verify_shards(shard, decode=True, decoder="both")
    assert found["member"].to_list() == ["2.opus"]
    assert found["error"].to_list() == ["UnsupportedFormatError"]
    done = commands.run("verify", "--decoder", "both", shard, folder=tmp_path)
    assert done.returncode == 1
    assert "symphonia does not decode" in done.stderr


@pytest.mark.skipif(not FIELD.is_dir(), reason="the shared recordings are not here")
def test_real_recordings_agree() -> None:
    for path in sorted((FIELD / "speech").iterdir()):
        if path.suffix in (".wav", ".flac", ".mp3"):
            waveform, _ = ossicle.load(path, decoder="both")
            assert np.array_equal(waveform, ossicle.load(path)[0])


def test_recordings_are_verified_where_they_are(tmp_path: Path) -> None:
    for name in ("stereo.flac", "lame.mp3", "silk.opus"):
        shutil.copy(HOSTILE / name, tmp_path)
    damaged = bytearray((HOSTILE / "mono.flac").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.flac").write_bytes(damaged)
    with ossicle.ShardWriter(tmp_path / "a.tar") as writer:
        writer.write({"__key__": "0", "flac": bytes(damaged)})
    names = ["stereo.flac", "lame.mp3", "silk.opus", "damaged.flac", "a.tar"]

    done = commands.run("verify", *names[:3], folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "3 of 3 recordings are whole\n")
    done = commands.run("verify", "--json", *names, folder=tmp_path)
    faults = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(fault["shard"], fault["member"]) for fault in faults] == [("damaged.flac", None)]
    assert faults[0]["error"] == "CorruptAudioError"
    assert done.returncode == 1
    done = commands.run("verify", "--decoder", "both", "--json", *names, folder=tmp_path)
    faults = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(fault["shard"], fault["error"]) for fault in faults}
    assert found == {
        ("damaged.flac", "CorruptAudioError"),
        ("a.tar", "CorruptAudioError"),
        ("silk.opus", "UnsupportedFormatError"),
    }
    missing = commands.run("verify", "nowhere.flac", folder=tmp_path)
    assert missing.returncode == 1

"""Our decoder in the shape of other tools, against the tools themselves on the same files."""

from __future__ import annotations

import base64
import http.server
import io
import pickle
import re
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import run_script

import ossicle
from ossicle import backends

LOSSLESS = {"wav": "-c:a pcm_s16le", "flac": "-c:a flac -sample_fmt s16"}
LOSSY = {"mp3": "-c:a libmp3lame -b:a 64k", "ogg": "-c:a libvorbis"}
FORMATS = LOSSLESS | LOSSY


@pytest.fixture(params=[(name, channels) for name in FORMATS for channels in (1, 2)], ids=str)
def path(request: pytest.FixtureRequest, make_clip) -> Path:
    name, channels = request.param
    return make_clip(name, rate=22_050, channels=channels, frames=30_011, options=FORMATS[name])


def tolerance(path: Path) -> float:
    return 2e-5 if path.suffix.removeprefix(".") in LOSSY else 0.0


def same(ours: Any, theirs: Any, limit: float) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(float) - theirs.astype(float)).max(initial=0) <= limit


RANGES = [(0, None), (0, 1), (0, 999), (1_234, None), (5_000, 20_000), (30_010, 1), (30_011, 5)]


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize(("start", "count"), RANGES)
@pytest.mark.parametrize("channels_first", [True, False])
def test_torchaudio_load(path: Path, start: int, count: int | None, channels_first: bool) -> None:
    torchaudio = pytest.importorskip("torchaudio")
    arguments = (start, -1 if count is None else count)
    ours, rate = backends.torchaudio.load(path, *arguments, channels_first=channels_first)
    if start >= 30_011:  # torchcodec refuses a range after the end
        assert ours.shape[1 if channels_first else 0] == 0
        return
    theirs, expected = torchaudio.load(path, *arguments, channels_first=channels_first)
    assert rate == expected
    # torchcodec's ranges of lossy files are off by its decoder's start; the whole decides.
    if start and tolerance(path):
        whole, _ = torchaudio.load(path, channels_first=channels_first)
        cut = slice(start, None if count is None else start + count)
        theirs = whole[:, cut] if channels_first else whole[cut]
    assert ours.is_contiguous()
    same(ours, theirs, tolerance(path))


def test_torchaudio_facts_and_integers(path: Path) -> None:
    facts = backends.torchaudio.info(path)
    whole, rate = backends.torchaudio.load(path)
    assert (facts.sample_rate, facts.num_channels, facts.num_frames) == (rate, *whole.shape)
    known = {"wav": "PCM_S", "flac": "FLAC", "mp3": "MP3", "ogg": "VORBIS"}
    assert facts.encoding == known[path.suffix[1:]]
    assert facts.bits_per_sample == (0 if tolerance(path) else 16)
    stored, _ = backends.torchaudio.load(path, normalize=False)
    if path.suffix == ".wav":
        same(stored, ossicle.load(path, mono=False, dtype="int16")[0], 0)
    else:
        same(stored, whole, 0)
    with path.open("rb") as file:
        part, _ = backends.torchaudio.load(file, 100, 50)
        file.seek(0)
        assert backends.torchaudio.info(file) == facts
        assert file.tell() == 0
    same(part, whole[:, 100:150], tolerance(path))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_torchaudio_stored_integers(subtype: str, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    noise = np.random.default_rng(0).uniform(-1, 1, 1_000)
    soundfile.write(tmp_path / "a.wav", noise, 8_000, subtype=subtype)
    ours, _ = backends.torchaudio.load(tmp_path / "a.wav", normalize=False)
    types = {"PCM_U8": "uint8", "PCM_16": "int16", "FLOAT": "float32"}
    assert ours.numpy().dtype == types.get(subtype, "int32")
    if subtype == "FLOAT":
        return
    theirs, _ = soundfile.read(tmp_path / "a.wav", dtype="int32")
    found = ours.numpy()[0].astype(np.int64)
    if subtype == "PCM_U8":
        found = (found - 128) << 24
    elif subtype == "PCM_16":
        found = found << 16
    # What is decoded is float32: 24 bits.
    assert np.abs(found - theirs).max() <= (128 if subtype == "PCM_32" else 0)


@pytest.mark.parametrize("arguments", [(-1, 5), (0, 0), (0, -2)])
def test_torchaudio_refuses(arguments: tuple[int, int], path: Path) -> None:
    with pytest.raises(ossicle.InvalidArgumentError, match="frame_offset"):
        backends.torchaudio.load(path, *arguments)


@pytest.mark.sampled(one_in=9)
@pytest.mark.parametrize("sr", [None, 22_050, 16_000, 44_100])
@pytest.mark.parametrize("mono", [True, False])
@pytest.mark.parametrize(
    "span", [(0.0, None), (0.5, None), (0.12348, 0.5), (0.0, 0.77), (9.0, 1.0)]
)
def test_librosa_load(path: Path, sr: int | None, mono: bool, span: tuple[float, float]) -> None:
    librosa = pytest.importorskip("librosa")
    options: dict[str, Any] = {"sr": sr, "mono": mono, "offset": span[0], "duration": span[1]}
    ours, rate = backends.librosa.load(path, **options)
    if span[0] > 2:
        assert ours.shape[-1] == 0
        return
    theirs, expected = librosa.load(path, **options)
    assert rate == expected
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    if sr in (None, 22_050):
        limit = 2e-3 if span[0] and path.suffix == ".ogg" else max(tolerance(path), 1e-6)
        same(ours, theirs, limit if path.suffix != ".mp3" else 1.0)
        return
    # Two resamplers, with filters of their own, of a test signal that fills the band.
    error = np.square(ours - theirs).mean() / np.square(theirs).mean()
    assert error < 0.05


def test_librosa_types_and_qualities(path: Path) -> None:
    ours, _ = backends.librosa.load(path, sr=None, dtype=np.float64, res_type="soxr_vhq")
    same(ours, ossicle.load(path)[0].astype(np.float64), 1e-6)
    with pytest.raises(ossicle.InvalidArgumentError, match="res_type must be one of"):
        backends.librosa.load(path, res_type="nonsense")
    with pytest.raises(ossicle.InvalidArgumentError, match="dtype must be"):
        backends.librosa.load(path, dtype=np.int16)


SOUNDFILE_RANGES: list[dict[str, Any]] = [
    {},
    {"frames": 1_000},
    {"frames": 0},
    {"start": 20_000},
    {"start": 20_000, "frames": 20_000},
    {"start": 20_000, "frames": 20_000, "fill_value": 0.25},
    {"start": -500},
    {"stop": 5_000},
    {"start": 400, "stop": -400},
    {"start": 40_000},
    {"start": 300, "stop": 100},
]


@pytest.mark.sampled(one_in=7)
@pytest.mark.parametrize("options", SOUNDFILE_RANGES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "int16"])
@pytest.mark.parametrize("always_2d", [True, False])
def test_soundfile_read(path: Path, options: dict[str, Any], dtype: Any, always_2d: bool) -> None:
    soundfile = pytest.importorskip("soundfile")
    ours, rate = backends.soundfile.read(path, dtype=dtype, always_2d=always_2d, **options)
    theirs, expected = soundfile.read(path, dtype=dtype, always_2d=always_2d, **options)
    assert rate == expected
    scale = {"int16": 32_768.0, "int32": 2.0**31}.get(dtype, 1.0)
    if tolerance(path):
        # libsndfile's seeks in MP3 and Vorbis are not exact, and its integers of Vorbis are scaled
        # by 32,767: the shape is compared, and the samples of the whole.
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        if options.get("start", 0) or not theirs.size:
            return
        limit = 1e-4 if dtype.startswith("float") else 1e-4 * scale + 2
        same(ours, theirs, limit)
        return
    same(ours, theirs, 0)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "int16"])
def test_soundfile_subtypes(subtype: str, dtype: Any, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    noise = np.random.default_rng(1).uniform(-1, 1, (1_000, 2))
    soundfile.write(tmp_path / "a.wav", noise, 8_000, subtype=subtype)
    if subtype in ("FLOAT", "DOUBLE") and dtype.startswith("int"):
        with pytest.raises(ossicle.InvalidArgumentError, match="has no integers"):
            backends.soundfile.read(tmp_path / "a.wav", dtype=dtype)
        return
    ours, _ = backends.soundfile.read(tmp_path / "a.wav", dtype=dtype)
    theirs, _ = soundfile.read(tmp_path / "a.wav", dtype=dtype)
    # 24 bits of what has more.
    rounding = {"float64": 2.0**-24, "float32": 0.0, "int32": 128.0, "int16": 1.0}[dtype]
    same(ours, theirs, rounding if subtype in ("PCM_32", "DOUBLE") else 0.0)


def test_soundfile_refuses(path: Path) -> None:
    with pytest.raises(ossicle.InvalidArgumentError, match="exclude each other"):
        backends.soundfile.read(path, frames=3, stop=7)
    with pytest.raises(ossicle.InvalidArgumentError, match="dtype must be"):
        backends.soundfile.read(path, dtype="uint8")  # type: ignore[arg-type]


@pytest.fixture
def lhotse_backend() -> Iterator[Any]:
    lhotse = pytest.importorskip("lhotse")
    from lhotse.audio.backend import audio_backend

    with audio_backend(backends.lhotse.OssicleBackend()):
        yield lhotse


def test_lhotse_cuts(path: Path, lhotse_backend: Any) -> None:
    from lhotse.audio.backend import LibsndfileBackend, audio_backend

    recording = lhotse_backend.Recording.from_file(path)
    facts = ossicle.info(path)
    assert (recording.sampling_rate, recording.num_samples) == (22_050, facts.frames)
    cut = recording.to_cut()
    windows = [cut, *cut.cut_into_windows(0.25), cut.truncate(offset=0.1, duration=0.333)]
    for window in windows:
        ours = window.load_audio()
        with audio_backend(LibsndfileBackend()):
            theirs = window.load_audio()
        assert ours.shape == theirs.shape == (facts.channels, window.num_samples)
        if not tolerance(path) or window is cut:
            same(ours, theirs, 1e-4 if tolerance(path) else 0)
        start = round(window.start * 22_050)
        whole, _ = ossicle.load(path, mono=False)
        same(ours, whole[:, start : start + ours.shape[1]], tolerance(path))


def test_lhotse_files_tars_and_writing(path: Path, lhotse_backend: Any, tmp_path: Path) -> None:
    backend = backends.lhotse.OssicleBackend()
    whole, _ = ossicle.load(path, mono=False)
    with ossicle.ShardWriter(tmp_path / "a.tar") as writer:
        writer.write({"__key__": "utt", path.suffix[1:]: path.read_bytes()})
    inside = f"{tmp_path}/a.tar/utt{path.suffix}"
    for source in (path, str(path), io.BytesIO(path.read_bytes()), inside):
        same(backend.read_audio(source)[0], whole, 0)
    assert backend.info(str(path)).frames == whole.shape[1]
    assert backend.read_audio(io.BytesIO(path.read_bytes()), 0.5, 0.25)[0].shape[1] == 5_513
    cut = lhotse_backend.Recording.from_file(path).to_cut()
    for suffix in ("wav", "flac"):
        saved = cut.save_audio(str(tmp_path / f"out.{suffix}"), format=suffix)
        same(saved.load_audio(), whole, 1 / 32_768)
    with pytest.raises(ossicle.InvalidArgumentError):
        backend.save_audio(tmp_path / "a.mp3", whole, 22_050)
    names = __import__("lhotse.audio.backend", fromlist=["x"]).available_audio_backends()
    assert "OssicleBackend" in names


def test_lhotse_opus(make_clip, lhotse_backend: Any) -> None:
    path = make_clip("opus", rate=48_000, channels=1, frames=48_000, options="-c:a libopus")
    backend = backends.lhotse.OssicleBackend()
    samples, rate = backend.read_audio(path, force_opus_sampling_rate=16_000)
    assert (samples.shape, rate) == ((1, 16_000), 16_000)
    facts = backend.info(path, force_opus_sampling_rate=16_000)
    assert (facts.frames, facts.samplerate) == (16_000, 16_000)


@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("sampling_rate", [None, 22_050, 16_000])
@pytest.mark.parametrize("num_channels", [None, 1, 2])
@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_datasets_audio(
    path: Path, sampling_rate: int | None, num_channels: int | None, kind: str
) -> None:
    datasets = pytest.importorskip("datasets")
    held = {"bytes": path.read_bytes() if kind == "bytes" else None, "path": str(path)}
    dataset = datasets.Dataset.from_dict({"audio": [held, held]})
    feature = {"sampling_rate": sampling_rate, "num_channels": num_channels}
    ours = dataset.cast_column("audio", backends.datasets.Audio(**feature))[1]["audio"]
    expected, rate = ossicle.load(path, sampling_rate)
    same(ours["array"], expected, 0)
    assert ours["sampling_rate"] == rate
    assert ours["path"] == str(path)
    samples = ours.get_all_samples()
    assert samples.data.shape[0] == (num_channels or ossicle.info(path).channels)
    part = ours.get_samples_played_in_range(0.2, 0.5)
    same(part.data, samples.data[:, round(0.2 * rate) : round(0.5 * rate)], 1e-5)
    if not datasets.config.TORCHCODEC_AVAILABLE:
        return
    pytest.importorskip("torchcodec.decoders", exc_type=(ImportError, RuntimeError))
    theirs = dataset.cast_column("audio", datasets.Audio(**feature))[1]["audio"]
    assert theirs["sampling_rate"] == rate
    if sampling_rate in (None, 22_050):
        # FFmpeg makes one channel 3 dB quieter as two, and two 3 dB louder as one.
        own, wanted = ossicle.info(path).channels, num_channels or ossicle.info(path).channels
        factor = np.float32(np.sqrt(wanted / own))
        same(ours["array"], theirs["array"] * factor, 4e-5)
        same(samples.data, theirs.get_all_samples().data * factor, 4e-5)
    else:
        assert abs(len(ours["array"]) - len(theirs["array"])) <= 32


def test_datasets_columns(path: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    audio = backends.datasets.Audio(sampling_rate=16_000)
    expected, _ = ossicle.load(path, 16_000)
    noise = np.linspace(-0.5, 0.5, 500, dtype=np.float32)
    values = [str(path), path.read_bytes(), {"path": str(path)}, path]
    values += [{"array": noise, "sampling_rate": 16_000}]
    features = datasets.Features({"audio": audio})
    dataset = datasets.Dataset.from_dict({"audio": values}, features=features)
    for number in range(4):
        same(dataset[number]["audio"]["array"], expected, 0)
    same(dataset[4]["audio"]["array"], noise, 0)
    dataset = pickle.loads(pickle.dumps(dataset))
    lengths = dataset.map(lambda row: {"n": len(row["audio"]["array"])}, remove_columns="audio")
    assert lengths["n"][:] == [len(expected)] * 4 + [500]
    dataset.save_to_disk(tmp_path / "kept")
    loaded = datasets.load_from_disk(str(tmp_path / "kept")).cast_column("audio", audio)
    same(loaded[0]["audio"]["array"], expected, 0)
    # What is decoded is a source too, and a recording of a row.
    same(ossicle.load(dataset[1]["audio"], 16_000)[0], expected, 0)
    with pytest.raises(ossicle.InvalidArgumentError, match="neither a path nor bytes"):
        audio.decode_example({"path": None, "bytes": None})
    with pytest.raises(RuntimeError, match="decode=False"):
        backends.datasets.Audio(decode=False).decode_example({"path": "a", "bytes": None})


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url(path: Path) -> Iterator[str]:
    def handler(*args: Any) -> Quiet:
        return Quiet(*args, directory=str(path.parent))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{path.name}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("rate", [22_050, 16_000])
def test_transformers_load_audio(path: Path, rate: int, url: str) -> None:
    audio_utils = pytest.importorskip("transformers.audio_utils")
    encoded = base64.b64encode(path.read_bytes()).decode()
    expected, _ = ossicle.load(path, rate)
    for source in (str(path), encoded, f"data:audio/x;base64,{encoded}", url):
        same(backends.transformers.load_audio(source, rate), expected, 0)
    theirs = audio_utils.load_audio(str(path), rate, backend="soundfile")
    assert theirs.shape == expected.shape
    assert theirs.dtype == expected.dtype
    if rate == 22_050:
        same(expected, theirs, 1e-4 if tolerance(path) else 1e-6)
    assert backends.transformers.load_audio(expected) is expected
    with pytest.raises(TypeError, match="not bytes"):
        backends.transformers.load_audio(b"x")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        backends.transformers.load_audio("missing.wav")
    with pytest.raises(ossicle.InvalidArgumentError, match="no base64"):
        backends.transformers.load_audio("data:audio/wav;base64,@@@")


def test_transformers_install(path: Path) -> None:
    audio_utils = pytest.importorskip("transformers.audio_utils")
    from transformers import processing_utils

    theirs = audio_utils.load_audio
    undo = backends.transformers.install()
    try:
        assert audio_utils.load_audio is backends.transformers.load_audio
        assert getattr(processing_utils, "load_audio", None) is not theirs
        same(audio_utils.load_audio(str(path)), ossicle.load(path, 16_000)[0], 0)
    finally:
        undo()
    assert audio_utils.load_audio is theirs


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("sr", [None, 16_000.0])
@pytest.mark.parametrize("mono", [True, False])
def test_vllm_load_audio(path: Path, sr: float | None, mono: bool) -> None:
    expected, rate = ossicle.load(path, sr, mono=mono)  # type: ignore[arg-type]
    seconds = expected.shape[-1] / rate
    needed = 4 * ossicle.info(path).channels * expected.shape[-1]
    limits: list[dict[str, Any]] = [
        {},
        {"max_duration_s": seconds},
        {"max_decode_bytes": needed},
        {"max_duration_s": 600, "max_decode_bytes": 1 << 30},
    ]
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        for limit in limits:
            ours, got = backends.vllm.load_audio(source, sr=sr, mono=mono, **limit)
            assert got == rate
            same(ours, expected, 1e-5 if limit else 0)
    for limit in ({"max_duration_s": seconds - 0.01}, {"max_decode_bytes": needed - 8}):
        # vLLM answers a ValueError to the client.
        with pytest.raises(ValueError, match="longer than"):
            backends.vllm.load_audio(path, sr=sr, mono=mono, **limit)
    with pytest.raises(ossicle.UnsupportedFormatError):
        backends.vllm.load_audio(io.BytesIO(b"no audio at all"))


def test_vllm_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's own module is not at hand: one of its name and of its function's signature."""

    def theirs(path: Any, *, sr: float | None = 22_050, **options: Any) -> str:
        return "theirs"

    for name in ("vllm", "vllm.multimodal", "vllm.multimodal.media", "vllm.multimodal.media.audio"):
        module = types.ModuleType(name)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
    media, other = sys.modules["vllm.multimodal.media"], sys.modules["vllm.multimodal.media.audio"]
    vars(other)["load_audio"] = vars(media)["load_audio"] = theirs
    undo = backends.vllm.install()
    assert other.load_audio is media.load_audio is backends.vllm.load_audio
    undo()
    assert other.load_audio is media.load_audio is theirs


def test_nothing_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, ossicle, ossicle.backends\n"
        "heavy = {'torch', 'datasets', 'lhotse', 'librosa', 'transformers', 'soundfile'}\n"
        "assert not heavy & sys.modules.keys()\n"
        "ossicle.backends.librosa.load, ossicle.backends.soundfile.read\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
        "ossicle.backends.torchaudio.load\n"
        "assert 'torchaudio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        backends.nothing  # noqa: B018
    assert set(dir(backends)) == set(backends.__all__)


ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/backends.md").read_text(), re.DOTALL)
NEEDED = ("datasets", "lhotse", "transformers")


def test_each_backend_has_a_block() -> None:
    for name in backends.__all__:
        assert any(f"backends.{name}." in block for block in BLOCKS), name


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_of_the_page(number: int, tmp_path: Path) -> None:
    code = BLOCKS[number]
    for package in NEEDED:
        if f"import {package}" in code:
            pytest.importorskip(package)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 66_150)).astype(np.float32)
    ossicle.save(tmp_path / "talk.wav", noise, 22_050)
    (tmp_path / "talk.m4a").write_bytes((tmp_path / "talk.wav").read_bytes())
    (tmp_path / "block.py").write_text(code)
    run_script(tmp_path / "block.py", folder=tmp_path)

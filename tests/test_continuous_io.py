"""ContinuousAudioIO against the towers themselves, Hugging Face's extractor, ESPnet's contract."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import towers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from transformers import WhisperFeatureExtractor

import ossicle
from ossicle.collator import ClipTooShortError
from ossicle.errors import InvalidArgumentError, NonFiniteSampleError
from ossicle.espnet import ContinuousAudioIO, mel_frames
from ossicle.model import qwen_omni

RATE = 16_000
HALF_MINUTE = 480_000
RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=towers.KINDS)
def thinker(request: pytest.FixtureRequest) -> Any:
    return towers.thinker(request.param)


@pytest.fixture
def io(thinker: Any) -> ContinuousAudioIO:
    return io_of(thinker)


def io_of(thinker: Any, **options: Any) -> ContinuousAudioIO:
    return ContinuousAudioIO(tower=copy.deepcopy(towers.audio_tower(thinker)), **options)


def noise(samples: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """``(channels, samples)`` that changes its loudness."""
    time = np.arange(samples) / RATE
    found = np.random.default_rng(seed).standard_normal((channels, samples)) * 0.1
    return (found * np.sin(3 * time + 0.5) ** 2).astype(np.float32)


def silence(samples: int) -> NDArray[np.float32]:
    """``(1, samples)`` that takes no memory."""
    return np.broadcast_to(np.float32(0), (1, samples))


def collate(features: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """As ESPnet's ``pad_list`` does it."""
    lengths = torch.tensor([len(clip) for clip in features])
    clips = [torch.as_tensor(clip) for clip in features]
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths


# Lengths


@pytest.mark.thorough
@pytest.mark.parametrize("kind", towers.KINDS)
def test_lengths_of_every_sample_count_are_what_the_tower_gives(kind: str) -> None:
    """Over all clips of up to 30 s, that is of 0 to 3,000 mel frames."""
    small = {"d_model": 4, "encoder_layers": 1, "encoder_attention_heads": 1, "encoder_ffn_dim": 4}
    config = towers.config(kind, **small, num_mel_bins=4, output_dim=4)
    io = ContinuousAudioIO(config=config, dtype="float32")
    tower: Any = io.model["audio_tower"]
    given = [0] * 3_001
    with torch.no_grad():
        for frames in range(1, 3_001):
            heard = tower(torch.zeros(4, frames), **io.shape.arguments(torch.tensor([frames])))
            given[frames] = len(heard[0])
    # The whole frames of a clip are those that begin and end in it, 160 samples each.
    expected = np.array(given)[np.arange(1, HALF_MINUTE + 1) // 160]

    # Each count of samples as an int, as what data holds, and all of them as one tensor.
    counts = range(1, HALF_MINUTE + 1)
    found = [io.find_length((silence(count), RATE)) for count in counts]
    assert {type(length) for length in found} == {int}
    assert np.array_equal(found, expected)
    frames = mel_frames(torch.arange(1, HALF_MINUTE + 1))
    assert np.array_equal(frames, [mel_frames(count) for count in counts])
    assert np.array_equal(io.find_length(None, frames), expected)
    assert [io.find_length(None, count) for count in range(3_001)] == given


@pytest.mark.parametrize("rate", RATES)
def test_frames_at_other_rates_are_what_espnet_counts(rate: int) -> None:
    counts = np.arange(1, 30 * rate + 1)
    theirs = (counts * 16_000 / rate).astype(np.int64) // 160
    ours = mel_frames(torch.from_numpy(counts), rate)
    assert np.array_equal(ours, theirs)
    for count in counts[:: 997 * 16]:
        assert mel_frames(int(count), rate) == ours[count - 1]


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_a_tensor_in_is_a_tensor_out(io: ContinuousAudioIO, kind: torch.dtype) -> None:
    frames = torch.arange(12, dtype=kind).reshape(3, 4)
    found = io.find_length(None, frames)
    assert isinstance(found, torch.Tensor)
    assert (found.shape, found.dtype, found.device) == (frames.shape, kind, frames.device)
    assert io.find_length(None, frames.to("meta")).device.type == "meta"
    assert type(io.find_length(None, np.int64(7))) is int


def test_preprocess_and_encode_batch_count_alike(io: ContinuousAudioIO) -> None:
    rng = np.random.default_rng(0)
    short, long = range(1_400, 4_200, 53), rng.integers(4_200, 80_000, 12)
    for rate in (16_000, 44_100):
        done = [io.preprocess((noise(count), rate)) for count in (*short, *long.tolist())]
        batch, lengths = collate([features for _, (_, features), _ in done])
        with torch.no_grad():
            encoded = io.encode_batch(batch, lengths)
        expected = [io.find_length((silence(count), rate)) for count in (*short, *long)]
        assert [len(tokens) for tokens in encoded] == expected
        assert [tokens for _, (tokens, _), _ in done] == expected
        assert io.find_length(None, lengths).tolist() == expected


# Features


class NumpyPath(WhisperFeatureExtractor):
    """The truth: its PyTorch path is up to 4e-5 from it."""

    def _torch_extract_fbank_features(self, waveform: Any, device: str = "cpu") -> Any:
        return self._np_extract_fbank_features(waveform, device)


@pytest.mark.parametrize("samples", [480, 1_599, 16_000, 70_001, HALF_MINUTE - 1, 700_000])
def test_features_are_the_extractors(samples: int) -> None:
    """Of Qwen's processors: Whisper's, 128 bands, padded to 300 s; 60 s do for these clips."""
    io = ContinuousAudioIO(config=towers.config("qwen2_5_omni"), dtype="float32")
    wave = noise(samples)
    expected = NumpyPath(128, chunk_length=60)(wave[0], sampling_rate=RATE, return_tensors="np")
    places, (tokens, features), loss_mask = io.preprocess((wave, RATE))
    frames = samples // 160
    assert features.shape == (frames, 128)
    assert (features.dtype, features.flags.c_contiguous) == (np.float32, True)
    assert np.abs(features - expected["input_features"][0, :, :frames].T).max() < 1e-5
    for zeros, kind in ((places, np.int32), (loss_mask, np.float32)):
        assert (zeros.shape, zeros.dtype, zeros.any()) == ((tokens, 1), kind, False)


@given(
    rate=st.sampled_from(RATES),
    channels=st.integers(1, 6),
    samples=st.integers(1_500, 40_000),
    kind=st.sampled_from(["float32", "float64", "float16", "int16", "int32"]),
    seed=st.integers(0, 99),
)
@example(rate=22_050, channels=3, samples=34_673, kind="float32", seed=0)
@settings(max_examples=40, deadline=None)
def test_any_channels_rate_and_type(
    rate: int, channels: int, samples: int, kind: str, seed: int
) -> None:
    """Features are those of the mean of the channels at 16 kHz, full scale at 1."""
    wave = noise(samples, channels, seed)
    scale = {"int16": 2.0**15, "int32": 2.0**31}.get(kind, 1.0)
    taken = (wave * scale).astype(kind)
    mono = (taken.astype(np.float64) / scale).mean(axis=0).astype(np.float32)
    clip = ossicle.resample(mono, rate, RATE)
    expected = ossicle.log_mel_spectrogram(clip, n_mels=128, pad_to_seconds=None).T
    _, (_, features), _ = WORKER.preprocess((taken, rate))
    assert len(features) == samples * 100 // rate
    # In amplitudes: near the floor of the logarithm what float32 makes of a mean is much.
    found, wanted = (10 ** (2.0 * one - 2) for one in (features, expected[: len(features)]))
    assert np.abs(found - wanted).max() < 1e-5 * wanted.max()


WORKER = ContinuousAudioIO(config=towers.config("qwen2_5_omni")).copy_for_worker()


def test_one_axis_is_one_channel() -> None:
    wave = noise(5_000)
    one, two = WORKER.preprocess((wave[0], RATE)), WORKER.preprocess((wave, RATE))
    assert np.array_equal(one[1][1], two[1][1])
    assert WORKER.find_length((wave[0], RATE)) == WORKER.find_length((wave, RATE))


def test_quality_is_that_of_resample() -> None:
    wave = noise(30_000)
    for quality in ("fast", "best"):
        io = ContinuousAudioIO(config=towers.config("qwen2_5_omni"), quality=quality)
        clip = ossicle.resample(wave[0], 44_100, RATE, quality=quality)
        expected = ossicle.log_mel_spectrogram(clip, n_mels=128, pad_to_seconds=None).T
        features = io.preprocess((wave, 44_100))[1][1]
        assert np.array_equal(features, expected[: len(features)])


# Tokens


def test_tokens_are_what_the_whole_model_hears(thinker: Any, io: ContinuousAudioIO) -> None:
    """From waveforms, through Hugging Face's extractor and the thinker; whole frames only."""
    waves = [noise(160 * frames, seed=frames) for frames in (37, 100, 203, 450)]
    extractor = NumpyPath(128, chunk_length=10)
    inputs = extractor(
        [wave[0] for wave in waves],
        sampling_rate=RATE,
        return_attention_mask=True,
        return_tensors="pt",
    )
    mask = inputs["attention_mask"]
    with torch.no_grad():
        theirs = thinker.get_audio_features(inputs["input_features"], feature_attention_mask=mask)
        ours = io.encode_batch(*collate([io.preprocess((wave, RATE))[1][1] for wave in waves]))
    theirs = theirs if isinstance(theirs, torch.Tensor) else theirs[0]
    assert torch.cat(ours).shape == theirs.shape
    assert theirs.std() > 0.1  # it hears something
    assert (torch.cat(ours) - theirs).abs().max() < 1e-4


# bfloat16 keeps 8 bits of a number, and a sum's order depends on the shapes of a batch.
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_a_clip_alone_and_in_a_batch(
    io: ContinuousAudioIO, kind: torch.dtype, tolerance: float
) -> None:
    io = io.to(kind)
    counts = [3, 8, 31, 64, 99, 100, 101, 163, 200, 201, 377, 1_000]
    rng = np.random.default_rng(1)
    features = [torch.tensor(rng.normal(0, 0.5, (n, 128)), dtype=torch.float32) for n in counts]
    for some in (features[:2], features[:5], features[3:], features[::-1]):
        batch, lengths = collate(some)
        for row, count in zip(batch, lengths, strict=True):
            row[count:] = torch.nan  # nothing behind a clip is looked at
        with torch.no_grad():
            together = io.encode_batch(batch.to(kind), lengths.to(torch.int32))
            alone = [
                io.encode_batch(clip[None].to(kind), torch.tensor([len(clip)])) for clip in some
            ]
        for one, [other] in zip(together, alone, strict=True):
            assert one.shape == other.shape
            assert one.dtype == kind
            assert (one - other).abs().max() < tolerance
    assert torch.cat(together).std() > 0.1


def test_clips_without_a_token(io: ContinuousAudioIO) -> None:
    """They are empty, and do the others of their batch no harm."""
    clip = torch.randn(150, 128)
    batch, _ = collate([clip, clip, clip, clip])
    with torch.no_grad():
        [expected] = io.encode_batch(clip[None], torch.tensor([150]))
        found = io.encode_batch(batch, torch.tensor([0, 150, 0, 150]))
        assert [len(tokens) for tokens in found] == [0, len(expected), 0, len(expected)]
        assert (found[1] - expected).abs().max() < 1e-5
        assert (found[3] - expected).abs().max() < 1e-5
    for empty in (torch.zeros(2, 0, 128), torch.zeros(2, 5, 128)):
        found = io.encode_batch(empty, torch.tensor([0, 0]))
        assert [tuple(tokens.shape) for tokens in found] == [(0, 24), (0, 24)]
    assert io.encode_batch(torch.zeros(0, 5, 128), torch.zeros(0)) == []


class Wrapped(torch.nn.Module):
    """A tower that gives what some version of transformers gives."""

    def __init__(self, tower: Any, gives: Any) -> None:
        super().__init__()
        self.tower, self.gives, self.config, self.dtype = tower, gives, tower.config, tower.dtype

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return self.gives(self.tower(*arguments, **options))


def test_objects_and_tuples_of_transformers(thinker: Any, io: ContinuousAudioIO) -> None:
    batch = torch.randn(2, 60, 128)
    lengths = torch.tensor([60, 41])
    expected = io.encode_batch(batch, lengths)
    gives = [lambda output: output.to_tuple(), lambda output: output.last_hidden_state]
    ios = [ContinuousAudioIO(tower=Wrapped(io.model["audio_tower"], give)) for give in gives]
    plain = io_of(thinker)
    plain.model["audio_tower"].config.return_dict = False
    for other in (*ios, plain):
        found = other.encode_batch(batch, lengths)
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    bad = ContinuousAudioIO(tower=Wrapped(io.model["audio_tower"], lambda output: output[0][1:]))
    with pytest.raises(RuntimeError, match="tokens where"):
        bad.encode_batch(batch, lengths)


def reached(io: ContinuousAudioIO, output: torch.Tensor) -> set[str]:
    """Names of the parameters that going backward from ``output`` reaches."""
    io.zero_grad(set_to_none=True)
    output.sum().backward()
    return {name for name, weight in io.named_parameters() if weight.grad is not None}


def test_a_dummy_reaches_every_parameter_that_audio_reaches(io: ContinuousAudioIO) -> None:
    io.train()
    audio = io.encode_batch(torch.randn(2, 333, 128), torch.tensor([333, 50]))
    expected = reached(io, torch.cat(audio))
    missing = {name for name, _ in io.named_parameters()} - expected
    assert missing <= {"model.audio_tower.audio_bos_eos_token.weight"}  # the tower does not use it
    for kind in (torch.float32, torch.bfloat16):
        dummy = io.dummy_forward(torch.zeros(2, 5, 7, dtype=kind))
        assert dummy.shape == (1, io.feature_dim())
        assert dummy.dtype == torch.float32  # the tower's, as of audio
        assert reached(io, dummy) == expected
    # So does a batch in which there is nothing to hear.
    nothing = io.encode_batch(torch.zeros(2, 2, 128), torch.tensor([0, 0]))
    assert reached(io, torch.cat(nothing)) == expected


def test_a_dummy_takes_device_and_type_from_its_reference(
    io: ContinuousAudioIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(io, "encode_batch", lambda features, _: seen.append(features) or [features])
    io.dummy_forward(torch.zeros(1, dtype=torch.float16, device="meta"))
    assert (seen[0].dtype, seen[0].device.type, seen[0].shape[2]) == (torch.float16, "meta", 128)


def test_features_learn(io: ContinuousAudioIO) -> None:
    batch = torch.randn(2, 40, 128, requires_grad=True)
    torch.cat(io.encode_batch(batch, torch.tensor([40, 20]))).square().sum().backward()
    assert batch.grad is not None
    assert batch.grad[0].abs().sum() > 0
    assert not batch.grad[1, 20:].any()


def test_names_of_weights_are_those_of_espnets_checkpoints(io: ContinuousAudioIO) -> None:
    tower = io.model["audio_tower"].state_dict()
    assert list(io.state_dict()) == [f"model.audio_tower.{name}" for name in tower]
    assert io.feature_dim() == io.d_model == 24
    assert (io.modality, io.is_discrete) == ("audio", False)
    assert (io.sample_rate, io.hop_length, io.n_mels) == (16_000, 160, 128)


def test_from_a_folder(thinker: Any, tmp_path: Path) -> None:
    thinker.save_pretrained(tmp_path)
    io = ContinuousAudioIO("huggingface", str(tmp_path), "eager", "bfloat16", "cpu")
    assert {weight.dtype for weight in io.parameters()} == {torch.bfloat16}
    batch, lengths = torch.randn(1, 90, 128), torch.tensor([90])
    [found] = io.encode_batch(batch, lengths)
    [expected] = io_of(thinker).encode_batch(batch, lengths)
    assert found.dtype == torch.bfloat16
    assert (found - expected).abs().max() < 0.1


# Workers


class Rows(torch.utils.data.Dataset[Any]):
    def __init__(self, io: ContinuousAudioIO) -> None:
        self.io = io

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        return self.io.preprocess((noise(16_000 + 999 * index, 2, index), 44_100))

    def collate_fn(self, rows: list[Any]) -> Any:
        return [tokens for _, (tokens, _), _ in rows], collate([row[1][1] for row in rows])


@pytest.mark.sampled(one_in=2)
@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_in_workers(start: str, workers: int) -> None:
    io = ContinuousAudioIO(config=towers.config("qwen3_omni_moe"), dtype="float32")
    rows = Rows(io.copy_for_worker())
    loader = DataLoader(
        rows, 3, num_workers=workers, collate_fn=rows.collate_fn, multiprocessing_context=start
    )
    done = list(loader)
    here = [rows.collate_fn([rows[index] for index in part]) for part in ((0, 1, 2), (3, 4, 5))]
    for (tokens, (batch, lengths)), (expected, (features, frames)) in zip(done, here, strict=True):
        assert tokens == expected
        assert torch.equal(batch, features)
        assert torch.equal(lengths, frames)
        assert [len(clip) for clip in io.encode_batch(batch, lengths)] == tokens


class Named(ContinuousAudioIO):
    """A user's own, with a constructor of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(config=towers.config("qwen2_5_omni"), on_short="raise")
        self.name = name
        self.more = torch.nn.Linear(100, 100)


def test_a_copy_for_workers_loads_nothing(
    io: ContinuousAudioIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = Named("ours")

    def never(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("something was loaded")

    for name in ("load_tower", "random_tower"):
        monkeypatch.setattr(f"ossicle.espnet.{name}", never)
    monkeypatch.setattr(torch.nn.Parameter, "__deepcopy__", never)
    for original in (io, named):
        worker = original.copy_for_worker()
        assert type(worker) is type(original)
        assert worker.model is None
        assert list(worker.parameters()) == []
        assert len(pickle.dumps(worker)) < 2_000
        again = pickle.loads(pickle.dumps(worker.copy_for_worker()))
        for data in ((noise(9_999), RATE), (noise(9_999), 8_000)):
            expected = original.preprocess(data)
            for one in (worker, again):
                found = one.preprocess(data)
                assert np.array_equal(found[1][1], expected[1][1])
                assert one.find_length(data) == found[1][0] == expected[1][0]
        assert worker.feature_dim() == 24
        with pytest.raises(InvalidArgumentError, match="copy for workers"):
            worker.encode_batch(torch.zeros(1, 9, 128), torch.tensor([9]))
        assert original.model is not None
        assert original.dummy_forward(torch.zeros(1)).shape == (1, 24)
    assert named.copy_for_worker().name == "ours"
    assert named.copy_for_worker().on_short == "raise"


# What goes wrong


@pytest.mark.parametrize(("kind", "least"), [("qwen2_5_omni", 480), ("qwen3_omni_moe", 160)])
def test_clips_too_short_for_a_token(kind: str, least: int) -> None:
    config = towers.config(kind)
    lenient, strict = (
        ContinuousAudioIO(config=config, on_short=on_short).copy_for_worker()
        for on_short in ("empty", "raise")
    )
    for samples in (0, 1, least - 1):
        data = (noise(samples), RATE)
        with pytest.warns(RuntimeWarning, match=f"^{samples} samples at 16000 Hz are too few"):
            places, (tokens, features), loss_mask = lenient.preprocess(data)
        assert tokens == lenient.find_length(data) == strict.find_length(data) == 0
        assert (places.shape, loss_mask.shape) == ((0, 1), (0, 1))
        assert features.shape == (samples // 160, 128)
        with pytest.raises(ClipTooShortError, match=f"^{samples} samples at 16000 Hz"):
            strict.preprocess(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for io in (lenient, strict):
            assert io.preprocess((noise(least), RATE))[1][0] == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((np.zeros((2, 3, 4), np.float32), RATE), r"\(C, N\) or \(N,\), not \(2, 3, 4\)"),
        ((np.float32(1), RATE), r"not \(\)"),
        ((np.zeros((0, 500), np.float32), RATE), r"not \(0, 500\)"),
        ((np.zeros((9_000, 2), np.float32), RATE), r"not \(9000, 2\)"),
        ((np.zeros((1, 500), np.float32), 0), "the rate must be .*, not 0"),
        ((np.zeros((1, 500), np.float32), 16_000.5), r"the rate must be .*, not 16000\.5"),
    ],
)
def test_what_is_no_audio(data: Any, message: str) -> None:
    for call in (WORKER.preprocess, WORKER.find_length):
        with pytest.raises(InvalidArgumentError, match=message):
            call(data)


def test_samples_that_are_none() -> None:
    for rate, bad in ((RATE, np.nan), (RATE, np.inf), (8_000, -np.inf)):
        wave = noise(9_000, 2)
        wave[1, 4_321] = bad
        with pytest.raises(NonFiniteSampleError) as caught:
            WORKER.preprocess((wave, rate))
        assert caught.value.sample_index == 4_321
    with pytest.raises(InvalidArgumentError, match="a clip or its number of mel frames"):
        WORKER.find_length(None)


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 9), [9, 9], r"\(B, T, 128\), not \(2, 9\)"),
        ((2, 128, 9), [9, 9], r"not \(2, 128, 9\)"),
        ((2, 9, 128), [9], r"lengths are \(2,\), not \(1,\)"),
        ((2, 9, 128), [9, 10], r"0 to 9 mel frames, not \[9, 10\]"),
        ((2, 9, 128), [9, -1], "0 to 9 mel frames"),
    ],
)
def test_batches_that_do_not_fit(
    shape: tuple[int, ...], lengths: list[int], message: str, io: ContinuousAudioIO
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        io.encode_batch(torch.zeros(shape), torch.tensor(lengths))


def test_arguments_that_make_no_sense(thinker: Any) -> None:
    tower = towers.audio_tower(thinker)
    for options, message in (
        ({"encoder_choice": "espnet"}, "encoder_choice"),
        ({"on_short": "skip"}, "on_short"),
        ({"quality": "worst"}, "quality"),
        ({"config": tower.config, "tower": tower}, "config and tower"),
        ({"config": tower.config, "dtype": "float33"}, "float33"),
        ({"config": tower.config, "dtype": "int64"}, "int64"),
        ({"tower": torch.nn.Linear(1, 1)}, "audio towers are"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            ContinuousAudioIO(**options)


# ESPnet


def run(script: str, *paths: Path, arguments: tuple[str, ...] = ()) -> str:
    root = Path(ossicle.__file__).parents[1]
    setup = f"import sys; sys.path[:0] = {[str(path) for path in (*paths, root, TESTS)]!r}\n"
    command = [sys.executable, "-c", setup + textwrap.dedent(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4_000:]
    return done.stdout


TESTS = Path(__file__).parent
ESPNET = TESTS / "data" / "espnet"


@pytest.mark.thorough
def test_without_espnet_there_is_a_base_of_its_shape() -> None:
    run("""
        sys.modules["espnet2"] = None  # as if it were not installed
        import ossicle
        assert {"ContinuousAudioIO", "register_espnet"} <= set(dir(ossicle))
        assert not {"torch", "transformers"} & set(sys.modules)
        from ossicle.espnet import AbsIO
        assert "transformers" not in sys.modules  # nor need a worker import it
        import torch
        assert issubclass(ossicle.ContinuousAudioIO, AbsIO) and issubclass(AbsIO, torch.nn.Module)
        for name in ("decode_batch", "num_stream", "get_vocabulary", "get_stream_interval"):
            try:
                getattr(AbsIO("audio", False), name)()
            except NotImplementedError:
                continue
            raise AssertionError(name)
        try:
            ossicle.register_espnet()
        except ImportError as error:
            assert "ESPnet's SpeechLM cannot be used: ModuleNotFoundError" in str(error), error
            assert "espnet2" in str(error.__cause__)
        else:
            raise AssertionError
    """)


@pytest.mark.thorough
def test_an_espnet_without_its_job_is_told(tmp_path: Path) -> None:
    """As the package on PyPI is."""
    model = tmp_path / "espnet2" / "speechlm" / "model"
    model.mkdir(parents=True)
    (model / "__init__.py").write_text("from espnet2.speechlm.model.speechlm import speechlm_job\n")
    run(
        """
        import ossicle
        try:
            ossicle.register_espnet()
        except ImportError as error:
            assert "No module named 'espnet2.speechlm.model.speechlm'" in str(error), error
            assert "PyPI leaves it out" in str(error)
        else:
            raise AssertionError
        """,
        tmp_path,
    )


@pytest.mark.thorough
@pytest.mark.parametrize("kind", towers.KINDS)
def test_in_espnets_job(kind: str, tmp_path: Path) -> None:
    """In a stand-in of its shape: its job makes the I/O, its preprocessor batches, it learns."""
    towers.audio_tower(towers.thinker(kind)).save_pretrained(tmp_path)
    printed = run(
        """
        import numpy as np, torch
        from espnet2.speechlm.model import _all_job_types
        import ossicle
        from espnet2.speechlm.model.speechlm.multimodal_io.abs_io import AbsIO
        assert issubclass(ossicle.ContinuousAudioIO, AbsIO)
        ossicle.register_espnet()
        ossicle.register_espnet()

        tag = {"encoder_hf_model_tag": sys.argv[1], "dtype": "float32"}
        job = _all_job_types["speechlm"]({"multimodal_io": {"text": {}, "continuous_audio": tag}})
        assert type(job.multimodal_io["continuous_audio"]) is ossicle.ContinuousAudioIO
        preprocessor, model = job.build_preprocessor(), job.build_model()
        assert preprocessor.multimodal_io["continuous_audio"].model is None

        rng = np.random.default_rng(0)
        clips = [rng.normal(0, 0.1, (1, n)).astype(np.float32) for n in (8_000, 300, 20_123)]
        rows = [{"audio": (clip, 16_000), "text": [3, 1, 4]} for clip in clips]
        batch = preprocessor.collate_fn(rows)
        lengths = [preprocessor.find_length(row) for row in rows]
        assert (batch["seqs"][..., 0] != 0).sum(1).tolist() != lengths  # tokens of audio are zeros
        assert batch["seqs"].shape[1] == max(lengths)

        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        losses = []
        for _ in range(5):
            loss = model(**batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0], losses
        io = job.multimodal_io["continuous_audio"]
        learned = [weight.grad for weight in io.parameters() if weight.grad is not None]
        assert any(gradient.any() for gradient in learned)

        # A batch of text alone: the dummy keeps the tower in the graph.
        def reached():
            return {name for name, weight in model.named_parameters() if weight.grad is not None}

        heard = reached()
        batch = preprocessor.collate_fn([{"text": [1, 5, 9]}])
        optimizer.zero_grad()
        model(**batch).backward()
        assert heard == reached()
        print("trained")
        """,
        ESPNET,
        arguments=(str(tmp_path),),
    )
    assert printed.endswith("trained\n")


def test_qwen3_needs_its_whole_chunk(thinker: Any, io: ContinuousAudioIO) -> None:
    """Why `encode_batch` adds silence: the tower hears a short clip differently beside others."""
    if not isinstance(io.shape, qwen_omni.Qwen3OmniShape):
        pytest.skip("Qwen2.5-Omni's tower masks what is behind a clip")
    tower: Any = io.model["audio_tower"]
    clip = torch.randn(128, 37)
    with torch.no_grad():
        alone = tower(clip, feature_lens=torch.tensor([37]))[0]
        both = tower(
            torch.cat([clip, torch.zeros(128, 100)], 1), feature_lens=torch.tensor([37, 100])
        )
        [ours] = io.encode_batch(clip.T[None], torch.tensor([37]))
    assert (alone - both[0][: len(alone)]).abs().max() > 1e-3
    assert (ours - both[0][: len(alone)]).abs().max() < 1e-5

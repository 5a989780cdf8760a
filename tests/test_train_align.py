"""The alignment run: against a loop written out by hand, and against itself after stops."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossicle import AudioError, load
from ossicle.model import GPT, GPTConfig, Projector, WhisperEncoder, WhisperLoadError
from ossicle.train import (
    CheckpointError,
    LossDidNotFallError,
    ManifestError,
    TrainConfig,
    TrainProgress,
    run,
)
from ossicle.train.checkpoint import load as load_checkpoint
from ossicle.train.order import epoch_rows

SPEECH = Path(__file__).parents[2] / "shared" / "data" / "speech" / "manifest.jsonl"
TONES = [(220, "low tone"), (330, "mid low tone"), (440, "middle"), (660, "high"), (880, "top é")]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small matrices gain nothing from more, and waiting threads crawl on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tones of different lengths and rates, with words."""
    folder = tmp_path_factory.mktemp("tones")
    rows = []
    for i, (pitch, text) in enumerate(TONES):
        rate = [16_000, 8_000, 22_050, 44_100, 48_000][i]
        t = np.arange(int(rate * (0.4 + 0.13 * i))) / rate
        write_wav(folder / f"{pitch}.wav", 0.5 * np.sin(2 * np.pi * pitch * t), rate)
        rows.append({("wav", "audio_path")[i % 2]: f"{pitch}.wav", "text": text, "sr": rate})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    return manifest


def small(data: Path, **changes) -> TrainConfig:
    base = TrainConfig(data, "tiny-random", steps=6, depth=1, device="cpu", loss_drop_min=None)
    return replace(base, **changes)


def by_hand(manifest: Path, steps: int, seed: int, depth: int, stack: int) -> list[float]:
    """The run as a plain loop over whole clips, one at a time, without padding or masks."""
    rows = [json.loads(line) for line in manifest.read_text().splitlines() if line]
    encoder = WhisperEncoder("tiny-random")
    torch.manual_seed(seed)
    width = 64 * depth
    gpt = GPT(GPTConfig(2048, 257, depth, depth, depth, width, "L"))
    torch.manual_seed(seed)
    gpt.init_weights()
    projector = Projector(encoder.d_model, width, stack=stack)
    weights = [*projector.parameters(), *gpt.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)
    examples = []
    for row in rows:
        path = manifest.parent / (row.get("wav") or row["audio_path"])
        features, _ = encoder.preprocess([load(path, 16_000)[0]])
        examples.append((encoder(features), torch.tensor([[256, *row["text"].encode()]])))
    losses = []
    for _ in range(steps):
        total, count = torch.zeros(()), 0
        for frames, ids in examples:
            soft = projector(frames)
            total = total + gpt(ids[:, :-1], ids[:, 1:], audio_features=soft, loss_reduction="sum")
            count += ids.shape[1] - 1
        optimizer.zero_grad()
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        losses.append(total.item() / count)
    return losses


@pytest.mark.parametrize("stack", [1, 4])
def test_the_losses_are_those_of_a_loop_written_by_hand(tones: Path, stack: int) -> None:
    losses = run(small(tones, steps=4, depth=2, seed=5, stack=stack)).losses
    np.testing.assert_allclose(losses, by_hand(tones, 4, 5, 2, stack), rtol=0, atol=1e-4)


def test_the_loss_falls_on_tones(tones: Path) -> None:
    result = run(small(tones, steps=15, depth=2, loss_drop_min=0.5))
    assert result.loss_drop >= 0.5
    assert result.losses[0] == pytest.approx(math.log(257), abs=0.3)
    assert result.clips == 5
    assert result.audio_seconds == pytest.approx(15 * sum(0.4 + 0.13 * i for i in range(5)), 1e-3)
    assert result.soft_tokens == math.ceil(math.ceil(92 / 2) / 4)
    assert result.checkpoint is result.report is None
    assert result.log_mel is not None
    assert result.log_mel.shape == (80, 40)
    assert sum(result.stage_seconds.values()) <= result.seconds


@pytest.mark.skipif(not SPEECH.exists(), reason="the speech clips are not beside the repository")
def test_the_loss_falls_on_real_speech() -> None:
    result = run(TrainConfig(SPEECH, "tiny-random", steps=12, depth=2, loss_drop_min=0.5))
    assert result.loss_drop >= 0.5
    assert result.clips == 5


def test_the_seed_decides_every_bit(tones: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = run(small(tones)).losses
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert run(small(tones)).losses == first
    assert run(small(tones, seed=1)).losses != first


@pytest.mark.sampled(one_in=2)
@pytest.mark.parametrize("batch_size", [None, 2], ids=["whole", "minibatches"])
def test_a_run_stopped_anywhere_goes_on_to_the_last_bit(
    tones: Path, batch_size: int | None, tmp_path: Path
) -> None:
    straight = run(small(tones, batch_size=batch_size))
    for stops in ([1], [2, 3, 5], [4, 4]):
        out = tmp_path / "-".join(map(str, stops))
        for stop in [*stops, 6]:
            torch.manual_seed(stop)  # whatever the state outside is
            # Without room in memory each clip is decoded and encoded anew, beside other clips.
            config = small(
                tones, batch_size=batch_size, steps=stop, out=out, resume=True, cache_bytes=0
            )
            result = run(config)
        assert result.losses == straight.losses
        assert result.start_step == stops[-1]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tones: Path, tmp_path: Path) -> None:
    config = small(tones, out=tmp_path, save_every=2)
    losses = run(config).losses
    assert sorted(p.name for p in tmp_path.glob("step_*")) == ["step_00000004", "step_00000006"]
    newest = tmp_path / "step_00000006" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="step_00000006"):
        again = run(replace(config, resume=True))
    assert again.start_step == 4
    assert again.losses == losses
    assert run(replace(config, resume=True)).start_step == 6


def test_a_checkpoint_holds_the_run_and_never_the_encoder(tones: Path, tmp_path: Path) -> None:
    result = run(small(tones, out=tmp_path))
    assert result.checkpoint is not None
    saved = load_checkpoint(result.checkpoint)
    gpt = GPT(GPTConfig(**saved.meta["model_config"]))
    gpt.load_state_dict(saved.tensors["model"])
    projector = Projector(64, 64, stack=saved.meta["identity"]["stack"])
    projector.load_state_dict(saved.tensors["projector"])
    assert saved.tensors.keys() == {"model", "projector", "optimizer", "rng", "progress"}
    trained = sum(p.numel() for m in (gpt, projector) for p in m.parameters())
    assert result.parameters == trained
    assert saved.tensors["progress"]["losses"].tolist() == result.losses
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["losses"] == result.losses
    assert result.report == tmp_path / "report.png"
    assert result.report.read_bytes()[:4] == b"\x89PNG"


def test_a_loss_that_does_not_fall_is_an_error_after_all_is_written(
    tones: Path, tmp_path: Path
) -> None:
    with pytest.raises(LossDidNotFallError, match=r"fell by .* 2 steps .* 0\.5 at least") as caught:
        run(small(tones, steps=2, lr=1e-9, loss_drop_min=0.5, out=tmp_path))
    written = {"step_00000002", "report.png", "result.json", "config.yaml", "metrics.jsonl"}
    assert {p.name for p in tmp_path.iterdir()} == written
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.result.losses == caught.value.result.losses


def test_a_folder_with_checkpoints_is_not_mixed_with_another_run(
    tones: Path, tmp_path: Path
) -> None:
    config = small(tones, steps=2, out=tmp_path)
    run(config)
    with pytest.raises(
        CheckpointError, match="pass resume to continue from them, or overwrite to remove them"
    ):
        run(config)
    with pytest.raises(CheckpointError, match=r"another run: seed was 0, is 1; lr was 0\.003"):
        run(replace(config, resume=True, seed=1, lr=1e-3))
    with pytest.raises(CheckpointError, match="at step 2, past the 1"):
        run(replace(config, resume=True, steps=1))
    with pytest.raises(WhisperLoadError):
        run(replace(config, overwrite=True, whisper=str(tmp_path / "no-encoder")))
    assert (tmp_path / "step_00000002").exists()
    assert run(replace(config, overwrite=True, steps=1)).start_step == 0
    assert [p.name for p in tmp_path.glob("step_*")] == ["step_00000001"]


def test_progress_tells_every_step(tones: Path) -> None:
    seen: list[TrainProgress] = []
    losses = run(small(tones, steps=3), progress=seen.append).losses
    assert [p.stage for p in seen] == ["load", "encode", "train", "train", "train"]
    assert [(p.step, p.loss) for p in seen[2:]] == [(i + 1, losses[i]) for i in range(3)]
    assert {p.steps for p in seen} == {3}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"wav": "a.wav"}', "no text: its columns are audio, text"),
        (b'{"wav": "a.wav", "text": " "}', "no text"),
        (b'{"wav": ["a.wav", "b.wav"], "text": "a"}', "several recordings"),
        (b'{"wav": "a.wav", "text": "a"', "not valid JSON: "),
        (b'["a.wav", "a"]', "not a JSON object but list"),
        (b'{"wav": "\xff", "text": "a"}', "not valid JSON: .*utf-8"),
        (b'{"wav": "a.wav", "text": "a", "sr": 0}', "sample_rate is 0"),
        (b'{"wav": "a.wav", "text": "a", "sr": "16k"}', "'sr' holds '16k', not an integer"),
    ],
)
def test_a_bad_row_is_an_error_with_its_file_and_number(
    line: bytes, reason: str, tmp_path: Path
) -> None:
    manifest = tmp_path / "bad.jsonl"
    manifest.write_bytes(b'{"wav": "a.wav", "text": "fine"}\n\n' + line + b"\n")
    with pytest.raises(ManifestError, match=rf"bad\.jsonl, row 1 \(line 3\): .*{reason}") as caught:
        run(small(manifest))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.row, copy.line) == (str(caught.value), 1, 3)


def test_a_manifest_without_rows_or_without_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text("\n")
    with pytest.raises(ManifestError, match="no rows"):
        run(small(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"absent\.jsonl"):
        run(small(tmp_path / "absent.jsonl"))


def test_bad_audio_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"wav": "gone.wav", "text": "a"}\n')
    with pytest.raises(AudioError, match=r"gone\.wav"):
        run(small(manifest))
    write_wav(tmp_path / "gone.wav", np.zeros(0))
    with pytest.raises((AudioError, ManifestError), match=r"gone\.wav"):
        run(small(manifest))


def test_an_encoder_that_cannot_be_had_is_never_replaced(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WhisperLoadError, match="--whisper tiny-random"):
        run(small(tones, whisper="someone/no-such-whisper", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"lr": 0.0},
        {"lr": math.nan},
        {"max_seconds": 31},
        {"stack": 0},
        {"batch_size": 0},
        {"seed": -1},
        {"resume": True},
        {"resume": True, "overwrite": True, "out": "x"},
    ],
)
def test_a_config_that_makes_no_sense_is_a_value_error(changes: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        small(Path("m.jsonl"), **changes)


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 2**32),
    epochs=st.integers(1, 3),
)
def test_each_epoch_is_a_permutation_whatever_the_batch(
    count: int, batch_size: int, seed: int, epochs: int
) -> None:
    steps = math.ceil(count * epochs / batch_size)
    drawn = [row for step in range(steps) for row in epoch_rows(count, batch_size, seed, step)]
    for epoch in range(epochs if batch_size < count else 1):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_every_epoch_and_every_seed_has_an_order_of_its_own() -> None:
    orders = {
        tuple(row for step in range(4) for row in epoch_rows(40, 10, seed, 4 * epoch + step))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


@pytest.mark.thorough
def test_training_needs_no_polars() -> None:
    code = "import sys, ossicle.train.trainer; sys.exit('polars' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

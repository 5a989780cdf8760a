"""The weak-alignment experiment at a size that says nothing but how it works, on tones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.whisper.modeling_whisper import WhisperEncoder as HuggingFaceEncoder
from typer.testing import CliRunner

from ossicle.cli import app
from ossicle.data.utterances import utterances_of
from ossicle.experiment import ctc_encoder, language_model, weak_align
from ossicle.experiment.pictures import (
    draw_control,
    draw_losses,
    draw_soft_tokens,
    principal_components,
)
from ossicle.model import Projector, WhisperEncoder
from ossicle.train import checkpoint, run_files
from ossicle.train.evaluate import ControlResult
from ossicle.train.report import draw_layer_weights


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the command, as users make it."""
    folder = tmp_path_factory.mktemp("weak-align")
    arguments = ["experiment", "weak-align", str(folder), "--quick", "--speaker", "tones"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    assert "another clip's audio" in answer.output
    return folder


def test_everything_is_written_and_agrees(out: Path) -> None:
    result = json.loads((out / "result.json").read_text())
    found = result["stages"]["projector"]["evaluations"]
    assert [at["step"] for at in found] == [4, 8]
    # Other batches shuffle otherwise, and change nothing else.
    assert found[1]["loss"] == pytest.approx(result["control"]["right"], abs=1e-5)
    assert found[1]["none"] == pytest.approx(result["control"]["none"], abs=1e-5)
    assert result["control"]["clips"] == 8
    texts = [clip.text for clip in utterances_of(out / "corpus" / "held-out.jsonl")]
    assert [example["said"] for example in result["examples"]] == texts
    assert result["control"]["tokens"] == sum(len(text) for text in texts)
    assert result["words"]["words"] == sum(len(text.split()) for text in texts)
    stages = {name: len(stage.get("losses", [])) for name, stage in result["stages"].items()}
    assert stages == {"corpus": 0, "encoder": 8, "language": 8, "projector": 8}
    for name in ("control", "losses", "soft-tokens"):
        assert (out / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_only_the_projector_learns(out: Path, tmp_path: Path) -> None:
    def frozen() -> dict[str, bytes]:
        paths = [*(out / "encoder").iterdir(), *(out / "language").iterdir()]
        return {str(path): path.read_bytes() for path in paths}

    config = replace(weak_align.quick("tones"), projector=weak_align.ProjectorConfig(steps=1))
    before = frozen()
    for name in ("corpus", "encoder", "language", ".ossicle-experiment"):
        (tmp_path / name).symlink_to(out / name)
    result = weak_align.run_experiment(tmp_path, config)
    assert frozen() == before
    saved = checkpoint.load(out / "projector" / "step_00000008").tensors
    again = checkpoint.load(tmp_path / "projector" / "step_00000001").tensors
    assert "model" not in saved
    for name, weight in saved["projector"].items():
        assert not torch.equal(weight, again["projector"][name])
    assert result.control.tokens > 0


def test_stages_that_are_done_are_not_done_again(out: Path, tmp_path: Path, monkeypatch) -> None:
    out = shutil.copytree(out, tmp_path / "copy")
    kept = (out / "result.json").read_bytes()

    def never(*_, **__):
        raise AssertionError("done again")

    monkeypatch.setattr(weak_align, "train_encoder", never)
    monkeypatch.setattr(weak_align, "train_language_model", never)
    monkeypatch.setattr(weak_align.trainer, "run", never)
    config = weak_align.quick("tones")
    result = weak_align.run_experiment(out, config)
    first, second = (json.loads(text) for text in (kept, (out / "result.json").read_bytes()))
    del first["stages"]["corpus"], second["stages"]["corpus"]
    assert first == second
    assert result.control.gap == second["control"]["gap"]
    other = replace(config, language=replace(config.language, steps=9))
    with pytest.raises(AssertionError, match="done again"):
        weak_align.run_experiment(out, other)


def test_the_same_seed_gives_the_same_losses(out: Path, tmp_path: Path) -> None:
    config = weak_align.quick("tones").language
    texts = (out / "corpus" / "texts.txt").read_text().splitlines()
    run = language_model.train_language_model(texts, texts[:4], tmp_path, config)
    done = json.loads((out / "language" / "done.json").read_text())["result"]
    assert run.losses == done["losses"]


def test_the_encoder_trains_with_the_forward_that_it_is_used_with(out: Path) -> None:
    ours = WhisperEncoder(str(out / "encoder"))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([100, 37, 64, 1])
    features = torch.randn(4, 80, 100, generator=generator)
    features *= torch.arange(100) < lengths[:, None, None]
    for counts in (lengths, torch.full((4,), 100)):
        expected = ours(features, counts)
        with torch.no_grad():
            given = ctc_encoder.encode(ours.encoder, features, counts)
        for row, length in enumerate((counts + 1) // 2):
            torch.testing.assert_close(
                given[row, :length], expected[row, :length], rtol=0, atol=1e-5
            )
    assert isinstance(ours.encoder, HuggingFaceEncoder)


def test_ctc_counts_paths_as_its_definition_does() -> None:
    """The loss of a two-letter text over three frames, from all 27 paths."""
    config = ctc_encoder.CtcConfig(d_model=16, layers=1, heads=2)
    torch.manual_seed(0)
    encoder, head = ctc_encoder._new_encoder(config), torch.nn.Linear(16, 3)
    features = torch.randn(5, 80)
    loss = ctc_encoder._loss(encoder, head, [features], [torch.tensor([1, 2])])
    with torch.no_grad():
        hidden = ctc_encoder.encode(encoder, features.T[None], torch.tensor([5]))
        probabilities = head(hidden)[0].softmax(-1).double().numpy()
    total = 0.0
    for path in np.ndindex(3, 3, 3):
        merged = [x for i, x in enumerate(path) if i == 0 or path[i - 1] != x]
        if [x for x in merged if x != ctc_encoder.BLANK] == [1, 2]:
            total += np.prod([probabilities[t, x] for t, x in enumerate(path)])
    assert loss.item() == pytest.approx(-np.log(total) / 2, abs=1e-5)


def test_hurried_text_keeps_its_letters_in_order() -> None:
    random = np.random.default_rng(0)
    text = b"anna sees two lamps."
    lengths = []
    for _ in range(200):
        hurried = [x for x in language_model._hurry_text(text, random) if x != language_model.PAUSE]
        rest = iter(text)
        kept = [x for i, x in enumerate(hurried) if i == 0 or hurried[i - 1] != x]
        assert all(letter in rest for letter in kept)  # a subsequence
        lengths.append(len(hurried) / len(text))
    assert 0.6 < min(lengths) < 0.95
    assert 1.05 < max(lengths) < 1.8


def test_a_learned_mix_of_layers_is_drawn(tmp_path: Path) -> None:
    assert run_files.draw_layers(tmp_path, Projector(4, 8)) is None
    mixed = Projector(4, 8, layers=3)
    first = Path(str(run_files.draw_layers(tmp_path, mixed))).read_bytes()
    with torch.no_grad():
        mixed.layer_logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
    assert Path(str(run_files.draw_layers(tmp_path, mixed))).read_bytes() != first


RESULT = ControlResult(10.0, 40.0, 20.0, 10, 2)
FOUND = {"step": 1, "loss": 1.0, "shuffled": 4.0, "none": 2.0}


def test_principal_components_are_those_of_the_covariance() -> None:
    points = np.random.default_rng(0).standard_normal((50, 6)) * np.arange(1, 7)
    mean, directions = principal_components(points)
    values, vectors = np.linalg.eigh(np.cov(points.T))
    for direction, expected in zip(directions, vectors.T[::-1], strict=False):
        assert abs(direction @ expected) == pytest.approx(1.0)
    np.testing.assert_allclose(mean, points.mean(0))
    projected = (points - mean) @ directions.T
    np.testing.assert_allclose(projected.var(0, ddof=1), values[::-1][:2])


def test_pictures_show_their_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soft, letters = rng.standard_normal((40, 8)), dict(zip("abc", np.eye(8), strict=False))
    groups = {"one": rng.standard_normal((5, 8)), "two": rng.standard_normal((1, 8))}
    calls = [
        lambda p: draw_control(p, [FOUND], RESULT),
        lambda p: draw_control(p, [FOUND, FOUND | {"step": 5, "loss": 0.5}], RESULT),
        lambda p: draw_control(p, [FOUND], replace(RESULT, right_nats=5.0)),
        lambda p: draw_losses(p, {"a": ([3.0, 2.0, 1.0] * 20, "nats"), "b": ([1.0], "nats")}),
        lambda p: draw_losses(p, {"a": ([3.0, 2.5, 1.0] * 20, "nats"), "b": ([], "nats")}),
        lambda p: draw_soft_tokens(p, soft, letters, groups),
        lambda p: draw_layer_weights(p, [0.2, 0.5, 0.3]),
        lambda p: draw_layer_weights(p, [0.2, 0.3, 0.5]),
    ]
    pictures = [call(tmp_path / "new" / f"{i}.png").read_bytes() for i, call in enumerate(calls)]
    assert len(set(pictures)) == len(calls)

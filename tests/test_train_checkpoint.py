"""Checkpoints under damage, kills and full disks: the newest whole one always loads."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossicle.train import CheckpointError
from ossicle.train import checkpoint as ck

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8]


def content(step: int) -> dict[str, dict[str, torch.Tensor]]:
    """Tensors that tell which step wrote them."""
    generator = torch.Generator().manual_seed(step)
    return {
        "model": {"a.weight": torch.randn(31, 7, generator=generator), "step": torch.tensor(step)},
        "optimizer": {"a.weight/exp_avg": torch.randn(31, 7, generator=generator)},
        "empty": {},
    }


def assert_is_step(path: Path, step: int) -> None:
    saved = ck.load(path)
    assert saved.step == step
    assert saved.meta == {"step": step}
    for file, group in content(step).items():
        assert saved.tensors[file].keys() == group.keys()
        assert all(torch.equal(saved.tensors[file][name], group[name]) for name in group)


def save(directory: Path, step: int) -> Path:
    return ck.save(directory, step, content(step), {"step": step})


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=4),
    dtype=st.sampled_from(DTYPES),
    meta=st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False) | st.text(max_size=5)),
)
def test_any_tensors_come_back(tmp_path_factory, shapes, dtype, meta) -> None:
    directory = tmp_path_factory.mktemp("any")
    tensors = {f"t.{i}": (100 * torch.randn(shape)).to(dtype) for i, shape in enumerate(shapes)}
    saved = ck.load(ck.save(directory, 3, {"model": tensors}, meta))
    assert saved.meta == meta
    for name, tensor in tensors.items():
        assert saved.tensors["model"][name].dtype == dtype
        assert torch.equal(saved.tensors["model"][name], tensor)


def test_views_and_gradients_are_saved_as_plain_tensors(tmp_path: Path) -> None:
    weight = torch.randn(6, 4, requires_grad=True)
    path = ck.save(tmp_path, 1, {"model": {"t": weight.T}}, {})
    assert torch.equal(ck.load(path).tensors["model"]["t"], weight.T)


def test_there_is_nothing_to_unpickle(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    assert {p.suffix for p in path.iterdir()} == {".safetensors", ".json"}


def test_the_newest_of_the_kept_is_the_latest(tmp_path: Path) -> None:
    assert ck.latest(tmp_path / "absent") is None
    assert ck.latest(tmp_path) is None
    (tmp_path / "report.png").touch()
    for step in (9, 10, 100, 99_999_999, 100_000_000):
        path = save(tmp_path, step)
        assert ck.latest(tmp_path) == path
        assert_is_step(path, step)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "report.png",
        "step_100000000",
        "step_99999999",
    ]
    ck.remove_all(tmp_path)
    assert not ck.any_in(tmp_path)
    assert (tmp_path / "report.png").exists()


def cut(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def lengthen(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + b"{}")


@pytest.mark.parametrize("damage", [cut, flip, remove, lengthen])
def test_whatever_damages_the_newest_the_one_before_it_loads(damage, tmp_path: Path) -> None:
    rng = random.Random(0)
    save(tmp_path, 10)
    for name in sorted(p.name for p in save(tmp_path, 20).iterdir()):
        for _ in range(4):
            damage(tmp_path / "step_00000020" / name, rng)
            with pytest.raises(CheckpointError, match="step_00000020"):
                ck.load(tmp_path / "step_00000020")
            with pytest.warns(UserWarning, match=r"skipped: .*step_00000020"):
                path = ck.latest(tmp_path)
            assert path is not None
            assert_is_step(path, 10)
            # Saving the step again replaces the damaged folder, as a resumed run will.
            assert_is_step(save(tmp_path, 20), 20)


@pytest.mark.parametrize("key", ["step", "meta", "files"])
def test_a_changed_state_file_is_noticed(key: str, tmp_path: Path) -> None:
    """Each change leaves valid JSON that a trusting reader would take."""
    path = save(tmp_path, 5)
    state = json.loads((path / "state.json").read_text())
    state[key] = {"step": 6, "meta": {"step": 6}, "files": {}}[key]
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match=r"state\.json has changed"):
        ck.load(path)


def seal(path: Path, state: object) -> None:
    """A state with the digest that belongs to it, as a forger writes it."""
    if isinstance(state, dict):
        content = {key: value for key, value in state.items() if key != "sha256"}
        text = json.dumps(content, sort_keys=True)
        state = {**content, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    (path / "state.json").write_text(json.dumps(state))


def test_a_state_that_is_none_is_stepped_over(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    good = json.loads((path / "state.json").read_text())
    nested = "[" * 100_000 + "]" * 100_000
    odd = [good | {"step": "2"}, good | {"meta": None}, good | {"files": []}]
    odd += [good | {"files": {"model.safetensors": 5}}, good | {"files": {"../x.safetensors": {}}}]
    odd += [good | {"files": {name: {} for name in good["files"]}}]
    odd += [{key: good[key] for key in good if key != one} for one in ("step", "meta", "files")]
    for state in [*odd, [], 5, None, "text", nested]:
        if state is nested:
            (path / "state.json").write_text(nested)
        else:
            seal(path, state)
        with pytest.raises(CheckpointError, match="step_00000002"):
            ck.load(path)
        with pytest.warns(UserWarning, match="skipped"):
            assert_is_step(ck.latest(tmp_path) or path, 1)
    seal(path, good)
    assert_is_step(path, 2)


def test_where_all_are_damaged_nothing_starts_over_in_silence(tmp_path: Path) -> None:
    for step in (1, 2):
        (save(tmp_path, step) / "model.safetensors").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="skipped"),
        pytest.raises(CheckpointError, match="all 2 checkpoints"),
    ):
        ck.latest(tmp_path)


def save_for_ever(directory: Path, acknowledged) -> None:
    for step in range(1, 10_000):
        save(directory, step)
        acknowledged.value = step


def test_a_kill_at_any_moment_leaves_the_last_acknowledged_step_or_a_later_one(
    tmp_path: Path,
) -> None:
    context = multiprocessing.get_context("fork")
    rng = random.Random(1)
    reached = []
    for attempt in range(15):
        directory = tmp_path / str(attempt)
        acknowledged = context.Value("i", 0)
        child = context.Process(target=save_for_ever, args=(directory, acknowledged))
        child.start()
        # Steps, not time, tell that it has come to a second one: others may have the processor.
        while acknowledged.value < 1 + attempt % 3:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.03)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what has its name is whole: there is nothing to skip
            path = ck.latest(directory)
        assert path is not None
        step = int(path.name.removeprefix("step_"))
        assert acknowledged.value <= step <= acknowledged.value + 1
        assert_is_step(path, step)
        save(directory, step + 1)
        assert not list(directory.glob(".tmp-*"))
        reached.append(step)
        shutil.rmtree(directory)
    assert max(reached) > 1


def save_with_a_full_disk(directory: Path, limit: int, outcome) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        save(directory, 2)
    except CheckpointError as error:
        outcome.put(str(error))
    else:
        outcome.put(None)


@pytest.mark.parametrize("limit", [0, 50, 500, 1000])
def test_a_write_that_fails_is_one_error_and_leaves_the_earlier_step(
    limit: int, tmp_path: Path
) -> None:
    save(tmp_path, 1)
    context = multiprocessing.get_context("fork")
    outcome = context.SimpleQueue()
    child = context.Process(target=save_with_a_full_disk, args=(tmp_path, limit, outcome))
    child.start()
    message = outcome.get()
    child.join()
    assert message is not None
    assert "step_00000002 could not be written" in message
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001"]
    assert_is_step(tmp_path / "step_00000001", 1)


def train(steps: int, optimizer, weights: dict[str, torch.Tensor]) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        sum(((step + 1) * w.square() + w).sum() for w in list(weights.values())[:2]).backward()
        optimizer.step()


def test_a_restored_optimizer_goes_on_to_the_last_bit(tmp_path: Path) -> None:
    """The third weight never gets a gradient, so it has no state."""

    def fresh() -> tuple[dict[str, torch.Tensor], torch.optim.Optimizer]:
        generator = torch.Generator().manual_seed(0)
        shapes = [(4, 3), (5,), (2,)]
        weights = {
            f"block.{i}/odd name": torch.randn(s, generator=generator).requires_grad_()
            for i, s in enumerate(shapes)
        }
        return weights, torch.optim.AdamW(weights.values(), lr=0.1)

    weights, optimizer = fresh()
    train(3, optimizer, weights)
    state = ck.optimizer_tensors(optimizer, weights)
    path = ck.save(tmp_path, 3, {"model": weights, "optimizer": state}, {})
    train(4, optimizer, weights)
    again, resumed = fresh()
    saved = ck.load(path)
    with torch.no_grad():
        for name, weight in again.items():
            weight.copy_(saved.tensors["model"][name])
    ck.restore_optimizer(resumed, again, saved.tensors["optimizer"])
    train(4, resumed, again)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    with pytest.raises(CheckpointError, match="unknown parameters: \\['lost'\\]"):
        ck.restore_optimizer(resumed, again, {"lost/step": torch.zeros(())})


def test_optimizer_state_that_is_no_tensor_is_refused() -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight])
    optimizer.step(lambda: weight.square().sum())
    with pytest.raises(TypeError, match="of w is int"):
        ck.optimizer_tensors(optimizer, {"w": weight})


def test_random_states_come_back() -> None:
    device = torch.device("cpu")
    states = ck.rng_tensors(device)
    drawn = torch.rand(5)
    ck.restore_rng(states, device)
    assert torch.equal(torch.rand(5), drawn)

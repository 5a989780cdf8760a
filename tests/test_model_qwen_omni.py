"""Audio towers, read alone out of checkpoints of Qwen2.5-Omni and Qwen3-Omni."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import towers
import transformers
from safetensors.torch import load_file, save_file

from ossicle.errors import InvalidArgumentError
from ossicle.model import qwen_omni
from ossicle.model.qwen_omni import TowerLoadError, load_tower, random_tower, tower_shape

WHOLE = {
    "qwen2_5_omni": transformers.Qwen2_5OmniConfig,
    "qwen3_omni_moe": transformers.Qwen3OmniMoeConfig,
}


@pytest.fixture(scope="module", params=towers.KINDS)
def model(request: pytest.FixtureRequest) -> Iterator[Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield request.param, towers.thinker(request.param)
    torch.set_num_threads(threads)


def save_thinker(kind: str, thinker: Any, folder: Path) -> Path:
    """In shards, as transformers does it."""
    thinker.save_pretrained(folder, max_shard_size="60KB")
    return folder


def save_whole(kind: str, thinker: Any, folder: Path) -> Path:
    """With the names and the config of the checkpoints on the hub, whose talkers are left out."""
    save_thinker(kind, thinker, folder)
    for path in folder.glob("*.safetensors"):
        renamed = {f"thinker.{key}": tensor for key, tensor in load_file(path).items()}
        save_file(renamed, path, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    found = json.loads(index.read_text())
    found["weight_map"] = {f"thinker.{key}": at for key, at in found["weight_map"].items()}
    index.write_text(json.dumps(found))
    whole = WHOLE[kind]().to_dict() | {"thinker_config": thinker.config.to_dict()}
    (folder / "config.json").write_text(json.dumps(whole))
    return folder


def save_in_one_file(kind: str, thinker: Any, folder: Path) -> Path:
    thinker.save_pretrained(folder)
    assert (folder / "model.safetensors").exists()
    return folder


def save_tower(kind: str, thinker: Any, folder: Path) -> Path:
    towers.audio_tower(thinker).save_pretrained(folder)
    return folder


def save_tower_in_shards(kind: str, thinker: Any, folder: Path) -> Path:
    towers.audio_tower(thinker).save_pretrained(folder, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").exists()
    return folder


SAVERS = [save_thinker, save_whole, save_in_one_file, save_tower, save_tower_in_shards]


@pytest.mark.parametrize("save", SAVERS)
def test_the_tower_of_a_checkpoint(save: Any, model: tuple[str, Any], tmp_path: Path) -> None:
    kind, thinker = model
    expected = towers.audio_tower(thinker)
    tower = load_tower(str(save(kind, thinker, tmp_path)), dtype=torch.float32)
    assert type(tower) is type(expected)
    found = tower.state_dict()
    assert found.keys() == expected.state_dict().keys()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found[name], tensor), name
    for name, tensor in expected.named_buffers():  # computed, not saved
        assert torch.equal(tower.get_buffer(name), tensor), name
    assert not tower.training


@pytest.mark.parametrize("save", [save_thinker, save_whole])
def test_no_other_shard_is_read(save: Any, model: tuple[str, Any], tmp_path: Path) -> None:
    """They need not even be there: from a hub they are not fetched."""
    kind, thinker = model
    folder = save(kind, thinker, tmp_path)
    places = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    needed = {file for key, file in places.items() if "audio_tower" in key}
    others = set(places.values()) - needed
    assert others
    for name in others:
        (folder / name).unlink()
    load_tower(str(folder), dtype=torch.float32)


def test_type_and_attention(model: tuple[str, Any], tmp_path: Path) -> None:
    kind, thinker = model
    folder = str(save_tower(kind, thinker, tmp_path))
    tower = load_tower(folder, dtype=torch.bfloat16, attn_implementation="eager")
    assert {weight.dtype for weight in tower.parameters()} == {torch.bfloat16}
    assert tower.config._attn_implementation == "eager"
    made = random_tower(thinker.config, dtype=torch.float16, attn_implementation="eager")
    assert {weight.dtype for weight in made.parameters()} == {torch.float16}
    assert made.config._attn_implementation == "eager"
    assert not made.training


def test_shapes(model: tuple[str, Any]) -> None:
    kind, thinker = model
    shape = tower_shape(towers.audio_tower(thinker))
    chunk = {"qwen2_5_omni": 200, "qwen3_omni_moe": 100}[kind]
    assert (shape.n_mels, shape.dim, shape.chunk) == (128, 24, chunk)


def test_what_cannot_be_loaded(model: tuple[str, Any], tmp_path: Path) -> None:
    kind, thinker = model
    whole = save_tower(kind, thinker, tmp_path / "whole")

    def folder(name: str) -> Path:
        return Path(shutil.copytree(whole, tmp_path / name))

    lost = folder("lost")
    tensors = load_file(lost / "model.safetensors")
    tensors.pop("ln_post.bias")
    save_file(tensors, lost / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TowerLoadError, match=r"no ln_post\.bias \(1 tensors"):
        load_tower(str(lost), dtype=torch.float32)

    cut = folder("cut")
    (cut / "model.safetensors").write_bytes((whole / "model.safetensors").read_bytes()[:5_000])
    with pytest.raises(TowerLoadError, match="is damaged"):
        load_tower(str(cut), dtype=torch.float32)

    bare = folder("bare")
    (bare / "model.safetensors").unlink()
    with pytest.raises(TowerLoadError, match=r"no model\.safetensors"):
        load_tower(str(bare), dtype=torch.float32)

    with pytest.raises(OSError, match="absent"):
        load_tower(str(tmp_path / "absent"), dtype=torch.float32)


def test_another_extractor_is_refused(model: tuple[str, Any], tmp_path: Path) -> None:
    folder = str(save_tower(*model, tmp_path))
    transformers.WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    load_tower(folder, dtype=torch.float32)
    transformers.WhisperFeatureExtractor(feature_size=128, hop_length=80).save_pretrained(folder)
    with pytest.raises(TowerLoadError, match="hop_length of its extractor is 80, not 160"):
        load_tower(folder, dtype=torch.float32)


def test_other_models_are_refused(tmp_path: Path) -> None:
    transformers.WhisperConfig().save_pretrained(tmp_path)
    with pytest.raises(InvalidArgumentError, match="'whisper'"):
        load_tower(str(tmp_path), dtype=torch.float32)
    with pytest.raises(InvalidArgumentError, match="'dict'"):
        random_tower({}, dtype=torch.float32)


def test_transformers_that_lets_clips_hear_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qwen_omni, "_SEPARATES", "99.0.0")  # as if the one here were early
    old, new = (towers.audio_tower(towers.thinker(kind)) for kind in towers.KINDS)
    assert isinstance(tower_shape(old), qwen_omni.Qwen25OmniShape)
    with pytest.raises(InvalidArgumentError, match=r"before transformers 99\.0\.0"):
        tower_shape(new)
    new.config._attn_implementation = "flash_attention_2"
    assert isinstance(tower_shape(new), qwen_omni.Qwen3OmniShape)

"""The audio towers of Qwen2.5-Omni and Qwen3-Omni: how long their output is, how one is loaded.

A checkpoint of 7 or 30 billion parameters holds a tower of 0.6 billion. Its tensors are read by
name out of the shards that hold them; no other tensor is read, and from a hub no other shard is
fetched. transformers is imported where a tower is made: workers of a data loader only count.
"""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ossicle.errors import InvalidArgumentError, ModelLoadError
from ossicle.features.mel import HOP_LENGTH, SAMPLE_RATE

__all__ = ["TowerLoadError", "TowerShape", "load_tower", "random_tower", "tower_shape"]

Count = TypeVar("Count", int, Tensor)

# Whole models say thinker.audio_tower.X, thinkers audio_tower.X or model.audio_tower.X, towers X.
_PREFIX = re.compile(r"^(thinker\.)?(model\.)?audio_tower\.")
# What a checkpoint's extractor must be, for our features to be its own.
_EXTRACTOR = {"sampling_rate": SAMPLE_RATE, "hop_length": HOP_LENGTH, "n_fft": 400, "dither": 0.0}
# From here on Qwen3-Omni's attention heeds the bounds of clips, whatever its implementation.
_SEPARATES = "5.9.0"


class TowerLoadError(ModelLoadError):
    """A checkpoint was found, and no audio tower could be made of it."""


@dataclass(frozen=True)
class TowerShape:
    """What a tower takes and gives.

    Attributes:
        n_mels: Mel bands of a frame.
        dim: Features of a token.
        chunk: Mel frames that the tower convolves at a time.
    """

    n_mels: int
    dim: int
    chunk: int

    @property
    def least_frames(self) -> int:
        """How long the longest clip of a batch has to be."""
        raise NotImplementedError

    def tokens(self, frames: Count) -> Count:
        """Tokens that the tower makes of a clip of so many mel frames."""
        raise NotImplementedError

    def arguments(self, frames: Tensor) -> dict[str, Tensor]:
        """What the tower is to be told of clips of so many mel frames each."""
        return {"feature_lens": frames}


class Qwen25OmniShape(TowerShape):
    """One convolution of stride 2 in chunks of an even length, then pairs of a clip averaged."""

    @property
    def least_frames(self) -> int:
        """Enough for one token."""
        return 3

    def tokens(self, frames: Count) -> Count:
        """A token for each four frames; three that are left over are one too."""
        return (frames + 1) // 4

    def arguments(self, frames: Tensor) -> dict[str, Tensor]:
        """With the lengths after the convolution, which early transformers 5 does not count."""
        return {"feature_lens": frames, "aftercnn_lens": (frames + 1) // 2}


class Qwen3OmniShape(TowerShape):
    """Three convolutions of stride 2, chunk by chunk."""

    @property
    def least_frames(self) -> int:
        """A whole chunk.

        Chunks are padded to the longest of their batch, and what lies after a chunk's end reaches
        its last token through the second and third convolution: padded to less than a whole chunk,
        a clip would sound different in each batch.
        """
        return self.chunk

    def tokens(self, frames: Count) -> Count:
        """A token for each eight frames of a chunk, or fewer that are left over: 13 for 100."""
        return frames // self.chunk * -(-self.chunk // 8) + (frames % self.chunk + 7) // 8


# By the config's model_type: where transformers has the tower, and its shape.
_TOWERS: dict[str, tuple[str, str, type[TowerShape]]] = {
    "qwen2_5_omni_audio_encoder": (
        "transformers.models.qwen2_5_omni.modeling_qwen2_5_omni",
        "Qwen2_5OmniAudioEncoder",
        Qwen25OmniShape,
    ),
    "qwen3_omni_moe_audio_encoder": (
        "transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe",
        "Qwen3OmniMoeAudioEncoder",
        Qwen3OmniShape,
    ),
}


def tower_shape(tower: Any) -> TowerShape:
    """What a tower takes and gives.

    Raises:
        InvalidArgumentError: It is none of Qwen2.5-Omni or Qwen3-Omni, or this version of
            transformers would let the clips of a batch hear each other.
    """
    config = _audio_config(getattr(tower, "config", None))
    kind = _TOWERS[config.model_type][2]
    if kind is Qwen3OmniShape and not _separates_clips(config):
        raise InvalidArgumentError(
            f"before transformers {_SEPARATES} clips of a batch attend to each other in "
            "Qwen3-Omni's "
            'tower, except with attn_implementation="flash_attention_2"'
        )
    return kind(n_mels=config.num_mel_bins, dim=config.output_dim, chunk=2 * config.n_window)


def random_tower(config: Any, *, dtype: torch.dtype, attn_implementation: str | None = None) -> Any:
    """A tower with random weights, on the CPU.

    Raises:
        InvalidArgumentError: The config is none of Qwen2.5-Omni or Qwen3-Omni.
    """
    config = _audio_config(config)
    options = _attention(attn_implementation)
    return _tower_class(config.model_type)._from_config(config, dtype=dtype, **options).eval()


def load_tower(source: str, *, dtype: torch.dtype, attn_implementation: str | None = None) -> Any:
    """The audio tower of a checkpoint, on the CPU, in evaluation mode.

    Args:
        source: A Hugging Face id or a folder, of a whole model, its thinker, or a tower alone, with
            weights in safetensors.
        dtype: Of the weights.
        attn_implementation: As for transformers' ``from_pretrained``.

    Raises:
        InvalidArgumentError: The checkpoint is none of Qwen2.5-Omni or Qwen3-Omni.
        TowerLoadError: Its weights are missing or damaged, or its extractor makes other features.
        OSError: There is no such checkpoint, or the hub cannot be reached.
    """
    config = _read_config(source)
    _check_extractor(source, {**_EXTRACTOR, "feature_size": config.num_mel_bins})
    tower, found = _tower_class(config.model_type).from_pretrained(
        None,
        config=config,
        state_dict=_weights(source),
        dtype=dtype,
        output_loading_info=True,
        **_attention(attn_implementation),
    )
    if missing := sorted(found["missing_keys"]):
        raise TowerLoadError(f"{source} has no {missing[0]} ({len(missing)} tensors are missing)")
    return tower


def _separates_clips(config: Any) -> bool:
    import transformers
    from packaging.version import Version

    is_recent = Version(transformers.__version__) >= Version(_SEPARATES)
    return is_recent or "flash" in str(config._attn_implementation)


def _audio_config(config: Any) -> Any:
    config = getattr(config, "thinker_config", config)
    config = getattr(config, "audio_config", config)
    _check_kind(getattr(config, "model_type", type(config).__name__))
    return config


def _read_config(source: str) -> Any:
    """Of the tower; not by AutoConfig, which does not know all parts of models by themselves."""
    from transformers import PreTrainedConfig

    found, _ = PreTrainedConfig.get_config_dict(source)
    found = found.get("thinker_config", found)
    found = found.get("audio_config", found)
    _check_kind(found.get("model_type"))
    return _tower_class(found["model_type"]).config_class.from_dict(found)


def _check_kind(kind: str | None) -> None:
    if kind not in _TOWERS:
        known = "Qwen2.5-Omni's and Qwen3-Omni's"
        raise InvalidArgumentError(f"audio towers are {known}, not {kind!r}")


def _tower_class(kind: str) -> Any:
    module, name, _ = _TOWERS[kind]
    return getattr(importlib.import_module(module), name)


def _attention(implementation: str | None) -> dict[str, str]:
    return {} if implementation is None else {"attn_implementation": implementation}


def _fetch(source: str, name: str) -> Path | None:
    from transformers.utils.hub import cached_file

    found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def _check_extractor(source: str, expected: dict[str, float]) -> None:
    path = _fetch(source, "preprocessor_config.json")
    found = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    for name, value in expected.items():
        if found.get(name, value) != value:
            text = f"the {name} of its extractor is {found[name]}, not {value}"
            raise TowerLoadError(f"{source} needs other features than these: {text}")


def _weights(source: str) -> dict[str, Tensor]:
    """The tower's tensors by their names in the tower."""
    from safetensors import SafetensorError

    weights: dict[str, Tensor] = {}
    for name in _shards(source):
        path = _fetch(source, name)
        if path is None:
            raise TowerLoadError(f"{source} has no {name}: weights are read only from safetensors")
        try:
            weights |= _read(path)
        except SafetensorError as error:
            raise TowerLoadError(f"{path} is damaged: {error}") from error
    return weights


def _shards(source: str) -> list[str]:
    """The files that hold the tower."""
    index = _fetch(source, "model.safetensors.index.json")
    if index is None:
        return ["model.safetensors"]
    places: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    return sorted({places[key] for key in _of_tower(list(places))})


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as tensors:
        keys = _of_tower(list(tensors.keys()))
        return {_PREFIX.sub("", key): tensors.get_tensor(key) for key in keys}


def _of_tower(keys: list[str]) -> list[str]:
    # Where no key has the prefix, the tower was saved alone.
    return [key for key in keys if _PREFIX.match(key)] or keys

"""Where Whisper's weights come from: ModelScope, Hugging Face, a folder, or a random generator."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ossicle.errors import ModelLoadError

__all__ = ["TINY_RANDOM", "WhisperLoadError", "load_whisper"]

TINY_RANDOM = "tiny-random"

# What an encoder needs of a repository, which often holds the same weights for four frameworks.
FILES = ["config.json", "preprocessor_config.json", "model.safetensors", "model-0*.safetensors"]
WAYS_ON = (
    "To go on without a hub pass `--whisper tiny-random` (random weights, made on the spot) or "
    "`--whisper FOLDER` (a local folder with config.json, preprocessor_config.json and "
    "model.safetensors)."
)


class WhisperLoadError(ModelLoadError):
    """No source gave a Whisper encoder.

    Attributes:
        attempts: Each source that was tried with the reason why it failed, in order.
    """

    def __init__(self, attempts: list[tuple[str, str]]) -> None:
        tried = "".join(f"\n  {source}: {reason}" for source, reason in attempts)
        super().__init__(f"no Whisper encoder could be loaded; tried:{tried}\n{WAYS_ON}")
        self.attempts = attempts

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.attempts,)


def load_whisper(source: str, ms_id: str | None = None) -> tuple[str, Any, Any]:
    """Loads an encoder and its feature extractor, in float32, on the CPU.

    Args:
        source: A Hugging Face id, a folder, or ``"tiny-random"``.
        ms_id: A ModelScope id to try first; default the variable WHISPER_MS_ID.

    Returns:
        The name of what was loaded, and transformers' ``WhisperEncoder`` and
        ``WhisperFeatureExtractor``.

    Raises:
        WhisperLoadError: If nothing could be loaded.
        ValueError: If ``ms_id`` is given with ``"tiny-random"``.
    """
    if source == TINY_RANDOM:
        if ms_id:
            raise ValueError(f"{TINY_RANDOM} is not on a hub: leave out ms_id {ms_id!r}")
        return source, *_tiny_random()
    if Path(source).expanduser().is_dir() or _is_path(source):
        return _first([(source, lambda: Path(source).expanduser())])
    hf_id = os.environ.get("WHISPER_HF_ID") or source
    ms_id = ms_id or os.environ.get("WHISPER_MS_ID")
    hubs = [(f"ModelScope {ms_id}", lambda: _from_modelscope(str(ms_id)))] if ms_id else []
    return _first([*hubs, (f"Hugging Face {hf_id}", lambda: _from_hugging_face(hf_id))])


def _is_path(source: str) -> bool:
    # A hub's id has one slash at most, and neither dots nor a tilde in front.
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source


def _first(candidates: list[tuple[str, Callable[[], Path]]]) -> tuple[str, Any, Any]:
    """The first candidate that loads; warns if it is not the first."""
    attempts: list[tuple[str, str]] = []
    for name, fetch in candidates:
        try:
            parts = _from_folder(fetch())
        except Exception as error:  # hubs raise whatever their HTTP client does
            attempts.append((name, _one_line(error)))
            continue
        for failed, reason in attempts:
            warnings.warn(f"{failed} failed ({reason}); using {name}", stacklevel=4)
        return name, *parts
    raise WhisperLoadError(attempts)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _from_modelscope(ms_id: str) -> Path:
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise ImportError("the package is missing: pip install modelscope") from error
    return Path(snapshot_download(ms_id, allow_file_pattern=FILES))


def _from_hugging_face(hf_id: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(hf_id, allow_patterns=FILES))


def _from_folder(folder: Path) -> tuple[Any, Any]:
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    for name in ("config.json", "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing")
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    encoder = WhisperEncoder(WhisperConfig.from_pretrained(folder))
    _fill(encoder, folder)
    return encoder, extractor


def _fill(encoder: Any, folder: Path) -> None:
    """Reads the encoder's tensors and nothing else: a decoder is as large as what we keep."""
    wanted: dict[str, Tensor] = encoder.state_dict()
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        try:
            found |= _read_encoder(path, wanted)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise ValueError(f"{folder} has no safetensors with {missing[0]} ({len(missing)} missing)")
    encoder.load_state_dict(found)


def _read_encoder(path: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    # A whole model says model.encoder.X, its base encoder.X, an encoder saved alone X.
    with safe_open(path, framework="pt") as tensors:
        names = {re.sub(r"^(model\.)?(encoder\.)?", "", key): key for key in tensors.keys()}  # noqa: SIM118
        return {name: tensors.get_tensor(names[name]) for name in wanted.keys() & names.keys()}


def _tiny_random() -> tuple[Any, Any]:
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        d_model=64,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=256,
        num_mel_bins=80,
    )
    with torch.random.fork_rng(devices=[]):  # its own initialisation must not move the caller's RNG
        encoder = WhisperEncoder(config)
    _randomise(encoder)
    return encoder, WhisperFeatureExtractor(feature_size=80)  # type: ignore[no-untyped-call]


@torch.no_grad()
def _randomise(encoder: Any) -> None:
    """Weights that depend on nothing but this code, and with which the output hears the input.

    Transformers' own std of 0.02 leaves the output to the position embeddings: two tones differ by
    less than two neighbouring frames of one. So each layer keeps the variance of its input, and
    the convolutions double its scale.
    """
    generator = torch.Generator().manual_seed(0)
    for name, weight in sorted(encoder.named_parameters()):
        if weight.dim() > 1 and "embed_positions" not in name:
            gain = 2.0 if name.startswith("conv") else 1.0
            weight.normal_(0.0, gain / math.sqrt(weight[0].numel()), generator=generator)

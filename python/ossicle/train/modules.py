"""The parts of a run: encoder, projector, language model and tokenizer, each from where it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ossicle.model import (
    GPT,
    ByteTokenizer,
    GPTConfig,
    Projector,
    load_nanochat_checkpoint,
)
from ossicle.model.blocks import compute_dtype
from ossicle.model.encoder import Encoder
from ossicle.train import checkpoint
from ossicle.train.checkpoint import CheckpointError
from ossicle.train.config import TrainConfig
from ossicle.train.feed import TextTokenizer
from ossicle.train.stages import STAGES

__all__ = ["HubTokenizer", "Modules", "SpeechModel", "build_gpt", "build_modules"]

ASPECT = 64  # channels of a random language model for each layer
BOS_NAMES = ("<|bos|>", "<|begin_of_text|>", "<s>", "<|startoftext|>", "<|endoftext|>", "[CLS]")


class SpeechModel(nn.Module):
    """Projector and language model as one: encoder frames and text in, the sum of losses out."""

    def __init__(self, projector: Projector, gpt: GPT) -> None:
        super().__init__()
        self.projector, self.gpt = projector, gpt

    def forward(
        self, frames: Tensor, lengths: Tensor | None, idx: Tensor, targets: Tensor
    ) -> Tensor:
        """The summed cross entropy, in nats, of the graded tokens.

        Args:
            frames: Encoder frames (B, T, d), or (B, layers, T, d).
            lengths: How many are each clip's own, int64 (B,); all of them if None.
            idx: Token ids, int64 (B, T_text).
            targets: The ids that follow them, -1 where nothing is graded.
        """
        tokens = self.projector(frames, lengths)
        counts = None if lengths is None else self.projector.output_lengths(lengths)
        return cast(
            Tensor,
            self.gpt(
                idx, targets, audio_features=tokens, audio_lengths=counts, loss_reduction="sum"
            ),
        )


@dataclass(frozen=True)
class Modules:
    """The parts of a run.

    Attributes:
        encoder: Frozen.
        model: Projector and language model.
        tokenizer: Of the texts.
        lm_sha256: Over the weights that the language model began with; None of random ones.
        tokenizer_name: ``bytes`` or the tokenizer's file.
        tokenizer_sha256: Over that file; None of bytes.
    """

    encoder: Encoder
    model: SpeechModel
    tokenizer: TextTokenizer
    lm_sha256: str | None
    tokenizer_name: str
    tokenizer_sha256: str | None

    @property
    def trained(self) -> dict[str, Tensor]:
        """The parameters that learn, by name: ``projector.*`` and ``model.*``."""
        return {name: p for name, p in _parameters(self.model) if p.requires_grad}


def _parameters(model: SpeechModel) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in model.projector.named_parameters():
        yield f"projector.{name}", parameter
    for name, parameter in model.gpt.named_parameters():
        yield f"model.{name}", parameter


def build_modules(config: TrainConfig, encoder: Encoder, device: torch.device) -> Modules:
    """Projector and language model in front of an encoder, on ``device``.

    Random weights come from torch's global random state, which is seeded here.

    Raises:
        CheckpointError: If a checkpoint is damaged or holds no such part.
        ValueError: If the parts do not fit each other.
    """
    torch.manual_seed(config.seed)
    gpt, meta = _language_model(config, device)
    stack = config.stack or (1 if device.type == "cuda" else 4)
    projector = Projector(
        encoder.d_model,
        gpt.config.n_embd,
        stack=stack,
        layers=encoder.layers,
        start=config.start,
    ).to(device)
    if config.projector is not None:
        _restore_projector(projector, config.projector)
    if config.gradient_checkpointing:
        gpt.gradient_checkpointing = True
    if not STAGES[config.stage].trains_lm:
        gpt.requires_grad_(False)
    name = config.tokenizer or _own_tokenizer(config, gpt, meta)
    tokenizer, digest = _tokenizer(name)
    if tokenizer.vocab_size > gpt.config.vocab_size:
        raise ValueError(
            f"the tokenizer {name} has {tokenizer.vocab_size} ids, the language model "
            f"{gpt.config.vocab_size}: pass the tokenizer of the language model"
        )
    sha = None if meta is None else _weights_sha256(gpt)
    return Modules(encoder, SpeechModel(projector, gpt), tokenizer, sha, name, digest)


def activation_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """The dtype of the activations of encoder and language model."""
    if config.dtype == "auto":
        return compute_dtype(device)
    return torch.bfloat16 if config.dtype == "bfloat16" else torch.float32


def build_gpt(config: TrainConfig, device: torch.device) -> GPT:
    """A GPT of the configured depth with random weights, made on ``device``."""
    width = -(-config.depth * ASPECT // config.head_dim) * config.head_dim
    heads = width // config.head_dim
    vocab = ByteTokenizer.vocab_size
    if config.tokenizer not in (None, "bytes"):
        vocab = HubTokenizer(Path(str(config.tokenizer))).vocab_size
    sizes = GPTConfig(
        sequence_len=config.max_seq_len,
        vocab_size=vocab,
        n_layer=config.depth,
        n_head=heads,
        n_kv_head=heads,
        n_embd=width,
        window_pattern=config.window_pattern,
    )
    model = GPT.empty(sizes, device=device, compute_dtype=activation_dtype(config, device))
    model.init_weights()
    return model


def _language_model(config: TrainConfig, device: torch.device) -> tuple[GPT, dict[str, Any] | None]:
    """The language model, and what is said of it where it is not random."""
    if config.lm in (None, "random"):
        return build_gpt(config, device), None
    folder = Path(str(config.lm)).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f"lm: the folder {folder} does not exist")
    if any(folder.glob("model_*.pt")):
        return _load_nanochat(folder, config, device)
    saved = _load_saved(folder, "lm")
    if "model" not in saved.tensors:
        raise CheckpointError(
            f"{saved.path} has no language model, which its run did not train: {saved.meta['lm']}"
        )
    sizes = GPTConfig(**saved.meta["model_config"])
    return _fill_gpt(sizes, saved.tensors["model"], config, device), saved.meta


def _load_nanochat(
    folder: Path, config: TrainConfig, device: torch.device
) -> tuple[GPT, dict[str, Any]]:
    dtype = activation_dtype(config, device)
    return load_nanochat_checkpoint(folder, device=device, compute_dtype=dtype), {}


def _fill_gpt(
    sizes: GPTConfig, tensors: dict[str, Tensor], config: TrainConfig, device: torch.device
) -> GPT:
    model = GPT.empty(sizes, device=device, compute_dtype=activation_dtype(config, device))
    model.load_state_dict(tensors)
    return model


def _load_saved(folder: Path, what: str) -> checkpoint.Checkpoint:
    """The checkpoint that a folder is, or the newest one in it."""
    path = folder if (folder / checkpoint.STATE).is_file() else checkpoint.latest(folder)
    if path is None:
        raise CheckpointError(f"{what}: {folder} holds no checkpoint of ossicle or nanochat")
    return checkpoint.load(path)


def _restore_projector(projector: Projector, source: str) -> None:
    saved = _load_saved(Path(source).expanduser(), "projector")
    try:
        projector.load_state_dict(saved.tensors["projector"])
    except RuntimeError as error:
        raise CheckpointError(
            f"the projector of {saved.path} does not fit (encoder, stack or width?): {error}"
        ) from error


def _own_tokenizer(config: TrainConfig, gpt: GPT, meta: dict[str, Any] | None) -> str:
    """The tokenizer that a language model was trained with, as far as it can be told."""
    if meta is None:
        return "bytes"
    if "tokenizer" in meta:
        return str(meta["tokenizer"])
    beside = Path(str(config.lm)).expanduser() / "tokenizer.json"
    if beside.is_file():
        return str(beside)
    if gpt.config.vocab_size == ByteTokenizer.vocab_size:
        return "bytes"
    raise ValueError(
        f"tokenizer: {config.lm} does not name its tokenizer: pass its tokenizer.json (or put "
        "it into the folder)"
    )


def _tokenizer(name: str) -> tuple[TextTokenizer, str | None]:
    if name == "bytes":
        return ByteTokenizer(), None
    path = Path(name).expanduser()
    found = HubTokenizer(path)
    return found, hashlib.sha256(found.path.read_bytes()).hexdigest()


class HubTokenizer:
    """A ``tokenizer.json`` of Hugging Face's ``tokenizers``.

    Args:
        path: The file, or a folder that holds it.

    Attributes:
        path: The file.
        bos_token_id: The id that begins a text.
        vocab_size: Ids that there are.

    Raises:
        ValueError: If it cannot be read, or has no token for the beginning of a text.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self.path = path / "tokenizer.json" if path.is_dir() else path
        try:
            self._tokenizer = Tokenizer.from_file(str(self.path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise ValueError(f"tokenizer {self.path} cannot be read: {error}") from error
        found = (self._tokenizer.token_to_id(name) for name in BOS_NAMES)
        bos = next((number for number in found if number is not None), None)
        if bos is None:
            raise ValueError(f"tokenizer {self.path} has none of the tokens {', '.join(BOS_NAMES)}")
        self.bos_token_id = bos
        self.vocab_size = self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """The ids of ``text`` after `bos_token_id`."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [self.bos_token_id, *ids]

    def decode(self, ids: list[int]) -> str:
        """The text of ``ids``, special tokens left out."""
        text: str = self._tokenizer.decode(ids)
        return text


def _weights_sha256(gpt: GPT) -> str:
    digest = hashlib.sha256(json.dumps(asdict(gpt.config), sort_keys=True).encode())
    for name, tensor in sorted(gpt.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()

"""A small Whisper encoder trained from nothing, by CTC on the characters of a corpus.

For experiments where no weights can be fetched: what comes out is a folder that `WhisperEncoder`
loads like any other. CTC: Graves et al., "Connectionist Temporal Classification", 2006.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ossicle.data.utterances import Utterance
from ossicle.features.recordings import recording_features
from ossicle.progress import LossReport
from ossicle.train.evaluate import WordErrors, word_errors
from ossicle.train.order import epoch_rows

__all__ = ["CtcConfig", "CtcResult", "encode", "train_encoder", "warmup_cosine"]

BLANK = 0
WARMUP = 0.1  # share of the steps
MAX_GRAD_NORM = 1.0
DECODED = 64  # clips decoded at a time


@dataclass(frozen=True)
class CtcConfig:
    """The sizes of the encoder and how it is trained.

    Attributes:
        d_model: Channels; a multiple of ``heads``.
        layers: Transformer layers after Whisper's two convolutions.
        heads: Heads of the attention.
        n_mels: Mel bins.
        steps: Optimizer steps.
        batch_size: Clips of a step.
        lr: The highest learning rate of AdamW; it rises for a tenth of the steps, then falls as a
            cosine.
        seed: Of the weights and of the order of the clips.
    """

    d_model: int = 128
    layers: int = 3
    heads: int = 4
    n_mels: int = 80
    steps: int = 800
    batch_size: int = 16
    lr: float = 2e-3
    seed: int = 0


@dataclass(frozen=True)
class CtcResult:
    """What the training gave.

    Attributes:
        losses: CTC loss of every step, in nats a character.
        held_out: Word errors of greedy decoding on the held-out clips.
        folder: Where config, weights and feature extractor are.
    """

    losses: list[float]
    held_out: WordErrors
    folder: Path


def train_encoder(
    clips: Sequence[Utterance],
    held_out: Sequence[Utterance],
    folder: Path | str,
    config: CtcConfig | None = None,
    *,
    progress: LossReport | None = None,
) -> CtcResult:
    """Trains an encoder on clips and their texts and writes it as a local Whisper.

    Args:
        clips: What to train on.
        held_out: What to measure the word errors on.
        folder: Where the encoder goes; `WhisperEncoder` takes this folder.
        config: Sizes, steps and seed.
        progress: Told of every step.

    Returns:
        Losses, word errors and the folder.

    Raises:
        AudioError: If a file cannot be decoded.
    """
    config, folder = config or CtcConfig(), Path(folder)
    letters = sorted({letter for clip in clips for letter in clip.text})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = _new_encoder(config)
        head = nn.Linear(config.d_model, len(letters) + 1)
    features = _features(clips, config.n_mels)
    targets = [torch.tensor([letters.index(x) + 1 for x in clip.text]) for clip in clips]
    losses = _train(encoder, head, features, targets, config, progress or (lambda *_: None))
    heard = _transcribe(encoder, head, _features(held_out, config.n_mels), letters)
    _save(encoder, folder, config.n_mels)
    return CtcResult(losses, word_errors([clip.text for clip in held_out], heard), folder)


def _new_encoder(config: CtcConfig) -> Any:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes = WhisperConfig(
        d_model=config.d_model,
        encoder_layers=config.layers,
        encoder_attention_heads=config.heads,
        encoder_ffn_dim=4 * config.d_model,
        num_mel_bins=config.n_mels,
        init_std=0.5 / math.sqrt(config.d_model),  # 0.02 is right for a width of 1280
    )
    return WhisperEncoder(sizes)


def _features(clips: Sequence[Utterance], n_mels: int) -> list[Tensor]:
    """Log-mel features (frames, n_mels) of each clip, in half precision to save memory."""
    out = []
    for start in range(0, len(clips), DECODED):
        part = [clip.recording for clip in clips[start : start + DECODED] if clip.recording]
        batch = recording_features(part, n_mels=n_mels)
        pairs = zip(batch.input_features, batch.frames, strict=True)
        out += [torch.from_numpy(f[:, :n].T.astype(np.float16)) for f, n in pairs]
    return out


def encode(encoder: Any, features: Tensor, lengths: Tensor) -> Tensor:
    """What `WhisperEncoder.forward` computes, with gradients and by Hugging Face's modules.

    Args:
        encoder: A ``transformers`` ``WhisperEncoder``.
        features: Log-mel features (B, n_mels, T_mel), zeros after each clip's own frames.
        lengths: Mel frames of each clip, int64 (B,).

    Returns:
        (B, ceil(T_mel / 2), d_model); what lies after ``ceil(lengths / 2)`` means nothing.
    """
    frames = torch.arange(features.shape[-1])
    x = F.gelu(encoder.conv1(features)) * (frames < lengths[:, None])[:, None]
    x = F.gelu(encoder.conv2(x)).transpose(1, 2)
    x = x + encoder.embed_positions.weight[: x.shape[1]]
    keep = torch.arange(x.shape[1]) < (lengths[:, None] + 1) // 2
    mask = torch.zeros(len(x), 1, 1, x.shape[1]).masked_fill(~keep[:, None, None], -math.inf)
    for layer in encoder.layers:
        out = layer(x, attention_mask=mask)
        x = out[0] if isinstance(out, tuple) else out
    return cast(Tensor, encoder.layer_norm(x))


def _pad(features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(B, n_mels, T) float32, zeros after each clip, and their frames."""
    padded = pad_sequence([f.float() for f in features], batch_first=True)
    return padded.transpose(1, 2), torch.tensor([len(f) for f in features])


def _train(
    encoder: Any,
    head: nn.Linear,
    features: list[Tensor],
    targets: list[Tensor],
    config: CtcConfig,
    progress: LossReport,
) -> list[float]:
    parameters = [p for p in (*encoder.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, betas=(0.9, 0.98), weight_decay=0.01)
    losses: list[float] = []
    encoder.train()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * warmup_cosine(step, config.steps)
        rows = epoch_rows(len(features), config.batch_size, config.seed, step)
        loss = _loss(encoder, head, [features[i] for i in rows], [targets[i] for i in rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
        optimizer.step()
        losses.append(float(loss.item()))
        progress(step + 1, config.steps, losses[-1])
    encoder.eval()
    return losses


def warmup_cosine(step: int, steps: int) -> float:
    """Linear up over a tenth of the steps, a cosine down to 0 over the others."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(1, steps - warmup))


def _loss(encoder: Any, head: nn.Linear, features: list[Tensor], targets: list[Tensor]) -> Tensor:
    inputs, lengths = _pad(features)
    log_probs = head(encode(encoder, inputs, lengths)).log_softmax(-1)
    counts = torch.tensor([len(t) for t in targets])
    nats = F.ctc_loss(
        log_probs.transpose(0, 1),
        torch.cat(targets),
        (lengths + 1) // 2,
        counts,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return nats / counts.sum()


@torch.no_grad()
def _transcribe(
    encoder: Any, head: nn.Linear, features: list[Tensor], letters: list[str]
) -> list[str]:
    texts = []
    for start in range(0, len(features), DECODED):
        inputs, lengths = _pad(features[start : start + DECODED])
        best = head(encode(encoder, inputs, lengths)).argmax(-1)
        for ids, length in zip(best, (lengths + 1) // 2, strict=True):
            merged = torch.unique_consecutive(ids[:length]).tolist()
            texts.append("".join(letters[i - 1] for i in merged if i != BLANK))
    return texts


def _save(encoder: Any, folder: Path, n_mels: int) -> None:
    from transformers import WhisperFeatureExtractor

    folder.mkdir(parents=True, exist_ok=True)
    encoder.config.save_pretrained(folder)
    weights = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    extractor = WhisperFeatureExtractor(feature_size=n_mels)  # type: ignore[no-untyped-call]
    extractor.save_pretrained(folder)

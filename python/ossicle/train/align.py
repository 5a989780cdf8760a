"""The alignment run: frozen Whisper encoder, projector, soft tokens before the text, a small GPT.

It proves that a gradient gets from the loss through the language model and the projector to the
audio: the loss on the words of a few clips must fall. The model starts at random and may learn
the words by heart, so a falling loss does not say that it listens.
"""

from __future__ import annotations

import importlib.util
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ossicle.model import GPT, ByteTokenizer, GPTConfig, Projector, WhisperEncoder
from ossicle.model.blocks import compute_dtype
from ossicle.train import checkpoint
from ossicle.train.checkpoint import CheckpointError
from ossicle.train.clips import EncodedClips, epoch_rows, manifest_sha256, read_manifest
from ossicle.train.config import AlignConfig, AlignProgress, AlignResult, LossDidNotFallError

__all__ = ["AlignConfig", "AlignProgress", "AlignResult", "LossDidNotFallError", "run"]

BETAS = (0.9, 0.95)
MAX_GRAD_NORM = 1.0
ASPECT = 64  # channels of the model for each layer
WHOLE_SET = 32  # clips up to which, by default, a step takes all of them
DEFAULT_BATCH = 16


def run(
    config: AlignConfig, *, progress: Callable[[AlignProgress], None] | None = None
) -> AlignResult:
    """Trains projector and GPT on the clips of a manifest; the encoder stays as it is.

    On the CPU the losses are a function of the configuration to the last bit, for one number of
    torch threads, however often the run was stopped and resumed. Torch's global random state is
    as before afterwards.

    Args:
        config: What to do.
        progress: Called at the beginning of each stage and after each step.

    Returns:
        Losses, speeds and where the files are.

    Raises:
        LossDidNotFallError: If the loss fell by less than ``config.loss_drop_min``, after all was
            written.
        WhisperLoadError: If no encoder could be loaded.
        ManifestError: If the manifest or a row of it cannot be used.
        AudioError: If a file cannot be decoded.
        CheckpointError: If ``out`` has checkpoints and neither ``resume`` nor ``overwrite`` says
            what is to become of them, or if they are of another run.
    """
    device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        result = _Alignment(config, device, progress or (lambda _: None)).run()
    if config.loss_drop_min is not None and not result.loss_drop >= config.loss_drop_min:
        raise LossDidNotFallError(result, config.loss_drop_min)
    return result


class _Alignment:
    """One run: its models, its optimizer and what it has measured."""

    def __init__(
        self, config: AlignConfig, device: torch.device, report: Callable[[AlignProgress], None]
    ) -> None:
        self.start = time.perf_counter()
        self.config, self.device, self.report = config, device, report
        self.out = None if config.out is None else Path(config.out)
        self.losses: list[float] = []
        self.saved: Path | None = None
        self.audio_seconds, self.soft_tokens = 0.0, 0
        self.seconds = {"load": 0.0, "train": 0.0, "save": 0.0}
        self._check_out()
        self.clips = read_manifest(config.data)
        self._tell("load")
        self._build()
        self.seconds["load"] = time.perf_counter() - self.start

    def _check_out(self) -> None:
        """Before anything slow: a run must not mix its checkpoints with those of another."""
        if self.out is None or self.config.resume:
            return
        if self.config.overwrite:
            checkpoint.remove_all(self.out)
        elif checkpoint.any_in(self.out):
            raise CheckpointError(
                f"{self.out} has checkpoints: resume goes on from them, overwrite removes them"
            )

    def _build(self) -> None:
        config = self.config
        dtype = compute_dtype(self.device)
        encoder = WhisperEncoder(config.whisper, device=self.device, dtype=dtype)
        self.encoded = EncodedClips(
            self.clips, encoder, max_seconds=config.max_seconds, cache_bytes=config.cache_bytes
        )
        torch.manual_seed(config.seed)
        self.gpt = build_gpt(config, self.device)
        stack = config.stack or (1 if self.device.type == "cuda" else 4)
        width = self.gpt.config.n_embd
        self.projector = Projector(encoder.d_model, width, stack=stack).to(self.device)
        self.parameters = dict(
            [(f"projector.{name}", p) for name, p in self.projector.named_parameters()]
            + [(f"model.{name}", p) for name, p in self.gpt.named_parameters()]
        )
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=config.lr, betas=BETAS, weight_decay=0.0
        )
        self.batch_size = config.batch_size or (
            len(self.clips) if len(self.clips) <= WHOLE_SET else DEFAULT_BATCH
        )

    def run(self) -> AlignResult:
        if self.config.resume:
            self._resume()
        start_step = len(self.losses)
        for step in range(start_step, self.config.steps):
            self._step(step)
            self._tell("train")
            if self._is_due(step + 1):
                self._save(step + 1)
        return self._finish(start_step)

    def _tell(self, stage: str) -> None:
        loss = self.losses[-1] if self.losses else None
        self.report(AlignProgress(stage, len(self.losses), self.config.steps, loss))

    def _step(self, step: int) -> None:
        rows = epoch_rows(len(self.clips), self.batch_size, self.config.seed, step)
        if not self.audio_seconds:
            self._tell("encode")
        frames, lengths = self.encoded.batch(rows)
        start = time.perf_counter()
        idx, targets = pack_text([self.clips[row].text for row in rows], self.device)
        self.losses.append(self._update(frames, lengths, idx, targets))
        self.seconds["train"] += time.perf_counter() - start
        self.audio_seconds += self.encoded.seconds(rows)

    def _update(self, frames: Tensor, lengths: Tensor, idx: Tensor, targets: Tensor) -> float:
        """One optimizer step; the loss before it."""
        tokens = self.projector(frames, lengths)
        counts = self.projector.output_lengths(lengths)
        self.soft_tokens = tokens.shape[1]
        loss = self.gpt(idx, targets, audio_features=tokens, audio_lengths=counts)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), MAX_GRAD_NORM)
        self.optimizer.step()
        return float(loss.item())

    def _is_due(self, step: int) -> bool:
        if self.out is None:
            return False
        every = self.config.save_every
        return step == self.config.steps or (every > 0 and step % every == 0)

    def _identity(self) -> dict[str, Any]:
        """What the losses depend on; a checkpoint of another identity is another run's."""
        same = ("seed", "lr", "depth", "head_dim", "max_seq_len", "max_seconds")
        return {
            **{name: getattr(self.config, name) for name in same},
            "stack": self.projector.stack,
            "batch_size": min(self.batch_size, len(self.clips)),
            "encoder": self.encoded.encoder.fingerprint,
            "data": manifest_sha256(self.clips),
        }

    def _save(self, step: int) -> None:
        assert self.out is not None
        self._tell("save")
        start = time.perf_counter()
        tensors = {
            "model": self.gpt.state_dict(),
            "projector": self.projector.state_dict(),
            "optimizer": checkpoint.optimizer_tensors(self.optimizer, self.parameters),
            "rng": checkpoint.rng_tensors(self.device),
            "progress": {"losses": torch.tensor(self.losses, dtype=torch.float64)},
        }
        meta = {
            "identity": self._identity(),
            "whisper": self.encoded.encoder.name,
            "model_config": asdict(self.gpt.config),
        }
        self.saved = checkpoint.save(self.out, step, tensors, meta)
        self.seconds["save"] += time.perf_counter() - start

    def _resume(self) -> None:
        assert self.out is not None
        path = checkpoint.latest(self.out)
        if path is None:
            return
        saved = checkpoint.load(path)
        self._check_identity(saved)
        self.gpt.load_state_dict(saved.tensors["model"])
        self.projector.load_state_dict(saved.tensors["projector"])
        checkpoint.restore_optimizer(self.optimizer, self.parameters, saved.tensors["optimizer"])
        checkpoint.restore_rng(saved.tensors["rng"], self.device)
        self.losses = saved.tensors["progress"]["losses"].tolist()
        self.saved = path

    def _check_identity(self, saved: checkpoint.Checkpoint) -> None:
        ours, theirs = self._identity(), saved.meta["identity"]
        differ = [name for name in ours if ours[name] != theirs.get(name)]
        if differ:
            pairs = "; ".join(f"{n} was {theirs.get(n)}, is {ours[n]}" for n in differ)
            raise CheckpointError(f"{saved.path} is of another run: {pairs}")
        if saved.step > self.config.steps:
            raise CheckpointError(
                f"{saved.path} is at step {saved.step}, past the {self.config.steps} asked for"
            )

    def _finish(self, start_step: int) -> AlignResult:
        order = ("load", "decode", "log-mel", "encode", "train", "save")
        stages = self.seconds | self.encoded.stage_seconds
        result = AlignResult(
            losses=self.losses,
            start_step=start_step,
            seconds=time.perf_counter() - self.start,
            stage_seconds={name: stages[name] for name in order},
            clips=len(self.clips),
            audio_seconds=self.audio_seconds,
            soft_tokens=self.soft_tokens,
            parameters=sum(p.numel() for p in self.parameters.values()),
            device=str(self.device),
            log_mel=self.encoded.log_mel,
            checkpoint=self.saved,
            report=None if self.out is None else _draw(self.out, self.losses, stages, self.encoded),
        )
        if self.out is not None:
            text = json.dumps(result.to_json(), indent=2) + "\n"
            (self.out / "result.json").write_text(text, encoding="utf-8")
        return result


def build_gpt(config: AlignConfig, device: torch.device) -> GPT:
    """The run's GPT, made on ``device`` with random weights; every layer sees everything."""
    width = -(-config.depth * ASPECT // config.head_dim) * config.head_dim
    heads = width // config.head_dim
    sizes = GPTConfig(
        sequence_len=config.max_seq_len,
        vocab_size=ByteTokenizer.vocab_size,
        n_layer=config.depth,
        n_head=heads,
        n_kv_head=heads,
        n_embd=width,
        window_pattern="L",
    )
    with torch.device("meta"):
        model = GPT(sizes)
    model.to_empty(device=device)
    model.init_weights()
    return model


def pack_text(texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
    """Texts as tokens and the tokens that follow them.

    Args:
        texts: At least one byte each.
        device: Where the tensors go.

    Returns:
        Inputs, int64 (B, T), padded with 0, and targets of the same shape, padded with -1.
    """
    tokenizer = ByteTokenizer()
    ids = [torch.tensor(tokenizer.encode(text)) for text in texts]
    pad = torch.nn.utils.rnn.pad_sequence
    inputs = pad([i[:-1] for i in ids], batch_first=True, padding_value=0)
    targets = pad([i[1:] for i in ids], batch_first=True, padding_value=-1)
    return inputs.to(device), targets.to(device)


def _draw(
    out: Path, losses: list[float], stages: dict[str, float], encoded: EncodedClips
) -> Path | None:
    if importlib.util.find_spec("matplotlib") is None:
        warnings.warn(
            "no report.png without matplotlib: pip install 'ossicle[train]'", stacklevel=2
        )
        return None
    from ossicle.train.report import write_report

    title = "Alignment: loss on the words of the clips"
    return write_report(
        out / "report.png", losses, log_mel=encoded.log_mel, stages=stages, title=title
    )

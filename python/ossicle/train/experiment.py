"""Weak alignment, from nothing: does a projector alone make a frozen language model hear?

Four stages, each kept in a folder of its own: a corpus of speech that is made here, an encoder
trained on it by CTC, a language model trained on text, and the projector between the two, which
is all that learns in the end. The control on held-out sentences says whether audio is used.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ossicle.mel import load_features
from ossicle.model import Projector, WhisperEncoder
from ossicle.model.blocks import norm
from ossicle.model.nanochat import load_nanochat_checkpoint
from ossicle.spoken import Speaker, Spoken, SpokenConfig, make_spoken
from ossicle.train.align import pack_text
from ossicle.train.clips import Clip, epoch_rows, read_manifest
from ossicle.train.ctc import CtcConfig, train_encoder, warmup_cosine
from ossicle.train.evaluate import (
    ControlBatch,
    ControlResult,
    WordErrors,
    control,
    projected_loss,
    transcribe,
    word_errors,
)
from ossicle.train.language import LanguageConfig, train_language_model

__all__ = [
    "ExperimentConfig",
    "ExperimentResult",
    "ProjectorConfig",
    "quick",
    "run_experiment",
    "whole",
]

FIRST = 5  # soft tokens, about the first word of a clip
EVALUATED = 32  # clips of a batch of the evaluation
MAX_GRAD_NORM = 1.0

Report = Callable[[str, int, int], None]
"""Told the stage, what of it is done, and the whole."""


@dataclass(frozen=True)
class ProjectorConfig:
    """How the projector learns, the one part that does.

    Attributes:
        stack: Encoder frames in a soft token.
        hidden: Channels between the projector's layers.
        steps: Optimizer steps.
        batch_size: Clips of a step.
        lr: The highest learning rate of AdamW; it rises for a tenth of the steps, then falls as a
            cosine.
        control_every: Steps between two controls.
        seed: Of weights, order and shuffling.
    """

    stack: int = 4
    hidden: int = 256
    steps: int = 1_000
    batch_size: int = 16
    lr: float = 3e-3
    control_every: int = 100
    seed: int = 0


@dataclass(frozen=True)
class ExperimentConfig:
    """All stages; the defaults are those of docs/weak-align.md."""

    corpus: SpokenConfig = field(default_factory=SpokenConfig)
    encoder: CtcConfig = field(default_factory=CtcConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)


@dataclass(frozen=True)
class ExperimentResult:
    """What the experiment gave.

    Attributes:
        controls: The control on held-out clips by the steps taken; the last is the result.
        losses: Training loss of every step of the projector, nats a token.
        words: Word errors of what the language model writes after held-out audio.
        examples: Held-out sentences, each with what was written after its audio and after that of
            the next clip.
        stages: What each earlier stage measured, and its processor seconds.
        folder: Where everything is.
    """

    controls: dict[int, ControlResult]
    losses: list[float]
    words: WordErrors
    examples: list[dict[str, str]]
    stages: dict[str, Any]
    folder: Path

    @property
    def final(self) -> ControlResult:
        """The control after the last step."""
        return self.controls[max(self.controls)]

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {
            "control": self.final.to_json(),
            "controls": {str(step): c.to_json() for step, c in self.controls.items()},
            "word_error_rate": self.words.rate,
            "words": asdict(self.words),
            "examples": self.examples,
            "stages": self.stages,
        }


def whole(speaker: Speaker = "espeak-ng", seed: int = 0) -> ExperimentConfig:
    """The experiment of docs/weak-align.md."""
    return ExperimentConfig(
        SpokenConfig(seed=seed, speaker=speaker),
        CtcConfig(seed=seed),
        LanguageConfig(seed=seed),
        ProjectorConfig(seed=seed),
    )


def quick(speaker: Speaker = "espeak-ng", seed: int = 0) -> ExperimentConfig:
    """A few clips and steps: what it does, and no result."""
    return ExperimentConfig(
        SpokenConfig(clips=32, held_out=8, texts=200, seed=seed, speaker=speaker),
        CtcConfig(d_model=32, layers=1, heads=2, steps=8, batch_size=8, seed=seed),
        LanguageConfig(width=32, layers=2, heads=2, steps=8, batch_size=8, seed=seed),
        ProjectorConfig(hidden=32, steps=8, batch_size=8, control_every=4, seed=seed),
    )


def run_experiment(
    out: Path | str, config: ExperimentConfig | None = None, *, report: Report | None = None
) -> ExperimentResult:
    """Makes everything and aligns it; stages that are there already are not done again.

    On the CPU the figures are a function of the configuration, for one number of torch threads.

    Args:
        out: Folder of all stages, ``result.json`` and the pictures.
        config: Sizes, steps and seeds of all stages.
        report: Told of every step forward.

    Raises:
        SynthesiserError: If espeak-ng is missing.
        ValueError: If ``out`` holds a corpus of another configuration.
    """
    out, config = Path(out), config or ExperimentConfig()
    experiment = _Experiment(out, config, report or (lambda *_: None))
    with torch.random.fork_rng(devices=[]):
        return experiment.run()


class _Experiment:
    """The stages of one folder."""

    def __init__(self, out: Path, config: ExperimentConfig, report: Report) -> None:
        self.out, self.config, self.report = out, config, report
        self.stages: dict[str, Any] = {}

    def run(self) -> ExperimentResult:
        corpus = self._corpus()
        train, held_out = read_manifest(corpus.train), read_manifest(corpus.held_out)
        self._encoder(train, held_out)
        self._language(corpus.texts, held_out)
        alignment = _Alignment(self.out, self.config.projector, train, held_out, self.report)
        done = self._stage("projector", asdict(self.config), alignment.train)
        alignment.load(self.out / "projector")
        controls = {int(k): ControlResult(**v) for k, v in done["controls"].items()}
        words, examples = alignment.listen()
        result = ExperimentResult(controls, done["losses"], words, examples, self.stages, self.out)
        _write_json(self.out / "result.json", result.to_json())
        alignment.draw(self.out, result)
        return result

    def _corpus(self) -> Spoken:
        with _processor_seconds() as seconds:
            spoken = make_spoken(
                self.out / "corpus",
                self.config.corpus,
                on_clip=lambda done, total: self.report("corpus", done, total),
            )
        self.stages["corpus"] = {"processor_seconds": seconds[0]}
        return spoken

    def _encoder(self, train: Sequence[Clip], held_out: Sequence[Clip]) -> None:
        def run(folder: Path) -> dict[str, Any]:
            done = train_encoder(
                train, held_out, folder, self.config.encoder, progress=self._teller("encoder")
            )
            words = asdict(done.held_out) | {"rate": done.held_out.rate}
            return {"losses": done.losses, "held_out_words": words}

        self._stage("encoder", [asdict(self.config.corpus), asdict(self.config.encoder)], run)

    def _language(self, texts: Path, held_out: Sequence[Clip]) -> None:
        def run(folder: Path) -> dict[str, Any]:
            done = train_language_model(
                texts.read_text(encoding="utf-8").splitlines(),
                [clip.text for clip in held_out],
                folder,
                self.config.language,
                progress=self._teller("language model"),
            )
            return {"losses": done.losses, "alone": done.alone, "repeated": done.repeated}

        self._stage("language", [asdict(self.config.corpus), asdict(self.config.language)], run)

    def _teller(self, stage: str) -> Callable[[int, int, float], None]:
        return lambda done, total, loss: self.report(f"{stage} loss {loss:.3f}", done, total)

    def _stage(
        self, name: str, identity: Any, run: Callable[[Path], dict[str, Any]]
    ) -> dict[str, Any]:
        """What the stage gave, now or when it was done; ``done.json`` comes last."""
        folder = self.out / name
        path, identity = folder / "done.json", json.loads(json.dumps(identity))
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["identity"] == identity:
                self.stages[name] = found["result"]
                return cast("dict[str, Any]", found["result"])
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        with _processor_seconds() as seconds:
            result = run(folder)
        result["processor_seconds"] = seconds[0]
        _write_json(path, {"identity": identity, "result": result})
        self.stages[name] = result
        return result


@dataclass(frozen=True)
class _Encoded:
    """Texts and the encoder frames (T, d_model) of their clips."""

    texts: list[str]
    frames: list[Tensor]

    def batch(self, rows: Sequence[int]) -> ControlBatch:
        idx, targets = pack_text([self.texts[row] for row in rows], torch.device("cpu"))
        frames = [self.frames[row] for row in rows]
        lengths = torch.tensor([len(f) for f in frames])
        return ControlBatch(idx, targets, pad_sequence(frames, batch_first=True), lengths)


class _Alignment:
    """A frozen encoder, a frozen language model and a projector that learns to join them."""

    def __init__(
        self,
        out: Path,
        config: ProjectorConfig,
        train: Sequence[Clip],
        held_out: Sequence[Clip],
        report: Report,
    ) -> None:
        self.config, self.report = config, report
        self.encoder = WhisperEncoder(str(out / "encoder"))
        self.gpt = load_nanochat_checkpoint(out / "language").requires_grad_(False)
        torch.manual_seed(config.seed)
        self.projector = Projector(
            self.encoder.d_model, self.gpt.config.n_embd, config.hidden, stack=config.stack
        )
        self.train_clips, self.held_out = self._encode(train), self._encode(held_out)
        self.loss = projected_loss(self.gpt, self.projector)

    def _encode(self, clips: Sequence[Clip]) -> _Encoded:
        frames: list[Tensor] = []
        for start in range(0, len(clips), EVALUATED):
            self.report("encoding", start, len(clips))
            paths = [clip.path for clip in clips[start : start + EVALUATED]]
            batch = load_features(paths, n_mels=self.encoder.n_mels, pad_to_seconds=None)
            lengths = torch.from_numpy(batch.frames)
            encoded = self.encoder(torch.from_numpy(batch.input_features), lengths)
            counts = self.encoder.output_lengths(lengths).tolist()
            frames += [row[:count].clone() for row, count in zip(encoded, counts, strict=True)]
        return _Encoded([clip.text for clip in clips], frames)

    def train(self, folder: Path) -> dict[str, Any]:
        """Trains the projector and writes it; the losses and the controls on the way."""
        config, clips = self.config, self.train_clips
        parameters = list(self.projector.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0)
        losses, controls = [], {0: self.control()}
        for step in range(config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * warmup_cosine(step, config.steps)
            rows = epoch_rows(len(clips.texts), config.batch_size, config.seed, step)
            batch = clips.batch(rows)
            loss = self.loss(*batch) / (batch.targets >= 0).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
            optimizer.step()
            losses.append(float(loss.item()))
            self.report(f"projector loss {losses[-1]:.3f}", step + 1, config.steps)
            if (step + 1) % config.control_every == 0 or step + 1 == config.steps:
                controls[step + 1] = self.control()
        save_file(self.projector.state_dict(), folder / "projector.safetensors")
        return {"losses": losses, "controls": {k: asdict(c) for k, c in controls.items()}}

    def load(self, folder: Path) -> None:
        self.projector.load_state_dict(load_file(folder / "projector.safetensors"))

    def control(self) -> ControlResult:
        """The control over all held-out clips."""
        return control(self.loss, self._held_out_batches(), seed=self.config.seed)

    def _held_out_batches(self) -> Iterator[ControlBatch]:
        rows = range(len(self.held_out.texts))
        for start in range(0, len(rows), EVALUATED):
            yield self.held_out.batch(rows[start : start + EVALUATED])

    def listen(self) -> tuple[WordErrors, list[dict[str, str]]]:
        """What the language model writes after held-out audio, beside what was said."""
        said = self.held_out.texts
        heard: list[str] = []
        for batch in self._held_out_batches():
            self.report("listening", len(heard), len(said))
            heard += self._write(batch.audio, batch.audio_lengths)
        other = [*said[1:9], said[0]][:8]
        pairs = zip(said[:8], heard[:8], other, strict=False)
        examples = [{"said": s, "heard": h, "next": n} for s, h, n in pairs]
        return word_errors(said, heard), examples

    def _write(self, audio: Tensor, lengths: Tensor) -> list[str]:
        return transcribe(self.gpt, self.projector, audio, lengths)

    def draw(self, out: Path, result: ExperimentResult) -> None:
        """Writes the pictures, where matplotlib is installed."""
        if importlib.util.find_spec("matplotlib") is None:
            return
        from ossicle.train import pictures

        stages = result.stages
        curves = {
            "Encoder: CTC on letters": (stages["encoder"]["losses"], "nats a letter"),
            "Language model: text alone": (stages["language"]["losses"], "nats a token"),
            "Projector: between the two, frozen": (result.losses, "nats a token"),
        }
        pictures.draw_losses(out / "losses.png", curves)
        pictures.draw_control(out / "control.png", result.controls)
        soft, groups = self._soft_tokens()
        pictures.draw_soft_tokens(
            out / "soft-tokens.png",
            soft,
            self._letters(),
            groups,
            subtitle="PCA of projector outputs for held-out clips, normed as the language model "
            "takes them",
            heading=f"The first {FIRST} of each clip (mean), by the first word",
        )

    @torch.no_grad()
    def _soft_tokens(self) -> tuple[Any, dict[str, Any]]:
        """Normed soft tokens of the held-out clips, and the mean of each clip's first ones."""
        soft, groups = [], defaultdict(list)
        texts = iter(self.held_out.texts)
        for batch in self._held_out_batches():
            tokens = norm(self.projector(batch.audio, batch.audio_lengths))
            counts = self.projector.output_lengths(batch.audio_lengths)
            for row, count in zip(tokens, counts.tolist(), strict=True):
                soft.append(row[:count])
                groups[next(texts).split()[0]].append(row[:FIRST].mean(0).numpy())
        return torch.cat(soft).numpy(), {k: np.stack(v) for k, v in sorted(groups.items())}

    @torch.no_grad()
    def _letters(self) -> dict[str, Any]:
        """The normed embedding of each character of the held-out texts."""
        letters = sorted(set("".join(self.held_out.texts)))
        table = norm(self.gpt.transformer.wte(torch.tensor([ord(letter) for letter in letters])))
        names = ["space" if letter == " " else letter for letter in letters]
        return dict(zip(names, table.numpy(), strict=True))


@contextmanager
def _processor_seconds() -> Iterator[list[float]]:
    """One number, there once the block has ended: seconds of all threads of this process."""
    seconds: list[float] = []
    start = time.process_time()
    yield seconds
    seconds.append(round(time.process_time() - start, 1))


def _write_json(path: Path, content: Any) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)

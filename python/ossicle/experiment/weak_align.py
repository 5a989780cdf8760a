"""Weak alignment, from nothing: does a projector alone make a frozen language model hear?

Four stages, each kept in a folder of its own: a corpus of speech that is made here, an encoder
trained on it by CTC, a language model trained on text, and the projector between the two, which
is all that learns in the end. The control on held-out sentences says whether audio is used.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from ossicle.atomic import write_text
from ossicle.data.utterances import Utterance, utterances_of
from ossicle.experiment.aligned_model import AlignedModel
from ossicle.experiment.ctc_encoder import CtcConfig, train_encoder
from ossicle.experiment.language_model import LanguageConfig, train_language_model
from ossicle.experiment.spoken import Speaker, SpokenConfig, SpokenCorpus, make_spoken
from ossicle.outputs import claim_folder
from ossicle.progress import LossReport, StageReport
from ossicle.train import trainer
from ossicle.train.config import TrainConfig
from ossicle.train.evaluate import ControlResult, WordErrors
from ossicle.train.result import TrainProgress

__all__ = [
    "ExperimentConfig",
    "ExperimentResult",
    "ProjectorConfig",
    "quick",
    "run_experiment",
    "whole",
]


@dataclass(frozen=True)
class ProjectorConfig:
    """How the projector learns, by ``ossicle train weak-align``: the one part that does.

    Attributes:
        stack: Encoder frames in a soft token.
        steps: Optimizer steps.
        batch_size: Clips of a step.
        lr: Learning rate of AdamW.
        eval_every: Steps between two controls and two checkpoints.
        seed: Of weights and order.
    """

    stack: int = 4
    steps: int = 300
    batch_size: int = 16
    lr: float = 3e-3
    eval_every: int = 50
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
        control: The control over the held-out clips after the last step.
        words: Word errors of what the language model writes after held-out audio.
        examples: Held-out sentences, as they were said and as they were heard.
        stages: What each stage measured, and its processor seconds.
        folder: Where everything is.
    """

    control: ControlResult
    words: WordErrors
    examples: list[dict[str, str]]
    stages: dict[str, Any]
    folder: Path

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {
            "control": self.control.to_json(),
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
        ProjectorConfig(steps=8, batch_size=8, eval_every=4, seed=seed),
    )


def run_experiment(
    out: Path | str, config: ExperimentConfig | None = None, *, report: StageReport | None = None
) -> ExperimentResult:
    """Makes everything and aligns it; stages that are there already are not done again.

    On the CPU the figures are a function of the configuration, for one number of torch threads.

    Args:
        out: Folder of all stages, ``result.json`` and the pictures: a new or an empty one, or one
            that an earlier call made.
        config: Sizes, steps and seeds of all stages.
        report: Told of every step forward.

    Raises:
        SynthesiserError: If espeak-ng is missing.
        ValueError: If ``out`` holds a corpus of another configuration, or other things.
    """
    # A stage of another configuration is removed with all that is in its folder.
    out, config = claim(out), config or ExperimentConfig()
    experiment = _Experiment(out, config, report or (lambda *_: None))
    with torch.random.fork_rng(devices=[]):
        return experiment.run()


def claim(out: Path | str) -> Path:
    """The folder ``out``, which is made, or was made by an earlier experiment.

    Raises:
        InvalidArgumentError: It holds other things.
    """
    return claim_folder(out, ".ossicle-experiment", "ossicle experiment")


class _Experiment:
    """The stages of one folder."""

    def __init__(self, out: Path, config: ExperimentConfig, report: StageReport) -> None:
        self.out, self.config, self.report = out, config, report
        self.stages: dict[str, Any] = {}

    def run(self) -> ExperimentResult:
        corpus = self._corpus()
        train, held_out = utterances_of(corpus.train), utterances_of(corpus.held_out)
        self._encoder(train, held_out)
        self._language(corpus.texts, held_out)
        projector = self._projector(corpus)
        self.report("listening", 0, len(held_out))
        model = AlignedModel(self.out, projector, held_out)
        found = model.control(seed=self.config.projector.seed)
        words, examples = model.transcripts()
        result = ExperimentResult(found, words, examples, self.stages, self.out)
        _write_json(self.out / "result.json", result.to_json())
        model.draw(self.stages, found)
        return result

    def _corpus(self) -> SpokenCorpus:
        with _processor_seconds() as seconds:
            spoken = make_spoken(
                self.out / "corpus",
                self.config.corpus,
                on_clip=lambda done, total: self.report("corpus", done, total),
            )
        self.stages["corpus"] = {"processor_seconds": seconds[0]}
        return spoken

    def _encoder(self, train: Sequence[Utterance], held_out: Sequence[Utterance]) -> None:
        def run(folder: Path) -> dict[str, Any]:
            done = train_encoder(
                train, held_out, folder, self.config.encoder, progress=self._reporter("encoder")
            )
            words = asdict(done.held_out) | {"rate": done.held_out.rate}
            return {"losses": done.losses, "held_out_words": words}

        self._stage("encoder", [asdict(self.config.corpus), asdict(self.config.encoder)], run)

    def _language(self, texts: Path, held_out: Sequence[Utterance]) -> None:
        def run(folder: Path) -> dict[str, Any]:
            done = train_language_model(
                texts.read_text(encoding="utf-8").splitlines(),
                [clip.text for clip in held_out],
                folder,
                self.config.language,
                progress=self._reporter("language model"),
            )
            return {"losses": done.losses, "alone": done.alone, "repeated": done.repeated}

        self._stage("language", [asdict(self.config.corpus), asdict(self.config.language)], run)

    def _projector(self, corpus: SpokenCorpus) -> Path:
        """The folder of the checkpoint that ``ossicle train weak-align`` leaves."""

        def run(folder: Path) -> dict[str, Any]:
            config = self._train_config(corpus, folder)
            done = trainer.run(config, progress=self._report_step)
            assert done.checkpoint is not None
            name = done.checkpoint.name
            return {"losses": done.losses, "evaluations": done.evaluations, "checkpoint": name}

        done = self._stage("projector", asdict(self.config), run)
        return self.out / "projector" / str(done["checkpoint"])

    def _train_config(self, corpus: SpokenCorpus, folder: Path) -> TrainConfig:
        config = self.config.projector
        return TrainConfig.for_stage(
            "weak-align",
            data=corpus.train,
            eval_data=str(corpus.held_out),
            eval_clips=self.config.corpus.held_out,
            whisper=str(self.out / "encoder"),
            lm=str(self.out / "language"),
            stack=config.stack,
            steps=config.steps,
            batch_size=config.batch_size,
            lr=config.lr,
            seed=config.seed,
            eval_every=config.eval_every,
            save_every=config.eval_every,
            resume=True,
            out=folder,
            device="cpu",
            on_error="raise",
        )

    def _report_step(self, at: TrainProgress) -> None:
        loss = "" if at.loss is None else f" loss {at.loss:.3f}"
        self.report(f"projector{loss}", at.step, at.steps)

    def _reporter(self, stage: str) -> LossReport:
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
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with _processor_seconds() as seconds:
            result = run(folder)
        result["processor_seconds"] = seconds[0]
        _write_json(path, {"identity": identity, "result": result})
        self.stages[name] = result
        return result


@contextmanager
def _processor_seconds() -> Iterator[list[float]]:
    """One number, there once the block has ended: seconds of all threads of this process."""
    seconds: list[float] = []
    start = time.process_time()
    yield seconds
    seconds.append(round(time.process_time() - start, 1))


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")

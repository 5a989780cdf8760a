"""What a training run does: one schema for Python, YAML files and the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ossicle.train.stages import STAGES, StageName

__all__ = ["TrainConfig", "columns_of"]


def _option(default: Any, section: str, text: str) -> Any:
    return field(default=default, metadata={"section": section, "help": text})


def _data(default: Any, text: str) -> Any:
    return _option(default, "Data", text)


def _model(default: Any, text: str) -> Any:
    return _option(default, "Model", text)


def _steps(default: Any, text: str) -> Any:
    return _option(default, "Optimisation", text)


def _run(default: Any, text: str) -> Any:
    return _option(default, "Run", text)


@dataclass(frozen=True)
class TrainConfig:
    """What a training run does.

    The defaults are those of the stage ``align``; `for_stage` gives those of the others. What each
    field means stands in its metadata, where ``--help`` and docs/train.md take it from.

    Raises:
        ValueError: If a value makes no sense; the message names it.
    """

    data: Path | str = field(
        metadata={
            "section": "Data",
            "help": "Clips with their texts, in any format that ossicle data reads: a manifest, a "
            "folder, shards (.tar, a folder or a pattern of them); or shards of features that "
            "ossicle extract whisper wrote.",
        }
    )
    whisper: str = _model(
        "openai/whisper-base", "The encoder: a model id on a hub, a local folder, or tiny-random."
    )
    stage: StageName = _run(  # noqa: RUF009  (makes a field)
        "align",
        "What learns: align (projector and language model, the smoke), weak-align (the projector "
        "alone), full (both, at scale).",
    )
    format: str | None = _data(None, "The format of the data; by default it is recognised.")
    root: str | None = _data(
        None, "The folder that paths are relative to; by default that of the manifest."
    )
    columns: str | None = _data(
        None, "What columns mean, as audio=my_path,text=words; by default known names are found."
    )
    audio_column: str | None = _data(None, "The same as columns audio=...")
    text_column: str | None = _data(
        None, "The same as columns text=...; of a shard it may be the ending of a member."
    )
    max_seconds: float = _data(30.0, "The most of a clip that is taken; 30 at most.")
    too_long: Literal["cut", "drop", "error"] = _data(
        "error",
        "What to do about clips of more than max_seconds, and of more positions than the language "
        "model has: cut them (a clip keeps its whole text), leave them out, or end the run.",
    )
    pad_to_seconds: float | None = _data(
        None,
        "Pads every clip with silence to this length, as Whisper does to 30; by default none.",
    )
    on_error: Literal["raise", "skip"] = _data(
        "raise", "What to do about clips that cannot be used: an error, or a line in skipped.jsonl."
    )
    batch_size: int | None = _data(
        None,
        "Clips of a step, over all processes; by default all of them up to 32, else 16. Not beside "
        "a budget.",
    )
    max_batch_seconds: float | None = _data(
        None, "Budget of a part of a step, in seconds with padding: clips of like length share it."
    )
    max_batch_tokens: int | None = _data(
        None, "The same budget in positions of the language model, audio and text."
    )
    accumulate: int | None = _data(
        None,
        "Parts of a step, over all processes, whose gradients add up; by default one a process.",
    )
    prefetch: int = _data(2, "Steps that are read ahead in the background; 0 reads between steps.")
    threads: int | None = _data(None, "Threads that decode; by default one a processor.")
    cache_bytes: int = _data(
        1 << 30, "Memory in bytes for encoder output that is kept between steps."
    )
    eval_data: str | None = _data(None, "Held-out clips, in any form that data may have.")
    eval_clips: int = _data(256, "The most held-out clips that an evaluation takes.")
    lm: str | None = _model(
        None,
        "The language model: random, a run or a checkpoint of ossicle train, or a folder of "
        "nanochat's checkpoints. By default random; weak-align needs one.",
    )
    projector: str | None = _model(
        None, "A run or checkpoint to take the projector from; by default a new one."
    )
    tokenizer: str | None = _model(
        None,
        "bytes, or a tokenizer.json of Hugging Face; by default that of the language model, and "
        "bytes for a random one.",
    )
    layer: str = _model(
        "last",
        "Encoder layer: last, a number (0 is what enters the first), or all for a learned mix.",
    )
    start: Literal["zero", "ignore"] = _model(
        "zero", "How the projector starts: with soft tokens of zero, or so that audio is ignored."
    )
    stack: int | None = _model(
        None, "Encoder frames in a soft token; by default 1 on CUDA, 4 on the CPU."
    )
    depth: int = _model(6, "Layers of a random language model, which is 64 times as wide.")
    head_dim: int = _model(64, "Channels of a head of a random language model.")
    max_seq_len: int = _model(
        2048, "sequence_len of a random language model; positions reach ten times as far."
    )
    window_pattern: str = _model("L", "Attention windows of a random language model, such as SSSL.")
    dtype: Literal["auto", "float32", "bfloat16"] = _model(
        "auto",
        "Type of the activations; auto is bfloat16 on newer CUDA devices, else float32.",
    )
    gradient_checkpointing: bool = _model(
        False, "Recomputes the language model's activations in the backward pass: less memory."
    )
    compile: Literal["off", "default", "reduce-overhead", "max-autotune", "aot_eager"] = _model(
        "off", "Mode of torch.compile (or the backend aot_eager, which needs no compiler)."
    )
    steps: int = _steps(50, "Optimizer steps of the whole run, including those before a resume.")
    lr: float = _steps(3e-3, "Learning rate of AdamW; with muon that of the projector.")
    optimizer: Literal["adamw", "muon"] = _steps(
        "adamw", "adamw, or muon for nanochat's mix: Muon for the matrices, AdamW for the rest."
    )
    weight_decay: float = _steps(
        0.0, "Weight decay of AdamW, decoupled; with muon that of the projector."
    )
    warmup: int = _steps(0, "Steps in which the rate rises to its full height.")
    warmdown: float = _steps(0.0, "Share of the steps, the last ones, in which the rate falls.")
    final_lr: float = _steps(0.0, "Share of the rate that is left after the warmdown.")
    clip: float = _steps(1.0, "The largest norm of the gradient; 0 does not clip it.")
    seed: int = _steps(0, "Seed of the weights and of the order of the clips.")
    out: Path | str | None = _run(  # noqa: RUF009
        None, "Folder for checkpoints, logs, config.yaml, result.json and report.png."
    )
    save_every: int = _run(0, "Steps between checkpoints; 0 saves the last step alone.")
    keep: int = _run(2, "The newest checkpoints that stay, beside the best; 2 at least.")
    resume: bool = _run(
        False, "Continues from the newest whole checkpoint in out, if there is one."
    )
    overwrite: bool = _run(False, "Removes the checkpoints that are in out and starts anew.")
    eval_every: int = _run(0, "Steps between evaluations on eval_data; 0 evaluates at the end.")
    log_every: int = _run(1, "Steps between lines of the logs; each waits for the device.")
    tensorboard: bool = _run(False, "Writes events for TensorBoard to out.")
    wandb: Literal["off", "offline", "online"] = _run("off", "Logs to Weights & Biases.")
    wandb_project: str = _run("ossicle-audio", "The project in Weights & Biases.")
    loss_drop_min: float | None = _run(
        0.5, "How far the loss must fall from the first step to the last."
    )
    device: str | None = _run(None, "cuda or cpu; by default CUDA where there is one.")
    peak_flops: float | None = _run(
        None, "Peak operations a second of the device, for MFU; by default looked up by its name."
    )

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_numbers(self)
        _check_sense(self)

    @classmethod
    def for_stage(cls, stage: StageName, **values: Any) -> TrainConfig:
        """The configuration of a stage: ``values`` before its defaults.

        Raises:
            ValueError: If there is no such stage, or a value makes no sense.
        """
        if stage not in STAGES:
            raise ValueError(f"stage {stage!r} is none of {', '.join(STAGES)}")
        defaults = dict(STAGES[stage].defaults)
        if values.keys() & {"batch_size", "max_batch_tokens"}:  # instead of the stage's budget
            defaults = {name: v for name, v in defaults.items() if name != "max_batch_seconds"}
        return cls(**{**defaults, **values, "stage": stage})

    @property
    def column_names(self) -> dict[str, str]:
        """The names of columns by what they mean, for `ossicle.data.read`."""
        alone = {"audio": self.audio_column, "text": self.text_column}
        told = {name: column for name, column in alone.items() if column is not None}
        return told | columns_of(self.columns)

    def default(self, name: str) -> Any:
        """What ``name`` is in this stage where nothing is said."""
        (found,) = (f for f in fields(self) if f.name == name)
        own = None if found.default is MISSING else found.default
        return STAGES[self.stage].defaults.get(name, own)


_CHOICES: dict[str, tuple[str, ...]] = {
    "stage": tuple(STAGES),
    "on_error": ("raise", "skip"),
    "too_long": ("cut", "drop", "error"),
    "start": ("zero", "ignore"),
    "dtype": ("auto", "float32", "bfloat16"),
    "compile": ("off", "default", "reduce-overhead", "max-autotune", "aot_eager"),
    "optimizer": ("adamw", "muon"),
    "wandb": ("off", "offline", "online"),
}
_AT_LEAST_1 = (
    *("steps", "depth", "head_dim", "max_seq_len", "stack", "batch_size", "accumulate"),
    *("threads", "log_every", "eval_clips", "max_batch_tokens"),
)
_AT_LEAST_0 = (
    *("seed", "save_every", "cache_bytes", "prefetch", "warmup", "eval_every"),
    *("weight_decay", "clip"),
)
_ABOVE_0 = ("lr", "max_batch_seconds", "peak_flops")
_SHARES = ("warmdown", "final_lr")


def columns_of(text: str | None) -> dict[str, str]:
    """The columns in ``audio=my_path,text=words``.

    Raises:
        ValueError: It is not of this form.
    """
    pairs = [one.partition("=") for one in (text or "").split(",") if one.strip()]
    if not all(meaning.strip() and column.strip() for meaning, _, column in pairs):
        raise ValueError(f"columns must be like audio=my_path,text=words, not {text!r}")
    return {meaning.strip(): column.strip() for meaning, _, column in pairs}


def _check_choices(config: TrainConfig) -> None:
    for name, known in _CHOICES.items():
        if getattr(config, name) not in known:
            names = ", ".join(known)
            raise ValueError(f"{name} must be one of {names}, not {getattr(config, name)!r}")


def _check_numbers(config: TrainConfig) -> None:
    rules: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
        (_AT_LEAST_1, lambda v: v >= 1, "1 or more"),
        (_AT_LEAST_0, lambda v: v >= 0, "0 or more"),
        (_ABOVE_0, lambda v: v > 0, "above 0"),
        (_SHARES, lambda v: 0 <= v <= 1, "from 0 to 1"),
        (("max_seconds", "pad_to_seconds"), lambda v: 0 < v <= 30, "above 0 and up to 30"),
        (("keep",), lambda v: v >= 2, "2 or more"),
    )
    for names, is_right, rule in rules:
        for name in names:
            value = getattr(config, name)
            if value is not None and not is_right(value):
                raise ValueError(f"{name} must be {rule}, not {value}")


def _check_sense(config: TrainConfig) -> None:
    needs = ("resume", "save_every", "overwrite", "tensorboard")
    if config.out is None and any(_is_set(config, name) for name in needs):
        raise ValueError(f"{', '.join(needs[:-1])} and {needs[-1]} need a folder: out")
    columns_of(config.columns)
    if config.resume and config.overwrite:
        raise ValueError("resume and overwrite exclude each other")
    if config.layer not in ("last", "all") and not config.layer.isdecimal():
        raise ValueError(f"layer must be last, all or a number, not {config.layer!r}")
    if config.max_batch_seconds and config.max_batch_tokens:
        raise ValueError("max_batch_seconds and max_batch_tokens exclude each other: pass one")
    if config.batch_size and (config.max_batch_seconds or config.max_batch_tokens):
        raise ValueError("batch_size and a budget of a batch exclude each other")
    if not STAGES[config.stage].trains_lm and config.lm is None:
        raise ValueError(
            f"lm: {config.stage} leaves the language model as it is, so it must be one that has "
            "learned (a checkpoint, or a folder of nanochat's); lm=random for a trial"
        )
    if not STAGES[config.stage].trains_lm and config.optimizer == "muon":
        raise ValueError(
            f"optimizer muon is for language models; {config.stage} trains the projector"
        )


def _is_set(config: TrainConfig, name: str) -> bool:
    """Whether a field was turned on by someone else than the stage."""
    value = getattr(config, name)
    return bool(value) and value != STAGES[config.stage].defaults.get(name)

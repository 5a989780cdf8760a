"""One schema: the same for Python, files, flags and the page, and strict in all of them."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ossicle.cli import app
from ossicle.train.config import TrainConfig
from ossicle.train.config_file import (
    ConfigError,
    config_from,
    option_types,
    read_config,
    table,
    write_config,
)
from ossicle.train.stages import STAGES

PAGE = Path(__file__).parents[1] / "docs" / "train.md"
# A value of its own for every field, other than the default.
OTHER = {
    "data": "d",
    "whisper": "w",
    "stage": "full",
    "audio_column": "a",
    "text_column": "t",
    "max_seconds": 9.5,
    "pad_to_seconds": 30.0,
    "on_error": "skip",
    "batch_size": 3,
    "max_batch_seconds": None,
    "max_batch_tokens": None,
    "accumulate": 4,
    "prefetch": 5,
    "threads": 6,
    "cache_bytes": 7,
    "eval_data": "e",
    "eval_clips": 8,
    "layer": "all",
    "start": "ignore",
    "lm": "l",
    "projector": "p",
    "tokenizer": "bytes",
    "stack": 9,
    "depth": 10,
    "head_dim": 32,
    "max_seq_len": 12,
    "window_pattern": "SL",
    "dtype": "float32",
    "gradient_checkpointing": True,
    "compile": "default",
    "steps": 13,
    "lr": 0.5,
    "optimizer": "adamw",
    "weight_decay": 0.25,
    "warmup": 14,
    "warmdown": 0.125,
    "final_lr": 0.75,
    "clip": 2.0,
    "seed": 15,
    "out": "o",
    "save_every": 16,
    "keep": 17,
    "eval_every": 18,
    "log_every": 19,
    "tensorboard": True,
    "wandb": "offline",
    "wandb_project": "x",
    "loss_drop_min": None,
    "device": "cpu",
    "peak_flops": 1e12,
}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    config = TrainConfig(**OTHER)
    path = tmp_path / "config.yaml"
    write_config(path, config)
    assert config_from("full", {}, path) == config
    assert read_config(path).keys() == {f.name for f in fields(config)} - {"resume", "overwrite"}
    for stage in STAGES:
        lm = {"lm": "random"} if stage == "weak-align" else {}
        plain = TrainConfig.for_stage(stage, data="m.jsonl", **lm)
        write_config(path, plain)
        assert config_from(stage, {}, path) == plain


def test_flags_go_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("data: a\nlr: 1\nsteps: 7\nlm: random\n")
    config = config_from("weak-align", {"steps": 9, "data": Path("b")}, path)
    assert (config.data, config.lr, config.steps) == (Path("b"), 1.0, 9)
    assert isinstance(config.lr, float)
    assert config.warmdown == STAGES["weak-align"].defaults["warmdown"]
    assert TrainConfig("m").warmdown == 0
    # A size of batches of one's own takes the place of the stage's budget.
    sized = TrainConfig.for_stage("full", data="m", batch_size=4)
    assert (sized.batch_size, sized.max_batch_seconds) == (4, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: a\nbatchsize: 3", r"run\.yaml: unknown key 'batchsize': did you mean batch_size"),
        ("data: a\nwarm-up: 3", r"unknown key 'warm-up': did you mean warmup"),
        ("data: a\n3: 4", "unknown key 3"),
        (
            "data: a\nlr: 1e-3",
            r"lr must be float, not '1e-3' \(in YAML a float needs a point: 0.001",
        ),
        ("data: a\nsteps: 2.5", "steps must be int, not 2.5"),
        ("data: a\nsteps: true", "steps must be int, not True"),
        ("data: a\nlr: true", "lr must be float, not True"),
        ("data: a\nresume: 1", "resume must be bool, not 1"),
        ("data: [a]", r"data must be str, not \['a'\]"),
        ("data: a\nwandb: on", "wandb must be off | offline | online, not True"),
        ("data: a\noptimizer: sgd", "optimizer must be adamw | muon, not 'sgd'"),
        ("data: a\nstage: full", r"run\.yaml is for the stage full, not align"),
        ("data: a\ndata: {", r"run\.yaml is not valid YAML"),
        ("- a", "holds list, not a mapping"),
        ("", "no data: pass --data"),
        ("data: a\nbatch_size: 0", "batch_size must be 1 or more, not 0"),
        ("data: a\nlr: .nan", "lr must be above 0, not nan"),
        ("data: a\nlayer: first", "layer must be last, all or a number, not 'first'"),
        ("data: a\nbatch_size: 2\nmax_batch_seconds: 3.0", "exclude each other"),
        ("data: a\nmax_batch_tokens: 2\nmax_batch_seconds: 3.0", "exclude each other"),
        ("data: a\nresume: true", "need a folder: out"),
        ("data: a\nkeep: 1", "keep must be 2 or more"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message.replace(" | ", r" \| ")):
        config_from("align", {}, path)


def test_weak_alignment_must_be_told_its_language_model() -> None:
    with pytest.raises(ValueError, match="lm: weak-align"):
        TrainConfig.for_stage("weak-align", data="m")
    with pytest.raises(ValueError, match="muon"):
        TrainConfig.for_stage("weak-align", data="m", lm="random", optimizer="muon")
    with pytest.raises(ConfigError, match="unknown key 'lern'"):
        config_from("align", {"data": "m", "lern": 1})


@pytest.mark.parametrize("stage", STAGES)
def test_every_field_is_a_flag_and_says_what_it_does(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    shown = CliRunner().invoke(app, ["train", stage, "--help"], env={"COLUMNS": "400"}).output
    flags = set(re.findall(r"--([a-z][a-z-]+)", shown))
    for f in fields(TrainConfig):
        if f.name != "stage":
            assert f.name.replace("_", "-") in flags
    assert "Example" in shown


def test_every_field_can_be_given_as_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TrainConfig] = []

    def stop(config: TrainConfig, **_: object) -> None:
        seen.append(config)
        raise RuntimeError("enough")

    monkeypatch.setattr("ossicle.train.trainer.run", stop)
    arguments = ["train", "full"]
    wanted = {k: v for k, v in OTHER.items() if k not in ("stage",) and v is not None}
    for name, value in wanted.items():
        flag = f"--{name.replace('_', '-')}"
        arguments += [flag] if value is True else [flag, str(value)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "enough" in result.output
    assert seen == [replace(TrainConfig.for_stage("full", **wanted), loss_drop_min=None)]


def test_the_pages_table_is_the_schemas() -> None:
    assert option_types().keys() == {f.name for f in fields(TrainConfig)}
    text = PAGE.read_text(encoding="utf-8")
    begin, end = "<!-- fields -->\n", "<!-- end of fields -->"
    found = text[text.index(begin) + len(begin) : text.index(end)]
    assert found.strip() == table().strip(), "docs/train.md: paste what config_file.table() gives"

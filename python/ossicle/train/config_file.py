"""Configurations as files: read with every key checked, written beside a run, shown as a table."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ossicle.errors import TrainingError
from ossicle.train.config import TrainConfig
from ossicle.train.stages import STAGES, StageName

__all__ = ["ConfigError", "config_from", "option_types", "read_config", "table", "write_config"]

SECTIONS = ("Data", "Model", "Optimisation", "Run")
# Of a call, not of a run: what is written down is to be run again.
_OF_A_CALL = ("resume", "overwrite")


class ConfigError(TrainingError, ValueError):
    """A configuration has an unknown key or a value of the wrong type; the message says which."""


def option_types() -> dict[str, Any]:
    """The type of each field of `TrainConfig`, in the order of the sections.

    Paths are text here, as files and flags have them.
    """
    hints = get_type_hints(TrainConfig)
    ordered = sorted(fields(TrainConfig), key=lambda f: SECTIONS.index(f.metadata["section"]))
    return {f.name: _without_paths(hints[f.name]) for f in ordered}


def read_config(path: Path | str) -> dict[str, Any]:
    """The keys and values of a YAML file, each known and of the right type.

    Args:
        path: The file; paths in it are relative to where the command runs.

    Raises:
        ConfigError: If it is no YAML mapping, has an unknown key or a value of another type; the
            message names the file and the key.
        OSError: If it cannot be read.
    """
    yaml = _yaml()
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}, not a mapping of keys to values")
    return _check_values(content, str(path))


def config_from(
    stage: StageName, values: Mapping[str, Any], file: Path | str | None = None
) -> TrainConfig:
    """The configuration of a stage: ``values`` go before the file, the file before the defaults.

    Args:
        stage: What is to learn.
        values: Fields that were given, such as the flags of a command.
        file: A YAML file.

    Raises:
        ConfigError: If a key is unknown, a value is of another type, there is no ``data``, or the
            file is of another stage.
        ValueError: If a value makes no sense.
    """
    found = {} if file is None else read_config(file)
    if found.get("stage", stage) != stage:
        raise ConfigError(f"{file} is for the stage {found['stage']}, not {stage}")
    found = {**found, **_check_values(values, "the arguments")}
    found.pop("stage", None)
    if "data" not in found:
        raise ConfigError("no data: pass --data, or a --config with the key data")
    return TrainConfig.for_stage(stage, **found)


def write_config(path: Path, config: TrainConfig) -> None:
    """Writes ``config`` as YAML that `read_config` reads; every field stands in it."""
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}
    plain = {name: value for name, value in plain.items() if name not in _OF_A_CALL}
    text = _yaml().safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8")


def table() -> str:
    """All fields by section as Markdown tables: name, type, default and what it does."""
    kinds, lines = option_types(), []
    for section in SECTIONS:
        lines += [
            f"### {section}",
            "",
            "| field | type | default | what it does |",
            "|---|---|---|---|",
        ]
        for f in fields(TrainConfig):
            if f.metadata["section"] == section:
                kind = _type_text(kinds[f.name]).replace("|", "\\|")
                row = f"| `{f.name}` | {kind} | {_default_text(f)} | {f.metadata['help']} |"
                lines.append(row)
        lines.append("")
    return "\n".join(lines)


def _yaml() -> Any:
    import yaml  # comes with transformers

    return yaml


def _check_values(values: Mapping[Any, Any], where: str) -> dict[str, Any]:
    kinds = option_types()
    for name, value in values.items():
        if name not in kinds:
            raise ConfigError(f"{where}: unknown key {name!r}{_near(str(name), list(kinds))}")
        if not _fits(value, kinds[name]):
            kind = _type_text(kinds[name])
            raise ConfigError(f"{where}: {name} must be {kind}, not {value!r}{_hint(value)}")
    return {name: _as_float(value, kinds[name]) for name, value in values.items()}


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.replace("-", "_"), known, n=3)
    return f": did you mean {' or '.join(close)}?" if close else ""


def _hint(value: Any) -> str:
    """YAML 1.1 takes 1e-3 for text."""
    try:
        number = float(value) if isinstance(value, str) else None
    except ValueError:
        return ""
    return "" if number is None else f" (in YAML a float needs a point: {number!r})"


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if _is_union(kind):
        return any(_fits(value, one) for one in get_args(kind))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, str | Path)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _as_float(value: Any, kind: Any) -> Any:
    """A whole number where a float is meant, as a float, so that both are one configuration."""
    is_float = kind is float or (_is_union(kind) and float in get_args(kind))
    return float(value) if is_float and value is not None else value


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _without_paths(kind: Any) -> Any:
    if not _is_union(kind):
        return kind
    left = tuple(one for one in get_args(kind) if one is not Path)
    return left[0] if len(left) == 1 else Union[left]  # noqa: UP007  (of a tuple)


def _type_text(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " | ".join(get_args(kind))
    if _is_union(kind):
        return " or ".join(_type_text(one) for one in get_args(kind))
    return "none" if kind is type(None) else str(kind.__name__)


def _default_text(f: Any) -> str:
    if f.default is MISSING:
        return "required"
    own = {f.default} | {stage.defaults.get(f.name, f.default) for stage in STAGES.values()}
    text = _value_text(f.default)
    if len(own) > 1:
        others = (
            f"{name}: {_value_text(stage.defaults[f.name])}"
            for name, stage in STAGES.items()
            if stage.defaults.get(f.name, f.default) != f.default
        )
        text += f" ({', '.join(others)})"
    return text


def _value_text(value: Any) -> str:
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )

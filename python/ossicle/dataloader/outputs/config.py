"""How a pipeline extracted what it knows, and which recordings one wants of it."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from ossicle.atomic import write_text
from ossicle.data.errors import DataError
from ossicle.dataloader.outputs.filters import can_be_sought, compile_conditions

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CONFIG_FILE", "FilterConfig", "PipelineConfig"]

CONFIG_FILE = "pipeline_config.json"
"""What `PipelineConfig.save` writes into a folder of outputs."""

AnyConfig = TypeVar("AnyConfig", bound="_Config")


@dataclass(frozen=True)
class _Config:
    """Fields of fixed types, checked wherever they come from."""

    _least: ClassVar[Mapping[str, float]] = {}
    _most: ClassVar[Mapping[str, float]] = {}

    def __post_init__(self) -> None:
        for each in fields(self):
            value = _READ[str(each.type)](each.name, getattr(self, each.name))
            object.__setattr__(self, each.name, value)
            least, most = self._least.get(each.name), self._most.get(each.name)
            if value is not None and least is not None and value < least:
                _refuse(each.name, f"must be at least {least}, not {value}")
            if value is not None and most is not None and value > most:
                _refuse(each.name, f"must be at most {most}, not {value}")

    @classmethod
    def from_dict(cls: type[AnyConfig], values: Mapping[str, Any]) -> AnyConfig:
        """A configuration of named values; the others are their defaults.

        Raises:
            DataError: There is no such field, or its value does not fit; ``column`` is its
                name.
        """
        known = [each.name for each in fields(cls)]
        for name in values:
            if name not in known:
                _refuse(name, f"unknown field; the fields are {', '.join(known)}")
        return cls(**values)


@dataclass(frozen=True)
class PipelineConfig(_Config):
    """What the stages of a pipeline are told; where one changes, its stage must run again.

    Attributes:
        vad_threshold: From which probability of speech on a frame is speech, 0 to 1.
        vad_hop_size: Samples from one frame of the VAD to the next.
        vtc_threshold: From which probability on a frame has a label of the VTC, 0 to 1.
        vtc_model_config: Where the VTC's model is described.
        vtc_checkpoint: Weights of the VTC.
        snr_model_path: Weights of what estimates SNR and C50.
        esc_pool_window: Seconds that sound categories are pooled over.
        esc_inference_window: Seconds that the model of sound categories hears at once.
        max_clip_s: The most seconds in a clip when recordings are packed.
        split_search_s: Seconds in which silence is looked for, to end a clip in.
        target_sr: Rate of packed audio in Hz.
        audio_fmt: Format of packed audio, ``wav`` or ``flac``.
        shard_size: The most clips in a shard.

    Raises:
        DataError: A value has another type or makes no sense; ``column`` is the field.
    """

    vad_threshold: float = 0.5
    vad_hop_size: int = 256
    vtc_threshold: float = 0.5
    vtc_model_config: str = ""
    vtc_checkpoint: str = ""
    snr_model_path: str = ""
    esc_pool_window: float = 1.0
    esc_inference_window: float = 10.0
    max_clip_s: float = 600.0
    split_search_s: float = 120.0
    target_sr: int = 16_000
    audio_fmt: str = "wav"
    shard_size: int = 100

    _least: ClassVar = {
        "vad_threshold": 0,
        "vad_hop_size": 1,
        "vtc_threshold": 0,
        "split_search_s": 0,
        "target_sr": 1,
        "shard_size": 1,
    }
    _most: ClassVar = {"vad_threshold": 1, "vtc_threshold": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("esc_pool_window", "esc_inference_window", "max_clip_s"):
            if getattr(self, name) <= 0:
                _refuse(name, f"must be above 0, not {getattr(self, name)}")
        if self.audio_fmt not in ("wav", "flac"):
            _refuse("audio_fmt", f"is wav or flac, not {self.audio_fmt!r}")

    @property
    def version(self) -> str:
        """12 hex digits of a hash of the values: equal configurations have the same.

        SHA-256 over compact JSON with sorted names, so that neither the order of the fields nor the
        process counts.
        """
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes ``pipeline_config.json``, whole or not at all.

        Args:
            path: The folder of the outputs, made where it is not there.

        Returns:
            The file.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CONFIG_FILE, json.dumps(asdict(self), indent=2) + "\n")
        return folder / CONFIG_FILE

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PipelineConfig:
        """Reads what `save` wrote; fields that the file lacks have their defaults.

        Args:
            path: The folder, or the file itself.

        Raises:
            FileNotFoundError: There is no such file.
            DataError: It is no JSON object, names an unknown field, or a value does not fit.
        """
        file = Path(path) / CONFIG_FILE if Path(path).is_dir() else Path(path)
        try:
            values = json.loads(file.read_bytes(), object_pairs_hook=_once_each)
            if not isinstance(values, dict):
                raise DataError("is not a JSON object")
            return cls.from_dict(values)
        except DataError as error:
            error.source = str(file)
            raise
        except (ValueError, RecursionError) as error:
            raise DataError(f"is not valid JSON: {error}", source=str(file)) from error


@dataclass(frozen=True)
class FilterConfig(_Config):
    """Which recordings to take: those that meet every condition that is set.

    A recording about which the column of a condition says nothing, null or NaN, does not meet it.

    Attributes:
        min_speech_ratio: At least this share of the duration is speech (VAD), 0 to 1.
        min_snr_db: At least this mean signal-to-noise ratio, in dB (SNR).
        required_labels: Each of these labels occurs (VTC); none sets no condition.
        excluded_esc_categories: None of these is the dominant category of sound (ESC).
        min_duration: At least so many seconds (VAD).
        max_duration: At most so many seconds (VAD).

    Raises:
        DataError: A value has another type or makes no sense; ``column`` is the field.
    """

    min_speech_ratio: float | None = None
    min_snr_db: float | None = None
    required_labels: Sequence[str] = ()
    excluded_esc_categories: Sequence[str] = ()
    min_duration: float | None = None
    max_duration: float | None = None

    _least: ClassVar = {"min_speech_ratio": 0, "min_duration": 0, "max_duration": 0}
    _most: ClassVar = {"min_speech_ratio": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.min_duration, self.max_duration
        if low is not None and high is not None and low > high:
            _refuse("min_duration", f"is {low}, above max_duration, which is {high}")
        for label in filterfalse(can_be_sought, self.required_labels):
            _refuse("required_labels", f"{label!r} has a backslash or both kinds of quotes")

    def expression(
        self, schema: Mapping[str, Any] | Iterable[str], stages: Iterable[str] | None = None
    ) -> pl.Expr:
        """The conditions as one expression: true or false, never null.

        Args:
            schema: Columns of the table that it is for, best with their types. The column of a
                stage is found under its own name or with the stage before it (``vad_duration``).
            stages: The stages that the table was made of; None goes by the columns alone.

        Raises:
            MissingStageError: A condition needs a stage that was left out.
            ManifestError: A condition's column is not there, or of no type that it can be put to.
        """
        return compile_conditions(asdict(self), schema, stages)


def _refuse(field: str, why: str) -> NoReturn:
    raise DataError(why, column=field)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; a duplicate field would be lost silently."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        _refuse(next(name for name in names if names.count(name) > 1), "is listed twice")
    return values


def _float(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(field, f"is a number, not {value!r}")
    if not math.isfinite(value):
        _refuse(field, f"is a finite number, not {value!r}")
    # 1 and 1.0, 0.0 and -0.0 are equal, and so must be what is hashed.
    return float(value) + 0.0


def _int(field: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        _refuse(field, f"is a whole number, not {value!r}")
    return value


def _str(field: str, value: Any) -> str:
    if not isinstance(value, str):
        _refuse(field, f"is text, not {value!r}")
    return value


def _optional_float(field: str, value: Any) -> float | None:
    return None if value is None else _float(field, value)


def _strings(field: str, value: Any) -> tuple[str, ...]:
    # A text is a sequence of texts, too, but hardly what was meant.
    if isinstance(value, str) or not isinstance(value, Iterable):
        _refuse(field, f"is a list of texts, not {value!r}")
    return tuple(_str(field, each) for each in value)


_READ: Mapping[str, Callable[[str, Any], Any]] = {
    "float": _float,
    "int": _int,
    "str": _str,
    "float | None": _optional_float,
    "Sequence[str]": _strings,
}

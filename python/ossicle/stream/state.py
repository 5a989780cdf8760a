"""A place in the order of a plan, as what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ossicle.errors import InvalidArgumentError

__all__ = ["StreamState"]

_VERSION = 1


@dataclass(frozen=True)
class StreamState:
    """Where a run stands: the same on all processes, whatever their number.

    Attributes:
        plan_sha256: Of the plan, `Plan.sha256`.
        epoch: The epoch of the next batch.
        consumed: Batches of that epoch, over all processes, that were trained on.
        window: The window of the next batch.
        batch: Batches of that window that were trained on.
        version: Of this format.
    """

    plan_sha256: str
    epoch: int = 0
    consumed: int = 0
    window: int = 0
    batch: int = 0
    version: int = _VERSION

    def as_dict(self) -> dict[str, Any]:
        """Plain values, less than 500 bytes of JSON."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> StreamState:
        """The state in a mapping such as `as_dict` gives.

        Raises:
            InvalidArgumentError: It is none, or one of another version.
        """
        names = [name for name in cls.__dataclass_fields__ if name != "plan_sha256"]
        wrong = [
            name
            for name in names
            if isinstance(values.get(name), bool)
            or not isinstance(values.get(name), int)
            or values[name] < 0
        ]
        if wrong or not isinstance(values.get("plan_sha256"), str):
            what = wrong[0] if wrong else "plan_sha256"
            raise InvalidArgumentError(
                f"this is no state of a stream: {what} is {values.get(what)!r}"
            )
        if values["version"] != _VERSION:
            raise InvalidArgumentError(
                f"the state is of version {values['version']}, and this is version {_VERSION}"
            )
        return cls(values["plan_sha256"], **{name: values[name] for name in names})

"""The parameters of a kind as a job holds them: plain numbers, in the units of their types."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def parameters(kind: DataclassInstance) -> dict[str, Any]:
    """The parameters of a kind as JSON has them."""
    return {field.name: _plain(getattr(kind, field.name)) for field in dataclasses.fields(kind)}


def _plain(value: Any) -> Any:
    """A parameter as JSON has it: quantities lose their class and keep their number."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(item) for name, item in dataclasses.asdict(value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return int(value) if isinstance(value, int) else float(value)

"""Finds every kind there is, of faults, checks, roles and more: one file each, or an entry point.

A kind is a class with a `kind` of its own, defined in a module of `testbed.<group>` or named by the
entry point group `testbed.<group>`. Nothing has to be listed anywhere.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import typing
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from testbed.job import revive

GROUPS = (
    "faults",
    "roles",
    "checks",
    "abrs",
    "arrivals",
    "traffic",
    "daemons",
    "steering",
    "exports",
    "aftermath",
    "venues",
)


@cache
def kinds(group: str) -> dict[str, type]:
    """Every class of the group, by its kind, in alphabetical order."""
    package = importlib.import_module(f"testbed.{group}")
    found: dict[str, type] = {}
    for module in pkgutil.iter_modules(package.__path__, f"testbed.{group}."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and value.__module__ == module.name and "kind" in vars(value):
                found[vars(value)["kind"]] = value
    for entry in entry_points(group=f"testbed.{group}"):
        value = entry.load()
        if value.kind in found:
            raise ValueError(f"{entry.value} and {found[value.kind].__module__} are both {value.kind}")
        found[value.kind] = value
    return dict(sorted(found.items()))


def parameters(kind: type) -> tuple[str, ...]:
    """The names of what one may write for a kind, in the order of its fields."""
    return tuple(getattr(kind, "__dataclass_fields__", ()))


def build(group: str, kind: str, values: Mapping[str, Any]) -> Any:
    """The kind with its parameters, from what a job holds: plain numbers in the units of their types.

    ValueError if there is no such kind.
    """
    found = kinds(group).get(kind)
    if found is None:
        raise ValueError(f"no kind {kind} among the {group}; there are {', '.join(kinds(group))}")
    return made(found, values)


def made(kind: type, values: Mapping[str, Any]) -> Any:
    """An instance of a kind, from plain numbers in the units of its fields' types, and mappings of them."""
    hints = typing.get_type_hints(kind)
    return kind(**{name: _typed(hints[name], value) for name, value in values.items()})


def source(kind: type) -> str:
    """Where a kind is defined, as "module:class"; `sourced` finds it there without any entry point."""
    return f"{kind.__module__}:{kind.__qualname__}"


def sourced(where: str) -> type:
    """The kind that `source` told of."""
    module, _, name = where.partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


def _typed(hint: Any, value: Any) -> Any:
    """The number as the quantity its field is declared to be, optional or not; a mapping as its class.

    A text, as one types it at the shell's prompt, is read as what it is to be; a list has commas.
    """
    options = (hint, *typing.get_args(hint))
    if isinstance(value, str) and int in options and str not in options:
        if not value.isdecimal():
            raise ValueError(f"{value} is no whole number; write for example 100")
        return int(value)
    if isinstance(value, str) and any(typing.get_origin(option) is tuple for option in options):
        return tuple(value.split(","))
    for option in options:
        if dataclasses.is_dataclass(option) and isinstance(value, dict):
            return revive(option, value)
        if isinstance(option, type) and hasattr(option, "parse") and value is not None:
            return option.parse(value) if isinstance(value, str) else option(value)
    return value

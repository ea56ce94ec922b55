"""`testbed kinds`: every fault, role, check, ABR algorithm, daemon and venue there is."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from typing import Annotated, Any

import typer

from testbed import registry
from testbed.commands import options
from testbed.terminal import Format, answer, say, table

_GROUPS = f"One of {', '.join(registry.GROUPS)}."


def kinds(
    group: Annotated[str | None, typer.Argument(help=_GROUPS, metavar="GROUP")] = None,
    name: Annotated[str | None, typer.Argument(help="One kind of the group.", metavar="NAME")] = None,
    format: options.Answer = Format.table,
) -> None:
    """List the kinds of every group, with an example and what one may write.

    Example: testbed kinds faults link-impair
    """
    if group is not None and group not in registry.GROUPS:
        _refuse(f"there is no group {group}; the groups are {', '.join(registry.GROUPS)}")
    told = {
        group: {kind: describe(found) for kind, found in registry.kinds(group).items()}
        for group in ([group] if group else registry.GROUPS)
    }
    if name is not None and group is not None:
        if name not in told[group]:
            _refuse(f"there is no kind {name} among the {group}; there are {', '.join(told[group])}")
        told = {group: {name: told[group][name]}}
    if format is Format.json:
        answer(told)
    elif name is not None and group is not None:
        _show_one(name, told[group][name])
    else:
        for title, found in told.items():
            table(title, ("kind", "what it is"), ((kind, facts["summary"]) for kind, facts in found.items()))


def describe(kind: type) -> dict[str, Any]:
    """What there is to know about a kind: its summary, example, text and parameters."""
    first, _, rest = inspect.cleandoc(kind.__doc__ or "").partition("\n")
    example = first if first.startswith("{") else ""
    module = inspect.cleandoc(sys.modules[kind.__module__].__doc__ or "").partition("\n")[0]
    return {
        "summary": module if example else first or module,
        "example": example,
        "text": rest.strip(),
        "parameters": _parameters(kind),
    }


def _parameters(kind: type) -> list[dict[str, Any]]:
    if not dataclasses.is_dataclass(kind):
        return []
    hints = typing.get_type_hints(kind)
    return [
        {
            "name": field.name,
            "type": _written(hints[field.name]),
            "required": field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            "default": None if field.default is dataclasses.MISSING else field.default,
        }
        for field in dataclasses.fields(kind)
    ]


def _written(hint: Any) -> str:
    """A type in the words of the YAML: `Duration | None` is "duration"."""
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(str(value) for value in typing.get_args(hint))
    options = [option for option in typing.get_args(hint) if option not in (type(None), ...)]
    if options:
        return " | ".join(_written(option) for option in options)
    name: str = getattr(hint, "__name__", str(hint))
    plain = {"str": "text", "int": "number", "float": "number", "bool": "true or false"}
    return plain.get(name, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _show_one(name: str, facts: dict[str, Any]) -> None:
    print(f"{name}: {facts['summary']}")
    if facts["example"]:
        print(f"\n  {facts['example']}")
    if facts["text"]:
        print(f"\n{facts['text']}")
    if facts["parameters"]:
        table(
            "",
            ("parameter", "type", "default"),
            (
                (
                    parameter["name"],
                    parameter["type"],
                    "required"
                    if parameter["required"]
                    else ""
                    if parameter["default"] is None
                    else parameter["default"],
                )
                for parameter in facts["parameters"]
            ),
        )


def _refuse(message: str) -> typing.Never:
    say(f"testbed: {message}")
    raise typer.Exit(2)

"""The types that topologies and scenarios are made of, each with an example for who gets it wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

from testbed.refusal import PROBLEMS_MOST, Wrong, near, quoted
from testbed.units import Duration, Quantity, Rate, Share, Size, UnitError

_Q = TypeVar("_Q", bound=Quantity)

_NAME = re.compile(r"[a-z](?:-?[a-z0-9])*")
NAME_LONGEST = 40
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ZONE_LONGEST = 200
ASN_MOST = 2**32 - 2
_NETEM_ONE = 2**32  # a probability is a share of this (tc-netem(8))
ASN_RESERVED = {0: "RFC 7607", 23456: "RFC 6793", 65535: "RFC 7300", 2**32 - 1: "RFC 7300"}


class Model(BaseModel):
    """A mapping of the YAML: its keys have dashes where the attributes have underscores."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=lambda name: name.replace("_", "-"),
        protected_namespaces=(),
    )

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Say of unknown and missing keys, where the keys there are can be told, what to write instead."""
        try:
            return handler(data)
        except ValidationError as refused:
            errors = refused.errors(include_url=False)[: PROBLEMS_MOST + 1]
            raise ValidationError.from_exception_data(
                cls.__name__, [cls._explain(error, data) for error in errors]
            ) from None

    @classmethod
    def _explain(cls, error: ErrorDetails, data: Any) -> InitErrorDetails:
        keys = {field.alias or name: field for name, field in cls.model_fields.items()}
        location = error["loc"]
        if error["type"] == "extra_forbidden" and len(location) == 1:
            key = str(location[0])
            match = near(key, keys)
            if match in data:
                hint = f"did you mean {match}, which is there already?"
            else:
                unused = ", ".join(known for known in keys if known not in data)
                hint = f"did you mean {match}?" if match else f"write one of {unused or ', '.join(keys)}"
            return wrong(Wrong("is not a key here", hint, on_key=True), location, error["input"])
        if error["type"] == "missing" and len(location) == 1:
            field = keys[str(location[0])]
            example = (field.examples or [getattr(field.annotation, "example", "...")])[0]
            return wrong(Wrong("is missing", f"write {location[0]}: {example}"), location, error["input"])
        if error["type"] == "model_type" and not location:
            needed = ", ".join(key for key, field in keys.items() if field.is_required()) or ", ".join(keys)
            what = f"{quoted(error['input'])} stands where a mapping is due"
            return wrong(Wrong(what, f"write a mapping with {needed}"), location, error["input"])
        return _again(error)


@dataclass(frozen=True)
class OfFile:
    """Marks a field as the path of a file, relative to the YAML's folder, which is read at once.

    `read` makes the field's value, a `kind`, of the path as it was written and as it can be opened.
    """

    kind: type
    read: Callable[[str, Path], Any]

    def _value(self, value: object, info: ValidationInfo) -> Any:
        if isinstance(value, self.kind):
            return value
        if not isinstance(value, str) or not value.strip():
            raise Wrong(f"{quoted(value)} is no path", "write the path of a file, relative to this one")
        context = info.context or {}
        path = Path(os.path.normpath(Path(context.get("folder", ".")) / value))
        known: dict[tuple[type, Path], Any] = context.get("files", {})
        if (self.kind, path) not in known:
            try:
                known[self.kind, path] = self.read(value, path)
            except OSError as problem:
                hint = "write a path relative to this file"
                raise Wrong(f"cannot read {path}: {problem.strerror}", hint) from None
        return known[self.kind, path]

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(self._value)

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        return {"type": "string", "format": "path"}


def wrong(reason: Wrong, location: tuple[int | str, ...], value: object) -> InitErrorDetails:
    """A line of a ValidationError."""
    return InitErrorDetails(type="value_error", loc=location, input=value, ctx={"error": reason})


def wrongs(*lines: InitErrorDetails) -> ValidationError:
    """What a validator raises to say what is wrong at places inside of its value."""
    return ValidationError.from_exception_data("value", list(lines))


def _again(error: ErrorDetails) -> InitErrorDetails:
    kind: str | PydanticCustomError = error["type"]
    return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"], ctx=error.get("ctx", {}))


def _name(text: str) -> str:
    if len(text) > NAME_LONGEST:
        raise Wrong(f"{quoted(text)} is longer than {NAME_LONGEST} characters", "write a shorter name")
    if not _NAME.fullmatch(text):
        likely = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
        likely = f"n{likely}" if likely[:1].isdigit() else likely
        hint = f"write for example {likely or 'north'}"
        rule = "lowercase letters and digits, single dashes between them, a letter first"
        raise Wrong(f"{quoted(text)} is no name ({rule})", hint)
    return text


def _zone(text: str) -> str:
    labels = text.split(".")
    if len(text) > _ZONE_LONGEST or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Wrong(
            f"{quoted(text)} is no DNS zone", "write two or more labels in lower case, as cdn.example"
        )
    return text


def _asn(number: int) -> int:
    if number in ASN_RESERVED:
        hint = "write for example 64496, which is for documentation"
        raise Wrong(f"{number} is reserved ({ASN_RESERVED[number]})", hint)
    if not 0 < number <= ASN_MOST:
        raise Wrong(f"{number} is no AS number", f"write one from 1 to {ASN_MOST}")
    return number


def _something(quantity: _Q) -> _Q:
    if not quantity:
        raise UnitError(
            f"{quantity.shown()} is nothing", f"write for example {quantity.example}", quantity.example
        )
    return quantity


def probability(value: object) -> Share:
    """A share that netem can draw: 0, or not so little that it would become 0."""
    share = Share.parse(value)
    if 0 < share * _NETEM_ONE < 0.5:
        raise UnitError(
            f"{share.shown()} is less than netem can draw", "write 0 or at least 0.00000002%", share.example
        )
    return share


def _line_rate(rate: Rate) -> Rate:
    if rate < 8:
        raise UnitError(f"{rate.shown()} is less than a byte per second", "write at least 8bit", rate.example)
    return rate


Name = Annotated[str, AfterValidator(_name)]
Zone = Annotated[str, AfterValidator(_zone)]
Asn = Annotated[int, AfterValidator(_asn), Field(json_schema_extra={"minimum": 1, "maximum": ASN_MOST})]
SomeTime = Annotated[Duration, AfterValidator(_something)]
SomeRate = Annotated[Rate, AfterValidator(_something)]
SomeSize = Annotated[Size, AfterValidator(_something)]
LineRate = Annotated[Rate, AfterValidator(_line_rate)]
Probability = Annotated[Share, AfterValidator(probability)]

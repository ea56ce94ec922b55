"""The types that topologies and scenarios are made of, each with an example for who gets it wrong."""

from __future__ import annotations

import dataclasses
import re
import typing
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    Strict,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

from testbed import registry
from testbed.refusal import PROBLEMS_MOST, Wrong, near, quoted, suggestion
from testbed.units import Duration, Quantity, Rate, Share, UnitError

_Q = TypeVar("_Q", bound=Quantity)

_NAME = re.compile(r"[a-z](?:-?[a-z0-9])*")
_NAME_LONGEST = 40
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ZONE_LONGEST = 200
_ASN_MOST = 2**32 - 2
_ASN_RESERVED = {0: "RFC 7607", 23456: "RFC 6793", 65535: "RFC 7300", 2**32 - 1: "RFC 7300"}


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


def wrong(reason: Wrong, location: tuple[int | str, ...], value: object) -> InitErrorDetails:
    """A line of a ValidationError."""
    return InitErrorDetails(type="value_error", loc=location, input=value, ctx={"error": reason})


def _again(error: ErrorDetails) -> InitErrorDetails:
    kind: str | PydanticCustomError = error["type"]
    return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"], ctx=error.get("ctx", {}))


def _name(text: str) -> str:
    if len(text) > _NAME_LONGEST:
        raise Wrong(f"{quoted(text)} is longer than {_NAME_LONGEST} characters", "write a shorter name")
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
    if number in _ASN_RESERVED:
        hint = "write for example 64496, which is for documentation"
        raise Wrong(f"{number} is reserved ({_ASN_RESERVED[number]})", hint)
    if not 0 < number <= _ASN_MOST:
        raise Wrong(f"{number} is no AS number", f"write one from 1 to {_ASN_MOST}")
    return number


def _something(quantity: _Q) -> _Q:
    if not quantity:
        raise UnitError(
            f"{quantity.shown()} is nothing", f"write for example {quantity.example}", quantity.example
        )
    return quantity


def _less_than_all(share: Share) -> Share:
    if share >= 1:
        raise UnitError(
            "100% lets nothing through", "write less; link-down is the fault for that", share.example
        )
    return share


Name = Annotated[str, AfterValidator(_name)]
Zone = Annotated[str, AfterValidator(_zone)]
Asn = Annotated[int, AfterValidator(_asn)]
SomeTime = Annotated[Duration, AfterValidator(_something)]
SomeRate = Annotated[Rate, AfterValidator(_something)]
Loss = Annotated[Share, AfterValidator(_less_than_all)]


@dataclass(frozen=True)
class OneOf:
    """Marks a field as any kind of a group of the registry, which its `kind` says."""

    group: str
    base: type

    def read(self, value: object) -> Any:
        """The dataclass of the kind, made of what was written; one that is made already is as good."""
        if isinstance(value, self.base):
            return value
        kinds = registry.kinds(self.group)
        among = f"write kind: and one of {', '.join(kinds)}"
        if not isinstance(value, dict):
            raise Wrong(f"{quoted(value)} stands where a mapping is due", among)
        if "kind" not in value:
            raise _lines(wrong(Wrong("is missing", among), ("kind",), value))
        kind = value["kind"]
        if not isinstance(kind, str) or kind not in kinds:
            hint = suggestion(str(kind), kinds, among)
            what = f"there is no kind {quoted(kind)} among the {self.group}"
            raise _lines(wrong(Wrong(what, hint), ("kind",), kind))
        found = kinds[kind]
        said = _written(found).model_validate(value)
        names = [field.name for field in dataclasses.fields(found)]
        try:
            return found(**{name: getattr(said, f"{name}_") for name in names})
        except ValueError as refused:
            what, _, hint = str(refused).partition("; ")
            raise Wrong(what, hint or f"write for example {_example(found)}") from None

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: object, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        kinds = registry.kinds(self.group).values()
        return {"oneOf": [handler(_written(kind).__pydantic_core_schema__) for kind in kinds]}


def _lines(*lines: InitErrorDetails) -> ValidationError:
    return ValidationError.from_exception_data("kind", list(lines))


@cache
def _written(kind: type) -> type[Model]:
    """A kind as the YAML has it; the fields end in `_`, for a parameter may be called as a method is."""
    example = _example(kind)
    hints = typing.get_type_hints(kind)
    fields: dict[str, Any] = {"kind_": (Literal[kind.kind], Field(alias="kind"))}  # type: ignore[attr-defined]
    for field in dataclasses.fields(kind):
        alias = field.name.replace("_", "-")
        hint = hints[field.name]
        if typing.get_origin(hint) in (tuple, set, frozenset):
            hint = Annotated[hint, Strict(False)]  # YAML has lists only
        shown = re.search(rf"[{{ ]{alias}: ([^,}}]+)", example)
        details: dict[str, Any] = {"alias": alias, "examples": [shown[1]] if shown else None}
        if field.default is not dataclasses.MISSING:
            details["default"] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            details["default_factory"] = field.default_factory
        fields[f"{field.name}_"] = (hint, Field(**details))
    return create_model(kind.__name__, __base__=Model, __doc__=kind.__doc__, **fields)


def _example(kind: type) -> str:
    """The example in YAML that a kind's docstring starts with."""
    return (kind.__doc__ or "").partition("\n")[0]

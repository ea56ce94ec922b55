"""The kinds of faults and checks as one may write them: a mapping whose `kind` says what else it has."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, Strict, ValidationInfo, create_model
from pydantic_core import core_schema

from testbed import registry
from testbed.arrivals.trace import TimesFile, times
from testbed.faults import CommunityName, Prefix
from testbed.impairments import Aqm, Jitter
from testbed.job import Loss
from testbed.model.bgp import AnyPrefix, CommunityText
from testbed.model.fields import Model, OfFile, Probability, wrong, wrongs
from testbed.model.link_words import AnyLossWord, AqmWord, JitterWord
from testbed.refusal import Wrong, quoted, suggestion
from testbed.units import Share


@dataclass(frozen=True)
class OneOf:
    """Marks a field as any kind of a group of the registry, which its `kind` says."""

    group: str
    base: type

    def read(self, value: object, info: ValidationInfo) -> Any:
        """The dataclass of the kind, made of what was written; one that is made already is as good."""
        if isinstance(value, self.base):
            return value
        kinds = registry.kinds(self.group)
        among = f"write kind: and one of {', '.join(kinds)}"
        if not isinstance(value, dict):
            raise Wrong(f"{quoted(value)} stands where a mapping is due", among)
        if "kind" not in value:
            raise wrongs(wrong(Wrong("is missing", among), ("kind",), value))
        kind = value["kind"]
        if not isinstance(kind, str) or kind not in kinds:
            hint = suggestion(str(kind), kinds, among)
            what = f"there is no kind {quoted(kind)} among the {self.group}"
            raise wrongs(wrong(Wrong(what, hint), ("kind",), kind))
        found = kinds[kind]
        said = written(found).model_validate(value, context=info.context)
        names = [field.name for field in dataclasses.fields(found)]
        try:
            return found(**{name: getattr(said, f"{name}_") for name in names})
        except ValueError as refused:
            what, _, hint = str(refused).partition("; ")
            raise Wrong(what, hint or f"write for example {_example(found)}") from None

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: object, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        kinds = registry.kinds(self.group).values()
        return {"oneOf": [handler(written(kind).__pydantic_core_schema__) for kind in kinds]}


@dataclass(frozen=True)
class OrName(OneOf):
    """As `OneOf`, but a kind that needs no parameters may also be written as its name alone."""

    def read(self, value: object, info: ValidationInfo) -> Any:
        """The dataclass of the kind, by its name or made of what was written."""
        if not isinstance(value, str):
            return super().read(value, info)
        kinds = registry.kinds(self.group)
        if value not in kinds:
            hint = suggestion(value, kinds, f"write one of {', '.join(kinds)}")
            raise Wrong(f"there is no kind {quoted(value)} among the {self.group}", hint)
        if value not in self._alone():
            raise Wrong(f"{value} needs more than its name", f"write {_example(kinds[value])}")
        return super().read({"kind": value}, info)

    def _alone(self) -> list[str]:
        """The kinds all of whose parameters have defaults."""
        return [
            name
            for name, kind in registry.kinds(self.group).items()
            if not any(
                field.is_required() for key, field in written(kind).model_fields.items() if key != "kind_"
            )
        ]

    def __get_pydantic_json_schema__(self, schema: object, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"enum": self._alone()}, super().__get_pydantic_json_schema__(schema, handler)]}


@cache
def written(kind: type) -> type[Model]:
    """A kind as the YAML has it; the fields end in `_`, for a parameter may be called as a method is."""
    example = _example(kind)
    hints = typing.get_type_hints(kind)
    fields: dict[str, Any] = {"kind_": (Literal[kind.kind], Field(alias="kind"))}  # type: ignore[attr-defined]
    for field in dataclasses.fields(kind):
        alias = field.name.rstrip("_").replace("_", "-")  # one may be a word of Python
        hint = _in_yaml(hints[field.name])
        shown = re.search(rf"[{{ ]{alias}: (\[[^\]]*\]|[^,}}]+)", example)
        details: dict[str, Any] = {"alias": alias, "examples": [shown[1]] if shown else None}
        if field.default is not dataclasses.MISSING:
            details["default"] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            details["default_factory"] = field.default_factory
        fields[f"{field.name}_"] = (hint, Field(**details))
    return create_model(kind.__name__, __base__=Model, __doc__=kind.__doc__, **fields)


# How one writes what a parameter is.
_IN_YAML: dict[Any, Any] = {
    Jitter: JitterWord, Loss: AnyLossWord, Aqm: AqmWord, Share: Probability, Prefix: AnyPrefix,
    CommunityName: CommunityText, TimesFile: Annotated[TimesFile, OfFile(TimesFile, times)],
}  # fmt: skip


def _in_yaml(hint: Any) -> Any:
    """The type of a parameter, with how one writes it."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return reduce(or_, map(_in_yaml, typing.get_args(hint)))
    if (kind := typing.get_origin(hint)) in (tuple, set, frozenset):
        items = tuple(map(_in_yaml, typing.get_args(hint)))
        return Annotated[kind[items], Strict(False)]  # YAML has lists only
    return hint if hint is Ellipsis else _IN_YAML.get(hint, hint)


def _example(kind: type) -> str:
    """The example in YAML that a kind's docstring starts with."""
    return (kind.__doc__ or "").partition("\n")[0]

"""Captures as one may write them: of which links, when, which packets, and how much of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, GetJsonSchemaHandler, Tag
from pydantic_core import core_schema

from testbed import bpf
from testbed.faults import Fault
from testbed.model.fields import Model
from testbed.refusal import Wrong, quoted
from testbed.units import Duration, Size, UnitError

EVERY: Literal["all"] = "all"
REST = "rest"  # in a mapping of classes: the packets that no other class takes
_LEAST = Size.parse("64B")
_LIKE_TCPDUMP = 'write one as for tcpdump (pcap-filter(7)), for example "tcp port 443"'
_AROUND = re.compile(r"(\S+)\s+around\s+faults")


# A node's name where pcap-filter(7) takes a host's; else the DNS would be asked.
_HOST = re.compile(
    r"\b(host|src|dst)(\s+)(?!(?:host|port|portrange|net|and|or|not)\b)([A-Za-z][\w.-]*)(?![\w.:-])"
)
_ANY_HOST = "192.0.2.1"  # RFC 5737


def hosts(text: str) -> list[str]:
    """The nodes that an expression names."""
    return [match[3] for match in _HOST.finditer(text)]


def addressed(text: str, addresses: Callable[[str], Sequence[str]]) -> str:
    """The expression with the addresses of each node that it names, any of which will do."""
    return _HOST.sub(lambda match: f"{match[1]}{match[2]}({' or '.join(addresses(match[3]))})", text)


def expression(text: str) -> str:
    """An expression that libpcap compiles."""
    try:
        bpf.compiled(addressed(text, lambda _: [_ANY_HOST]))
    except bpf.FilterError as refused:
        said = str(refused).removeprefix("can't parse filter expression: ")
        raise Wrong(f"{quoted(text)} is no filter ({said})", _LIKE_TCPDUMP) from None
    return text


@dataclass(frozen=True)
class Snap:
    """How much is kept of each packet: of the first class that takes it, else of the rest.

    A length is `headers`, `whole`, or bytes.
    """

    rest: str | int = "headers"
    classes: tuple[tuple[str, str | int], ...] = ()

    words: ClassVar = {"headers": bpf.assemble(), "whole": bpf.returning(bpf.WHOLE_BYTES)}

    def program(self, takes: str, addresses: Callable[[str], Sequence[str]] = lambda name: [name]) -> bytes:
        """The packet filter that keeps so much of the packets that `takes` describes.

        `addresses` tells those of the nodes that expressions name.
        """
        classes = [(addressed(text, addresses), self._length(kept)) for text, kept in self.classes]
        return bpf.keeping(addressed(takes, addresses), classes, self._length(self.rest))

    def _length(self, kept: str | int) -> bytes:
        return self.words[kept] if isinstance(kept, str) else bpf.returning(kept)

    @classmethod
    def read(cls, value: object) -> Snap:
        """What was written, as a word, a size, or a mapping from expressions to these."""
        if isinstance(value, Snap):
            return value
        if not isinstance(value, dict):
            return cls(_kept(value))
        classes = tuple((expression(str(text)), _kept(kept)) for text, kept in value.items() if text != REST)
        return cls(_kept(value.get(REST, "headers")), classes)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.read)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        size = Size.__get_pydantic_json_schema__(None, None)["anyOf"][0]
        length = [{"type": "string", "enum": list(cls.words)}, size]
        return {"anyOf": [*length, {"type": "object", "additionalProperties": {"anyOf": length}}]}


def _kept(value: object) -> str | int:
    if isinstance(value, str) and value in Snap.words:
        return value
    try:
        size = Size.parse(value)
    except UnitError:
        hint = "write headers, whole, or for example 96B"
        raise Wrong(f"{quoted(value)} is no length of packets", hint) from None
    if size < _LEAST:
        raise Wrong(f"{size.shown()} would cut headers off", f"write at least {_LEAST.shown()}, or headers")
    return min(int(size), bpf.WHOLE_BYTES)


def _around(value: object) -> object:
    if value is None or isinstance(value, Duration):
        return value
    found = _AROUND.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise Wrong(f"{quoted(value)} says not what to keep", 'write for example "60s around faults"')
    return Duration.parse(found[1])


class _Around:
    """The JSON Schema of a time around faults."""

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^\S+ around faults$"}


class CaptureSpec(Model):
    """What is captured of some links."""

    links: Annotated[
        Annotated[Literal["all"], Tag("all")] | Annotated[list[str], Tag("list")],
        Discriminator(lambda value: "list" if isinstance(value, list) else "all"),
    ] = Field("all", description="all: every link that no other entry names")
    from_: Duration | None = Field(
        None, alias="from", description="of the scenario; by default from when there is a network, before it"
    )
    to: Duration | None = Field(None, description="by default to the end")
    filter: Annotated[str, AfterValidator(expression)] = Field(
        "",
        description="which packets, as for tcpdump (pcap-filter(7)); hosts are nodes",
        examples=["tcp port 443"],
    )
    snap: Snap = Field(
        default_factory=Snap,
        description="how much of each packet: `headers` (128 bytes; all of ARP, ICMP, DNS, BGP), `whole`, or"
        " a size; or a mapping from filters to that, with `rest` for all others",
        examples=['{"tcp port 443": whole}'],
    )
    ring: Annotated[Duration | None, BeforeValidator(_around), _Around()] = Field(
        None, description="keeps windows around faults only", examples=["60s around faults"]
    )

    def expressions(self) -> Iterator[tuple[str, str]]:
        """The key and the text of every expression in it."""
        yield "filter", self.filter
        yield from (("snap", text) for text, _ in self.snap.classes)

    def windows(self, faults: Iterable[Fault]) -> list[tuple[int | None, int | None]]:
        """When it captures, from and until in ns, rising and apart; None: from before all, to the end."""
        if self.ring is None:
            ends = (None if each is None else int(each) for each in (self.from_, self.to))
            return [(next(ends), next(ends))]
        margin = int(self.ring)
        found: list[tuple[int, int]] = []
        for begin, end in sorted((int(f.at) - margin, int(f.at) + int(f.lasts) + margin) for f in faults):
            if found and begin <= found[-1][1]:
                found[-1] = found[-1][0], max(end, found[-1][1])
            else:
                found.append((max(begin, 0), end))
        return list(found)


def written(links: Literal["all"] | list[str]) -> CaptureSpec:
    """The entry that a name alone stands for."""
    return CaptureSpec.model_validate({"links": links})


def _captures(value: object) -> object:
    if isinstance(value, list):
        return [written(EVERY) if each == EVERY else each for each in value]
    if value == EVERY:
        return value
    raise Wrong(f"{quoted(value)} is no list of links", "write all, or a list as [north.core--ix]")


def _entry(value: object) -> str:
    return "entry" if isinstance(value, (dict, CaptureSpec)) else "link"


Entry = Annotated[
    Annotated[str, Tag("link")] | Annotated[CaptureSpec, Tag("entry")],
    Discriminator(_entry),
]
Captures = Annotated[
    Annotated[Literal["all"], Tag("all")] | Annotated[list[Entry], Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "all"),
    BeforeValidator(_captures),
]


def entries(captures: Literal["all"] | list[str | CaptureSpec]) -> list[CaptureSpec]:
    """The entries of `captures`, each written out."""
    listed: list[str | CaptureSpec] = [EVERY] if captures == EVERY else list(captures)
    return [
        each if isinstance(each, CaptureSpec) else written(EVERY if each == EVERY else [each])
        for each in listed
    ]

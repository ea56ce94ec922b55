"""A draft is a topology on its way in: what was found elsewhere, in our words, and what had to be assumed.

It is written as a person would write it: in a fixed order, a line a link, with what was assumed on top.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed.model import yaml11
from testbed.model.fields import NAME_LONGEST

LISTED_MOST = 8  # names that a note repeats
ASN = 64496  # the first of those for documentation (RFC 5398), for a network that has none

_COLUMNS = 100
# Letters that Unicode does not take apart into a Latin one and a mark.
_LATIN = str.maketrans({"ø": "o", "ß": "ss", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th",
                        "\u0131": "i"})  # fmt: skip

Words = dict[str, Any]  # a word of the YAML and its value: text, a number, yes or no, or words again


@dataclass
class Isp:
    """An AS, and its routers with what is to be said of each beside it."""

    asn: int
    told: str = ""  # what is to be said of the AS itself
    routers: dict[str, str] = field(default_factory=dict)


@dataclass
class Draft:
    """A topology that is being imported; words are values of the YAML, as they are written there."""

    name: str
    source: list[str]  # where it is from, a paragraph each
    defaults: Words = field(default_factory=dict)
    isps: dict[str, Isp] = field(default_factory=dict)
    switches: dict[str, Words] = field(default_factory=dict)
    hosts: dict[str, Words] = field(default_factory=dict)
    links: list[tuple[str, str, Words]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def yaml(self) -> str:
        """The topology's file."""
        lines = [line for paragraph in self.source for line in _comment(paragraph, "# ")]
        if self.notes:
            lines += ["#", "# What was assumed:"]
            lines += [line for note in self.notes for line in _comment(note, "# - ")]
        lines += [f"name: {_scalar(self.name)}"]
        if self.defaults:
            lines += ["", "defaults:", f"  link: {_flow(self.defaults)}"]
        if self.isps:
            lines += ["", "isps:", *self._isps()]
        for title, group in (("switches", self.switches), ("hosts", self.hosts)):
            if group:
                lines += ["", f"{title}:"]
                lines += [f"  {_scalar(name)}: {_flow(words)}" for name, words in group.items()]
        if self.links:
            lines += ["", "links:"]
            lines += [
                f"  - {{endpoints: [{_scalar(a)}, {_scalar(b)}]"
                + "".join(f", {_pair(*word)}" for word in words.items())
                + "}"
                for a, b, words in self.links
            ]
        return "\n".join(lines) + "\n"

    def _isps(self) -> Iterable[str]:
        for name, isp in self.isps.items():
            if not any(isp.routers.values()):
                routers = ", ".join(map(_scalar, isp.routers))
                yield f"  {_scalar(name)}: {{asn: {isp.asn}, routers: [{routers}]}}" + _beside(isp.told)
                continue
            yield from (f"  {_scalar(name)}:", f"    asn: {isp.asn}", "    routers:")
            for router, told in isp.routers.items():
                yield f"      - {_scalar(router)}" + _beside(told)


class Names:
    """Names of ours for what others call anything: valid, and never the same one twice."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = set(taken)

    def take(self, label: str, otherwise: str) -> str:
        """The name nearest to a label that is still free; `otherwise` where no letter or digit is in it."""
        name = spelt(label) or otherwise
        number, free = 1, name
        while free in self.taken:
            number += 1
            free = f"{name[: NAME_LONGEST - len(str(number)) - 1].rstrip('-')}-{number}"
        self.taken.add(free)
        return free


def spelt(label: str) -> str:
    """A label as a name is spelt: lowercase letters and digits, a letter first; may leave nothing."""
    plain = unicodedata.normalize("NFKD", label.lower().translate(_LATIN)).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return (f"n{name}" if name[:1].isdigit() else name)[:NAME_LONGEST].rstrip("-")


def listed(names: Iterable[str]) -> str:
    """Names in a note, those at the start of many."""
    every = [one_line(name) for name in names]
    more = len(every) - LISTED_MOST
    return ", ".join(every if more <= 0 else [*every[:LISTED_MOST], f"and {more} more"])


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 link, 2 links."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def one_line(text: str) -> str:
    """What others wrote, without what YAML allows in no comment."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


def _comment(text: str, start: str) -> list[str]:
    return textwrap.wrap(
        one_line(text), _COLUMNS, initial_indent=start,
        subsequent_indent="#" + " " * (len(start) - 1), break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _beside(text: str) -> str:
    return f" # {one_line(text)}" if text else ""


def _flow(words: Mapping[str, object]) -> str:
    return "{" + ", ".join(_pair(*word) for word in words.items()) + "}"


def _pair(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        return f"{key}: {_flow(value)}"
    if isinstance(value, str):
        return f"{key}: {_scalar(value)}"
    return f"{key}: {str(value).lower()}"


def _scalar(text: str) -> str:
    """A word in quotes where YAML takes it for something else: Norway's code is no, not false."""
    plain = re.fullmatch(r"[A-Za-z0-9][\w.%+-]*", text, re.ASCII)
    return text if plain and yaml11.trap(text) is None and isinstance(yaml11.read(text), str) else f'"{text}"'

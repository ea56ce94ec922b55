"""A breach is a rule broken at a place of a document, with what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from testbed.model.document import Location
from testbed.model.topology import CDN
from testbed.refusal import quoted, suggestion


def network_at(name: str) -> Location:
    """Where a network is described: an ISP among the others, the CDN by itself."""
    return (CDN,) if name == CDN else ("isps", name)


class Breach(NamedTuple):
    """A rule broken at a place of the document."""

    location: Location
    what: str
    hint: str
    on_key: bool = False
    warns: bool = False  # it is no rule, but hardly ever what one wants


def absent(what: str, name: str, there: Iterable[str], otherwise: str) -> tuple[str, str]:
    """What to say of a name that does not exist."""
    return f"there is no {what} {quoted(name)}", suggestion(name, there, otherwise)

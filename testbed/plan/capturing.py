"""Which links are captured when, and the packet filter of each window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import Window
from testbed.model.captures import EVERY, Snap, entries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from testbed.model.schema import Scenario


Windows = dict[str, tuple[Window, ...]]


def capturing(
    scenario: Scenario, links: Sequence[str], addresses: Callable[[str], Sequence[str]]
) -> tuple[tuple[str, ...], Windows]:
    """The names of the links captured, and the windows of those that are not captured whole.

    `addresses` tells those of a node.
    """
    names = {either: name for name in links for either in (name, "--".join(reversed(name.split("--"))))}
    listed = entries(scenario.captures)
    named = {names[link] for spec in listed if spec.links != EVERY for link in spec.links}
    found: dict[str, list[Window]] = {}
    for spec in listed:
        usual = not spec.filter and spec.snap == Snap()
        program = "" if usual else spec.snap.program(spec.filter, addresses).hex()
        windows = [
            Window(from_ns=begin, until_ns=end, filter=spec.filter, program=program)
            for begin, end in spec.windows(scenario.faults)
        ]
        for link in (name for name in links if name not in named) if spec.links == EVERY else spec.links:
            found.setdefault(names[link], []).extend(windows)
    whole = [Window()]
    told = {
        link: tuple(sorted(windows, key=lambda each: (each.from_ns is not None, each.from_ns)))
        for link, windows in found.items()
        if windows != whole
    }
    return tuple(found), told

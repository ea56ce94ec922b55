"""Which links are captured when, and the packet filter of each window; BGP and probes are captured always."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from testbed.job import ALWAYS, Window
from testbed.model.captures import EVERY, CaptureSpec, Snap, entries

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from testbed.model.schema import Scenario

    Addresses = Callable[[str], Sequence[str]]

_BGP = "tcp port 179"

Windows = dict[str, tuple[Window, ...]]


def capturing(
    scenario: Scenario, links: Sequence[str], speaking: Container[str], addresses: Addresses
) -> tuple[tuple[str, ...], Windows]:
    """The names of the links captured, and the windows of those that are not captured whole.

    `speaking` are those that BGP sessions may cross: of them BGP, and probes, are captured whatever else is.
    `addresses` tells those of a node.
    """
    names = {either: name for name in links for either in (name, "--".join(reversed(name.split("--"))))}
    listed = entries(scenario.captures)
    named = {names[link] for spec in listed if spec.links != EVERY for link in spec.links}
    found: dict[str, list[Window]] = {}
    for spec in listed:
        programs = {speaks: _program(spec, addresses, speaks=speaks) for speaks in (False, True)}
        spans = spec.windows(scenario.faults)
        for link in (name for name in links if name not in named) if spec.links == EVERY else spec.links:
            takes, program = programs[names[link] in speaking]
            found.setdefault(names[link], []).extend(
                Window(from_ns=begin, until_ns=end, filter=takes, program=program) for begin, end in spans
            )
    told = {
        link: tuple(sorted(windows, key=lambda each: (each.from_ns is not None, each.from_ns)))
        for link, windows in found.items()
    }
    alone = Window(filter=ALWAYS, program=Snap().program(ALWAYS).hex())
    told |= {link: _filled(told.get(link, ()), alone) for link in links if link in speaking}
    whole = (Window(),)
    captured = tuple(link for link in links if link in told)
    return captured, {link: told[link] for link in captured if told[link] != whole}


def _program(spec: CaptureSpec, addresses: Addresses, *, speaks: bool) -> tuple[str, str]:
    """What an entry takes, in words and as a program; nothing where it is all, as always."""
    takes, snap = spec.filter, spec.snap
    if not takes and snap == Snap():
        return "", ""
    if speaks:
        takes = f"({takes}) or {ALWAYS}" if takes else ""
        snap = snap if snap == Snap() else replace(snap, classes=((_BGP, "whole"), *snap.classes))
    return takes, snap.program(takes, addresses).hex()


def _filled(windows: tuple[Window, ...], alone: Window) -> tuple[Window, ...]:
    """Windows, rising and apart, and others between them, so that there is always one."""
    found: list[Window] = []
    until: int | None = None
    for window in windows:
        if window.from_ns is not None and window.from_ns != until:
            found.append(replace(alone, from_ns=until, until_ns=window.from_ns))
        found.append(window)
        until = window.until_ns
    if not windows or until is not None:
        found.append(replace(alone, from_ns=until))
    return tuple(found)

"""The rules of a scenario that no field can tell by itself: names, and what must fit into its time."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator
from itertools import chain, pairwise

from testbed.faults import (
    ExpiredOcaName,
    Fault,
    LinkName,
    NeighborName,
    NodeName,
    OcaName,
    PopulationName,
    RouterName,
    TitleName,
)
from testbed.model import probes
from testbed.model.breach import Breach, absent
from testbed.model.captures import EVERY, CaptureSpec, entries, hosts
from testbed.model.document import Location
from testbed.model.scenario import Scenario, TitleSpec
from testbed.model.topology import Topology
from testbed.model.workload_rules import workload
from testbed.refusal import near, quoted
from testbed.units import show_duration, show_rate

_SEGMENTS_MOST = 100_000


def breaches(scenario: Scenario, topology: Topology | None) -> Iterator[Breach]:
    """Every rule that a scenario breaks; names are judged only where there is a topology."""
    for name, title in scenario.titles.items():
        yield from _title(title, ("titles", name))
    yield from _content(scenario, topology)
    yield from _fill(scenario, topology)
    yield from workload(scenario, topology)
    for place, each in scenario.traffic:
        if topology is not None:
            yield from _targets(scenario, topology, each, ("workload", place))
    for place, fault in enumerate(scenario.faults):
        yield from _times(scenario, fault, ("faults", place))
        if topology is not None:
            yield from _targets(scenario, topology, fault, ("faults", place))
    if topology is not None:
        for place, check in enumerate(scenario.checks):
            yield from _targets(scenario, topology, check, ("checks", place))
    yield from _captures(scenario, topology)
    yield from probes.breaches(scenario.probes, scenario.faults, topology)


def _content(scenario: Scenario, topology: Topology | None) -> Iterator[Breach]:
    for oca, titles in scenario.content.items():
        if topology is not None and oca not in topology.ocas:
            yield Breach(
                ("content", oca), *absent("OCA", oca, topology.ocas, "write the name of one"), on_key=True
            )
        for place, title in enumerate(titles):
            if title not in scenario.titles:
                otherwise = "describe it under titles:"
                yield Breach(("content", oca, place), *absent("title", title, scenario.titles, otherwise))


def _fill(scenario: Scenario, topology: Topology | None) -> Iterator[Breach]:
    if scenario.fill is None:
        return
    named: list[tuple[Location, str]] = [
        (("fill", "popularity", place), title) for place, title in enumerate(scenario.fill.popularity)
    ]
    clusters = {oca.cluster or oca.at for oca in topology.ocas.values()} if topology else set[str]()
    for cluster, titles in scenario.fill.manifests.items():
        if topology is not None and cluster not in clusters:
            said = absent("cluster of OCAs", cluster, sorted(clusters), "write the router of an OCA")
            yield Breach(("fill", "manifests", cluster), *said, on_key=True)
        named += [(("fill", "manifests", cluster, place), title) for place, title in enumerate(titles)]
    for where, title in named:
        if title not in scenario.titles:
            yield Breach(where, *absent("title", title, scenario.titles, "describe it under titles:"))
    for place, window in enumerate(scenario.fill.windows):
        here: Location = ("fill", "windows", place)
        if window.at >= scenario.duration:
            what = f"{window.at.shown()} is not before the scenario's end at {scenario.duration.shown()}"
            yield Breach((*here, "at"), what, f"write less than {scenario.duration.shown()}")
        if window.every is not None and window.every <= window.lasts:
            what = f"{window.every.shown()} is no longer than the window of {window.lasts.shown()}"
            yield Breach((*here, "every"), what, "write a longer time, or one window without every")


def _title(title: TitleSpec, here: Location) -> Iterator[Breach]:
    for source, keys in (
        ("media", ("file", "length", "segment", "bitrates")),
        ("file", ("segment", "bitrates")),
    ):
        if getattr(title, source) is not None:
            for key in keys:
                if getattr(title, key):
                    yield Breach(
                        (*here, key), f"the {source} says it", f"delete {key}, or {source}", on_key=True
                    )
            return
    for key, example in (("length", "120s"), ("segment", "4s"), ("bitrates", "[235kbit, 750kbit, 1750kbit]")):
        if not getattr(title, key):
            hint = f"write {key}: {example}, or file: and a list of segment sizes"
            yield Breach((*here, key), "is missing or empty", hint)
    if title.length and title.segment:
        if title.length < title.segment:
            what = f"{title.length.shown()} is less than a segment of {title.segment.shown()}"
            yield Breach((*here, "length"), what, "write a longer length or a shorter segment")
        elif title.length > title.segment * _SEGMENTS_MOST:
            hint = "write a longer segment or a shorter length"
            yield Breach((*here, "segment"), f"makes more than {_SEGMENTS_MOST:,} segments", hint)
    for place, rate in enumerate(title.bitrates):
        if rate % 1000:
            hint = f"write for example {show_rate(max(1000, rate // 1000 * 1000))}"
            yield Breach((*here, "bitrates", place), f"{rate.shown()} is no whole number of kbit", hint)
    for place, (low, high) in enumerate(pairwise(title.bitrates), start=1):
        if low >= high:
            what = f"{high.shown()} comes after {low.shown()}"
            yield Breach((*here, "bitrates", place), what, "write the bitrates rising, each once")


def _times(scenario: Scenario, fault: Fault, here: Location) -> Iterator[Breach]:
    end = scenario.duration
    if not fault.lasts:
        yield Breach((*here, "lasts"), "0s is no time to fail in", "write for example 30s")
    elif fault.at >= end:
        what = f"{fault.at.shown()} is not before the scenario's end at {end.shown()}"
        yield Breach((*here, "at"), what, f"write less than {end.shown()}, or a longer duration")
    elif fault.at + fault.lasts >= end:
        over = show_duration(fault.at + fault.lasts)
        what = f"the fault would end at {over}, not before the scenario's end at {end.shown()}"
        yield Breach(
            (*here, "lasts"), what, f"write less than {show_duration(end - fault.at)}, or a longer duration"
        )


def _captures(scenario: Scenario, topology: Topology | None) -> Iterator[Breach]:
    """What entries of `captures` name, and that no link is captured twice at one time."""
    taken: dict[str, list[tuple[float, float]]] = {}
    for place, spec in enumerate(entries(scenario.captures)):
        here: Location = ("captures", place)
        plain = scenario.captures == EVERY or isinstance(scenario.captures[place], str)
        names = [EVERY] if spec.links == EVERY else list(dict.fromkeys(spec.links))
        for number, link in enumerate(names):
            if topology is not None and link != EVERY:
                yield from _link(topology, link, here if plain else (*here, "links", number))
        for key, text in spec.expressions():
            for name in hosts(text):
                if topology is not None and not topology.has_node(name):
                    yield Breach((*here, key), *absent("node", name, topology.nodes, "write a node's name"))
        if wrong := _window(scenario, spec):
            key, what, hint = wrong
            yield Breach((*here, key), what, hint)
            continue
        for link in names:
            ends = taken.setdefault("--".join(sorted(link.split("--"))), [])
            for begin, end in spec.windows(scenario.faults):
                since, until = -math.inf if begin is None else begin, math.inf if end is None else end
                if twice := [other for other in ends if since < other[1] and other[0] < until]:
                    at = max(since, twice[0][0])
                    when = "" if at == -math.inf else f" at {show_duration(int(at))}"
                    hint = "name it once, or let one entry end before the other begins"
                    yield Breach(here, f"{link} is captured twice{when}", hint)
                    break
                ends.append((since, until))


def _window(scenario: Scenario, spec: CaptureSpec) -> tuple[str, str, str] | None:
    """The key of an entry whose time cannot be, what is wrong, and a hint; None if all is well."""
    end = scenario.duration
    if spec.ring is not None:
        if spec.from_ is not None or spec.to is not None:
            return "ring", "says when, and so do from and to", "delete ring, or from and to"
        if not scenario.faults:
            return "ring", "there are no faults to be around", "delete ring, or describe faults:"
    if spec.from_ is not None and spec.from_ >= end:
        what = f"{spec.from_.shown()} is not before the scenario's end at {end.shown()}"
        return "from", what, f"write less than {end.shown()}"
    if spec.to is not None and spec.to <= (spec.from_ or 0):
        after = spec.from_.shown() if spec.from_ else "0s"
        return "to", f"{spec.to.shown()} is not after {after}", "write a later time, or delete it"
    return None


def _targets(scenario: Scenario, topology: Topology, kind: object, here: Location) -> Iterator[Breach]:
    """The names among the parameters of a fault or check, as their types tell."""
    for parameter, hint in typing.get_type_hints(type(kind)).items():
        value = getattr(kind, parameter)
        location = (*here, parameter.rstrip("_").replace("_", "-"))
        types = {hint, *typing.get_args(hint)}
        if isinstance(value, (list, tuple)):
            named = [((*location, place), item) for place, item in enumerate(value)]
        else:
            named = [(location, value)]
        for where, name in named:
            if not isinstance(name, str):
                continue
            if LinkName in types:
                yield from _link(topology, name, where)
            elif types & {OcaName, ExpiredOcaName} and name not in topology.ocas:
                yield Breach(where, *absent("OCA", name, topology.ocas, "write one of the topology's ocas"))
            elif TitleName in types and name not in scenario.titles:
                otherwise = "describe it under titles:"
                yield Breach(where, *absent("title", name, scenario.titles, otherwise))
            elif PopulationName in types and name not in topology.populations:
                known = topology.populations
                yield Breach(where, *absent("population of clients", name, known, "write <isp>.<population>"))
            elif RouterName in types and name not in topology.routers:
                yield Breach(where, *absent("router", name, topology.routers, "write a router"))
            elif NeighborName in types:
                router = getattr(kind, "router", "")
                others = topology.neighbors(router)
                if router in topology.routers and name not in others:
                    _, write = absent("neighbour", name, others, "it has none across a border")
                    yield Breach(where, f"{router} has no BGP session with {quoted(name)}", write)
            elif NodeName in types and not topology.has_node(name):
                yield Breach(where, *absent("node", name, topology.nodes, "write a node of the topology"))


def _link(topology: Topology, name: str, where: Location) -> Iterator[Breach]:
    if not topology.has_link(name):
        flipped = ("--".join(reversed(wire.split("--"))) for wire in topology.wires)
        match = near(name, sorted(chain(topology.wires, flipped)))
        example = topology.wire_name(topology.links[0]) if topology.links else min(topology.wires, default="")
        otherwise = f"write for example {example}" if example else "delete it: the topology has no links"
        hint = f"did you mean {match}?" if match else otherwise
        yield Breach(where, f"there is no link {quoted(name)}", hint)

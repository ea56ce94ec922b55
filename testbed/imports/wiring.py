"""Nodes and the wires between them, as container and emulation tools have them, become a topology.

There everything is a node with interfaces. Here a host has one link, to a router or a switch, and what has
several forwards, so it is a router; the routers are of one AS unless the file knows better.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from testbed.imports.draft import ASN, Draft, Isp, Names, Words, count, listed
from testbed.model.link import IPV6_LEAST
from testbed.model.reach import closure
from testbed.model.schema import LinkSpec
from testbed.refusal import quoted

LAB = "lab"  # the AS of routers that belong to none


@dataclass
class Node:
    """A node as it was found; without a kind it is a router if it has several links, else a host."""

    kind: str = ""  # host, switch, router
    name: str = ""  # what it was called when it was exported from a topology of ours, as north.core
    asn: int = 0
    words: Words = field(default_factory=dict)


@dataclass
class Wire:
    """A link as it was found."""

    a: str
    b: str
    words: Words = field(default_factory=dict)


def draft(
    name: str, source: list[str], nodes: Mapping[str, Node], wires: list[Wire], notes: list[str]
) -> Draft:
    """The draft of nodes and wires; what has to change for it is added to the notes."""
    made = Draft(name=name, source=source, notes=notes)
    wires = _single(wires, notes)
    beside: dict[str, list[str]] = {node: [] for node in nodes}
    for wire in wires:
        beside[wire.a].append(wire.b)
        beside[wire.b].append(wire.a)
    kept = _joined(beside, notes)
    kinds = _kinds({node: nodes[node] for node in kept}, beside, notes)
    names = _named(kinds, nodes, made)
    hosts = {node for node, kind in kinds.items() if kind == "host"}
    for node in kept:
        if node in hosts:
            made.hosts[names[node]] = {}  # in the order of the nodes, whatever that of the links
    for wire in wires:
        if wire.a not in kinds or wire.b not in kinds:
            continue
        if hosts.isdisjoint((wire.a, wire.b)):
            made.links.append((names[wire.a], names[wire.b], wire.words))
            continue
        host, at = (wire.a, wire.b) if wire.a in hosts else (wire.b, wire.a)
        words = {key: value for key, value in wire.words.items() if key not in ("forward", "backward")}
        if len(words) < len(wire.words):
            notes.append(f"{host} has one shape for both directions; what only one of them had is left out.")
        made.hosts[names[host]] = {"at": names[at], **words}
    switches = {node: [other for other in beside[node] if kinds.get(other) == "switch"]
                for node, kind in kinds.items() if kind == "switch"}  # fmt: skip
    looped = _looped(switches)
    for node in switches:
        stp = bool(nodes[node].words.get("stp")) or node in looped
        made.switches[names[node]] = {"stp": True} if stp else {}
    if missing := [node for node in switches if node in looped and not nodes[node].words.get("stp")]:
        notes.append(
            f"The switches are joined in a loop, so they speak the spanning tree protocol: {listed(missing)}."
        )
    return made


def accepted(words: Words, where: str, notes: list[str]) -> Words:
    """Those of the words for a link that a topology may have; the others become notes."""
    good: Words = {}
    for key, value in words.items():
        if key == "mtu" and isinstance(value, int) and value < IPV6_LEAST:
            notes.append(
                f"{where}: an MTU of {value} is left out, since IPv6 has at least {IPV6_LEAST} (RFC 8200)."
            )
            continue
        try:
            LinkSpec.model_validate({key: value})
        except ValidationError as refused:
            why = refused.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            notes.append(f"{where}: {key} {quoted(value)} is left out ({why}).")
        else:
            good[key] = value
    spec = LinkSpec.model_validate(good)
    if spec.jitter is not None and spec.jitter.by_ns > (spec.delay or 0):
        del good["jitter"]
        notes.append(f"{where}: the jitter is left out, since it is more than the delay.")
    return good


def _single(wires: list[Wire], notes: list[str]) -> list[Wire]:
    """The wires without loops and repetitions."""
    single: dict[frozenset[str], Wire] = {}
    loops, parallel = [], []
    for wire in wires:
        if wire.a == wire.b:
            loops.append(wire.a)
        elif single.setdefault(frozenset((wire.a, wire.b)), wire) is not wire:
            parallel.append(f"{wire.a} to {wire.b}")
    if loops:
        notes.append(f"Links of a node with itself are left out: {listed(loops)}.")
    if parallel:
        notes.append(f"Of parallel links only the first is here: {listed(parallel)}.")
    return list(single.values())


def _joined(beside: Mapping[str, Iterable[str]], notes: list[str]) -> list[str]:
    """The nodes that have links."""
    alone = [node for node, others in beside.items() if not others]
    if alone:
        notes.append(f"Without a link, and so left out: {listed(alone)}.")
    return [node for node in beside if node not in alone]


def _kinds(nodes: Mapping[str, Node], beside: Mapping[str, list[str]], notes: list[str]) -> dict[str, str]:
    kinds = {
        name: node.kind or ("router" if len(beside[name]) > 1 else "host") for name, node in nodes.items()
    }
    several = [name for name, kind in kinds.items() if kind == "host" and len(beside[name]) > 1]
    kinds |= dict.fromkeys(several, "router")
    if several:
        notes.append(f"A host has one link, so these, which have several, are routers: {listed(several)}.")
    direct = [
        name for name, kind in kinds.items()
        if kind == "host" and kinds[beside[name][0]] == "host"
    ]  # fmt: skip
    kinds |= dict.fromkeys(direct, "router")
    if direct:
        notes.append(f"A host's link leads to a router or switch, so these are routers: {listed(direct)}.")
    return kinds


def _named(kinds: Mapping[str, str], nodes: Mapping[str, Node], made: Draft) -> dict[str, str]:
    """The name of every node; ISPs with their routers are added to the draft."""
    exported = {node.name for node in nodes.values() if node.name}
    free = Names([LAB, *exported, *(name.partition(".")[0] for name in exported)])
    within: dict[str, Names] = {}
    names, renamed = {}, []
    for node, kind in kinds.items():
        isp, _, router = nodes[node].name.rpartition(".")
        if kind != "router":
            names[node] = nodes[node].name if nodes[node].name and not isp else free.take(node, "node")
        else:
            isp = isp or LAB
            own = within.setdefault(isp, Names())
            named = own.take(router or node, "router")
            taken = {n.asn for n in nodes.values()} | {known.asn for known in made.isps.values()}
            free_asn = next(asn for asn in itertools.count(ASN) if asn not in taken)
            network = made.isps.setdefault(isp, Isp(nodes[node].asn or free_asn))
            network.routers[named] = ""
            names[node] = f"{isp}.{named}"
        if names[node].rpartition(".")[2] != node and not nodes[node].name:
            renamed.append(f"{node} is {names[node]}")
    if renamed:
        made.notes.append(f"Renamed: {listed(renamed)}.")
    if LAB in made.isps:
        number, asn = len(made.isps[LAB].routers), made.isps[LAB].asn
        made.notes.append(
            f"{count(number, 'router')} of one network, {LAB}, with an AS for documentation, {asn}."
        )
    return names


def _looped(switches: Mapping[str, Iterable[str]]) -> set[str]:
    """The switches of every group that has a loop: one with as many links as switches, or more."""
    looped: set[str] = set()
    seen: set[str] = set()
    for start in switches:
        if start in seen:
            continue
        group = closure(switches, start)
        seen |= group
        if sum(len(list(switches[name])) for name in group) // 2 >= len(group):
            looped |= group
    return looped

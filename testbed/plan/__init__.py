"""Planning turns what a user wrote into a job with nothing left to decide; pure functions all of it."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from testbed import job as jobs
from testbed import media
from testbed import titles as titling
from testbed.faults import ExpiredOcaName, Fault, RouterName
from testbed.job import Job, Title
from testbed.plan.blueprint import Blueprint
from testbed.plan.capturing import capturing
from testbed.plan.drawing import draw
from testbed.plan.parameters import parameters
from testbed.plan.pki import Authority
from testbed.plan.playing import sessions
from testbed.plan.probing import probing
from testbed.plan.routing import describe
from testbed.plan.shapes import collect
from testbed.registry import kinds, source

if TYPE_CHECKING:
    from testbed.checks import Check
    from testbed.model.load import Loaded, LoadedTopology
    from testbed.model.schema import Scenario, Topology
    from testbed.routing import Routing
    from testbed.traffic import Traffic

EPOCH_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z: virtual clocks start here


def plan(loaded: Loaded, clock: str = "virtual") -> Job:
    """The job of a scenario; PlanError if the topology is larger than the plan has room for."""
    scenario, topology = loaded.scenario, loaded.topology
    titles = tuple(_title(scenario, name) for name in scenario.titles)
    blueprint = draw(topology, titles, Authority(scenario.seed, EPOCH_NS))
    blueprint.fill = scenario.fill
    blueprint.expired = _named(scenario.faults, ExpiredOcaName)
    blueprint.content.update({oca: tuple(names) for oca, names in scenario.content.items()})
    job = _job(topology, blueprint, scenario.name, scenario.seed, clock, loaded.sources)
    links, speaking = tuple(blueprint.links), _speaking(blueprint)
    captures, windows = capturing(scenario, links, speaking, partial(_addresses, blueprint))
    owned = {address for node in blueprint.nodes for address in _addresses(blueprint, node)}
    return dataclasses.replace(
        job, duration_ns=int(scenario.duration), titles=titles, sessions=sessions(scenario, blueprint),
        traffic=tuple(_traffic(each, blueprint, int(scenario.duration)) for _, each in scenario.traffic),
        faults=tuple(_fault(number, fault) for number, fault in enumerate(scenario.faults, start=1)),
        routing=_routing(scenario.faults, blueprint),
        checks=tuple(_check(check) for check in scenario.checks),
        probes=tuple(probing(scenario, blueprint, owned)),
        probe_every_ns=int(scenario.probes.every) if scenario.probes else 0,
        captures=captures, windows=windows, sample_ns=int(scenario.sample),
    )  # fmt: skip


def bare(loaded: LoadedTopology, seed: int = 1, clock: str = "wall") -> Job:
    """The job of a topology alone, in which nothing happens; PlanError as for `plan`."""
    topology = loaded.topology
    blueprint = draw(topology, (), Authority(seed, EPOCH_NS))
    blueprint.expired = frozenset(topology.ocas)
    job = _job(topology, blueprint, topology.name, seed, clock, loaded.sources)
    return dataclasses.replace(job, routing=_described(blueprint, topology.routers))


def _job(
    topology: Topology, blueprint: Blueprint, name: str, seed: int, clock: str, sources: dict[str, str]
) -> Job:
    """The network, equipped, and nothing that happens in it."""
    roles = {kind: role() for kind, role in kinds("roles").items()}
    nodes = []
    for node in blueprint.nodes.values():
        equipment = roles[node.role].equip(node, blueprint)
        nodes.append(dataclasses.replace(
            node, files=equipment.files, processes=equipment.processes, titles=equipment.titles,
            sysctls=equipment.sysctls,
        ))  # fmt: skip
    return Job(
        scenario=name, topology=topology.name, seed=seed, clock=clock, duration_ns=0, epoch_ns=EPOCH_NS,
        zone=topology.cdn.zone if topology.cdn else "", nodes=tuple(nodes),
        links=tuple(blueprint.links.values()), traces=collect(topology), sources=dict(sources),
    )  # fmt: skip


def _speaking(blueprint: Blueprint) -> set[str]:
    """The links that BGP sessions may cross: between speakers and bridges."""
    speak = {name for name, node in blueprint.nodes.items() if node.bridge or blueprint.neighbors[name]}
    return {name for name, link in blueprint.links.items() if {link.a, link.b} <= speak}


def _addresses(blueprint: Blueprint, name: str) -> list[str]:
    """Every address of a node."""
    node = blueprint.nodes[name]
    ends = [address for each in node.interfaces for address in (each.address, each.address6)]
    held = (node.address, node.address6, *node.loopbacks, *ends)
    return list(dict.fromkeys(address.split("/")[0] for address in held if address))


def _title(scenario: Scenario, name: str) -> Title:
    spec = scenario.titles[name]
    length_ns = None if spec.length is None else int(spec.length)
    if spec.media is not None:
        return media.read(spec.media, name)
    if spec.file is not None:
        return titling.read(spec.file, name, length_ns)
    if length_ns is None or spec.segment is None:
        raise ValueError(
            f"title {name} has neither a file nor a length and a segment"
        )  # the model refuses it
    return titling.generate(
        name, length_ns, int(spec.segment), [int(rate) for rate in spec.bitrates], scenario.seed
    )


def _traffic(traffic: Traffic, blueprint: Blueprint, duration_ns: int) -> jobs.Traffic:
    told = parameters(traffic)
    at_ns, lasts_ns = told["at"], told["lasts"]
    server = blueprint.nodes[traffic.server]
    clients = [n.name for n in blueprint.by_role("client") if n.name.startswith(f"{traffic.clients}.")]
    return jobs.Traffic(
        kind=traffic.kind, source=source(type(traffic)), clients=tuple(clients), server=server.name,
        address=server.address or server.address6, at_ns=at_ns,
        ends_ns=duration_ns if lasts_ns is None else min(duration_ns, at_ns + lasts_ns), parameters=told,
    )  # fmt: skip


def _fault(number: int, fault: Fault) -> jobs.Fault:
    told = parameters(fault)
    del told["at"], told["lasts"]
    return jobs.Fault(
        id=number, kind=fault.kind, at_ns=int(fault.at), lasts_ns=int(fault.lasts), target=fault.where(),
        source=source(type(fault)),
        parameters=told,
    )  # fmt: skip


def _routing(faults: Iterable[Fault], blueprint: Blueprint) -> dict[str, Routing]:
    """The descriptions of all routers of those networks in which a fault may tell one anew."""
    homes = {blueprint.homes[router] for router in _named(faults, RouterName)}
    return _described(blueprint, (name for name, home in blueprint.topology.routers.items() if home in homes))


def _described(blueprint: Blueprint, routers: Iterable[str]) -> dict[str, Routing]:
    return {router: describe(blueprint.nodes[router], blueprint) for router in routers}


def _named(faults: Iterable[Fault], reference: object) -> frozenset[str]:
    """What the parameters of that type name."""
    return frozenset(
        getattr(fault, parameter)
        for fault in faults
        for parameter, hint in typing.get_type_hints(type(fault)).items()
        if hint is reference
    )


def _check(check: Check) -> dict[str, Any]:
    return {"kind": check.kind} | parameters(check)

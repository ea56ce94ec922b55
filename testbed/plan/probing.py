"""Where probes are sent from, and to which address of a prefix."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from testbed.job import Probe

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from testbed.model.schema import Scenario
    from testbed.plan.blueprint import Blueprint


def probing(scenario: Scenario, blueprint: Blueprint, owned: Container[str]) -> Iterator[Probe]:
    """Every probe flow of a scenario; `owned` are the addresses that nodes have."""
    if scenario.probes is None:
        return
    routers = scenario.probes.from_ or [network.routers[0] for network in blueprint.networks.values()]
    for prefix in scenario.probes.prefixes(scenario.faults):
        network = ip_network(prefix)
        for router in routers:
            node = blueprint.nodes[router]
            if source := node.address if network.version == 4 else node.address6:
                yield Probe(node=router, source=source, prefix=prefix, address=_free(prefix, owned))


def _free(prefix: str, owned: Container[str]) -> str:
    """The last address of a prefix, but for the very last, that no node has; else the first."""
    network = ip_network(prefix)
    kind = type(network.network_address)
    first, last = int(network.network_address), int(network.broadcast_address)
    for value in range(max(first, last - 1), first, -1):
        if (text := str(kind(value))) not in owned:
            return text
    return str(network[0])

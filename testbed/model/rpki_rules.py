"""The rules of RPKI: who validates has a cache and a daemon that can, and ROAs are about what there is."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import cast

from testbed import registry
from testbed.daemons import Daemon
from testbed.model.bgp_rules import known
from testbed.model.breach import Breach, absent, network_at
from testbed.model.topology import Topology


def breaches(topology: Topology) -> Iterator[Breach]:
    """Every rule that the RPKI of a topology breaks."""
    for rule in (_validating, _roas):
        yield from rule(topology)


def _validating(topology: Topology) -> Iterator[Breach]:
    daemons = cast("dict[str, type[Daemon]]", registry.kinds("daemons"))
    for name, network in topology.networks.items():
        here = (*network_at(name), "rov")
        if network.rov is True and not topology.rpki:
            example = f"{{cache: {{at: {name}.{network.routers[0]}, roas: [...]}}}}"
            yield Breach(here, "there is no RPKI cache to ask", f"write rpki: {example}")
        elif isinstance(network.rov, str) and network.rov not in topology.rpki:
            yield Breach(here, *absent("RPKI cache", network.rov, topology.rpki, "describe it under rpki:"))
        if not network.rov:
            continue
        for router in network.routers:
            kind = topology.daemon_of(f"{name}.{router}")
            if why := daemons[kind].cannot.get("rov"):
                yield Breach(here, f"{name}.{router} runs {kind}; {why}", "write daemon: bird, or delete rov")


def _roas(topology: Topology) -> Iterator[Breach]:
    """A ROA that is about nobody's prefix is hardly meant so, and neither is one that is said twice."""
    owned = known(topology)
    for name, cache in topology.rpki.items():
        said: dict[tuple[str, int, int], int] = {}
        for place, roa in enumerate(cache.roas):
            here = ("rpki", name, "roas", place)
            prefix = ip_network(roa.prefix)
            if owned and not any(prefix.version == each.version and prefix.overlaps(each) for each in owned):
                hint = "write one that `testbed plan --policy` shows as originated, or a part of one"
                yield Breach((*here, "prefix"), f"nobody has {prefix}", hint)
            first = said.setdefault((roa.prefix, roa.longest, roa.asn), place)
            if first != place:
                yield Breach(here, f"roas.{first} says that already", "write it once")

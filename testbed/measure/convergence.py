"""How routing got over each fault: who was told what and for how long packets went nowhere, by prefix.

The control plane is read off the BGP messages, the data plane off the forwarding tables: at every change of
one, a packet to the prefix is followed from every router. It is where it should be if it ends where one
ended just before the fault struck; else it is lost, goes in a loop, or is diverted to another place. The same
is asked of the probes that were sent meanwhile, if the scenario has any.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from testbed.measure.forwarding import Address, Ends, Forwarding, Network

if TYPE_CHECKING:
    from testbed.measure.query import Tables

LOST, LOOP, DIVERTED = "lost", "loop", "diverted"
_DROPS = " drops"

Row = dict[str, Any]

_SAID = """
    select prefix, node, t_ns, kind, as_path from bgp
    where kind in ('announce', 'withdraw') and t_ns >= ? and t_ns < ?
"""


_PROBES = "select prefix, node, t_ns, ended, coalesce(took_ns, 0), links, loop from probes order by t_ns"


class _Probe(NamedTuple):
    """A row of the table `probes`."""

    t_ns: int
    ended: str
    took_ns: int
    links: list[str]
    loop: bool


@dataclass
class _Told:
    """What was said of one prefix by BGP in a while."""

    times: list[int] = field(default_factory=list)
    withdraws: list[int] = field(default_factory=list)
    paths: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # by the router that heard

    def row(self, since_ns: int) -> Row:
        """As columns; times since then."""
        return {
            "updates": len(self.times),
            "withdraws": len(self.withdraws),
            "first_update_ns": min(self.times) - since_ns if self.times else None,
            "first_withdraw_ns": min(self.withdraws) - since_ns if self.withdraws else None,
            "last_update_ns": max(self.times) - since_ns if self.times else None,
            "paths": max(map(len, self.paths.values()), default=0),
        }


def convergence(tables: Tables) -> Iterator[Row]:
    """A row for each fault, phase (struck, healed) and prefix that anything was said of or done about."""
    forwarding, walks = Forwarding(tables), _Walks(tables)
    probed = _Probed(tables, walks)
    for fault, phase, before_ns, since_ns, until_ns in _phases(tables):
        told: dict[str, _Told] = defaultdict(_Told)
        for prefix, node, t_ns, kind, as_path in tables.sql(_SAID, since_ns, until_ns):
            each = told[prefix]
            each.times.append(t_ns)
            if kind == "withdraw":
                each.withdraws.append(t_ns)
            else:
                each.paths[node].add(as_path)
        changed: dict[str, list[int]] = defaultdict(list)
        for t_ns, _, before, after in forwarding.changes(since_ns, until_ns):
            route = after or before
            assert route is not None
            changed[str(route.prefix)].append(t_ns)
        probes = {probe.prefix for probe in tables.job.probes}
        for prefix in sorted({*told, *changed, *probes}, key=lambda text: (":" in text, ip_network(text))):
            times = changed.get(prefix, [])
            yield {
                "fault": fault, "phase": phase, "t_ns": since_ns, "prefix": prefix,
                **told[prefix].row(since_ns),
                "routes": len(times), "last_route_ns": max(times) - since_ns if times else None,
                **walks.wrong(ip_network(prefix), before_ns, since_ns, until_ns),
                **probed.wrong(prefix, before_ns, since_ns, until_ns),
            }  # fmt: skip


def _phases(tables: Tables) -> Iterator[tuple[int, str, int, int, int]]:
    """(fault, phase, before it struck, from, until): until any fault strikes or ends, or the run is over."""
    end_ns = max(tables.job.duration_ns, int(tables.scalar("select max(t_ns) from events") or 0))
    ended = dict(
        tables.sql("select fault, min(t_ns) from events where fault > 0 and phase = 'ended' group by fault")
    )
    struck = {fault.id: fault.at_ns for fault in tables.job.faults}
    began = [(at_ns, fault, "struck") for fault, at_ns in struck.items()]
    healed = [(ended[fault.id], fault.id, "healed") for fault in tables.job.faults if fault.id in ended]
    turns = sorted([*began, *healed])
    following = [*(t_ns for t_ns, *_ in turns[1:]), end_ns]
    for (since_ns, fault, phase), until_ns in zip(turns, following, strict=False):
        yield fault, phase, struck[fault] - 1, since_ns, until_ns


class _Walks:
    """Packets followed through the forwarding tables of a run."""

    def __init__(self, tables: Tables) -> None:
        self._forwarding, self._ends = Forwarding(tables), Ends(tables.job)
        self._routers = [node.name for node in tables.job.nodes if node.forwards]
        self._addresses = sorted(
            map(ip_address, self._ends.addresses), key=lambda each: (each.version, int(each))
        )

    def wrong(self, prefix: Network, before_ns: int, since_ns: int, until_ns: int) -> Row:
        """For how long packets to a prefix went wrong, of the worst router, and of how many routers."""
        to = next((each for each in self._addresses if each in prefix), prefix.network_address)
        home = self._ended(to, prefix, before_ns)
        moments = [since_ns, *self._forwarding.moments(prefix, since_ns, until_ns), until_ns]
        wrong: dict[str, Counter[str]] = {LOST: Counter(), LOOP: Counter(), DIVERTED: Counter()}
        for start_ns, end_ns in pairwise(moments):
            if start_ns == end_ns:
                continue
            for router, place in self._ended(to, prefix, start_ns).items():
                if place != home[router] and home[router] not in wrong:
                    what = place if place in wrong else LOST if place.endswith(_DROPS) else DIVERTED
                    wrong[what][router] += end_ns - start_ns
        return {f"{what}_ns": max(each.values(), default=0) for what, each in wrong.items()} | {
            f"{what}_routers": len(each) for what, each in wrong.items()
        }

    def accepts(self, node: str, to: str, prefix: str, at_ns: int) -> bool:
        """Whether a packet ends at a node as it should, rather than being dropped there or on the way on."""
        return self._step(node, ip_address(to), ip_network(prefix), at_ns) == node

    def _ended(self, to: Address, prefix: Network, at_ns: int) -> dict[str, str]:
        """Where a packet from each router ends: a node, one that drops it, or LOST or LOOP."""
        found: dict[str, str] = {}
        for router in self._routers:
            passed: list[str] = []
            node = router
            while node not in found and node not in passed:
                passed.append(node)
                step = self._step(node, to, prefix, at_ns)
                if step not in self._routers or step == node:
                    found[node] = step
                    break
                node = step
            end = found.get(node, LOOP)
            found |= dict.fromkeys(passed, end)
        return found

    def _step(self, node: str, to: Address, prefix: Network, at_ns: int) -> str:
        """The next node; the node itself where the packet ends, or LOST."""
        if self._ends.owner(str(to)) == node:
            return node
        route = self._forwarding.lookup(node, to, at_ns)
        if route is None:
            return LOST
        if route.kind != "unicast":  # whoever originates a prefix drops what it has no better route for
            return node if route.prefix.prefixlen >= prefix.prefixlen else node + _DROPS
        met = self._ends.at(route.via[0] or str(to), route.link[0])
        if met is None:
            return LOST if route.via[0] else node
        return met[0]


class _Probed:
    """Where the probes of a run ended, by prefix and sender, in the order in which they were sent."""

    def __init__(self, tables: Tables, walks: _Walks) -> None:
        self._walks, self._every_ns = walks, tables.job.probe_every_ns
        self._addresses = {probe.prefix: probe.address for probe in tables.job.probes}
        self._flows: dict[str, dict[str, list[_Probe]]] = defaultdict(lambda: defaultdict(list))
        if tables.job.probes:
            for prefix, node, *rest in tables.sql(_PROBES):
                self._flows[prefix][node].append(_Probe(*rest))

    def wrong(self, prefix: str, before_ns: int, since_ns: int, until_ns: int) -> Row:
        """For how long probes went wrong, and until when their way changed, of the worst sender."""
        wrong: dict[str, Counter[str]] = {LOST: Counter(), LOOP: Counter(), DIVERTED: Counter()}
        settled: list[int] = []
        for node, probes in self._flows.get(prefix, {}).items():
            meanwhile = [
                probe for probe in probes if since_ns <= probe.t_ns and probe.t_ns + probe.took_ns < until_ns
            ]  # fmt: skip
            earlier = [probe.ended for probe in probes if probe.t_ns <= before_ns]
            for probe in meanwhile:
                if earlier and (probe.loop or probe.ended != earlier[-1]):
                    wrong[self._what(prefix, probe)][node] += self._every_ns
            others = [probe.t_ns for probe in meanwhile if probe.links != meanwhile[-1].links]
            settled.append(max(others) - since_ns if others else 0)
        return {"probes_settled_ns": max(settled, default=None)} | {
            f"probes_{what}_ns": max(each.values(), default=0) if settled else None
            for what, each in wrong.items()
        }

    def _what(self, prefix: str, probe: _Probe) -> str:
        if probe.loop:
            return LOOP
        ended_ns = probe.t_ns + probe.took_ns
        taken = self._walks.accepts(probe.ended, self._addresses[prefix], prefix, ended_ns)
        return DIVERTED if taken else LOST

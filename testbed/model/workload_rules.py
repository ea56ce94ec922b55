"""The rules of a workload that no field can tell by itself: names, and what must fit into its time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from testbed.arrivals.every import Every
from testbed.model.breach import Breach, absent
from testbed.model.document import Location
from testbed.model.scenario import Scenario
from testbed.model.topology import Topology
from testbed.model.workload import Playback
from testbed.units import show_duration

_SESSIONS_MOST = 10_000


def workload(scenario: Scenario, topology: Topology | None) -> Iterator[Breach]:
    """Every rule that the workload breaks; names are judged only where there is a topology."""
    sessions = 0
    for place, playback in scenario.playbacks:
        here: Location = ("workload", place)
        yield from _playback(scenario, topology, playback, here)
        if topology is None or playback.clients not in topology.populations:
            continue
        count = topology.populations[playback.clients].count
        rng = random.Random(scenario.seed)
        starts = playback.arrivals.starts(rng, count, int(scenario.duration))
        sessions += sum(1 for _ in islice(starts, _SESSIONS_MOST + 1))
        if sessions > _SESSIONS_MOST:
            what = f"with this one there are more than {_SESSIONS_MOST:,} sessions"
            yield Breach(here, what, "delete it, or make populations smaller or arrivals rarer")
            break
    for place, traffic in scenario.traffic:
        here = ("workload", place)
        if traffic.at >= scenario.duration:
            what = f"{traffic.at.shown()} is not before the scenario's end at {scenario.duration.shown()}"
            yield Breach((*here, "at"), what, f"write less than {scenario.duration.shown()}")
        if topology is not None:
            yield from _population(topology, traffic.clients, (*here, "clients"))


def _playback(
    scenario: Scenario, topology: Topology | None, playback: Playback, here: Location
) -> Iterator[Breach]:
    for number, title in enumerate(playback.titles):
        where = (*here, "title") if playback.title is not None else (*here, "catalogue", "titles", number)
        if title not in scenario.titles:
            yield Breach(where, *absent("title", title, scenario.titles, "describe it under titles:"))
    for key in ("startup", "resume"):
        needed = getattr(playback, key)
        if needed is not None and needed > playback.buffer:
            what = f"{needed.shown()} never fits into a buffer of {playback.buffer.shown()}"
            yield Breach((*here, key), what, f"write at most {playback.buffer.shown()}")
    arrivals = playback.arrivals
    if isinstance(arrivals, Every) and arrivals.first >= scenario.duration:
        what = f"{arrivals.first.shown()} is not before the scenario's end at {scenario.duration.shown()}"
        yield Breach((*here, "arrivals", "first"), what, f"write less than {scenario.duration.shown()}")
    if topology is None:
        return
    if topology.cdn is None:
        what = "nobody serves what is played: the topology has no cdn"
        yield Breach(here, what, "delete it, or describe a cdn: in the topology")
        return
    yield from _population(topology, playback.clients, (*here, "clients"))
    population = topology.populations.get(playback.clients)
    if population is None or not isinstance(arrivals, Every):
        return
    last = arrivals.first + arrivals.every * (population.count - 1)
    if arrivals.first < scenario.duration <= last:
        fits = (scenario.duration - 1 - arrivals.first) // (population.count - 1)
        what = (
            f"the last of {population.count} clients would start at {show_duration(last)}, "
            f"not before the scenario's end at {scenario.duration.shown()}"
        )
        hint = f"write at most {show_duration(_rounded(fits))}, or a longer duration"
        yield Breach((*here, "arrivals", "every"), what, hint)


def _population(topology: Topology, clients: str, where: Location) -> Iterator[Breach]:
    if clients not in topology.populations:
        there_are = topology.populations
        yield Breach(where, *absent("population of clients", clients, there_are, "write <isp>.<population>"))


def _rounded(ns: int) -> int:
    """A duration cut to what one would write."""
    scale = next((scale for scale in (10**9, 10**6, 10**3) if ns >= scale), 1)
    return ns // scale * scale

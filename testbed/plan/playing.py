"""Sessions are drawn from the workload: who plays what, when, on which device, and for how long."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from testbed.job import Node, Session
from testbed.plan.blueprint import Blueprint
from testbed.plan.parameters import parameters
from testbed.registry import source
from testbed.roles import place

if TYPE_CHECKING:
    from testbed.model.scenario import Scenario
    from testbed.model.workload import Playback, Watch


def sessions(scenario: Scenario, blueprint: Blueprint) -> tuple[Session, ...]:
    """Every viewer's playback, of each workload in the order of their starts."""
    made: list[Session] = []
    for number, playback in scenario.playbacks:
        rng = random.Random(f"{scenario.seed}:workload:{number}")
        for values in _sessions(playback, blueprint, rng, int(scenario.duration)):
            made.append(Session(id=f"s{len(made) + 1:04d}", **values))
    return tuple(made)


def _sessions(
    playback: Playback, blueprint: Blueprint, rng: random.Random, duration_ns: int
) -> Iterator[dict[str, Any]]:
    viewers = [n for n in blueprint.by_role("client") if n.name.startswith(f"{playback.clients}.")]
    weights = list(accumulate(_weights(playback)))
    shares = list(accumulate(device.share for device in playback.mix))
    script = sorted(playback.script, key=lambda step: step.at)
    common: dict[str, Any] = {
        "startup_ns": int(playback.startup), "timeout_ns": int(playback.timeout),
        "resume_ns": int(playback.resume or 0), "give_up_ns": int(playback.give_up),
        "slow_ns": int(playback.slow or 0), "probe": playback.probe,
        "http": playback.http, "tls": playback.tls,
        "pace": (playback.pace.empty, playback.pace.full) if playback.pace else (),
        "live_latency_ns": int(playback.live.latency) if playback.live else None,
        "pauses": tuple((int(step.at), int(step.pause)) for step in script if step.pause is not None),
        "seeks": tuple((int(step.at), int(step.seek)) for step in script if step.seek is not None),
    }  # fmt: skip
    left = min((int(step.at) for step in script if step.leave), default=None)
    for start_ns, client in playback.arrivals.starts(rng, len(viewers), duration_ns):
        title = playback.titles[0]
        if len(playback.titles) > 1:
            title = rng.choices(playback.titles, cum_weights=weights)[0]
        device = None
        if playback.mix:
            drawn = rng.random()
            device = next((d for d, most in zip(playback.mix, shares, strict=True) if drawn < most), None)
        abr = device.abr if device and device.abr else playback.abr
        most = device.max_bitrate if device and device.max_bitrate else playback.max_bitrate
        leaves = [ns for ns in (left, _stay(playback.watch, rng)) if ns is not None]
        yield {
            **common, **_home(viewers[client], blueprint), "start_ns": start_ns, "title": title,
            "buffer_ns": int(device.buffer if device and device.buffer else playback.buffer),
            "max_kbps": int(most) // 1000 if most else 0, "device": device.name if device else "",
            "abr": abr.kind, "abr_source": source(type(abr)), "abr_parameters": parameters(abr),
            "leave_ns": min(leaves, default=None),
        }  # fmt: skip


def _weights(playback: Playback) -> Iterator[float]:
    """How popular each title is."""
    exponent = playback.catalogue.zipf if playback.catalogue else 0.0
    return (1 / rank**exponent for rank in range(1, len(playback.titles) + 1))


def _stay(watch: Watch | None, rng: random.Random) -> int | None:
    """How long a viewer stays, in ns; None: to the end."""
    if watch is None:
        return None
    if watch.distribution == "fixed":
        return int(watch.mean)
    if watch.distribution == "exponential":
        return round(rng.expovariate(1 / watch.mean))
    return round(rng.lognormvariate(math.log(watch.mean) - watch.sigma**2 / 2, watch.sigma))


def _home(viewer: Node, blueprint: Blueprint) -> dict[str, Any]:
    """What a client gets from its ISP: a resolver, and address families."""
    resolver = blueprint.nodes[blueprint.network_of(viewer.name).resolver]
    families = [family for family, own in ((4, viewer.address), (6, viewer.address6)) if own]
    return {
        "client": viewer.name, "resolver": resolver.address or resolver.address6, "families": tuple(families),
        "ca": place(viewer, "ca.pem"),
    }  # fmt: skip

"""What BGP's messages and the table of convergence show of faults in routing: without a kernel."""

import dataclasses

import made
import pytest

from testbed import registry
from testbed.checks.convergence_time import ConvergenceTime
from testbed.checks.forwarding_loops import ForwardingLoops
from testbed.checks.unreachable_time import UnreachableTime
from testbed.measure.tables import Tables
from testbed.routing import Routing, Session
from testbed.units import Duration

S, MS = made.S, 10**6
OWN, OTHER = "10.1.0.0/18", "10.2.0.0/18"
SESSION = Session(
    name="b_4",
    neighbor="b",
    relation="provider",
    family=4,
    asn=2,
    address="10.0.0.2",
    local_address="10.0.0.1",
)
ROUTING = Routing(
    node="a",
    role="router",
    asn=1,
    router_id="10.0.0.1",
    families=(4,),
    originates=(OWN,),
    sessions=(SESSION,),
)


def said(t_s, kind, prefix=OWN, node="b", peer="a"):
    return {
        "t_ns": round(t_s * S),
        "node": node,
        "peer": peer,
        "kind": kind,
        "prefix": prefix,
        "as_path": "1",
    }


WITHDRAWN = [said(-5, "announce"), said(10, "withdraw")]
LEAKED = [said(-5, "announce"), said(11, "announce", OTHER)]
HIJACKED = [said(11, "announce", OTHER)]
UP = [said(-5, "open", None), said(0, "keepalive", None)]
SHUT = [*UP, said(10, "notification", None)]


@pytest.mark.parametrize(
    ("kind", "parameters", "rows", "expected"),
    [
        ("prefix-withdraw", {}, [*WITHDRAWN, said(20.5, "announce")], (True, True)),
        ("prefix-withdraw", {}, WITHDRAWN, (True, False)),
        ("prefix-withdraw", {}, [said(-5, "announce")], (False, None)),
        ("prefix-withdraw", {"prefixes": (OTHER,)}, WITHDRAWN, (None, None)),  # it never was its own
        ("prefix-withdraw", {}, [], (None, None)),
        ("prefix-hijack", {"prefixes": (OTHER,)}, [*HIJACKED, said(20.5, "withdraw", OTHER)], (True, True)),
        ("prefix-hijack", {"prefixes": (OTHER,)}, HIJACKED, (True, False)),
        ("prefix-hijack", {"prefixes": (OTHER,)}, [said(11, "announce")], (False, None)),
        ("bgp-session-down", {"neighbor": "b"}, [*SHUT, said(22, "open", None)], (True, True)),
        ("bgp-session-down", {"neighbor": "b"}, SHUT, (True, False)),
        ("bgp-session-down", {"neighbor": "b"}, UP, (False, False)),
        ("bgp-session-down", {"neighbor": "b"}, [], (None, False)),
        ("route-leak", {"neighbor": "b"}, [*LEAKED, said(21, "withdraw", OTHER)], (True, True)),
        ("route-leak", {"neighbor": "b"}, LEAKED, (True, False)),
        ("route-leak", {"neighbor": "b"}, [said(-5, "announce"), said(11, "announce")], (False, None)),
    ],
)  # fmt: skip
def test_what_was_said_shows_whether_it_struck_and_healed(tmp_path, kind, parameters, rows, expected):
    job = dataclasses.replace(made.job(), routing={"a": ROUTING})
    given = {"at": 10 * S, "lasts": 10 * S, "router": "a", **parameters}
    fault = registry.build("faults", kind, given)
    tables = Tables(made.run(tmp_path / "run", job, bgp=rows))
    assert (fault.took_hold(tables), fault.healed(tables)) == expected


def wrong(phase, prefix=OWN, **given):
    return {
        "t_ns": 10 * S, "fault": 1, "phase": phase, "prefix": prefix, "last_route_ns": None,
        "last_update_ns": None, "probes_settled_ns": None, "lost_ns": 0, "loop_ns": 0,
        "lost_routers": 0, "loop_routers": 0, **given,
    }  # fmt: skip


ROWS = [
    wrong("struck", last_route_ns=70 * MS, last_update_ns=90 * MS, lost_ns=2 * S, lost_routers=3),
    wrong("healed", OTHER, last_route_ns=80 * MS, probes_settled_ns=60 * MS, loop_ns=20 * MS, loop_routers=2),
]


@pytest.mark.parametrize(
    ("kind", "bounds", "outcome", "measured", "detail"),
    [
        (ConvergenceTime, {"max": "80ms"}, "pass", "80ms", f"{OTHER} after fault 1 ended"),
        (ConvergenceTime, {"max": "79ms"}, "fail", "80ms", f"{OTHER} after fault 1 ended"),
        (ConvergenceTime, {"max": "80ms", "plane": "control"}, "fail", "90ms", f"{OWN} after fault 1 struck"),
        (
            ConvergenceTime,
            {"max": "60ms", "plane": "packets"},
            "pass",
            "60ms",
            f"{OTHER} after fault 1 ended",
        ),
        (ForwardingLoops, {"max": "20ms"}, "pass", "20ms", "in a loop from 2 routers after fault 1 ended"),
        (ForwardingLoops, {"max": "1ms"}, "fail", "20ms", f"what goes to {OTHER}"),
        (UnreachableTime, {"max": "1s"}, "fail", "2s", "is lost from 3 routers after fault 1 struck"),
    ],
)
def test_a_check_bounds_the_worst(tmp_path, kind, bounds, outcome, measured, detail):
    given = {**bounds, "max": Duration.parse(bounds["max"])}
    found = kind(**given).judge(Tables(made.run(tmp_path / "run", convergence=ROWS)))
    assert (found.outcome, found.measured) == (outcome, measured)
    assert detail in found.detail


@pytest.mark.parametrize("kind", [ConvergenceTime, ForwardingLoops, UnreachableTime])
def test_without_a_change_nothing_can_be_said(tmp_path, kind):
    run = made.run(tmp_path / "run", convergence=[])
    assert kind(max=Duration.parse("1s")).judge(Tables(run)).outcome == "unknown"


def test_without_probes_nothing_is_said_of_packets(tmp_path):
    rows = [row | {"probes_settled_ns": None} for row in ROWS]
    check = ConvergenceTime(max=Duration.parse("1s"), plane="packets")
    found = check.judge(Tables(made.run(tmp_path / "run", convergence=rows)))
    assert (found.outcome, found.detail) == ("unknown", "no probes were sent; write probes: in the scenario")

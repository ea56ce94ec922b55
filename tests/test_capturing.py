"""Which links are captured when: from the YAML to windows in the job, and what is then known of losses."""

import captures as hand
import polars as pl
import pytest

from testbed import model
from testbed.job import ALWAYS, Job, Window
from testbed.measure.coverage import covered
from testbed.measure.points import points
from testbed.model import captures
from testbed.model.captures import Snap
from testbed.plan import plan

S = 10**9
TEXT = """\
name: scene
topology: {metro}
duration: 60s
faults:
  - {{kind: link-down, link: ix--north.core, at: 10s, lasts: 10s}}
  - {{kind: oca-crash, target: oca-s1, at: 22s, lasts: 5s}}
  - {{kind: link-down, link: ix--south.core, at: 50s, lasts: 5s}}
captures: {captures}
"""


@pytest.fixture
def planned(tmp_path, request):
    metro = request.config.rootpath / "topologies" / "metro.yaml"

    def planned(captures):
        path = tmp_path / "scene.yaml"
        path.write_text(TEXT.format(metro=metro, captures=captures))
        return plan(model.load_scenario(path))

    return planned


def test_all_and_a_plain_list_have_no_windows(planned):
    every = planned("all")
    assert every.captures == tuple(link.name for link in every.links)
    assert every.windows == {}
    some = planned("[ix--north.core, south.core--transit.a]")
    usual = [link for link in some.captures if link not in some.windows]
    assert usual == ["north.core--ix", "south.core--transit.a"]


def test_all_is_every_link_that_no_other_entry_names(planned):
    job = planned('[all, {links: [ix--north.core], snap: {"tcp port 443": whole}}]')
    assert set(job.captures) == {link.name for link in job.links}
    assert list(job.windows) == ["north.core--ix"]
    [window] = job.windows["north.core--ix"]
    assert bytes.fromhex(window.program) == Snap.read(
        {"tcp port 179": "whole", "tcp port 443": "whole"}
    ).program("")
    assert Job.loads(job.dumps()) == job


def test_windows_of_one_link_are_in_order_whatever_their_order_in_the_file(planned):
    job = planned("[{links: [north.core--ix], from: 30s, filter: icmp}, {links: [ix--north.core], to: 5s}]")
    early, between, late = job.windows["north.core--ix"]
    assert early == Window(until_ns=5 * S)
    assert (between.from_ns, between.until_ns, between.filter) == (5 * S, 30 * S, ALWAYS)
    assert (late.from_ns, late.until_ns, late.filter) == (30 * S, None, f"(icmp) or {ALWAYS}")
    assert bytes.fromhex(late.program) == Snap.read("headers").program(late.filter)


@pytest.mark.parametrize("captures", ["[]", "[north.homes.1--north.edge]"])
def test_bgp_is_captured_wherever_it_is_spoken_and_nothing_else_of_those_links(planned, captures):
    job = planned(captures)
    alone = {link for link, windows in job.windows.items() if [each.filter for each in windows] == [ALWAYS]}
    assert {"north.core--ix", "oca-n1--north.core", "ix.rs--ix", "north.core--north.edge"} <= alone
    assert not {"north.homes.2--north.edge", "origin--cdn.pop"} & {*job.captures}
    assert alone == {*job.captures} - {"north.homes.1--north.edge"}


def test_a_snap_leaves_bgp_whole(planned):
    [window] = planned("[{links: [north.core--ix], snap: 64B}]").windows["north.core--ix"]
    assert bytes.fromhex(window.program) == Snap(64, (("tcp port 179", "whole"),)).program("")


def test_filters_name_nodes_and_mean_all_of_their_addresses(planned):
    job = planned(
        '[{filter: "src host oca-s1 and tcp port 443", snap: {"host north.core": whole, udp: 80B}}]'
    )
    window = job.windows["north.core--ix"][0]
    assert window.filter == f"(src host oca-s1 and tcp port 443) or {ALWAYS}"
    oca, core = job.node("oca-s1"), job.node("north.core")
    assert (len(oca.interfaces), len(core.interfaces)) == (1, 5)
    own = {oca.address, oca.address6, *(address.split("/")[0] for address in oca.loopbacks)}
    spelt = captures.addressed(window.filter, lambda name: captures_of(job, name))
    assert own <= set(spelt.replace("(", " ").replace(")", " ").split())
    core = f"host ({' or '.join(captures_of(job, 'north.core'))})"
    snap = Snap.read({"tcp port 179": "whole", core: "whole", "udp": "80B"})
    assert bytes.fromhex(window.program) == snap.program(spelt)


def captures_of(job, name):
    node = job.node(name)
    ends = [address for each in node.interfaces for address in (each.address, each.address6)]
    return list(
        dict.fromkeys(a.split("/")[0] for a in (node.address, node.address6, *node.loopbacks, *ends) if a)
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("host oca-n1", ["oca-n1"]), ("src host north.core and dst steering", ["north.core", "steering"]),
        ("host 10.0.0.1 or host 2001:db8::1 or src fe80::1", []), ("dst port 443 or src portrange 1-9", []),
        ("dst net 10.0.0.0/8 and not host ix", ["ix"]), ("ether host 02:00:00:00:00:01", []),
    ],
)  # fmt: skip
def test_only_what_stands_for_a_host_is_a_node(text, named):
    assert captures.hosts(text) == named


def test_a_ring_is_open_around_each_fault_and_once_where_they_meet(planned):
    job = planned("[{links: [north.core--ix], ring: 12s around faults}]")
    times = [(each.from_ns, each.until_ns) for each in job.windows["north.core--ix"] if each.filter != ALWAYS]
    assert times == [(0, 67 * S)]
    job = planned("[{links: [north.core--ix], ring: 3s around faults}]")
    times = [(each.from_ns, each.until_ns) for each in job.windows["north.core--ix"] if each.filter != ALWAYS]
    assert times == [(7 * S, 30 * S), (47 * S, 58 * S)]


def losses(*rows):
    return pl.DataFrame(
        [{"link": link, "from": node, "sent_ns": sent, "lost": lost} for link, node, sent, lost in rows],
        schema={"link": pl.String, "from": pl.String, "sent_ns": pl.Int64, "lost": pl.Boolean},
    )


def test_a_loss_stands_only_where_the_next_capture_took_everything():
    job = hand.network(
        windows={
            "r1--ix": (Window(until_ns=5 * S), Window(from_ns=5 * S, until_ns=10 * S)),
            "r2--s1": (Window(filter="tcp", program="00"),),
        }
    )
    rows = losses(
        ("r1--ix", "r1", 4 * S, True),  # the next window begins where one ends
        ("r1--ix", "r1", 9 * S, True),  # closed before it must have come
        ("r1--ix", "r1", 20 * S, False),  # came, so no question
        ("r2--s1", "r2", 1 * S, True),  # may not have passed the filter
        ("c1--r1", "r1", 20 * S, True),
        (None, "r1", 4 * S, True),
        (None, "r1", 20 * S, True),  # may have left by the link that was closed
        (None, "s1", 4 * S, True),
    )
    left = covered(rows, points(job), 2 * S)
    assert left["sent_ns"].to_list() == [4 * S, 20 * S, 20 * S, 4 * S]
    whole = hand.network()
    assert covered(rows, points(whole), 2 * S).equals(rows)

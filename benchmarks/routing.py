"""How many ASes routing may have: the real time until every router has every prefix, and what that takes.

The networks are those with the largest customer cones of a file of CAIDA's AS relationships, as `testbed
import caida FILE --top N` makes them: one router each. Without a file it is a graph of the model of
Elmokashfi, Kvalbein and Dovrolis ("On the Scalability of BGP", IEEE JSAC 28(8), 2010), which has the
Internet's tiers, multihoming and peering; the more ASes it has, the denser is its core. The guest is on the
virtual clock, as runs are, and looks into every router's kernel for what the relations let it reach.
"""

from __future__ import annotations

import argparse
import ipaddress
import sys
import tempfile
import time
from pathlib import Path

from testbed import namespaces
from testbed.emulate.guest import tell
from testbed.emulate.play import bring_up
from testbed.job import OUT, Job
from testbed.routing import Routing

SIZES = (20, 60, 200, 500)
ASES, SEED = 5_000, 1  # of the model
MEMORY_BYTES = 3 * 2**30
_RELATION = {"customer": "down", "peer": "across", "provider": "up"}


def run(job: Job) -> None:
    """Bring the network up in the guest, and count the prefixes that every router lacks."""
    before = _available_bytes()
    network, _, settled_ns = bring_up(job, Path(OUT))
    used = before - _available_bytes()
    owned = {node: _destinations(routing) for node, routing in job.routing.items()}
    lacking = routes = 0
    for node, others in _reached(job).items():
        wanted = set().union(*(owned[other] for other in others))
        with namespaces.inside(network.namespace(node)):
            lines = Path("/proc/thread-self/net/route").read_text().splitlines()[1:]
        routes += len(wanted)
        lacking += len(wanted - {(fields[1], fields[7]) for fields in map(str.split, lines)})
    sessions = sum(len(routing.sessions) for routing in job.routing.values()) // 2
    tell(
        routers=len(owned), sessions=sessions, routes=routes, lacking=lacking,
        virtual_s=settled_ns / 1e9, memory_bytes=used,
    )  # fmt: skip
    network.processes.stop_all()
    network.close()


def _destinations(routing: Routing) -> set[tuple[str, str]]:
    """What a router originates, as /proc/net/route writes a destination and its mask."""
    nets = (ipaddress.IPv4Network(each) for each in routing.originates)
    return {(_hex(net.network_address), _hex(net.netmask)) for net in nets}


def _hex(address: ipaddress.IPv4Address) -> str:
    return f"{int.from_bytes(address.packed, sys.byteorder):08X}"


def _reached(job: Job) -> dict[str, set[str]]:
    """The routers that each reaches as the relations allow: up, across once, then down; and itself."""
    sides = {
        node: [(each.neighbor, _RELATION[each.relation]) for each in routing.sessions]
        for node, routing in job.routing.items()
    }
    following = {"up": ("up", "across", "down"), "across": ("down",), "down": ("down",)}
    found: dict[str, set[str]] = {}
    for node in sides:
        seen, waiting = {(node, "up")}, [(node, "up")]
        while waiting:
            here, way = waiting.pop()
            steps = {(other, step) for other, step in sides[here] if step in following[way]}
            waiting += steps - seen
            seen |= steps
        found[node] = {router for router, _ in seen}
    return found


def _available_bytes() -> int:
    """What the kernel could still give to programs (MemAvailable in proc(5))."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def modelled(path: Path, ases: int) -> None:
    """Write a file of AS relationships of the model, of so many ASes."""
    import networkx as nx

    graph = nx.random_internet_as_graph(ases, seed=SEED)
    lines = [f"# {ases} ASes of the model of Elmokashfi et al. (2010), seed {SEED}"]
    for a, b, told in graph.edges(data=True):
        if told["type"] == "peer":
            lines.append(f"{_asn(a)}|{_asn(b)}|0")
        else:
            provider = b if str(a) == told["customer"] else a
            customer = a + b - provider
            lines.append(f"{_asn(provider)}|{_asn(customer)}|-1")
    path.write_text("\n".join(lines) + "\n")


def _asn(number: int) -> int:
    return 10_000 + number  # none of those is reserved


def main() -> int:
    """Bring each size up in a guest of its own, and print what it took."""
    parser = argparse.ArgumentParser(
        description="Bring up the ASes with the largest customer cones, a router each, and print the cost.",
        epilog="example: .venv/bin/python benchmarks/routing.py 60 200 --file 20250801.as-rel2.txt.bz2",
    )
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="N", help="ASes (%(default)s)")
    parser.add_argument("--file", type=Path, metavar="AS-REL", help="CAIDA's; a model's graph if not given")
    parser.add_argument("--ases", type=int, default=ASES, metavar="N", help="of the model (%(default)s)")
    parser.add_argument("--daemon", default="bird", metavar="KIND", help="what routes (%(default)s)")
    asked = parser.parse_args()
    import yaml
    from oca_crash import children_s, machine  # these bring much along that the guest does not need

    from testbed import model
    from testbed.imports import caida
    from testbed.plan import bare
    from testbed.testing import booted

    print(f"before: {machine()}", flush=True)
    columns = ("ASes", "sessions", "routes", "lacking", "real, s", "CPU, s", "virtual, s", "MiB")
    print("".join(f"{column:>12}" for column in columns), flush=True)
    lacking = 0
    with tempfile.TemporaryDirectory(prefix="testbed-") as folder:
        relations = asked.file or Path(folder, "model.as-rel.txt")
        if not asked.file:
            modelled(relations, asked.ases)
        for size in asked.sizes:
            topology = Path(folder, "caida.yaml")
            document = yaml.safe_load(caida.read(relations, size).yaml()) | {"families": ["ipv4"]}
            document["defaults"] = document.get("defaults", {}) | {"daemon": asked.daemon}
            topology.write_text(yaml.safe_dump(document, sort_keys=False))
            began, before_s = time.monotonic(), children_s()
            job = bare(model.load_topology(topology), clock="virtual")
            last = {}
            for told in booted(job, Path(__file__).stem, MEMORY_BYTES):
                if "lacking" in told:
                    last, real_s = told, time.monotonic() - began
            lacking += last["lacking"]
            counts = (last[name] for name in ("routers", "sessions", "routes", "lacking"))
            spent = (real_s, children_s() - before_s, last["virtual_s"])
            print(
                "".join(f"{count:>12}" for count in counts)
                + "".join(f"{seconds:>12.1f}" for seconds in spent)
                + f"{last['memory_bytes'] / 2**20:>12.0f}",
                flush=True,
            )
    print(f"after:  {machine()}")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())

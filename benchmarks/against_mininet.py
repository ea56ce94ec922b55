"""How fast networks come up and go: ours and stock Mininet's, the same topologies in the same guest.

The guest is on the wall clock. Ours goes up by `testbed.emulate.mininet.Mininet`, stock by Mininet's own
classes, both with Mininet's topologies and Linux bridges. Stock Mininet needs `mnexec`, which its
package on PyPI lacks and Debian's package has, and `brctl`, `ifconfig`, `tc` and `ethtool`. The star is
shaped by a rate only, so that stock Mininet can also build it on this machine's own kernel, if we are root.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mininet.link import TCLink
from mininet.log import setLogLevel
from mininet.net import Mininet as Stock
from mininet.nodelib import LinuxBridge
from mininet.topo import LinearTopo, SingleSwitchTopo, Topo

from testbed.emulate.guest import tell
from testbed.emulate.mininet import Mininet as Ours
from testbed.job import Job

SIZES = (20, 50, 100, 200)
MEMORY_BYTES = 2**30
PROGRAMS = {"brctl": "bridge-utils", "ifconfig": "net-tools", "ethtool": "ethtool", "tc": "iproute2"}


class FatTree(Topo):  # type: ignore[misc]
    """The smallest fat tree with room for `n` hosts (Al-Fares et al., SIGCOMM 2008), and `n` hosts."""

    def build(self, n: int = 16, **_: Any) -> None:
        """Add the switches, layer by layer from the core, and then the hosts."""
        k = next(k for k in range(2, 100, 2) if k**3 // 4 >= n)
        names = (f"s{number}" for number in range(1, 1000))
        core = [self.addSwitch(next(names)) for _ in range((k // 2) ** 2)]
        edges = []
        for _ in range(k):
            upper = [self.addSwitch(next(names)) for _ in range(k // 2)]
            lower = [self.addSwitch(next(names)) for _ in range(k // 2)]
            for place, switch in enumerate(upper):
                for top in core[place * (k // 2) : (place + 1) * (k // 2)]:
                    self.addLink(switch, top)
                for bottom in lower:
                    self.addLink(bottom, switch)
            edges += lower
        for number in range(n):
            self.addLink(self.addHost(f"h{number + 1}"), edges[number // (k // 2)])


# What a topology is made by, with how many hosts, and what its links and switches are.
SHAPED = functools.partial(TCLink, bw=10, delay="1ms")
TOPOLOGIES: dict[str, tuple[Any, Any, Any]] = {
    "linear": (lambda n: LinearTopo(k=n), SHAPED, LinuxBridge),
    "fattree": (lambda n: FatTree(n=n), SHAPED, functools.partial(LinuxBridge, stp=True)),
    "star": (lambda n: SingleSwitchTopo(k=n), functools.partial(TCLink, bw=10), LinuxBridge),
}


def measured(mininet: Any, text: str) -> dict[str, Any]:
    """Bring a network up and take it down again; "linear,20" is one of 20 switches with a host each."""
    setLogLevel("error")
    name, _, size = text.partition(",")
    topology, link, switch = TOPOLOGIES[name]
    began = time.monotonic()
    net = mininet(topo=topology(int(size)), link=link, switch=switch, controller=None)
    net.start()
    up_s = time.monotonic() - began
    links = len(net.links)
    if name != "fattree":  # its spanning tree takes half a minute, whoever built it
        assert net.ping([net.hosts[0], net.hosts[-1]], timeout="5") == 0
    began = time.monotonic()
    net.stop()
    return {"links": links, "up_s": up_s, "down_s": time.monotonic() - began}


def run(job: Job) -> None:
    """Measure both in the guest."""
    os.environ["PATH"] += f":{job.sources['mnexec']}"
    tell(ours=measured(Ours, job.topology))
    if job.sources["stock"]:
        tell(stock=measured(Stock, job.topology))


def _job(topology: str, mnexec: Path | None) -> Job:
    return Job(
        scenario="mininet", topology=topology, seed=1, clock="wall", duration_ns=0, epoch_ns=0, zone="",
        nodes=(), links=(),
        sources={"mnexec": str(mnexec.parent if mnexec else "/"), "stock": "yes" if mnexec else ""},
    )  # fmt: skip


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description="Build networks with our Mininet and with stock Mininet in one guest, and compare.",
        epilog="example: .venv/bin/python benchmarks/against_mininet.py --mnexec x/usr/bin/mnexec 20 50",
    )
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="N", help="hosts (%(default)s)")
    parser.add_argument("--mnexec", type=Path, help="where it is (by default as PATH has it)")
    parser.add_argument("--on-host", metavar="TOPOLOGY", help=argparse.SUPPRESS)  # we call ourselves by this
    asked = parser.parse_args()
    if asked.on_host:
        print(json.dumps(measured(Stock, asked.on_host)))
        return 0
    from oca_crash import machine  # these two bring much along that the guest does not need

    from testbed.testing import booted

    found = asked.mnexec or shutil.which("mnexec")
    mnexec = Path(found).resolve() if found else None
    if mnexec is None:
        print(
            "no mnexec here, so ours alone is measured; Debian's mininet has it, and need not be installed:\n"
            "  apt-get download mininet && dpkg -x mininet_*.deb x    and then  --mnexec x/usr/bin/mnexec"
        )
    missing = [f"{name} ({PROGRAMS[name]})" for name in PROGRAMS if not shutil.which(name)]
    if mnexec is not None and missing:
        parser.error(f"stock Mininet needs {', '.join(missing)}")
    print(f"before: {machine()}", flush=True)
    columns = ("links", "ours up, s", "down, s", "stock up, s", "down, s", "ratio")
    print(f"{'':<14}" + "".join(f"{column:>13}" for column in columns), flush=True)
    for text in [*(f"{name},{size}" for name in ("linear", "fattree") for size in asked.sizes), "star,100"]:
        both: dict[str, Any] = {}
        for message in booted(_job(text, mnexec), Path(__file__).stem, MEMORY_BYTES):
            both |= message
        print(_row(text, both["ours"], both.get("stock")), flush=True)
    if mnexec is not None and os.geteuid() == 0:
        path = f"{os.environ['PATH']}:{mnexec.parent}"
        host = subprocess.run(
            [sys.executable, __file__, "--on-host", text],
            env=os.environ | {"PATH": path}, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        print(_row(f"{text}, stock on this kernel", both["ours"], json.loads(host.stdout)))
    print(f"after:  {machine()}")
    return 0


def _row(text: str, ours: dict[str, Any], stock: dict[str, Any] | None) -> str:
    figures = f"{ours['links']:>13}{ours['up_s']:>13.2f}{ours['down_s']:>13.2f}"
    if stock is not None:
        ratio = (stock["up_s"] + stock["down_s"]) / (ours["up_s"] + ours["down_s"])
        figures += f"{stock['up_s']:>13.2f}{stock['down_s']:>13.2f}{ratio:>13.1f}"
    return f"{text:<14}{figures}" if len(text) < 14 else f"{text}\n{'':<14}{figures}"


if __name__ == "__main__":
    sys.exit(main())

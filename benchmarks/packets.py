"""How fast captures become tables, beside tshark and scapy on one file and core, and its part of a run.

A scenario with 20 captured links is run, or `--run` is one that was. Its largest capture is made tables of
(`testbed packets`: every packet, flows, TCP analysis), printed by tshark (`-T fields` with tcp.analysis), and
its beginning read by scapy, field by field, in turn, each in a process of its own on one core. What counts is
processor time, the start of the program included for us and for tshark and left out for scapy; the best of
the rounds. Then the same capture several times over, each time later and with other addresses, for the
memory; all tables of the run on all cores; and a run of scenarios/oca-crash.yaml.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from oca_crash import SCENARIO as DEFAULT
from oca_crash import machine, measured

from testbed.measure.tables import Tables

TOPOLOGY = """name: packets
defaults: {link: {rate: 1gbit, delay: 1ms, queue: 50ms}}
access:
  line: {down: {rate: 200mbit, delay: 4ms, jitter: 500us, loss: 0.02%}, up: {rate: 100mbit, delay: 4ms}}
isps:
  north:
    asn: 64501
    routers: [core, edge]
    clients:
      readers: {count: 5, at: edge, access: line}
      loaders: {count: 4, at: edge, access: line}
      calls: {count: 1, at: edge, access: line}
cdn:
  {asn: 64600, oca-asn: 64601, zone: cdn.example, routers: [pop, cloud],
   control: {at: cdn.cloud}, origin: {at: cdn.pop}}
ocas: {oca1: {at: cdn.pop}, oca2: {at: north.core}}
links:
  - {endpoints: [north.core, north.edge], rate: 600mbit, queue: 20ms, loss: 0.1%, reorder: 0.1%}
  - {endpoints: [north.core, cdn.pop], relation: customer, delay: 5ms}
  - {endpoints: [cdn.pop, cdn.cloud], delay: 5ms}
"""
SCENARIO = """name: packets
topology: packets.yaml
duration: {seconds}s
captures: all
workload:
  - {{kind: web, clients: north.readers, server: origin, at: 1s, page: 30KB, spread: 1, think: 1ms}}
  - {{kind: bulk, clients: north.loaders, server: oca1, at: 1s}}
  - {{kind: realtime, clients: north.calls, server: oca2, at: 1s, rate: 5mbit, packet: 300B}}
"""
FIELDS = """
    frame.time_epoch frame.len ip.src ip.dst ipv6.src ipv6.dst ip.proto ip.ttl ip.id tcp.srcport tcp.dstport
    udp.srcport udp.dstport tcp.seq_raw tcp.ack_raw tcp.flags tcp.window_size_value tcp.len
    tcp.options.timestamp.tsval tcp.options.timestamp.tsecr tcp.stream tcp.analysis.retransmission
    tcp.analysis.fast_retransmission tcp.analysis.spurious_retransmission tcp.analysis.out_of_order
    tcp.analysis.lost_segment tcp.analysis.duplicate_ack tcp.analysis.zero_window tcp.analysis.window_full
    tcp.analysis.window_update tcp.analysis.ack_rtt tcp.analysis.bytes_in_flight
"""
SCAPY = """
import itertools, sys, time
from scapy.all import IP, IPv6, TCP, UDP, PcapReader

def row(packet):
    found = [float(packet.time), packet.wirelen]
    network = packet.getlayer(IP) or packet.getlayer(IPv6)
    if network is None:
        return found
    found += [network.src, network.dst, network.ttl if network.version == 4 else network.hlim]
    transport = packet.getlayer(TCP) or packet.getlayer(UDP)
    if transport is not None:
        found += [transport.sport, transport.dport]
    if TCP in packet:
        found += [transport.seq, transport.ack, int(transport.flags), transport.window, transport.options]
    return found

begin = time.process_time()
rows = [row(packet) for packet in itertools.islice(PcapReader(sys.argv[1]), int(sys.argv[2]))]
print(len(rows), time.process_time() - begin)
"""
TABLES = "import sys, pathlib; from testbed.measure.tables import write; write(pathlib.Path(sys.argv[1]))"
MB = 1_000_000


@dataclass(frozen=True)
class Spent:
    """What a process cost."""

    real_s: float
    cpu_s: float
    memory_mb: float  # at its highest
    said: str


def spent(*command: str | Path, one_core: bool = False) -> Spent:
    """Run a program to its end; SystemExit if that is not a good one."""
    core = str(max(os.sched_getaffinity(0)))
    words = [*(("taskset", "-c", core) if one_core else ()), *map(str, command)]
    with tempfile.TemporaryFile("w+") as out:
        begin_s = time.monotonic()
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        real_s = time.monotonic() - begin_s
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} gave exit code {process.returncode}")
        out.seek(0)
        return Spent(real_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / MB, out.read(1000))


def recorded(folder: Path, seconds: int) -> Path:
    """The folder of a run of the scenario."""
    (folder / "packets.yaml").write_text(TOPOLOGY)
    (folder / "scenario.yaml").write_text(SCENARIO.format(seconds=seconds))
    command = [sys.executable, "-m", "testbed", "run", "scenario.yaml", "--out", "runs", "-q", "-f", "json"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the run gave exit code {done.returncode}: {done.stdout}")
    return folder / json.loads(done.stdout)["run"]


def again(path: Path, copies: int, into: Path) -> None:
    """Write a pcap so many times over: later each time, and its IPv4 packets between other addresses."""
    data = np.fromfile(path, np.uint8)
    starts, at = [], 24
    while at + 16 <= len(data):
        starts.append(at)
        at += 16 + int.from_bytes(data[at + 8 : at + 12].tobytes(), "little")
    headers = np.array(starts)
    places = headers[:, None] + np.arange(4)
    seconds = data[places].view("<u4").ravel()
    frames = headers + 16
    ipv4 = frames[(data[frames + 12] == 8) & (data[frames + 13] == 0)]
    with into.open("wb") as target:
        target.write(data[:24].data)
        for number in range(copies):
            later = seconds + np.uint32(number * (int(seconds[-1]) - int(seconds[0]) + 1))
            data[places] = later.astype("<u4").view(np.uint8).reshape(-1, 4)
            for address in (26, 30):  # Ethernet's header, and 12 and 16 of IPv4's
                data[ipv4 + address] = 10 + number
            target.write(data[24:].data)


def side_by_side(path: Path, packets: int, rounds: int, scapy_packets: int, folder: Path) -> None:
    """Print packets a second of processor time: ours, tshark's, scapy's, and the ratios."""
    mine = (sys.executable, "-m", "testbed", "packets", path, "-o", folder / "tables", "-q")
    theirs = ("tshark", "-r", path, "-n", "-T", "fields", *(w for f in FIELDS.split() for w in ("-e", f)))
    ours, tshark, scapy = [], [], []
    for _ in range(rounds):
        ours.append(spent(*mine, one_core=True))
        if shutil.which("tshark"):
            tshark.append(spent(*theirs, one_core=True))
        ours.append(spent(*mine, one_core=True))
        said = spent(sys.executable, "-c", SCAPY, path, str(scapy_packets), one_core=True).said.split()
        scapy.append(int(said[0]) / float(said[1]))
    best = min(ours, key=lambda each: each.cpu_s)
    rate = packets / best.cpu_s
    line("testbed packets", f"{rate:,.0f} packets/CPU-s", f"{best.cpu_s:.2f} s, {best.memory_mb:.0f} MB")
    if tshark:
        other = min(tshark, key=lambda each: each.cpu_s)
        their_rate = packets / other.cpu_s
        line("tshark", f"{their_rate:,.0f} packets/CPU-s", f"{other.cpu_s:.1f} s, {other.memory_mb:.0f} MB")
    line("scapy", f"{max(scapy):,.0f} packets/CPU-s", f"the first {scapy_packets:,} packets")
    if tshark:
        line("times tshark", f"{rate / their_rate:.0f}", "wanted: 40")
    line("times scapy", f"{rate / max(scapy):.0f}", "wanted: 300")


def line(what: str, found: str, more: str) -> None:
    """Print a row."""
    print(f"{what:<28}{found:>26}   {more}", flush=True)


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description="Print how fast captures become tables, beside tshark and scapy.",
        epilog="example: nice .venv/bin/python benchmarks/packets.py --seconds 20",
    )
    parser.add_argument(
        "--seconds", type=int, default=180, metavar="S", help="of the scenario (180: some 10 million packets)"
    )
    parser.add_argument("--run", type=Path, metavar="RUN", help="a finished run to measure on, instead")
    parser.add_argument("-n", "--rounds", type=int, default=3, metavar="N", help="how many rounds (3)")
    parser.add_argument("--scapy", type=int, default=30_000, metavar="N", help="packets that scapy reads")
    parser.add_argument("--copies", type=int, default=8, metavar="N", help="of the capture, for the memory")
    asked = parser.parse_args()
    if min(asked.seconds, asked.rounds, asked.scapy, asked.copies) < 1:
        parser.error("numbers are 1 at least")
    print(f"before: {machine()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="testbed-benchmark-") as scratch:
        folder = Path(scratch)
        run = asked.run.resolve() if asked.run else recorded(folder, asked.seconds)
        every = Tables(run).sql("select node, interface, packets from captures order by packets desc")
        node, interface, largest = every[0]
        path = run / "captures" / f"{node}.{interface}.pcap"
        line("one capture", f"{largest:,} packets", f"{path.stat().st_size / MB:.0f} MB")
        side_by_side(path, largest, asked.rounds, asked.scapy, folder)
        many = folder / "again.pcap"
        with ProcessPoolExecutor(1) as own:  # a process started here would begin with what we hold at most
            own.submit(again, path, asked.copies, many).result()
        more = spent(sys.executable, "-m", "testbed", "packets", many, "-o", folder / "tables", "-q")
        told = f"{asked.copies * largest:,} packets in {more.cpu_s:.1f} CPU-s; wanted: 600 at most"
        line(f"{asked.copies} times that", f"{more.memory_mb:.0f} MB", told)
        many.unlink()
        whole = spent(sys.executable, "-c", TABLES, run)
        packets, hops = sum(row[2] for row in every), Tables(run).scalar("select count(*) from hops")
        line("all tables of the run", f"{whole.real_s:.1f} s", "wanted: 60 at most, on two cores")
        line("", f"{packets:,} packets", f"on {len(every)} interfaces, {hops:,} hops")
        line("", f"{whole.cpu_s:.1f} CPU-s", f"{whole.memory_mb:.0f} MB")
        cost = measured(DEFAULT, folder)
        after_s = cost.tables_s + cost.judged_s
        told = (
            f"{after_s:.1f} of {cost.real_s:.1f} s, of these tables {cost.tables_s:.1f}; wanted: 20 at most"
        )
        line("oca-crash, after the guest", f"{100 * after_s / cost.real_s:.0f} %", told)
    print(f"after:  {machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Where a packet's processor time goes: perf's samples of a long transfer, sorted by what the code is for.

The transfer is that of packet_cost.py. perf samples the processes of the guest on the host. The guest kernel
is one of them; what it has the host's kernel do (stop and resume the guest's processes, write captures) shows
as the host's. Needs perf (linux-perf) and leave to use it (root, or kernel.perf_event_paranoid at 1 or less).
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import packet_cost

# What functions of the guest kernel are for, by how their names begin; the first that fits.
GROUPS = {
    "captures": """
        tpacket packet_ __packet prb_ run_filter ___bpf bpf_ dev_queue_xmit_nit skb_clone pskb_expand
    """,
    "queues and lines": """
        netem line_ qdisc __qdisc pfifo tfifo prio_ sch_ net_tx_action __netif_schedule
    """,
    "clock, timers and interrupts": """
        ktime hrtimer __hrtimer timer timerqueue tick clockevents time_travel __time_travel deliver_
        get_jiffies um_timer um_set_signals block_signals unblock_signals do_idle default_idle irq __irq
        handle_edge handle_irq __handle_irq note_interrupt do_IRQ rb_ __get_next_timer timekeeping
        get_next_timer enqueue_hrtimer lock_hrtimer sigio __remove_hrtimer arch_cpu_idle rcu cpu_idle menu
        um_idle __run_timers
    """,
    "IP and TCP": """
        ip_ __ip tcp __tcp inet __inet fib rt_ ipv4 dst_ neigh bictcp cubic sk_ sock __sk_ nf_
    """,
    "devices and softirqs": """
        veth netif __netif net_rx process_backlog napi __napi dev_ __dev eth_ handle_softirqs __local_bh
        enqueue_to_backlog validate_xmit ___netif softirq raise_softirq __raise
    """,
    "memory, copies and checksums": """
        kmem __kmem kfree kmalloc __kmalloc slab __slab ___slab skb __skb alloc_skb __alloc_skb mem csum
        __csum do_csum copy raw_copy do_op buffer __build consume page __free free get_page put_page
        allocate_slab new_slab setup_object virt_to_pte maybe_map __memcpy strncpy __put
    """,
}
LINE = re.compile(r"\s*([\d.]+)%\s+(\S.*?)\s+\[(.)\] (\S+)")


def group(image: str, mode: str, symbol: str) -> str:
    """What a sample was taken in."""
    if mode == "k":
        return "the host's kernel"
    if image == "libc.so.6":
        return "the guest kernel's calls of the host"
    if image != "linux":
        return "programs in the guest"
    for name, beginnings in GROUPS.items():
        if symbol.startswith(tuple(beginnings.split())):
            return name
    return "the rest of the guest kernel"


def profiled(sent_mb: int, *, captured: bool) -> Counter[str]:
    """Samples by what they were taken in, in shares of those in the guest's processes."""
    second = packet_cost.S
    duration_ns = packet_cost.BEGIN_NS + packet_cost.SPARE_NS
    duration_ns += int(sent_mb * 8_000_000 / (0.9 * packet_cost.RATE_BPS)) * second
    work = packet_cost.job(sent_mb * 10**6, duration_ns, 5 * packet_cost.MS, captured=captured)
    with tempfile.TemporaryDirectory(prefix="testbed-benchmark-") as name:
        (Path(name) / "job.json").write_text(work.dumps())
        data = str(Path(name) / "perf.data")
        perf = ["perf", "record", "-q", "-F", "1500", "-e", "cpu-clock", "-o", data]
        subprocess.run([*perf, sys.executable, __file__, "--run", name], check=True)
        report = ["perf", "report", "-i", data, "--comm", "linux", "--sort", "dso,symbol", "--stdio"]
        said = subprocess.run(report, check=True, capture_output=True, text=True).stdout
    found: Counter[str] = Counter()
    for share, image, mode, symbol in LINE.findall(said):
        found[group(image, mode, symbol)] += float(share)
    whole = sum(found.values())
    return Counter({name: share / whole for name, share in found.items()})


def main() -> int:
    """Profile without captures and with, and print."""
    parser = argparse.ArgumentParser(
        description="Print where a packet's processor time goes.",
        epilog="example: .venv/bin/python benchmarks/packet_profile.py",
    )
    parser.add_argument("--mb", type=int, default=3000, help="how much is sent (3000)")
    parser.add_argument("--run", metavar="FOLDER", help=argparse.SUPPRESS)  # we call ourselves by this
    asked = parser.parse_args()
    if asked.run:
        work = packet_cost.Job.loads((Path(asked.run) / "job.json").read_text())
        packet_cost.measured(work, Path(asked.run, "run"))
        return 0
    if shutil.which("perf") is None:
        parser.error("no perf here: sudo apt-get install linux-perf")
    print(f"{asked.mb} MB\n{packet_cost.machine()}\n\n{'':<40}{'no capture':>14}{'every link captured':>22}")
    plain, captured = (profiled(asked.mb, captured=captured) for captured in (False, True))
    for name, _ in (plain + captured).most_common():
        print(f"{name:<40}{plain[name]:>14.1%}{captured[name]:>22.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The guest's first process: it turns a job into a running network, and the network into evidence.

Run as `python -m testbed.emulate.guest` by the guest kernel, with the host's files below a read-only
root and the run folder as the one place of the host that can be written to. Messages to the host are
console lines that start with "@" and go on in JSON. What is done with the job is the `run` of
testbed.emulate.play, or of the module named on the command line.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from testbed.job import CONTENT, NODES, OUT, Job

_libc = ctypes.CDLL(None, use_errno=True)
_SET_TIMER_SLACK = 29  # prctl(2)
_POWER_OFF = 0x4321FEDC  # reboot(2)

# What the C library looks names up in, in place of the host's: a minimal Debian has no list of services
# or protocols at all, and what a program does on its way to a name decides where its memory lies, and so
# what OpenSSL draws.
_LOOKUPS = {
    "nsswitch.conf": "".join(
        f"{kind}: files\n" for kind in ("passwd", "group", "shadow", "hosts", "services", "protocols")
    ),
    "protocols": "icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\n",
    "services": "domain 53/tcp\ndomain 53/udp\nhttp 80/tcp\nbgp 179/tcp\nhttps 443/tcp\nhttps 443/udp\n",
}


def mount(kind: str, where: str, options: str = "") -> None:
    """Mount a file system as the system call does; OSError says what could not be mounted."""
    if _libc.mount(b"none", where.encode(), kind.encode(), 0, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {kind} on {where}: {os.strerror(number)}")


def prepare() -> None:
    """Lay writable places over the host's read-only files."""
    mount("proc", "/proc")
    mount("sysfs", "/sys")
    mount("devtmpfs", "/dev")
    for where in ("/dev/pts", "/dev/shm"):  # noqa: S108 - the guest's own
        Path(where).mkdir(parents=True, exist_ok=True)
    mount("devpts", "/dev/pts", "ptmxmode=0666")
    mount("tmpfs", "/dev/shm", "mode=1777")  # noqa: S108
    for where in ("/etc", "/var", "/tmp"):  # noqa: S108
        upper, work = f"/run/overlay{where}/upper", f"/run/overlay{where}/work"
        for folder in (upper, work):
            Path(folder).mkdir(parents=True)
        mount("overlay", where, f"lowerdir={where},upperdir={upper},workdir={work}")
    for name, text in _LOOKUPS.items():
        Path("/etc", name).unlink(missing_ok=True)  # it may be a link to what is not there
        Path("/etc", name).write_text(text)
    groups = Path("/etc/group")
    # FRR runs as nobody who is not of its group, not even as root
    groups.write_text(re.sub(r"^(frrvty:.*:)", r"\1root,", groups.read_text(), flags=re.MULTILINE))
    for path in (NODES, CONTENT):
        Path(path).mkdir(parents=True)
    # Who runs next follows from who woke first, and not from how much each has run before, which differs
    # by what Python had to do to load.
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    Path("/proc/sys/kernel/sched_rt_runtime_us").write_text("-1")
    # sleeps end when they should, not up to 50 µs later as is the default
    _libc.prctl(_SET_TIMER_SLACK, 1, 0, 0, 0)
    Path("/proc/sys/vm/panic_on_oom").write_text("1")
    Path("/proc/sys/kernel/hostname").write_text("testbed")


def tell(**message: Any) -> None:
    """Send the host a message."""
    sys.stdout.write("@" + json.dumps(message) + "\n")
    sys.stdout.flush()


def main(module: str = "testbed.emulate.play") -> None:
    """Run the job of the run folder, and power off whatever happens."""
    os.environ.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    try:
        prepare()
        # not before: pyroute2 reads /proc when it is imported
        importlib.import_module(module).run(Job.read(Path(OUT)))
    except BaseException as error:  # noqa: BLE001 - process 1 must not die, or the kernel panics
        tell(failed=f"{type(error).__name__}: {error}")
        traceback.print_exc()
    sys.stdout.flush()
    os.sync()
    _libc.reboot(_POWER_OFF)


if __name__ == "__main__":
    main(*sys.argv[1:])

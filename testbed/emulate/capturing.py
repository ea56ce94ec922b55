"""What is captured when: the capture process is started, and the timeline opens and closes its windows."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from testbed import bpf
from testbed.emulate.network import Network
from testbed.emulate.processes import Processes
from testbed.emulate.timeline import Timeline
from testbed.job import ALWAYS, NODES, OUT, Job, Process, Window
from testbed.services.records import Records

SERVICE = "testbed.emulate.capture:run"
_CLOSED = bpf.returning(0).hex()


class Capturing:
    """The captures of a job, from when there is a network until its processes are stopped."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._links = [link for link in job.links if link.name in job.captures]
        self._statistics = Path(NODES, "capture.json")
        self._control = Path(NODES, "capture.control") if job.windows else None
        self._pipe = -1

    def start(self, network: Network, processes: Processes) -> None:
        """Start to capture, if anything is to be: what has no window yet is closed."""
        if not self._links:
            return
        Path(OUT, "captures").mkdir(exist_ok=True)
        ready = Path(NODES, "capture.ready")
        links: list[dict[str, Any]] = []
        for link in self._links:
            ends = {"a": (link.a, link.a_interface), "b": (link.b, link.b_interface)}
            node, interface = ends[link.captured_at]
            windows = self._job.windows.get(link.name, (Window(),))
            first = windows[0]
            links.append({
                "namespace": network.namespace(node), "interface": network.index(node, interface),
                "path": f"{OUT}/captures/{node}.{interface}.ring",
                "program": _program(first) if first.from_ns is None else _CLOSED,
                "little": all(window.filter == ALWAYS for window in windows),
            })  # fmt: skip
        if self._control:
            os.mkfifo(self._control)
            self._pipe = os.open(self._control, os.O_RDWR)  # both, for then opening waits for nobody
        config = {
            "links": links, "ready": str(ready), "statistics": str(self._statistics),
            "control": str(self._control or ""),
        }  # fmt: skip
        processes.start_shared(Process(name="capture", service=SERVICE, config=config, ready=f"file:{ready}"))

    def put_on(self, timeline: Timeline, records: Records) -> None:
        """Enter when every window opens and closes."""
        orders: dict[tuple[int, str], list[tuple[int, str]]] = defaultdict(list)
        for index, link in enumerate(self._links):
            windows = self._job.windows.get(link.name, ())
            alone = {window.from_ns for window in windows if window.filter == ALWAYS}
            for window in windows:
                begin, until = window.from_ns, window.until_ns
                # what is always captured takes over where it begins, and is taken over where it ends
                if until is not None and window.filter != ALWAYS and until not in alone:
                    orders[until, "ended"].append((index, _CLOSED))
                if begin is not None:
                    phase = "ended" if begin in alone else "began"
                    orders[begin, phase].append((index, _program(window)))
        # Of two windows that meet, the one that ends does so first.
        for t_ns, phase in sorted(orders, key=lambda when: (when[0], when[1] == "began")):
            if t_ns >= self._job.duration_ns:
                break
            changes = orders[t_ns, phase]
            timeline.at(t_ns, partial(self._change, changes, phase, records))

    def statistics(self) -> dict[str, Any]:
        """By interface, the packets taken and those the kernel had no room for; call it at the end."""
        found: dict[str, Any] = json.loads(self._statistics.read_text()) if self._links else {}
        return found

    def _change(self, changes: list[tuple[int, str]], phase: str, records: Records) -> None:
        for index, program in changes:
            os.write(self._pipe, f"{index} {program}\n".encode())
        names = [self._links[index].name for index, _ in changes]
        records.write(
            "events", time.time_ns(), fault=0, kind="capture", phase=phase, detail=" ".join(names),
            target=names[0] if len(names) == 1 else f"{len(names)} links",
        )  # fmt: skip


def _program(window: Window) -> str:
    return window.program or bpf.assemble().hex()

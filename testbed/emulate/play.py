"""A run, on whichever kernel this is: build, start, settle, play, break, and write what came of it."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from testbed.emulate import capturing, forwarding
from testbed.emulate.capturing import Capturing
from testbed.emulate.forwarding import Forwarding
from testbed.emulate.guest import tell
from testbed.emulate.network import Network
from testbed.emulate.processes import Processes
from testbed.emulate.timeline import Faults, Timeline
from testbed.job import CONTENT, NODES, OUT, SECRETS, Job, Process
from testbed.services.records import Records

PLAYERS, BACKGROUND = "testbed.services.player:run", "testbed.emulate.background:run"
PROBES = "testbed.services.probes:run"
S = 1_000_000_000
_ALIGN_NS = 5 * S
# Viewers to a process: the kernel of the guest maps every page of a process by itself, and the host lets a
# process have 65,530 mappings (vm.max_map_count), which are 256 MiB; a viewer takes about 0.3.
_VIEWERS = 100
_PATIENCE_NS = 300 * S  # of the run's clock, for routing to settle


def run(job: Job) -> None:
    """Do the whole job in this kernel; `guest.json` is written when all is done."""
    out = Path(OUT)
    records = Records(f"{OUT}/events.jsonl")
    # libcurl looks when it is loaded; Wireshark decrypts what players and agents say with it.
    os.environ["SSLKEYLOGFILE"] = f"{OUT}/{SECRETS}"
    kinds = [each.source for each in job.faults] + [each.source for each in job.traffic]
    network, capture, settled_ns = bring_up(job, out, PLAYERS, BACKGROUND, PROBES, *kinds)
    processes = network.processes
    start = -(-time.time_ns() // S) * S  # the next whole second
    network.start_traces(start)
    Path(NODES, "started").write_text(str(start))
    _note(records, "run", job.scenario, "began")
    _start_players(job, network, processes, start)
    _start_traffic(job, network, processes, start)
    _start_probes(job, network, processes, start)
    timeline = Timeline(start)
    capture.put_on(timeline, records)
    Faults(network, records).put_on(timeline)
    _repeat(timeline, job.duration_ns, job.sample_ns, lambda _: _sample(network, records))
    _repeat(timeline, job.duration_ns, S, _Watch(job, processes, records).look)
    timeline.run()
    end = time.time_ns()
    for name in _players(job):
        processes.await_end("", name)
    for name in [*(["traffic"] if job.traffic else []), *(["probes"] if job.probes else [])]:
        processes.await_end("", name)
    processes.stop_all()
    (out / "guest.json").write_text(json.dumps({
        "finished": True, "t0_unix_ns": start, "end_unix_ns": end, "settled_ns": settled_ns,
        "capture": capture.statistics(), "kernel": platform.release(),
    }, indent=1, sort_keys=True))  # fmt: skip


def bring_up(job: Job, out: Path, *services: str) -> tuple[Network, Capturing, int]:
    """Build the network, start what runs on it and wait for its routes to settle.

    Returns it with what captures it, and how long the routes took to settle in ns. `services` are loaded
    for later.
    """
    network = Network(job, out / "logs", Path(NODES))
    processes = network.processes
    processes.load(capturing.SERVICE, forwarding.SERVICE, *services)
    if job.clock == "virtual":
        _align()
    tell(stage="building the network", done=0, of=len(job.nodes))
    network.build()
    network.await_trees()
    _lay_out_titles(job)
    processes.lay_out()
    capture = Capturing(job)
    capture.start(network, processes)
    tables = Forwarding()
    tables.start(network, processes)
    started = functools.partial(tell, stage="starting processes", of=sum(len(n.processes) for n in job.nodes))
    processes.start_all(needing_routes=False, started=lambda count: started(done=count))
    tell(stage="waiting for routes", done=0, of=1)
    settled_ns = _settle(job, tables)
    processes.start_all(needing_routes=True, started=lambda count: started(done=count))
    return network, capture, settled_ns


def _repeat(timeline: Timeline, until_ns: int, every_ns: int, action: Callable[[int], None]) -> None:
    """Do something at the start, at every multiple of a time, and at the end; it is told when it is."""

    def at(t_ns: int) -> None:
        action(t_ns)
        if t_ns < until_ns:
            following = min(t_ns + every_ns, until_ns)
            timeline.at(following, lambda: at(following))

    timeline.at(0, lambda: at(0))


def _sample(network: Network, records: Records) -> None:
    """Read the counters of every queue."""
    for link, node, interface, counters in network.counters():
        records.write("links", time.time_ns(), link=link, node=node, interface=interface, **counters)


class _Watch:
    """Tells the host how far the run is, and writes down what ends though it should not."""

    def __init__(self, job: Job, processes: Processes, records: Records) -> None:
        self._job, self._processes, self._records = job, processes, records
        self._stage = "virtual time" if job.clock == "virtual" else "time"
        self._ended: set[str] = set()

    def look(self, t_ns: int) -> None:
        """Do both, now."""
        for name in sorted(set(self._processes.ended()) - self._ended):
            self._ended.add(name)
            _note(self._records, "process", name, "ended", "nobody asked it to")
        tell(stage=self._stage, done=t_ns / S, of=self._job.duration_ns / S)


def _note(records: Records, kind: str, target: str, phase: str, detail: str = "") -> None:
    """Write an event of the run itself, which is no fault."""
    records.write("events", time.time_ns(), fault=0, kind=kind, target=target, phase=phase, detail=detail)


def _align() -> None:
    """Wait for a round time, the same whatever came before: how long Python took to load differs."""
    time.sleep((_ALIGN_NS - time.time_ns() % _ALIGN_NS) / 1e9)


def _lay_out_titles(job: Job) -> None:
    """A file per title and bitrate: of the right length and without content, which costs no memory, or real.

    Every server has the titles it holds as links to the one copy there is.
    """
    for title in job.titles:
        folder = Path(CONTENT, title.name)
        folder.mkdir()
        for rung, kbps in enumerate(title.bitrates_kbps):
            name, size = f"{kbps}.mp4", sum(segment[rung] for segment in title.segment_bytes)
            if title.media:
                _link(folder / name, Path(title.media.folder, name), size)
                continue
            with (folder / name).open("wb") as file:
                file.truncate(size)
        if title.media:
            (folder / "manifest.mpd").write_text(title.media.manifest)
    for node in job.nodes:
        if node.role in ("oca", "origin"):
            content = Path(NODES, node.name, "content")
            content.mkdir(parents=True)
            for name in node.titles:
                (content / name).symlink_to(Path(CONTENT, name))


def _link(link: Path, video: Path, size: int) -> None:
    """Link to a real video, which has to have all that was planned with."""
    found = video.stat().st_size if video.exists() else 0
    if found < size:
        raise RuntimeError(f"{video} has {found} bytes of {size}: it changed since the plan")
    link.symlink_to(video)


def _settle(job: Job, tables: Forwarding) -> int:
    """Wait until no forwarding table has changed for the job's time; how long that took, in ns."""
    began = time.time_ns()
    while (ahead := max(tables.last_ns(), began) + job.settle_ns - time.time_ns()) > 0:
        if time.time_ns() - began > _PATIENCE_NS:
            raise RuntimeError(f"routing had not settled after {_PATIENCE_NS / S:g} s: some route flaps")
        time.sleep(min(ahead, S) / S)
        # a word now and then, for a busy machine may take minutes over it
        stood_ns = min(time.time_ns() - max(tables.last_ns(), began), job.settle_ns)
        tell(stage="waiting for routes", done=stood_ns / S, of=job.settle_ns / S)
    return max(tables.last_ns() - began, 0)


def _players(job: Job) -> list[str]:
    """The names of the processes that hold the viewers."""
    count = -(-len(job.sessions) // _VIEWERS)
    return ["players"] if count == 1 else [f"players-{number}" for number in range(1, count + 1)]


def _start_players(job: Job, network: Network, processes: Processes, start_unix_ns: int) -> None:
    """Each viewer plays in a thread of its own, inside its client's namespace; so many share a process."""
    common = {
        "events": f"{OUT}/events.jsonl", "seed": job.seed,
        "t0_unix_ns": start_unix_ns, "duration_ns": job.duration_ns,
    }  # fmt: skip
    for number, name in enumerate(_players(job)):
        sessions = job.sessions[number * _VIEWERS : (number + 1) * _VIEWERS]
        titles = {session.title for session in sessions}
        config = {
            **common,
            "titles": {title.name: dataclasses.asdict(title) for title in job.titles if title.name in titles},
            "sessions": [
                {
                    **dataclasses.asdict(session),
                    "steering_host": f"steering.{job.zone}",
                    "netns": network.namespace(session.client),
                }
                for session in sessions
            ],
        }
        processes.start_shared(Process(name=name, service=PLAYERS, config=config))


def _start_traffic(job: Job, network: Network, processes: Processes, start_unix_ns: int) -> None:
    """One process for all background traffic, which holds both ends of it."""
    if not job.traffic:
        return
    traffic = []
    for each in job.traffic:
        clients = [(client, network.namespace(client)) for client in each.clients]
        ends = (network.namespace(each.server), clients)
        traffic.append({**dataclasses.asdict(each), "ends": ends})
    config = {
        "events": f"{OUT}/events.jsonl", "seed": job.seed,
        "t0_unix_ns": start_unix_ns, "duration_ns": job.duration_ns, "traffic": traffic,
    }  # fmt: skip
    processes.start_shared(Process(name="traffic", service=BACKGROUND, config=config))


def _start_probes(job: Job, network: Network, processes: Processes, start_unix_ns: int) -> None:
    """One process sends all probes."""
    if not job.probes:
        return
    probes = [(network.namespace(each.node), each.source, each.address) for each in job.probes]
    config = {
        "t0_unix_ns": start_unix_ns, "duration_ns": job.duration_ns, "every_ns": job.probe_every_ns,
        "probes": probes,
    }  # fmt: skip
    processes.start_shared(Process(name="probes", service=PROBES, config=config))

"""A run, on whichever kernel this is: build, start, settle, play, break, and write what came of it."""

from __future__ import annotations

import dataclasses
import functools
import json
import platform
import time
from pathlib import Path

from testbed.emulate.guest import tell
from testbed.emulate.network import Network
from testbed.emulate.processes import Processes
from testbed.emulate.timeline import Faults, Timeline
from testbed.job import CONTENT, NODES, OUT, Job, Process
from testbed.services.records import Records

PLAYERS, CAPTURE = "testbed.services.player:run", "testbed.emulate.capture:run"
_ALIGN_NS = 5_000_000_000
_PATIENCE_NS = 300_000_000_000  # of the run's clock, for routing to settle


def run(job: Job) -> None:
    """Do the whole job in this kernel; `guest.json` is written when all is done."""
    out = Path(OUT)
    records = Records(f"{OUT}/events.jsonl")
    network = Network(job, out / "logs", Path(NODES))
    processes = network.processes
    processes.load(PLAYERS, CAPTURE)
    if job.clock == "virtual":
        _align()
    tell(stage="building the network", done=0, of=len(job.nodes))
    network.build()
    _lay_out_titles(job)
    processes.lay_out()
    capture = _start_capture(job, network, processes)
    started = functools.partial(tell, stage="starting processes", of=sum(len(n.processes) for n in job.nodes))
    processes.start_all(needing_routes=False, started=lambda count: started(done=count))
    settled_ns = _settle(job, network)
    processes.start_all(needing_routes=True, started=lambda count: started(done=count))
    start = -(-time.time_ns() // 1_000_000_000) * 1_000_000_000  # the next whole second
    records.write(
        "events",
        time.time_ns(),
        fault=0,
        kind="run",
        target=job.scenario,
        phase="planned",
        detail="the scenario starts",
    )
    _start_players(job, network, processes, start)
    timeline = Timeline(start)
    Faults(network, records).put_on(timeline)
    ended: set[str] = set()

    def sample(t_ns: int) -> None:
        for link, node, interface, counters in network.counters():
            records.write("links", time.time_ns(), link=link, node=node, interface=interface, **counters)
        for name in set(processes.ended()) - ended:
            ended.add(name)
            records.write(
                "events",
                time.time_ns(),
                fault=0,
                kind="process",
                target=name,
                phase="ended",
                detail="nobody asked it to",
            )
        tell(
            stage="virtual time" if job.clock == "virtual" else "time",
            done=t_ns / 1e9,
            of=job.duration_ns / 1e9,
        )
        if t_ns < job.duration_ns:
            following = min(t_ns + job.sample_ns, job.duration_ns)
            timeline.at(following, lambda: sample(following))

    timeline.at(0, lambda: sample(0))
    timeline.run()
    end = time.time_ns()
    if job.sessions:
        processes.await_end("", "players")
    processes.stop_all()
    statistics = json.loads(capture.read_text()) if capture else {}
    (out / "guest.json").write_text(json.dumps({
        "finished": True, "t0_unix_ns": start, "end_unix_ns": end, "settled_ns": settled_ns,
        "capture": statistics, "kernel": platform.release(),
    }, indent=1, sort_keys=True))  # fmt: skip


def _align() -> None:
    """Wait for a round time, the same whatever came before: how long Python took to load differs."""
    time.sleep((_ALIGN_NS - time.time_ns() % _ALIGN_NS) / 1e9)


def _lay_out_titles(job: Job) -> None:
    """A file per title and bitrate, of the right length and without content: it costs no memory."""
    for title in job.titles:
        folder = Path(CONTENT, title.name)
        folder.mkdir()
        for rung, kbps in enumerate(title.bitrates_kbps):
            with (folder / f"{kbps}.mp4").open("wb") as file:
                file.truncate(sum(segment[rung] for segment in title.segment_bytes))


def _start_capture(job: Job, network: Network, processes: Processes) -> Path | None:
    links = []
    for link in job.links:
        if link.name in job.captures:
            node, interface = (
                (link.a, link.a_interface) if link.captured_at == "a" else (link.b, link.b_interface)
            )
            links.append({
                "namespace": network.namespace(node), "interface": network.index(node, interface),
                "path": f"{OUT}/captures/{node}.{interface}.ring",
            })  # fmt: skip
    if not links:
        return None
    Path(OUT, "captures").mkdir(exist_ok=True)
    ready, statistics = Path(NODES, "capture.ready"), Path(NODES, "capture.json")
    config = {"links": links, "ready": str(ready), "statistics": str(statistics)}
    processes.start_shared(Process(name="capture", service=CAPTURE, config=config, ready=f"file:{ready}"))
    return statistics


def _settle(job: Job, network: Network) -> int:
    """Wait until no forwarding table has changed for the job's time; how long that took, in ns."""
    began = last = time.time_ns()
    routes = network.routes()
    while (now := time.time_ns()) - last < job.settle_ns:
        if now - began > _PATIENCE_NS:
            raise RuntimeError(f"routing had not settled after {_PATIENCE_NS / 1e9:g} s: some route flaps")
        time.sleep(0.5)
        if (new := network.routes()) != routes:
            routes, last = new, time.time_ns()
    return last - began


def _start_players(job: Job, network: Network, processes: Processes, start_unix_ns: int) -> None:
    """One process for all viewers: each plays in a thread of its own, inside its client's namespace."""
    if not job.sessions:
        return
    config = {
        "events": f"{OUT}/events.jsonl", "seed": job.seed,
        "t0_unix_ns": start_unix_ns, "duration_ns": job.duration_ns,
        "titles": {title.name: dataclasses.asdict(title) for title in job.titles},
        "sessions": [
            {
                **dataclasses.asdict(session),
                "steering_host": f"steering.{job.zone}",
                "netns": network.namespace(session.client),
            }
            for session in job.sessions
        ],
    }  # fmt: skip
    processes.start_shared(Process(name="players", service=PLAYERS, config=config))

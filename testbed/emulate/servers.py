"""What faults may do to the servers of a network: to processes, files, routing, and who is sent there.

As everywhere, a change is in force while somebody wants it: overlapping faults may end in any order.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed import namespaces
from testbed.emulate.processes import Processes
from testbed.faults import Cut
from testbed.job import Job
from testbed.layers import Layers
from testbed.routing import Routing
from testbed.services.http import Client

_PATIENCE_NS = 5_000_000_000
_ASIDE = ".aside"


class Servers(Layers):
    """The servers on the nodes of a job, whose files lie in folders below `nodes`."""

    def __init__(self, job: Job, namespace: Callable[[str], int], logs: Path, nodes: Path) -> None:
        super().__init__(job)
        self.processes = Processes(job, namespace, logs, nodes)
        self._enter, self._homes = namespace, nodes
        # by node and file, the latest last
        self._texts: dict[tuple[str, str], list[tuple[str | Cut | None]]] = {}
        self._changed: set[tuple[str, str]] = set()  # those of them that are not what they were
        self._routed: dict[str, list[Callable[[Routing], Routing]]] = {}  # by router, the latest last
        self._draining = Counter[str]()

    @contextmanager
    def stopped(self, node: str, processes: tuple[str, ...] | None = None) -> Iterator[None]:
        """Kill processes of a node (all of them if None) while inside; start them again after."""
        with self.processes.stopped(node, self._named(node, processes)):
            yield

    @contextmanager
    def frozen(self, node: str, processes: tuple[str, ...] | None = None) -> Iterator[None]:
        """Keep processes of a node (all of them if None) from running while inside: they hang."""
        with self.processes.frozen(node, self._named(node, processes)):
            yield

    @contextmanager
    def files(self, node: str, changes: Mapping[str, str | Cut | None]) -> Iterator[None]:
        """Change files of a node while inside, by their path in its folder: a text, cut, or None for gone."""
        layers = {name: (text,) for name, text in changes.items()}
        for name, layer in layers.items():
            self._texts.setdefault((node, name), []).append(layer)
            self._lay(node, name)
        try:
            yield
        finally:
            for name, layer in layers.items():
                present = self._texts[node, name]
                del present[next(place for place, each in enumerate(present) if each is layer)]
                self._lay(node, name)

    @contextmanager
    def routed(self, router: str, change: Callable[[Routing], Routing]) -> Iterator[None]:
        """Have a router do what a change makes of its description while inside; the latest on top."""
        changes = self._routed.setdefault(router, [])
        changes.append(change)
        try:
            self._tell(router)
            yield
        finally:
            del changes[next(place for place, each in enumerate(changes) if each is change)]
            self._tell(router)

    @contextmanager
    def drained(self, oca: str) -> Iterator[None]:
        """Have steering send an OCA no new clients while inside, as an operator asks it to."""
        self._draining[oca] += 1
        if self._draining[oca] == 1:
            self._ask_to_drain(oca, draining=True)
        try:
            yield
        finally:
            self._draining[oca] -= 1
            if not self._draining[oca]:
                self._ask_to_drain(oca, draining=False)

    def changed(self, node: str) -> list[Any]:
        """The files of a node that are not as they were laid out, by path; its titles that are gone."""
        planned = self.job.node(node)
        home = self._homes / node
        gone = [f"content/{title}" for title in planned.titles if not (home / "content" / title).is_symlink()]
        other = [
            path for path, text in sorted(planned.files.items())
            if not Path(path).exists() or Path(path).read_text() != text
        ]  # fmt: skip
        return [*gone, *other]

    def draining(self) -> list[str]:
        """The OCAs that somebody wants to drain."""
        return sorted(oca for oca, count in self._draining.items() if count)

    def _named(self, node: str, processes: tuple[str, ...] | None) -> tuple[str, ...]:
        return processes or tuple(process.name for process in self.job.node(node).processes)

    def _lay(self, node: str, name: str) -> None:
        """Bring a file to what the latest change says, or to what it was, which waits aside."""
        path = self._homes / node / name
        aside = path.with_name(f".{path.name}{_ASIDE}")
        layers = self._texts[node, name]
        if (node, name) not in self._changed:
            self._changed.add((node, name))
            if path.exists():
                path.rename(aside)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if not layers:
            self._changed.remove((node, name))
            if aside.is_symlink() or aside.exists():
                aside.rename(path)
        elif isinstance(content := layers[-1][0], Cut):
            _cut(aside, path, content.share)
        elif content is not None:
            path.write_text(content)

    def _tell(self, router: str) -> None:
        """Bring a router's daemon to the changes in force."""
        routing = self.job.routing[router]
        for change in self._routed[router]:
            routing = change(routing)
        self.processes.daemon(router).become(routing)

    def _ask_to_drain(self, oca: str, *, draining: bool) -> None:
        """Post it to steering, on its own node, whatever the network is like."""
        steering = next(node for node in self.job.nodes if node.role == "steering")
        problems: list[str] = []

        def post() -> None:
            namespaces.enter(self._enter(steering.name))
            with Client(f"{self._homes}/{oca}/ca.pem", _PATIENCE_NS, "testbed-operator") as client:
                url = f"https://steering.{self.job.zone}/v1/drain"
                document = {"oca": oca, "draining": draining}
                answer = client.post_json(url, steering.address or steering.address6, document)
                if not answer.ok:
                    problems.append(answer.error or f"HTTP {answer.status}")

        # a namespace is a thread's, and so are the sockets it opens
        thread = threading.Thread(target=post)
        thread.start()
        thread.join()
        if problems:
            raise RuntimeError(f"steering was not told that {oca} drains: {problems[0]}")


def _cut(whole: Path, path: Path, share: float) -> None:
    """Make a folder whose files are the beginnings of another's, holes and all."""
    path.mkdir()
    for file in whole.iterdir() if whole.exists() else ():
        kept = int(file.stat().st_size * share)
        with (path / file.name).open("wb") as cut:
            if file.stat().st_blocks:
                with file.open("rb") as video:
                    cut.write(video.read(kept))
            cut.truncate(kept)

"""A fault for tests: a router's session with a neighbour is closed by its administrator, and opened again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from testbed.faults import Fault, NodeName


@dataclass(kw_only=True)
class Shut(Fault):
    """{kind: shut, router: north.core, neighbor: oca-1, at: 1s, lasts: 1s}"""

    kind = "shut"

    router: NodeName
    neighbor: NodeName

    def where(self):
        return self.neighbor

    @contextmanager
    def strike(self, net) -> Iterator[None]:
        daemon = net.processes.daemon(self.router)
        session = f"{self.neighbor.replace('-', '_')}_4"
        daemon.shut(session)
        try:
            yield
        finally:
            daemon.open(session)

    def took_hold(self, tables):
        return bool(
            tables.scalar(
                "select count(*) from bgp where kind = 'notification' and node = ? and t_ns between ? and ?",
                self.neighbor, self.at, self.at + 10**9,
            )
        )  # fmt: skip

    def healed(self, tables):
        return None

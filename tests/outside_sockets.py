"""A fault for tests that breaks nothing: what the kernel says of a node's web connections is written down."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed import namespaces
from testbed.faults import Fault, NodeName
from testbed.job import OUT


@dataclass(kw_only=True)
class Asked(Fault):
    """{kind: sockets-asked, node: oca-1, at: 1s, lasts: 1s}"""

    kind = "sockets-asked"

    node: NodeName

    def where(self):
        return self.node

    @contextmanager
    def strike(self, net) -> Iterator[None]:
        command = ["ss", "-Htin", "state", "established", "sport", "=", ":443"]
        with namespaces.inside(net.namespace(self.node)):
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        Path(f"{OUT}/logs/{self.node}/ss.log").write_text(said)
        yield

    def took_hold(self, tables):
        return True

    def healed(self, tables):
        return None

"""An OCA comes back with a certificate of another name, and every client refuses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.faults import Fault, Net, OcaName
from testbed.job import NODES

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

_REFUSED = "select count(*) from requests where oca = ? and error = 'certificate refused: another name'"


@dataclass(kw_only=True)
class CertificateMismatch(Fault):
    """{kind: certificate-mismatch, target: oca-n1, at: 60s, lasts: 60s}"""

    kind = "certificate-mismatch"
    colour = "#e8d0b3"

    target: OcaName

    def where(self) -> str:
        """The appliance."""
        return self.target

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Restart its web server with the origin's certificate, and at the end with its own."""
        papers = ("certificate.pem", "key.pem")
        others = {name: net.job.node("origin").files[f"{NODES}/origin/{name}"] for name in papers}
        return presenting(net, self.target, others)

    def took_hold(self, tables: Tables) -> bool | None:
        """Clients refused its certificate; None if nobody connected."""
        during = tables.during(self)
        if during.scalar(_REFUSED, self.target):
            return True
        connected = during.scalar("select count(*) from requests where oca = ? and tls_ns > 0", self.target)
        return False if connected else None

    def healed(self, tables: Tables) -> bool | None:
        """Nobody refuses it any more."""
        return not tables.after(self).scalar(_REFUSED, self.target)


@contextmanager
def presenting(net: Net, oca: str, papers: Mapping[str, str]) -> Iterator[None]:
    """Have an OCA's web server present other papers, by the name of the file, while inside."""
    with ExitStack() as in_force:
        with net.stopped(oca, ("nginx",)):
            in_force.enter_context(net.files(oca, papers))
        try:
            yield
        finally:
            with net.stopped(oca, ("nginx",)):
                in_force.close()

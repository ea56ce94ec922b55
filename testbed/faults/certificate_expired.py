"""An OCA's certificate has run out, and every client refuses it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.faults import ExpiredOcaName, Fault, Net
from testbed.faults.certificate_mismatch import presenting
from testbed.job import EXPIRED, NODES

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

_REFUSED = "select count(*) from requests where oca = ? and error = 'certificate refused: expired'"


@dataclass(kw_only=True)
class CertificateExpired(Fault):
    """{kind: certificate-expired, target: oca-n1, at: 60s, lasts: 60s}

    It ends with a new certificate. To clients whose clock is ahead a certificate that is good looks the same.
    """

    kind = "certificate-expired"
    colour = "#ecdcb6"

    target: ExpiredOcaName

    def where(self) -> str:
        """The appliance."""
        return self.target

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Restart its web server with the expired certificate, and at the end with the one that is good."""
        expired = net.job.node(self.target).files[f"{NODES}/{self.target}/{EXPIRED}"]
        return presenting(net, self.target, {"certificate.pem": expired})

    def took_hold(self, tables: Tables) -> bool | None:
        """Clients refused its certificate for that; None if nobody connected."""
        during = tables.during(self)
        if during.scalar(_REFUSED, self.target):
            return True
        connected = during.scalar("select count(*) from requests where oca = ? and tls_ns > 0", self.target)
        return False if connected else None

    def healed(self, tables: Tables) -> bool | None:
        """Nobody refuses it any more."""
        return not tables.after(self).scalar(_REFUSED, self.target)

"""An RPKI cache tells routers its ROAs by RTR (StayRTR)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from testbed.job import Node, Process
from testbed.model.rpki import RpkiCache as Spec
from testbed.plan.routing import RTR
from testbed.roles import Equipment, Role, place

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint

_VERSION = 1  # of RTR, RFC 8210; 2 is a draft
_S = 1_000_000_000


class RpkiCache(Role):
    """A cache with the topology's ROAs in place of a validator's, over plain TCP."""

    kind = "rpki-cache"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """StayRTR with the ROAs as a file, as validators write it."""
        spec = plan.topology.rpki[node.name]
        path = place(node, "roas.json")
        argv = (
            "stayrtr", "-bind", f":{RTR}", "-cache", path, "-checktime=false", "-metrics.addr", "",
            "-protocol", str(_VERSION), "-rtr.refresh", str(spec.refresh // _S),
            "-rtr.retry", str(spec.retry // _S), "-rtr.expire", str(spec.expire // _S),
        )  # fmt: skip
        # as every program of Go's does
        server = Process(name="stayrtr", argv=argv, ready=f"tcp:{RTR}", reads_counter=True)
        return Equipment({path: _roas(spec)}, (server,))


def _roas(spec: Spec) -> str:
    """The ROAs in the form of rpki-client(8), which every cache server reads."""
    roas = [
        {"prefix": each.prefix, "maxLength": each.longest, "asn": each.asn, "ta": "testbed"}
        for each in spec.roas
    ]
    return json.dumps({"metadata": {}, "roas": roas}, indent=1) + "\n"

"""An OCA serves segments, hears from its router whom it may serve, and reports to the control plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import CONTENT, NODES, OUT, Node, Process
from testbed.plan.filling import files_of
from testbed.roles import Equipment, Role, place
from testbed.roles.origin import Serving, web_server
from testbed.roles.router import routed

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class Oca(Role):
    """An Open Connect appliance: nginx, BIRD (learns, announces nothing) and the agent that reports."""

    kind = "oca"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """Nginx with a certificate of its own, BIRD with a session a family, and the agent."""
        cdn = plan.cdn
        spec = plan.topology.ocas[node.name]
        pacing_bps = int(spec.pacing) if spec.pacing else None
        web = web_server(node, plan, Serving(spec.congestion, pacing_bps, spec.max_connections))
        # BGP is what steering goes by, not what the appliance forwards by: it has a default route
        routing = routed(node, plan)
        # what it asks for itself goes by IPv4 where there is any
        resolver = plan.nodes[plan.network_of(node.name).resolver]
        own = node.address or node.address6
        agent = Process(
            name="agent",
            service="testbed.services.agent:run",
            ready=f"file:{place(node, 'reported')}",
            needs_routes=True,
            config={
                "oca": node.name,
                "address": own,
                "family": 4 if node.address else 6,
                "resolver": resolver.address or resolver.address6,
                "ca": place(node, "ca.pem"),
                "steering_host": f"steering.{cdn.zone}",
                "report_ns": int(cdn.report),
                "grace_ns": int(cdn.grace),
                "alone": place(node, "alone"),
                "bird_socket": place(node, "bird.ctl"),
                "reported": place(node, "reported"),
                "titles": [title.name for title in plan.titles],
                "content": place(node, "content"),
                "seed": plan.authority.seed,
                "health": {"address": own, "port": 443},
            },
        )
        fill = (_fill(agent, plan),) if plan.fill else ()
        return Equipment(
            {**web.files, **routing.files}, (*web.processes, *routing.processes, agent, *fill),
            titles=plan.titles_on(node.name), sysctls=web.sysctls,
        )  # fmt: skip


def _fill(agent: Process, plan: Blueprint) -> Process:
    """What fetches the titles of the manifest that are not on the box; it asks as the agent does."""
    assert plan.fill is not None
    shared = ("oca", "content", "family", "resolver", "ca", "steering_host", "seed")
    return Process(
        name="fill",
        service="testbed.services.fill:run",
        needs_routes=True,
        config={
            **{key: agent.config[key] for key in shared},
            "titles": files_of(plan),
            "store": CONTENT,
            "started": f"{NODES}/started",
            "events": f"{OUT}/events.jsonl",
            "windows": [
                {
                    "at_ns": int(window.at), "lasts_ns": int(window.lasts),
                    "every_ns": None if window.every is None else int(window.every),
                }
                for window in plan.fill.windows
            ],
            "rate_bps": int(plan.fill.rate),
            "retry_ns": int(plan.fill.retry),
        },
    )  # fmt: skip

"""The origin holds every title; it is what clients fall back to when no OCA serves them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from testbed.job import EXPIRED, OUT, Node, Process
from testbed.roles import Equipment, Role, place

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class Origin(Role):
    """The CDN's origin: nginx with all titles."""

    kind = "origin"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """Equip it with nginx and nothing else."""
        return replace(web_server(node, plan), titles=tuple(title.name for title in plan.titles))


def _own(node: Node) -> Iterator[str]:
    """The addresses that a node has."""
    shared = (each.partition("/")[0] for each in node.loopbacks)  # what an anycast OCA has on lo
    return (own for own in (node.address, node.address6, *shared) if own)


def _in_urls(node: Node) -> Iterator[str]:
    """A node's addresses as they stand before a port."""
    return (f"[{own}]" if ":" in own else own for own in _own(node))


@dataclass(frozen=True)
class Serving:
    """How a server sends; None: as the system does, or without a limit."""

    congestion: str | None = None  # congestion control, for all that the node sends
    pacing_bps: int | None = None  # of a connection
    connections: int | None = None  # responses at a time; 503 to those above


_SYSTEMS = Serving()
# By whether it takes over sockets: a single process does not survive that (ngx_event_process_init in 1.22).
_PROCESSES = {False: "master_process off;", True: "worker_processes 1;\nuser root;"}


def web_server(node: Node, plan: Blueprint, serving: Serving = _SYSTEMS) -> Equipment:
    """Nginx on a node: HTTP/1.1 and HTTP/2 over TLS, the titles below `/`, an access log in JSON.

    Pacing is the kernel's (SO_MAX_PACING_RATE, socket(7)): each connection sends its packets evenly spaced,
    where nginx's own limit_rate sends what a second allows at once.
    """
    host = f"{node.name}.{plan.cdn.zone}"
    # by the DNS and by anycast, a client knows every server by one name
    edges = {
        "list": (), "dns": (f"*.edge.{plan.cdn.zone}",), "anycast": (f"edge.{plan.cdn.zone}",)
    }[plan.cdn.steering.mode]  # fmt: skip
    certificate, key = plan.authority.issue(host, *edges)
    expired = (
        {place(node, EXPIRED): plan.authority.issue(host, *edges, expired=True)[0]}
        if node.name in plan.expired
        else {}
    )
    access = f"{OUT}/logs/{node.name}/access.jsonl"
    listen = "\n".join(f"    listen {address}:443 ssl http2;" for address in _in_urls(node))
    limit = (
        f"  limit_conn_zone $server_name zone=all:32k;\n  limit_conn all {serving.connections};\n"
        if serving.connections
        else ""
    )
    configuration = f"""# {node.name}
daemon off;
{_PROCESSES[serving.pacing_bps is not None]}
pid {place(node, "nginx.pid")};
error_log stderr notice;
events {{ worker_connections 4096; }}
http {{
  log_format access escape=json '{{"t":"$msec","client":"$remote_addr","port":$remote_port,'
    '"request":"$request","status":$status,"body_bytes":$body_bytes_sent,"bytes":$bytes_sent,"request_id":"$http_x_request_id",'
    '"time_s":$request_time,"tls":"$ssl_protocol","protocol":"$server_protocol","connection":$connection,'
    '"range":"$http_range"}}';
  access_log {access} access;
  client_body_temp_path {place(node, "body")};
  proxy_temp_path {place(node, "proxy")};
  fastcgi_temp_path {place(node, "fastcgi")};
  uwsgi_temp_path {place(node, "uwsgi")};
  scgi_temp_path {place(node, "scgi")};
  types {{ video/mp4 mp4; application/dash+xml mpd; }}
  default_type application/octet-stream;
  server_tokens off;
  sendfile on;
  output_buffers 1 256k;
  keepalive_timeout 75s;
  keepalive_requests 100000;
  ssl_certificate {place(node, "certificate.pem")};
  ssl_certificate_key {place(node, "key.pem")};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:tls:1m;
{limit}  server {{
{listen}
    server_name {host};
    root {place(node, "content")};
    # the agent says that the control plane has been silent for longer than its grace
    if (-f {place(node, "alone")}) {{ return 503 '{{"error":"no control plane"}}'; }}
    location = /health {{ return 204; }}
    # a page of whatever site may play what is here; who is no browser sends no origin and gets no header
    add_header Access-Control-Allow-Origin $http_origin;
    # who asks for a pace gets the response at it, a piece at a time; others are not touched by that
    location / {{ error_page 418 = @paced; if ($http_x_pace) {{ return 418; }} }}
    location @paced {{ limit_rate $http_x_pace; sendfile_max_chunk 16k; }}
  }}
}}
"""
    files = {
        place(node, "nginx.conf"): configuration,
        place(node, "certificate.pem"): certificate,
        place(node, "key.pem"): key,
        place(node, "ca.pem"): plan.authority.certificate,
        **expired,
    }
    nginx = ("nginx", "-p", place(node, ""), "-e", "stderr", "-c", place(node, "nginx.conf"))
    if serving.pacing_bps is None:
        process = Process(name="nginx", argv=nginx, ready="tcp:443")
    else:
        config = {"addresses": list(_own(node)), "port": 443, "pacing_bps": serving.pacing_bps, "argv": nginx}
        process = Process(name="nginx", service="testbed.services.paced:run", config=config, ready="tcp:443")
    sysctls = {"tcp_congestion_control": serving.congestion} if serving.congestion else {}
    return Equipment(files, (process,), sysctls=sysctls)

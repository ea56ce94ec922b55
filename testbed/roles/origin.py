"""The origin holds every title; it is what clients fall back to when no OCA serves them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from testbed.job import CONTENT, OUT, Node, Process
from testbed.roles import Equipment, Role, place

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class Origin(Role):
    """The CDN's origin: nginx with all titles."""

    kind = "origin"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """Equip it with nginx and nothing else."""
        return web_server(node, plan)


def _in_urls(node: Node) -> Iterator[str]:
    """A node's addresses as they stand before a port."""
    if node.address:
        yield node.address
    if node.address6:
        yield f"[{node.address6}]"


def web_server(node: Node, plan: Blueprint) -> Equipment:
    """Nginx on a node: HTTPS on its addresses, the titles below `/`, an access log in JSON."""
    host = f"{node.name}.{plan.cdn.zone}"
    certificate, key = plan.authority.issue(host)
    access = f"{OUT}/logs/{node.name}/access.jsonl"
    listen = "\n".join(f"    listen {address}:443 ssl;" for address in _in_urls(node))
    configuration = f"""# {node.name}
daemon off;
master_process off;
pid {place(node, "nginx.pid")};
error_log stderr notice;
events {{ worker_connections 4096; }}
http {{
  log_format access escape=json '{{"t":"$msec","client":"$remote_addr","request":"$request","status":$status,'
    '"body_bytes":$body_bytes_sent,"bytes":$bytes_sent,"request_id":"$http_x_request_id",'
    '"time_s":$request_time,"tls":"$ssl_protocol","connection":$connection}}';
  access_log {access} access;
  client_body_temp_path {place(node, "body")};
  proxy_temp_path {place(node, "proxy")};
  fastcgi_temp_path {place(node, "fastcgi")};
  uwsgi_temp_path {place(node, "uwsgi")};
  scgi_temp_path {place(node, "scgi")};
  types {{ video/mp4 mp4; }}
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
  server {{
{listen}
    server_name {host};
    root {CONTENT};
    # the agent says that the control plane has been silent for longer than its grace
    if (-f {place(node, "alone")}) {{ return 503; }}
    location = /health {{ return 204; }}
  }}
}}
"""
    files = {
        place(node, "nginx.conf"): configuration,
        place(node, "certificate.pem"): certificate,
        place(node, "key.pem"): key,
        place(node, "ca.pem"): plan.authority.certificate,
    }
    nginx = ("nginx", "-p", place(node, ""), "-e", "stderr", "-c", place(node, "nginx.conf"))
    return Equipment(files, (Process(name="nginx", argv=nginx, ready="tcp:443"),))

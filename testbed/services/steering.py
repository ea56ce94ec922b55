"""The steering service answers a client with a ranked list of OCA URLs, over HTTPS and JSON.

POST /v1/report   an OCA's agent says {"oca", "healthy", "titles": [name],
                  "routes": [{"prefix", "as_path": [asn], "med": int or null}]}; more is ignored
GET /v1/steer?title=NAME   {"urls": [{"oca", "url"}], "ttl_s", "decision": [why]}; the client is whoever asks,
                  by the address of its end of the connection. 404: nobody has ever had that title;
                  503: nobody can serve it now.

All it knows is what the OCAs reported since it started. Every decision is a JSON line on stdout.

`run(config)`, with

    address, port          where to listen (port 443)
    certificate, key       paths, PEM
    zone                   an OCA's URL is https://<oca>.<zone>/<title>/
    sites                  {oca: {"kind": "embedded" or "exchange", "weight": number, default 1}}
    origin                 {"oca", "url", and if wanted "titles": [name]}: the last resort, always last; its
                           URL gets "<title>/" appended; without titles it has all that any OCA has
    urls                   length of the list, the origin included
    ttl_s                  how long a client may use the list
    stale_ns               an OCA whose last report is as old gets no clients
"""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from testbed.services.ranking import Report, Site, rank

LARGEST_REPORT = 64 * 1024 * 1024
IDLE_S = 75.0  # nginx's keepalive_timeout


class Steering:
    """What the OCAs said, and the answers that follow from it; one for all threads."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._sites = {
            oca: Site(site["kind"], site.get("weight", 1.0)) for oca, site in config["sites"].items()
        }
        self._reports: dict[str, Report] = {}
        self._lock = threading.Lock()

    def report(self, document: Mapping[str, Any], now_ns: int) -> None:
        """Take an OCA's report in place of its last; ValueError if it is not one."""
        parsed = Report.parse(document, now_ns)
        if parsed.oca not in self._sites:
            raise ValueError(f"{parsed.oca} is not one of {', '.join(sorted(self._sites))}")
        with self._lock:
            self._reports[parsed.oca] = parsed

    def steer(self, title: str, client: str, now_ns: int) -> tuple[HTTPStatus, dict[str, Any]]:
        """The status and the JSON of the answer to a client."""
        with self._lock:
            reports = list(self._reports.values())
        origin = self._config["origin"]
        held = any(title in report.titles for report in reports)
        originally = title in origin["titles"] if "titles" in origin else held
        if not held and not originally:
            if not reports and "titles" not in origin:
                return HTTPStatus.SERVICE_UNAVAILABLE, {"error": "no OCA has reported yet"}
            return HTTPStatus.NOT_FOUND, {"error": f"no title {title}"}
        choices = rank(
            reports,
            self._sites,
            client=client,
            title=title,
            now_ns=now_ns,
            stale_ns=self._config["stale_ns"],
        )
        name = quote(title)
        urls = [
            {"oca": choice.oca, "url": f"https://{choice.oca}.{self._config['zone']}/{name}/"}
            for choice in choices
            if choice.chosen
        ]
        decision = [f"{choice.oca}: {'' if choice.chosen else 'no, '}{choice.why}" for choice in choices]
        if originally:
            urls = urls[: max(0, self._config["urls"] - 1)]
            urls.append({"oca": origin["oca"], "url": f"{origin['url'].rstrip('/')}/{name}/"})
            decision.append(f"{origin['oca']}: the origin")
        if not urls:
            error = f"nobody can serve {title} to {client}"
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": error, "decision": decision}
        return HTTPStatus.OK, {
            "urls": urls[: self._config["urls"]],
            "ttl_s": self._config["ttl_s"],
            "decision": decision,
        }


class Server(ThreadingHTTPServer):
    """A thread for each connection; the TLS handshake is that thread's, so nobody waits for another's."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.steering = Steering(config)
        self.address_family = socket.AF_INET6 if ":" in config["address"] else socket.AF_INET
        super().__init__((config["address"], config["port"]), _Conversation)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(config["certificate"], config["key"])
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Bind as TCP does: HTTPServer would look its own name up in the DNS."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's
        """Say in one line what broke a connection; a client that went away is no news."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError, ssl.SSLEOFError)):
            print(json.dumps({"client": client_address[0], "error": repr(error)}), flush=True)


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one piece
    timeout = IDLE_S
    server: Server

    def do_GET(self) -> None:
        """Steer a client."""
        parts = urlsplit(self.path)
        title = parse_qs(parts.query).get("title", [""])[0]
        if parts.path != "/v1/steer" or not title:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "ask for /v1/steer?title=NAME"})
            return
        client, now_ns = self.client_address[0], time.time_ns()
        status, answer = self.server.steering.steer(title, client, now_ns)
        self._answer(status, answer)
        _log(unix_ns=now_ns, client=client, title=title, status=int(status), **answer)

    def do_POST(self) -> None:
        """Take a report."""
        size = int(self.headers.get("Content-Length", 0))
        if self.path != "/v1/report" or size > LARGEST_REPORT:
            self.close_connection = True  # its body stays unread
            self._answer(HTTPStatus.NOT_FOUND, {"error": "post to /v1/report"})
            return
        now_ns = time.time_ns()
        try:
            self.server.steering.report(json.loads(self.rfile.read(size)), now_ns)
        except ValueError as wrong:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(wrong)})
            _log(unix_ns=now_ns, client=self.client_address[0], error=str(wrong))
        else:
            self._answer(HTTPStatus.OK, {})

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: decisions are logged as JSON."""

    def _answer(self, status: HTTPStatus, document: Mapping[str, Any]) -> None:
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _log(**columns: Any) -> None:
    print(json.dumps(columns), flush=True)


def run(config: dict[str, Any]) -> None:
    """Serve until stopped."""
    with Server(config) as server:
        server.serve_forever(poll_interval=None)  # type: ignore[arg-type]  # None: sleep until asked

"""Servers on the loopback that tests fetch from: TLS as in a run, with the misbehaviour asked for."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from testbed.daemons import Daemon
from testbed.daemons.bird import Bird
from testbed.kernel.boot import PROGRAMS_PATH

BIRD = shutil.which("bird", path=PROGRAMS_PATH)

MS = 1_000_000
# For so long a daemon gathers news before it chooses anew, and then what is to become of the kernel's table.
GATHERS_NS = {"bird": 0, "frr": 50 * MS}
INSTALLS_NS = {"bird": 0, "frr": 10 * MS}


def installed(daemon: type[Daemon]) -> bool:
    """Whether all that a routing daemon runs is there."""
    return all(shutil.which(program, path=PROGRAMS_PATH) for program in daemon.programs)


@contextmanager
def bird_of(folder: Path, configuration: str) -> Iterator[str]:
    """A BIRD that has started, by its control socket."""
    assert BIRD is not None
    (folder / "bird.conf").write_text(configuration)
    control = folder / "bird.ctl"
    arguments = [BIRD, "-f", "-c", folder / "bird.conf", "-s", control]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"Started" in line:
                break
        try:
            yield str(control)
        finally:
            process.terminate()


def bird_refuses(files: Mapping[str, str], folder: Path) -> str:
    """What BIRD has against a node's files, which are laid out in a folder."""
    folder.mkdir(exist_ok=True)
    for path, text in files.items():
        (folder / Path(path).name).write_text(text)
    (command,) = Bird(str(folder)).check()
    return subprocess.run((BIRD, *command[1:]), capture_output=True, text=True, check=False).stderr


@dataclass(frozen=True)
class Identity:
    certificate: str
    key: str


def identity(folder: Path, *names: str) -> Identity:
    """A self-signed certificate for the names, which is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Identity(str(folder / "certificate.pem"), str(folder / "key.pem"))
    Path(made.certificate).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    Path(made.key).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return made


@dataclass
class Oca:
    """An HTTPS server; `die_after` responses it drops everything and refuses connections."""

    port: int = 0
    content: dict[str, bytes] = field(default_factory=dict)
    steer: list[dict[str, object]] = field(default_factory=list)  # answers to /v1/steer, the last again
    ranges: list[tuple[str, str]] = field(default_factory=list)  # path and request id of what was served
    connections: list[socket.socket] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    die_after: int | None = None
    close_idle: bool = False
    posted: list[object] = field(default_factory=list)


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    @property
    def oca(self) -> Oca:
        return self.server.oca  # type: ignore[attr-defined]

    def setup(self):
        super().setup()
        self.oca.connections.append(self.request)

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.oca.posted.append(json.loads(body))
        self._send(200, b"{}")

    def do_GET(self):
        oca = self.oca
        path = self.path.partition("?")[0]
        if path == "/v1/steer":
            answer = oca.steer.pop(0) if len(oca.steer) > 1 else oca.steer[0]
            self._send(200, json.dumps(answer).encode())
        elif path == "/alone":
            self._send(503, b'{"error":"no control plane"}')
        elif path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(20):
                self.wfile.write(b"2710\r\n" + bytes(10000) + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        elif path == "/short":
            self._send(200, bytes(150_000), length=400_000)
            self.close_connection = True
        elif path == "/stall":
            self._send(200, bytes(150_000), length=400_000)
            self.wfile.flush()
            oca.released.wait(10)
            self.close_connection = True
        elif path == "/drip":  # slower than any low-water mark, yet never silent for long
            self._send(200, b"", length=60_000)
            self.wfile.flush()
            for _ in range(12):
                oca.released.wait(0.1)
                self.wfile.write(bytes(5_000))
                self.wfile.flush()
        elif path not in oca.content:
            self._send(404, b"no such file\n")
        elif oca.die_after is not None and len(oca.ranges) >= oca.die_after:
            stop(self.server)
        else:
            self._range(oca.content[path])
            if oca.close_idle:
                self.close_connection = True  # without saying so

    def _range(self, content):
        wanted = self.headers.get("Range")
        self.oca.ranges.append((self.path, self.headers.get("X-Request-Id", "")))
        if wanted is None:
            self._send(200, content)
            return
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        self._send(206, content[first : last + 1])

    def _send(self, status, body, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    oca: Oca

    def handle_error(self, request, client_address):
        pass


def stop(server) -> None:
    """As if killed: no new connection, and every open one is reset."""
    server.socket.close()
    for connection in server.oca.connections:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue


@contextmanager
def https(who: Identity, oca: Oca) -> Iterator[Oca]:
    server = _Server(("127.0.0.1", 0), _Conversation)
    server.oca = oca
    oca.port = server.server_address[1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(who.certificate, who.key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=_serve, args=(server,))
    thread.start()
    try:
        yield oca
    finally:
        oca.released.set()
        server.shutdown()
        thread.join()
        stop(server)
        server.server_close()


def _serve(server) -> None:
    try:
        server.serve_forever(poll_interval=0.02)
    except (OSError, ValueError):  # its socket was closed under it
        server._BaseServer__is_shut_down.set()


@contextmanager
def resolver(
    addresses: dict[str, str],
    *,
    ttl: int = 60,
    rcode: int = 0,
    held: Mapping[str, threading.Event] | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """A DNS server over UDP; its port and the names it was asked. An empty address: no answer.

    Addresses of both families may be given, with a blank between them; silence: keeps silent on AAAA.
    Answers of a type that is `held` wait for its event.
    """
    late: list[threading.Thread] = []
    asked: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                wire, client = server.recvfrom(4096)
                if wire == b"stop":
                    return
                query = dns.message.from_wire(wire)
                name = query.question[0].name.to_text(omit_final_dot=True)
                asked.append(name)
                answer = dns.message.make_response(query)
                if rcode:
                    answer.set_rcode(dns.rcode.Rcode(rcode))
                elif name not in addresses:
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                elif addresses[name] == "silence":
                    continue
                elif addresses[name]:
                    kind = dns.rdatatype.to_text(query.question[0].rdtype)
                    found = [a for a in addresses[name].split() if (":" in a) == (kind == "AAAA")]
                    if "silence:" in found:
                        continue
                    alias = f"edge.{name}."
                    answer.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", "CNAME", alias))
                    if found:
                        answer.answer.append(dns.rrset.from_text(alias, ttl * 2, "IN", kind, *found))
                if event := (held or {}).get(dns.rdatatype.to_text(query.question[0].rdtype)):
                    late.append(threading.Thread(target=later, args=(event, answer.to_wire(), client)))
                    late[-1].start()
                else:
                    server.sendto(answer.to_wire(), client)

        def later(event: threading.Event, wire: bytes, client: object) -> None:
            event.wait(10)
            server.sendto(wire, client)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        try:
            yield port, asked
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"stop", ("127.0.0.1", port))
            for each in (thread, *late):
                each.join()

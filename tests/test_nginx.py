"""Nginx as the roles configure it, on the loopback: protocols, ranges, limits, grace and the access log."""

import dataclasses
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pycurl
import pytest

from testbed.job import NODES, OUT, Node
from testbed.kernel.boot import PROGRAMS_PATH
from testbed.plan.pki import Authority
from testbed.roles.origin import Serving, web_server

NGINX = shutil.which("nginx", path=PROGRAMS_PATH)
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
HOST = "oca-n1.cdn.example"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@dataclasses.dataclass
class Served:
    folder: Path
    port: int

    def get(self, path, **options):
        """Status, body, and what curl says of the connection."""
        curl, body = pycurl.Curl(), []
        curl.setopt(pycurl.URL, f"https://{HOST}:{self.port}{path}")
        curl.setopt(pycurl.RESOLVE, [f"{HOST}:{self.port}:127.0.0.1"])
        curl.setopt(pycurl.CAINFO, str(self.folder / "ca.pem"))
        curl.setopt(pycurl.WRITEFUNCTION, body.append)
        for name, value in options.items():
            curl.setopt(getattr(pycurl, name), value)
        curl.perform()
        return curl.getinfo(pycurl.RESPONSE_CODE), b"".join(body), curl.getinfo(pycurl.INFO_HTTP_VERSION)

    def log(self, count=1):
        """So many lines at least: nginx writes one when the answer is out, which may be after it came."""
        until, path = time.monotonic() + 10, self.folder / "access.jsonl"
        while (lines := path.read_text().count("\n")) < count:
            assert time.monotonic() < until, f"{lines} lines after 10 s"
            time.sleep(0.01)
        return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def served(tmp_path):
    """An OCA's own configuration, its paths and its address those of this machine."""
    assert NGINX is not None
    plan = SimpleNamespace(
        cdn=SimpleNamespace(zone="cdn.example", steering=SimpleNamespace(mode="list")),
        authority=Authority(1, time.time_ns()),
        expired=frozenset(),
    )
    node, port = Node(name="oca-n1", role="oca", address="127.0.0.1"), free_port()
    equipment = web_server(node, plan, Serving(connections=2))
    for path, text in equipment.files.items():
        moved = text.replace(f"{NODES}/oca-n1", str(tmp_path)).replace(f"{OUT}/logs/oca-n1", str(tmp_path))
        (tmp_path / Path(path).name).write_text(moved.replace(":443 ", f":{port} "))
    film = tmp_path / "content" / "film"
    film.mkdir(parents=True)
    (film / "235.mp4").write_bytes(bytes(range(256)) * 4096)
    arguments = [NGINX, "-p", tmp_path, "-e", "stderr", "-c", tmp_path / "nginx.conf"]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.01)
        yield Served(tmp_path, port)
        process.terminate()


def test_it_speaks_both_versions_of_http_and_of_tls(served):
    for version, spoken in ((pycurl.CURL_HTTP_VERSION_1_1, 2), (pycurl.CURL_HTTP_VERSION_2TLS, 3)):
        for tls in (pycurl.SSLVERSION_TLSv1_2, pycurl.SSLVERSION_TLSv1_3):
            most = tls << 16  # CURL_SSLVERSION_MAX_*
            status, body, used = served.get("/film/235.mp4", HTTP_VERSION=version, SSLVERSION=tls | most)
            assert (status, len(body), used) == (200, 2**20, spoken)
    told = {(row["tls"], row["protocol"]) for row in served.log(4)}
    assert told == {(f"TLSv1.{minor}", f"HTTP/{http}") for minor in (2, 3) for http in ("1.1", "2.0")}


def test_it_serves_ranges_and_writes_down_who_asked_for_what(served):
    status, body, _ = served.get("/film/235.mp4", RANGE="256-511", HTTPHEADER=["X-Request-Id: s0001-7"])
    assert (status, body) == (206, bytes(range(256)))
    (row,) = served.log()
    assert (row["request_id"], row["range"], row["status"], row["body_bytes"]) == (
        "s0001-7", "bytes=256-511", 206, 256,
    )  # fmt: skip


def test_without_the_control_plane_it_serves_nothing_until_the_file_is_gone(served):
    alone = served.folder / "alone"
    alone.touch()
    assert served.get("/film/235.mp4")[0] == 503
    assert served.get("/health")[0] == 503
    alone.unlink()
    assert served.get("/film/235.mp4")[0] == 200
    assert served.get("/none/235.mp4")[0] == 404


def test_above_its_limit_of_responses_it_says_so(served):
    """Two clients that read nothing hold their responses open; the third is refused."""
    big = served.folder / "content" / "film" / "big.mp4"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    slow = pycurl.CurlMulti()
    held = []
    for _ in range(2):
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, f"https://{HOST}:{served.port}/film/big.mp4")
        curl.setopt(pycurl.RESOLVE, [f"{HOST}:{served.port}:127.0.0.1"])
        curl.setopt(pycurl.CAINFO, str(served.folder / "ca.pem"))
        curl.setopt(pycurl.WRITEFUNCTION, lambda _: pycurl.WRITEFUNC_PAUSE)
        slow.add_handle(curl)
        held.append(curl)
    until = time.monotonic() + 10
    while any(curl.getinfo(pycurl.RESPONSE_CODE) != 200 for curl in held) and time.monotonic() < until:
        slow.select(0.05)
        slow.perform()
    assert served.get("/film/235.mp4")[0] == 503
    for curl in held:
        slow.remove_handle(curl)
        curl.close()

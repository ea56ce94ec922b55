"""What runs in the guest for tests/test_browser.py: a browser at a client plays what an OCA has."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

from testbed import namespaces
from testbed.emulate.guest import tell
from testbed.emulate.play import bring_up
from testbed.job import OUT
from testbed.roles import place
from testbed.services.http import Client

CLIENT, OCA, TITLE = "north.homes.1", "oca-n1", "clip"
BROWSER = "chromium-headless-shell"
PAGE, DASH, KEY = "/tmp/player.html", "/tmp/dash.js", "/tmp/key"  # files of the client
SAYS = "testbed: "  # how the lines begin that the page writes to the console
# In one process it also runs on the virtual clock; several wait for one another by spinning.
FLAGS = (
    "--single-process", "--no-zygote", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--autoplay-policy=no-user-gesture-required", "--mute-audio",
    "--user-data-dir=/tmp/browser", "--remote-debugging-port=0", "--enable-logging=stderr",
)  # fmt: skip


def run(job) -> None:
    """Tell what the page said, what the OCA's log has of it, and what our own client gets of the same."""
    out = Path(OUT)
    network, _, _ = bring_up(job, out)
    _look_up_names(next(node for node in job.nodes if node.role == "resolver").address)
    page = _browse(network.namespace(CLIENT))
    log = (out / "logs" / OCA / "access.jsonl").read_text().splitlines()
    tell(page=page, served=[json.loads(line) for line in log])
    tell(digests=_fetched(job, network.namespace(CLIENT)))
    network.processes.stop_all()


def _look_up_names(resolver: str) -> None:
    """Have the C library and the browser ask the ISP's resolver."""
    for name, text in (("resolv.conf", f"nameserver {resolver}\n"), ("nsswitch.conf", "hosts: files dns\n")):
        Path("/etc", name).unlink(missing_ok=True)
        Path("/etc", name).write_text(text)


def _browse(namespace: int) -> str:
    """The last word of the page, or all that the browser said if it ended before."""
    trusted = f"--ignore-certificate-errors-spki-list={Path(KEY).read_text()}"
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with namespaces.inside(namespace):
        browser = subprocess.Popen(
            [BROWSER, *FLAGS, trusted, f"file://{PAGE}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
    said = []
    for line in browser.stderr:
        said.append(line.rstrip())
        if SAYS in line:
            os.killpg(browser.pid, signal.SIGKILL)
            return line.partition(SAYS)[2].partition('"')[0]
    return "\n".join(said)


def _fetched(job, namespace: int) -> list[str]:
    """The digests of the title's files as our own client gets them."""
    digests = []

    def fetch() -> None:
        namespaces.enter(namespace)
        with Client(place(job.node(CLIENT), "ca.pem"), 5_000_000_000) as client:
            for kbps in job.titles[0].bitrates_kbps:
                url = f"https://{OCA}.{job.zone}/{TITLE}/{kbps}.mp4"
                body = client.get(url, job.node(OCA).address, keep=True).body
                digests.append(hashlib.sha256(body).hexdigest())

    thread = threading.Thread(target=fetch)
    thread.start()
    thread.join()
    return digests

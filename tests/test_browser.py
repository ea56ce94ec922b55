"""A browser plays from an OCA as our own players do: dash.js in headless Chromium, on either clock."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import shutil
import subprocess
import tarfile

import inside_browser
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from inside_browser import CLIENT, DASH, KEY, OCA, PAGE, SAYS, TITLE

from testbed import pipeline
from testbed.roles import place
from testbed.testing import booted

DASHJS = "dashjs@5.2.1"  # the DASH Industry Forum's player, which is not ours to ship
RUNGS = {300: "320x180", 900: "640x360"}
SECONDS, FPS = 6, 25

TOPOLOGY = """
name: browser
defaults: {link: {rate: 100mbit, delay: 2ms, queue: 50ms}}
access:
  line: {down: {rate: 8mbit, delay: 5ms, queue: 100ms}, up: {rate: 8mbit, delay: 5ms}}
isps:
  north: {asn: 64501, routers: [core], clients: {homes: {count: 1, at: core, access: line}}}
cdn:
  {asn: 64600, oca-asn: 64601, zone: cdn.example, routers: [pop],
   control: {at: cdn.pop}, origin: {at: cdn.pop}}
ocas: {oca-n1: {at: north.core}}
links: [{endpoints: [north.core, cdn.pop], relation: customer}]
"""
SCENARIO = "name: browser\ntopology: topology.yaml\nduration: 30s\ntitles: {clip: {media: clip}}\n"
SCRIPT = """<!doctype html><video id="screen" muted></video><script src="dash.js"></script><script>
const screen = document.getElementById("screen"), player = dashjs.MediaPlayer().create();
const say = (...words) => console.log("SAYS" + words.join(" "));
player.on("error", (event) => say("failed:", JSON.stringify(event.error).replaceAll('"', "'")));
screen.addEventListener("ended", () => {
  const frames = screen.getVideoPlaybackQuality().totalVideoFrames;
  say("ended", screen.currentTime, frames, screen.videoWidth);
});
player.initialize(screen, "MANIFEST", true);
</script>"""

pytestmark = [
    pytest.mark.guest,
    pytest.mark.browser,
    *(
        pytest.mark.skipif(shutil.which(program) is None, reason=f"{program}: sudo apt-get install {package}")
        for program, package in (
            (inside_browser.BROWSER, "chromium-headless-shell"), ("ffmpeg", "ffmpeg"), ("npm", "npm")
        )
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def dash(tmp_path_factory):
    """The text of dash.js, by npm, which keeps what it fetched."""
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "pack", "--silent", "--prefer-offline", DASHJS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{DASHJS} is not to be had: {done.stderr.strip().splitlines()[:1]}")
    with tarfile.open(folder / done.stdout.strip()) as package:
        file = package.extractfile("package/dist/modern/umd/dash.all.min.js")
        assert file is not None
        return file.read().decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scenario beside a clip of 6 s in two bitrates, encoded here."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "topology.yaml").write_text(TOPOLOGY)
    (folder / "scenario.yaml").write_text(SCENARIO)
    (folder / TITLE).mkdir()
    for kbps, size in RUNGS.items():
        picture = f"testsrc2=size={size}:rate={FPS}:duration={SECONDS}"
        encoder = f"-c:v libx264 -b:v {kbps}k -maxrate {kbps}k -bufsize {kbps}k -g {2 * FPS} -sc_threshold 0"
        layout = "-pix_fmt yuv420p -an -movflags +frag_keyframe+empty_moov+default_base_moof+global_sidx"
        command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", picture, *encoder.split()]
        subprocess.run([*command, *layout.split(), folder / TITLE / f"{kbps}.mp4"], check=True)
    return folder


@pytest.mark.parametrize("clock", ["virtual", "wall"])
def test_dash_js_plays_a_title_to_its_end_from_an_oca(folder, dash, clock):
    job = dataclasses.replace(pipeline.plan(folder / "scenario.yaml"), clock=clock)
    manifest = f"https://{OCA}.{job.zone}/{TITLE}/manifest.mpd"
    pem = job.node(OCA).files[place(job.node(OCA), "certificate.pem")]
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    page = SCRIPT.replace("SAYS", SAYS).replace("MANIFEST", manifest)
    given = {PAGE: page, DASH: dash, KEY: base64.b64encode(digest).decode()}
    nodes = [
        dataclasses.replace(node, files=node.files | given) if node.name == CLIENT else node
        for node in job.nodes
    ]
    said = {}
    for message in booted(dataclasses.replace(job, nodes=tuple(nodes)), "inside_browser", 2**31):
        said |= message

    word, at_s, frames, width = said["page"].split()
    assert word == "ended", said["page"]
    # pictures that are shown in another order than sent begin late and end early, by less than a tenth
    assert float(at_s) > SECONDS * 0.9
    assert int(frames) > SECONDS * FPS * 0.9
    assert f"{width}x" in " ".join(RUNGS.values())
    # from that OCA, by name over TLS 1.3 and HTTP/2, in ranges as the index has them
    requests = [(each["request"].split()[1], each["status"]) for each in said["served"]]
    assert requests[0] == (f"/{TITLE}/manifest.mpd", 200)
    assert {status for _, status in requests[1:]} == {206}
    assert {(each["tls"], each["protocol"]) for each in said["served"]} == {("TLSv1.3", "HTTP/2.0")}
    kbps = next(kbps for kbps, size in RUNGS.items() if size.startswith(f"{width}x"))
    video = (folder / TITLE / f"{kbps}.mp4").stat().st_size
    assert sum(each["body_bytes"] for each in said["served"][1:]) >= 0.9 * video
    # and what our own client gets of the OCA is the same file
    assert said["digests"] == [
        hashlib.sha256((folder / TITLE / f"{kbps}.mp4").read_bytes()).hexdigest() for kbps in RUNGS
    ]

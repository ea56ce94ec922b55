from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from pathlib import Path

import networkx as nx
import pytest
import yaml
from typer.testing import CliRunner

from testbed import cli, pipeline
from testbed.graphs import containerlab, graphviz, mermaid, mininet, words
from testbed.imports import containerlab as from_containerlab
from testbed.imports import mininet as from_mininet
from testbed.job import Job, Loss, Shape
from testbed.kernel import build
from testbed.kernel.boot import Machine, boot
from testbed.model import load_topology
from testbed.model.link import LinkSpec
from testbed.plan.shapes import shapes

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "graphs"
SMALL = GOLDEN / "small.yaml"
METRO = ROOT / "topologies" / "metro.yaml"
FORMS = {
    "mmd": mermaid.mermaid, "dot": graphviz.dot, "clab.yml": containerlab.containerlab, "py": mininet.mininet,
}  # fmt: skip

drawn = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def call(*arguments):
    return CliRunner().invoke(cli.app, ["graph", *map(str, arguments)])


def job_graph(job):
    """A planned network as a graph whose links know what they do to packets."""
    graph = nx.Graph()
    graph.add_nodes_from(
        (node.name, {"bridge": node.bridge, "asn": node.asn, "stp": node.stp}) for node in job.nodes
    )
    for link in job.links:
        ways = {(link.a, link.b): link.a_to_b, (link.b, link.a): link.b_to_a}
        relation = {(link.a, link.b): link.relation} if link.relation else {}
        graph.add_edge(link.a, link.b, ways=ways, relation=relation)
    return graph


def imported(draft, tmp_path):
    (tmp_path / "again.yaml").write_text(draft.yaml())
    return pipeline.bare(tmp_path / "again.yaml")


@pytest.mark.parametrize("form", FORMS)
def test_an_export_is_as_it_was_byte_for_byte(form):
    job = Job.loads((GOLDEN / "small.json").read_text("utf-8"))
    assert FORMS[form](job) == (GOLDEN / f"small.{form}").read_text("utf-8")


LOOP = """
name: loop
isps: {lab: {asn: 64496, routers: [r1]}}
switches:
  {s1: {stp: true}, s2: {stp: true}, a-switch-with-a-long-name: {stp: true}, a-switch-with-one-too: {}}
hosts:
  h1: {at: s1, delay: 1ms, rate: 2.5mbit}
  a-host-with-a-very-long-name: {at: a-switch-with-one-too}
  h-2: {at: lab.r1, delay: 1ms, jitter: 1ms, loss: 25%}
links:
  - {endpoints: [s1, s2]}
  - {endpoints: [s2, a-switch-with-a-long-name], delay: 3us}
  - {endpoints: [s1, a-switch-with-a-long-name]}
  - {endpoints: [lab.r1, s2], queue: 7p, rate: 1gbit}
  - {endpoints: [lab.r1, a-switch-with-one-too], forward: {delay: 1ms}, backward: {delay: 2ms, loss: 1%}}
"""


@pytest.fixture(params=["small", "loop"])
def topology(request, tmp_path):
    if request.param == "small":
        return SMALL
    (tmp_path / "loop.yaml").write_text(LOOP)
    return tmp_path / "loop.yaml"


class TestRoundTrips:
    def test_containerlab_and_back_is_the_same_network(self, topology, tmp_path):
        job = pipeline.bare(topology)
        (tmp_path / "x.clab.yml").write_text(containerlab.containerlab(job))
        again = imported(from_containerlab.read(tmp_path / "x.clab.yml"), tmp_path)
        assert nx.utils.graphs_equal(job_graph(job), job_graph(again))

    def test_mininet_and_back_is_the_same_network(self, topology, tmp_path):
        job = pipeline.bare(topology)
        (tmp_path / "x.py").write_text(mininet.mininet(job))
        again = imported(from_mininet.read(f"{tmp_path / 'x.py'}:{job.topology.title()}", {}), tmp_path)
        assert nx.utils.graphs_equal(job_graph(job), job_graph(again))

    def test_metro_comes_back_with_its_nodes_and_links(self, tmp_path):
        job = pipeline.bare(METRO)
        (tmp_path / "x.clab.yml").write_text(containerlab.containerlab(job))
        draft = from_containerlab.read(tmp_path / "x.clab.yml")
        assert len(draft.links) + len(draft.hosts) == len(job.links)
        assert {f"{isp}.{router}" for isp, has in draft.isps.items() for router in has.routers} == {
            node.name for node in job.nodes if node.role == "router"
        }


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"rate": "10mbit", "delay": "1.5ms"},
        {"delay": "9ms", "jitter": {"by": "2ms", "distribution": "normal", "correlation": "25%"}},
        {"loss": {"model": "gilbert-elliott", "p": "1%", "r": "25%", "bad": "90%", "good": "0.1%"}},
        {"loss": {"model": "4-state", "p13": "1%", "p31": "30%", "p32": "10%", "p23": "80%", "p14": "0.5%"}},
        {"delay": "1ms", "reorder": "1%", "duplicate": "2%", "corrupt": "0.01%"},
        {
            "rate": "10mbit",
            "queue": "30000B",
            "aqm": {"kind": "red", "min": "5000B", "max": "15000B"},
            "ecn": True,
        },
        {"rate": "10mbit", "queue": "100p", "aqm": "fq_codel"},
    ],
)
def test_a_shape_in_words_means_the_same_again(said):
    shape, _ = shapes(LinkSpec(), LinkSpec.model_validate(said))
    again, _ = shapes(LinkSpec(), LinkSpec.model_validate(words.of_shape(shape)))
    assert again == shape


class TestMermaid:
    def test_its_lines_are_nodes_frames_and_links(self):
        """The grammar that Mermaid has for these, see https://mermaid.js.org/syntax/flowchart.html."""
        job = pipeline.bare(METRO)
        text = mermaid.mermaid(job).splitlines()
        assert text[:4] == ["---", "title: metro", "---", "flowchart LR"]
        depth, nodes, edges = 0, {}, []
        for line in text[4:]:
            if frame := re.fullmatch(r'\s+subgraph (g\d+)\["[^"]+"\]', line):
                depth += 1
                assert depth == 1, frame
            elif line.strip() == "end":
                depth -= 1
            elif node := re.fullmatch(r'\s+(n\d+)(?:\("([^"]+)"\)|\["([^"]+)"\]|\{\{"([^"]+)"\}\})', line):
                nodes[node[1]] = next(filter(None, node.groups()[1:]))
            else:
                edge = re.fullmatch(r'\s+(n\d+) ---(?:\|"[^"]+"\|)? (n\d+)', line)
                assert edge, line
                edges.append((edge[1], edge[2]))
        assert depth == 0
        assert len(nodes) == 20  # 30 nodes, of which 8 and 4 clients are a box each
        assert len(edges) == len(job.links) - 10
        assert {end for edge in edges for end in edge} == set(nodes)


@drawn
class TestGraphviz:
    @pytest.mark.parametrize("path", [SMALL, METRO])
    def test_graphviz_reads_it(self, path):
        job = pipeline.bare(path)
        text = graphviz.dot(job)
        done = subprocess.run(["dot", "-Tdot_json"], input=text, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        read = json.loads(done.stdout)
        ids = {node["_gvid"]: node["name"] for node in read["objects"] if "nodes" not in node}
        assert {"north.core", "h1" if path == SMALL else "oca-n1"} <= set(ids.values())
        pairs = {frozenset((ids[edge["tail"]], ids[edge["head"]])) for edge in read["edges"]}
        routers = {node.name for node in job.nodes if node.role == "router"}
        wanted = {frozenset((link.a, link.b)) for link in job.links if {link.a, link.b} <= routers}
        assert wanted <= pairs

    def test_providers_stand_above_their_customers_and_point_at_them(self):
        assert '"transit.a" -- "north.core" [label="10gbit 8ms"' in graphviz.dot(pipeline.bare(METRO))
        assert "dir=forward" in graphviz.dot(pipeline.bare(METRO))

    @pytest.mark.parametrize("path", [SMALL, METRO])
    def test_no_box_covers_another(self, path):
        picture = ET.fromstring(graphviz.draw(pipeline.bare(path), "svg"))
        boxes = []
        for group in picture.iter("{http://www.w3.org/2000/svg}g"):
            if group.get("class") == "node":
                drawing = next(group.iter("{http://www.w3.org/2000/svg}path")).get("d")
                points = [
                    tuple(map(float, pair.split(","))) for pair in re.findall(r"-?[\d.]+,-?[\d.]+", drawing)
                ]
                across, down = zip(*points, strict=True)
                boxes.append((min(across), max(across), min(down), max(down)))
        assert len(boxes) > 5
        for place, (left, right, top, bottom) in enumerate(boxes):
            for other in boxes[:place]:
                assert right <= other[0] or other[1] <= left or bottom <= other[2] or other[3] <= top

    def test_the_same_network_is_drawn_the_same(self):
        job = pipeline.bare(SMALL)
        assert graphviz.draw(job, "svg") == graphviz.draw(job, "svg")
        assert graphviz.draw(job, "png").startswith(b"\x89PNG")


def test_without_graphviz_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    result = call(SMALL, "--as", "svg")
    assert result.exit_code == 3
    assert "apt-get install graphviz" in result.stderr


class TestContainerlab:
    def test_bridges_are_named_as_linux_wants_and_interfaces_are_used_once(self, tmp_path):
        (tmp_path / "loop.yaml").write_text(LOOP)
        text = containerlab.containerlab(pipeline.bare(tmp_path / "loop.yaml"))
        whole = yaml.safe_load(text)
        ends = [end for link in whole["topology"]["links"] for end in link["endpoints"]]
        assert len(ends) == len(set(ends))
        on_the_machine = []
        for end in ends:
            node, port = end.split(":")
            kind = whole["topology"]["nodes"][node]["kind"]
            assert len(port) <= 15
            assert port != "eth0"
            if kind == "bridge":
                on_the_machine.append(port)
                assert f"ip link add {node} type bridge" in text
                assert len(node) <= 15
        assert len(on_the_machine) == len(set(on_the_machine)) == 10

    def test_what_it_has_no_word_for_is_said(self, tmp_path):
        (tmp_path / "lte.down").write_text("1\n2\n4\n")
        (tmp_path / "x.yaml").write_text("""
name: x
switches: {s1: {vlans: [10, 20]}}
isps: {lab: {asn: 64496, routers: [r1]}}
hosts:
  h1: {at: s1, vlan: 10}
  h2: {at: s1, vlan: 20}
  h3: {at: lab.r1, trace: lte.down}
""")
        head = containerlab.containerlab(pipeline.bare(tmp_path / "x.yaml"))
        assert "# Left out, since containerlab has no word for it:\n#   traces: h3" in head
        assert "#   VLANs: s1\n" in head
        assert "Left out" not in containerlab.containerlab(pipeline.bare(SMALL))

    def test_a_vague_name_cannot_break_the_import(self, tmp_path):
        text = containerlab.containerlab(pipeline.bare(SMALL)).replace(
            "testbed-name: north.core", "testbed-name: ../x"
        )
        (tmp_path / "x.clab.yml").write_text(text)
        draft = from_containerlab.read(tmp_path / "x.clab.yml")
        assert "north-core" in draft.isps["lab"].routers


class TestMininet:
    def test_what_mininet_has_no_word_for_is_said(self):
        job = pipeline.bare(SMALL)
        shape = Shape(
            rate_bps=10**10, loss=Loss(model="gilbert-elliott", parameters=(0.01, 0.25, 1, 0)), aqm="red"
        )
        left = {}
        said = mininet._shape(job.links[0], shape, left)
        assert said == {"loss": pytest.approx(100 * 0.01 / 0.26)}
        assert set(left) == {"rates above 1000 Mbit/s", "losses in bursts (their mean is here)", "aqm"}

    def test_it_is_python_with_mininet_only(self):
        code = compile(mininet.mininet(pipeline.bare(METRO)), "x.py", "exec")
        assert code.co_names
        assert "testbed" not in code.co_names


MNEXEC = """#!/bin/sh
# What Mininet's own mnexec does for nodes, by util-linux: it is in no Python package.
case "$1" in
-cdn) shift; exec setsid unshare --net "$@";;
-cd) shift; exec setsid "$@";;
-da) shift; pid=$1; shift; exec setsid nsenter -t "$pid" -n "$@";;
*) echo "mnexec $*: not known" >&2; exit 1;;
esac
"""
INIT = """
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts; mount -t devpts -o ptmxmode=0666 devpts /dev/pts
mount -t tmpfs tmpfs /run; mkdir /run/tmp
ip link set lo up
sleep 2
"$@"
echo "left: $(ls /sys/class/net | tr '\\n' ' ')"
exec false
"""
VISIT = """
# The script as it is, but somebody who knows what to type is at its prompt.
import runpy, sys
import mininet.cli

def visit(net):
    net.pingAll()
    for address in sys.argv[2:]:
        print(net["h1"].cmd(f"ping -c 4 {address}"))

mininet.cli.CLI = visit
runpy.run_path(sys.argv[1], run_name="__main__")
"""
PATIENCE_S = 300


@pytest.mark.guest
@pytest.mark.skipif(
    not all(map(shutil.which, ("brctl", "ifconfig", "ping", "unshare", "nsenter"))),
    reason="stock Mininet needs brctl (bridge-utils), ifconfig (net-tools) and ping",
)
def test_the_script_comes_up_in_stock_mininet_and_all_ping(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mnexec").write_text(MNEXEC)
    (tmp_path / "bin" / "mnexec").chmod(0o755)
    (tmp_path / "init").write_text(INIT)
    (tmp_path / "visit.py").write_text(VISIT)
    job = pipeline.bare(SMALL)
    (tmp_path / "small.py").write_text(mininet.mininet(job))
    path = f"{tmp_path / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, "TMPDIR": "/run/tmp", "HOME": "/run/tmp", "PYTHONWARNINGS": "ignore"}
    h4 = job.node("h4")
    script = [sys.executable, "-B", str(tmp_path / "visit.py"), str(tmp_path / "small.py")]
    init = ["/bin/sh", str(tmp_path / "init"), *script, h4.address, h4.address6]
    kernel = build.ensure(lambda *_: None)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with boot(kernel, Machine(memory_bytes=2**28), init, environment, scratch) as guest:
        stop = threading.Timer(PATIENCE_S, guest.kill)
        stop.start()
        said = guest.stdout.read().decode(errors="replace").replace("\r", "")
        stop.cancel()
    assert "0% dropped (42/42 received)" in said, said
    trips = [float(time) for time in re.findall(r"icmp_seq=4 .* time=([0-9.]+) ms", said)]
    assert trips == pytest.approx([23, 23], abs=0.2), said  # twice 1 + 2.5 + 5 + 3 ms, of both families
    assert not [line for line in said.splitlines() if "Error" in line and "sch_htb: quantum" not in line], (
        said
    )
    assert not {"lan", "eth0"} & set(re.search(r"^left: (.*)$", said, re.MULTILINE)[1].split())


class TestCommand:
    @pytest.mark.parametrize("name", ["x.mmd", "x.dot", "x.clab.yml", "x.py", "x.gv", "x.clab.yaml"])
    def test_the_ending_says_what_it_is(self, name, tmp_path):
        result = call(SMALL, "-o", tmp_path / name)
        assert result.exit_code == 0, result.stderr
        assert (tmp_path / name).read_text()
        assert result.stdout.strip() == str(tmp_path / name)

    @drawn
    def test_pictures(self, tmp_path):
        assert call(SMALL, "-o", tmp_path / "x.svg").exit_code == 0
        assert "<svg" in (tmp_path / "x.svg").read_text("utf-8")
        assert call(SMALL, "--as", "png").stdout_bytes.startswith(b"\x89PNG")

    def test_without_a_file_it_goes_to_stdout(self):
        assert "flowchart LR" in call(SMALL, "--as", "mermaid").stdout

    def test_a_run_is_drawn_from_its_plan(self, tmp_path, monkeypatch):
        (tmp_path / "runs" / "one").mkdir(parents=True)
        (tmp_path / "runs" / "one" / "job.json").write_text(pipeline.bare(SMALL).dumps())
        monkeypatch.chdir(tmp_path)
        assert call("one", "--as", "mermaid").stdout == call(SMALL, "--as", "mermaid").stdout

    @pytest.mark.parametrize("arguments", [(), ("-o", "x.jpeg")])
    def test_it_asks_what_to_write(self, arguments):
        result = call(SMALL, *arguments)
        assert result.exit_code == 2
        assert "--as svg | png | mermaid" in result.stderr

    @pytest.mark.parametrize(
        ("named", "told"),
        [
            ("nowhere", "is no run folder"),
            ("nowhere.yaml", "cannot read nowhere.yaml"),
            (__file__, "is no run folder"),
        ],
    )
    def test_what_is_not_there_is_exit_2(self, named, told):
        result = call(named, "--as", "mermaid")
        assert result.exit_code == 2
        assert told in result.stderr

    def test_it_explains_itself_by_an_example(self):
        assert "Example: testbed graph topologies/metro.yaml" in call("--help").stdout


def test_no_export_names_this_machine():
    job = pipeline.bare(SMALL)
    for form in FORMS.values():
        assert str(ROOT) not in form(job)
        assert os.uname().nodename not in form(job)


def test_the_golden_job_is_that_of_a_topology():
    golden = Job.loads((GOLDEN / "small.json").read_text("utf-8"))
    assert [link.name for link in golden.links] == [link.name for link in pipeline.bare(SMALL).links]
    assert load_topology(SMALL).topology.name == golden.topology

from __future__ import annotations

import bz2
import gzip
import random
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed import cli, pipeline
from testbed.imports import caida, containerlab, mininet, zoo
from testbed.imports.draft import Names, spelt
from testbed.model import Refused, load_topology

GOLDEN = Path(__file__).parent / "golden" / "imports"
ZOO = Path(__file__).parent.parent.parent / "shared" / "data" / "topology-zoo"

SOURCES = {
    "odd.gml": zoo.read,
    "small.graphml": zoo.read,
    "serial-1.as-rel.txt": lambda path: caida.read(path, 9),
    "serial-2.as-rel2.txt": lambda path: caida.read(path, 3),
    "office.clab.yml": containerlab.read,
    "campus.py": lambda path: mininet.read(f"{path}:Campus", {"halls": 3}),
}


def call(*arguments):
    return CliRunner().invoke(cli.app, ["import", *map(str, arguments)])


def loaded(text, tmp_path):
    file = tmp_path / "imported.yaml"
    file.write_text(text)
    return load_topology(file).topology


def refusal(read, *arguments):
    with pytest.raises(Refused) as caught:
        read(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", SOURCES)
def test_an_import_is_as_it_was_byte_for_byte(name):
    wanted = GOLDEN / f"{name}.yaml"
    assert SOURCES[name](GOLDEN / name).yaml() == wanted.read_text("utf-8")


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_imported_is_a_topology_with_a_plan(name):
    job = pipeline.bare(GOLDEN / f"{name}.yaml")
    assert job.nodes
    assert job.links


class TestZoo:
    @pytest.mark.parametrize(
        ("here", "there", "kilometres"),
        [
            ((0, 0), (0, 180), 20015.115),  # half of a circle of the mean radius
            ((0, 0), (90, 0), 10007.557),
            ((40.71427, -74.00597), (41.85003, -87.65005), 1145.92),  # New York to Chicago
            ((51.5, 0), (51.5, 0), 0),
            ((0, 179.5), (0, -179.5), 111.195),  # over the date line
        ],
    )
    def test_a_delay_is_that_of_light_in_fibre_along_the_great_circle(self, here, there, kilometres):
        assert zoo.delay_ns(here, there) == pytest.approx(kilometres / 199_861.639 * 1e9, rel=2e-4)

    @pytest.mark.parametrize(
        ("name", "routers", "links"),
        [("Abilene", 11, 14), ("AttMpls", 25, 56), ("BtEurope", 24, 37), ("Geant2012", 40, 61)],
    )
    def test_real_networks_come_whole(self, name, routers, links, tmp_path):
        if not ZOO.is_dir():
            pytest.skip("there is no Topology Zoo beside the project")
        result = call("zoo", ZOO / f"{name}.gml", "-o", tmp_path / "zoo.yaml")
        assert result.exit_code == 0, result.stderr
        topology = load_topology(tmp_path / "zoo.yaml").topology
        assert (len(topology.routers), len(topology.links)) == (routers, links)
        assert "note: " in result.stderr
        assert len(pipeline.bare(tmp_path / "zoo.yaml").links) == links

    def test_a_hyperedge_stands_in_the_middle_of_what_it_joins(self, tmp_path):
        job = pipeline.bare(GOLDEN / "small.graphml.yaml")
        spokes = [link.a_to_b.delay_ns for link in job.links if "pacific-ring" in link.name]
        direct = zoo.delay_ns((-18.14161, 178.44149), (-13.83333, -171.76666))
        assert len(spokes) == 2
        assert sum(spokes) == pytest.approx(direct, rel=1e-3)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "is empty"),
            ("hello", "bad.gml:1:1: is neither GML nor GraphML"),
            ("graph [\n  node [\n    id 0\n", "bad.gml"),
            ("graph [\n  node [ id 0 label ~ ]\n]", "bad.gml:2:1: is not GML (cannot tokenize"),
            ("graph [\n]", "holds no nodes"),
            ('graph [\n node [ id 0 label "0" hyperedge 1 ]\n]', "holds no nodes"),
            (
                "graph [\n node [ id 0 ]\n edge [ source 0 target 9 ]\n]",
                "is not GML (edge #0 has undefined target 9)",
            ),
            ("graph [ node 5 ]", "is not GML"),
            ("graph [ " + "a [ " * 100_000, "is not GML"),
            ("<graphml><graph", "bad.gml:1:1: is not XML"),
            ("<graphml/>", "is not GraphML"),
            ("<!DOCTYPE a [<!ENTITY b 'c'>]><graphml/>", "has a DOCTYPE"),
        ],
    )
    def test_bad_files_are_refused_with_their_line(self, text, told, tmp_path):
        file = tmp_path / "bad.gml"
        file.write_text(text)
        assert told in refusal(zoo.read, file)

    def test_a_file_that_is_not_text(self, tmp_path):
        (tmp_path / "bad.gml").write_bytes(b"graph [\n\xff\n]")
        assert "bad.gml:2:1: the byte 0xff is not UTF-8" in refusal(zoo.read, tmp_path / "bad.gml")
        assert "cannot be read (No such file" in refusal(zoo.read, tmp_path / "none.gml")
        assert "cannot be read (Is a directory" in refusal(zoo.read, tmp_path)


class TestCaida:
    def test_cones_hold_each_network_once(self):
        #      1   2
        #     / \ /
        #    3   4       and a circle 7 > 8 > 9 > 7
        #     \ / \
        #      5   6
        customers = {1: {3, 4}, 2: {4}, 3: {5}, 4: {5, 6}, 7: {8}, 8: {9}, 9: {7}}
        assert caida.cone_sizes(customers) == {1: 5, 2: 4, 3: 2, 4: 3, 7: 3, 8: 3, 9: 3}

    def test_ties_go_to_the_lower_number_and_packed_files_are_read(self, tmp_path):
        text = b"64502|64510|-1\n64501|64511|-1\n64500|64501|0\n"
        (tmp_path / "a.txt").write_bytes(text)
        (tmp_path / "a.bz2").write_bytes(bz2.compress(text))
        (tmp_path / "a.gz").write_bytes(gzip.compress(text))
        kept = {name: list(caida.read(tmp_path / name, 2).isps) for name in ("a.txt", "a.bz2", "a.gz")}
        assert set(map(tuple, kept.values())) == {("as64501", "as64502")}

    def test_relations_are_what_the_customer_is_to_its_provider(self, tmp_path):
        topology = loaded((GOLDEN / "serial-2.as-rel2.txt.yaml").read_text(), tmp_path)
        said = {(wire.endpoints[0], wire.endpoints[1]): wire.relation for wire in topology.links}
        assert said[("as64501.r", "as6939.r")] == "customer"
        assert said[("as174.r", "as6939.r")] == "peer"

    def test_who_has_no_path_is_said(self, tmp_path):
        # 1 and 2 are stubs of providers that do not meet; 3 is joined with nobody that is kept.
        (tmp_path / "a").write_text(
            "10|1|-1\n10|2|-1\n10|3|-1\n20|4|-1\n20|5|-1\n30|31|-1\n10|20|0\n20|30|0\n"
        )
        notes = " ".join(caida.read(tmp_path / "a", 3).notes)
        assert (
            "Without a path that the relations allow to each of the 2 others: AS10 reaches 1, AS30 reaches 1"
            in notes
        )

    def test_a_circle_of_providers_is_broken_and_said(self, tmp_path):
        (tmp_path / "a").write_text("1|2|-1\n2|3|-1\n3|1|-1\n")
        draft = caida.read(tmp_path / "a", 3)
        assert [link[:2] for link in draft.links] == [("as2.r", "as1.r"), ("as3.r", "as2.r")]
        assert "left out of each circle: AS1 as customer of AS3" in " ".join(draft.notes)
        assert loaded(draft.yaml(), tmp_path)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("# only\n", "holds no relation"),
            ("1|2|-1\n1|2\n", "a.txt:2:1: '1|2' is no relation; write for example 64500|64501|-1"),
            ("1|2|7\n", "a.txt:1:1"),
            ("1|4294967295|0\n", "a.txt:1:1"),
            ("1|-2|0\n", "a.txt:1:1"),
            ("one|two|0\n", "a.txt:1:1"),
        ],
    )
    def test_bad_lines_are_named(self, text, told, tmp_path):
        (tmp_path / "a.txt").write_text(text)
        assert told in refusal(caida.read, tmp_path / "a.txt", 5)

    @pytest.mark.parametrize("ending", ["bz2", "gz", "xz"])
    def test_a_download_that_broke_off(self, ending, tmp_path):
        whole = {"bz2": bz2, "gz": gzip, "xz": __import__("lzma")}[ending].compress(b"1|2|-1\n" * 1000)
        for size in (0, 3, len(whole) // 2, len(whole) - 1):
            (tmp_path / f"a.{ending}").write_bytes(whole[:size])
            assert "a." in refusal(caida.read, tmp_path / f"a.{ending}", 5)

    @pytest.mark.parametrize("top", ["0", "-1", "x", "100000"])
    def test_how_many_has_bounds(self, top):
        result = call("caida", GOLDEN / "serial-1.as-rel.txt", "--top", top)
        assert result.exit_code == 2
        assert "--top" in result.stderr


class TestContainerlab:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("- a", "a.clab.yml:1:1: is no mapping"),
            ("name: x\n", "has no nodes"),
            ("name: x\ntopology:\n  nodes: {}\n", "a.clab.yml:3:1: has no nodes"),
            ("topology:\n  nodes: {a: {kind: linux}\n  links: []\n", "a.clab.yml:3:1: is not YAML"),
            ("topology: {{ .Values }}\n", "is not YAML"),
            ("topology:\n  nodes: {alpha: , b: }\n  links:\n    - endpoints: [alhpa:e, b:e]\n",
             "a.clab.yml:4:1: topology.links: there is no node 'alhpa'; did you mean alpha?"),
            ("topology:\n  nodes: {a: , b: }\n  links:\n    - endpoints: [a:e]\n", "does not join two nodes"),
            ("topology:\n  nodes: {a: , b: }\n  links:\n    - [a, b]\n", "does not join two nodes"),
            ("topology:\n  nodes: {a: , b: }\n  links: many\n", "links that are no list"),
            ("topology: !!python/object:os.system x\n", "is not YAML"),
            ("a: " * 5000, "is not YAML"),
            ("[" * 100_000, "is not YAML"),
        ],
    )  # fmt: skip
    def test_bad_files_are_refused_with_their_line(self, text, told, tmp_path):
        file = tmp_path / "a.clab.yml"
        file.write_text(text)
        assert told in refusal(containerlab.read, file)

    @pytest.mark.parametrize(
        ("node", "kind"),
        [
            ("{kind: nokia_srlinux}", "router"), ("{kind: srl}", "router"), ("{kind: ceos}", "router"),
            ("{kind: vr-sros}", "router"), ("{kind: crpd}", "router"), ("{kind: cisco_xrd}", "router"),
            ("{kind: xrd}", "router"), ("{kind: linux, image: 'frrouting/frr:v8'}", "router"),
            ("{kind: linux, image: 'ghcr.io/srl-labs/network-multitool'}", "host"),
            ("{kind: ovs-bridge}", "switch"), ("{kind: bridge}", "switch"), ("{kind: linux}", "host"),
            ("", "host"),
        ],
    )  # fmt: skip
    def test_kinds(self, node, kind, tmp_path):
        file = tmp_path / "a.clab.yml"
        file.write_text(
            f"topology:\n  nodes: {{a: {node}, b: {{kind: bridge}}}}\n  links:\n    - endpoints: [a:e, b:e]\n"
        )
        draft = containerlab.read(file)
        routers = [router for isp in draft.isps.values() for router in isp.routers]
        found = {"host": draft.hosts, "switch": draft.switches, "router": routers}
        assert "a" in found[kind]


class TestMininet:
    @pytest.mark.parametrize("name", ["Campus", "Alias", "campus"])
    def test_a_class_or_a_name_that_mn_knows(self, name):
        assert len(mininet.read(f"{GOLDEN / 'campus.py'}:{name}", {"halls": 4}).switches) == 4

    @pytest.mark.parametrize(
        ("named", "arguments", "hosts", "switches"),
        [
            ("mininet.topo:LinearTopo", {"k": 3}, 3, 3),
            ("mininet.topo:MinimalTopo", {}, 2, 1),
            ("mininet.topolib:TreeTopo", {"depth": 2, "fanout": 3}, 9, 4),
            ("mininet.topolib:TorusTopo", {"x": 3, "y": 3}, 9, 9),
        ],
    )
    def test_mininets_own(self, named, arguments, hosts, switches, tmp_path):
        topology = loaded(mininet.read(named, arguments).yaml(), tmp_path)
        assert (len(topology.hosts), len(topology.switches)) == (hosts, switches)
        assert all(switch.stp for switch in topology.switches.values()) == ("Torus" in named)

    def test_the_shaping_of_a_link(self, tmp_path):
        job = pipeline.bare(GOLDEN / "campus.py.yaml")
        shape = job.node("h1").interfaces[0].shape
        assert (shape.rate_bps, shape.delay_ns, shape.jitter_ns) == (100_000_000, 2_000_000, 500_000)
        assert shape.loss.parameters == (0.001,)
        assert shape.queue_packets == 50

    @pytest.mark.parametrize(
        ("text", "named", "told"),
        [
            ("", "a.py:X", "a.py: is empty"),
            ("class A:\n  def (", "a.py:A", "a.py:2:1: is not Python"),
            ("\nimport nonsense_that_is_not\n", "a.py:A", "a.py:2:1: ends with ModuleNotFoundError"),
            ("import sys\nsys.exit(3)\n", "a.py:A", "a.py:2:1: ends with SystemExit: 3"),
            ("from mininet.topo import Topo\nclass FatTree(Topo): 0\n", "a.py:FatTre", "mean FatTree?"),
            ("from mininet.topo import Topo\nclass FatTree(Topo): 0\n", "a.py:FatTree", "has no nodes"),
            ("from mininet.topo import Topo\nclass A(Topo):\n  def build(self, k):\n    1 / 0\n", "a.py:A",
             "a.py:4:1: ends with ZeroDivisionError"),
            ("x = 1\n", "a.py", "a.py: names no class; write"),
        ],
    )  # fmt: skip
    def test_bad_files_are_refused_with_their_line(self, text, named, told, tmp_path):
        (tmp_path / "a.py").write_text(text)
        arguments = {"k": 4} if "def build(self, k)" in text else {}
        assert told in refusal(mininet.read, str(tmp_path / named), arguments)
        assert "testbed_imported_topology" not in sys.modules
        assert str(tmp_path) not in sys.path

    def test_an_argument_that_the_class_does_not_take(self):
        assert "takes no argument 'hals'; did you mean halls?" in refusal(
            mininet.read, f"{GOLDEN / 'campus.py'}:campus", {"hals": 3}
        )
        result = call("mininet", "mininet.topo:LinearTopo", "--arg", "3")
        assert result.exit_code == 2
        assert "k=4" in re.sub(r"[\s│]+", "", result.stderr)

    def test_a_module_that_is_not_there(self):
        assert "is no module" in refusal(mininet.read, "mininet.topoo:LinearTopo", {})


class TestCommand:
    def test_the_topology_goes_to_stdout_and_the_notes_to_stderr(self, tmp_path):
        result = call("mininet", f"{GOLDEN / 'campus.py'}:Campus", "--arg", "slow=true")
        assert result.exit_code == 0
        assert "rate: 10mbit" in result.stdout
        assert loaded(result.stdout, tmp_path).name == "campus"
        assert "note: The switches are joined in a loop" in result.stderr
        assert "printing does not spoil the YAML" in result.stderr

    @pytest.mark.parametrize("verb", ["zoo", "caida", "containerlab", "mininet"])
    def test_each_explains_itself_by_an_example(self, verb):
        assert f"Example: testbed import {verb} " in " ".join(call(verb, "--help").stdout.split())

    def test_a_refusal_is_exit_2_and_leaves_no_file(self, tmp_path):
        (tmp_path / "a.gml").write_text("graph [\n")
        result = call("zoo", tmp_path / "a.gml", "-o", tmp_path / "a.yaml")
        assert result.exit_code == 2
        assert "a.gml" in result.stderr
        assert not (tmp_path / "a.yaml").exists()


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "campus.py"])
def test_broken_files_are_read_or_refused_but_nothing_else(name, tmp_path):
    """Cut short anywhere, or with a byte changed anywhere: a topology comes of it, or a refusal."""
    draws = random.Random(name)
    whole = (GOLDEN / name).read_bytes()
    file = tmp_path / name
    outcomes = set()
    for _ in range(150):
        broken = bytearray(whole[: draws.randrange(len(whole))] if draws.random() < 0.5 else whole)
        for _ in range(draws.randrange(4)):
            if broken:
                broken[draws.randrange(len(broken))] = draws.choice(b'\0\n" []{}:|-<>/&0179ae\xff')
        file.write_bytes(bytes(broken))
        try:
            assert SOURCES[name](file).yaml()
            outcomes.add("read")
        except Refused as refused:
            outcomes.add("refused" if all(problem.hint for problem in refused.problems) else "no hint")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("New York", "new-york"), ("Zürich", "zurich"), ("Tromsø", "tromso"), ("10 Gbit", "n10-gbit"),
        ("東京", ""), ("--", ""), ("A" * 50, "a" * 40), ("a_b", "a-b"),
    ],
)  # fmt: skip
def test_labels_become_names(label, name):
    assert spelt(label) == name


def test_names_are_never_given_twice():
    names = Names(["b"])
    assert [names.take(label, "node") for label in ("a", "A", "a-2", "?", "b", "x" * 60, "x" * 60)] == [
        "a", "a-2", "a-2-2", "node", "b-2", "x" * 40, "x" * 38 + "-2",
    ]  # fmt: skip

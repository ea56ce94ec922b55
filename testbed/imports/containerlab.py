"""A containerlab file becomes a topology: nodes by their kind, links with what they say of themselves.

Containerlab (https://containerlab.dev/manual/topo-def-file/) starts containers; what runs in them stays
there. Routers are of one AS unless labels say otherwise, as `testbed graph` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from testbed.imports import files, wiring
from testbed.imports.draft import Draft, Words, listed, spelt
from testbed.imports.wiring import Node, Wire
from testbed.model.link import MTU, LinkSpec
from testbed.refusal import Problem, Refused, quoted, suggestion

HOSTS = frozenset({"linux", "host", "ext-container", "k8s-kind", "generic_vm"})
SWITCHES = frozenset({"bridge", "ovs-bridge"})
# https://containerlab.dev/manual/kinds/: what is a router or switch with an operating system of its own.
ROUTERS = re.compile(
    r"srl|nokia_.*|vr-.*|ceos|arista_.*|crpd|juniper_.*|xrd|cisco_.*|cvx|cumulus_.*|sonic-.*|sonic_.*|dell_.*|"
    r"mikrotik_.*|huawei_.*|vyosnetworks_.*|6wind_.*|rare|openbsd|freebsd|ipinfusion_.*|aruba_.*|fdio_.*|"
    r"checkpoint_.*|fortinet_.*|paloalto_.*|f5_.*|keysight_.*|border0|arrcus_.*|vpp"
)
ROUTING_IMAGES = re.compile(r"(?:^|[/_-])(?:frr|frrouting|bird2?|gobgp|quagga|openbgpd|exabgp|holo)\b")
TOP = frozenset({"name", "prefix", "mgmt", "settings", "topology", "debug"})
NOT_NODES = frozenset({"host", "mgmt-net", "macvlan", "vxlan", "vxlan-stitch", "dummy"})
NODE_KEYS_KEPT = frozenset({"kind", "image", "labels", "group", "type"})
LABEL, ASN_LABEL = "testbed-name", "testbed-asn"
_LINE = "\0line"  # where the mapping starts; no key of YAML has a null in it


class _Lines(yaml.SafeLoader):
    """YAML whose mappings know the line that they start in."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping with its line among its keys."""
        made = super().construct_mapping(node, deep=deep)
        return {**made, _LINE: node.start_mark.line + 1}


def read(path: Path) -> Draft:
    """The draft of a containerlab file; Refused says where it is none."""
    whole = _parsed(path, files.text(path))
    topology = whole.get("topology")
    if not isinstance(topology, dict) or not isinstance(topology.get("nodes"), dict):
        line = topology[_LINE] if isinstance(topology, dict) else 1
        raise files.refused(path, line, "has no nodes", "write topology: with nodes: and links: in it")
    notes: list[str] = []
    nodes = _nodes(topology, notes)
    if not nodes:
        raise files.refused(path, topology[_LINE], "has no nodes", "write some under topology.nodes")
    wires = _wires(path, topology, nodes, notes)
    ignored = [str(key) for key in whole if key not in TOP and key != _LINE]
    if ignored:
        notes.append(f"Keys that say nothing here: {listed(ignored)}.")
    if "mgmt" in whole:
        notes.append("The management network is left out: hosts here are reached without one.")
    name = str(whole.get("name") or path.name.split(".")[0])
    source = [f"{name}, imported with 'testbed import containerlab' from {path.name}."]
    return wiring.draft(spelt(name) or "lab", source, nodes, wires, notes)


def _parsed(path: Path, text: str) -> dict[Any, Any]:
    try:
        whole = yaml.load(text, Loader=_Lines)  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        hint = "look at the brackets, quotes and indentation before it (templates have to be rendered first)"
        raise files.refused(
            path, mark.line + 1 if mark else 0, f"is not YAML ({problem.problem})", hint
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        what = " ".join(str(problem).split())[:120]
        raise files.refused(path, 0, f"is not YAML ({what})", "look for what is not plain text") from None
    if not isinstance(whole, dict):
        raise files.refused(path, 1, "is no mapping", "write name: and topology:")
    return whole


def _nodes(topology: Mapping[Any, Any], notes: list[str]) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    strange: list[str] = []
    left: set[str] = set()
    for name, written in topology["nodes"].items():
        if name == _LINE:
            continue
        said = _inherited(topology, written if isinstance(written, dict) else {})
        left |= {str(key) for key in said if key not in NODE_KEYS_KEPT and key != _LINE}
        kind, image = str(said.get("kind", "linux")), str(said.get("image", ""))
        labels = said.get("labels")
        labels = labels if isinstance(labels, dict) else {}
        asn = str(labels.get(ASN_LABEL, ""))
        node = Node(name=_exported(labels), asn=int(asn) if asn.isdecimal() and len(asn) < 11 else 0)
        if kind in SWITCHES:
            node.kind = "switch"
            node.words = {"stp": True} if str(labels.get("testbed-stp")).lower() == "true" else {}
        elif ROUTERS.fullmatch(kind) or ROUTING_IMAGES.search(image):
            node.kind = "router"
        elif kind not in HOSTS:
            strange.append(f"{name} ({kind})")
        nodes[str(name)] = node
    if strange:
        notes.append(
            f"Of a kind not known here, so routers if they have several links, else hosts: {listed(strange)}."
        )
    if left:
        notes.append(f"What the containers run and how is left out: {listed(sorted(left))}.")
    return nodes


def _exported(labels: Mapping[Any, Any]) -> str:
    """The name that a node had when it was exported; empty if it was not, or has been tampered with."""
    name = str(labels.get(LABEL, ""))
    return (
        name if all(part and spelt(part) == part for part in name.split(".")) and name.count(".") < 2 else ""
    )


def _inherited(topology: Mapping[Any, Any], written: Mapping[Any, Any]) -> dict[Any, Any]:
    """What holds for a node: its own word over its group's, its kind's and the defaults'."""

    def of(section: str, key: object) -> Mapping[Any, Any]:
        table = topology.get(section)
        found = table.get(key) if isinstance(table, dict) and isinstance(key, str) else None
        return found if isinstance(found, dict) else {}

    defaults = topology.get("defaults")
    defaults = defaults if isinstance(defaults, dict) else {}
    group = of("groups", written.get("group"))
    kind = written.get("kind", group.get("kind", defaults.get("kind")))
    return {**defaults, **of("kinds", kind), **group, **written}


def _wires(
    path: Path, topology: Mapping[Any, Any], nodes: Mapping[str, Node], notes: list[str]
) -> list[Wire]:
    links = topology.get("links") or []
    problems: list[Problem] = []

    def problem(link: object, what: str, hint: str) -> None:
        line = link[_LINE] if isinstance(link, dict) else topology[_LINE]
        problems.append(Problem(str(path), line, 1, "topology.links", what, hint))

    if not isinstance(links, list):
        raise files.refused(
            path, topology[_LINE], "has links that are no list", "write one - endpoints: a line"
        )
    wires, outside = [], []
    for link in links:
        ends = _ends(link)
        if len(ends) == 1 and isinstance(link, dict) and link.get("type") in NOT_NODES:
            outside.append(f"{ends[0]} to {link['type']}")
        elif len(ends) != 2:
            problem(
                link,
                f"{quoted(_plain(link))} does not join two nodes",
                'write endpoints: ["a:eth1", "b:eth1"]',
            )
        elif away := [end for end in ends if end in NOT_NODES and end not in nodes]:
            outside.append(f"{next((end for end in ends if end not in away), away[0])} to {away[0]}")
        elif missing := [end for end in ends if end not in nodes]:
            problem(
                link,
                f"there is no node {quoted(missing[0])}",
                suggestion(missing[0], nodes, "add it to nodes"),
            )
        else:
            wires.append(Wire(ends[0], ends[1], _words(link, f"{ends[0]} to {ends[1]}", notes)))
    if problems:
        raise Refused(problems)
    if outside:
        notes.append(f"Links that lead out of the lab are left out: {listed(outside)}.")
    return wires


def _ends(link: object) -> list[str]:
    """The nodes at both ends, of the brief format ("a:eth1") or the extended one (node: a)."""
    if not isinstance(link, dict):
        return []
    ends = link.get("endpoints", link.get("endpoint"))
    found = []
    for end in ends if isinstance(ends, list) else [ends]:
        node = (
            end.get("node")
            if isinstance(end, dict)
            else str(end).partition(":")[0]
            if isinstance(end, str)
            else None
        )
        if node is not None:
            found.append(str(node))
    return found


def _words(link: Mapping[Any, Any], where: str, notes: list[str]) -> Words:
    """What the link's mtu and vars say, as far as they are words of ours."""
    variables = link.get("vars")
    said = dict(variables) if isinstance(variables, dict) else {}
    if link.get("mtu", MTU) != MTU:
        said["mtu"] = link["mtu"]
    known = {field.alias or name for name, field in LinkSpec.model_fields.items()}
    words = wiring.accepted({key: value for key, value in said.items() if key in known}, where, notes)
    for direction in ("forward", "backward"):
        one = said.get(direction)
        if isinstance(one, dict) and (
            good := wiring.accepted(
                {key: one[key] for key in one if key in known}, f"{where}, {direction}", notes
            )
        ):
            words[direction] = good
    if said.get("relation") in ("customer", "provider", "peer"):
        words = {"relation": str(said["relation"]), **words}
    left = [str(key) for key in said if key not in known | {"forward", "backward", "relation", _LINE}]
    if left:
        notes.append(f"{where}: variables that say nothing here: {listed(left)}.")
    return words


def _plain(value: object) -> object:
    """A link as a message repeats it."""
    ends = value.get("endpoints") if isinstance(value, dict) else value
    return ends if isinstance(ends, str) else str(ends)

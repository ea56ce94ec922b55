"""A network of the Internet Topology Zoo becomes an ISP: a router a node, delays by distance.

Knight, Nguyen, Falkner, Bowden, Roughan: "The Internet Topology Zoo", IEEE JSAC 29(9), 2011. Light in
fibre travels at two thirds of its speed in the vacuum, along a great circle at best; the Zoo's maps show
no more than where the ends are, so a delay here is the least that the link can have.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.imports import files
from testbed.imports.draft import ASN, Draft, Isp, Names, Words, count, listed, one_line, spelt
from testbed.units import show_duration, show_rate

if TYPE_CHECKING:
    import networkx as nx

EARTH_RADIUS_M = 6_371_008.8  # the mean radius R1 of the IUGG (Moritz, "Geodetic Reference System 1980")
LIGHT_M_PER_S = 299_792_458
DEFAULTS: Words = {"rate": "10gbit", "delay": "1ms"}
CREDIT = (
    "the Internet Topology Zoo (Knight et al., IEEE JSAC 29(9), 2011) has its data under CC BY 4.0: "
    "name it where you publish."
)
RATE_MOST = 9 * 10**18

_GRAPH = re.compile(r"^(\s*graph\s*\[)", re.MULTILINE)
_PLACE = re.compile(r"\((\d+), (\d+)\)")  # where networkx says that it stumbled

Place = tuple[float, float]  # latitude and longitude, in degrees


def read(path: Path) -> Draft:
    """The draft of a GML or GraphML file of the Zoo; Refused if it holds no network."""
    text = files.text(path)
    graph = _graphml(path, text) if text.lstrip().startswith("<") else _gml(path, text)
    if not any(not _is_hyperedge(data) for _, data in graph.nodes(data=True)):
        raise files.refused(path, 0, "holds no nodes", "export the network once more")
    return _draft(graph, path)


def _gml(path: Path, text: str) -> nx.MultiGraph:
    import networkx as nx

    # The Zoo's files have parallel links without saying so, and labels that occur twice.
    said, found = _GRAPH.subn(r"\1 multigraph 1", text, count=1)
    if not found:
        raise files.refused(path, 1, "is neither GML nor GraphML", "write a file that begins with graph [")
    try:
        graph = nx.parse_gml(said, label="id")
    except Exception as problem:  # noqa: BLE001 - the parser lets out whatever it stumbles on
        what = one_line(str(problem)) or "its lists are nested too deep"
        place = _PLACE.search(what)
        raise files.refused(
            path,
            int(place[1]) if place else 0,
            f"is not GML ({what[:120]})",
            "look for a bracket or quote amiss",
        ) from None
    return nx.MultiGraph(graph)


def _graphml(path: Path, text: str) -> nx.MultiGraph:
    from xml.etree.ElementTree import ParseError

    import networkx as nx

    if "<!DOCTYPE" in text:  # it has entities, which may grow without bound, or it is a web page
        raise files.refused(path, 1, "has a DOCTYPE, which GraphML has not", "export it again as GraphML")
    try:
        graph = nx.parse_graphml(text, force_multigraph=True)
    except ParseError as problem:
        raise files.refused(
            path, problem.position[0], f"is not XML ({problem})", "look for a tag that is not closed"
        ) from None
    except Exception as problem:  # noqa: BLE001 - the parser lets out whatever it stumbles on
        what = one_line(str(problem))[:120]
        raise files.refused(path, 0, f"is not GraphML ({what})", "export it again as GraphML") from None
    return nx.MultiGraph(graph)


def _draft(whole: nx.MultiGraph, path: Path) -> Draft:
    told = whole.graph
    title = _text(told, "Network") or _text(told, "label") or path.stem
    network = spelt(title) or "zoo"
    draft = Draft(name=network, source=_source(told, title, path), defaults=dict(DEFAULTS))
    graph = _largest(whole, draft.notes)
    labels = {node: _text(data, "label") or f"node {node}" for node, data in graph.nodes(data=True)}
    places = _places(graph, labels, draft.notes)
    names = _named(graph, labels, network, draft)
    _say_assumed(graph, labels, draft)
    _links(graph, labels, places, names, draft)
    return draft


def _source(told: Mapping[str, Any], title: str, path: Path) -> list[str]:
    facts = [_text(told, key) for key in ("GeoLocation", "NetworkDate", "Source")]
    return [
        ", ".join([title, *(fact for fact in facts if fact)]),
        f"Imported with 'testbed import zoo' from {path.name}; {CREDIT}",
    ]


def _largest(whole: nx.MultiGraph, notes: list[str]) -> nx.MultiGraph:
    """The largest connected part, which has to have a router in it."""
    import networkx as nx

    def routers(part: Iterable[object]) -> int:
        return sum(not _is_hyperedge(whole.nodes[node]) for node in part)

    parts = list(nx.connected_components(whole))
    largest = max(parts, key=routers)
    gone = [node for node in whole if node not in largest]
    if gone:
        left = listed(_text(whole.nodes[node], "label") or f"node {node}" for node in gone)
        notes.append(f"The map falls into {len(parts)} parts; only the largest is here, without {left}.")
    graph = whole.subgraph([node for node in whole if node in largest]).copy()
    assert isinstance(graph, nx.MultiGraph)
    return graph


def _named(
    graph: nx.MultiGraph, labels: Mapping[object, str], network: str, draft: Draft
) -> dict[object, str]:
    """The name of every node; the routers and switches are added to the draft."""
    isp = Isp(ASN)
    draft.isps[network] = isp
    draft.notes.append(f"The Zoo names no AS: {ASN} is one of those for documentation (RFC 5398).")
    own, lans = Names(), Names([network])
    names = {}
    for node, data in graph.nodes(data=True):
        if _is_hyperedge(data):
            names[node] = lans.take("" if labels[node].isdigit() else labels[node], "lan")
            draft.switches[names[node]] = {}
            continue
        router = own.take(labels[node], spelt(f"node {node}"))
        names[node] = f"{network}.{router}"
        where = _place(data)
        seen = [labels[node], _text(data, "Country")]
        seen += [f"{where[0]:g} {where[1]:g}" if where else "no coordinates"]
        isp.routers[router] = ", ".join(fact for fact in seen if fact)
    return names


def _say_assumed(graph: nx.MultiGraph, labels: Mapping[object, str], draft: Draft) -> None:
    twice = [label for label, times in Counter(labels.values()).items() if times > 1]
    if twice:
        draft.notes.append(f"Several nodes have one label, and are numbered: {listed(twice)}.")
    outside = [labels[node] for node, data in graph.nodes(data=True) if _number(data.get("Internal")) == 0]
    if outside:
        draft.notes.append(
            "Of other networks, as the map has it, but routers of this one here, since it names neither "
            f"their AS nor the relation: {listed(outside)}."
        )
    if draft.switches:
        draft.notes.append(
            f"A hyperedge, which joins several nodes at once, is a switch: {listed(draft.switches)}; without "
            "coordinates of its own it stands in the middle of what it joins."
        )


def _links(
    graph: nx.MultiGraph, labels: Mapping[object, str], places: Mapping[object, Place],
    names: Mapping[object, str], draft: Draft,
) -> None:  # fmt: skip
    together: dict[tuple[object, object], list[Mapping[str, Any]]] = {}
    loops: list[str] = []
    for a, b, data in graph.edges(data=True):
        if a == b:
            loops.append(labels[a])
        elif (b, a) in together:
            together[b, a].append(data)
        else:
            together.setdefault((a, b), []).append(data)
    unrated = unplaced = 0
    for (a, b), parallel in together.items():
        words: Words = {}
        rates = [rate for data in parallel if (rate := _rate(data))]
        if len(rates) == len(parallel):
            words["rate"] = show_rate(min(sum(rates), RATE_MOST))
        else:
            unrated += 1
        if a in places and b in places:
            words["delay"] = show_duration(delay_ns(places[a], places[b]) // 1000 * 1000)
        else:
            unplaced += 1
        draft.links.append((names[a], names[b], words))
    if loops:
        draft.notes.append(f"Links of a node with itself are left out: {listed(loops)}.")
    merged = [f"{labels[a]} to {labels[b]}" for (a, b), parallel in together.items() if len(parallel) > 1]
    if merged:
        draft.notes.append(f"Parallel links are one link with the rate of all: {listed(merged)}.")
    if unrated:
        draft.notes.append(
            f"{count(unrated, 'link')} of {len(together)} without a speed: {DEFAULTS['rate']}, "
            "as defaults: has it."
        )
    if unplaced:
        draft.notes.append(
            f"{count(unplaced, 'link')} with an end that has no coordinates: {DEFAULTS['delay']}, "
            "as defaults: has it."
        )
    if unplaced < len(together):
        draft.notes.append(
            "Delays are those of light in fibre (2/3 c) along the great circle; real cables are longer."
        )


def _places(graph: nx.MultiGraph, labels: Mapping[object, str], notes: list[str]) -> dict[object, Place]:
    """Where the nodes are, as far as that is known; a hyperedge is in the middle of its neighbours."""
    places = {node: place for node, data in graph.nodes(data=True) if (place := _place(data))}
    for node, data in graph.nodes(data=True):
        if _is_hyperedge(data) and node not in places:
            around = [places[other] for other in graph[node] if other in places]
            if around and (middle := _middle(around)):
                places[node] = middle
    lost = [labels[node] for node in graph if node not in places]
    if lost:
        notes.append(f"Without coordinates: {listed(lost)}.")
    return places


def delay_ns(here: Place, there: Place) -> int:
    """How long light in fibre takes along the great circle between two places."""
    (lat1, lon1), (lat2, lon2) = ([math.radians(degrees) for degrees in place] for place in (here, there))
    # The haversine formula: exact for small distances too (Sinnott, Sky and Telescope 68(2), 1984).
    half = (
        math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    metres = 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(half)))
    return round(metres * 1e9 / (LIGHT_M_PER_S * 2 / 3))


def _middle(places: Iterable[Place]) -> Place | None:
    """The place on the sphere above the centre of some; None where they lie all around it."""
    x = y = z = 0.0
    for degrees in places:
        lat, lon = map(math.radians, degrees)
        x += math.cos(lat) * math.cos(lon)
        y += math.cos(lat) * math.sin(lon)
        z += math.sin(lat)
    if math.hypot(x, y, z) < 1e-9:
        return None
    return math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x))


def _place(data: Mapping[str, Any]) -> Place | None:
    lat, lon = _number(data.get("Latitude")), _number(data.get("Longitude"))
    if lat is None or lon is None or abs(lat) > 90 or abs(lon) > 180:
        return None
    return lat, lon


def _rate(data: Mapping[str, Any]) -> int:
    """A link's speed in bits per second; 0 where it is not known."""
    rate = _number(data.get("LinkSpeedRaw")) or 0
    return round(rate) if 1 <= rate <= RATE_MOST else 0


def _is_hyperedge(data: Mapping[str, Any]) -> bool:
    return str(data.get("hyperedge", 0)).lower() in ("1", "1.0", "true")


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(data: Mapping[str, Any], key: str) -> str:
    """A fact of the file as one short line; empty where there is none."""
    value = data.get(key, "")
    return "" if isinstance(value, (list, dict)) else one_line(str(value))[:200]

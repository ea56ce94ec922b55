"""CAIDA's AS relationships become networks: those with the largest customer cones, and their links.

Both forms of the data set are read: serial-1, `provider|customer|-1` or `peer|peer|0`, and serial-2, which
adds a source. A network's cone is itself and whoever is reached from it by going from provider to
customer only (Luckie et al., "AS Relationships, Customer Cones, and Validation", IMC 2013: the recursive
cone). It is counted by walking it, which circles cannot trap; a whole Internet has millions of steps in
all its cones together, since most of them hold one network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from testbed.imports import files
from testbed.imports.draft import Draft, Isp, Words, count, listed, one_line
from testbed.model.fields import ASN_MOST, ASN_RESERVED
from testbed.model.reach import closure
from testbed.refusal import PROBLEMS_MOST, Problem, Refused, quoted

PROVIDER, PEER = -1, 0
ROUTER = "r"
DEFAULTS: Words = {"rate": "10gbit", "delay": "5ms"}
HEADERS_MOST = 3  # of the file's own comments


class Relations(NamedTuple):
    """What a file says: the ASes, who is whose provider or peer, and what it says of itself."""

    asns: set[int]
    customers: dict[int, set[int]]
    peers: set[tuple[int, int]]
    source: list[str]
    notes: list[str]


def read(path: Path, top: int) -> Draft:
    """The draft of the `top` networks of an as-rel file, plain or packed; Refused names every bad line."""
    relations = _relations(path, files.text(path))
    if not relations.asns:
        raise files.refused(path, 0, "holds no relation", "fetch a file of CAIDA's as-relationships")
    cones = cone_sizes(relations.customers)
    ranked = sorted(relations.asns, key=lambda asn: (-cones.get(asn, 1), asn))
    return _draft(path, relations, cones, ranked[:top])


def _relations(path: Path, text: str) -> Relations:
    found = Relations(set(), {}, set(), [], [])
    known: dict[tuple[int, int], int] = {}  # what the first is to the second, the lower ASN first
    problems: list[Problem] = []
    itself: list[int] = []
    differs: list[str] = []
    reserved: set[int] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#"):
            found.source.append(line.lstrip("# ").strip())
            continue
        if not line.strip():
            continue
        try:
            first, second, kind, *_ = line.split("|")
            a, b, relation = int(first), int(second), int(kind)
        except ValueError:
            a = b = relation = 0
        if not (relation in (PROVIDER, PEER) and 0 < a <= ASN_MOST and 0 < b <= ASN_MOST):
            hint = "write for example 64500|64501|-1, provider first, or |0 between peers"
            problems.append(Problem(str(path), number, 1, "", f"{quoted(line)} is no relation", hint))
            if len(problems) >= PROBLEMS_MOST:
                break
            continue
        if a in ASN_RESERVED or b in ASN_RESERVED:
            reserved |= {a, b} & ASN_RESERVED.keys()
            continue
        if a == b:
            itself.append(a)
            continue
        said = relation if relation == PEER or a < b else -PROVIDER
        pair = (a, b) if a < b else (b, a)
        if known.setdefault(pair, said) != said:
            differs.append(f"AS{a} and AS{b}")
            continue
        found.asns.update(pair)
        if relation == PEER:
            found.peers.add(pair)
        else:
            found.customers.setdefault(a, set()).add(b)
    if problems:
        raise Refused(problems)
    if itself:
        found.notes.append(f"Relations of a network with itself are left out: {listed(_shown(itself))}.")
    if differs:
        found.notes.append(f"Where the file says two things, the first holds: {listed(differs)}.")
    if reserved:
        found.notes.append(
            f"Reserved numbers, which are no network's, are left out: {listed(_shown(reserved))}."
        )
    return found


def cone_sizes(customers: Mapping[int, Iterable[int]]) -> dict[int, int]:
    """The size of the customer cone of every network that has customers; of others it is 1."""
    return {asn: len(closure(customers, asn)) for asn in customers}


def _draft(path: Path, relations: Relations, cones: Mapping[int, int], kept: list[int]) -> Draft:
    size = f"{count(len(relations.asns), 'AS', 'ASes')} of CAIDA's AS relationships"
    told = [one_line(line)[:120] for line in relations.source[:HEADERS_MOST]]
    draft = Draft(
        name="caida",
        source=[
            f"The {count(len(kept), 'network')} with the largest customer cones among the {size}.",
            f"Imported with 'testbed import caida' from {path.name}"
            + (f" ({'; '.join(told)})" if told else "")
            + ". CAIDA's acceptable use agreement holds for the data: name them where you publish.",
        ],
        defaults=dict(DEFAULTS),
        notes=relations.notes,
    )  # fmt: skip
    for asn in kept:
        draft.isps[f"as{asn}"] = Isp(asn, f"{count(cones.get(asn, 1), 'network')} in its cone", {ROUTER: ""})
    within = set(kept)
    pairs = [(a, b) for a in kept for b in sorted(relations.customers.get(a, ())) if b in within]
    pairs, circular = _without_circles(pairs)
    peers = sorted(pair for pair in relations.peers if within.issuperset(pair))
    for provider, customer in pairs:
        draft.links.append((_router(customer), _router(provider), {"relation": "customer"}))
    for a, b in peers:
        draft.links.append((_router(a), _router(b), {"relation": "peer"}))
    _say(draft, kept, pairs, peers, circular)
    return draft


def _say(
    draft: Draft, kept: list[int], pairs: list[tuple[int, int]], peers: list[tuple[int, int]],
    circular: list[tuple[int, int]],
) -> None:  # fmt: skip
    draft.notes.append("Every network is one router, and two networks meet in one place.")
    draft.notes.append(
        f"The data say nothing of capacity or distance: {DEFAULTS['rate']} and {DEFAULTS['delay']} "
        "everywhere, as defaults: has it."
    )
    if circular:
        dropped = (f"AS{customer} as customer of AS{provider}" for provider, customer in circular)
        draft.notes.append(
            f"Networks cannot pay one another in a circle; left out of each circle: {listed(dropped)}."
        )
    short = {asn: reached for asn in kept if (reached := len(_reached(asn, pairs, peers))) < len(kept)}
    alone = [asn for asn, reached in short.items() if reached == 1]
    if alone:
        draft.notes.append(f"Joined with none of the others that were kept: {listed(_shown(alone))}.")
    cut = [f"AS{asn} reaches {reached - 1}" for asn, reached in short.items() if reached > 1]
    if cut:
        draft.notes.append(
            f"Without a path that the relations allow to each of the {len(kept) - 1} others: {listed(cut)}. "
            "Their way may be over networks that were left out: keep more with --top."
        )


def _without_circles(
    pairs: list[tuple[int, int]],
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Providers and customers without those that close a circle; the first, of larger cones, stay."""
    below: dict[int, set[int]] = {}  # the customers so far
    kept, circular = [], []
    for provider, customer in pairs:
        if provider in closure(below, customer):
            circular.append((provider, customer))
        else:
            below.setdefault(provider, set()).add(customer)
            kept.append((provider, customer))
    return kept, circular


def _reached(asn: int, pairs: list[tuple[int, int]], peers: list[tuple[int, int]]) -> set[int]:
    """Whom a network reaches: up, across to one peer at most, then down (Gao and Rexford, 2001)."""
    up: dict[int, set[int]] = {}
    down: dict[int, set[int]] = {}
    for provider, customer in pairs:
        up.setdefault(customer, set()).add(provider)
        down.setdefault(provider, set()).add(customer)
    above = closure(up, asn)
    across = {other for a, b in peers for here, other in ((a, b), (b, a)) if here in above}
    return closure(down, *above, *across)


def _router(asn: int) -> str:
    return f"as{asn}.{ROUTER}"


def _shown(asns: Iterable[int]) -> list[str]:
    return [f"AS{asn}" for asn in asns]

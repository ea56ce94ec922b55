"""Addresses follow from the order of the file: the same topology always has the same ones.

Every AS gets a /16 of 10.0.0.0/8 by its place in the file and cuts it the same way:

    10.k.0.0/20    links between its routers, and links to its customers and peers: /31 each (RFC 3021)
    10.k.16.0/20   servers, each on a /31 with its router
    10.k.48.0/20   loopbacks of its routers
    10.k.64.0/18   clients: a /21 for each population, a /31 for each client

The lower half is announced as one /18, every population as its own /21. Exchange x has the LAN
10.(240+x).0.0/24.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

MOST_ASES, MOST_EXCHANGES, MOST_POPULATIONS = 239, 15, 8


class PlanError(ValueError):
    """A topology that the plan has no room for; the message says what to change."""


@dataclass
class Pairs:
    """Hands out the /31s of a prefix, one after the other."""

    prefix: IPv4Network
    purpose: str
    _rest: Iterator[IPv4Network] = field(init=False)

    def __post_init__(self) -> None:
        self._rest = self.prefix.subnets(new_prefix=31)

    def take(self) -> tuple[str, str]:
        """Two addresses with their length; PlanError when there are no more."""
        pair = next(self._rest, None)
        if pair is None:
            raise PlanError(
                f"{self.purpose}: more than the {self.prefix.num_addresses // 2} that {self.prefix} holds"
            )
        return f"{pair[0]}/31", f"{pair[1]}/31"


@dataclass
class Block:
    """An AS's addresses, `number` from 1 up."""

    name: str
    number: int

    def __post_init__(self) -> None:
        if self.number > MOST_ASES:
            raise PlanError(f"{self.name}: the plan has addresses for {MOST_ASES} networks; use fewer")
        self.whole = IPv4Network(f"10.{self.number}.0.0/16")
        self.infrastructure = IPv4Network(f"10.{self.number}.0.0/18")
        self.links = Pairs(IPv4Network(f"10.{self.number}.0.0/20"), f"links of {self.name}")
        self.servers = Pairs(IPv4Network(f"10.{self.number}.16.0/20"), f"servers of {self.name}")
        self._loopbacks = IPv4Network(f"10.{self.number}.48.0/20").hosts()
        self._populations = IPv4Network(f"10.{self.number}.64.0/18").subnets(new_prefix=21)

    def loopback(self) -> IPv4Address:
        """The next router's address of its own."""
        return next(self._loopbacks)

    def population(self, name: str) -> Pairs:
        """The next population's prefix."""
        prefix = next(self._populations, None)
        if prefix is None:
            raise PlanError(f"{self.name}: at most {MOST_POPULATIONS} client populations; merge some")
        return Pairs(prefix, f"clients of {name}")


def exchange_lan(number: int) -> IPv4Network:
    """The LAN of an exchange, `number` from 1 up."""
    if number > MOST_EXCHANGES:
        raise PlanError(f"the plan has addresses for {MOST_EXCHANGES} exchanges; use fewer")
    return IPv4Network(f"10.{240 + number}.0.0/24")

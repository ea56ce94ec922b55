"""Addresses follow from the order of the file: what is added at an end moves nobody else.

Every network cuts its IPv4 prefix the same way, here for a /16; a shorter or longer one is cut in proportion:

    10.k.0.0/19    links of its routers with one another, with its customers and peers: /31 each (RFC 3021)
    10.k.32.0/21   OCAs, each on a /31 with its router
    10.k.40.0/21   hosts, likewise
    10.k.48.0/21   loopbacks of its routers
    10.k.56.0/21   the servers that the CDN needs, each on a /31 with its router
    10.k.64.0/18   clients: a /21 for each population, a /31 for each client

The first quarter, the infrastructure, is announced as one, every population as its own. A LAN's hosts count
from its beginning, its routers down from its end; an exchange's members count from the beginning by their
place in `members`, and the last address is the route server's.

An IPv6 address has the IPv4 address beside it in its last 32 bits, so what holds for the one holds for the
other: links are /127 (RFC 6164, whose forbidden ends cannot occur), as are those of servers, hosts and
clients, for a point-to-point link needs no neighbour cache of 2^64. The network's /48 has all of the
infrastructure in its first /64 and announces the first /52; population p has the /64 number 0x1000 + p.

What is pinned by hand is left out; whoever would have had it gets one from the middle, and nobody else moves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network, ip_address

from testbed.model.prefixes import LanName, Prefixes

_CUT = 5  # every part of a network is some 32nds of it
_LINKS, _OCAS, _HOSTS, _LOOPBACKS, _SERVICES, _POPULATIONS = 0, 4, 5, 6, 7, 8
_POPULATIONS_MOST = 8
_CLIENTS6 = 0x1000

Ends = tuple[str, str]


class PlanError(ValueError):
    """A topology that the plan has no room for; the message says what to change."""


@dataclass(frozen=True)
class End:
    """The address of one end of a link in each family, with its length; empty where it has none."""

    v4: str = ""
    v6: str = ""

    @property
    def address4(self) -> str:
        """The IPv4 address without its length."""
        return self.v4.partition("/")[0]

    @property
    def address6(self) -> str:
        """The IPv6 address without its length."""
        return self.v6.partition("/")[0]


class Taken:
    """The addresses of one family that are pinned by hand."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        spans = sorted((int(each.network_address), int(each.broadcast_address)) for each in networks)
        self._firsts = [first for first, _ in spans]
        self._lasts = [last for _, last in spans]  # rising as well, since no two overlap

    def has(self, first: int, last: int) -> bool:
        """Whether any address from the first to the last is pinned."""
        place = bisect_right(self._firsts, last)
        return place > 0 and self._lasts[place - 1] >= first


class Pool:
    """Hands out a prefix in pieces of one length: in order, and backwards from the end for others."""

    def __init__(
        self, prefix: IPv4Network, length: int, purpose: str, taken: Taken, kept: tuple[int, int] = (0, 0)
    ) -> None:
        self.prefix, self._purpose, self._taken = prefix, purpose, taken
        self._base, self._size = int(prefix.network_address), 1 << (32 - length)
        self._low, self._high = kept[0], (prefix.num_addresses // self._size) - kept[1]
        self._most = self._high - self._low
        self._aside, self._moved = (self._low + self._high) // 2, set[int]()

    def take(self) -> int:
        """The first address of the next piece."""
        self.pass_over()
        return self._piece(self._low - 1)

    def take_last(self) -> int:
        """The first address of the last piece that is left."""
        self._high -= 1
        self._there_is_one()
        return self._piece(self._high)

    def pass_over(self) -> None:
        """Leave the next piece to nobody, since it is the turn of one that is pinned elsewhere."""
        self._low += 1
        self._there_is_one()

    def _piece(self, place: int) -> int:
        """Where a piece starts; in place of one that is pinned, the first of the middle that is not."""
        if self._is_free(place):
            return self._base + place * self._size
        while not self._low <= self._aside < self._high or not self._is_free(self._aside):
            self._aside += 1
            if self._aside >= self._low + self._most:
                raise self._full()
        self._moved.add(self._aside)
        return self._base + self._aside * self._size

    def _is_free(self, place: int) -> bool:
        first = self._base + place * self._size
        return place not in self._moved and not self._taken.has(first, first + self._size - 1)

    def _there_is_one(self) -> None:
        if self._low > self._high:
            raise self._full()

    def _full(self) -> PlanError:
        return PlanError(
            f"{self._purpose}: more than the {self._most} that {self.prefix} has room for; "
            "use fewer, or pin a wider prefix by hand"
        )


@dataclass(frozen=True)
class Population:
    """The prefixes of a population of clients, and the pieces of the IPv4 one."""

    prefix: IPv4Network
    prefix6: IPv6Network
    pool: Pool


class Block:
    """The addresses of a network."""

    def __init__(self, name: str, prefixes: Prefixes, taken: Taken, taken6: Taken) -> None:
        self._name, self._prefixes, self._taken, self._taken6 = name, prefixes, taken, taken6
        self.whole = prefixes.v4, prefixes.v6
        self.infrastructure = IPv4Network((prefixes.v4.network_address, prefixes.v4.prefixlen + 2))
        self.infrastructure6 = IPv6Network((prefixes.v6.network_address, 52))
        self.links = self._pool("links", self._part(_LINKS, _OCAS - _LINKS))
        self.ocas = self._pool("OCAs", self._part(_OCAS))
        self.hosts = self._pool("hosts", self._part(_HOSTS))
        self.services = self._pool("servers", self._part(_SERVICES))
        self._loopbacks = Pool(self._part(_LOOPBACKS), 32, f"routers of {name}", taken, kept=(1, 0))
        self._populations = 0

    def loopback(self, pinned: str | None = None, pinned6: str | None = None) -> End:
        """The next router's own addresses."""
        if pinned:
            self._loopbacks.pass_over()
        value = int(IPv4Address(pinned)) if pinned else self._loopbacks.take()
        own6 = pinned6 or IPv6Address(self._embedded(value))
        return End(f"{IPv4Address(value)}/32", f"{own6}/128")

    def pair(self, pool: Pool, pinned: Ends | None = None, pinned6: Ends | None = None) -> tuple[End, End]:
        """The addresses of both ends of a link, those of a pool where they are not pinned."""
        return self._pair(pool, pinned, pinned6)

    def last_pair(self, pool: Pool) -> tuple[End, End]:
        """The addresses of both ends of a link, counted from the end of a pool."""
        first = pool.take_last()
        mine, theirs = (IPv4Address(first + each) for each in (0, 1))
        derived = self._embedded(first)
        mine6, theirs6 = (IPv6Address(derived + each) for each in (0, 1))
        return End(f"{mine}/31", f"{mine6}/127"), End(f"{theirs}/31", f"{theirs6}/127")

    def client(self, population: Population) -> tuple[End, End]:
        """The addresses of a router and its next client."""
        return self._pair(population.pool, None, None, population.prefix6)

    def population(self, name: str) -> Population:
        """The next population's prefixes."""
        self._populations += 1
        if self._populations > _POPULATIONS_MOST:
            raise PlanError(f"{self._name}: more than {_POPULATIONS_MOST} client populations; merge some")
        prefix = self._part(_POPULATIONS + self._populations - 1)
        first6 = int(self._prefixes.v6.network_address) + (_CLIENTS6 + self._populations << 64)
        while self._taken6.has(first6, first6 + 2**64 - 1):
            first6 += _POPULATIONS_MOST << 64
        prefix6 = IPv6Network((first6, 64))
        return Population(prefix, prefix6, self._pool(f"clients {name}", prefix))

    def _pair(
        self, pool: Pool, pinned: Ends | None, pinned6: Ends | None, clients: IPv6Network | None = None
    ) -> tuple[End, End]:
        if pinned:
            pool.pass_over()
            a, b = (int(IPv4Interface(end).ip) for end in pinned)
            first, turned = min(a, b) & ~1, a > b
        else:
            first, turned = pool.take(), False
            pinned = f"{IPv4Address(first)}/31", f"{IPv4Address(first + 1)}/31"
        if not pinned6:
            derived = int(clients.network_address) + first if clients else self._embedded(first)
            pinned6 = f"{IPv6Address(derived + turned)}/127", f"{IPv6Address(derived + (not turned))}/127"
        return End(pinned[0], pinned6[0]), End(pinned[1], pinned6[1])

    def _embedded(self, value: int) -> int:
        return _embedded(self._prefixes.v6, value, self._taken6, 1 << 64, self.infrastructure6)

    def _part(self, number: int, parts: int = 1) -> IPv4Network:
        whole = self._prefixes.v4
        first = int(whole.network_address) + (whole.num_addresses >> _CUT) * number
        return IPv4Network((first, whole.prefixlen + _CUT - (parts.bit_length() - 1)))

    def _pool(self, what: str, prefix: IPv4Network) -> Pool:
        return Pool(prefix, 31, f"{what} of {self._name}", self._taken)


class Lan:
    """The addresses of a LAN, and who has one there."""

    def __init__(self, name: LanName, prefixes: Prefixes, taken: Taken, taken6: Taken) -> None:
        self.name, self.prefixes, self._taken6 = name, prefixes, taken6
        owner, vlan = name
        purpose = f"nodes at {owner}" + (f" in VLAN {vlan}" if vlan else "")
        self._pool = Pool(prefixes.v4, 32, purpose, taken, kept=(1, 1))
        self.nodes: dict[str, End] = {}

    def first(self, pinned: str | None = None, pinned6: str | None = None) -> End:
        """The next addresses from the beginning."""
        if pinned:
            self._pool.pass_over()
        return self._end(int(IPv4Address(pinned)) if pinned else self._pool.take(), pinned6)

    def last(self, pinned: str | None = None, pinned6: str | None = None) -> End:
        """The next addresses from the end."""
        return self._end(int(IPv4Address(pinned)) if pinned else self._pool.take_last(), pinned6)

    def _end(self, value: int, pinned6: str | None) -> End:
        v4, v6 = self.prefixes.v4, self.prefixes.v6
        own6 = pinned6 or IPv6Address(_embedded(v6, value, self._taken6, 1 << 32, v6))
        return End(f"{IPv4Address(value)}/{v4.prefixlen}", f"{own6}/{v6.prefixlen}")


def _embedded(start: IPv6Network, value: int, taken6: Taken, hop: int, room: IPv6Network) -> int:
    """The IPv6 address that ends with an IPv4 address; where it or the next is pinned, one some hops on."""
    derived = int(start.network_address) + value
    while taken6.has(derived, derived + 1):
        derived += hop
        if derived > int(room.broadcast_address):
            raise PlanError(f"{room}: what is pinned by hand leaves no room; pin a wider prefix")
    return derived


def other_end(address: str | None) -> Ends | None:
    """The pair that a leaf's pinned address makes with its router's: the router's first."""
    if address is None:
        return None
    own = ip_address(address)
    length = own.max_prefixlen - 1
    return f"{type(own)(int(own) ^ 1)}/{length}", f"{own}/{length}"

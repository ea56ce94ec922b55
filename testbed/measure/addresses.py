"""Every address of a run has a small number, so that packets carry integers rather than text."""

from __future__ import annotations

import ipaddress

import numpy as np
import numpy.typing as npt
import polars as pl

_ODD = np.uint64(0x9E3779B97F4A7C15)


def mix(state: npt.NDArray[np.uint64], value: npt.NDArray[np.generic]) -> npt.NDArray[np.uint64]:
    """Fold one more column into a 64-bit hash: multiply and shift, the same on every machine.

    Among a million different rows two share a hash with a probability of 3e-8.
    """
    state = (state ^ value.astype(np.uint64)) * _ODD
    return state ^ (state >> np.uint64(29))


class Addresses:
    """The addresses seen in a run, numbered in the order in which they were met."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}

    def code(self, text: str) -> int:
        """The number of an address, a new one if need be."""
        if text not in self._codes:
            self._codes[text] = len(self.texts)
            self.texts.append(text)
        return self._codes[text]

    def of_ipv4(self, packed: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        """The numbers of IPv4 addresses given as integers."""
        distinct = pl.Series(packed).unique().sort().to_numpy()
        codes = [self.code(str(ipaddress.IPv4Address(value))) for value in distinct.tolist()]
        return np.array(codes, np.uint32)[np.searchsorted(distinct, packed)]

    def of_ipv6(self, packed: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
        """The numbers of IPv6 addresses given as rows of two 64-bit integers, high half first."""
        hashed = mix(mix(np.zeros(len(packed), np.uint64), packed[:, 0]), packed[:, 1])
        distinct, first = np.unique(hashed, return_index=True)
        halves = packed[first].tolist()
        codes = [self.code(str(ipaddress.IPv6Address(high << 64 | low))) for high, low in halves]
        return np.array(codes, np.uint32)[np.searchsorted(distinct, hashed)]

    def flags(self, chosen: set[str]) -> npt.NDArray[np.bool_]:
        """For every number, whether its address is among the chosen."""
        return np.array([text in chosen for text in self.texts], np.bool_)

    def not_forwarded(self) -> npt.NDArray[np.bool_]:
        """For every number, whether no router forwards what goes there: a group, all, or link-local."""
        parsed = [ipaddress.ip_address(text) for text in self.texts]
        return np.array(
            [each.is_multicast or each.is_link_local or str(each) == "255.255.255.255" for each in parsed],
            np.bool_,
        )

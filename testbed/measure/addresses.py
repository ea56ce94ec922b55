"""Every address of a run has a small number, so that packets carry integers rather than text."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


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

    def codes(self, texts: Iterable[str]) -> npt.NDArray[np.uint32]:
        """The numbers of some addresses."""
        return np.array([self.code(text) for text in texts], np.uint32)

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

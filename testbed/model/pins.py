"""What may be pinned by hand instead of planned: prefixes and addresses, each of one family."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network
from typing import Annotated

from pydantic import AfterValidator

from testbed.refusal import Wrong, quoted

Net = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface

# A network is cut into sub-blocks, so it needs room for them; a LAN has 64 bits for its nodes (RFC 4291).
_NETWORK_LONGEST, _LAN_LONGEST = {4: 24, 6: 48}, {4: 29, 6: 64}
_SHORTEST, _END_SHORTEST = {4: 8, 6: 16}, {4: 24, 6: 64}
_BITS = {4: 32, 6: 128}
_EXAMPLES = {
    "prefix": {4: "10.9.0.0/16", 6: "2001:db8:9::/48"},
    "lan": {4: "192.0.2.0/24", 6: "2001:db8:9::/64"},
    "address": {4: "10.9.48.1", 6: "2001:db8:9::1"},
    "end": {4: "10.9.0.0/31", 6: "2001:db8:9::2/127"},
}


def _prefix(kind: str, family: int, longest: int) -> Callable[[str], str]:
    example = f"write for example {_EXAMPLES[kind][family]}"

    def read(text: str) -> str:
        try:
            found = ip_network(text, strict=False)
        except ValueError:
            raise Wrong(f"{quoted(text)} is no IPv{family} prefix", example) from None
        if found.version != family or "/" not in text:
            raise Wrong(f"{quoted(text)} is no IPv{family} prefix", example)
        if ip_interface(text).ip != found.network_address:
            raise Wrong(f"{text} is an address inside of a prefix", f"write {found}")
        if not _SHORTEST[family] <= found.prefixlen <= longest:
            hint = f"write one from /{_SHORTEST[family]} to /{longest}"
            raise Wrong(f"/{found.prefixlen} is no length that can be planned with", hint)
        return str(found)

    return read


def _address(family: int) -> Callable[[str], str]:
    example = f"write for example {_EXAMPLES['address'][family]}"

    def read(text: str) -> str:
        if "/" in text:
            raise Wrong(f"{quoted(text)} has a length", f"write {text.partition('/')[0]}")
        return str(_unicast(text, family, example).ip)

    return read


def _end(family: int) -> Callable[[str], str]:
    example = f"write for example {_EXAMPLES['end'][family]}"

    def read(text: str) -> str:
        if "/" not in text:
            raise Wrong(
                f"{quoted(text)} has no length", f"write {text}/{_BITS[family] - 1}, or another length"
            )
        found = _unicast(text, family, example)
        if not _END_SHORTEST[family] <= found.network.prefixlen < _BITS[family]:
            what = f"/{found.network.prefixlen} is no length for a link of two"
            raise Wrong(what, f"write {found.ip}/{_BITS[family] - 1}")
        return str(found)

    return read


def _unicast(text: str, family: int, example: str) -> Interface:
    try:
        found = ip_interface(text)
    except ValueError:
        raise Wrong(f"{quoted(text)} is no IPv{family} address", example) from None
    if found.version != family:
        raise Wrong(f"{quoted(text)} is no IPv{family} address", example)
    if found.ip.is_multicast or found.ip.is_loopback or found.ip.is_unspecified or found.ip.is_link_local:
        raise Wrong(f"{text} is no address that a node can be reached by", example)
    return found


Prefix4 = Annotated[str, AfterValidator(_prefix("prefix", 4, _NETWORK_LONGEST[4]))]
Prefix6 = Annotated[str, AfterValidator(_prefix("prefix", 6, _NETWORK_LONGEST[6]))]
Lan4 = Annotated[str, AfterValidator(_prefix("lan", 4, _LAN_LONGEST[4]))]
Lan6 = Annotated[str, AfterValidator(_prefix("lan", 6, _LAN_LONGEST[6]))]
Address4 = Annotated[str, AfterValidator(_address(4))]
Address6 = Annotated[str, AfterValidator(_address(6))]
End4 = Annotated[str, AfterValidator(_end(4))]
End6 = Annotated[str, AfterValidator(_end(6))]

"""RPKI as one may write it: caches with ROAs, and how routers are to keep what the caches say."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from testbed.model.bgp import AnyPrefix, Seconds
from testbed.model.fields import Model
from testbed.model.link import LinkSpec
from testbed.refusal import Wrong
from testbed.units import Duration, show_duration

_S = 1_000_000_000
ROAS_MOST = 10_000
_ASN_MOST = 2**32 - 1
_BOUNDS = {"refresh": (1, 86_400), "retry": (1, 7_200), "expire": (600, 172_800)}  # RFC 8210, section 6


def _asn(number: int) -> int:
    if not 0 <= number <= _ASN_MOST:
        raise Wrong(f"{number} is no AS number", f"write one from 1 to {_ASN_MOST}, or 0 for nobody")
    return number


class Roa(Model):
    """A route origin authorisation: who may originate a prefix, and how long what is inside of it may be."""

    prefix: AnyPrefix = Field(examples=["10.1.0.0/16"])
    max_length: int | None = Field(
        default=None, examples=[24], description="of a prefix inside of it; its own length if not given"
    )
    asn: Annotated[int, AfterValidator(_asn)] = Field(
        examples=[64501], description="who may originate it; 0 is nobody (RFC 6483)"
    )

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        network, most = ip_network(self.prefix), self.max_length
        if most is not None and not network.prefixlen <= most <= network.max_prefixlen:
            hint = f"write one from {network.prefixlen} to {network.max_prefixlen}"
            raise Wrong(f"a max-length of {most} does not fit {self.prefix} (RFC 6482)", hint)
        return self

    @property
    def longest(self) -> int:
        """The longest prefix that may be originated."""
        return self.max_length if self.max_length is not None else ip_network(self.prefix).prefixlen


class RpkiCache(LinkSpec):
    """A cache of the RPKI, which tells routers its ROAs by RTR (RFC 8210), and its link to a router."""

    at: str = Field(examples=["north.core"], description="a router, as <isp>.<router> or cdn.<router>")
    roas: list[Roa] = Field(
        min_length=1, max_length=ROAS_MOST, examples=["[{prefix: 10.1.0.0/16, max-length: 24, asn: 64501}]"]
    )
    refresh: Seconds = Field(
        default=Duration.parse("1h"), description="a router asks for what is new that often"
    )
    retry: Seconds = Field(
        default=Duration.parse("10min"),
        description="where the cache does not answer, it tries again that often",
    )
    expire: Seconds = Field(
        default=Duration.parse("2h"),
        description="what a router has been told it keeps for so long without the cache",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name, (least, most) in _BOUNDS.items():
            value: Duration = getattr(self, name)
            if not least * _S <= value <= most * _S:
                span = f"{show_duration(least * _S)} to {show_duration(most * _S)}"
                raise Wrong(f"{name} is {value.shown()}", f"write {span} (RFC 8210, section 6)")
        for name in ("refresh", "retry"):
            if getattr(self, name) >= self.expire:
                late = getattr(self, name).shown()
                what = f"{name} is {late}, and all has expired after {self.expire.shown()}"
                raise Wrong(what, f"write an expire that is longer than {name} (RFC 8210, section 6)")
        return self

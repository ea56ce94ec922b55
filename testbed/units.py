"""Quantities are written with their unit and held as plain numbers in one unit.

`Duration` holds nanoseconds, `Rate` bits per second, `Size` bytes, `Share` a number from 0 to 1. A
bare number is refused where a unit is due: other tools read it as ms, µs, kbit/s or Mbit/s, and
nobody can tell from the file which. The standard library only, for the guest reads this too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Self

from testbed.refusal import Wrong, quoted

_DIGITS = 30  # more than any quantity has, and few enough to be read in no time
_QUANTITY = re.compile(rf"\s*([+-]?[0-9]{{1,{_DIGITS}}}(?:\.[0-9]{{1,{_DIGITS}}})?)\s*([A-Za-zµ%/]*)\s*")
_INT64_MOST = 2**63 - 1
_UINT32_MOST = 2**32 - 1  # packets that the kernel's queues can be told of
_BDP_MOST = 1000


class UnitError(Wrong):
    """A quantity that cannot be read; `example` is one that can."""

    def __init__(self, what: str, hint: str, example: str) -> None:
        super().__init__(what, hint)
        self.example = example


class Quantity:
    """A number and its unit; subclasses say which units there are."""

    noun: ClassVar[str]
    example: ClassVar[str]
    units: ClassVar[dict[str, Fraction]]
    traps: ClassVar[dict[str, str]] = {}
    bare: ClassVar[str]  # the unit offered to somebody who wrote none
    most: ClassVar[Fraction] = Fraction(_INT64_MOST)
    most_shown: ClassVar[str]
    number: ClassVar[str] = r"\d+(\.\d+)?"  # of a JSON Schema, without its unit

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read "10ms", "100mbit", "64KiB" or "1%"; UnitError says what to write instead."""
        if isinstance(text, cls):
            return text
        number, unit = cls._split(text)
        if not unit:
            if Fraction(number) == 0:
                return cls._make(Fraction(0))
            raise cls._error(f"{quoted(text)} has no unit", f"did you mean {cls._with_unit(number)}?")
        if unit in cls.traps:
            raise cls._error(f"{quoted(text)} is ambiguous", cls.traps[unit].format(number=number))
        scale = cls.units.get(unit, cls.units.get(unit.lower()))
        if scale is None:
            raise cls._error(
                f"{quoted(text)} has the unit {unit}, not one of {', '.join(cls.units)}",
                f"write for example {cls.example}",
            )
        value = Fraction(number) * scale
        if value < 0:
            raise cls._error(f"{quoted(text)} is negative", f"write a {cls.noun} of at least 0")
        if value > cls.most:
            raise cls._error(f"{quoted(text)} is too much", f"write a {cls.noun} of at most {cls.most_shown}")
        return cls._make(value)

    def shown(self) -> str:
        """As one writes it."""
        raise NotImplementedError

    @classmethod
    def _split(cls, text: object) -> tuple[str, str]:
        if isinstance(text, (int, float, str)) and not isinstance(text, bool):
            match = _QUANTITY.fullmatch(str(text))
            if match is not None:
                return match[1], match[2]
        raise cls._error(f"{quoted(text)} is not a {cls.noun}", f"write for example {cls.example}")

    @classmethod
    def _error(cls, what: str, hint: str) -> UnitError:
        return UnitError(what, hint, cls.example)

    @classmethod
    def _with_unit(cls, number: str) -> str:
        return f"{number}{cls.bare}"

    @classmethod
    def _make(cls, value: Fraction) -> Self:
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> Any:
        return _read_as_text(cls.parse, cls.shown)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Any]:
        units = "|".join(re.escape(unit) for unit in cls.units)
        return {
            "description": f"a {cls.noun} with its unit",
            "anyOf": [{"type": "string", "pattern": rf"^\s*\+?{cls.number}\s*({units})\s*$"}, {"const": 0}],
            "examples": [cls.example],
        }


def _read_as_text(parse: Callable[[object], Any], show: Callable[[Any], str]) -> Any:
    """The schema that pydantic asks of a type: `parse` reads it, `show` writes it into a JSON Schema."""
    from pydantic_core import core_schema

    written = core_schema.plain_serializer_function_ser_schema(show, when_used="json")
    return core_schema.no_info_plain_validator_function(parse, serialization=written)


class _Whole(Quantity, int):
    @classmethod
    def _make(cls, value: Fraction) -> Self:
        if value and not round(value):
            least = next(iter(cls.units))
            raise cls._error(f"a {cls.noun} of less than 1{least}", f"write 0 or at least 1{least}")
        return cls(round(value))


class Duration(_Whole):
    """A length of time, in nanoseconds."""

    noun, example, bare, most_shown = "duration", "10ms", "s", "2500000h"
    units: ClassVar = {
        "ns": Fraction(1),
        "us": Fraction(10**3),
        "µs": Fraction(10**3),
        "ms": Fraction(10**6),
        "s": Fraction(10**9),
        "min": Fraction(60 * 10**9),
        "h": Fraction(3600 * 10**9),
    }
    traps: ClassVar = {"m": "did you mean {number}min or {number}ms?"}

    def shown(self) -> str:
        """As one writes it."""
        return show_duration(self)

    @classmethod
    def _with_unit(cls, number: str) -> str:
        return f"{number}ms or {number}s"

    @property
    def ns(self) -> int:
        """Nanoseconds."""
        return int(self)

    @property
    def s(self) -> float:
        """Seconds."""
        return self / 1e9


class Rate(_Whole):
    """A data rate, in bits per second."""

    noun, example, bare, most_shown = "rate", "100mbit", "mbit", "9000000000gbit"
    units: ClassVar = {
        "bit": Fraction(1),
        "kbit": Fraction(10**3),
        "mbit": Fraction(10**6),
        "gbit": Fraction(10**9),
        "bit/s": Fraction(1),
        "kbit/s": Fraction(10**3),
        "mbit/s": Fraction(10**6),
        "gbit/s": Fraction(10**9),
    }
    traps: ClassVar = {
        unit: f"tc reads {unit} as bytes, others as bits: did you mean {{number}}{right}?"
        for unit, right in {
            "bps": "bit", "kbps": "kbit", "mbps": "mbit", "gbps": "gbit",
            "Kbps": "kbit", "Mbps": "mbit", "Gbps": "gbit",
        }.items()
    }  # fmt: skip

    def shown(self) -> str:
        """As one writes it."""
        return show_rate(self)


class Size(_Whole):
    """An amount of data, in bytes."""

    noun, example, bare, most_shown = "size", "64KiB", "KiB", "8000000000GiB"
    units: ClassVar = {
        "B": Fraction(1),
        "kB": Fraction(10**3),
        "KB": Fraction(10**3),
        "MB": Fraction(10**6),
        "GB": Fraction(10**9),
        "KiB": Fraction(2**10),
        "MiB": Fraction(2**20),
        "GiB": Fraction(2**30),
    }

    def shown(self) -> str:
        """As one writes it."""
        return show_size(self)


class Share(Quantity, float):
    """A part of a whole, from 0 to 1; written in percent."""

    noun, example, bare, most_shown = "share", "1%", "%", "100%"
    units: ClassVar = {"%": Fraction(1, 100)}
    most = Fraction(1)
    number = r"0*(100(\.0+)?|\d{1,2}(\.\d+)?)"

    def shown(self) -> str:
        """As one writes it."""
        return show_share(self)

    @classmethod
    def _with_unit(cls, number: str) -> str:
        # 0.5 may be meant as a half or as half a percent.
        fraction = f"{_decimal(Fraction(number) * 100)}% or " if Fraction(number) <= 1 else ""
        return f"{fraction}{number}%"

    @classmethod
    def _make(cls, value: Fraction) -> Self:
        return cls(float(value))


@dataclass(frozen=True)
class Queue:
    """How much may wait: packets, bytes, a time at the link's rate, or bandwidth-delay products.

    One of them is given and the others are None.
    """

    ns: int | None = None
    packets: int | None = None
    size: int | None = None
    bdp: float | None = None

    example: ClassVar[str] = "100ms"
    examples: ClassVar[tuple[str, ...]] = ("100ms", "200p", "64KiB", "1bdp")

    @classmethod
    def parse(cls, text: object) -> Queue:
        """Read "100ms", "200p", "64KiB" or "1.5bdp"; UnitError says what to write instead."""
        if isinstance(text, Queue):
            return text
        match = _QUANTITY.fullmatch(str(text)) if isinstance(text, (int, float, str)) else None
        if match is None or isinstance(text, bool):
            raise cls._error(
                f"{quoted(text)} is not a queue", f"write for example {' or '.join(cls.examples)}"
            )
        number, unit = match.groups()
        if not unit:
            raise cls._error(
                f"{quoted(text)} has no unit", f"did you mean {number}p (packets), {number}KiB or {number}ms?"
            )
        if unit in ("p", "packet", "packets"):
            return cls(packets=cls._packets(Fraction(number), text))
        if unit.lower() == "bdp":
            found = cls(bdp=float(number))
        elif unit in Size.units:
            found = cls(size=int(Size.parse(text)))
        elif {unit, unit.lower()} & {*Duration.units, *Duration.traps}:
            found = cls(ns=int(Duration.parse(text)))
        else:
            known = ", ".join(("p", "bdp", *Size.units, *Duration.units))
            raise cls._error(
                f"{quoted(text)} has the unit {unit}, not one of {known}", f"write for example {cls.example}"
            )
        room = found.ns or found.size or found.bdp or 0
        if room <= 0:
            raise cls._error(f"{quoted(text)} leaves no room", "write for example 100ms or 1p")
        if found.bdp is not None and found.bdp > _BDP_MOST:
            raise cls._error(f"{quoted(text)} is too much", f"write a queue of at most {_BDP_MOST}bdp")
        return found

    @classmethod
    def _packets(cls, count: Fraction, text: object) -> int:
        if count < 1 or count.denominator != 1 or count > _UINT32_MOST:
            raise cls._error(f"{quoted(text)} is no number of packets", "write for example 200p")
        return int(count)

    @classmethod
    def _error(cls, what: str, hint: str) -> UnitError:
        return UnitError(what, hint, cls.example)

    def to_bytes(self, rate_bps: int, round_trip_ns: int, frame_bytes: int = 1514) -> int:
        """How many bytes it is on a link of `rate_bps`, rounded up; room for one frame at least.

        A bandwidth-delay product is the rate times `round_trip_ns`. What is given in bytes is as given.
        """
        if self.size is not None:
            return self.size
        ns = Fraction(repr(self.bdp)) * round_trip_ns if self.bdp is not None else Fraction(self.ns or 0)
        return max(frame_bytes, math.ceil(ns * rate_bps / (8 * 10**9)))

    def shown(self) -> str:
        """As one writes it."""
        if self.packets is not None:
            return f"{self.packets}p"
        if self.size is not None:
            return show_size(self.size)
        return (
            f"{_decimal(Fraction(repr(self.bdp)))}bdp"
            if self.bdp is not None
            else show_duration(self.ns or 0)
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> Any:
        return _read_as_text(cls.parse, cls.shown)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Any]:
        units = "|".join(("p", "packets?", "bdp", *Size.units, *Duration.units))
        return {
            "description": "a queue's length: packets, bytes, a time at the rate, or multiples of the BDP",
            "type": "string",
            "pattern": rf"^\s*\+?\d+(\.\d+)?\s*({units})\s*$",
            "examples": list(cls.examples),
        }


def show_duration(ns: int) -> str:
    """The shortest exact way to write a duration: 1500000 -> "1.5ms"."""
    return _shown(int(ns), (("s", 10**9), ("ms", 10**6), ("us", 10**3)), "ns") if ns else "0s"


def show_rate(bps: int) -> str:
    """The shortest exact way to write a rate: 20000000 -> "20mbit"."""
    return _shown(int(bps), (("gbit", 10**9), ("mbit", 10**6), ("kbit", 10**3)), "bit")


def show_size(size: int) -> str:
    """A short and exact way to write a size: 65536 -> "64KiB", 12500 -> "12.5kB"."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size and size % scale == 0:
            return f"{size // scale}{unit}"
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale and size % (scale // 100) == 0:
            return f"{_decimal(Fraction(size, scale))}{unit}"
    return f"{int(size)}B"


def show_share(share: float) -> str:
    """A share in percent, to as many digits as it has: 0.005 -> "0.5%"."""
    return f"{_decimal(Fraction(repr(float(share))) * 100)}%"


def _shown(value: int, scales: tuple[tuple[str, int], ...], least: str) -> str:
    """In the largest unit of which there is at least one and which needs at most three decimals."""
    for unit, scale in scales:
        if value >= scale and value % (scale // 1000) == 0:
            return f"{_decimal(Fraction(value, scale))}{unit}"
    return f"{value}{least}"


def _decimal(value: Fraction) -> str:
    """A fraction with a finite decimal expansion, written out without an exponent."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str(int(value * 10**places)).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits

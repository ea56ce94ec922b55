"""What plain words of YAML mean, and which of them mean different things to different readers.

Words are read by the core schema of YAML 1.2. Those that YAML 1.1, and so most tools, take for
something else are traps: refused, whatever was meant.
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

_LONGEST_NUMBER = 30
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, Scalar] = {
    spelling: value
    for word, value in (("true", True), ("false", False), ("null", None), ("~", None), ("", None))
    for spelling in (word, word.capitalize(), word.upper())
}
_BOOLEANS = {
    spelling: word in ("yes", "on", "y")
    for word in ("yes", "no", "on", "off", "y", "n")
    for spelling in (word, word.capitalize(), word.upper())
}
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_OTHER_BASE = re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[1-9][0-9]*_[0-9_]*)")
_BASE_60 = re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?")


def read(text: str) -> Scalar:
    """The value of a plain word."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if len(text) <= _LONGEST_NUMBER:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def trap(text: str) -> tuple[str, str] | None:
    """What is wrong with a plain word that YAML 1.1 takes for something else, and what to write."""
    if text in _BOOLEANS:
        meaning = str(_BOOLEANS[text]).lower()
        return f"YAML 1.1 reads {text} as {meaning}", f'write "{text}" in quotes, or {meaning}'
    if len(text) > _LONGEST_NUMBER:
        return None
    if _BASE_60.fullmatch(text):
        amount = _base_60(text)
        return (
            f"YAML 1.1 reads {text} as {amount}, in base 60",
            f'write a time with its unit ({amount}s, {amount}min), or text in quotes ("{text}")',
        )
    if _LEADING_ZERO.fullmatch(text):
        sign, digits = _signed(text)
        decimal = sign + (digits.lstrip("0") or "0")
        octal = f" as {sign}{int(digits, 8)}, in octal" if not set(digits) & set("89") else " as text"
        return f"YAML 1.1 reads {text}{octal}", f'write {decimal}, or text in quotes ("{text}")'
    if _OTHER_BASE.fullmatch(text):
        return (
            f"not every reader of YAML takes {text} for a number",
            f'write {_other_base(text)}, or text in quotes ("{text}")',
        )
    return None


def _signed(text: str) -> tuple[str, str]:
    return ("-" if text[0] == "-" else ""), text.lstrip("+-").replace("_", "")


def _base_60(text: str) -> str:
    sign, digits = _signed(text)
    amount = 0.0
    for part in digits.split(":"):
        amount = amount * 60 + float(part)
    return f"{sign}{amount:g}"


def _other_base(text: str) -> str:
    sign, digits = _signed(text)
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2], 10)
    return f"{sign}{int(digits[2:] or '0', base) if base != 10 else digits}"

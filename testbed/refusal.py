"""A refusal says what is wrong with a file, where, and what to write instead.

The standard library only, for the units in it are read in the guest too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

PROBLEMS_MOST = 100  # of one file: more would help nobody, and a hint takes time to find
_LONGEST = 60  # characters of what somebody wrote that a message repeats
_SUGGESTED_FROM = 300  # names among which a near one is looked for; more would take noticeable time


class Wrong(ValueError):
    """A value that cannot be; `what` is wrong with it, and `hint` is what to write instead.

    `on_key` says that the key, and not its value, is the place to look at.
    """

    def __init__(self, what: str, hint: str, *, on_key: bool = False) -> None:
        super().__init__(f"{what}; {hint}")
        self.what = what
        self.hint = hint
        self.on_key = on_key


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong at one place; `line` and `column` count from 1, 0 where the file has no lines."""

    file: str
    line: int
    column: int
    path: str  # "isps.north.asn"; empty where it is about the whole file
    what: str
    hint: str

    def __str__(self) -> str:
        """`file:line:column: path: what; hint`, on one line."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, f"{self.what}; {self.hint}") if part)


class Refused(Exception):
    """Bad input: everything that is wrong with it, in the order of the files."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def quoted(value: object) -> str:
    """What somebody wrote, as a message repeats it: short, on one line, without control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def near(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` is most likely a misspelling of, if there is one."""
    among = list(choices)[:_SUGGESTED_FROM]
    found = difflib.get_close_matches(word[:_LONGEST], among, n=1) if among else []
    if found:
        return found[0]
    # What was left out or put before a dot is no misspelling to difflib: edge for north.edge.
    tails = [choice for choice in among if choice.endswith(f".{word}") or word.endswith(f".{choice}")]
    return tails[0] if len(tails) == 1 else None


def suggestion(word: str, choices: Iterable[str], otherwise: str) -> str:
    """The hint for a name that does not exist: a near one, or the few there are, or `otherwise`."""
    there = sorted(choices)
    if match := near(word, there):
        return f"did you mean {match}?"
    return f"write one of {', '.join(there)}" if 0 < len(there) <= 12 else otherwise

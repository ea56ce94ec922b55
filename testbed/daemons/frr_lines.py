"""What an FRR daemon has to be told so that one configuration becomes another.

A configuration is lines; those that stand further to the right belong to the one above them. A line is taken
back by `no` before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

Tree: TypeAlias = "dict[str, Tree]"  # a line, and what belongs to it

# They are lists that are gone through in their order, and where a new line would go is no matter of the text.
_WHOLE = ("route-map ",)
# How what is below a line ends, by the line's first word.
_EXITS = {
    "address-family": "exit-address-family",
    **dict.fromkeys(("bfd", "interface", "profile", "route-map", "router"), "exit"),
}


def parse(text: str) -> Tree:
    """The lines of a configuration without its comments."""
    root: Tree = {}
    levels: list[tuple[int, Tree]] = [(-1, root)]
    for line in text.splitlines():
        words = line.strip()
        depth = len(line) - len(line.lstrip())
        if not words or words.startswith("!"):
            continue
        while levels[-1][0] >= depth:
            levels.pop()
        levels.append((depth, levels[-1][1].setdefault(words, {})))
    return root


def commands(before: str, after: str) -> list[str]:
    """What is to be typed in configuration mode."""
    return list(_between(parse(before), parse(after)))


def _between(before: Tree, after: Tree) -> Iterator[str]:
    kept = {line for line in before if line in after and not _anew(line, before[line], after[line])}
    for line in before:
        if line not in kept:
            yield line.removeprefix("no ") if line.startswith("no ") else f"no {line}"
    for line, below in after.items():
        changed = list(_between(before[line] if line in kept else {}, below))
        if line not in kept or changed:
            yield line
            yield from changed
            if (opens := line.split()[0]) in _EXITS:
                yield _EXITS[opens]


def _anew(line: str, before: Tree, after: Tree) -> bool:
    return line.startswith(_WHOLE) and list(before) != list(after)

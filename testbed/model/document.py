"""A document is a YAML file as nodes that know the line and column they came from.

It is composed from the parser's events, one after the other: an alias is counted before it is
followed, and nesting is a stack of ours. A file made to grow without bound costs no more than the
limits here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

import yaml

from testbed.model import yaml11
from testbed.refusal import PROBLEMS_MOST, Problem, Refused, Wrong, quoted, suggestion

BYTES_MOST = 2**20
NODES_MOST = 100_000  # with every alias written out
DEPTH_MOST = 50
_TOO_DEEP = f"is nested more than {DEPTH_MOST} deep"

Location = tuple[str | int, ...]  # ("links", 3, "endpoints", 0)

_STEPS_SHOWN = 12  # what the schema knows is less deep

_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same events, in a tenth of the time
_BEGINNING = "begin it with a key and a value, for example name: metro"
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


class Unreadable(Wrong):
    """A file that cannot be read at all, and so has no line to point at."""


class _YamlMark(Protocol):
    """A place as PyYAML and libyaml count it, from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class Mark(NamedTuple):
    """A place in a file; `line` and `column` count from 1, 0 in what has no lines."""

    file: str
    line: int
    column: int


class Entry(NamedTuple):
    """A key's place and its value."""

    mark: Mark
    node: Node


@dataclass
class Node:
    """A value and where it starts: a scalar, a list of nodes, or entries by their key."""

    mark: Mark
    value: yaml11.Scalar | list[Node] | dict[str, Entry]

    def plain(self) -> object:
        """The value as lists, dictionaries and scalars."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        return self.value


@dataclass
class Document:
    """A file that could be read, and what was found wrong with it so far."""

    root: Node
    text: str = ""
    prefix: Location = ()  # what a --set of this document starts with
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)  # what is hardly what one wants, and yet allowed

    def problem(self, location: Location, what: str, hint: str, *, on_key: bool = False) -> Problem:
        """A problem at the deepest node there is on the way to `location`."""
        mark, found = self.root.mark, self.root
        path: list[str | int] = []
        for place, step in enumerate(location):
            value = found.value
            if isinstance(value, dict) and step in value:
                entry = value[str(step)]
                mark, found = entry.node.mark, entry.node
                if on_key and place == len(location) - 1:
                    mark = entry.mark
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                mark = (found := value[step]).mark
            elif isinstance(value, dict) and place == len(location) - 1:
                path.append(step)  # the key that is missing
                break
            else:
                continue  # pydantic's name for a member of a union
            path.append(step)
        prefix = self.prefix if mark.line == 0 else ()
        return Problem(*mark, dotted((*prefix, *path)), what, hint)

    def set(self, steps: Sequence[str], value: Node) -> None:
        """Replace or add the value at `steps`; Wrong says why there is no such place."""
        self.root = _with(self.root, steps, value)


def dotted(location: Location) -> str:
    """A location as one writes it after --set."""
    steps = [str(step) if _PLAIN_KEY.fullmatch(str(step)) else quoted(step) for step in location]
    return ".".join(steps if len(steps) <= _STEPS_SHOWN else [*steps[:_STEPS_SHOWN], ".."])


def read(path: Path, shown: str) -> Document:
    """The document of a file, which messages call `shown`.

    Unreadable if there is none, Refused if no document can be made of it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES_MOST + 1)
    except (OSError, ValueError) as problem:  # ValueError: a path with a null in it
        why = getattr(problem, "strerror", None) or str(problem)
        raise Unreadable(f"cannot read {shown}: {why}", "write the path of a YAML file") from None
    if len(raw) > BYTES_MOST:
        what = f"cannot read {shown}: it is larger than {BYTES_MOST // 2**20} MiB"
        raise Unreadable(what, "use counts in place of repetition")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        before = raw[: problem.start].decode("utf-8", "replace")
        what = f"the byte 0x{raw[problem.start]:02x} is not UTF-8"
        raise Refused([_at(shown, before, what, "save the file as UTF-8")]) from None
    return parse(text, shown)


def parse(text: str, file: str) -> Document:
    """The document that a text holds; Refused if it holds none, or more than one."""
    composer = _Composer(file)
    if bad := _UNPRINTABLE.search(text):
        what = f"the character U+{ord(bad[0]):04X} cannot stand in YAML"
        hint = "delete it, or write it as an escape in double quotes"
        raise Refused([_at(file, text[: bad.start()], what, hint)])
    root = composer.compose(text)
    if root is None or root.value is None:
        raise Refused([*composer.problems, Problem(file, 1, 1, "", "is empty", _BEGINNING)])
    if not isinstance(root.value, dict):
        what = f"holds {quoted(root.plain())}, not a mapping"
        raise Refused([*composer.problems, Problem(*root.mark, "", what, _BEGINNING)])
    return Document(root, text, problems=composer.problems)


def parse_value(text: str, file: str, path: Location) -> tuple[Node, list[Problem]]:
    """The node of a value from the command line, and what is wrong with it; Refused if it is no YAML."""
    mark = Mark(file, 0, 0)
    composer = _Composer(file, mark, path)
    node = composer.compose(text)
    return node or Node(mark, None), composer.problems


@dataclass
class _Open:
    """A list or mapping whose end has not come yet."""

    node: Node
    anchor: str | None
    counted: int  # nodes there were before it
    steps: Location  # where it stands
    key: tuple[str, Mark] | None = None  # the key whose value has not come yet

    def next(self) -> Location:
        """Where the next node will stand; a key stands where its mapping does."""
        if isinstance(self.node.value, list):
            return (*self.steps, len(self.node.value))
        return (*self.steps, self.key[0]) if self.key else self.steps


class _Composer:
    """Turns the parser's events into nodes."""

    def __init__(self, file: str, fixed: Mark | None = None, prefix: Location = ()) -> None:
        self.file = file
        self.fixed = fixed
        self.prefix = prefix
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int] | None] = {}  # None until its end has come
        self.count = 0

    def compose(self, text: str) -> Node | None:
        """The root, None in an empty document; Refused at what cannot be passed over."""
        documents = 0
        try:
            for event in yaml.parse(text, Loader=_PARSER):
                mark = self.fixed or self._place(event.start_mark)
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self._stop(mark, "a second document starts here", "write it to a file of its own")
                elif isinstance(event, yaml.CollectionEndEvent):
                    self._close()
                elif isinstance(event, yaml.AliasEvent):
                    self._alias(event.anchor or "", mark)
                elif isinstance(event, yaml.NodeEvent):
                    self._node(event, mark)
        except yaml.MarkedYAMLError as error:
            self._syntax(error, text)
        return self.root

    def _syntax(self, error: yaml.MarkedYAMLError, text: str) -> NoReturn:
        place = error.problem_mark or error.context_mark
        if self.fixed or place is None:
            self.stack.clear()
            self._stop(self.fixed or self._place(None), f"is not YAML ({error.problem})", "write a value")
        mark = self._place(place)
        if error.problem == "exceeded maximum nesting depth":  # libyaml's own limit, met while it looks ahead
            self._stop(mark, _TOO_DEEP, "see 'testbed schema'")
        line = "".join(text.split("\n")[place.line : place.line + 1])
        if line[place.column : place.column + 1] == "\t":
            self._stop(mark, "a tab stands where YAML wants spaces", "indent with spaces")
        hint = "look at the brackets, quotes, colons and indentation before it"
        self._stop(mark, f"is not YAML ({error.problem})", hint)

    def _place(self, mark: _YamlMark | None) -> Mark:
        return Mark(self.file, mark.line + 1, mark.column + 1) if mark else Mark(self.file, 1, 1)

    def _node(self, event: yaml.NodeEvent, mark: Mark) -> None:
        self._add(1, mark)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(mark, self._scalar(event, mark))
            if event.anchor:
                self.anchors[event.anchor] = (node, 1)
            self._attach(node)
            return
        if self._key_is_due():
            self._stop(mark, "a list or mapping is no key", "write a name")
        if len(self.stack) >= DEPTH_MOST:
            self._stop(mark, _TOO_DEEP, "see 'testbed schema'")
        self._refuse_tag(getattr(event, "tag", None), mark)
        node = Node(mark, [] if isinstance(event, yaml.SequenceStartEvent) else {})
        if event.anchor:
            self.anchors[event.anchor] = None
        opened = _Open(node, event.anchor, self.count - 1, self._next())
        self._attach(node)
        self.stack.append(opened)

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark) -> yaml11.Scalar:
        text: str = event.value
        self._refuse_tag(event.tag, mark)
        if not event.implicit[0]:
            return text
        is_key = self._key_is_due()
        if found := yaml11.trap(text):
            what, hint = found
            self._report(mark, what, f'write "{text}" in quotes, or another name' if is_key else hint)
            return text
        if is_key and text == "<<":
            self._stop(mark, "YAML 1.2 has no merge keys", "write the keys out, or share them by defaults")
        return text if is_key else yaml11.read(text)

    def _alias(self, anchor: str, mark: Mark) -> None:
        if anchor not in self.anchors:
            self._stop(mark, f"there is no anchor &{anchor}", "write the value out")
        anchored = self.anchors[anchor]
        if anchored is None:
            self._stop(mark, f"*{anchor} would contain itself", "write the value out")
        node, size = anchored
        self._add(size, mark)
        if self._key_is_due() and isinstance(node.value, (list, dict)):
            self._stop(mark, "a list or mapping is no key", "write a name")
        self._attach(Node(mark, node.value) if self._key_is_due() else node)

    def _attach(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if isinstance(parent.node.value, list):
            parent.node.value.append(node)
        elif parent.key is None:
            parent.key = (str(node.value), node.mark)
        elif isinstance(parent.node.value, dict):
            key, mark = parent.key
            if first := parent.node.value.get(key):
                where = f" in line {first.mark.line}" if first.mark.line else ""
                self._report(mark, "is written twice", f"keep this one or the first{where}")
            else:
                parent.node.value[key] = Entry(mark, node)
            parent.key = None

    def _close(self) -> None:
        ended = self.stack.pop()
        if ended.anchor:
            self.anchors[ended.anchor] = (ended.node, self.count - ended.counted)

    def _key_is_due(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].node.value, dict) and self.stack[-1].key is None

    def _next(self) -> Location:
        return self.stack[-1].next() if self.stack else self.prefix

    def _add(self, nodes: int, mark: Mark) -> None:
        self.count += nodes
        if self.count > NODES_MOST:
            what = f"the file holds more than {NODES_MOST:,} values with its aliases written out"
            self._stop(mark, what, "use counts in place of repetition")

    def _refuse_tag(self, tag: str | None, mark: Mark) -> None:
        if tag not in (None, "!", "tag:yaml.org,2002:str"):
            self._stop(mark, f"the tag {quoted(tag)} means nothing here", "leave it out")

    def _report(self, mark: Mark, what: str, hint: str) -> None:
        if len(self.problems) <= PROBLEMS_MOST:
            self.problems.append(Problem(*mark, dotted(self._next()), what, hint))

    def _stop(self, mark: Mark, what: str, hint: str) -> NoReturn:
        self.problems.append(Problem(*mark, dotted(self._next()), what, hint))
        raise Refused(self.problems)


def _at(file: str, before: str, what: str, hint: str) -> Problem:
    """A problem after the text `before`."""
    return Problem(file, before.count("\n") + 1, len(before) - before.rfind("\n"), "", what, hint)


def _with(node: Node, steps: Sequence[str], value: Node) -> Node:
    """The node with the value at `steps` replaced; aliases of what is on the way stay as they were."""
    if not steps:
        return value
    step, *rest = steps
    if isinstance(node.value, list):
        if not (step.isdecimal() and len(step) < 7 and int(step) < len(node.value)):
            there = f"0 to {len(node.value) - 1}" if node.value else "none"
            raise Wrong(f"{quoted(step)} is no item of the list", f"its items are {there}")
        items = list(node.value)
        items[int(step)] = _with(items[int(step)], rest, value)
        return Node(node.mark, items)
    if not isinstance(node.value, dict):
        raise Wrong(f"{quoted(step)} names nothing: what is there has no keys", "write a shorter path")
    entry = node.value.get(step)
    if entry is None and rest:
        there = suggestion(step, node.value, "write the path of something the file has")
        raise Wrong(f"{quoted(step)} names nothing", there)
    entry = Entry(entry.mark, _with(entry.node, rest, value)) if entry else Entry(value.mark, value)
    return Node(node.mark, node.value | {step: entry})

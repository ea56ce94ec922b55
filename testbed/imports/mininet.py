"""A Mininet topology class becomes a topology: it is made, as `mn --custom` would, and asked for its links.

The file is the user's own program and runs as such. Nothing of Mininet is imported here: any object that
answers as `mininet.topo.Topo` does is as good.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from testbed.imports import wiring
from testbed.imports.draft import Draft, Words, listed, spelt
from testbed.imports.files import refused, text
from testbed.imports.wiring import Node, Wire
from testbed.refusal import quoted, suggestion
from testbed.units import Duration, UnitError, show_duration, show_rate, show_share

# What TCIntf.config takes and the kernel's shaping of ours has no word for, or does in another way.
OTHER_WORDS = frozenset({"speedup", "use_hfsc", "use_tbf", "use_htb", "latency_ms", "enable_ecn",
                         "enable_red", "gro", "txo", "rxo", "r2q"})  # fmt: skip
_MODULE = "testbed_imported_topology"


def read(named: str, arguments: Mapping[str, Any]) -> Draft:
    """The draft of "FILE.py:TopoClass" or "module:TopoClass"; Refused says why there is none."""
    where, colon, name = named.rpartition(":")
    if not colon or not where or not name:
        path = Path(named)
        raise refused(path, 0, "names no class", f"write {named.rstrip(':')}:TopoClass")
    path = Path(where)
    from_file = where.endswith(".py")
    with _running(path):
        module = _from_file(path) if from_file else _installed(path, where)
        topo = _made(module, path, name, arguments)
        nodes, wires, notes = _found(topo)
    if not nodes:
        raise refused(path, 0, f"{name} has no nodes", "add some in its build()")
    given = "".join(f" --arg {key}={value}" for key, value in arguments.items())
    source = [
        f"{name}, imported with 'testbed import mininet {path.name if from_file else where}:{name}{given}'."
    ]
    notes.append(
        "Addresses are planned anew: those of the class, and its hosts' commands, are not taken over."
    )
    return wiring.draft(spelt(name.removesuffix("Topo")) or "mininet", source, nodes, wires, notes)


@contextlib.contextmanager
def _running(path: Path) -> Iterator[None]:
    """What the user's code prints is no part of the answer, and what it raises is a refusal with its line."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except SyntaxError as problem:
        line = problem.lineno or 0 if problem.filename == str(path) else 0
        raise refused(path, line, f"is not Python ({problem.msg})", "mend it") from None
    except (Exception, SystemExit) as problem:
        if type(problem).__name__ == "Refused":
            raise
        frames = traceback.extract_tb(problem.__traceback__)
        line = next((frame.lineno or 0 for frame in reversed(frames) if frame.filename == str(path)), 0)
        what = f"{type(problem).__name__}: {problem}".replace("\n", " ")
        raise refused(
            path, line, f"ends with {what[:200]}", "mend it, or give what it needs with --arg"
        ) from None


def _from_file(path: Path) -> ModuleType:
    text(path)  # says why if it cannot be read
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    sys.path.insert(0, str(path.parent))  # what lies beside a script can be imported by it
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
        del sys.modules[_MODULE]
    return module


def _installed(path: Path, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise refused(
            path, 0, "is no module", "write FILE.py:TopoClass, or mininet.topo:LinearTopo"
        ) from None


def _made(module: ModuleType, path: Path, name: str, arguments: Mapping[str, Any]) -> Any:
    """The topology object: of a class, or of a name in `topos`, where mn looks for it."""
    offered = getattr(module, "topos", None)
    offered = offered if isinstance(offered, dict) else {}
    classes = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and hasattr(value, "addLink")
    }
    maker = classes.get(name) or offered.get(name)
    if maker is None:
        there = [key for key in (*classes, *offered) if key != "Topo"]
        hint = suggestion(name, there, "write the name of a class that is a mininet.topo.Topo")
        raise refused(path, 0, f"there is no topology class {quoted(name)}", hint)
    build = getattr(maker, "build", maker)
    known = inspect.signature(build).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        for key in arguments:
            if key not in known:
                there = [parameter for parameter in known if parameter != "self"]
                hint = suggestion(key, there, "leave it out") if there else "leave it out"
                raise refused(path, 0, f"{name} takes no argument {quoted(key)}", hint)
    return maker(**arguments)


def _found(topo: Any) -> tuple[dict[str, Node], list[Wire], list[str]]:
    notes: list[str] = []
    nodes: dict[str, Node] = {}
    for name in topo.nodes():
        info = topo.nodeInfo(name)
        kind = "switch" if topo.isSwitch(name) else "router" if info.get("role") == "router" else "host"
        stp: Words = {"stp": True} if info.get("stp") or info.get("enable_stp") else {}
        asn = info.get("asn")
        nodes[str(name)] = Node(kind, str(info.get("testbed", "")), asn if isinstance(asn, int) else 0, stp)
    others: set[str] = set()
    wires = []
    for a, b, info in topo.links(sort=False, withInfo=True):
        words, unknown = _words(info, f"{a} to {b}", notes)
        others |= unknown
        for direction, key in (("forward", "params1"), ("backward", "params2")):
            one, unknown = _words(info.get(key) or {}, f"{a} to {b}, {key}", notes)
            others |= unknown
            if one:
                words[direction] = one
        if info.get("relation") in ("customer", "provider", "peer"):
            words = {"relation": info["relation"], **words}
        wires.append(Wire(str(a), str(b), words))
    if others:
        notes.append(f"Parameters of links that are not taken over: {listed(sorted(others))}.")
    return nodes, wires, notes


def _words(info: Mapping[str, Any], where: str, notes: list[str]) -> tuple[Words, set[str]]:
    """What TCLink's parameters say in the words of a topology, and the parameters that say nothing here."""
    said: Words = {}
    readers = {"bw": ("rate", _rate), "delay": ("delay", _time), "jitter": ("jitter", _time),
               "loss": ("loss", _share), "max_queue_size": ("queue", _queue)}  # fmt: skip
    for key, (word, reader) in readers.items():
        value = info.get(key)
        if value in (None, 0, "0"):
            continue
        try:
            said[word] = reader(value)
        except (TypeError, ValueError, OverflowError):
            notes.append(f"{where}: {key} {quoted(value)} is left out (Mininet's own tc would refuse it).")
    return wiring.accepted(said, where, notes), {key for key in info if key in OTHER_WORDS}


def _rate(mbit: Any) -> str:
    """Mininet's bandwidths are numbers of Mbit/s."""
    return show_rate(round(float(mbit) * 10**6))


def _time(value: Any) -> str:
    """As tc reads times: microseconds where there is no unit, and names of ours for the rest (tc(8))."""
    text = str(value).strip()
    for ending, unit in (
        ("usecs", "us"),
        ("usec", "us"),
        ("msecs", "ms"),
        ("msec", "ms"),
        ("secs", "s"),
        ("sec", "s"),
    ):
        text = text.removesuffix(ending) + unit if text.endswith(ending) else text
    try:
        return show_duration(Duration.parse(text if text[-1:].isalpha() else f"{text}us"))
    except UnitError as problem:
        raise ValueError(str(problem)) from None


def _share(percent: Any) -> str:
    return show_share(round(float(percent) / 100, 12))


def _queue(packets: Any) -> str:
    return f"{int(packets)}p"

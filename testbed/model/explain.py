"""What pydantic found wrong, in the words of who wrote the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic_core import ErrorDetails

from testbed.checks import Check
from testbed.faults import Fault
from testbed.model.document import Document
from testbed.refusal import Problem, Wrong, near, quoted
from testbed.units import Duration, UnitError

_NOUNS = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "path_type": "a path",
    "none_required": "nothing",
}
_EXAMPLES = {
    "int_type": "write a whole number, without quotes or unit",
    "float_type": "write a number, without quotes or unit",
    "bool_type": "write true or false",
    "list_type": "write a list, as [a, b]",
    "dict_type": "write a mapping, as {name: value}",
    "path_type": "write a path, in quotes where it has colons",
}
_HARMLESS: dict[str, Fault | Check] = {"faults": Fault(at=Duration(0), lasts=Duration(1)), "checks": Check()}
_NAMING = (
    "isps",
    "clients",
    "access",
    "exchanges",
    "switches",
    "ocas",
    "hosts",
    "rpki",
    "titles",
)  # their keys are names, which others use


def problems(document: Document, errors: Iterable[ErrorDetails]) -> list[Problem]:
    """A problem for each place: the members of a union that all refused a value are one."""
    places: dict[tuple[str, int, int, str], tuple[Problem, list[ErrorDetails]]] = {}
    for error in errors:
        reason = _reason(error)
        on_key = error["loc"][-1:] == ("[key]",)
        location = error["loc"][:-1] if on_key else error["loc"]
        problem = document.problem(location, reason.what, reason.hint, on_key=on_key or reason.on_key)
        place = (problem.file, problem.line, problem.column, problem.path)
        places.setdefault(place, (problem, []))[1].append(error)
    return [_joined(problem, alternatives) for problem, alternatives in places.values()]


def _joined(problem: Problem, alternatives: Sequence[ErrorDetails]) -> Problem:
    nouns = list(dict.fromkeys(_NOUNS[error["type"]] for error in alternatives if error["type"] in _NOUNS))
    if len(alternatives) == 1 or len(nouns) < 2:
        return problem
    what = f"{quoted(alternatives[0]['input'])} is neither {' nor '.join(nouns)}"
    return Problem(
        problem.file, problem.line, problem.column, problem.path, what, f"write {' or '.join(nouns)}"
    )


def _reason(error: ErrorDetails) -> Wrong:
    kind, value, details = error["type"], error["input"], error.get("ctx", {})
    shown = quoted(value)
    if isinstance(found := details.get("error"), Wrong):
        return found
    if kind in _NOUNS:
        if value is None:
            return Wrong("has no value", _EXAMPLES.get(kind, "write one, or delete the key"))
        if kind == "string_type" and not isinstance(value, (list, dict)):
            return Wrong(f"{shown} is not text", f'write "{shown}" in quotes')
        if kind == "list_type" and isinstance(value, (str, int)):
            return Wrong(f"{shown} is not a list", f"write [{value if len(str(value)) < 60 else '...'}]")
        return Wrong(f"{shown} is not {_NOUNS[kind]}", _EXAMPLES.get(kind, f"write {_NOUNS[kind]}"))
    if kind == "literal_error":
        expected = str(details["expected"]).replace("'", "")
        match = near(str(value), expected.replace(" or ", ", ").split(", "))
        return Wrong(
            f"{shown} is not possible here", f"did you mean {match}?" if match else f"write {expected}"
        )
    if kind in ("greater_than_equal", "greater_than"):
        least = details["ge"] if kind == "greater_than_equal" else f"more than {details['gt']}"
        return Wrong(f"{shown} is too little", f"write {least} or more")
    if kind in ("less_than_equal", "less_than"):
        most = f"at most {details['le']}" if kind == "less_than_equal" else f"less than {details['lt']}"
        return Wrong(f"{shown} is too much", f"write {most}")
    if kind in ("too_short", "too_long"):
        there = details["actual_length"]
        if kind == "too_short":
            return Wrong(
                f"has {there or 'no'} item{'s' * (there != 1)}", f"write at least {details['min_length']}"
            )
        return Wrong(f"has {there} items", f"write at most {details['max_length']}")
    return Wrong(f"{shown} is refused: {error['msg']}", "see 'testbed schema'")


def without(data: object, errors: Iterable[ErrorDetails]) -> object | None:
    """The data with something harmless in place of what is wrong, so that the rest can be judged too.

    None where nothing is harmless: without a name, whatever uses the name would seem wrong. Changes
    `data`.
    """
    if not isinstance(data, dict):
        return None
    for error in errors:
        location = error["loc"]
        if len(location) > 1 and location[0] in _HARMLESS:
            group, place = location[:2]
            data[group][place] = _HARMLESS[str(group)]
            continue
        reason = error.get("ctx", {}).get("error")
        parent = data
        for step in location[:-1]:
            if not isinstance(parent, (dict, list)):
                return None
            try:
                parent = parent[step]
            except (LookupError, TypeError):
                return None
        if not location or not isinstance(parent, dict) or location[-1] not in parent:
            return None
        key = str(location[-1])
        if isinstance(reason, UnitError):
            # A scenario that lasts for ever lets everything else end in time.
            parent[key] = "2000000h" if location == ("duration",) else reason.example
        elif error["type"] in ("int_type", "greater_than_equal", "less_than_equal"):
            parent[key] = 1
        elif len(location) > 1 and location[-2] in _NAMING and not isinstance(reason, Wrong):
            return None
        else:
            del parent[key]
    return data

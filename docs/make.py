"""The pages that follow from the code: docs/tables.md, docs/yaml.md, and the map in README.md.

    .venv/bin/python docs/make.py            writes what is stale
    .venv/bin/python docs/make.py --check    names what is stale, exit code 1 if anything is

tests/test_docs.py asks the same, so a page cannot fall behind.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from testbed import model, registry
from testbed.job import Shape
from testbed.measure.schema import TABLES
from testbed.units import Duration, Queue, Rate, Share, Size

ROOT = Path(__file__).parent.parent
MADE = "<!-- made by docs/make.py; change the code it is made of, then make it again -->"
MAP = re.compile(r"(?<=<!-- map -->\n).*?(?=<!-- /map -->)", re.DOTALL)

Schema = dict[str, Any]


def main() -> int:
    """Write every stale page, or with --check only name it."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        print(__doc__)
        return 2
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'stale' if check else 'written'}")
        if not check:
            path.write_text(pages()[path], "utf-8")
    return 1 if stale and check else 0


def pages() -> dict[Path, str]:
    """What every page should say."""
    readme = ROOT / "README.md"
    return {
        ROOT / "docs" / "tables.md": tables(),
        ROOT / "docs" / "yaml.md": keys(),
        readme: MAP.sub(lambda _: f"```text\n{package_map()}```\n", readme.read_text("utf-8")),
    }


# The tables.


def tables() -> str:
    """docs/tables.md."""
    parts = [
        f"# Tables\n\n{MADE}\n\n"
        "Every run leaves these in `tables/*.parquet`, the same columns whatever the scenario. Ask them with "
        '`testbed query RUN "select …"` (DuckDB), or open the files in polars or pandas. Times are integers '
        "in nanoseconds; zero is the scenario's start. A null means that nothing can be said. "
        "`from goodput(1e8)` is a table made when asked: the payload of each sender (`src`) of each flow "
        "that was seen for the first time at each point, in bins of 100 ms (`t_ns`, `flow_id`, `node`, "
        "`interface`, `src`, `bytes`, `rate_bps`).\n\n"
        "| table | a row is |\n|---|---|\n"
        + "".join(f"| [{name}](#{name}) | {table.row} |\n" for name, table in TABLES.items())
    ]
    for name, table in TABLES.items():
        rows = "".join(
            f"| `{column}` | {_arrow_type(facts.type)} | {_cell(facts.about)} |\n"
            for column, facts in table.columns.items()
        )
        parts.append(
            f"## {name}\n\nA row is {table.row}.\n\n| column | type | what it says |\n|---|---|---|\n{rows}"
        )
    return "\n".join(parts)


def _arrow_type(kind: pa.DataType) -> str:
    return f"list of {kind.value_type}" if pa.types.is_list(kind) else str(kind)


# The YAML.

QUANTITIES = (Duration, Rate, Size, Share, Queue)


def keys() -> str:
    """docs/yaml.md."""
    units = "".join(
        f"| {kind.noun} | `{kind.example}` | {', '.join(f'`{unit}`' for unit in kind.units)} |\n"
        for kind in (Duration, Rate, Share)
    )
    introduction = (
        f"# Topologies and scenarios\n\n{MADE}\n\n"
        "A topology says who there is and what lies between them; a scenario names a topology and says who "
        "plays what, what breaks when, and what must hold. `testbed validate FILE` names every mistake with "
        "its line and what to write instead; `testbed schema topology` and `testbed schema scenario` print "
        "the JSON Schemas that this page is made of, for editors. Examples: "
        "[topologies/metro.yaml](../topologies/metro.yaml), "
        "[scenarios/oca-crash.yaml](../scenarios/oca-crash.yaml).\n\n"
        "Quantities carry their unit; a bare number is refused, except 0.\n\n"
        f"| quantity | example | units |\n|---|---|---|\n{units}"
        f"| size | `{Size.example}` | {', '.join(f'`{unit}`' for unit in Size.units)} |\n"
        f"| queue | {', '.join(f'`{example}`' for example in Queue.examples)} | `p`: packets; a size; a "
        "duration, at the link's rate; `bdp`: times that rate and the delays of both directions |\n\n"
        "Names are lowercase letters and digits with single dashes between them, a letter first. Nodes are "
        "called `<isp>.<router>` (`north.core`), `<isp>.<population>.<number>` (`north.homes.3`), and by "
        "their own name (`oca-n1`, `ix`); a link is called after its endpoints, `north.core--transit.a`, "
        "in either order.\n\n"
        "A link is as its own words say; where it has none, as `defaults` says; and where that says nothing, "
        "it has no limit of rate, no delay, loss or other impairment, and a queue of "
        f"{Shape().queue_packets} packets. Times of faults and arrivals count from the scenario's start.\n"
    )
    told: dict[str, str] = {}
    pages = (_Pages(model.json_schema(of), told).page(of.capitalize()) for of in ("topology", "scenario"))
    return "\n".join([introduction, *pages])


class _Pages:
    """Walks a JSON Schema from its root; every object gets a section where it is first met."""

    def __init__(self, schema: Schema, told: dict[str, str]) -> None:
        self.schema = schema
        self.told = told  # the same of the long form of a word, by its title, on all pages
        self.definitions: dict[str, Schema] = schema.get("$defs", {})
        self.places: dict[str, str] = {}  # definition -> the path of the section that tells it
        self.waiting: list[tuple[str, Schema]] = []

    def page(self, title: str) -> str:
        sections = [f"## {title}\n\n{self.schema['description']}\n\n{self._table('', self.schema)}"]
        while self.waiting:  # what a section refers to comes right behind it
            place, found = self.waiting.pop(0)
            later, self.waiting = self.waiting, []
            sections.append(self._section(place, found))
            self.waiting += later
        return "\n".join(sections)

    def _section(self, place: str, found: Schema) -> str:
        about = found.get("description", "")
        if about.startswith("{"):  # a kind of fault, check or algorithm: its example, then its text
            example, _, rest = about.partition("\n")
            module = sys.modules[_kind(place.rpartition(": ")[2], example).__module__].__file__
            text = _plain(f"{summary(Path(str(module)))} {rest.strip()}")
            about = f"{text}\n\n```yaml\n- {example}\n```"
        return f"### `{place}`\n\n{about}\n\n{self._table(place, found)}"

    def _table(self, path: str, found: Schema) -> str:
        required = found.get("required", [])
        properties: dict[str, Schema] = found.get("properties", {})
        # What has all keys of a link says so, rather than repeat them.
        link = self.definitions.get("LinkSpec", {}).get("properties", {})
        inherited = (
            set(link) if link and found.get("title") != "LinkSpec" and set(link) < set(properties) else set()
        )
        rows = []
        for key, value in properties.items():
            if key in inherited:
                continue
            where = f"{path}.{key}" if path else key
            needed = "required" if key in required else _default(value)
            kind = self._type(where, value)
            rows.append(f"| `{key}` | {kind} | {needed} | {_about(value)} |\n")
        if inherited:
            rows.append(f"| {', '.join(f'`{key}`' for key in link)} | as in {self._see('LinkSpec')} | | |\n")
        return f"| key | value | default | |\n|---|---|---|---|\n{''.join(rows)}"

    def _see(self, name: str) -> str:
        place = self.places[name]
        return f"[`{place}`](#{_anchor(place)})"

    def _type(self, where: str, value: Schema) -> str:
        if "$ref" in value:
            name = value["$ref"].rpartition("/")[2]
            if name not in self.places:
                self.places[name] = where
                self.waiting.append((where, self.definitions[name]))
            return self._see(name)
        if "oneOf" in value and all("properties" in option for option in value["oneOf"]):
            return self._kinds(where, value["oneOf"])
        if "properties" in value:
            return self._long(where, value)
        quantity = _quantity(value)
        if quantity:
            return quantity
        if options := value.get("anyOf", value.get("oneOf")):
            types = (self._type(where, option) for option in options if option != {"type": "null"})
            return " or ".join(each for each in types if each)
        if "const" in value:
            return f"`{value['const']}`"
        if "enum" in value:
            return ", ".join(f"`{option}`" for option in value["enum"])
        if value.get("type") == "array":
            return f"list of {self._type(where, value['items'])}"
        if value.get("type") == "object":
            return f"name: {self._type(f'{where}.<name>', value['additionalProperties'])}"
        plain = {
            "string": "text",
            "integer": "whole number",
            "number": "number",
            "boolean": "`true`, `false`",
        }
        bounds = [
            f"{word} {value[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in value
        ]
        return " ".join([value.get("format") or plain[value["type"]], *bounds])

    def _long(self, where: str, found: Schema) -> str:
        """A mapping that says more than a word's short form; nothing where it has no more to say."""
        names = [value["const"] for value in found["properties"].values() if "const" in value]
        if len(found["properties"]) == len(names):
            return ""
        if found["title"] not in self.told:
            self.told[found["title"]] = place = ": ".join([where, *names])
            self.waiting.append((place, found))
        return f"[{names[0] if names else 'a mapping'}](#{_anchor(self.told[found['title']])})"

    def _kinds(self, where: str, kinds: list[Schema]) -> str:
        seen = []
        for found in kinds:
            place = f"{where}: {found['properties']['kind']['const']}"
            shown = {key: value for key, value in found["properties"].items() if key != "kind"}
            self.waiting.append((place, {**found, "properties": shown}))
            seen.append(f"[{found['properties']['kind']['const']}](#{_anchor(place)})")
        return ", ".join(seen)


def _kind(name: str, example: str) -> type:
    """The kind of that name with that example, whatever its group."""
    found = (registry.kinds(group).get(name) for group in registry.GROUPS)
    return next(kind for kind in found if kind and (kind.__doc__ or "").startswith(example))


def _quantity(value: Schema) -> str:
    """The quantity that a schema describes, by its pattern; empty if it is none."""
    options = [option for each in value.get("anyOf", [value]) for option in each.get("anyOf", [each])]
    if any("properties" in option for option in options):
        return ""
    patterns = {option.get("pattern") for option in options} - {None}
    for kind in QUANTITIES:
        known = kind.__get_pydantic_json_schema__(None, None)
        if {each.get("pattern") for each in known.get("anyOf", [known])} & patterns:
            return getattr(kind, "noun", "queue")
    return ""


def _about(value: Schema) -> str:
    """What a key's description adds to its type, and an example of its own where there is one."""
    about = str(value.get("description", ""))
    generic = about.startswith(("a duration with", "a rate with", "a share with", "a queue's"))
    parts = [] if generic or not about else [_cell(about)]
    # Every quantity has its type's example; those of a field say more only where they differ.
    if (examples := value.get("examples")) and examples != [value.get("const")]:
        types_own = {str(getattr(kind, "example", "200p")) for kind in QUANTITIES}
        parts += [f"`{example}`" for example in examples if example not in types_own]
    return ", ".join(parts)


def _default(value: Schema) -> str:
    default = value.get("default")
    if default is None or isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _plain(text: str) -> str:
    return " ".join(text.split())


# The map of the package.


def package_map() -> str:
    """Every module that has code, under its folder, with the first sentence of its docstring."""
    folders: dict[Path, list[Path]] = {}
    for path in sorted((ROOT / "testbed").rglob("*.py")):
        folders.setdefault(path.parent, []).append(path)
    order = sorted(folders, key=lambda folder: (folder.parts, folder.name))
    return "".join(line for folder in order for line in _folder(folder, folders[folder]))


def _folder(folder: Path, modules: list[Path]) -> Iterator[str]:
    top = folder == ROOT / "testbed"
    indent = "" if top else "  "
    yield _line(f"{indent}{folder.name}/", summary(folder / "__init__.py"))
    for path in modules:
        if path.name != "__init__.py":
            yield _line(f"{indent}  {path.name}", summary(path))


def _line(name: str, text: str) -> str:
    return f"{name:<24} {text}".rstrip() + "\n"


def summary(path: Path) -> str:
    """The first sentence of a module's docstring; empty if it has none."""
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    first = " ".join(said.partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z`])", first)[0]


if __name__ == "__main__":
    sys.exit(main())

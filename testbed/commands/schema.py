"""`testbed schema`: the JSON Schema of what one may write."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from testbed.terminal import answer


class Document(StrEnum):
    """What a YAML file can be."""

    topology = "topology"
    scenario = "scenario"


def schema(of: Annotated[Document, typer.Argument(help="Which kind of file.")]) -> None:
    """Print the JSON Schema of topologies or scenarios, for editors.

    Example: testbed schema scenario > scenario.schema.json
    """
    from testbed import model

    answer(model.json_schema(of.value))

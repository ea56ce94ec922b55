"""What a user may write, in one place, and as JSON Schemas for editors."""

from __future__ import annotations

from typing import Any, Literal

from testbed.model.link import LinkSpec
from testbed.model.scenario import Scenario, TitleSpec
from testbed.model.topology import (
    CDN,
    Access,
    Cdn,
    Clients,
    Defaults,
    Exchange,
    Host,
    Isp,
    Oca,
    Place,
    Switch,
    Topology,
    Wire,
)
from testbed.model.workload import Playback

__all__ = [
    "CDN",
    "Access",
    "Cdn",
    "Clients",
    "Defaults",
    "Exchange",
    "Host",
    "Isp",
    "LinkSpec",
    "Oca",
    "Place",
    "Playback",
    "Scenario",
    "Switch",
    "TitleSpec",
    "Topology",
    "Wire",
    "json_schema",
]


def json_schema(of: Literal["topology", "scenario"]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of topology or scenario files."""
    model = Topology if of == "topology" else Scenario
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **model.model_json_schema(mode="validation"),
    }

"""What a user may write: the YAML, its schema, and why a file is refused.

The names here are found when they are first used: the guest reads the units beside them and has no
pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.model.load import Loaded, LoadedTopology, load_scenario, load_topology
    from testbed.model.schema import json_schema
    from testbed.refusal import Problem, Refused

__all__ = ["Loaded", "LoadedTopology", "Problem", "Refused", "json_schema", "load_scenario", "load_topology"]

_PLACES = {"Problem": "refusal", "Refused": "refusal", "json_schema": "schema"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES.get(name, 'load')}"), name)

"""What a user may write: the YAML, its schema, and why a file is refused."""

from testbed.model.load import Loaded, LoadedTopology, load_scenario, load_topology
from testbed.model.schema import json_schema
from testbed.refusal import Problem, Refused

__all__ = ["Loaded", "LoadedTopology", "Problem", "Refused", "json_schema", "load_scenario", "load_topology"]

"""What a parameter of a fault or a check names; the type says what it is looked up among."""

from __future__ import annotations

from typing import NewType

LinkName = NewType("LinkName", str)  # checked against the topology, endpoints in either order
NodeName = NewType("NodeName", str)
OcaName = NewType("OcaName", str)
RouterName = NewType("RouterName", str)  # the job holds the description of its routing
NeighborName = NewType("NeighborName", str)  # who the fault's router speaks BGP with across a border
ExpiredOcaName = NewType("ExpiredOcaName", str)  # an OCA that has an expired certificate, too
TitleName = NewType("TitleName", str)
PopulationName = NewType("PopulationName", str)  # of clients, as north.homes
Prefix = NewType("Prefix", str)
CommunityName = NewType("CommunityName", str)  # as `testbed.routing.parse_community` reads it

"""A network emulation testbed for content delivery networks, in virtual time."""

__version__ = "0.1.0"

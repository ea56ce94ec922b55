"""Topologies that others drew, as topologies of ours: each source is a module with a `read`."""

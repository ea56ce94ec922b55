"""The guest kernel: what it is made of, how it is built once a machine, and how it boots."""

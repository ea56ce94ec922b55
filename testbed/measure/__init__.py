"""From captures and records to tables, and from tables to answers."""

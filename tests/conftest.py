"""Tests that boot a guest come last, and are skipped where none can start, with what is lacking."""

import os

import pytest

from testbed.venues.guest import Guest

# Scenarios that tests read; our own plug-in would run them.
collect_ignore_glob = ["refused/*", "golden/*", "cdn/*"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("guest") is not None)
    if not items or items[-1].get_closest_marker("guest") is None or os.environ.get("CI"):
        return  # where all must have been run, a lack is a failure
    lacks = "; ".join(f"{lack.what} ({lack.fix})" for lack in Guest().lacks())
    if lacks:
        for item in items:
            if item.get_closest_marker("guest"):
                item.add_marker(pytest.mark.skip(reason=f"the guest venue lacks {lacks}"))

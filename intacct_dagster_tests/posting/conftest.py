"""Fixtures for the tests of posting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from intacct_dagster_tests.posting.posting_world import World
from intacct_sandbox import serve


@pytest.fixture
def world(state: str) -> Iterator[World]:
    """Yield books of their own and an engine that posts to them, on each kind of state store."""
    with serve() as sandbox:
        world = World(sandbox.base_url, state)
        yield world
        world.close()

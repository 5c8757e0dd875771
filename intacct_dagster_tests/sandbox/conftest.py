"""Fixtures for the sandbox's tests: a caller of books in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from intacct_dagster_tests.sandbox.caller import Caller, calling


@pytest.fixture
def caller() -> Iterator[Caller]:
    """Call fresh books: for tests that write."""
    with calling() as fresh:
        yield fresh


@pytest.fixture(scope="module")
def shared_caller() -> Iterator[Caller]:
    """Call books that all tests of a module share: for tests that do not mind what others wrote."""
    with calling() as shared:
        yield shared

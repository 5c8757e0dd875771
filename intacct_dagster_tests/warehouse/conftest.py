"""Fixtures for the warehouse's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from intacct_dagster.warehouse import Warehouse


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Return a warehouse that has nothing in it."""
    return Warehouse(tmp_path / "warehouse.duckdb")

"""Fixtures for the tests of feeds."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a feed, without files."""
    made = tmp_path / "feed"
    made.mkdir()
    return made

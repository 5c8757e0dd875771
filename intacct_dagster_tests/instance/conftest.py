"""Fixtures for the tests of instances."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the temporary folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path

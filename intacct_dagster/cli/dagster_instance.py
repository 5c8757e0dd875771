"""The Dagster instance of the project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Yield the instance that DAGSTER_HOME names, else the one that dagster.yaml describes."""
    if os.environ.get("DAGSTER_HOME") or not Path("dagster.yaml").is_file():
        with dg.DagsterInstance.get() as instance:
            yield instance
    else:
        with dg.DagsterInstance.from_config(os.curdir, "dagster.yaml") as instance:
            yield instance

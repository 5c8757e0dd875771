"""The company that many tests begin with: two days of one entity, read, and then posted.

It is made once in a session (per worker) by the fixtures `read_company` and `posted_company`.
A test that writes works on a copy of the folder; the sandbox goes on from the books in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from intacct_dagster.defs import (
    current_key,
    feed_key,
    plan_key,
    posted_key,
    raw_key,
    reconciled_key,
)
from intacct_dagster.state import Pairing, open_state
from intacct_dagster.warehouse import Warehouse
from intacct_dagster_tests.code_location import FEED, OBJECTS, CodeLocation, sandbox_settings
from intacct_sandbox import LAST_DAY, serve, write_sales_feed

DAYS = 2
FIRST = LAST_DAY - timedelta(days=DAYS - 1)
ENTITY = "E110"
RAW = [raw_key(name) for name in OBJECTS]
CURRENT = [current_key(name) for name in OBJECTS]
POSTING = [feed_key(FEED), reconciled_key(FEED), plan_key(FEED), posted_key(FEED)]


def extract(location: CodeLocation, entity: str = ENTITY) -> None:
    """Read both days of an entity, and refresh the current views."""
    assert location.run(RAW, entity=entity, first=FIRST).success
    assert location.run(CURRENT).success


def reconcile_and_post(location: CodeLocation, entity: str = ENTITY) -> dg.ExecuteInProcessResult:
    """Read the feed of both days, reconcile it, and post what is missing."""
    result = location.run(POSTING, entity=entity, first=FIRST)
    failures = [each.step_failure_data.error for each in result.get_step_failure_events()]
    assert result.success, "\n".join(each.to_string() for each in failures if each is not None)
    return result


def make_read_company(folder: Path) -> Path:
    """Read both days of ENTITY into the warehouse in `folder`."""
    write_sales_feed(folder / "data/feeds" / FEED, seed=1, days=DAYS)
    with open_company(folder) as location:
        extract(location)
    return folder


def make_posted_company(read: Path, folder: Path) -> Path:
    """Post what is missing of both days, from a copy of a company that was read."""
    with open_company(copy_company(read, folder)) as location:
        reconcile_and_post(location)
    return folder


def copy_company(company: Path, folder: Path) -> Path:
    """Copy everything that a company left behind, so that a test may change it."""
    return Path(shutil.copytree(company, folder, dirs_exist_ok=True))


def pair(location: CodeLocation) -> None:
    """Have the warehouse belong to the state store of the settings, which is another one."""
    settings = location.settings
    path = Path(settings.warehouse).resolve()
    engine = open_state(settings.state)
    with Warehouse(path, paired=Pairing(engine, settings.company, path).pair).connect():
        pass
    engine.dispose()


@contextmanager
def open_company(folder: Path, **changes: Any) -> Iterator[CodeLocation]:
    """Open a code location on what is in `folder`, with the sandbox's books of last time."""
    with (
        serve(state=folder / "data/sandbox") as sandbox,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        given = {"start_date": FIRST, **changes}
        yield CodeLocation(sandbox_settings(sandbox.base_url, folder, **given), instance)

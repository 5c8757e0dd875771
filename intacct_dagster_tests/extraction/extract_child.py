"""A run of extraction in a process of its own, on an instance that other processes share."""

from __future__ import annotations

from multiprocessing.synchronize import Barrier
from pathlib import Path

import dagster as dg

from intacct_dagster.config import Limits, ObjectSettings
from intacct_dagster.defs import raw_key
from intacct_dagster_tests.code_location import CodeLocation, sandbox_settings
from intacct_sandbox import LAST_DAY

OBJECTS = (
    "accounts-receivable/customer",
    "accounts-receivable/invoice",
    "accounts-receivable/invoice-line",
    "accounts-payable/bill",
    "accounts-payable/bill-line",
    "general-ledger/journal-entry",
)


def extract(base_url: str, folder: Path, state: str, entity: str, ready: Barrier) -> None:
    """Reads OBJECTS of an entity, beginning when all processes are ready."""
    settings = sandbox_settings(
        base_url,
        folder,
        state=state,
        feeds={},
        objects=tuple(ObjectSettings(name=name, history="all") for name in OBJECTS),
        limits=Limits(page_size=400),
    )
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        location = CodeLocation(settings, instance)
        ready.wait(60)
        done = location.run([raw_key(name) for name in OBJECTS], entity=entity, first=LAST_DAY)
        assert done.success

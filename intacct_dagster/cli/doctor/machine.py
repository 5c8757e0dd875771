"""Checks of this machine: the configuration, the state store, the warehouse and its disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from intacct_dagster.cli.doctor.examination import Examination, Finding, Verdict
from intacct_dagster.company import key_folder
from intacct_dagster.state import Pairing
from intacct_dagster.warehouse import WarehouseLocked

#: Bytes that should be free beside the warehouse: readers get a copy of it.
FREE_ERROR, FREE_WARNING = 200_000_000, 2_000_000_000


def configuration(examination: Examination) -> Iterator[Finding]:
    settings = examination.settings
    yield Finding(
        "configuration",
        Verdict.OK,
        f"{settings.company} at {settings.base_url}: {len(settings.users)} entities, "
        f"{len(settings.objects)} objects, {settings.auth.grant}",
    )
    for key in settings.renamed_keys:
        seen = f"{key.file.name}:{key.line}: {key.flaw}"
        yield Finding("configuration", Verdict.WARNING, seen, key.remedy)
    file = settings.directory / ".env"
    if file.is_file():
        yield _file_mode("configuration", file)
    elsewhere = settings.scope == "production" and settings.is_sandbox
    yield Finding(
        "scope",
        Verdict.WARNING if elsewhere else Verdict.OK,
        f"{settings.scope}, as intacct.yaml says; no answer of Intacct tells what the client id "
        "was registered for",
        "The sandbox is not production: correct `scope`." if elsewhere else "",
    )


def _file_mode(check: str, file: Path) -> Finding:
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        return Finding(
            check,
            Verdict.WARNING,
            f"{file.name} has mode {mode:04o}: others on this machine may read it",
            f"chmod 600 {file}",
        )
    return Finding(check, Verdict.OK, f"{file.name}: only its owner may read it")


def state_store(examination: Examination) -> Iterator[Finding]:
    with examination.state.begin():  # takes the right to write, and gives it back
        pass
    yield Finding("state store", Verdict.OK, "can be read and written")
    stored = [each for each in examination.intacct.stored_sessions() if each.state != "missing"]
    yield Finding(
        "state store", Verdict.OK, f"{len(stored)} stored sessions, readable with the key at hand"
    )
    folder = key_folder(examination.state.url)
    if folder is not None:
        for name in (
            folder / Path(examination.state.url.database or "").name,
            folder / "token.key",
        ):
            if name.is_file():
                yield _file_mode("state store", name)


def warehouse(examination: Examination) -> Iterator[Finding]:
    path = examination.settings.warehouse
    folder = next(each for each in path.parents if each.is_dir())
    if not os.access(folder, os.W_OK):
        yield Finding(
            "warehouse",
            Verdict.ERROR,
            f"{folder} cannot be written to",
            "Give this user the right to, or set `warehouse` in intacct.yaml.",
        )
        return
    try:
        with examination.warehouse.connect() as connection:
            connection.execute("SELECT 1")
    except WarehouseLocked as error:
        yield Finding(
            "warehouse",
            Verdict.WARNING,
            str(error).splitlines()[0],
            "Runs wait for it; so may you.",
        )
    else:
        yield Finding("warehouse", Verdict.OK, f"{path.name} can be read and written")
        yield _pair(examination)
    free = shutil.disk_usage(folder).free
    size = path.stat().st_size if path.exists() else 0
    tight = free < max(FREE_ERROR, size), free < max(FREE_WARNING, 3 * size)
    yield Finding(
        "disk",
        Verdict.ERROR if tight[0] else Verdict.WARNING if tight[1] else Verdict.OK,
        f"{free / 1e9:,.1f} GB free beside a warehouse of {size / 1e9:,.1f} GB",
        "Make room, or move the warehouse: pages, and a copy for analysts, lie beside it."
        if tight[1]
        else "",
    )


def _pair(examination: Examination) -> Finding:
    """Say whether the state store and the warehouse belong together: a company has one of each."""
    settings = examination.settings
    path = Path(settings.warehouse).resolve()
    pairing = Pairing(examination.state, settings.company, path)
    mismatch = pairing.mismatch(examination.warehouse.identity())
    if mismatch is None:
        return Finding("pair", Verdict.OK, "the state store and the warehouse belong together")
    return Finding(
        "pair",
        Verdict.ERROR,
        mismatch,
        "A company has one state store: two would each post what the other one posted.",
    )


def time_zone(examination: Examination) -> Iterator[Finding]:
    settings = examination.settings
    here = datetime.now().astimezone()
    seen = (
        f"schedules go by {settings.schedules.time_zone}, days are UTC, this machine by {here:%Z}"
    )
    yield Finding("time zone", Verdict.OK, seen)

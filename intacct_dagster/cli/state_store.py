"""`intacct-dagster state …`: back the state store up, put it back, check it, and pair it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import click
import sqlalchemy as sa

from intacct_dagster.company import company_in
from intacct_dagster.config import Settings, load_settings
from intacct_dagster.posting.recovery import held_keys, lost_postings
from intacct_dagster.state import LostPostings, Pairing, StateError, open_state
from intacct_dagster.state.ledger import Ledger
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.reconciliation import posted_here


def backup(into: Path) -> None:
    """Copy the state store into a new file, as of one moment, while others use it.

    Raises:
        StateError: It is not a SQLite file, or damaged, or the copy cannot be written.
    """
    source = _sqlite_path(load_settings())
    if into.exists():
        raise StateError(f"{into} exists. Name a new file.")
    if not source.exists():
        raise StateError(f"There is no state store at {source} yet.")
    _check_file(source)
    _copy(source, into)
    click.echo(
        f"{source} is in {into}, {into.stat().st_size:,} bytes. Keep the key of the sessions with "
        "it (token.key beside the state store, or INTACCT_TOKEN_KEY), but not in the same place."
    )


def restore(backup_file: Path) -> None:
    """Put a backup in the place of the state store; what is there is kept under another name.

    Raises:
        StateError: The backup is no state store or damaged, or cannot be put there.
    """
    settings = load_settings()
    target = _sqlite_path(settings)
    _check_file(backup_file)
    kept = None
    if target.exists():
        kept = target.with_name(f"{target.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        _copy(target, kept)
        for each in (target, *(target.with_name(target.name + end) for end in ("-wal", "-shm"))):
            with suppress(FileNotFoundError):
                each.unlink()
    _copy(backup_file, target)
    click.echo(
        f"{backup_file} is the state store {target} now."
        + (f" What was there is in {kept}." if kept else "")
    )
    click.echo(
        "Nothing that the warehouse knows as posted, and this store does not, is sent before you "
        "ran `intacct-dagster state compare`."
    )


def check() -> bool:
    """Print what is amiss with the state store; return whether anything is."""
    settings = load_settings()
    amiss: list[str] = []
    if settings.state.startswith("sqlite"):
        path = _sqlite_path(settings)
        if not path.exists():
            click.echo(f"There is no state store at {path} yet.")
            return False
        try:
            _check_file(path)
        except StateError as error:
            amiss.append(str(error))
    if not amiss:
        with _state(settings) as state:
            warehouse = Warehouse(settings.warehouse, lock_timeout=settings.limits.lock_timeout)
            if (found := warehouse.identity()) is not None:
                pairing = Pairing(state, settings.company, warehouse.path)
                if (mismatch := pairing.mismatch(found)) is not None:
                    amiss.append(mismatch)
            for name, lost in _lost(settings, state, warehouse):
                number = sum(map(len, lost.values()))
                amiss.append(
                    f"{number:,} documents of {name} are posted as the warehouse knows, and not "
                    "as this store does: run `intacct-dagster state compare`."
                )
    for each in amiss:
        click.echo(each)
    if not amiss:
        click.echo("The state store is whole, and agrees with the warehouse.")
    return bool(amiss)


def compare() -> None:
    """Ask Intacct for the documents that the warehouse knows as posted and the ledger does not."""
    settings = load_settings()
    warehouse = Warehouse(settings.warehouse, lock_timeout=settings.limits.lock_timeout)
    number = gone = 0
    with _state(settings) as state, company_in(state, settings) as intacct:
        for name, lost in list(_lost(settings, state, warehouse)):
            of = settings.feeds[name].object
            for entity, documents in lost.items():
                held = held_keys(intacct.entity(entity), of, documents.values())
                LostPostings(state, settings.company).record(of, entity, documents.items(), held)
                number += len(documents)
                missing = {each: key for each, key in documents.items() if key not in held}
                gone += len(missing)
                click.echo(
                    f"{name} {entity}: {len(documents) - len(missing):,} of {len(documents):,} "
                    "documents are in Intacct under their keys."
                )
                for source_id, key in sorted(missing.items()):
                    click.echo(f"  {source_id}: record {key} is gone from Intacct")
    if not number:
        click.echo("The ledger knows everything that the warehouse knows as posted.")
        return
    click.echo(
        "Extract and reconcile the partitions of these feeds before you post them: what is in "
        "Intacct is `matched` then."
    )
    if gone:
        click.echo(f"{gone:,} are gone: they would be posted again. See who deleted them, and why.")


def pair() -> None:
    """Have the warehouse of intacct.yaml be the one that the state store belongs to."""
    settings = load_settings()
    with _state(settings) as state:
        path = Path(settings.warehouse).resolve()
        warehouse = Warehouse(
            path,
            lock_timeout=settings.limits.lock_timeout,
            paired=Pairing(state, settings.company, path).pair,
        )
        with warehouse.connect():
            pass
    click.echo(
        f"The state store of {settings.company} belongs to the warehouse {path} now. Run "
        "`intacct-dagster state check`."
    )


def _lost(
    settings: Settings, state: sa.Engine, warehouse: Warehouse
) -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """Yield the feeds of which the ledger lost postings, with those."""
    ledger = Ledger(state, settings.company)
    for name, feed in settings.feeds.items():
        compared = LostPostings(state, settings.company).compared(feed.object)
        lost = lost_postings(posted_here(warehouse, name), ledger, compared, name, feed.object)
        if lost:
            yield name, lost


@contextmanager
def _state(settings: Settings) -> Iterator[sa.Engine]:
    engine = open_state(settings.state)
    try:
        yield engine
    finally:
        engine.dispose()


def _sqlite_path(settings: Settings) -> Path:
    url = sa.make_url(settings.state)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise StateError(
            f"The state store {url.render_as_string()} is no file. Use the tools of its database "
            "(pg_dump and pg_restore), then `intacct-dagster state check`."
        )
    return Path(url.database)


def _check_file(path: Path) -> None:
    """Raise StateError unless a file is a whole state store."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            tables = {
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                )
            }
    except sqlite3.Error as error:
        raise StateError(
            f"{path} cannot be read as a state store ({error}). Put a backup back with "
            "`intacct-dagster state restore`."
        ) from None
    if found != "ok":
        raise StateError(
            f"The state store {path} is damaged ({found}). Put a backup back with "
            "`intacct-dagster state restore`."
        )
    if "posting_items" not in tables:
        raise StateError(f"{path} is no state store: it has no table posting_items.")


def _copy(source: Path, into: Path) -> None:
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(into, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as held,
            closing(sqlite3.connect(into)) as copy,
        ):
            held.backup(copy)
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"{source} cannot be copied to {into}: {error}.") from None

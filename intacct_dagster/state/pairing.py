"""Which warehouse a state store belongs to: one company has one of each.

Two warehouses under one state store would each hold a part of the data under one history; two state
stores for one company would each post what the other posted. So each warehouse has an id, the state
store knows it, and every write to the warehouse compares the two.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from intacct_dagster.state.errors import StateError
from intacct_dagster.state.store import METADATA, reading, writing

#: A row is a company and its one warehouse. `confirmed_at` is null until the file has the id, too.
_warehouses = sa.Table(
    "warehouses",
    METADATA,
    sa.Column("company", sa.Text, primary_key=True),
    sa.Column("warehouse_id", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("since", sa.Text, nullable=False),
    sa.Column("confirmed_at", sa.Text),
)


#: Id, host, path, since when, and when the file had the id; None before the first warehouse.
_Known = sa.Row[Any, Any, Any, Any, Any] | None


class WarehouseNotPaired(StateError):
    """The warehouse and the state store do not belong together. Nothing was written."""


class Pairing:
    """The pair of a company's state store and its warehouse.

    Args:
        engine: The state store, from `open_state`.
        company: The company.
        path: The warehouse that is used now.
        now: Gives aware UTC times; a test passes its own.
    """

    def __init__(
        self,
        engine: sa.Engine,
        company: str,
        path: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._company = company
        self._path = path
        self._now = now

    def check(self, found: str | None) -> str:
        """Compare the id that the warehouse has with the one that the state store knows.

        Args:
            found: The id in the warehouse; None if it has none, because it is new or of an older
                version.

        Returns:
            The id that the warehouse is to have.

        Raises:
            WarehouseNotPaired: The state store belongs to another warehouse, or the warehouse to
                another state store.
        """
        # Asked before every write to the warehouse: nobody waits for a lock where nothing changes.
        with reading(self._engine) as connection:
            known = self._known(connection)
        if known is not None and known.warehouse_id == found and known.confirmed_at is not None:
            return str(found)
        with writing(self._engine) as connection:
            known = self._known(connection)
            if (mismatch := self._mismatch(known, found)) is not None:
                raise WarehouseNotPaired(mismatch)
            if known is None:
                return self._store(connection, str(uuid.uuid4()), known=False)
            if found is not None and known.confirmed_at is None:
                connection.execute(
                    sa.update(_warehouses)
                    .where(_warehouses.c.company == self._company)
                    .values(confirmed_at=self._stamp())
                )
            return str(known.warehouse_id)

    def mismatch(self, found: str | None) -> str | None:
        """Return why the warehouse with this id may not be written; None if it may."""
        with reading(self._engine) as connection:
            return self._mismatch(self._known(connection), found)

    def _mismatch(
        self, known: sa.Row[Any, Any, Any, Any, Any] | None, found: str | None
    ) -> str | None:
        if known is None:
            if found is None:
                return None
            return (
                f"The warehouse {self._path} belongs to another state store than the one that "
                f"intacct.yaml names, which knows nothing of what {self._company} posted. "
                f"{_REMEDY_OF_THE_STATE}"
            )
        # The file gets its id after the state store knows it; a process may die between.
        unconfirmed = known.confirmed_at is None and known.path == str(self._path)
        if found == known.warehouse_id or (found is None and unconfirmed):
            return None
        return (
            f"The warehouse {self._path} is not the one that the state store of {self._company} "
            f"belongs to: that is {known.path} on {known.host}, since {known.since[:16]} UTC. "
            f"{_REMEDY_OF_THE_WAREHOUSE}"
        )

    def carry_over(self, found: str | None) -> str:
        """Return the id that the file of a warehouse that is rebuilt is to have.

        Raises:
            WarehouseNotPaired: As `check` does, of a file that has an id.
        """
        with writing(self._engine) as connection:
            known = self._known(connection)
        return str(known.warehouse_id) if known and found is None else self.check(found)

    def pair(self, found: str | None) -> str:
        """Have the warehouse of now take the place of the one that the state store knows.

        Returns:
            The id that the warehouse is to have.
        """
        with writing(self._engine) as connection:
            known = self._known(connection) is not None
            return self._store(connection, found or str(uuid.uuid4()), known=known)

    def _known(self, connection: sa.Connection) -> _Known:
        columns = _warehouses.c
        query = sa.select(
            columns.warehouse_id, columns.host, columns.path, columns.since, columns.confirmed_at
        ).where(columns.company == self._company)
        return connection.execute(query).first()

    def _store(self, connection: sa.Connection, warehouse_id: str, *, known: bool) -> str:
        values = {
            "warehouse_id": warehouse_id,
            "host": socket.gethostname(),
            "path": str(self._path),
            "since": self._stamp(),
            "confirmed_at": None,
        }
        if known:
            this = _warehouses.c.company == self._company
            connection.execute(sa.update(_warehouses).where(this).values(**values))
        else:
            connection.execute(sa.insert(_warehouses).values(company=self._company, **values))
        return warehouse_id

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).isoformat(timespec="seconds")


_REMEDY_OF_THE_WAREHOUSE = (
    "Two warehouses under one state store would each hold a part of the data. Use that one; or, if "
    "this one takes its place because that one was lost, moved or replaced, run `intacct-dagster "
    "state pair`, and backfill what it lacks."
)
_REMEDY_OF_THE_STATE = (
    "Name the state store that belongs to it, or put its backup back (`intacct-dagster state "
    "restore`). If it is lost, run `intacct-dagster state pair`: every document is looked for in "
    "Intacct before it is posted."
)

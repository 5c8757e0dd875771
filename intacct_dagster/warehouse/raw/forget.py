"""Forget what was loaded of an object, so that it is read from the start."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.raw.deletes import not_materialized
from intacct_dagster.warehouse.raw.loads import set_as_of
from intacct_dagster.warehouse.raw.log import adopt_log, read_log
from intacct_dagster.warehouse.raw.names import META
from intacct_dagster.warehouse.raw.versions import recompute_all
from intacct_dagster.warehouse.tables import existing_columns


def forget_object(
    file: Warehouse,
    object: str,
    *,
    entities: Collection[str] = (),
    until: int | None = None,
    now: datetime,
) -> int:
    """Withdraw the loads of an object, of these entities (default: of all), at `now` (aware).

    `until` is the id of the last load that is withdrawn (default: all are).

    Their versions stay in `raw` and count no more, and their days are to be read again. Raises
    NotMaterialized where nothing of the object was loaded.

    Returns:
        How many loads were withdrawn.
    """
    if not file.path.exists():
        raise not_materialized(object)
    with file.staging() as staging, staging.transaction() as connection:
        adopt_log(connection, object)
        log = read_log(connection, object)
        if log is None:
            raise not_materialized(object)
        which = {"object": object, "entities": list(entities), "until": until}
        of_them = (
            "object = $object AND ($until::BIGINT IS NULL OR load_id <= $until::BIGINT)"
            " AND (len($entities::VARCHAR[]) = 0 OR entity IN"
            " (SELECT unnest($entities::VARCHAR[])))"
        )
        withdrawn = connection.execute(
            "UPDATE warehouse.meta.loads SET withdrawn_at = $now"
            f" WHERE withdrawn_at IS NULL AND {of_them} RETURNING entity",
            {**which, "now": now},
        ).fetchall()
        connection.execute(f"DELETE FROM warehouse.meta.raw_loads WHERE {of_them}", which)
        recompute_all(connection, log)
        for entity in sorted({entity for (entity,) in withdrawn}):
            set_as_of(connection, object, entity)
    return len(withdrawn)


def last_load_id(file: Warehouse) -> int:
    """Return the id of the load that was committed last; 0 before any was."""
    if not file.path.exists():
        return 0
    with file.connect(read_only=True) as connection:
        if not existing_columns(connection, CATALOG, META, "loads"):
            return 0
        return int(
            connection.execute("SELECT coalesce(max(load_id), 0) FROM meta.loads").fetchall()[0][0]
        )

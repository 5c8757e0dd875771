"""Batched SQLite history for Dagster: opt-in, by the block in dagster.yaml that names this module.

It builds on private parts of Dagster, which a release may change. On a Dagster that it does not
know, `BatchedHistory` is Dagster's own SQLite storage, and a warning says so. Both keep the same
files, so that either can go on where the other stopped.
"""

import logging
from importlib.metadata import version

from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

__all__ = ["BatchedHistory"]

BatchedHistory: type[DagsterSqliteStorage]
try:
    from intacct_dagster.instance.history import batched

    batched.check_dagster()
except (ImportError, AttributeError) as error:
    logging.getLogger(__name__).warning(
        "intacct_dagster.instance.history does not know this Dagster (%s): %s. Dagster's own "
        "SQLite storage is used, with the same files. To end this warning, set "
        "`storage: {sqlite: {base_dir: …}}` in dagster.yaml.",
        version("dagster"),
        error,
    )
    BatchedHistory = DagsterSqliteStorage
else:
    BatchedHistory = batched.BatchedHistory

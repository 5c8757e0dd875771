"""The state stores that tests run on: SQLite, and PostgreSQL where there is a server to try it on.

INTACCT_TEST_POSTGRESQL is the URL of a database whose user may make schemas, for example
postgresql+psycopg://postgres@127.0.0.1/intacct; each test has a schema of its own in it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import sqlalchemy as sa
from cryptography.fernet import Fernet

_POSTGRESQL = os.environ.get("INTACCT_TEST_POSTGRESQL")

STORES = ("sqlite", "postgresql") if _POSTGRESQL else ("sqlite",)


@contextmanager
def empty_store(store: str, folder: Path) -> Iterator[str]:
    """Yield the URL of a state store of this kind with nothing in it; it is gone afterwards.

    A server has no folder for the key of the sessions: the environment has one meanwhile.
    """
    if store == "sqlite" or _POSTGRESQL is None:
        yield f"sqlite:///{folder}/state.db"
        return
    schema = f"test_{uuid.uuid4().hex}"
    url = sa.make_url(_POSTGRESQL)
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    key = Fernet.generate_key().decode()
    try:
        own = url.update_query_dict({"options": f"-csearch_path={schema}"})
        with patch.dict(os.environ, {"INTACCT_TOKEN_KEY": key}):
            yield own.render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
        server.dispose()

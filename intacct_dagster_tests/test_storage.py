"""A full, read-only or failing disk, and a damaged file, are said in words at every border."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import click
import dagster as dg
import duckdb
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from intacct_dagster.cli.user_errors import report_user_errors
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.state import open_state
from intacct_dagster.storage import storage_trouble
from intacct_dagster_tests.code_location import sandbox_settings


def _full_state(folder: Path) -> None:
    """A state store that cannot grow any more."""
    engine = open_state(f"sqlite:///{folder}/state.db")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.exec_driver_sql("CREATE TABLE t AS SELECT zeroblob(1000000) AS x")


def _damaged_state(folder: Path) -> None:
    engine = open_state(f"sqlite:///{folder}/state.db")
    engine.dispose()
    path = folder / "state.db"
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * (4096 - 100)
    path.write_bytes(content)
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        connection.exec_driver_sql("SELECT * FROM posting_items")


def _read_only_state(folder: Path) -> None:
    path = folder / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    url = f"sqlite:///file:{path}?mode=ro&uri=true"
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")


def _damaged_warehouse(folder: Path) -> None:
    (folder / "w.duckdb").write_bytes(b"no database" * 2000)
    duckdb.connect(str(folder / "w.duckdb"))


def _full_page(folder: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "page-1.json"))


def _failing_page(folder: Path) -> None:
    failing = OSError(errno.EIO, os.strerror(errno.EIO), str(folder / "page-1.json"))
    raise RuntimeError("the page could not be kept") from failing


TROUBLES: dict[Callable[[Path], None], str] = {
    _full_state: "The disk is full",
    _damaged_state: "A file is damaged",
    _read_only_state: "is read-only",
    _damaged_warehouse: "A file is damaged",
    _full_page: "page-1.json",
    _failing_page: "The disk fails",
}


@pytest.mark.parametrize("cause", TROUBLES, ids=lambda each: each.__name__.strip("_"))
def test_it_is_said_in_words_to_dagster_and_on_the_command_line(
    tmp_path: Path, cause: Callable[[Path], None]
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()

    with pytest.raises(dg.Failure) as caught:
        as_dagster_failure(
            sandbox_settings("http://127.0.0.1:1/ia/api/v1", tmp_path), cause, tmp_path / "one"
        )
    assert TROUBLES[cause] in str(caught.value.description)
    assert not caught.value.allow_retries

    @click.command()
    @report_user_errors
    def command() -> None:
        cause(tmp_path / "two")

    shown = CliRunner().invoke(command)
    assert shown.exit_code == 1
    assert TROUBLES[cause] in shown.output
    assert "Traceback" not in shown.output


@pytest.mark.parametrize(
    "other",
    [ValueError("disk is full"), OSError(errno.ENOENT, "no such file"), duckdb.Error("a syntax")],
    ids=repr,
)
def test_other_errors_are_left_as_they_are(other: Exception) -> None:
    assert storage_trouble(other) is None

"""The file of a large company in the state directory: made once, found again at the next start."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from intacct_sandbox.errors import SandboxError
from intacct_sandbox.seed.generator.large_company import LargeCompany

from .building import ARCHIVED, Progress, build, connect

_FORMAT = 3
_MEMORY = "300MB"
_AT_A_TIME = 4_000


@dataclass(frozen=True)
class ObjectStats:
    """What the archive keeps of one object."""

    columns: Mapping[str, bool]
    """The paths that are kept of its records, with whether no record is without a value."""
    records: int
    last_key: int


def _describe(connection: duckdb.DuckDBPyConnection, object_: str) -> None:
    """Write down what would take reading all of it to find out."""
    table = f'"{object_} by time"'
    names = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
    paths = [name for name in names if name != "noise"]
    filled = ", ".join(f'count(*) = count("{path}")' for path in paths)
    found = connection.execute(f"SELECT count(*), max(key), {filled} FROM {table}").fetchall()[0]
    connection.execute(
        "CREATE TABLE IF NOT EXISTS kept (object VARCHAR, records BIGINT, last_key BIGINT)"
    )
    connection.execute(
        "CREATE TABLE IF NOT EXISTS kept_columns (object VARCHAR, path VARCHAR, is_filled BOOLEAN)"
    )
    connection.execute(f"INSERT INTO kept VALUES ('{object_}', {found[0]}, {found[1]})")
    columns = ", ".join(
        f"('{object_}', '{path}', {is_filled})"
        for path, is_filled in zip(paths, found[2:], strict=True)
    )
    connection.execute(f"INSERT INTO kept_columns VALUES {columns}")


class Archive:
    """The file, open for reading. One statement at a time: who uses it holds the books' lock.

    `directory` is the state directory, which the caller has locked. What is not there yet is
    generated; what a broken generation left is thrown away, because the file gets its name only
    when it is whole. Raises `SandboxError` when the file holds another company, or cannot be read.
    """

    def __init__(
        self,
        directory: Path,
        large_company: LargeCompany,
        seed: int,
        progress: Progress | None = None,
    ) -> None:
        self._file = directory / "company.duckdb"
        self._identity = {"format": _FORMAT, "seed": seed, **large_company.size.kept()}
        if not self._file.exists():
            self._build(large_company, seed, progress or (lambda what, done, all_: None))
        self._spill = directory / "company.spill"
        self._connection = self._open()
        self._numbers = itertools.count(1)

    def _build(self, large_company: LargeCompany, seed: int, progress: Progress) -> None:
        fresh = self._file.with_name("building") / self._file.name
        shutil.rmtree(fresh.parent, ignore_errors=True)
        fresh.parent.mkdir()
        try:
            build(fresh, large_company, seed, progress)
            with connect({}, str(fresh)) as connection:
                for object_ in ARCHIVED:
                    _describe(connection, object_)
                identity = json.dumps(self._identity)
                connection.execute(f"CREATE TABLE identity AS SELECT '{identity}' AS identity")
            fresh.replace(self._file)
        except (OSError, duckdb.IOException) as error:
            raise SandboxError(
                f"The company of {large_company.size} cannot be written to {self._file}: {error}"
            ) from error
        finally:
            shutil.rmtree(fresh.parent, ignore_errors=True)

    def _open(self) -> duckdb.DuckDBPyConnection:
        remedy = f"remove {self._file} to have it generated again, or choose another --state."
        connection = connect(
            {
                "memory_limit": _MEMORY,
                "temp_directory": str(self._spill),
                # A page comes from one core; more would only take it from whom the page is for.
                "threads": 1,
            }
        )
        try:
            connection.execute(f"ATTACH '{self._quoted_file()}' AS archive (READ_ONLY)")
            found = connection.execute("SELECT identity FROM archive.identity").fetchone()
            identity = json.loads(found[0]) if found is not None else {}
        except (duckdb.Error, ValueError) as error:
            connection.close()
            raise SandboxError(
                f"{self._file} cannot be read ({str(error).splitlines()[0]}): {remedy}"
            ) from error
        if identity.get("format") != _FORMAT:
            connection.close()
            raise SandboxError(f"{self._file} is not of this version of the sandbox: {remedy}")
        if identity != self._identity:
            connection.close()
            there = {name: value for name, value in identity.items() if name != "format"}
            seed = there.pop("seed", "unknown")
            raise SandboxError(
                f"{self._file} is the company of seed {seed} with "
                f"{', '.join(f'{value:,} {name}' for name, value in there.items())}: start with "
                f"that seed and size, {remedy}"
            )
        return connection

    def _quoted_file(self) -> str:
        return str(self._file).replace("'", "''")

    def stats(self, object_: str) -> ObjectStats:
        """Return what is kept of an object."""
        columns = self._connection.execute(
            f"SELECT path, is_filled FROM archive.kept_columns WHERE object = '{object_}'"
        ).fetchall()
        records = self.number(f"SELECT records FROM archive.kept WHERE object = '{object_}'")
        last = self.number(f"SELECT last_key FROM archive.kept WHERE object = '{object_}'")
        return ObjectStats(dict(columns), records, last)

    def texts(self, sql: str) -> list[str]:
        """Return the first column of what a statement answers."""
        return [row[0] for row in self._connection.execute(sql).fetchall()]

    def number(self, sql: str) -> int:
        """Return the one number that a statement answers; 0 for nothing."""
        found = self._connection.execute(sql).fetchone()
        return int(found[0] or 0) if found is not None else 0

    def stream(self, sql: str) -> Iterator[str]:
        """Yield the first column of what a statement answers, some thousand rows at a time; others
        may be asked meanwhile."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            while rows := cursor.fetchmany(_AT_A_TIME):
                for row in rows:
                    yield row[0]

    def keep(self, columns: str, rows: Iterator[str]) -> str:
        """Return the name of a table in memory with these rows, given as the values of an INSERT;
        drop it when it is not needed any more."""
        name = f"kept_{next(self._numbers)}"
        self._connection.execute(f"CREATE TABLE {name} ({columns})")
        while some := list(itertools.islice(rows, _AT_A_TIME)):
            self._connection.execute(f"INSERT INTO {name} VALUES {', '.join(some)}")
        return name

    def drop(self, name: str) -> None:
        """Throw away what `keep` made."""
        self._connection.execute(f"DROP TABLE IF EXISTS {name}")

    def close(self) -> None:
        """Give the file free; nothing can be asked any more."""
        self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

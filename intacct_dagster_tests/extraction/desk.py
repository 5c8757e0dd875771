"""The desk from which tests read the books of a company, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from intacct_dagster.client import ClientCredentials, Intacct
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.extraction.delete_scan import DeleteScanResult
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import PageArchive, RawLoad, SchemaField
from intacct_dagster.warehouse.raw.names import table_name
from intacct_dagster_tests.extraction.books import COLOUR, INVOICE, LINE, Books

START = date(2026, 10, 1)
ONE, TWO = "E110", "E120"
_VALUE = {INVOICE: "CAST(total AS VARCHAR)", LINE: "memo", COLOUR: "memo"}


def at(day: int, hour: int = 10, minute: int = 0, second: int = 0) -> datetime:
    """Return a moment in October."""
    return datetime(2026, 10, day, hour, minute, second, tzinfo=UTC)


class InterruptedArchive(PageArchive):
    """An archive that lets something happen when pages are read and not loaded yet, once."""

    meanwhile: Callable[[], object] | None = None

    @contextmanager
    def keeping(self, load: RawLoad, schema: Sequence[SchemaField] = ()) -> Iterator[None]:
        """Keep the pages of a load that is done in this block."""
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        with super().keeping(load, schema):
            yield


@dataclass
class BooksDesk:
    """Books of the object `name`, and extractors with which they are read into a warehouse."""

    folder: Path
    name: str = INVOICE
    reached: bool = True
    entities: list[str] = field(default_factory=lambda: [ONE, TWO])
    renamed: dict[str, str] = field(default_factory=dict)
    look_back: int = 1

    def __post_init__(self) -> None:
        self.books = Books(self.name, at(1), self.reached)
        self.warehouse = Warehouse(self.folder / "warehouse.duckdb")
        self.archive = InterruptedArchive(
            self.folder / "pages", timedelta(days=900), lambda: self.books.now
        )
        self._runs = 0

    @property
    def relation(self) -> str:
        """The current table."""
        return f"intacct.{table_name(self.name)}"

    def extractor(self) -> Extractor:
        """Return that of a new run."""
        self._runs += 1
        intacct = Intacct(
            "demo",
            "https://books.test/ia/api/v1",
            ClientCredentials("id", "secret"),
            dict.fromkeys(self.entities, "user"),
            transport=self.books,
            concurrency=1,
            now=lambda: self.books.now,
        )
        return Extractor(
            intacct,
            self.warehouse,
            start_date=START,
            run_id=f"run-{self._runs}",
            page_size=50,
            reading=Reading(look_back_days=self.look_back),
            page_archive=self.archive,
            entities=list(self.entities),
            renamed=self.renamed,
            now=lambda: self.books.now,
        )

    def read(self, entity: str, *days: int, meanwhile: Callable[[], object] | None = None) -> None:
        """Read days of October; `meanwhile` is called once the pages are read, before the load."""
        self.archive.meanwhile = meanwhile
        asked = [date(2026, 10, day) for day in days]
        self.extractor().extract(ObjectSettings(name=self.name), entity, asked)

    def night(self, day: int, *entities: str) -> None:
        """Read the day before at two in the morning, in these entities or all."""
        self.books.now = max(self.books.now, at(day, 2))
        for entity in entities or self.entities:
            self.read(entity, day - 1)

    def scan(self, *entities: str) -> list[DeleteScanResult]:
        """Scan these entities for deletes, or all."""
        what = ObjectSettings(name=self.name)
        return [self.extractor().delete_scan(what, entity) for entity in entities or self.entities]

    def table(self) -> dict[str, Any]:
        """Return the values of the current table by key, of which each is there once."""
        rows = self.rows(f"SELECT key, {_VALUE[self.name]} FROM {self.relation} ORDER BY key")
        assert len(dict(rows)) == len(rows), rows
        return dict(rows)

    def rows(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.warehouse.connect(read_only=True) as connection:
            return connection.execute(sql, list(values)).fetchall()

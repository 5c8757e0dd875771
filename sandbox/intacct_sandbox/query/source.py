"""What a query is asked of: the books, as far as a query needs them, and tables that search."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Protocol

from intacct_sandbox.control.audit_log import AuditLog
from intacct_sandbox.control.behaviours import Behaviours
from intacct_sandbox.objects.catalogue import Json, ObjectCatalogue
from intacct_sandbox.objects.reading import RecordReader
from intacct_sandbox.objects.tables import Found, Row, Table, Tables, Visibility

from .definition import Filter, ObjectQuery


class QuerySource(Protocol):
    """What a query needs of the books."""

    @property
    def catalogue(self) -> ObjectCatalogue:
        """The object types."""

    @property
    def tables(self) -> Tables:
        """The records."""

    @property
    def behaviours(self) -> Behaviours:
        """The chosen behaviours."""

    @property
    def audit_log(self) -> AuditLog:
        """The requests on record, of which the current one counts."""

    def today(self) -> date:
        """Return the sandbox's date."""

    def entity_key(self, entity: str | None) -> str | None:
        """Return the key of an entity; None is the top level."""

    def unseen(self, object_: str) -> frozenset[str]:
        """Return the keys of records that queries do not show."""


class SearchableTable(Table):
    """A table that answers queries itself, because its records are not in memory."""

    @abstractmethod
    def page(
        self, query: ObjectQuery, reader: RecordReader, visibility: Visibility, *, null_first: bool
    ) -> Found | None:
        """Return the page a query asks for, or None if the rows must be gone through one by one."""

    @abstractmethod
    def all_of(
        self, query: ObjectQuery, reader: RecordReader, visibility: Visibility, *, null_first: bool
    ) -> Iterator[dict[str, Json]] | None:
        """Return all rows that a query matches, or None as `page` does."""

    @abstractmethod
    def holding(
        self, filters: Sequence[Filter], reader: RecordReader, most: int
    ) -> tuple[int, list[Row]]:
        """Count the records of any entity that pass all filters, and give the first of them."""

"""Generates the company's books from a seed: the same seed, the same books, byte for byte.

About 50,000 records: 60 days of invoices, bills, payments, journal entries, timesheets and more in
four entities, and the masters they refer to. Each subject draws from its own stream of chance, so
that a change in one leaves the others as they were.
"""

from __future__ import annotations

import functools
from random import Random

from intacct_sandbox.company import DEMO
from intacct_sandbox.objects.catalogue import load_catalogue
from intacct_sandbox.objects.tables import Table, Tables

from .ledger import write_entries
from .masters import write_masters
from .payables import write_bills
from .receivables import write_invoices
from .reference_data import write_reference_data
from .settlements import write_settlements
from .timesheets import write_timesheets
from .writer import Writer

__all__ = ["generate"]


def generate(seed: int) -> Tables:
    """Return the whole company in tables of the caller's own."""
    return _generated(seed).copy()


@functools.lru_cache(maxsize=2)
def _generated(seed: int) -> Tables:
    # Kept, because tests start sandboxes by the dozen; records are never changed in place.
    def chance(subject: str) -> Random:
        return Random(f"{seed}:{subject}")  # noqa: S311 - data, not secrets

    catalogue = load_catalogue()
    tables = Tables(((name, Table(type_, seed)) for name, type_ in catalogue.items()), DEMO)
    writer = Writer(catalogue, tables)
    masters = write_masters(writer, chance("masters"))
    write_invoices(writer, chance("receivables"), masters)
    write_bills(writer, chance("payables"), masters)
    write_entries(writer, chance("ledger"), masters)
    write_timesheets(writer, chance("time"), masters)
    # What came later draws later, so that everything above is as it was.
    write_reference_data(writer, chance("reference data"), masters)
    write_settlements(writer, chance("settlements"), masters)
    return tables

"""Writes generated records into the tables: defaults, keys, audit times.

Amounts are whole cents until they are written, dates are days of the company's calendar.
"""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from intacct_sandbox.control.clock import DAYS, FIRST_DAY, LAST_DAY
from intacct_sandbox.objects.catalogue import Json, ObjectCatalogue
from intacct_sandbox.objects.tables import Row, Tables

_WORK_BEGINS, _WORK_ENDS = 7 * 3600, 17 * 3600 + 1800  # seconds of the UTC day

WORKING_SECONDS = _WORK_ENDS - _WORK_BEGINS
"""Of a day, from 07:00 UTC."""

CALENDAR = tuple(FIRST_DAY + timedelta(days=number) for number in range(DAYS))
"""The company's days, oldest first."""


def money(cents: int) -> str:
    """`12345` -> `"123.45"`."""
    sign = "-" if cents < 0 else ""
    whole, rest = divmod(abs(cents), 100)
    return f"{sign}{whole}.{rest:02d}"


FIRST_PERIOD_YEAR, LAST_PERIOD_YEAR = 2024, 2028
"""The years of which every month is a reporting period."""


def period_key(day: date) -> str:
    """Return the key of the reporting period that is the month of a day; of years before the demo
    company's it is year and month."""
    if day.year < FIRST_PERIOD_YEAR:
        return f"{day:%Y%m}"
    return str((day.year - FIRST_PERIOD_YEAR) * 12 + day.month)


def moment(random: Random, day: date) -> str:
    """Return some second in the working hours of a day, as it stands on the wire."""
    second = random.randrange(_WORK_BEGINS, _WORK_ENDS)
    hours, rest = divmod(second, 3600)
    return f"{day.isoformat()}T{hours:02d}:{rest // 60:02d}:{rest % 60:02d}Z"


def touched(random: Random, day: date) -> tuple[str, str]:
    """Return when a document of that day was made and last changed: mostly the same moment, else up
    to four days later, never after the company's last day."""
    made = moment(random, day)
    if random.random() < 0.7:
        return made, made
    later = min(day + timedelta(days=random.randrange(5)), LAST_DAY)
    return made, max(made, moment(random, later))


def amounts(currency: str, day: date, total: int, paid_on: str | None) -> Row:
    """Return what an invoice or a bill of so many cents says of its money: all of it is paid on one
    day, or none. In the entity's own currency, at the rate 1."""
    due, paid = (money(total), "0.00") if paid_on is None else ("0.00", money(total))
    values: Row = {
        "currency.baseCurrency": currency,
        "currency.txnCurrency": currency,
        "currency.exchangeRate.rate": 1,
        "currency.exchangeRate.date": day.isoformat(),
        "term.key": "1",
        "totalBaseAmount": money(total),
        "totalBaseAmountDue": due,
        "totalTxnAmount": money(total),
        "totalTxnAmountDue": due,
        "paymentInformation.totalBaseAmountPaid": paid,
        "paymentInformation.totalTxnAmountPaid": paid,
    }
    return values if paid_on is None else values | {"paymentInformation.fullyPaidDate": paid_on}


class Writer:
    """Adds records one after another; keys count from 1 in each object."""

    def __init__(self, catalogue: ObjectCatalogue, tables: Tables) -> None:
        self._defaults = {name: dict(type_.defaults) for name, type_ in catalogue.items()}
        self.tables = tables

    def add(
        self,
        object_: str,
        values: Row,
        *,
        entity: str | None,
        made: str,
        changed: str,
        by: str,
        key: str | None = None,
    ) -> str:
        """Add a record and give its key. `entity` and `by` are keys."""
        table = self.tables[object_]
        key = key or table.take_key()
        row: dict[str, Json] = self._defaults[object_] | values
        row["key"] = key
        row["audit.createdDateTime"] = made
        row["audit.modifiedDateTime"] = changed
        row["audit.createdByUser.key"] = by
        row["audit.modifiedByUser.key"] = by
        if entity is not None:
            row["entity.key"] = entity
        table.put(row)
        return key

"""Views for analysts: the books as people ask about them, made of what the warehouse holds.

They are views and macros over the current views, so they cost nothing until they are asked, and are
never older than what was read. Each of them documents what it says of a past day.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import duckdb
from duckdb import DuckDBPyConnection

from intacct_dagster.warehouse.database import CATALOG, Warehouse
from intacct_dagster.warehouse.errors import NotMaterialized, SchemaChanged
from intacct_dagster.warehouse.raw.current import Relation
from intacct_dagster.warehouse.raw.names import INTACCT, table_name
from intacct_dagster.warehouse.reconciliation.comparison import RECONCILED
from intacct_dagster.warehouse.reconciliation.outcomes import POSTING
from intacct_dagster.warehouse.reconciliation.plan import PLAN
from intacct_dagster.warehouse.sql import identifier, literal, statement
from intacct_dagster.warehouse.tables import existing_columns

_ENTRY = "general-ledger/journal-entry"
_LINE = "general-ledger/journal-entry-line"
_JOURNAL = "general-ledger/journal"
_ACCOUNT = "general-ledger/account"
_INVOICE = "accounts-receivable/invoice"
_BILL = "accounts-payable/bill"

Source = tuple[str, str]
"""(object, or schema and dot for what is a feed's; column): where a column's values come from."""


@dataclass(frozen=True, slots=True)
class AnalystColumn:
    """A column of a view for analysts: what it holds, and the columns that it is made of."""

    name: str
    comment: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class AnalystView:
    """A view for analysts: `intacct.<name>`, and macros that ask the same of any day.

    `needs` are the objects without which it cannot be made; `of_feeds` says that it shows what
    became of the feeds. `macros` are their names, with what is said of them.
    """

    name: str
    about: str
    needs: tuple[str, ...]
    columns: tuple[AnalystColumn, ...]
    macros: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    of_feeds: bool = False

    def missing(self, objects: Collection[str]) -> list[str]:
        """Return the objects that it needs and that are not among these."""
        return [each for each in self.needs if each not in objects]


def _made_of(object: str, *columns: str) -> tuple[Source, ...]:
    return tuple((object, column) for column in columns)


_GENERAL_LEDGER = AnalystView(
    "general_ledger",
    "The general ledger: a row is a line of a journal entry that is in the books (drafts and what"
    " waits for approval are not), with its entry, journal and account. Amounts are in the entity's"
    " currency. It holds the entries that changed since the first partition.",
    (_LINE, _ENTRY, _JOURNAL, _ACCOUNT),
    (
        AnalystColumn(
            "entity_id",
            "The entity whose books it is in",
            (*_made_of(_LINE, "entity_id"), *_made_of(_ENTRY, "entity_id")),
        ),
        AnalystColumn(
            "posting_date",
            "The day on which it counts in the books",
            (*_made_of(_ENTRY, "posting_date"), *_made_of(_LINE, "entry_date")),
        ),
        AnalystColumn(
            "month",
            "First day of the posting date's calendar month; fiscal periods may be cut otherwise",
            _made_of(_ENTRY, "posting_date"),
        ),
        AnalystColumn("journal_id", "The journal's id", _made_of(_ENTRY, "gl_journal_id")),
        AnalystColumn("journal_name", "The journal's name", _made_of(_JOURNAL, "name")),
        AnalystColumn(
            "entry_key", "Intacct's key of the entry", _made_of(_LINE, "journal_entry_key")
        ),
        AnalystColumn(
            "entry_number", "The entry's number in its journal", _made_of(_ENTRY, "txn_number")
        ),
        AnalystColumn(
            "reference_number", "The entry's reference", _made_of(_ENTRY, "reference_number")
        ),
        AnalystColumn(
            "entry_description", "What the entry is about", _made_of(_ENTRY, "description")
        ),
        AnalystColumn(
            "entry_state",
            "The entry's state; null where the warehouse has the line and not the entry",
            _made_of(_ENTRY, "state"),
        ),
        AnalystColumn("line_key", "Intacct's key of the line", _made_of(_LINE, "key")),
        AnalystColumn(
            "line_number", "The line's place in the entry", _made_of(_LINE, "line_number")
        ),
        AnalystColumn("account_id", "The account's number", _made_of(_LINE, "gl_account_id")),
        AnalystColumn(
            "account_name",
            "The account's name",
            (*_made_of(_ACCOUNT, "name"), *_made_of(_LINE, "gl_account_name")),
        ),
        AnalystColumn(
            "account_type",
            "balanceSheet or incomeStatement",
            _made_of(_ACCOUNT, "account_type"),
        ),
        AnalystColumn(
            "account_category", "Intacct's category of the account", _made_of(_ACCOUNT, "category")
        ),
        AnalystColumn(
            "normal_balance",
            "debit or credit: on which side the account grows",
            _made_of(_ACCOUNT, "normal_balance"),
        ),
        AnalystColumn(
            "department_id", "The line's department", _made_of(_LINE, "dimensions_department_id")
        ),
        AnalystColumn(
            "location_id", "The line's location", _made_of(_LINE, "dimensions_location_id")
        ),
        AnalystColumn("line_description", "The line's text", _made_of(_LINE, "description")),
        AnalystColumn(
            "currency",
            "The entity's currency, of debit, credit and amount",
            _made_of(_LINE, "currency_base_currency"),
        ),
        AnalystColumn(
            "debit",
            "The amount if it is a debit, else 0",
            _made_of(_LINE, "base_amount", "txn_type"),
        ),
        AnalystColumn(
            "credit",
            "The amount if it is a credit, else 0",
            _made_of(_LINE, "base_amount", "txn_type"),
        ),
        AnalystColumn(
            "amount",
            "Signed: debits plus, credits minus",
            _made_of(_LINE, "base_amount", "txn_type"),
        ),
        AnalystColumn(
            "txn_currency",
            "The currency it was made in",
            _made_of(_LINE, "currency_txn_currency"),
        ),
        AnalystColumn(
            "txn_amount",
            "Signed, in the currency it was made in",
            _made_of(_LINE, "txn_amount", "txn_type"),
        ),
    ),
)

_TRIAL_BALANCE = AnalystView(
    "trial_balance",
    "The trial balance by entity, account and day, of the journal entries that the warehouse holds:"
    " without what was posted before the first of them, so a balance is the change since then. Days"
    " on which nothing was posted to an account have no row; intacct.trial_balance_on(day) has all"
    " accounts on any day.",
    _GENERAL_LEDGER.needs,
    (
        AnalystColumn("entity_id", "The entity whose books it is in", _made_of(_LINE, "entity_id")),
        AnalystColumn("account_id", "The account's number", _made_of(_LINE, "gl_account_id")),
        AnalystColumn("account_name", "The account's name", _made_of(_ACCOUNT, "name")),
        AnalystColumn(
            "account_type", "balanceSheet or incomeStatement", _made_of(_ACCOUNT, "account_type")
        ),
        AnalystColumn("day", "The posting date", _made_of(_ENTRY, "posting_date")),
        AnalystColumn(
            "month", "First day of the day's calendar month", _made_of(_ENTRY, "posting_date")
        ),
        AnalystColumn(
            "currency", "The entity's currency", _made_of(_LINE, "currency_base_currency")
        ),
        AnalystColumn("lines", "How many lines were posted that day", _made_of(_LINE, "key")),
        AnalystColumn("debit", "Debits of the day", _made_of(_LINE, "base_amount", "txn_type")),
        AnalystColumn("credit", "Credits of the day", _made_of(_LINE, "base_amount", "txn_type")),
        AnalystColumn(
            "net", "Debits less credits of the day", _made_of(_LINE, "base_amount", "txn_type")
        ),
        AnalystColumn(
            "balance",
            "Debits less credits up to and with the day, since the first entry in the warehouse",
            _made_of(_LINE, "base_amount", "txn_type"),
        ),
    ),
    {
        "trial_balance_on": "trial_balance_on(day): a row is an account of an entity, with all that"
        " the warehouse holds of it up to the day"
    },
)


_BUCKETS = {
    "not_due": "Not due yet",
    "days_1_30": "1 to 30 days overdue",
    "days_31_60": "31 to 60 days overdue",
    "days_61_90": "61 to 90 days overdue",
    "over_90_days": "More than 90 days overdue",
}
#: States of documents that are not in the books.
_NOT_IN_BOOKS = (
    *("draft", "noValue", "reversed", "reversal"),
    *("analyzing", "submitted", "partiallyApproved", "declined"),
)


def _ageing(name: str, object: str, party: str, document: str, dated: str) -> AnalystView:
    what = "customers owe" if party == "customer" else "is owed to vendors"
    apart = "Credits and payments that are not applied to one are not in it."
    past = (
        f"Of a past day: a {document} that was paid in full since then counts with its whole"
        " amount; of others Intacct tells only what is due now."
    )
    return AnalystView(
        f"{name}_ageing",
        f"What {what}, by entity and {party}, on the last day that was read, by how long it is"
        f" overdue; of the {document}s in the warehouse, in the entity's currency. {apart}"
        f" intacct.{name}_ageing_on(day) tells it of another day, intacct.{name}_open_items_on(day)"
        f" names the {document}s.",
        (object,),
        _ageing_columns(object, party, document, dated),
        {
            f"{name}_open_items_on": f"{name}_open_items_on(day): a row is a {document} that is not"
            f" paid on the day. {past}",
            f"{name}_ageing_on": f"{name}_ageing_on(day): a row is a {party} of an entity. {past}",
        },
        {
            "which": name,
            "party": party,
            "document": document,
            "dated": identifier(dated),
            "table": identifier(table_name(object)),
            "object": literal(object),
            "not_in_books": ", ".join(map(literal, _NOT_IN_BOOKS)),
        },
    )


def _ageing_columns(
    object: str, party: str, document: str, dated: str
) -> tuple[AnalystColumn, ...]:
    due = ("total_base_amount_due", "total_base_amount", "payment_information_fully_paid_date")
    return (
        AnalystColumn("entity_id", "The entity", _made_of(object, "entity_id")),
        AnalystColumn(f"{party}_id", f"The {party}'s id", _made_of(object, f"{party}_id")),
        AnalystColumn(f"{party}_name", f"The {party}'s name", _made_of(object, f"{party}_name")),
        AnalystColumn(
            "currency", "The entity's currency", _made_of(object, "currency_base_currency")
        ),
        AnalystColumn(f"{document}s", f"How many {document}s are open", _made_of(object, "key")),
        *(
            AnalystColumn(bucket, comment, _made_of(object, *due, "due_date", dated))
            for bucket, comment in _BUCKETS.items()
        ),
        AnalystColumn("due", "All of it", _made_of(object, *due)),
        AnalystColumn(
            "oldest_days_overdue",
            "Days that the oldest is overdue; 0 if none is",
            _made_of(object, "due_date", dated),
        ),
        AnalystColumn("as_of", "The day", ()),
    )


_RECEIVABLES = _ageing("ar", _INVOICE, "customer", "invoice", "invoice_date")
_PAYABLES = _ageing("ap", _BILL, "vendor", "bill", "created_date")

_POSTED = AnalystView(
    "posted_against_source",
    "What the sources have against what is in Intacct: a row is a feed's day of an entity. The"
    " counts add up to documents; what came twice counts in amount once.",
    (),
    (
        AnalystColumn("feed", "The feed", ()),
        AnalystColumn("entity_id", "The documents' entity", _made_of("reconciled.", "_entity")),
        AnalystColumn("day", "The documents' date", _made_of("reconciled.", "_day")),
        AnalystColumn("documents", "Documents in the source", _made_of("reconciled.", "source_id")),
        *(
            AnalystColumn(name, comment, (*_made_of("reconciled.", "status"), *more))
            for name, comment, more in (
                ("posted", "Posted from here", _made_of("posting.", "state")),
                ("matched", "In Intacct already, and equal", ()),
                ("different", "In Intacct, with other values", ()),
                ("rejected", "Rejected by Intacct", _made_of("posting.", "state")),
                ("held", "Held by a gate", _made_of("plan.", "action")),
                ("uncertain", "Sent, and never answered", _made_of("posting.", "state")),
                ("to_post", "Missing in Intacct, not posted yet", ()),
                ("invalid", "Not fit to be posted", ()),
                ("duplicate", "More than once in the source or in Intacct", ()),
            )
        ),
        AnalystColumn("amount", "Amount in the source", _made_of("reconciled.", "amount")),
        AnalystColumn(
            "amount_in_intacct",
            "Of that, what was posted or matched",
            (*_made_of("reconciled.", "amount"), *_made_of("posting.", "state")),
        ),
        AnalystColumn(
            "amount_open",
            "The rest: different, rejected, held, uncertain, invalid, or not posted yet",
            (*_made_of("reconciled.", "amount"), *_made_of("posting.", "state")),
        ),
    ),
    of_feeds=True,
)

ANALYST_VIEWS = (_GENERAL_LEDGER, _TRIAL_BALANCE, _RECEIVABLES, _PAYABLES, _POSTED)
"""The views for analysts, those first that others are made of."""


def refresh_analysts(file: Warehouse, view: AnalystView, feeds: Sequence[str] = ()) -> Relation:
    """Make `intacct.<name>` and its macros, with their comments.

    `feeds` are those that a view `of_feeds` shows; those without a table yet are left out. Raises
    NotMaterialized where a table is not there yet, SchemaChanged where a column that it needs is
    not read.
    """
    with file.staging() as staging, staging.transaction() as connection:
        for table in map(table_name, view.needs):
            if not existing_columns(connection, CATALOG, INTACCT, table):
                raise NotMaterialized(
                    f"intacct.{view.name} needs intacct.{table}, which is not there yet.\n"
                    f"Materialize intacct/{table} first."
                )
        connection.execute(f"USE {CATALOG}")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(CATALOG, INTACCT)}")
        for sql in _statements(connection, view, feeds):
            try:
                connection.execute(sql)
            except duckdb.BinderException as error:
                reason = str(error).splitlines()[0].rstrip("!.")
                raise SchemaChanged(
                    f"intacct.{view.name} cannot be made: {reason}",
                    "Read all fields that it needs: widen `fields` of "
                    f"{' and '.join(view.needs) or 'the feeds'} in intacct.yaml, and materialize "
                    "them again.",
                ) from None
        _comment(connection, view)
        columns = existing_columns(connection, CATALOG, INTACCT, view.name)
        name = identifier(CATALOG, INTACCT, view.name)
        rows = connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]
    return Relation(f"{INTACCT}.{view.name}", rows, columns)


def posted_by_day(file: Warehouse, most: int) -> list[tuple[date, dict[str, int]]]:
    """What became of the documents of the last `most` days that have any, the oldest first."""
    with file.connect(read_only=True) as connection:
        rows = connection.execute(
            "SELECT day, sum(posted)::BIGINT, sum(matched)::BIGINT, sum(rejected + held)::BIGINT,"
            " sum(uncertain)::BIGINT FROM intacct.posted_against_source"
            " GROUP BY day ORDER BY day DESC LIMIT ?",
            [most],
        ).fetchall()
    names = ("posted", "matched", "rejected or held", "uncertain")
    return [(day, dict(zip(names, counts, strict=True))) for day, *counts in reversed(rows)]


def _statements(
    connection: DuckDBPyConnection, view: AnalystView, feeds: Sequence[str]
) -> list[str]:
    if view.of_feeds:
        return [statement(__name__, "posted_against_source", documents=_of(connection, feeds))]
    if view in (_RECEIVABLES, _PAYABLES):
        parts = ("open_items_on", "ageing_on", "ageing")
        return [statement(__name__, part, **view.places) for part in parts]
    return [
        statement(__name__, view.name),
        *(statement(__name__, macro) for macro in view.macros),
    ]


def _of(connection: DuckDBPyConnection, feeds: Sequence[str]) -> str:
    """Return the documents of the feeds that were reconciled, planned and posted at least once."""
    there = [
        feed
        for feed in feeds
        if all(
            existing_columns(connection, CATALOG, schema, feed)
            for schema in (RECONCILED, PLAN, POSTING)
        )
    ]
    if not there:
        raise NotMaterialized(
            f"No feed was posted yet of {', '.join(feeds) or 'none'}.\n"
            "Materialize reconciled, plan and posting of one of them first."
        )
    return "\nUNION ALL\n".join(
        statement(__name__, "documents", named=literal(feed), feed=identifier(feed))
        for feed in there
    )


def _comment(connection: DuckDBPyConnection, view: AnalystView) -> None:
    name = identifier(CATALOG, INTACCT, view.name)
    connection.execute(f"COMMENT ON VIEW {name} IS {literal(view.about)}")
    for column in view.columns:
        connection.execute(
            f"COMMENT ON COLUMN {name}.{identifier(column.name)} IS {literal(column.comment)}"
        )
    for macro, about in view.macros.items():
        connection.execute(
            f"COMMENT ON MACRO TABLE {identifier(CATALOG, INTACCT, macro)} IS {literal(about)}"
        )

"""What the columns of a feed's tables hold, and what they are made of, by the feed's definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from intacct_dagster.warehouse.feeds.payload_template import columns_of, fields_of
from intacct_dagster.warehouse.feeds.spec import FeedSpec
from intacct_dagster.warehouse.tables import TIME, TableColumn
from intacct_dagster.warehouse.types import column_name

_OURS = (
    TableColumn("_entity", "VARCHAR", "The line's entity: half the partition"),
    TableColumn("_day", "DATE", "The line's date: the partition's other half"),
    TableColumn("_document", "VARCHAR", "What identifies the document in its entity"),
    TableColumn("_file", "VARCHAR", "The file, relative to the feed's folder"),
    TableColumn("_line", "BIGINT", "The line of the file on which the record begins, from 1"),
    TableColumn("_occurrence", "BIGINT", "1 where the document came first, 2 where it came again"),
    TableColumn("_invalid", "VARCHAR", "Why the document may not be posted; null if it may"),
    TableColumn("_run_id", "VARCHAR", "The run that read this line"),
    TableColumn("_read_at", TIME, "When the files were read"),
)


def feed_columns(spec: FeedSpec) -> tuple[TableColumn, ...]:
    """The columns of `feed.<name>`: the feed's own, each with what it is used for, and ours."""
    own = (TableColumn(name, spec.sql_type(name), _about(spec, name)) for name in spec.columns)
    return (*own, *_OURS)


def reconciled_sources(spec: FeedSpec) -> Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """What the columns of `reconciled.<name>` are made of: columns of `feed.<name>`, and columns of
    the current view of the feed's object in Intacct."""
    payload = tuple(dict.fromkeys(column for column, _ in columns_of(spec.template)))
    compared = tuple(spec.compare.values())
    there = ("key", *(column_name(path) for path in (spec.match_on, *spec.compare)))
    judged = ((spec.source_id, "_occurrence", "_invalid", *compared), there)
    amount = spec.amount_column
    return {
        "_entity": (("_entity",), ()),
        "_day": (("_day",), ()),
        "source_id": (tuple(filter(None, (spec.source_id, spec.party_column))), ()),
        "number": ((spec.source_id,), ()),
        "party": (tuple(filter(None, (spec.party_column,))), ()),
        "occurrence": (("_occurrence",), ()),
        "status": judged,
        "reason": judged,
        "differences": (compared, there[2:]),
        "intacct_key": ((), ("key",)),
        "amount": ((amount,) if amount else (), ()),
        "file": (("_file",), ()),
        "line": (("_line",), ()),
        "lines": (("_line",), ()),
        "payload": (payload, ()),
        "payload_hash": (payload, ()),
    }


def _about(spec: FeedSpec, column: str) -> str:
    uses = "; ".join(_uses(spec, column)) or "as the source has it"
    same = "the same on all lines" if column in spec.header_columns else "of the line"
    return f"{uses[0].upper()}{uses[1:]} ({same})"


def _uses(spec: FeedSpec, column: str) -> Iterator[str]:
    if column in spec.expressions:
        yield f"computed: {spec.expressions[column].sql}"
    for its, what in (
        (spec.source_id, "the document's id in the source system"),
        (spec.line_id, "tells the document's lines apart"),
        (spec.entity, "says the entity"),
        (spec.date, "says the day"),
        (spec.amount_column, "the document's amount"),
    ):
        if its == column:
            yield what
    for whole, part in spec.control_totals.items():
        if whole == column:
            yield f"the sum of {part}"
        if part == column:
            yield f"adds up to {whole}"
    compared = [path for path, name in spec.compare.items() if name == column]
    if compared:
        yield f"compared with Intacct's {', '.join(compared)}"
    sent = dict.fromkeys(path for path, name in fields_of(spec.template) if name == column)
    if sent:
        yield f"sent as {', '.join(sent)}"
